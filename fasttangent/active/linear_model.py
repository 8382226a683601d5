"""A linear model whose weights have the prior covariance I, and what labels of some rows make of it.

P is the covariance of the weights once those rows have labels, of the variance `noise` around their values, one for all
or for each; M the mean of e e^T over the rows whose predictions matter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fasttangent.active.distances import CHUNK, each_chunk
from fasttangent.common import checks, parallel
from fasttangent.solvers.dense import Cholesky, NotPositiveDefinite

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Float = NDArray[np.float64]

MOST_SLABS = 16  # of rows that are summed by themselves, D^2 values each
DEPTH = 128  # of a product at once, whose rows stay in a cache
EPS = float(np.finfo(np.float64).eps)


class Update(NamedTuple):
    """What a pick f changes: P less u u^T, with u = P f / sqrt(noise + f.P f)."""

    u: NDArray
    w: NDArray  # P M u
    norm_M: float  # u.M u


class Picked:
    """P = I - sum of u u^T over the picks so far, never formed.

    `overlap` is u.M P M u of the last one.
    """

    def __init__(self, D: int, k: int) -> None:
        self.directions, self.rows, self.noise = np.empty((k, D)), np.empty((k, D)), np.empty(k)
        self.number = 0

    def add(self, f: Float, M: Float, noise: float) -> Update:
        from fasttangent.kernels.covariances import direction

        u, v, w = (np.zeros(len(f)) for _ in range(3))
        direction(u, v, w, f, M, self.directions, self.number)
        if not float(np.sum(f * u)) >= 0:  # the digits of P are gone
            P = self.precision(1)
            u = P.solve(f)
            v = np.einsum("ij,j->i", M, u)
            w = P.solve(v)
        scale = 1 / np.sqrt(noise + max(float(np.sum(f * u)), 0.0))
        t = self.number
        self.directions[t], self.rows[t], self.noise[t] = scale * u, f, noise
        self.number += 1
        self.overlap = scale * scale * float(np.sum(v * w))
        return Update(scale * u, scale * w, scale * scale * float(np.sum(u * v)))

    def precision(self, threads: int) -> Cholesky:
        return precision_of(self.rows[: self.number], self.noise[: self.number], threads)


def precision_of(F: Float, noise: Float | float, threads: int) -> Cholesky:
    """Factor of I + sum of f f^T / noise = P^-1 = L L^T, P the weights' covariance once the rows of F have labels.

    P is the product of `half_solve` of I and its transpose.  Where noise is so small that rounding loses I, the least
    multiple of I that it does not.
    """
    noises = np.broadcast_to(noise, len(F))
    least = noises.min(initial=np.inf)
    A = sum_of_squares(F, least / noises, threads) / least
    squares, unit = A.diagonal().copy(), 1.0
    while True:
        A[np.diag_indices(len(A))] = squares + unit
        try:
            return Cholesky(A, threads)
        except NotPositiveDefinite:
            if not 2 * unit < squares.sum():  # NaN, infinity
                raise
            unit = max(2 * unit, EPS * squares.sum())


def at_least_rounding(noise: Float | float, variances: Float) -> Float | float:
    """Below the rounding of variances, what is left of them once a label is known would be negative."""
    least = EPS * float(variances.max(initial=0.0))
    return np.maximum(noise, least) if isinstance(noise, np.ndarray) else max(noise, least)


def squares_of(E: NDArray, L: Float | None, threads: int) -> Float:
    """|e L|^2 of every row; a sum of squares, which keeps its digits where P takes most of e."""
    from fasttangent.kernels.covariances import load_forms

    found = np.empty(len(E))
    rounded = np.empty((0, E.shape[1]), E.dtype) if L is None else np.ascontiguousarray(L, E.dtype)
    each_chunk(lambda start, stop: load_forms(found, E, rounded, start, stop), len(E), threads)
    return found


def root_of(M: Float) -> Float:
    """R with R R^T = M, for positive semi-definite M: by Cholesky, the largest pivot first, down to rounding."""
    R, left, free = np.zeros_like(M), M.diagonal().copy(), np.ones(len(M))
    least = EPS * len(M) * left.max(initial=0.0)
    for t in range(len(M)):
        i = int(np.argmax(left))
        if not left[i] > least:
            break
        R[t] = free * (M[i] - combined(R[:t, i], R[:t])) / np.sqrt(left[i])
        left -= R[t] * R[t]
        left[i] = free[i] = 0
    return R.T


def combined(c: Float, rows: Float) -> Float:
    """The sum of c_t times row t."""
    return product(c[None], rows)[0]


def product(A: Float, B: Float) -> Float:
    """A B."""
    from fasttangent.kernels.dense import product_of_panel

    C = np.zeros((len(A), B.shape[1]))
    product_of_panel(C, np.ascontiguousarray(A), np.ascontiguousarray(B), 0, len(A), DEPTH)
    return C


def moments(E: NDArray, weight: Any, threads: int | None) -> Float:
    """Mean of w e e^T over the rows, weights of mean 1: (D, D)."""
    w = np.ones(len(E)) if weight is None else np.asarray(weight, np.float64)
    return sum_of_squares(E, w, checks.thread_count(threads)) / w.sum()


def sum_of_squares(E: NDArray, w: Float, threads: int) -> Float:
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


def conditioned(E: NDArray, known: NDArray, noise: Float | float, *, threads: int | None = None) -> NDArray:
    """E L, whose inner products are the covariances once the rows `known` (m, D) have labels; an array of its own."""
    return conditioned_by(half_of(known, noise, threads), E, threads)


def half_of(known: NDArray, noise: Float | float, threads: int | None) -> Float:
    """L with L L^T = P = (I + sum of e e^T / noise over the known rows)^-1."""
    precision = precision_of(known.astype(np.float64), noise, checks.thread_count(threads))
    found: Float = precision.half_solve(np.eye(precision.size))
    return found


def conditioned_by(L: Float, E: NDArray, threads: int | None) -> NDArray:
    """E L, an array of its own."""
    from fasttangent.kernels.covariances import multiply_rows

    E, out, factor = np.ascontiguousarray(E), np.empty(E.shape, E.dtype), L.astype(E.dtype)
    n_threads = checks.thread_count(threads)
    each_chunk(lambda start, stop: multiply_rows(out, E, factor, start, stop), len(E), n_threads)
    return out


class Average:
    """M, in the unit in which its trace is 1, and R with R R^T = M."""

    def __init__(self, M: Float) -> None:
        self.M = M / (
            np.trace(M) or 1.0
        )  # picks do not depend on it, and P M u stays in the range of float32
        self.root = root_of(self.M)
        self.square = float(np.sum(self.M * self.M))
