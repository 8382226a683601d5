"""A table on disk whose features are read as the inputs that a model makes of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from fasttangent.common.columns import Columns
from fasttangent.common.encoded import encoded
from fasttangent.common.inputs import Strange
from fasttangent.common.tables.arrow import arrow
from fasttangent.common.tables.table import Table
from fasttangent.common.tables.typed import is_text, moments_of, words_of
from fasttangent.common.tables.words import first_line


def as_read_by(model: Any, table: Table, features: Sequence[int]) -> Table:
    """The table, or where the model encodes columns one whose rows of these features are its inputs."""
    columns = getattr(model, "columns", None)
    if columns is None or columns.plain or isinstance(table, EncodedTable):
        return table
    return EncodedTable(table, columns, features)


class EncodedTable(Table):
    """Another table; `parts` and `values` of all features give inputs, and of other columns what they were.

    Cells like none in training are told of after the first reading.
    """

    def __init__(self, table: Table, columns: Columns, features: Sequence[int]) -> None:
        super().__init__(table.path, table.names, table.named, table.rows)
        self.index = table.index
        self.table, self._columns, self._features = table, columns, list(features)
        self._strange = Strange(str(table.path))
        numeric = [i for i, one in zip(features, columns.used, strict=True) if one.kind == "number"]
        self._kinds: dict[int, Any] = dict.fromkeys(numeric)

    def parts(
        self, columns: Sequence[int], keep: Sequence[int] = ()
    ) -> Iterator[tuple[np.ndarray, dict[str, Any]]]:
        if list(columns) != self._features:
            yield from self.table.parts(columns, keep)
            return
        beside = [i for i in keep if i not in self._features]
        every = [*self._features, *beside]
        for batch in self.table.batches(every, self._arrow_kinds(every)):
            kept = {self.names[i]: batch.column(every.index(i)) for i in keep}
            yield self._inputs(batch.columns[: len(self._features)]), kept
        self._strange.warn()

    def batches(self, columns: Sequence[int], kinds: Mapping[int, Any] | None = None) -> Iterator[Any]:
        return self.table.batches(columns, kinds)

    def values(self, indices: np.ndarray, columns: Sequence[int]) -> np.ndarray:
        if list(columns) != self._features:
            return self.table.values(indices, columns)
        picked = self.table.picked(indices, self._features, self._arrow_kinds(self._features))
        return self._inputs(picked.columns)

    def count(self) -> int:
        return self.table.count()

    def take(self, indices: np.ndarray) -> dict[str, Any]:
        return self.table.take(indices)

    def labels(self, column: int) -> np.ndarray:
        return self.table.labels(column)

    def width(self, columns: Sequence[int]) -> int:
        return len(self._columns.inputs) if list(columns) == self._features else len(columns)

    def _arrow_kinds(self, columns: Sequence[int]) -> dict[int, Any] | None:
        """As what columns are read."""
        pa = arrow()
        return {i: pa.float64() if i in self._kinds else pa.string() for i in columns}

    def _inputs(self, cells: Sequence[Any]) -> np.ndarray:
        table = arrow().table(self._typed(cells), names=list(self._columns.names))
        return np.asarray(encoded(self._strange.name, table, self._columns, self._strange)[:])

    def _typed(self, cells: Sequence[Any]) -> list[Any]:
        """Columns as what their text stands for."""
        pa, typed = arrow(), []
        for i, one, values in zip(self._features, self._columns.used, cells, strict=True):
            if is_text(values):
                values = words_of(values)
                if one.kind == "moment":
                    try:
                        values = moments_of(values)
                    except pa.ArrowInvalid as error:
                        what = first_line(error)
                        raise ValueError(
                            f"{self.path}: column {self.label(i)} must hold moments such as 2026-03-01 12:30, as in "
                            f"training: {what}; mend them, or leave the cells empty"
                        ) from None
            typed.append(values)
        return typed
