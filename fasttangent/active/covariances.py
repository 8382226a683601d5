"""Batches that inform: the rows of an embedding are those of a Bayesian linear model, and labels lower its variance.

The inner product of two rows is their prior covariance, a label has the variance `noise` around its value, times what
`Limits.noise` says of its row.

    max_determinant      most information about the labels themselves: greedy log det (I + E_S E_S^T / noise)
    variance_reduction   least average variance over target rows, again greedy
    bait                 the same goal, forward and backward: 2 k picks, of which k are put back
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fasttangent.active.distances import chunk_rows, each_chunk
from fasttangent.active.greedy import greedy
from fasttangent.active.limits import Limits, Picks, Surplus
from fasttangent.active.linear_model import (
    Average,
    Picked,
    Update,
    at_least_rounding,
    combined,
    conditioned,
    moments,
    precision_of,
    product,
    root_of,
    squares_of,
)
from fasttangent.common import checks

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Float = NDArray[np.float64]
    Rows = NDArray[np.int64]

__all__ = ["bait", "conditioned", "max_determinant", "moments", "variance_reduction"]

FALL = 1e-4  # of squared variances, from where they are computed anew: rounding has grown to 1e-3 of them in float32


def variance_reduction(
    E: NDArray,
    k: int,
    noise: float,
    targets: Any = None,
    weight: Any = None,
    *,
    threads: int | None = None,
    limits: Limits | None = None,
) -> Rows:
    """k times the row x that lowers the (weighted) mean variance over the targets most, by e.P M P e / (noise + e.P e).

    M = mean of w t t^T over the targets t (m, D), by default the rows themselves; P = the covariance of the linear
    model's weights, at first I, after a pick f less u u^T with u = P f / sqrt(noise + f.P f).  One pass over E a pick,
    and two products with (D, D) whenever so much of the variance is gone that what is left has lost its digits.
    """
    E = np.ascontiguousarray(E)
    M = moments(E if targets is None else np.ascontiguousarray(targets, E.dtype), weight, threads)
    return greedy(AverageVariance(E, Average(M), Picks(len(E), k, limits), noise, threads))


def bait(
    E: NDArray,
    k: int,
    noise: float,
    targets: Any = None,
    *,
    threads: int | None = None,
    limits: Limits | None = None,
) -> Rows:
    """Forward 2 k rows (or as many as there are) as `variance_reduction`; backward, k times the row missed least.

    Forward the limits are twice as wide as well.

    The goal is tr(P_S M), P_S = (I + sum_S e e^T / noise)^-1; taking back row e of S raises it by
    e.P_S M P_S e / (noise - e.P_S e).  Ash et al. 2021, algorithm 1, for regression.
    """
    E, n_threads = np.ascontiguousarray(E), checks.thread_count(threads)
    limits = Limits() if limits is None else limits
    picks = variance_reduction(E, min(2 * k, len(E)), noise, targets, threads=threads, limits=limits.twice())
    M = moments(E if targets is None else np.ascontiguousarray(targets, E.dtype), None, threads)
    variances = squares_of(E, None, n_threads)
    return picks[put_back(E[picks], M, k, noise, variances, n_threads, limits.of(picks))]


def put_back(
    F: NDArray, M: Float, k: int, noise: float, variances: Float, threads: int, limits: Limits
) -> Rows:
    """Places of the rows of F that are left when those missed least are put back until k are left.

    `variances` are those of all candidates, whose rounding bounds the noise.
    """
    F, noises = F.astype(np.float64), at_least_rounding(noise * limits.noise, variances)
    precision = precision_of(F, noises, threads)
    A, B = precision.half_solve(F), product(precision.solve(F), root_of(M))
    return _kept(product(A, A.T), product(B, B.T), Surplus(len(F), k, limits), noises)


def _kept(A: Float, B: Float, surplus: Surplus, noise: Float | float) -> Rows:
    """Places of the picks left, in their order, when those missed least are taken back one by one.

    A = e.P f and B = e.P M P f of all pairs of picks.  Without pick j, P becomes P + u u^T / c with u = P e_j and
    c = noise_j - A_jj; so A gains x x^T / c and B gains (x y^T + y x^T) / c + x x^T B_jj / c^2, x and y their columns j
    of that moment.  Only diagonals and those columns are formed: O(picks x taken back) for each.
    """
    m, t = len(A), 0
    noises = np.broadcast_to(noise, m)
    a, b = A.diagonal().copy(), B.diagonal().copy()
    # B gains x z^T + z x^T, with z = (y + x B_jj / (2 c)) / c
    X, Z, inverse_c = np.empty((m, m)), np.empty((m, m)), np.empty(m)
    while surplus.any():
        j = int(np.argmin(np.where(surplus.may_go(), b / (noises - a) / surplus.price, np.inf)))
        surplus.kept[j] = False
        c = noises[j] - a[j]
        x = A[j] + combined(X[:t, j] * inverse_c[:t], X[:t])
        y = B[j] + combined(Z[:t, j], X[:t]) + combined(X[:t, j], Z[:t])
        X[t], Z[t], inverse_c[t] = x, (y + x * (b[j] / (2 * c))) / c, 1 / c
        a += x * x / c
        b += 2 * x * Z[t]
        t += 1
    return np.flatnonzero(surplus.kept)


def max_determinant(
    E: NDArray,
    k: int,
    noise: float,
    weight: Any = None,
    *,
    threads: int | None = None,
    limits: Limits | None = None,
) -> Rows:
    """k times the row of the largest variance given the picks so far: greedy log det (I + E_S E_S^T / noise).

    For Gaussians this is BatchBALD (Kirsch et al. 2019).  Rows are multiplied by the root of their weight.  A row's
    variance only falls, so it is brought up to date only while it might be the largest (lazy greedy).  Where noise
    differs the largest variance / noise, with costs the largest log (1 + variance / noise) per cost.
    """
    E = np.ascontiguousarray(E)
    return greedy(LargestVariance(E, Picks(len(E), k, limits), noise, weight, threads))


class LargestVariance:
    """Keys w e.P e of all rows e, upper bounds of those that were not brought up to date yet."""

    def __init__(self, E: NDArray, picks: Picks, noise: float, weight: Any, threads: int | None) -> None:
        from fasttangent.kernels.covariances import Keys

        self.E, self.threads, self.picks, n = E, checks.thread_count(threads), picks, len(E)
        self.weight = np.ones(n) if weight is None else np.ascontiguousarray(weight, np.float64)
        self.key = self.weight * squares_of(E, None, self.threads)
        self.noise = at_least_rounding(noise * picks.noise, self.key)
        self.keys = Keys(self.key, np.zeros(n, np.int64), self.weight)
        self.picked, self._U = (
            Picked(E.shape[1], picks.most),
            np.empty((picks.most, E.shape[1]), E.dtype),
        )
        self._rows, self._one = chunk_rows(n), np.empty(2)
        self._best = np.empty((-(-n // self._rows), 2))
        self.key[~picks.free] = -np.inf

    def best(self) -> int:
        bounds = self.gains()
        i = int(np.argmax(bounds))
        might = self._bring_up(i)
        if bounds is not self.key:
            might = self.key[bounds >= self.gains()[i]].min()
        self._bring_up_all(might)
        return _first_largest(self._best) if bounds is self.key else int(np.argmax(self.gains()))

    def gain(self, i: int) -> float:
        key, price = self._bring_up(i), self.picks.price
        if isinstance(price, float):
            return key / _of(self.noise, i) if isinstance(self.noise, np.ndarray) else key
        return float(np.log1p(max(key, 0.0) / _of(self.noise, i)) / price[i])

    def take(self, i: int) -> None:
        t, row = self.picked.number, self.E[i].astype(np.float64)
        self.picked.add(np.sqrt(self.weight[i]) * row, np.empty((0, len(row))), _of(self.noise, i))
        self._U[t], self.key[self.picks.take(i)] = self.picked.directions[t], -np.inf

    def hide(self, rows: Rows) -> None:
        """Not here, where what a row gains is kept in its key."""

    def _bring_up(self, i: int) -> float:
        """The key of row i."""
        from fasttangent.kernels.covariances import refresh

        refresh(self._one, self.keys, self.E, self._U, self.picked.number, -np.inf, i, i + 1)
        return float(self.key[i])

    def _bring_up_all(self, limit: float) -> None:
        """Of all rows that might reach a limit."""
        from fasttangent.kernels.covariances import refresh

        t = self.picked.number

        def task(start: int, stop: int) -> None:
            refresh(self._best[start // self._rows], self.keys, self.E, self._U, t, limit, start, stop)

        each_chunk(task, len(self.E), self.threads)

    def gains(self) -> Float:
        """Information of free rows per cost; without costs their variances per noise, which are in the same order."""
        price = self.picks.price
        if isinstance(price, float):
            return self.key / self.noise if isinstance(self.noise, np.ndarray) else self.key
        return np.where(self.picks.free, np.log1p(np.maximum(self.key, 0) / self.noise) / price, -np.inf)


class AverageVariance:
    """a = e.P e and b = e.P M P e of all rows e, while labels become known.

    `by_moments` says that when they have lost their digits is told from M alone, and not from the rows at hand, so that
    the same picks give the same a and b of a row whichever rows are beside it.
    """

    def __init__(
        self,
        E: NDArray,
        average: Average,
        picks: Picks,
        noise: float,
        threads: int | None,
        by_moments: bool = False,
    ) -> None:
        self.E, self.threads = E, checks.thread_count(threads)
        self.noise = at_least_rounding(noise * picks.noise, squares_of(E, None, self.threads))
        self.M, self.root, self.picked = average.M, average.root, Picked(E.shape[1], picks.most)
        self._rows = chunk_rows(len(E))
        self.picks, self._best = picks, np.empty((-(-len(E) // self._rows), 2))
        self.mean = average.square if by_moments else None  # of b, weighted as M is: tr P M P M
        self.measured = 0  # how often
        self._measure(None, self.root)

    def best(self) -> int:
        """The free row of the largest b / (noise + a) per cost, the first of equals."""
        self._pass()
        if self._left() < FALL * self.before:
            precision = self.picked.precision(self.threads)
            self.factors = precision.half_solve(np.eye(precision.size)), precision.solve(self.root.T).T
            self._measure(*self.factors)
            self._pass()
        if isinstance(self.picks.price, float) and isinstance(self.noise, float):
            return _first_largest(self._best)
        if not self.picks.free.any():
            return -1
        return int(np.argmax(np.where(self.picks.free, self.gains(), -np.inf)))

    def gains(self) -> Float:
        gain = self.b / (self.noise + self.a)
        return gain if isinstance(self.picks.price, float) else gain / self.picks.price

    def gain(self, i: int) -> float:
        price, gain = self.picks.price, self.b[i] / (_of(self.noise, i) + self.a[i])
        return float(gain if isinstance(price, float) else gain / price[i])

    def hide(self, rows: Rows) -> None:
        self.picks.free[rows] = False

    def take(self, i: int) -> None:
        """The label of row i is known; the next pass takes it into account."""
        self.picks.take(i)
        u, w, norm_M = self.picked.add(self.E[i].astype(np.float64), self.M, _of(self.noise, i))
        self.change = Update(u.astype(self.E.dtype), w.astype(self.E.dtype), norm_M)
        if self.mean is not None:
            self.mean += norm_M * norm_M - 2 * self.picked.overlap

    def _left(self) -> float:
        return float(self.b.sum()) if self.mean is None else self.mean

    def _measure(self, L: Float | None, R: Float) -> None:
        """a = |e L|^2 and b = |e R|^2, from scratch."""
        self.a, self.b = squares_of(self.E, L, self.threads), squares_of(self.E, R, self.threads)
        self.measured += 1
        none = np.empty(0, self.E.dtype)
        self.change, self.before = Update(none, none, 0.0), self._left()

    def _pass(self) -> None:
        from fasttangent.kernels.covariances import Update, Variances, lower_variances

        noise = self.noise if isinstance(self.noise, float) else 1.0  # `best` is that of one for all
        variances = Variances(self.a, self.b, self.picks.free, noise)
        update = Update(*self.change)

        def task(start: int, stop: int) -> None:
            lower_variances(self._best[start // self._rows], variances, self.E, update, start, stop)

        each_chunk(task, len(self.E), self.threads)


def _of(values: Float | float, i: int) -> float:
    """What is said of row i, or of all."""
    return float(values[i]) if isinstance(values, np.ndarray) else values


def _first_largest(best: Float) -> int:
    """The row of the largest value of all chunks, the first of equals."""
    return int(best[int(np.argmax(best[:, 0])), 1])
