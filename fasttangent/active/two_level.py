"""Greedy batches that compare every row of a pool whose embeddings no memory holds.

Candidates are few: at first a sample.  Each pass through the pool looks at one part of it after the other, beside the
picks that greedy makes of the candidates.  Along these picks it sees whether any row of the part would have gained more
than a pick; if so, greedy on the part and the picks says which of its rows join the candidates.  If there is none in
the whole pool, the picks are those that greedy makes of the whole pool: they are verified.  Averages over the pool are
additive, and known after the first pass.

(Two levels: GreeDi, Mirzasoleiman et al. 2013.  The verification is what makes it exact.)

All that is done with a part is `examine`, which depends on the part and the task alone, and what comes of it is put
together by `Examined.merge` in any order: so parts may be looked at anywhere.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from fasttangent.active.exact_sums import ExactSum
from fasttangent.active.greedy import Seen, State, along, greedy
from fasttangent.active.limits import Limits, Picks
from fasttangent.active.linear_model import Average
from fasttangent.active.paths import Path
from fasttangent.active.pool import Pool, Screen, by_parts, passed
from fasttangent.active.row_sets import RowSet, joined, of_usable
from fasttangent.common import parallel

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Float = NDArray[np.float64]
    Rows = NDArray[np.int64]

PART = 1 << 14  # rows that are compared with each other
JOINING, MOST = 1 << 14, 1 << 17  # rows that become candidates in a pass; candidates
NEAR = 0.5  # of what a pick gains: a row that gains more may be picked once other picks are before it
CLOSE = 0.95  # of what a pick gains, nearly: rows that gain less do not gain more
SLAB = 2048  # rows that one thread adds up


@dataclass(frozen=True, eq=False)
class Comparison:
    """How a strategy compares rows.

    Attributes
    ----------
    k : int
        How many rows greedy picks.
    embed : callable
        Rows as vectors.
    start : callable
        The state of greedy before the first pick: of vectors, their weights, `Picks`, and the average, or None;
        `by_chance` says that the keys of the rows follow.
    weigh : callable
        A weight for each of some rows, given with their numbers, or None.
    average : Average or None
        Over given rows.
    averaged : bool
        Whether it needs one of the pool, to which every row adds by its weight in `unit`.
    limits : Limits or None
        Of all rows of the pool.
    finish : callable or None
        Which of the picks are left in the end, where greedy picks more than are wanted.
    path : callable or None
        What rows gain along picks, nearly, of the picks as vectors and the average.
    """

    k: int
    embed: Callable[[NDArray], NDArray]
    start: Callable[..., State]
    weigh: Callable[[Rows, NDArray], Float | None]
    average: Average | None = None
    averaged: bool = False
    limits: Limits | None = None
    unit: float = 1.0
    threads: int = 1
    finish: Callable[[RowSet, Average | None], Rows] | None = None
    path: Callable[[NDArray, Average], Path] | None = None
    by_chance: bool = False

    def begin(self, rows: RowSet, E: NDArray, average: Average | None) -> State:
        limits = None if self.limits is None else self.limits.of(rows.number)
        picks = Picks(len(E), min(self.k, len(E)), limits)
        keys = (rows.key,) if self.by_chance else ()
        return self.start(E, self.weigh(rows.number, rows.rows), picks, average, *keys)

    def moments(self, E: NDArray, weight: Float) -> Float:
        """Sum of w e e^T."""
        from fasttangent.kernels.covariances import add_moments

        n, D = E.shape
        slabs = np.zeros((-(-n // SLAB), D, D))
        parallel.run(
            lambda c: add_moments(slabs[c], E, weight, c * SLAB, min((c + 1) * SLAB, n)),
            len(slabs),
            self.threads,
        )
        found: Float = slabs.sum(axis=0)
        return found


@dataclass(frozen=True, eq=False)
class Task:
    """What is to be found out about a part of a pool."""

    comparison: Comparison
    screen: Screen
    picks: RowSet
    average: Average | None
    sums: bool  # whether the average over the pool is to be found as well
    first: bool  # whether the candidates are but a sample
    path: Path | None  # the picks, where what rows gain along them is known nearly at less cost


class Found(NamedTuple):
    """Rows that may be picked in place of others."""

    rows: RowSet
    ratio: Float  # of what a row would have gained to what a pick gains, at its largest

    def merge(self, other: Found) -> Found:
        """JOINING of them at the most."""
        every, place = joined([self.rows, other.rows])
        ratio = np.zeros(len(every.number))
        np.maximum.at(ratio, place, np.concatenate([self.ratio, other.ratio]))
        return _nearest(every, ratio)


class Examined(NamedTuple):
    """What was found out about some parts."""

    number: Rows  # of each pick, the lowest of all rows equal to it
    most: Float  # at each step, what the best row gains
    gain: Float  # and the pick
    better: bool  # whether any row is to be picked in place of a pick, or beyond them
    found: Found | None
    sums: ExactSum
    weight: ExactSum

    def merge(self, other: Examined) -> Examined:
        return Examined(
            np.minimum(self.number, other.number),
            np.maximum(self.most, other.most),
            np.maximum(self.gain, other.gain),
            self.better or other.better,
            _both(self.found, other.found),
            self.sums.merge(other.sums),
            self.weight.merge(other.weight),
        )


def _both(one: Found | None, other: Found | None) -> Found | None:
    if one is None or other is None:
        return other if one is None else one
    return one.merge(other)


def examine(task: Task, start: int, rows: NDArray) -> Examined:
    """A part of a pool, its rows from `start` on."""
    how, picks = task.comparison, task.picks
    usable, _ = task.screen.through(start, rows)
    nothing = np.full(len(picks.number), -np.inf)
    seen = Examined(picks.number, nothing, nothing, False, None, ExactSum(), ExactSum())
    if not len(usable.numbers):
        return seen
    own = of_usable(usable)
    both, place = joined([own, picks])
    E, given = how.embed(both.rows), place[len(own.number) :]
    if task.sums:
        w = how.weigh(own.number, own.rows)
        times = np.bincount(place[: len(own.number)], w if w is None else w / how.unit, len(both.number))
        seen.sums.add(how.moments(E, times.astype(np.float64)))
        seen.weight.add(np.array(times.sum()))
    steps, better, ratio = _along(task, both, E, given)
    seen = seen._replace(number=both.number[given], most=steps.most, gain=steps.gain, better=better)
    near = np.argsort(-ratio, kind="stable")[: how.k * 16]
    near = near[ratio[near] > NEAR]
    if better and task.first:
        others = greedy(how.begin(both, E, task.average))
        ratio[others] = np.inf
        near = np.union1d(near, others)
    near = np.setdiff1d(near, given)
    return seen._replace(found=_nearest(both.of(near), ratio[near]))


def _along(task: Task, rows: RowSet, E: NDArray, given: Rows) -> tuple[Seen, bool, Float]:
    """What is seen along the picks, whether any row is better, and the ratios of all rows.

    Where these are known nearly, only the rows that come close to the picks are followed.
    """
    how, close, ratio = task.comparison, np.arange(len(E)), None
    if task.path is not None:
        ratio = task.path.ratios(E)
        close = np.union1d(np.flatnonzero(ratio > CLOSE), given)
    state = how.begin(rows.of(close), E if ratio is None else E[close], task.average)
    places = np.searchsorted(close, given)
    steps = along(state, places)
    better = bool(steps.better(places).any()) or state.picks.more()
    if ratio is None:
        return steps, better, steps.ratio
    ratio[close] = steps.ratio
    return steps, better, ratio


def _nearest(rows: RowSet, ratio: Float) -> Found:
    """JOINING of the rows at the most, those of the largest ratios."""
    order = np.sort(np.lexsort((rows.number, -ratio))[:JOINING])
    return Found(rows.of(order), ratio[order])


def _examined(pool: Pool, task: Task) -> Examined:
    """The same of all parts of a pool."""
    seen = passed(pool, by_parts(partial(examine, task), Examined.merge, PART))
    assert seen is not None  # of a part without any row, too, there is something to say
    return seen


class Outcome(NamedTuple):
    """Picks, and what is known of them."""

    picks: RowSet
    average: Average | None
    passes: int
    verified: bool
    shortfall: float


First = Callable[[RowSet], RowSet]  # of all rows of a pool that are equal to some, the first


def compared(how: Comparison, screen: Screen, sample: RowSet, pool: Pool, first: First, most: int) -> Outcome:
    """The picks of greedy on all rows of a pool, or what comes near to it in so many passes."""
    found, average, exact = joined([first(sample)])[0], how.average, not how.averaged
    if not exact:
        average = _average_of(how, found)
    picks = _picks(how, found, average)
    for passes in range(1, most + 1):
        task = Task(how, screen, picks, average, not exact, passes == 1, _path(how, picks, average))
        seen = _examined(pool, task)
        picks = picks._replace(number=seen.number)
        if exact and not seen.better:
            return Outcome(picks, average, passes, True, 0.0)
        more = [] if seen.found is None else [first(seen.found.rows)]
        found, last = joined([found, picks, *more])[0], picks
        if passes == most and exact:
            break
        if not exact:
            average = Average(seen.sums.total() / float(seen.weight.total()))
        picks = _picks(how, found, average)
        if exact and picks.same(
            last
        ):  # what was better cannot be picked: an equal row of a lower number stands for it
            return Outcome(picks, average, passes, True, 0.0)
        exact = True
    return Outcome(last, average, most, False, _shortfall(seen))


def _shortfall(seen: Examined) -> float:
    """How much more, at the most, the best row gains at any step than the pick, as a share."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(np.nanmax(np.append(seen.most / seen.gain - 1, 0.0)))


def _path(how: Comparison, picks: RowSet, average: Average | None) -> Path | None:
    """With costs or noise gains are measured otherwise, and where picks are few any row may be picked beyond them."""
    if how.path is None or average is None or len(picks.number) < how.k:
        return None
    weighed = how.limits is not None and how.limits.weigh
    return None if weighed else how.path(how.embed(picks.rows), average)


def _average_of(how: Comparison, rows: RowSet) -> Average:
    w = how.weigh(rows.number, rows.rows)
    times = np.ones(len(rows.number)) if w is None else w / how.unit
    return Average(how.moments(how.embed(rows.rows), times))


def _picks(how: Comparison, rows: RowSet, average: Average | None) -> RowSet:
    """Of the candidates, the picks in their order; of very many, first those of some at a time."""
    while len(rows.number) > MOST:
        some = (
            rows.of(np.arange(at, min(at + PART, len(rows.number))))
            for at in range(0, len(rows.number), PART)
        )
        rows = joined([one.of(_greedy(how, one, average)) for one in some])[0]
    return rows.of(_greedy(how, rows, average))


def _greedy(how: Comparison, rows: RowSet, average: Average | None) -> Rows:
    return greedy(how.begin(rows, how.embed(rows.rows), average))
