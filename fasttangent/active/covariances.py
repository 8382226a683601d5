"""Batches that inform: the rows of an embedding are those of a Bayesian linear model, and labels lower its variance.

The inner product of two rows is their prior covariance, a label has the variance `noise` around its value.

    max_determinant      most information about the labels themselves: greedy log det (I + E_S E_S^T / noise)
    variance_reduction   least average variance over target rows, again greedy
    bait                 the same goal, forward and backward: 2 k picks, of which k are put back
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fasttangent.active.distances import CHUNK, chunk_rows, each_chunk
from fasttangent.active.limits import Limits, Picks, Surplus
from fasttangent.common import checks, parallel
from fasttangent.solvers.dense import Cholesky, NotPositiveDefinite

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Float = NDArray[np.float64]
    Rows = NDArray[np.int64]

MOST_SLABS = 16  # of rows that are summed by themselves, D^2 values each
DEPTH = 128  # of a product at once, whose rows stay in a cache
EPS = float(np.finfo(np.float64).eps)
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
    picks = Picks(len(E), k, limits)
    variances = _AverageVariance(E, M, picks, k, noise, threads)
    while picks.more():
        i = variances.best()
        picks.take(i)
        variances.know(i)
    return picks.rows


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
    noise = _at_least_rounding(noise, _squares(E, None, n_threads))
    twice = None if limits is None else limits.twice()
    picks = variance_reduction(E, min(2 * k, len(E)), noise, targets, threads=threads, limits=twice)
    M = moments(E if targets is None else np.ascontiguousarray(targets, E.dtype), None, threads)
    F = E[picks].astype(np.float64)
    precision = _precision(F, noise, n_threads)
    A, B = precision.half_solve(F), _product(precision.solve(F), _root(M))
    surplus = Surplus(len(picks), k, None if limits is None else limits.of(picks))
    return picks[_kept(_product(A, A.T), _product(B, B.T), surplus, noise)]


def _kept(A: Float, B: Float, surplus: Surplus, noise: float) -> Rows:
    """Places of the picks left, in their order, when those missed least are taken back one by one.

    A = e.P f and B = e.P M P f of all pairs of picks.  Without pick j, P becomes P + u u^T / c with u = P e_j and
    c = noise - A_jj; so A gains x x^T / c and B gains (x y^T + y x^T) / c + x x^T B_jj / c^2, x and y their columns j
    of that moment.  Only diagonals and those columns are formed: O(picks x taken back) for each.
    """
    m, t = len(A), 0
    a, b = A.diagonal().copy(), B.diagonal().copy()
    # B gains x z^T + z x^T, with z = (y + x B_jj / (2 c)) / c
    X, Z, inverse_c = np.empty((m, m)), np.empty((m, m)), np.empty(m)
    while surplus.any():
        j = int(np.argmin(np.where(surplus.may_go(), b / (noise - a) / surplus.price, np.inf)))
        surplus.kept[j] = False
        c = noise - a[j]
        x = A[j] + _combined(X[:t, j] * inverse_c[:t], X[:t])
        y = B[j] + _combined(Z[:t, j], X[:t]) + _combined(X[:t, j], Z[:t])
        X[t], Z[t], inverse_c[t] = x, (y + x * (b[j] / (2 * c))) / c, 1 / c
        a += x * x / c
        b += 2 * x * Z[t]
        t += 1
    return np.flatnonzero(surplus.kept)


def _combined(c: Float, rows: Float) -> Float:
    """The sum of c_t times row t."""
    return _product(c[None], rows)[0]


def _product(A: Float, B: Float) -> Float:
    """A B."""
    from fasttangent.kernels.dense import product_of_panel

    C = np.zeros((len(A), B.shape[1]))
    product_of_panel(C, np.ascontiguousarray(A), np.ascontiguousarray(B), 0, len(A), DEPTH)
    return C


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
    variance only falls, so it is brought up to date only while it might be the largest (lazy greedy).  With costs the
    largest log (1 + variance / noise) per cost.
    """
    from fasttangent.kernels.covariances import Keys, refresh

    E, n_threads = np.ascontiguousarray(E), checks.thread_count(threads)
    (n, D), rows = E.shape, chunk_rows(len(E))
    w = np.ones(n) if weight is None else np.ascontiguousarray(weight, np.float64)
    key, age, picks = w * _squares(E, None, n_threads), np.zeros(n, np.int64), Picks(n, k, limits)
    noise = _at_least_rounding(noise, key)
    picked, U = _Picked(D, k, noise), np.empty((k, D), E.dtype)
    keys, best = Keys(key, age, w), np.empty((-(-n // rows), 2))
    key[~picks.free] = -np.inf
    while picks.more():
        t, bounds = picked.number, _per_cost(key, noise, picks)
        i = int(np.argmax(bounds))
        refresh(best[0], keys, E, U, t, -np.inf, i, i + 1)
        might = best[0, 0] if bounds is key else key[bounds >= _per_cost(key, noise, picks)[i]].min()

        def bring_up(start: int, stop: int, t: int = t, limit: float = might) -> None:
            refresh(best[start // rows], keys, E, U, t, limit, start, stop)

        each_chunk(bring_up, n, n_threads)
        i = _first_largest(best) if bounds is key else int(np.argmax(_per_cost(key, noise, picks)))
        picked.add(np.sqrt(w[i]) * E[i].astype(np.float64), np.empty((0, D)))
        U[t], key[picks.take(i)] = picked.directions[t], -np.inf
    return picks.rows


def _per_cost(key: Float, noise: float, picks: Picks) -> Float:
    """Information of free rows per cost; without costs their variances, which are in the same order."""
    if isinstance(picks.price, float):
        return key
    return np.where(picks.free, np.log1p(np.maximum(key, 0) / noise) / picks.price, -np.inf)


class _AverageVariance:
    """a = e.P e and b = e.P M P e of all rows e, while labels become known."""

    def __init__(self, E: NDArray, M: Float, picks: Picks, k: int, noise: float, threads: int | None) -> None:
        self.E, self.threads = E, checks.thread_count(threads)
        self.noise = noise = _at_least_rounding(noise, _squares(E, None, self.threads))
        self.M = M / (
            np.trace(M) or 1.0
        )  # picks do not depend on it, and w below stays in the range of float32
        self.root, self.picked = _root(self.M), _Picked(E.shape[1], k, noise)
        self._rows = chunk_rows(len(E))
        self.picks, self._best = picks, np.empty((-(-len(E) // self._rows), 2))
        self._measure(None, self.root)

    def best(self) -> int:
        """The free row of the largest b / (noise + a) per cost, the first of equals."""
        self._pass()
        if self.b.sum() < FALL * self.before:
            precision = self.picked.precision(self.threads)
            self._measure(precision.half_solve(np.eye(precision.size)), precision.solve(self.root.T).T)
            self._pass()
        if isinstance(self.picks.price, float):
            return _first_largest(self._best)
        gain = self.b / (self.noise + self.a) / self.picks.price
        return int(np.argmax(np.where(self.picks.free, gain, -np.inf)))

    def know(self, i: int) -> None:
        """The label of row i; the next pass takes it into account."""
        u, w, norm_M = self.picked.add(self.E[i].astype(np.float64), self.M)
        self.change = _Update(u.astype(self.E.dtype), w.astype(self.E.dtype), norm_M)

    def _measure(self, L: Float | None, R: Float) -> None:
        """a = |e L|^2 and b = |e R|^2, from scratch."""
        self.a, self.b = _squares(self.E, L, self.threads), _squares(self.E, R, self.threads)
        none = np.empty(0, self.E.dtype)
        self.change, self.before = _Update(none, none, 0.0), self.b.sum()

    def _pass(self) -> None:
        from fasttangent.kernels.covariances import Update, Variances, lower_variances

        variances = Variances(self.a, self.b, self.picks.free, self.noise)
        update = Update(*self.change)

        def task(start: int, stop: int) -> None:
            lower_variances(self._best[start // self._rows], variances, self.E, update, start, stop)

        each_chunk(task, len(self.E), self.threads)


class _Update(NamedTuple):
    """What a pick f changes: P less u u^T, with u = P f / sqrt(noise + f.P f)."""

    u: NDArray
    w: NDArray  # P M u
    norm_M: float  # u.M u


class _Picked:
    """P = I - sum of u u^T over the picks so far, never formed."""

    def __init__(self, D: int, k: int, noise: float) -> None:
        self.directions, self.rows, self.number, self.noise = np.empty((k, D)), np.empty((k, D)), 0, noise

    def add(self, f: Float, M: Float) -> _Update:
        from fasttangent.kernels.covariances import direction

        u, v, w = (np.zeros(len(f)) for _ in range(3))
        direction(u, v, w, f, M, self.directions, self.number)
        if not float(np.sum(f * u)) >= 0:  # the digits of P are gone
            P = self.precision(1)
            u = P.solve(f)
            v = np.einsum("ij,j->i", M, u)
            w = P.solve(v)
        scale = 1 / np.sqrt(self.noise + max(float(np.sum(f * u)), 0.0))
        self.directions[self.number], self.rows[self.number] = scale * u, f
        self.number += 1
        return _Update(scale * u, scale * w, scale * scale * float(np.sum(u * v)))

    def precision(self, threads: int) -> Cholesky:
        return _precision(self.rows[: self.number], self.noise, threads)


def _precision(F: Float, noise: float, threads: int) -> Cholesky:
    """Factor of I + F^T F / noise = P^-1 = L L^T, P the covariance of the weights once the rows of F have labels.

    P is the product of `half_solve` of I and its transpose.  Where noise is so small that rounding loses I, the least
    multiple of I that it does not.
    """
    A = _sum_of_squares(F, np.ones(len(F)), threads) / noise
    squares, unit = A.diagonal().copy(), 1.0
    while True:
        A[np.diag_indices(len(A))] = squares + unit
        try:
            return Cholesky(A, threads)
        except NotPositiveDefinite:
            if not 2 * unit < squares.sum():  # NaN, infinity
                raise
            unit = max(2 * unit, EPS * squares.sum())


def _at_least_rounding(noise: float, variances: Float) -> float:
    """Below the rounding of variances, what is left of them once a label is known would be negative."""
    return max(noise, EPS * float(variances.max(initial=0.0)))


def _squares(E: NDArray, L: Float | None, threads: int) -> Float:
    """|e L|^2 of every row; a sum of squares, which keeps its digits where P takes most of e."""
    from fasttangent.kernels.covariances import load_forms

    found = np.empty(len(E))
    rounded = np.empty((0, E.shape[1]), E.dtype) if L is None else np.ascontiguousarray(L, E.dtype)
    each_chunk(lambda start, stop: load_forms(found, E, rounded, start, stop), len(E), threads)
    return found


def _root(M: Float) -> Float:
    """R with R R^T = M, for positive semi-definite M: by Cholesky, the largest pivot first, down to rounding."""
    R, left, free = np.zeros_like(M), M.diagonal().copy(), np.ones(len(M))
    least = EPS * len(M) * left.max(initial=0.0)
    for t in range(len(M)):
        i = int(np.argmax(left))
        if not left[i] > least:
            break
        R[t] = free * (M[i] - _combined(R[:t, i], R[:t])) / np.sqrt(left[i])
        left -= R[t] * R[t]
        left[i] = free[i] = 0
    return R.T


def _first_largest(best: Float) -> int:
    """The row of the largest value of all chunks, the first of equals."""
    return int(best[int(np.argmax(best[:, 0])), 1])


def conditioned(E: NDArray, known: NDArray, noise: float, *, threads: int | None = None) -> NDArray:
    """E L, whose inner products are the covariances once the rows `known` (m, D) have labels.

    L L^T = P = (I + sum of e e^T / noise over the known rows)^-1; an array of its own.
    """
    from fasttangent.kernels.covariances import multiply_rows

    n_threads = checks.thread_count(threads)
    precision = _precision(known.astype(np.float64), noise, n_threads)
    L = precision.half_solve(np.eye(precision.size)).astype(E.dtype)
    E, out = np.ascontiguousarray(E), np.empty(E.shape, E.dtype)
    each_chunk(lambda start, stop: multiply_rows(out, E, L, start, stop), len(E), n_threads)
    return out


def moments(E: NDArray, weight: Any, threads: int | None) -> Float:
    """Mean of w e e^T over the rows, weights of mean 1: (D, D)."""
    w = np.ones(len(E)) if weight is None else np.asarray(weight, np.float64)
    return _sum_of_squares(E, w, checks.thread_count(threads)) / w.sum()


def _sum_of_squares(E: NDArray, w: Float, threads: int) -> Float:
    """Sum of w e e^T over the rows: (D, D)."""
    from fasttangent.kernels.covariances import add_moments

    n, D = E.shape
    slab = CHUNK * max(1, -(-n // (CHUNK * MOST_SLABS)))
    parts = np.zeros((-(-n // slab), D, D))
    parallel.run(
        lambda c: add_moments(parts[c], E, w, c * slab, min((c + 1) * slab, n)),
        len(parts),
        threads,
    )
    total: Float = parts.sum(axis=0)
    return total
