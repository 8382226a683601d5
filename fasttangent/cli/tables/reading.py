"""Tables on disk: CSV (plain or gzip), Parquet and .npy, read in chunks as often as needed.

A `Table` numbers its columns from 0; names are looked up by `Table.column`. Numbers are handed out as
float64 with NaN for a missing cell. pyarrow is imported only when a CSV or a Parquet file is touched.
"""

from __future__ import annotations

import csv
import difflib
import gzip
import os
import re
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

SUFFIXES = (".csv", ".csv.gz", ".parquet", ".npy")
CHUNK_ROWS = 65_536

# What counts as a missing cell in CSV: the words of pyarrow's own default, kept here because the search for a
# bad cell and the header's detection must agree with the reader.
_MISSING = frozenset(
    ["", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "N/A", "NA"]
) | {"NULL", "NaN", "n/a", "nan", "null"}
_NUMBER = re.compile(r"[+-]?((\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|inf|infinity|nan)", re.ASCII | re.IGNORECASE)
_CODE = re.compile(r"[+-]?0\d", re.ASCII)  # 007 is a name, not a number
_BLOCK_BYTES = 4 << 20


def open_table(path: str | os.PathLike[str], header: bool | None = None) -> Table:
    """Open a table for reading; nothing but its head is read yet.

    Parameters
    ----------
    path : path
        A file ending in .csv, .csv.gz, .parquet or .npy.
    header : bool, optional
        Whether the first line of a CSV file names the columns. By default it does unless each of its
        cells is a number or missing (0, 1, 2, ... are names). Other formats ignore it.

    Returns
    -------
    Table

    Raises
    ------
    FileNotFoundError, IsADirectoryError, OSError
        If the file cannot be read (OSError also for one that is damaged or cut short).
    ValueError
        If its suffix is unknown or its content is no table of numbers.
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; name a file ending in {either(SUFFIXES)}")
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist; check the spelling and the current folder")
    kind = suffix(path)
    if path.stat().st_size == 0:
        raise ValueError(f"{path} is empty (0 bytes); was it written completely?")
    if kind == ".npy":
        return _NpyTable(path)
    return _ParquetTable(path) if kind == ".parquet" else _CsvTable(path, header)


def suffix(path: str | os.PathLike[str], known: Sequence[str] = SUFFIXES, advice: str = "convert it") -> str:
    """The one of `known` that the file's name ends in.

    Raises
    ------
    ValueError
        If it ends in none of them.
    """
    name = Path(path).name.lower()
    for one in known:
        if name.endswith(one):
            return one
    raise ValueError(f"{path} must end in {either(known)}; {advice}")


class Table(ABC):
    """A table on disk, read as often as needed.

    Attributes
    ----------
    path : Path
    names : list of str
        Names of the columns; their numbers where the file has no names.
    named : bool
        Whether the names come from the file.
    index : frozenset of int
        Columns that hold another program's row labels (pandas' index): never features.
    rows : int or None
        Number of rows; None if only reading the file would tell (CSV).
    """

    def __init__(self, path: Path, names: Sequence[str], named: bool, rows: int | None) -> None:
        self.path = path
        self.names = list(names)
        self.named = named
        self.index: frozenset[int] = frozenset()
        self.rows = rows
        counts = {name: self.names.count(name) for name in self.names if name} if named else {}
        twice = [name for name, count in counts.items() if count > 1]
        if twice:
            raise ValueError(f"{path} has two columns named {twice[0]!r}; rename one of them")

    @abstractmethod
    def blocks(self, columns: Sequence[int]) -> Iterator[np.ndarray]:
        """Yield float64 blocks (any number of rows, len(columns)) in order."""

    @abstractmethod
    def take(self, indices: np.ndarray) -> dict[str, Any]:
        """Return all columns of the given rows, in the given order, with their own types.

        Parameters
        ----------
        indices : ndarray of int64, shape (k,)
            Row numbers from 0.

        Returns
        -------
        dict of str to array
            NumPy or Arrow arrays of length k: what `write_table` takes.
        """

    def chunks(
        self, rows: int = CHUNK_ROWS, columns: Sequence[int] | None = None
    ) -> Iterator[tuple[int, np.ndarray]]:
        """Yield ``(start_row, block)``: float64 blocks of exactly `rows` rows, the last one perhaps fewer.

        Raises
        ------
        ValueError
            If a cell is no number, the rows differ in length, or there is no row at all.
        """
        start, height, waiting = 0, 0, list[np.ndarray]()
        for block in self.blocks(range(len(self.names)) if columns is None else columns):
            while len(block):
                part, block = block[: rows - height], block[rows - height :]
                waiting.append(part)
                height += len(part)
                if height == rows:
                    yield start, np.concatenate(waiting)
                    start, height, waiting = start + rows, 0, []
        if height:
            yield start, np.concatenate(waiting)
        elif not start:
            raise ValueError(f"{self.path} holds no rows")

    def read(self, columns: Sequence[int] | None = None) -> np.ndarray:
        """Return the whole table, or some of its columns, as one float64 array (rows, columns)."""
        return np.concatenate([block for _, block in self.chunks(columns=columns)])

    def column(self, wanted: str | int) -> int:
        """The number of a column given by its name or by its number (negative from the end).

        Raises
        ------
        ValueError
            If there is no such column; the message has the nearest name.
        """
        if self.named and wanted in self.names:
            return self.names.index(str(wanted))
        try:
            number = int(wanted)
        except ValueError:
            raise ValueError(self._no_column(str(wanted))) from None
        if not -len(self.names) <= number < len(self.names):
            raise ValueError(f"{self.path} has no column {number}; it has {len(self.names)}, numbered from 0")
        return number % len(self.names)

    def label(self, column: int) -> str:
        """How to speak of a column in a message."""
        return repr(self.names[column]) if self.named and self.names[column] else str(column)

    def _no_column(self, wanted: str) -> str:
        if not self.named:
            return f"{self.path} has no column names to find {wanted!r} in; give the column's number (from 0)"
        near = difflib.get_close_matches(wanted, self.names, n=1)
        hint = f"the nearest is {near[0]!r}" if near else f"it has {_listed(self.names)}"
        return f"{self.path} has no column {wanted!r}; {hint}"

    def _not_a_number(self, column: int, value: Any, row: int, where: str = "") -> str:
        return (
            f"{self.path}: column {self.label(column)} holds {value!r} in row {row} (counted from 0{where}), "
            f"which is no number; correct it, leave the cell empty, or leave the column out (--drop)"
        )


class _CsvTable(Table):
    """CSV, plain or gzip (told by its first bytes, not by its name)."""

    def __init__(self, path: Path, header: bool | None) -> None:
        arrow()
        with path.open("rb") as handle:
            self.gzipped = handle.read(2) == b"\x1f\x8b"
        blank, first = self._first_record(path)
        header = _looks_like_names(first) if header is None else header
        names = [cell.strip() for cell in first] if header else [str(i) for i in range(len(first))]
        self.skipped = blank + header
        super().__init__(path, names, header, None)
        self.index = frozenset(i for i, name in enumerate(self.names) if not name)
        if len(first) == 1 and re.search(r"[;\t|]", first[0]):
            raise ValueError(
                f"{path} seems to be separated by semicolons, tabs or bars; write it with commas "
                f"(and points in numbers)"
            )

    def _first_record(self, path: Path) -> tuple[int, list[str]]:
        """Number of empty lines at the top, and the cells of the first line that is not empty."""
        for blank, (_, cells) in enumerate(self._records(path)):
            if cells:
                return blank, cells
        raise ValueError(f"{path} holds nothing but empty lines")

    def _records(self, path: Path) -> Iterator[tuple[int, list[str]]]:
        """Yield (line number from 1, cells) slowly: for the first line and for finding what is wrong."""
        try:
            opened: Any = gzip.open if self.gzipped else open
            with opened(path, "rt", encoding="utf-8-sig", newline="") as handle:
                reader = csv.reader(handle)
                for cells in reader:
                    yield reader.line_num, cells
        except UnicodeDecodeError as error:
            raise ValueError(f"{path} is not UTF-8 text ({error.reason}); save it as CSV in UTF-8") from None
        except csv.Error as error:
            raise ValueError(f"{path} is no CSV file ({error})") from None
        except (EOFError, zlib.error) as error:
            raise OSError(f"{path} cannot be read: {error}; is it cut short?") from None

    def blocks(self, columns: Sequence[int]) -> Iterator[np.ndarray]:
        pa = arrow()
        try:
            for _, batch in self._batches(columns, pa.float64()):
                yield _block(batch)
        except pa.ArrowInvalid as error:
            raise ValueError(self._what_is_wrong(columns) or f"{self.path}: {_first_line(error)}") from None

    def take(self, indices: np.ndarray) -> dict[str, Any]:
        pa = arrow()
        everything = range(len(self.names))
        try:
            table = _gather(self.path, self._batches(everything, pa.string()), indices)
        except pa.ArrowInvalid as error:
            raise ValueError(self._what_is_wrong([]) or f"{self.path}: {_first_line(error)}") from None
        return {self.names[i] or f"column_{i}": _with_type(table.column(i)) for i in everything}

    def _batches(self, columns: Iterable[int], kind: Any) -> Iterator[tuple[int, Any]]:
        """Yield (first row, record batch), each cell converted to one Arrow type."""
        pa = arrow()
        from pyarrow import csv as arrow_csv

        positions = [str(i) for i in range(len(self.names))]
        read = arrow_csv.ReadOptions(
            column_names=positions, skip_rows_after_names=self.skipped, block_size=_BLOCK_BYTES
        )
        convert = arrow_csv.ConvertOptions(
            include_columns=[str(i) for i in columns],
            column_types=dict.fromkeys(positions, kind),
            null_values=sorted(_MISSING),
        )
        parse = arrow_csv.ParseOptions(newlines_in_values=True)
        try:
            with (
                pa.input_stream(str(self.path), compression="gzip" if self.gzipped else None) as stream,
                arrow_csv.open_csv(stream, read, parse, convert) as reader,
            ):
                start = 0
                for batch in reader:
                    yield start, batch
                    start += batch.num_rows
        except OSError as error:
            raise OSError(f"{self.path} cannot be read: {_first_line(error)}; is it cut short?") from None

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
                if not _is_number(cell) and cell not in _MISSING:
                    return self._not_a_number(column, cell, row, f", line {line}")
            row += 1
        return None


class _ParquetTable(Table):
    """Parquet, one row group at a time."""

    def __init__(self, path: Path) -> None:
        with self._readable(path), self._opened(path) as file:
            schema, rows = file.schema_arrow, file.metadata.num_rows
            self.groups = [file.metadata.row_group(g).num_rows for g in range(file.num_row_groups)]
        if not len(schema.names):
            raise ValueError(f"{path} has no columns")
        super().__init__(path, schema.names, True, rows)
        index = (schema.pandas_metadata or {}).get("index_columns", [])
        self.index = frozenset(i for i, name in enumerate(self.names) if name in index)

    @staticmethod
    def _opened(path: Path) -> Any:
        arrow()
        from pyarrow import parquet

        return parquet.ParquetFile(str(path), pre_buffer=False)

    @staticmethod
    @contextmanager
    def _readable(path: Path) -> Iterator[None]:
        """Say of Arrow's own errors, whatever their class, that the file is damaged."""
        pa = arrow()
        try:
            yield
        except (pa.ArrowException, OSError) as error:
            raise OSError(f"{path} cannot be read: {_first_line(error)}; is it cut short?") from None

    def blocks(self, columns: Sequence[int]) -> Iterator[np.ndarray]:
        for start, batch in self._batches(range(len(self.groups)), columns):
            for place, column in enumerate(columns):
                self._check_numbers(column, batch.column(place), start)
            yield _block(batch)

    def take(self, indices: np.ndarray) -> dict[str, Any]:
        # Row groups without a picked row are not read at all.
        groups = np.unique(np.searchsorted(np.cumsum(self.groups), indices, side="right"))
        everything = range(len(self.names))
        table = _gather(self.path, self._batches(groups[groups < len(self.groups)], everything), indices)
        return {self.names[i]: table.column(i) for i in everything}

    def _batches(self, groups: Iterable[int], columns: Sequence[int]) -> Iterator[tuple[int, Any]]:
        """Yield (first row, record batch) of the given row groups."""
        names = [self.names[i] for i in columns]
        with self._readable(self.path), self._opened(self.path) as file:
            for group in groups:
                start = sum(self.groups[:group])
                for batch in file.iter_batches(CHUNK_ROWS, row_groups=[int(group)], columns=names):
                    yield start, batch.select(names)
                    start += batch.num_rows

    def _check_numbers(self, column: int, values: Any, start: int) -> None:
        """Raise unless all values of one column of a batch, whose first row is `start`, are numbers."""
        try:
            _numbers(values)
        except (ValueError, NotImplementedError):
            bad = (
                (row, value)
                for row, value in enumerate(values.to_pylist(), start)
                if value is not None and not (isinstance(value, str) and _is_number(value))
            )
            row, value = next(bad, (start, values[0]))
            raise ValueError(self._not_a_number(column, value, row)) from None


