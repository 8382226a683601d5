"""Batches that spread: each pick far from all centres so far, in the geometry of an embedding.

    k_center            the farthest row, again and again (Gonzalez 1985)
    k_means_plus_plus   a row with probability in proportion to its squared distance
    lcmd                the farthest row of the cluster with the largest sum of squared distances

Rows that have a label already are centres from the start; without any, the first pick of the first and the last is the
row of the largest norm.  A pick costs O(n q) and a full distance for those rows alone that a bound from q coordinates
cannot rule out, q = 64 or less: the directions in which the embedding varies most.  Memory: the embedding and O(n q).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fasttangent.active.chance import DRAWING, chances, exponential
from fasttangent.active.greedy import greedy
from fasttangent.active.limits import Limits, Picks
from fasttangent.common import checks, parallel
from fasttangent.common.blas import one_thread

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Float = NDArray[np.float64]
    Rows = NDArray[np.int64]
    Keys = NDArray[np.uint64]

CHUNK, TASKS = 8192, 4  # rows of a task at the most, and of few rows as many tasks as that
LEAST = 1024  # rows of a task at the least; a multiple of the kernels' BLOCK, as is CHUNK
DIRECTIONS = (
    24,
    64,
)  # coordinates of the bound: for a block of rows the first, then all if they do not rule it out
GROUP = 512  # known rows that are compared with a row at once
SAMPLE = 1024  # rows that the directions are found from
ROUNDS = 3  # of subspace iteration, to find them


def k_center(
    E: NDArray,
    k: int,
    known: Any = None,
    weight: Any = None,
    *,
    threads: int | None = None,
    limits: Limits | None = None,
) -> Rows:
    """The row with the largest w d^2, d its distance to the nearest centre, k times."""
    return greedy(Farthest(Centres(E, known, weight, threads), Picks(len(E), k, limits)))


def lcmd(
    E: NDArray,
    k: int,
    known: Any = None,
    weight: Any = None,
    *,
    threads: int | None = None,
    limits: Limits | None = None,
) -> Rows:
    """The row with the largest w d^2 in the cluster, of rows with the same nearest centre, whose w d^2 add up to most.

    Holzmueller et al. 2023, algorithm 3 (LCMD); with `known` it is LCMD-TP.
    """
    return greedy(FarthestOfLargest(Centres(E, known, weight, threads), Picks(len(E), k, limits)))


def k_means_plus_plus(
    E: NDArray,
    k: int,
    keys: Keys,
    seed: int,
    known: Any = None,
    weight: Any = None,
    *,
    threads: int | None = None,
    limits: Limits | None = None,
) -> Rows:
    """A row with probability in proportion to w d^2, k times; without centres, the first in proportion to w.

    Chance belongs to the seed and the keys (n,) of rows, so it is the same whichever rows are beside them.
    """
    return greedy(ByChance(Centres(E, known, weight, threads), Picks(len(E), k, limits), keys, seed))


class Farthest:
    """Rows gain w d^2 per cost; those that cannot be picked have no weight, so that no cluster is large by them."""

    def __init__(self, centres: Centres, picks: Picks) -> None:
        self.centres, self.picks = centres, picks
        centres.weight /= picks.price
        centres.weight[~picks.free] = 0

    def best(self) -> int:
        i = int(self._found())
        if i < 0 and self.picks.free.any():  # all lie on a centre, or have no weight
            i = int(np.argmax(self.picks.free))
        return i

    def _found(self) -> int:
        from fasttangent.kernels.distances import farthest

        return farthest(self.centres.squared, self.centres.weight, self.picks.free)

    def gain(self, i: int) -> float:
        return float(self.centres.weight[i] * self.centres.squared[i])

    def gains(self) -> Float:
        return self.centres.weight * self.centres.squared

    def hide(self, rows: Rows) -> None:
        self.picks.free[rows] = False

    def take(self, i: int) -> None:
        self.centres.weight[self.picks.take(i)] = 0
        if self.picks.more():
            self.centres.add(i)


class FarthestOfLargest(Farthest):
    """The same in the cluster of the largest sum."""

    def __init__(self, centres: Centres, picks: Picks) -> None:
        super().__init__(centres, picks)
        self._sums = np.empty(centres.number + picks.most)

    def _found(self) -> int:
        from fasttangent.kernels.distances import farthest_of_largest

        c = self.centres  # without any all rows are one cluster
        sums = self._sums[: max(c.number, 1)]
        return farthest_of_largest(c.squared, c.weight, self.picks.free, c.nearest, sums)


class ByChance(Farthest):
    """A row by chance: at each step rows gain w d^2 over an exponential variable of their own, and the largest wins.

    Its chance is in proportion to w d^2, as the smallest of exponential variables of these rates belongs to it.
    """

    def __init__(self, centres: Centres, picks: Picks, keys: Keys, seed: int) -> None:
        super().__init__(centres, picks)
        self._keys, self._seed, self._step = keys, seed, 0

    def _found(self) -> int:
        c = self.centres
        rates = c.weight * c.squared if c.number else c.weight
        self._gains = rates / exponential(chances(self._keys, self._seed, DRAWING + self._step))
        i = int(np.argmax(self._gains * self.picks.free))
        return i if self._gains[i] > 0 else -1

    def gain(self, i: int) -> float:
        return float(self._gains[i])

    def gains(self) -> Float:
        return self._gains

    def take(self, i: int) -> None:
        super().take(i)
        self._step += 1


class Centres:
    """Squared distances of the rows of E (n, D) to the nearest of a growing number of centres.

    Attributes
    ----------
    squared : ndarray of float64, shape (n,)
        Before the first centre, |e|^2, so that the first pick is the row of the largest norm.
    nearest : ndarray of int64, shape (n,)
        Number of the nearest centre, the first of equals.
    weight : ndarray of float64, shape (n,)
        Its own.
    number : int
        Of centres.
    """

    def __init__(self, E: NDArray, known: Any, weight: Any, threads: int | None) -> None:
        n = len(E)
        self.E, self.threads = np.ascontiguousarray(E), checks.thread_count(threads)
        self.weight = np.ones(n) if weight is None else np.array(weight, np.float64)
        self.nearest, self.number = np.zeros(n, np.int64), 0
        self._load(known)
        self.squared = (self._norm / self._scale) ** 2
        if known is not None and len(known):
            self.add_known(np.ascontiguousarray(known, self.E.dtype))

    def add_known(self, C: NDArray) -> None:
        """The rows of C (m, D) as centres."""
        from fasttangent.kernels.distances import Candidates, Nearest, add_centres

        self._forget_norms()
        exact = C.astype(np.float64) * self._scale
        scaled, norm = exact.astype(C.dtype), np.linalg.norm(exact, axis=1)
        nearest = Nearest(self.squared, self.nearest, self._reach)
        candidates = Candidates(self.E, self._norm, self._scale)
        for j in range(0, len(C), GROUP):
            some = C[j : j + GROUP], scaled[j : j + GROUP], norm[j : j + GROUP], self.number + j

            def task(start: int, stop: int, some: tuple = some) -> None:
                add_centres(nearest, candidates, *some, start, stop)

            each_chunk(task, len(self.E), self.threads)
        self.number += len(C)

    def add(self, i: int) -> None:
        """Row i as a centre."""
        self._add(self.E[i : i + 1])
        self.number += 1

    def taken(self, C: NDArray) -> list[tuple[Rows, Float]]:
        """Of each row of C (m, D), were it the next centre: which rows it takes, and their squared distances."""
        kept, found = (self.squared.copy(), self.nearest.copy(), self._reach.copy()), []
        for j in range(len(C)):
            self._add(np.ascontiguousarray(C[j : j + 1], self.E.dtype))
            rows = np.flatnonzero(self.nearest == self.number)
            found.append((rows, self.squared[rows]))
            for now, then in zip((self.squared, self.nearest, self._reach), kept, strict=True):
                now[rows] = then[rows]
        return found

    def _add(self, c: NDArray) -> None:
        from fasttangent.kernels.distances import Candidates, Centre, Heads, Nearest, add_centre

        self._forget_norms()
        heads, rest, norm = self._coordinates(c)
        c_head, c_rest = np.ascontiguousarray(heads[0, :, 0]), np.ascontiguousarray(rest[:, 0])
        nearest = Nearest(self.squared, self.nearest, self._reach)
        candidates = Candidates(self.E, self._norm, self._scale)
        known = Heads(self._heads, self._rest, self._first)
        centre = Centre(c, c_head, c_rest, norm[0], self.number)

        def task(start: int, stop: int) -> None:
            add_centre(nearest, candidates, known, centre, start, stop)

        each_chunk(task, len(self.E), self.threads)

    def _forget_norms(self) -> None:
        """Before the first centre."""
        if self.number == 0:
            self.squared[:] = np.inf
            self._reach[:] = np.inf

    def _load(self, known: Any) -> None:
        """Scale, directions and coordinates; the largest norm becomes about 1, which float32 holds."""
        E = self.E
        largest = max(max(float(a.max()), -float(a.min())) for a in (E, known) if a is not None and a.size)
        self._scale = 1 / (largest * np.sqrt(E.shape[1])) if largest > 0 else 1.0
        some = E[:: max(1, len(E) // SAMPLE)].astype(np.float64) * self._scale
        self._first, q = (min(number, E.shape[1]) for number in DIRECTIONS)
        self._V = _directions(some, q)
        self._heads, self._rest, self._norm = self._coordinates(E)
        self._reach = np.empty(len(E), np.float32)

    def _coordinates(self, E: NDArray) -> tuple[NDArray, NDArray, NDArray]:
        from fasttangent.kernels.distances import BLOCK, Heads, load_heads

        heads = np.zeros((-(-len(E) // BLOCK), self._V.shape[1], BLOCK), np.float32)
        rest, norm = np.empty((2, len(E)), np.float32), np.empty(len(E))
        known = Heads(heads, rest, self._first)

        def task(start: int, stop: int) -> None:
            load_heads(known, norm, E, self._V, self._scale, start, stop)

        each_chunk(task, len(E), self.threads)
        return heads, rest, norm


def _directions(some: Float, q: int) -> Float:
    """Nearly the first q principal directions of the rows (m, D), orthonormal: (D, q).  A bound needs no more."""
    V = np.random.default_rng(0).standard_normal((some.shape[1], q))
    with one_thread():
        for _ in range(ROUNDS):
            V = np.linalg.qr(some.T @ (some @ V))[0]
        seen = some @ V
        _, turn = np.linalg.eigh(seen.T @ seen)
        return np.ascontiguousarray(V @ turn[:, ::-1])


def chunk_rows(n: int) -> int:
    """Rows of a task."""
    return min(CHUNK, LEAST * max(1, -(-n // (LEAST * TASKS))))


def each_chunk(task: Any, n: int, threads: int) -> None:
    """Call task(start, stop) for chunks of n rows."""
    rows = chunk_rows(n)
    parallel.run(lambda c: task(c * rows, min((c + 1) * rows, n)), -(-n // rows), threads)
