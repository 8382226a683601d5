"""A table whose features are read as the inputs that `Columns` makes of the cells as they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fasttangent.common.columns import Columns
from fasttangent.common.inputs import Strange
from fasttangent.common.tables.encoded_table import EncodedTable
from fasttangent.common.tables.table import Table


class FramedTable(EncodedTable):
    """Another table, whose record batches are encoded as a frame of all of it would be; `name` is that of the frame."""

    def __init__(self, name: str, table: Table, columns: Columns, features: Sequence[int]) -> None:
        super().__init__(table, columns, features)
        self._strange = Strange(name)

    def _arrow_kinds(self, columns: Sequence[int]) -> None:
        return None

    def _typed(self, cells: Sequence[Any]) -> list[Any]:
        return list(cells)