class _NpyTable(Table):
    """A two-dimensional .npy array, memory-mapped."""

    def __init__(self, path: Path) -> None:
        try:
            self.array = np.lib.format.open_memmap(path, mode="r")
        except (ValueError, EOFError) as error:
            if "object" in str(error).lower():
                message = "holds Python objects, which are never unpickled; save an array of numbers"
                raise ValueError(f"{path} {message}") from None
            raise OSError(f"{path} cannot be read as .npy: {_first_line(error)}; is it cut short?") from None
        dtype, shape = self.array.dtype, self.array.shape
        if dtype.kind not in "biuf":
            raise ValueError(
                f"{path} holds {kind_of(dtype)}, not real numbers; save a float or integer array"
            )
        if len(shape) != 2 or shape[1] == 0:
            raise ValueError(
                f"{path} has shape {shape} and must be (rows, columns)"
                + ("; save array.reshape(-1, 1)" if len(shape) == 1 else "")
            )
        super().__init__(path, [str(i) for i in range(shape[1])], False, shape[0])

    def blocks(self, columns: Sequence[int]) -> Iterator[np.ndarray]:
        # Reading through a slice per block lets the system drop pages behind; a list of columns copies.
        for start in range(0, len(self.array), CHUNK_ROWS):
            block = self.array[start : start + CHUNK_ROWS]
            yield np.asarray(block[:, list(columns)], dtype=np.float64)

    def take(self, indices: np.ndarray) -> dict[str, Any]:
        picked = np.asarray(self.array[indices])
        return {name: picked[:, i] for i, name in enumerate(self.names)}


