"""CSV and TSV, plain or gzip, as a table."""

from __future__ import annotations

import csv
import gzip
import io
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np

from fasttangent.common.tables.arrow import arrow, block, encoded, gather, numbers, opened
from fasttangent.common.tables.cells import CODE, MISSING, is_number, looks_like_names
from fasttangent.common.tables.stores import Place, StoreError
from fasttangent.common.tables.table import Table
from fasttangent.common.tables.words import first_line

BLOCK_BYTES, MOST_BYTES = 4 << 20, 256 << 20  # of text that is converted at a time
BLOCK_ROWS = 64  # at the least, up to those bytes: work per column and block is what wide tables cost
CELL_BYTES = 20
LONGEST_LINE = 2**25  # characters


class CsvTable(Table):
    """CSV or TSV, plain or gzip (told by its first bytes, not by its name)."""

    path: Place

    def __init__(self, path: Place, header: bool | None, delimiter: str = ",") -> None:
        arrow()
        self.delimiter = delimiter
        with path.open("rb") as handle:
            self.gzipped = handle.read(2) == b"\x1f\x8b"
        blank, first = self._first_record(path)
        header = looks_like_names(first) if header is None else header
        names = [cell.strip() for cell in first] if header else [str(i) for i in range(len(first))]
        self.skipped = blank + header
        super().__init__(path, names, header, None)
        self.index = frozenset(i for i, name in enumerate(self.names) if not name)
        if len(first) == 1 and delimiter == "," and re.search(r"[;\t|]", first[0]):
            raise ValueError(
                f"{path} seems to be separated by semicolons, tabs or bars; write it with commas "
                f"(and points in numbers)"
            )

    def _first_record(self, path: Place) -> tuple[int, list[str]]:
        """Number of empty lines at the top, and the cells of the first line that is not empty."""
        for blank, (_, cells) in enumerate(self._records(path)):
            if cells:
                return blank, cells
        raise ValueError(f"{path} holds nothing but empty lines")

    def _records(self, path: Place) -> Iterator[tuple[int, list[str]]]:
        """Yield (line number from 1, cells) slowly: for the first line and for finding what is wrong."""
        try:
            with path.open("rb") as raw:
                plain: Any = gzip.GzipFile(fileobj=raw) if self.gzipped else raw
                handle = io.TextIOWrapper(plain, encoding="utf-8-sig", newline="")
                reader = csv.reader(self._lines(handle), delimiter=self.delimiter)
                for cells in reader:
                    yield reader.line_num, cells
        except UnicodeDecodeError as error:
            raise ValueError(f"{path} is not UTF-8 text ({error.reason}); save it as CSV in UTF-8") from None
        except csv.Error as error:
            raise ValueError(f"{path} is no CSV file ({error})") from None
        except (EOFError, zlib.error) as error:
            raise OSError(f"{path} cannot be read: {error}; is it cut short?") from None

    def _lines(self, handle: Any) -> Iterator[str]:
        """Each line, up to a length that fits into memory: a file of zeros has only one."""
        while line := handle.readline(LONGEST_LINE + 1):
            if len(line) > LONGEST_LINE:
                raise ValueError(
                    f"{self.path} has a line of more than {LONGEST_LINE:,} characters; write a line for each row"
                )
            yield line

    def parts(
        self, columns: Sequence[int], keep: Sequence[int] = ()
    ) -> Iterator[tuple[np.ndarray, dict[str, Any]]]:
        pa, place = arrow(), {column: i for i, column in enumerate(dict.fromkeys([*columns, *keep]))}
        kinds = {**dict.fromkeys(keep, pa.string()), **dict.fromkeys(columns, pa.float64())}
        with self._explained(columns):
            for _, batch in self._batches(list(place) or [0], kinds):
                features = [batch.column(place[i]) for i in columns]
                kept = {self.names[i]: batch.column(place[i]) for i in keep}
                yield block(batch.num_rows, map(numbers, features), len(features)), kept

    def batches(self, columns: Sequence[int], kinds: Mapping[int, Any] | None = None) -> Iterator[Any]:
        kinds = self._kinds(columns) if kinds is None else kinds
        with self._explained(
            [i for i in columns if arrow("types").is_floating(kinds.get(i, arrow().null()))]
        ):
            for _, batch in self._batches(columns, kinds, gaps=True):
                yield arrow().record_batch(batch.columns, [self.names[i] for i in columns])

    def values(self, indices: np.ndarray, columns: Sequence[int]) -> np.ndarray:
        with self._explained(columns):
            batches = self._batches(columns, dict.fromkeys(columns, arrow().float64()))
            table = gather(self.path, batches, indices)
        return block(len(table), map(numbers, table.columns), len(columns))

    def take(self, indices: np.ndarray) -> dict[str, Any]:
        pa, everything = arrow(), range(len(self.names))
        with self._explained([]):
            table = gather(
                self.path, self._batches(everything, dict.fromkeys(everything, pa.string())), indices
            )
        missing = pa.array(sorted(MISSING))
        return {self.names[i] or f"column_{i}": _with_type(table.column(i), missing) for i in everything}

    def labels(self, column: int) -> np.ndarray:
        pa, pc = arrow(), arrow("compute")
        with self._explained([]):
            cells = [batch.column(0) for _, batch in self._batches([column], {column: pa.string()})]
        words = pc.utf8_trim_whitespace(pa.chunked_array(cells, pa.string()))
        return encoded(pc.if_else(pc.equal(words, ""), pa.scalar(None, pa.string()), words))

    def _kinds(self, columns: Sequence[int]) -> dict[int, Any]:
        """What Arrow takes columns for by the first block; whole numbers may have decimals further down."""
        pa = arrow()
        _, first = next(self._batches(columns, {}, gaps=True), (0, None))
        if first is None:
            return {}
        whole = {
            i: pa.types.is_integer(kind) or pa.types.is_null(kind)
            for i, kind in zip(columns, first.schema.types, strict=True)
        }
        return {
            i: pa.float64() if whole[i] else kind for i, kind in zip(columns, first.schema.types, strict=True)
        }

    @contextmanager
    def _explained(self, numeric: Sequence[int]) -> Iterator[None]:
        """Say of a row that Arrow cannot read, or of a cell that is no number, where it is."""
        try:
            yield
        except arrow().ArrowInvalid as error:
            raise ValueError(self._what_is_wrong(numeric) or f"{self.path}: {first_line(error)}") from None

    def _batches(
        self, columns: Sequence[int], kinds: Mapping[int, Any], gaps: bool = False
    ) -> Iterator[tuple[int, Any]]:
        """Yield (first row, record batch) with cells of the given Arrow types; with `gaps`, also in text."""
        pa, arrow_csv = arrow(), arrow("csv")
        positions = [str(i) for i in range(len(self.names))]
        read = arrow_csv.ReadOptions(
            column_names=positions,
            skip_rows_after_names=self.skipped,
            block_size=_block_bytes(len(positions)),
        )
        convert = arrow_csv.ConvertOptions(
            include_columns=[str(i) for i in columns],
            column_types={str(i): kind for i, kind in kinds.items()},
            null_values=sorted(MISSING),
            strings_can_be_null=gaps,
        )
        parse = arrow_csv.ParseOptions(newlines_in_values=True, delimiter=self.delimiter)
        try:
            with (
                opened(self.path) as file,
                pa.input_stream(file, compression="gzip" if self.gzipped else None) as stream,
                arrow_csv.open_csv(stream, read, parse, convert) as reader,
            ):
                start = 0
                for batch in reader:
                    yield start, batch
                    start += batch.num_rows
        except (FileNotFoundError, PermissionError, StoreError):
            raise
        except OSError as error:
            raise OSError(f"{self.path} cannot be read: {first_line(error)}; is it cut short?") from None

    def _what_is_wrong(self, columns: Sequence[int]) -> str | None:
        """Read the file again, slowly, for the first row that no number or no table can be made of."""
        row, skipped = -1 if self.named else 0, 0
        for line, cells in self._records(self.path):
            if not cells:
                skipped += 1
                continue
            if len(cells) != len(self.names):
                return (
                    f"{self.path}: row {row} (line {line}) has {len(cells)} cells where the first line has "
                    f"{len(self.names)}; correct the line"
                )
            for column in columns if row >= 0 else ():
                cell = cells[column].strip(" \t")
                if not is_number(cell) and cell not in MISSING:
                    return self.not_a_number(column, cell, row, f", line {line}")
            row += 1
        return None


def _block_bytes(columns: int) -> int:
    row = CELL_BYTES * columns
    return min(
        max(BLOCK_BYTES, min(BLOCK_ROWS * row, MOST_BYTES), 4 * row), 2**31 - 1
    )  # Arrow counts in int32


def _with_type(column: Any, words: Any) -> Any:
    """A column of CSV text as integers or floats if all of it is that, else as the text it was."""
    pa, pc = arrow(), arrow("compute")
    missing = pc.is_in(column, words)
    cells = pc.if_else(missing, pa.scalar(None, pa.string()), column)
    if cells.null_count == len(cells) or any(CODE.match(cell or "") for cell in cells.to_pylist()):
        return column
    for kind in (pa.int64(), pa.float64()):
        with suppress(pa.ArrowInvalid):
            return pc.cast(pc.utf8_trim_whitespace(cells), kind)
    return column
