"""The first rows of an order, of rows that come in any portions: bounded memory, and any number of places to gather.

Of equal rows the one of the lowest number stands for all.  Whether rows are equal, two 64-bit keys of their values say.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from fasttangent.common.duplicates import row_keys

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Float = NDArray[np.float64]
    Rows = NDArray[np.int64]
    Keys = NDArray[np.uint64]

ROOM = 1 << 16  # rows that wait, beside twice those that are kept, before they are put in order


class Ranks(NamedTuple):
    """Where rows stand in an order: smaller values first, of equal values smaller ties, of equal ties lower numbers."""

    value: Float  # nan: nowhere
    tie: Keys


class Kept(NamedTuple):
    """Rows in an order."""

    value: Float
    tie: Keys
    number: Rows
    key: Keys
    mark: Keys  # the second key of a row's values

    def of(self, places: NDArray) -> Kept:
        return Kept(*(a[places] for a in self))


class Smallest:
    """The first m rows, no two of them equal, of all that are added.

    Attributes
    ----------
    complete : bool
        Whether no row was left out but those equal to others.
    """

    def __init__(self, m: int) -> None:
        self.m, self.complete = m, True
        self._parts, self._waiting, self._limit = list[Kept](), 0, (np.inf, np.uint64(2**64 - 1))

    def add(self, ranks: Ranks, numbers: Rows, rows: NDArray, keys: Keys) -> None:
        """Rows, their numbers and `row_keys`."""
        value, tie = ranks
        last, last_tie = self._limit
        near = value <= last  # never nan
        if last < np.inf:
            near &= (value < last) | (tie <= last_tie)
        if not near.all():
            value, tie, numbers, rows, keys = value[near], tie[near], numbers[near], rows[near], keys[near]
        self._put(Kept(value, tie, numbers, keys, row_keys(rows, 1)), complete=True)

    def merge(self, other: Smallest) -> Smallest:
        """With the rows of another one, gathered elsewhere."""
        self._put(other.rows(), other.complete)
        return self

    def rows(self) -> Kept:
        """All of them, in their order."""
        self._settle()
        return self._parts[0] if self._parts else _none()

    def _put(self, part: Kept, complete: bool) -> None:
        self.complete &= complete
        if len(part.number):
            self._parts.append(part)
            self._waiting += len(part.number)
        if self._waiting > 2 * self.m + ROOM:
            self._settle()

    def _settle(self) -> None:
        if not self._parts:
            return
        joined = Kept(*(np.concatenate(fields) for fields in zip(*self._parts, strict=True)))
        joined = joined.of(first_of_kinds(joined.key, joined.mark, joined.number))
        order = np.lexsort((joined.number, joined.tie, joined.value))
        if len(order) > self.m:
            order, self.complete = order[: self.m], False
        kept = joined.of(order)
        if len(order) == self.m:
            self._limit = (float(kept.value[-1]), kept.tie[-1])
        self._parts, self._waiting = [kept], len(order)


def first_of_kinds(key: Keys, mark: Keys, number: Rows) -> Rows:
    """Places of the rows of the lowest number of each kind, ascending."""
    order = np.argsort(key, kind="stable")
    if (key[order][1:] != key[order][:-1]).all():
        return np.arange(len(key))
    order = np.lexsort((number, mark, key))
    another = np.ones(len(order), bool)
    another[1:] = (key[order][1:] != key[order][:-1]) | (mark[order][1:] != mark[order][:-1])
    return np.sort(order[another])


def _none() -> Kept:
    return Kept(np.empty(0), np.empty(0, np.uint64), np.empty(0, np.int64), *np.empty((2, 0), np.uint64))
