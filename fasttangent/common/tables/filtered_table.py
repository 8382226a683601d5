"""Those rows of a table in a file for which conditions hold, numbered anew."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from fasttangent.common.tables.arrow import arrow, counted
from fasttangent.common.tables.arrow_table import ArrowTable
from fasttangent.common.tables.parquet_file import ParquetTable
from fasttangent.common.tables.table import Table
from fasttangent.common.tables.where import Condition


class FilteredTable(ArrowTable):
    """Another table without the rows that do not fulfil all conditions.

    Row groups of Parquet whose statistics rule them out are not read.
    """

    def __init__(self, table: Table, where: Sequence[Condition]) -> None:
        if not table.named:
            raise ValueError(f"where needs columns with names, and {table.path} has none; leave it out")
        super().__init__(table.path, table.names, True, None)
        self.index, self.table, self._where = table.index, table, where
        self._columns = [table.column(one.column) for one in where]

    def numbered(self, columns: Sequence[int], wanted: np.ndarray | None = None) -> Iterator[tuple[int, Any]]:
        return counted(self.batches(columns))

    def batches(self, columns: Sequence[int], kinds: Mapping[int, Any] | None = None) -> Iterator[Any]:
        for _, batch, good in self._passed(columns, kinds):
            yield batch if good.all() else batch.filter(arrow().array(good))

    def picked(
        self, indices: np.ndarray, columns: Sequence[int], kinds: Mapping[int, Any] | None = None
    ) -> Any:
        return self.table.picked(self.origin(indices), columns, kinds)

    def values(self, indices: np.ndarray, columns: Sequence[int]) -> np.ndarray:
        return self.table.values(self.origin(indices), columns)

    def take(self, indices: np.ndarray) -> dict[str, Any]:
        return self.table.take(self.origin(indices))

    def count(self) -> int:
        if self.rows is None:
            self.rows = sum(int(np.count_nonzero(good)) for _, _, good in self._passed(()))
        return self.rows

    def origin(self, indices: np.ndarray) -> np.ndarray:
        """The numbers of rows in the file."""
        passed = (start + np.flatnonzero(good) for start, _, good in self._passed(()))
        every = np.concatenate([np.empty(0, np.int64), *passed])
        if len(indices) and indices.max() >= len(every):
            raise ValueError(f"{self.path} has no row {indices.max()}; was the file changed meanwhile?")
        return every[indices]

    def _passed(
        self, columns: Sequence[int], kinds: Mapping[int, Any] | None = None
    ) -> Iterator[tuple[int, Any, np.ndarray]]:
        """(first row in the file, batch of the columns, which of its rows there are)."""
        as_text = kinds is not None and not isinstance(self.table, ArrowTable)
        every = list(dict.fromkeys([*(() if as_text else columns), *self._columns]))
        place = {column: i for i, column in enumerate(every)}
        batches = self._batches(every)
        # Conditions are on what text looks like, whatever it is wanted as: then it is read a second time.
        wanted = self.table.batches(columns, kinds) if as_text else None
        for start, batch in batches:
            good = np.ones(batch.num_rows, bool)
            for one, column in zip(self._where, self._columns, strict=True):
                good &= one.holds(batch.column(place[column]))
            found = batch.select([place[i] for i in columns]) if wanted is None else next(wanted)
            if good.any():
                yield start, found, good

    def _batches(self, columns: Sequence[int]) -> Iterator[tuple[int, Any]]:
        if isinstance(self.table, ParquetTable):
            return self.table.numbered(columns, groups=self.table.groups_of(self._where))
        return counted(self.table.batches(columns))