def _block(batch: Any) -> np.ndarray:
    """A record batch of numbers as a float64 array (rows, columns)."""
    block = np.empty((batch.num_rows, batch.num_columns))
    for i, column in enumerate(batch.columns):
        block[:, i] = _numbers(column)
    return block


def _numbers(column: Any) -> np.ndarray:
    """An Arrow array as float64, missing values as NaN; raises Arrow's errors where that cannot be done."""
    import pyarrow.compute as pc

    pa = arrow()
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_temporal(column.type):
        raise pa.ArrowNotImplementedError("a point in time is no number")
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        column = pc.utf8_trim_whitespace(column)
    return pc.cast(column, pa.float64(), safe=False).to_numpy(zero_copy_only=False)


def _with_type(column: Any) -> Any:
    """A column of CSV text as integers or floats if all of it is that, else as the text it was."""
    import pyarrow.compute as pc

    pa = arrow()
    missing = pc.is_in(column, pa.array(sorted(_MISSING)))
    cells = pc.if_else(missing, pa.scalar(None, pa.string()), column)
    if cells.null_count == len(cells) or any(_CODE.match(cell or "") for cell in cells.to_pylist()):
        return column
    for kind in (pa.int64(), pa.float64()):
        with suppress(pa.ArrowInvalid):
            return pc.cast(pc.utf8_trim_whitespace(cells), kind)
    return column


