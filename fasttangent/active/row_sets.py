"""Some rows of a pool with their values, no two of them equal."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from fasttangent.common.duplicates import row_keys

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fasttangent.active.pool import Usable

    Rows = NDArray[np.int64]
    Keys = NDArray[np.uint64]


class RowSet(NamedTuple):
    """Rows in the order of their numbers; of equal ones the one of the lowest."""

    number: Rows
    key: Keys
    mark: Keys
    rows: NDArray

    def of(self, places: NDArray) -> RowSet:
        return RowSet(*(a[places] for a in self))

    def same(self, other: RowSet) -> bool:
        """Whether both hold the same values in the same order."""
        return np.array_equal(self.key, other.key) and np.array_equal(self.mark, other.mark)


def of_usable(rows: Usable) -> RowSet:
    """Equal ones among them; `joined` finds those."""
    return RowSet(rows.numbers, rows.keys, row_keys(rows.rows, 1), rows.rows)


def joined(sets: list[RowSet]) -> tuple[RowSet, Rows]:
    """One of all, and for each of their rows, one set behind the other, its place there."""
    every = RowSet(*(np.concatenate(fields) for fields in zip(*sets, strict=True)))
    order = np.lexsort((every.number, every.mark, every.key))
    key, mark = every.key[order], every.mark[order]
    another = np.ones(len(order), bool)
    another[1:] = (key[1:] != key[:-1]) | (mark[1:] != mark[:-1])
    first = order[another]
    by_number = np.argsort(every.number[first])
    place_of_kind = np.empty(len(first), np.int64)
    place_of_kind[by_number] = np.arange(len(first))
    place = np.empty(len(order), np.int64)
    place[order] = place_of_kind[np.cumsum(another) - 1]
    return every.of(first[by_number]), place
