"""A table whose features are read as the inputs that `Columns` makes of the cells as they are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from fasttangent.common.columns import Columns
from fasttangent.common.encoded import encoded
from fasttangent.common.inputs import Strange
from fasttangent.common.tables.arrow import arrow
from fasttangent.common.tables.table import Table


class FramedTable(Table):
    """Another table, whose record batches are encoded as a frame of all of it would be."""

    def __init__(self, name: str, table: Table, columns: Columns) -> None:
        super().__init__(table.path, table.names, table.named, table.rows)
        self.table, self._columns, self._strange = table, columns, Strange(name)

    def parts(
        self, columns: Sequence[int], keep: Sequence[int] = ()
    ) -> Iterator[tuple[np.ndarray, dict[str, Any]]]:
        for batch in self.table.batches(columns):
            if batch.num_rows:
                yield self._inputs(arrow().Table.from_batches([batch])), {}
        self._strange.warn()

    def batches(self, columns: Sequence[int], kinds: Mapping[int, Any] | None = None) -> Iterator[Any]:
        return self.table.batches(columns, kinds)

    def values(self, indices: np.ndarray, columns: Sequence[int]) -> np.ndarray:
        return self._inputs(self.table.picked(indices, columns))

    def count(self) -> int:
        return self.table.count()

    def take(self, indices: np.ndarray) -> dict[str, Any]:
        return self.table.take(indices)

    def width(self, columns: Sequence[int]) -> int:
        return len(self._columns.inputs)

    def _inputs(self, frame: Any) -> np.ndarray:
        return np.asarray(encoded(self._strange.name, frame, self._columns, self._strange)[:])
