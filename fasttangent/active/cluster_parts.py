"""What parts of a pool say of the clusters around centres, so that more centres can be added without the rows.

Candidates are rows that may become centres.  Each would take few rows from the clusters; these alone are told one by
one, with their distances to the candidates that they would go to.  The others stay where they are, whichever candidates
become centres: of them a cluster is one sum, and the rows farthest out.  What is told of parts is put together in any
order.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from fasttangent.active.distances import Centres
from fasttangent.active.exact_sums import ExactSum
from fasttangent.active.limits import Limits, Picks, total
from fasttangent.active.pool import Passage, Screen, by_parts
from fasttangent.active.row_sets import RowSet, joined, of_usable

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Float = NDArray[np.float64]
    Rows = NDArray[np.int64]
    Keys = NDArray[np.uint64]

PART = 1 << 14  # rows that are looked at together
FARTHEST = 16  # of the rows of a cluster that stay


@dataclass(frozen=True, eq=False)
class Clustering:
    """How rows are clustered, and how many are picked.

    Attributes
    ----------
    k : int
    embed : callable
        Rows as vectors.
    known : ndarray of shape (m, D) or None
        Centres from the start.
    weigh : callable
        A weight for each of some rows, given with their numbers, or None.
    limits : Limits or None
        Of all rows of the pool.
    """

    k: int
    embed: Callable[[NDArray], NDArray]
    known: NDArray | None
    weigh: Callable[[Rows, NDArray], Float | None]
    limits: Limits | None
    threads: int

    def weights(self, rows: RowSet) -> Float:
        """What squared distances are multiplied by."""
        w = self.weigh(rows.number, rows.rows)
        w = np.ones(len(rows.number)) if w is None else w
        price = 1.0 if self.limits is None else self.limits.price
        found: Float = w / price[rows.number] if isinstance(price, np.ndarray) else w
        return found

    def picking(self, numbers: Rows, picked: Rows) -> Picks:
        """Of rows, some of which are picked."""
        found = Picks(len(numbers), self.k, None if self.limits is None else self.limits.of(numbers))
        for i in picked.tolist():
            found.take(i)
        return found


@dataclass(frozen=True, eq=False)
class Task:
    """What is to be found out about a part of a pool."""

    how: Clustering
    screen: Screen
    picks: RowSet
    kinds: RowSet  # rows that stand for equal ones of higher numbers
    candidates: RowSet
    centres: NDArray | None  # vectors: known, then the picks
    next: NDArray  # of the candidates

    @property
    def number(self) -> int:
        """Of clusters; without any centre all rows are one."""
        return 1 if self.centres is None else len(self.centres)

    def tied(self, numbers: Rows) -> NDArray[np.bool_]:
        """Rows that may no longer be picked once candidates are."""
        limits, found = self.how.limits, np.zeros(len(numbers), bool)
        if limits is None or not len(self.candidates.number):
            return found
        if limits.group is not None:
            found |= np.isin(limits.group[numbers], limits.group[self.candidates.number])
        if limits.cost is not None and limits.max_cost < np.inf:
            spent = total(limits.cost[np.concatenate([self.picks.number, self.candidates.number])])
            found |= limits.cost[numbers] > limits.max_cost - spent * (1 + 1e-9)
        return found


class Members(NamedTuple):
    """Rows of clusters."""

    number: Rows
    key: Keys
    mark: Keys
    cluster: Rows
    squared: Float  # distance to its centre
    weight: Float
    able: NDArray[np.bool_]  # to be picked: no equal row of a lower number is known

    def of(self, places: NDArray) -> Members:
        return Members(*(a[places] for a in self))

    @property
    def value(self) -> Float:
        return self.weight * self.squared


def joined_members(sets: list[Members]) -> Members:
    return Members(*(np.concatenate(fields) for fields in zip(*sets, strict=True)))


class Taken(NamedTuple):
    """Rows that candidates would take: a line for every pair."""

    member: Rows
    candidate: Rows
    squared: Float


class Seen(NamedTuple):
    """What was found out about some parts."""

    sums: ExactSum  # of the rows that stay, over every cluster
    far: Members  # FARTHEST of these at the most of every cluster
    first: Rows  # of these, in the order of their numbers, as many as are picked
    moving: list[Members]
    taken: list[Taken]  # by the members of each of those

    def merge(self, other: Seen, k: int) -> Seen:
        return Seen(
            self.sums.merge(other.sums),
            farthest(joined_members([self.far, other.far])),
            np.union1d(self.first, other.first)[:k],
            self.moving + other.moving,
            self.taken + other.taken,
        )


def farthest(rows: Members) -> Members:
    """Of every cluster the rows farthest out, the first of equals before others."""
    order = np.lexsort((rows.number, -rows.value, rows.cluster))
    cluster = rows.cluster[order]
    rank = np.arange(len(order)) - np.searchsorted(cluster, cluster)
    return rows.of(order[rank < FARTHEST])


def examine(task: Task, start: int, rows: NDArray) -> Seen | None:
    """A part of a pool, its rows from `start` on; None where none can be picked."""
    how, (usable, _) = task.how, task.screen.through(start, rows)
    own = of_usable(usable)
    every, place = joined([own, task.kinds, task.picks])
    at, picked = place[: len(own.number)], place[len(own.number) + len(task.kinds.number) :]
    numbers = np.concatenate([own.number, task.picks.number])
    state = how.picking(numbers, np.arange(len(own.number), len(numbers)))
    here = np.flatnonzero(state.free[: len(own.number)] & ~np.isin(at, picked))
    if not len(here):
        return None
    some, able = own.of(here), every.number[at[here]] == own.number[here]
    centres = Centres(how.embed(some.rows), task.centres, None, how.threads)
    taken = centres.taken(task.next)
    members = Members(*some[:3], centres.nearest, centres.squared, how.weights(some), able)
    moves = task.tied(some.number)
    for places, _ in taken:
        moves[places] = True
    stay, moving = members.of(~moves), members.of(moves)
    sums = np.bincount(stay.cluster, stay.value, task.number).astype(np.float64)
    stay = stay.of(stay.able)
    lines = _lines(taken, np.cumsum(moves) - 1)
    return Seen(ExactSum().add(sums), farthest(stay), stay.number[: how.k], [moving], [lines])


def _lines(taken: list[tuple[Rows, Float]], place: Rows) -> Taken:
    if not taken:
        return Taken(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))
    candidate = np.repeat(np.arange(len(taken)), [len(places) for places, _ in taken])
    member = place[np.concatenate([places for places, _ in taken])]
    return Taken(member, candidate, np.concatenate([squared for _, squared in taken]))


def examining(task: Task) -> Passage[Seen | None]:
    """The same of all parts of a pool."""
    return by_parts(partial(examine, task), lambda one, other: one.merge(other, task.how.k), PART)
