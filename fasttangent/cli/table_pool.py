"""A table on disk as a pool."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from fasttangent.common.progress import Report
    from fasttangent.common.tables.joined import JoinedTable
    from fasttangent.common.tables.table import Table

CHUNK_ROWS = 1 << 17
OF_ROWS = ("groups", "cost", "noise")  # options that name a column which says something of every row


class TablePool:
    """A pool on disk, read as often as needed: see `fasttangent.active.pool.Pool`."""

    def __init__(self, table: Table, columns: list[int], report: Report) -> None:
        self.table, self.columns, self.report = table, columns, report

    def __len__(self) -> int:
        return self.table.count()

    def chunks(self) -> Iterator[tuple[int, np.ndarray]]:
        from fasttangent.common.handing import ahead
        from fasttangent.common.tables.table import height

        total, rows_at_once = self.table.rows or 0, height(CHUNK_ROWS, self.table.width(self.columns))
        self.report("reading", 0, total)
        with ahead(self.table.chunks(rows_at_once, self.columns)) as chunks:
            for start, rows in chunks:
                yield start, rows
                self.report("reading", start + len(rows), total)

    def take(self, numbers: np.ndarray) -> np.ndarray:
        return self.table.values(numbers, self.columns)


def where(pool: JoinedTable, rows: np.ndarray) -> dict[str, Any]:
    """Of several files the one that holds each row, and the row's number in it."""
    import numpy as np

    if len(pool.places) == 1:
        return {}
    file, row = pool.file_of(rows)
    return {"file": np.array([str(pool.places[i]) for i in file]), "row_in_file": row}


def of_rows(table: Table, columns: dict[str, str | None]) -> dict[str, Any]:
    """The values of columns by the option that names them: groups as labels, others as numbers; of None nothing."""
    found = dict[str, Any]()
    for what, column in columns.items():
        if column is not None:
            i = table.column(column)
            found[what] = table.labels(i) if what == "groups" else table.read([i])[:, 0]
    return found


def no_features(table: Table, beside: Sequence[str], fitted: Sequence[str] | None) -> list[str]:
    """Of columns that say something of rows those that nothing was fitted on."""
    known = fitted if table.named and fitted is not None else ()
    return [name for name in beside if table.names[table.column(name)] not in known]
