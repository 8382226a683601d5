"""Tables that Arrow reads as record batches of columns with types."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from fasttangent.common.tables.arrow import arrow, block, encoded, gather, numbers
from fasttangent.common.tables.cells import is_number
from fasttangent.common.tables.table import Table


class ArrowTable(Table):
    """A table that comes as (first row, record batch)."""

    @abstractmethod
    def numbered(self, columns: Sequence[int], wanted: np.ndarray | None = None) -> Iterator[tuple[int, Any]]:
        """Yield (first row, record batch) of some columns; of parts that hold no `wanted` row nothing needs to come."""

    def parts(
        self, columns: Sequence[int], keep: Sequence[int] = ()
    ) -> Iterator[tuple[np.ndarray, dict[str, Any]]]:
        place = {column: i for i, column in enumerate(dict.fromkeys([*columns, *keep]))}
        for start, batch in self.numbered(list(place)):
            found = (self._numbers(i, batch.column(place[i]), start) for i in columns)
            kept = {self.names[i]: batch.column(place[i]) for i in keep}
            yield block(batch.num_rows, found, len(columns)), kept

    def batches(self, columns: Sequence[int], kinds: Mapping[int, Any] | None = None) -> Iterator[Any]:
        for _, batch in self.numbered(columns):
            yield batch

    def picked(
        self, indices: np.ndarray, columns: Sequence[int], kinds: Mapping[int, Any] | None = None
    ) -> Any:
        return gather(self.path, self.numbered(columns, indices), indices)

    def values(self, indices: np.ndarray, columns: Sequence[int]) -> np.ndarray:
        table = self.picked(indices, columns)
        found = (self._numbers(i, one, None) for i, one in zip(columns, table.columns, strict=True))
        return block(len(table), found, len(columns))

    def take(self, indices: np.ndarray) -> dict[str, Any]:
        everything = range(len(self.names))
        table = self.picked(indices, everything)
        return {self.names[i]: table.column(i) for i in everything}

    def labels(self, column: int) -> np.ndarray:
        return encoded(arrow().chunked_array([batch.column(0) for _, batch in self.numbered([column])]))

    def _numbers(self, column: int, values: Any, start: int | None) -> np.ndarray:
        """One column of a batch, whose first row is `start`; raises unless all of its values are numbers."""
        try:
            return numbers(values)
        except (ValueError, NotImplementedError):
            bad = (
                (row, value)
                for row, value in enumerate(values.to_pylist(), start or 0)
                if value is not None and not (isinstance(value, str) and is_number(value))
            )
            row, value = next(bad, (start or 0, values[0]))
            raise ValueError(self.not_a_number(column, value, row)) from None
