"""Parquet as a table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from fasttangent.common.tables.arrow import arrow, block, encoded, gather, numbers
from fasttangent.common.tables.cells import is_number
from fasttangent.common.tables.table import CHUNK_ROWS, Table, first_line, height


class ParquetTable(Table):
    """Parquet, one row group at a time."""

    def __init__(self, path: Path) -> None:
        with self._readable(path), self._opened(path) as file:
            schema, rows = file.schema_arrow, file.metadata.num_rows
            groups = [file.metadata.row_group(g).num_rows for g in range(file.num_row_groups)]
        self.starts = np.cumsum([0, *groups])  # of the row groups, and where the last one ends
        if not len(schema.names):
            raise ValueError(f"{path} has no columns")
        super().__init__(path, schema.names, True, rows)
        index = (schema.pandas_metadata or {}).get("index_columns", [])
        self.index = frozenset(i for i, name in enumerate(self.names) if name in index)

    @staticmethod
    def _opened(path: Path) -> Any:
        return arrow("parquet").ParquetFile(str(path), pre_buffer=False)

    @staticmethod
    @contextmanager
    def _readable(path: Path) -> Iterator[None]:
        """Say of Arrow's own errors, whatever their class, that the file is damaged."""
        pa = arrow()
        try:
            yield
        except (pa.ArrowException, OSError) as error:
            raise OSError(f"{path} cannot be read: {first_line(error)}; is it cut short?") from None

    def blocks(self, columns: Sequence[int]) -> Iterator[np.ndarray]:
        for start, batch in self._batches(range(len(self.starts) - 1), columns):
            of = zip(columns, batch.columns, strict=True)
            yield block(batch, (self._numbers(column, values, start) for column, values in of))

    def take(self, indices: np.ndarray) -> dict[str, Any]:
        # Row groups without a picked row are not read at all.
        groups = np.unique(np.searchsorted(self.starts[1:], indices, side="right"))
        everything = range(len(self.names))
        table = gather(self.path, self._batches(groups[groups < len(self.starts) - 1], everything), indices)
        return {self.names[i]: table.column(i) for i in everything}

    def labels(self, column: int) -> np.ndarray:
        pa = arrow()
        batches = self._batches(range(len(self.starts) - 1), [column])
        return encoded(pa.chunked_array([batch.column(0) for _, batch in batches]))

    def _batches(self, groups: Iterable[int], columns: Sequence[int]) -> Iterator[tuple[int, Any]]:
        """Yield (first row, record batch) of the given row groups."""
        names = [self.names[i] for i in columns]
        with self._readable(self.path), self._opened(self.path) as file:
            for group in groups:
                start = int(self.starts[group])
                rows = height(CHUNK_ROWS, len(names))
                for batch in file.iter_batches(rows, row_groups=[int(group)], columns=names):
                    yield start, batch.select(names)
                    start += batch.num_rows

    def _numbers(self, column: int, values: Any, start: int) -> np.ndarray:
        """One column of a batch, whose first row is `start`; raises unless all of its values are numbers."""
        try:
            return numbers(values)
        except (ValueError, NotImplementedError):
            bad = (
                (row, value)
                for row, value in enumerate(values.to_pylist(), start)
                if value is not None and not (isinstance(value, str) and is_number(value))
            )
            row, value = next(bad, (start, values[0]))
            raise ValueError(self._not_a_number(column, value, row)) from None
