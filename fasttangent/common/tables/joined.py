"""Several files as one table: their rows one after the other, their columns by name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from fasttangent.common.tables.arrow import arrow, encoded
from fasttangent.common.tables.filtered_table import FilteredTable
from fasttangent.common.tables.reading import open_table
from fasttangent.common.tables.stores import Place, stamp
from fasttangent.common.tables.table import Table
from fasttangent.common.tables.typed import is_text, words_of
from fasttangent.common.tables.where import Condition


class JoinedTable(Table):
    """Files with the columns of the first, in any order where they have names; others are not seen.

    Each must stay what it was when it was first read.  None is kept open, and of each only the number of rows.

    Parameters
    ----------
    places : sequence of paths
    header : bool, optional
        As for `open_table`.
    rows : sequence of int, optional
        Of each file, where that is known.
    where : sequence of Condition
        Rows for which one does not hold are left out and not counted.
    """

    def __init__(
        self,
        places: Sequence[Place],
        header: bool | None = None,
        rows: Sequence[int] | None = None,
        where: Sequence[Condition] = (),
    ) -> None:
        self.places, self.header, self._where = list(places), header, where
        self._rows: list[int | None] = [None] * len(places) if rows is None else list(rows)
        self._stamps: list[str | None] = [None] * len(places)
        first = self._opened(0)
        called = str(places[0]) + (f" and {len(places) - 1:,} more" if len(places) > 1 else "")
        super().__init__(called, first.names, first.named, first.rows if len(places) == 1 else None)
        self.index = first.index

    def parts(
        self, columns: Sequence[int], keep: Sequence[int] = ()
    ) -> Iterator[tuple[np.ndarray, dict[str, Any]]]:
        for i in range(len(self.places)):
            table, rows = self._opened(i), 0
            for block, kept in table.parts(self._of(table, columns), self._of(table, keep)):
                rows += len(block)
                yield block, dict(zip([self.names[j] for j in keep], kept.values(), strict=True))
            self._found(i, rows)

    def batches(self, columns: Sequence[int], kinds: Mapping[int, Any] | None = None) -> Iterator[Any]:
        pa, schema = arrow(), None
        for i in range(len(self.places)):
            table = self._opened(i)
            own = self._of(table, columns)
            for batch in table.batches(own, _own_kinds(kinds, columns, own)):
                schema = schema or batch.schema
                yield batch if batch.schema.equals(schema) else _cast(pa, batch, schema)

    def picked(
        self, indices: np.ndarray, columns: Sequence[int], kinds: Mapping[int, Any] | None = None
    ) -> Any:
        found, order = [], []
        for where, local, table in self._holding(indices):
            own = self._of(table, columns)
            found.append(table.picked(local, own, _own_kinds(kinds, columns, own)))
            order.append(where)
        return _joined(found, order)

    def values(self, indices: np.ndarray, columns: Sequence[int]) -> np.ndarray:
        found = np.empty((len(indices), len(columns)))
        for where, local, table in self._holding(indices):
            found[where] = table.values(local, self._of(table, columns))
        return found

    def take(self, indices: np.ndarray) -> dict[str, Any]:
        pa, found, order = arrow(), [], []
        for where, local, table in self._holding(indices):
            taken = table.take(local)
            found.append(pa.table({name: taken[name] for name in taken}))
            order.append(where)
        whole = _joined(_alike(found), order)
        return {name: whole[name] for name in whole.schema.names}

    def labels(self, column: int) -> np.ndarray:
        pa = arrow()
        if len(self.places) == 1:
            return self._opened(0).labels(column)
        cells = pa.chunked_array([b.column(0) for b in self.batches([column], {column: pa.string()})])
        return encoded(words_of(cells) if is_text(cells) else cells)

    def count(self) -> int:
        self.rows = int(self.starts()[-1])
        return self.rows

    def starts(self) -> np.ndarray:
        """Number of the first row of every file, and of all rows."""
        for i, rows in enumerate(self._rows):
            if rows is None:
                self._found(i, self._opened(i).count())
        return np.cumsum([0, *(rows or 0 for rows in self._rows)], dtype=np.int64)

    def file_of(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Numbers of the files that hold rows, and the rows' numbers in these."""
        starts = self.starts()
        file = np.searchsorted(starts[1:], indices, side="right")
        return file, indices - starts[file]

    def origin(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The same, where rows that are left out of a file count."""
        file, local = self.file_of(indices)
        if self._where:
            for where, own, table in self._holding(indices):
                assert isinstance(table, FilteredTable)
                local[where] = table.origin(own)
        return file, local

    def _opened(self, i: int) -> Table:
        now = stamp(self.places[i])
        if self._stamps[i] not in (None, now):
            raise OSError(f"{self.places[i]} is another file than it was before; begin again")
        self._stamps[i] = now
        table = open_table(self.places[i], self.header)
        return FilteredTable(table, self._where) if self._where else table

    def _found(self, i: int, rows: int) -> None:
        if self._rows[i] not in (None, rows):
            raise OSError(
                f"{self.places[i]} has {rows:,} rows and had {self._rows[i]:,}; a pool must stay the same"
            )
        self._rows[i] = rows

    def _of(self, table: Table, columns: Sequence[int]) -> list[int]:
        """Their numbers in one of the files."""
        if table.names == self.names:
            return list(columns)
        if not (self.named and table.named):
            if len(table.names) != len(self.names):
                raise ValueError(
                    f"{table.path} has {len(table.names)} columns and the files before it have {len(self.names)}; "
                    f"without names they are matched by position, so give files of the same columns"
                )
            return list(columns)
        return [table.column(self.names[i]) for i in columns]

    def _holding(self, indices: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray, Table]]:
        """Of every file that holds wanted rows: where they are wanted, their numbers in it, the file opened."""
        file, local = self.file_of(indices)
        for i in np.unique(file).tolist():
            where = np.flatnonzero(file == i)
            yield where, local[where], self._opened(i)


def _own_kinds(
    kinds: Mapping[int, Any] | None, columns: Sequence[int], own: Sequence[int]
) -> dict[int, Any] | None:
    if kinds is None:
        return None
    return {mine: kinds[i] for i, mine in zip(columns, own, strict=True) if i in kinds}


def _cast(pa: Any, batch: Any, schema: Any) -> Any:
    """A batch whose columns are of other types than those of the first file."""
    columns = [one.cast(kind, safe=False) for one, kind in zip(batch.columns, schema.types, strict=True)]
    return pa.record_batch(columns, schema.names)


def _alike(tables: list[Any]) -> list[Any]:
    """Tables whose columns are of text where others have numbers: of no type if they are empty; else all are text."""
    pa, out = arrow(), list(tables)
    for name in dict.fromkeys(name for table in tables for name in table.schema.names):
        having = [i for i, table in enumerate(tables) if name in table.schema.names]
        text = {i for i in having if is_text(tables[i][name])}
        empty = {i for i in text if words_of(tables[i][name]).null_count == tables[i].num_rows}
        for i in having if text and len(text) < len(having) else ():
            values, at = tables[i][name], tables[i].schema.get_field_index(name)
            if empty != text:
                out[i] = out[i].set_column(at, name, values.cast(pa.string()))
            elif i in empty:
                out[i] = out[i].set_column(at, name, pa.nulls(len(values)))
    return out


def _joined(tables: list[Any], order: list[np.ndarray]) -> Any:
    """Rows of several Arrow tables, back where they are wanted."""
    pa = arrow()
    back = np.empty(sum(map(len, order)), np.int64)
    back[np.concatenate([np.empty(0, np.int64), *order])] = np.arange(len(back))
    return pa.concat_tables(tables, promote_options="permissive").take(pa.array(back))
