"""The farthest row of the largest cluster, again and again, of a pool whose embeddings no memory holds.

Each pass through the pool tells of its clusters what `cluster_parts` says, beside candidates that may be picked next.
With that, picks are made as on the whole pool until one is no candidate; that one is right as well, and the next pass
begins behind it.  So a pass gives one more pick at the least, and all of them where the candidates are those picked.

Which rows become candidates is a guess: the farthest rows of the largest clusters, of which a sample of the pool says
what is left of the clusters once some are picked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from fasttangent.active.cluster_parts import (
    FARTHEST,
    Clustering,
    Members,
    Seen,
    Taken,
    Task,
    examining,
    joined_members,
)
from fasttangent.active.distances import Centres
from fasttangent.active.pool import Pool, Screen, passed
from fasttangent.active.row_sets import RowSet, joined
from fasttangent.active.two_level import Outcome

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Float = NDArray[np.float64]
    Rows = NDArray[np.int64]

LINES = 1 << 24  # pairs of a row and a candidate that are told in a pass, nearly at the most
AHEAD, SPARE = 1.5, 8  # candidates for each pick that is left, and more


class Choice(NamedTuple):
    """A row that is picked next."""

    number: int
    place: int  # among the rows that are told one by one, -1: it is not


class Course:
    """Clusters while candidates become centres."""

    def __init__(self, task: Task, seen: Seen) -> None:
        self.rows, self._counts, self._line = _told(seen)
        numbers, n = np.concatenate([self.rows.number, task.picks.number]), len(self.rows.number)
        self.picks = task.how.picking(numbers, np.arange(n, len(numbers)))
        self.free = self.picks.free[:n]
        self._first, self._still, self._number = seen.first, seen.sums.total(), task.number
        self._squared, self.cluster = self.rows.squared.copy(), self.rows.cluster.copy()
        self._starts = np.searchsorted(self._line.candidate, np.arange(len(task.candidates.number) + 1))
        self.candidate = np.full(n, -1)  # which one a row is
        for j, (key, mark) in enumerate(zip(task.candidates.key, task.candidates.mark, strict=True)):
            self.candidate[(self.rows.key == key) & (self.rows.mark == mark)] = j

    def more(self) -> bool:
        """Whether another row is to be picked."""
        return len(self.picks.rows) < self.picks.most and bool(self._able.any() or len(self._first))

    def sums(self) -> Float:
        found = np.bincount(self.cluster, self._value * self._counts, self._number).astype(np.float64)
        found[: len(self._still)] += self._still
        return found

    @property
    def _able(self) -> NDArray[np.bool_]:
        return self.free & self.rows.able

    @property
    def _value(self) -> Float:
        """What rows count in the sums."""
        return np.where(self.free, self.rows.weight * self._squared, 0.0)

    @property
    def value(self) -> Float:
        """The same, of rows that can be picked."""
        return np.where(self.rows.able, self._value, 0.0)

    def best(self) -> Choice:
        sums = self.sums()
        value = np.where(sums[self.cluster] == sums.max(), self.value, 0.0)
        if value.max(initial=0.0) > 0:
            return self._choice(int(np.argmax(value)))
        i = int(np.argmax(self._able)) if self._able.any() else -1  # all lie on a centre, or have no weight
        if len(self._first) and not (i >= 0 and self.rows.number[i] <= self._first[0]):
            return Choice(int(self._first[0]), -1)
        return self._choice(i)

    def best_candidate(self) -> tuple[Choice | None, float]:
        """Of the candidates alone, and by which share the best row of all has more."""
        able = np.flatnonzero(self._able & (self.candidate >= 0))
        if not len(able):
            return None, np.inf
        sums, value = self.sums(), self.value
        i = int(able[np.lexsort((-value[able], -sums[self.cluster[able]]))[0]])
        own, most = sums[self.cluster[i]], sums.max()
        if own == most:
            own, most = value[i], value[sums[self.cluster] == most].max()
        return self._choice(i), float(most / own - 1) if own > 0 else (np.inf if most > 0 else 0.0)

    def _choice(self, i: int) -> Choice:
        return Choice(int(self.rows.number[i]), i)

    def knows(self, choice: Choice) -> bool:
        """Whether it is told what the row would take as a centre."""
        return choice.place >= 0 and bool(self.candidate[choice.place] >= 0)

    def take(self, choice: Choice) -> None:
        """The row becomes a centre, of which only what is told is known."""
        self._first = self._first[self._first != choice.number]
        if choice.place < 0:
            return
        self.picks.take(choice.place)
        key, mark = self.rows.key, self.rows.mark
        equal = (key == key[choice.place]) & (mark == mark[choice.place])
        self.free[equal] = False
        if self.knows(choice):
            j = self.candidate[choice.place]
            lines = slice(self._starts[j], self._starts[j + 1])
            rows, squared = self._line.member[lines], self._line.squared[lines]
            nearer = squared < self._squared[rows]
            self._squared[rows[nearer]], self.cluster[rows[nearer]] = squared[nearer], self._number
            self._number += 1


def _told(seen: Seen) -> tuple[Members, NDArray[np.bool_], Taken]:
    """Rows in the order of their numbers, which of them are not in the sums of those that stay, and lines in order."""
    rows = joined_members([*seen.moving, seen.far])
    offsets = np.cumsum([0, *(len(some.number) for some in seen.moving)])
    member = np.concatenate([t.member + at for t, at in zip(seen.taken, offsets, strict=False)])
    candidate, squared = (np.concatenate([t[f] for t in seen.taken]) for f in (1, 2))
    order = np.argsort(rows.number)
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    by = np.argsort(candidate, kind="stable")
    lines = Taken(place[member[by]], candidate[by], squared[by])
    return rows.of(order), order < offsets[-1], lines


def compared(
    how: Clustering, screen: Screen, sample: RowSet, pool: Pool, first: Callable[[RowSet], RowSet], most: int
) -> Outcome:
    """The picks of the whole pool, or what comes near to it in so many passes."""

    def rows_of(numbers: Sequence[int] | Rows) -> RowSet:
        given = np.asarray(numbers, np.int64)
        rows = pool.take(given)
        return RowSet(given, *screen.keys(rows), rows)

    picks = kinds = candidates = extremes = sample.of(np.empty(0, np.int64))
    for passes in range(1, most + 1):
        task = _task(how, screen, picks, kinds, candidates)
        seen = passed(pool, examining(task))
        if seen is None:
            return Outcome(picks, None, passes, True, 0.0)
        course = Course(task, seen)
        found, ended = _followed(course)
        new = rows_of(found)
        firsts = first(new)
        later = np.flatnonzero(firsts.number != new.number)
        if len(later):  # an equal row of a lower number stands for it, with its own weight, group and cost
            kinds = joined([kinds, firsts.of(later[:1])])[0]
            picks = _behind(picks, new.of(np.arange(later[0])))
            continue
        picks = _behind(picks, new)
        if ended or len(picks.number) == how.k:
            return Outcome(picks, None, passes, True, 0.0)
        if passes == most:
            break
        sums = course.sums()
        extremes = joined([extremes, rows_of(_extremes(course, how.k - len(picks.number)))])[0]
        others = joined([sample, extremes, candidates, picks])[0]
        share = len(sample.number) / len(pool) if passes + 1 < most else np.inf
        candidates = _candidates(task, sums, sample, others, picks, share)
    numbers, short = _filled(course, found if ended else found[:-1])
    picks = _behind(task.picks, first(rows_of(numbers)))
    return Outcome(picks, None, most, False, np.inf if len(later) else short)


def _behind(picks: RowSet, more: RowSet) -> RowSet:
    return RowSet(*(np.concatenate(fields) for fields in zip(picks, more, strict=True)))


def _task(how: Clustering, screen: Screen, picks: RowSet, kinds: RowSet, candidates: RowSet) -> Task:
    centres = [how.known] if how.known is not None else []
    if len(picks.number):
        centres.append(how.embed(picks.rows))
    vectors = np.concatenate(centres) if centres else None
    following = how.embed(candidates.rows) if len(candidates.number) else np.empty((0, 0))
    return Task(how, screen, picks, kinds, candidates, vectors, following)


def _followed(course: Course) -> tuple[list[int], bool]:
    """The next picks, the last of them perhaps no candidate; whether there are no others."""
    found: list[int] = []
    while course.more():
        choice = course.best()
        found.append(choice.number)
        if not course.knows(choice):
            return found, False
        course.take(choice)
    return found, True


def _filled(course: Course, numbers: list[int]) -> tuple[list[int], float]:
    """As many picks as are wanted, of candidates if there are enough; and what these fall short by."""
    numbers, shortfall = list(numbers), 0.0
    while course.more():
        choice, short = course.best_candidate()
        choice = course.best() if choice is None else choice
        shortfall = max(shortfall, short)
        numbers.append(choice.number)
        course.take(choice)
    return numbers, shortfall


def _extremes(course: Course, left: int) -> Rows:
    """The farthest rows of the largest clusters, now and when more rows are picked, of which some take nothing."""
    found = [_farthest(course, left)]
    while course.more():
        choice = course.best()
        found.append(np.array([choice.number]))
        course.take(choice)
    return np.unique(np.concatenate([*found, _farthest(course, left)]))


def _farthest(course: Course, left: int) -> Rows:
    largest = np.argsort(-course.sums(), kind="stable")[: 2 * left]
    order = np.lexsort((-course.value, course.cluster))
    cluster = course.cluster[order]
    rank = np.arange(len(order)) - np.searchsorted(cluster, cluster)
    found = order[(rank < FARTHEST) & np.isin(cluster, largest)]
    return course.rows.number[found[course.value[found] > 0]]


def _candidates(
    task: Task, sums: Float, sample: RowSet, every: RowSet, picks: RowSet, share: float
) -> RowSet:
    """Rows that may be picked next, as a sample of that share of the pool has it: not so many that too much is told.

    `sums` are those of the clusters before the last pick.
    """
    how, n = task.how, len(every.number)
    place = joined([every, sample, picks])[1][n:]
    standing, picked = np.zeros(n), place[len(sample.number) :]  # a row for others like it
    standing[place[: len(sample.number)]] = 1
    state, weight = how.picking(every.number, picked), how.weights(every)
    centres = Centres(how.embed(every.rows), task.centres, None, how.threads)
    *before, last = picked[len(task.picks.number) :].tolist()
    for i in before:
        centres.add(i)
    held = np.bincount(centres.nearest, weight * centres.squared * state.free * standing, len(sums))
    standing *= np.where(held > 0, sums / np.where(held > 0, held, 1), sums.sum() / (held.sum() or 1))[
        centres.nearest
    ]
    centres.add(last)
    found, lines = list[int](), 0.0
    for _ in range(round(AHEAD * (how.k - len(picks.number))) + SPARE):
        value = weight * centres.squared * state.free
        of_cluster = np.bincount(centres.nearest, value * standing, centres.number)
        if not of_cluster.max() > 0:
            break
        i = int(np.argmax(np.where(centres.nearest == np.argmax(of_cluster), value, 0)))
        nearest = centres.nearest.copy()
        state.take(i)
        centres.add(i)
        lines += np.count_nonzero((centres.nearest != nearest) & (standing > 0)) / share
        if lines > LINES and found:
            break
        found.append(i)
    return every.of(np.array(found, np.int64))
