"""Parquet as a table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from fasttangent.common.tables.arrow import arrow, opened, readable
from fasttangent.common.tables.arrow_table import ArrowTable
from fasttangent.common.tables.stores import Place
from fasttangent.common.tables.table import CHUNK_ROWS, height
from fasttangent.common.tables.where import Condition

CELLS = 1_000_000  # of a row group; to decode fewer takes longer on several threads than on one
BUFFER = 1 << 18  # bytes of a column of a file on a disk, which is not read whole


class ParquetTable(ArrowTable):
    """Parquet, one row group at a time."""

    path: Place

    def __init__(self, path: Place) -> None:
        with _reading(path) as file:
            self._metadata = file.metadata
            schema, rows = file.schema_arrow, file.metadata.num_rows
            groups = [file.metadata.row_group(g).num_rows for g in range(file.num_row_groups)]
        self.starts = np.cumsum([0, *groups])  # of the row groups, and where the last one ends
        if not len(schema.names):
            raise ValueError(f"{path} has no columns")
        super().__init__(path, schema.names, True, rows)
        self._kinds = dict(zip(schema.names, schema.types, strict=True))
        index = (schema.pandas_metadata or {}).get("index_columns", [])
        self.index = frozenset(i for i, name in enumerate(self.names) if name in index)

    def groups_of(self, where: Sequence[Condition]) -> np.ndarray:
        """Row groups that may hold a row for which all conditions hold, by their statistics."""
        metadata = self._metadata
        leaves = {metadata.schema.column(i).path: i for i in range(metadata.num_columns)}
        known = [(one, leaves[one.column]) for one in where if one.column in leaves]

        def may_hold(group: int) -> bool:
            about = metadata.row_group(group)
            return all(
                one.may_hold(about.column(leaf).statistics, self._kinds[one.column]) for one, leaf in known
            )

        return np.array([g for g in range(len(self.starts) - 1) if may_hold(g)], np.int64)

    def numbered(
        self,
        columns: Sequence[int],
        wanted: np.ndarray | None = None,
        groups: np.ndarray | None = None,
    ) -> Iterator[tuple[int, Any]]:
        names = [self.names[i] for i in columns]
        groups = np.arange(len(self.starts) - 1) if groups is None else groups
        if wanted is not None:  # row groups without such a row are not read at all
            groups = np.intersect1d(groups, np.searchsorted(self.starts[1:], wanted, side="right"))
        with _reading(self.path, self._metadata) as file:
            for group in groups.tolist():
                start = int(self.starts[group])
                rows = height(CHUNK_ROWS, len(names))
                several = len(names) * int(self.starts[group + 1] - start) > CELLS
                for batch in file.iter_batches(rows, row_groups=[group], columns=names, use_threads=several):
                    yield start, batch.select(names)
                    start += batch.num_rows


@contextmanager
def _reading(path: Place, metadata: Any = None) -> Iterator[Any]:
    # What a store sends is asked for at once; of a disk, a batch at a time costs nothing and holds less.
    at_once = not isinstance(path, Path)
    buffer = 0 if at_once else BUFFER
    with (
        readable(path),
        opened(path) as source,
        arrow("parquet").ParquetFile(
            source, metadata=metadata, pre_buffer=at_once, buffer_size=buffer
        ) as file,
    ):
        yield file
