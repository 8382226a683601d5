"""Which rows of a pool come first in some order, and can be picked: by passing through it, never holding it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from fasttangent.active.limits import Limits
from fasttangent.active.pool import Passage, Pool, Screen, Tally, Usable, passed
from fasttangent.active.smallest import Kept, Ranks, Smallest
from fasttangent.common.duplicates import row_keys
from fasttangent.common.warning import warn

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Rows = NDArray[np.int64]
    Keys = NDArray[np.uint64]

Rank = Callable[[Usable], Ranks]
HELD = 1 << 18  # rows that are kept at the least, 40 bytes each: of a pool that small all copies are found


class Found(NamedTuple):
    """The first rows of an order, and what was seen on the way."""

    rows: Kept
    complete: bool  # whether these are all different rows that can be picked
    tally: Tally

    def within(self, limits: Limits | None, k: int, rows: Rows, hint: str = "") -> Limits | None:
        """The limits of some of these rows, of which there must be enough; a warning of what cannot be picked."""
        if self.tally.bad:
            warn(self.tally.warning())
        if k > len(rows):
            raise self.tally.shortage(k, len(rows))
        if limits is None:
            return None
        found = limits.among(rows)
        found.check(k, hint)
        return found


def as_they_come(rows: Usable) -> Ranks:
    """In the order of their numbers."""
    return Ranks(np.zeros(len(rows.numbers)), np.zeros(len(rows.numbers), np.uint64))


def first_rows(pool: Pool, screen: Screen, m: int, rank: Rank, alike: bool = True) -> Found:
    """At least the first m rows, or all that there are.

    `alike` says that equal rows have equal ranks.  Else a row counts only if it is the first of its kind, which another
    pass finds out, and if too few are left, it begins again with more.
    """
    most = max(m, HELD)
    while True:
        kept, tally = passed(pool, _gathering(screen, most, rank))
        found = kept.rows()
        if alike or kept.complete:
            return Found(found, kept.complete, tally)
        firsts = found.of(first_of_equals(pool, screen, found) == found.number)
        if len(firsts.number) >= m:
            return Found(firsts, False, tally)
        most *= 8


def _gathering(screen: Screen, most: int, rank: Rank) -> Passage[tuple[Smallest, Tally]]:
    def add(state: tuple[Smallest, Tally], start: int, rows: NDArray) -> tuple[Smallest, Tally]:
        usable, tally = screen.through(start, rows)
        if len(usable.numbers):
            state[0].add(rank(usable), usable.numbers, usable.rows, usable.keys)
        return state[0], state[1] + tally

    return Passage(
        lambda: (Smallest(most), Tally()), add, lambda one, other: (one[0].merge(other[0]), one[1] + other[1])
    )


class Known(Protocol):
    """Rows that are known by two keys of their values."""

    @property
    def number(self) -> Rows: ...
    @property
    def key(self) -> Keys: ...
    @property
    def mark(self) -> Keys: ...


def first_of_equals(pool: Pool, screen: Screen, known: Known) -> Rows:
    """For each of some rows the lowest number of all that can be picked and equal it."""
    order = np.argsort(known.key, kind="stable")
    keys, marks_of = known.key[order], known.mark

    def add(lowest: Rows, start: int, rows: NDArray) -> Rows:
        usable, _ = screen.through(start, rows)
        place = np.searchsorted(keys, usable.keys)
        hit = np.flatnonzero(keys[np.minimum(place, len(keys) - 1)] == usable.keys)
        place, numbers, marks = place[hit], usable.numbers[hit], row_keys(usable.rows[hit], 1)
        while len(place):  # rows of one key stand together
            same = marks_of[order[place]] == marks
            np.minimum.at(lowest, order[place[same]], numbers[same])
            more = np.flatnonzero(place + 1 < len(keys))
            more = more[keys[place[more] + 1] == keys[place[more]]]
            place, numbers, marks = place[more] + 1, numbers[more], marks[more]
        return lowest

    return passed(pool, Passage(lambda: known.number.copy(), add, np.minimum))