def _gather(path: Path, batches: Iterator[tuple[int, Any]], indices: np.ndarray) -> Any:
    """The rows `indices`, in that order, of a stream of (first row, record batch)."""
    pa = arrow()
    order = np.argsort(indices, kind="stable")
    wanted, found, parts = indices[order], 0, []
    for start, batch in batches:
        low, high = np.searchsorted(wanted, [start, start + batch.num_rows])
        parts.append(batch.take(pa.array(wanted[low:high] - start)))
        found += high - low
        if found == len(wanted):
            break
    if found < len(wanted):
        raise ValueError(f"{path} has no row {wanted[-1]}; was the file changed meanwhile?")
    back = np.empty_like(order)
    back[order] = np.arange(len(order))
    return pa.Table.from_batches(parts).take(pa.array(back))


def _looks_like_names(cells: Sequence[str]) -> bool:
    """Whether a first line names columns: it does unless it could be data, or if it counts 0, 1, 2, ...

    pandas writes such a count for a frame made from an array, and an empty cell before it for the index.
    """
    filled = [cell.strip() for cell in cells if cell.strip()]
    counted = len(filled) > 2 and filled == [str(i) for i in range(len(filled))]
    return counted or not all(_is_number(cell) or cell in _MISSING for cell in filled)


def _is_number(cell: str) -> bool:
    return _NUMBER.fullmatch(cell.strip(" \t")) is not None


def arrow() -> Any:
    try:
        import pyarrow
    except ImportError:
        raise ImportError("CSV and Parquet tables need pyarrow: pip install 'fasttangent[cli]'") from None
    return pyarrow


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")


def kind_of(dtype: np.dtype) -> str:
    names = {"c": "complex numbers", "O": "Python objects", "V": "records", "M": "dates", "m": "durations"}
    return names.get(dtype.kind, "text")


def either(words: Sequence[str]) -> str:
    return ", ".join(words[:-1]) + " or " + words[-1] if len(words) > 1 else words[0]


def _listed(names: Sequence[str], most: int = 12) -> str:
    shown = ", ".join(repr(name) for name in names[:most])
    return shown + (f" and {len(names) - most} more" if len(names) > most else "")
