"""A Gauss-Newton metric of low rank, as a preconditioner."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import numpy as np

from fasttangent.common import parallel
from fasttangent.common.vectors import norm
from fasttangent.problem.problem import Problem

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Float = NDArray[np.float64]


class Metric:
    """M = B^T B + floor I, where B^T B is the Gauss-Newton matrix of the data term, or the large part of it.

    With J (n, p) the Jacobian of the outputs, scaled by the roots of the weights, the Gauss-Newton matrix is
    J^T J.  Where the rank allowed is less than n, B = Q^T J with Q an orthonormal basis of the range of
    J J^T Omega, Omega random (Halko, Martinsson & Tropp 2011, arXiv 0909.4061); where there are more than
    MOST_ROWS rows, a fixed sample of them stands for all.

    Parameters
    ----------
    problem : Problem
    theta : ndarray of float64, shape (p,)
    rank : int
        Rows of B at the most; a product with M^-1 costs 4 p rank operations.
    floor : float, optional
        Default: the strength, but at least a millionth of the largest curvature: below, M^-1 cancels to rounding.
    """

    MOST_ROWS = 1000
    MOST_VALUES = 2**25  # of the Jacobian: 256 MB

    def __init__(self, problem: Problem, theta: Float, rank: int, floor: float | None = None) -> None:
        J = self._scaled_jacobian(problem, theta)
        self._threads = problem.threads
        B = J if len(J) <= rank else self._large_part(J, rank)
        # A product with M^-1 waits for the memory that holds B.  The metric is that of the rounded B, exactly.
        self._B = B.astype(np.float32)
        self._BT = np.ascontiguousarray(self._B.T)
        self._gram = self._product(self._B.astype(np.float64), self._BT.astype(np.float64))
        lowest = max(1e-6 * self.largest, 1e-300)
        self._set_floor(max(problem.objective.strength, lowest) if floor is None else floor)

    @classmethod
    def _scaled_jacobian(cls, problem: Problem, theta: Float) -> Float:
        """sqrt(w) J over all rows, or over a sample scaled to stand for all: shape (rows outputs, p).

        loss'', which is between 0 and 1, is left out: it keeps the metric definite where a robust loss has none.
        """
        n, n_outputs = problem.rows.Y.shape
        most = max(1, min(cls.MOST_ROWS, cls.MOST_VALUES // len(theta)) // n_outputs)
        sample, scale = np.arange(n), 1.0
        if n > most:
            sample, scale = np.sort(np.random.default_rng(0).choice(n, most, replace=False)), n / most
        J = problem.jacobian(theta, sample)
        J *= np.sqrt(problem.rows.w[sample] * scale)[:, None, None]
        return J.reshape(-1, len(theta))

    def _large_part(self, J: Float, rank: int) -> Float:
        """Q^T J (rank, p) = U^-T W^T J, with W = J J^T Omega and U^T U = W^T W."""
        omega = np.random.default_rng(0).normal(size=(rank, len(J)))
        W = self._product(J, np.ascontiguousarray(self._product(omega, J).T))
        WT = np.ascontiguousarray(W.T)
        gram = self._product(WT, W)
        gram[np.diag_indices(rank)] += 1e-13 * np.trace(gram)  # Q need only be nearly orthonormal
        return self._product(np.ascontiguousarray(_inverse_factor(gram).T), self._product(WT, J))

    def _set_floor(self, floor: float) -> None:
        """The small matrix of M^-1 = (I - B^T S B) / floor, with S = (floor I + B B^T)^-1."""
        self.floor = floor
        inverse = _inverse_factor(self._gram + floor * np.eye(len(self._B)))
        self._S = self._product(inverse, np.ascontiguousarray(inverse.T))

    @property
    def largest(self) -> float:
        """Largest eigenvalue of B^T B, to a few per cent (power iteration)."""
        v = np.ones(len(self._gram))
        for _ in range(20):
            v = np.einsum("ij,j->i", self._gram, v / max(norm(v), 1e-300))
        return norm(v)

    def with_floor(self, floor: float) -> Metric:
        """The same B with another floor."""
        other = copy.copy(self)
        other._set_floor(floor)
        return other

    def solve(self, v: Float) -> Float:
        """M^-1 v, for v (p,)."""
        from fasttangent.kernels.dense import low_rank_change

        rank = len(self._S)
        x, inner, changed = np.empty((1, len(v))), np.empty((1, rank)), np.empty((1, rank))
        low_rank_change(x, np.ascontiguousarray(v)[None], self._B, self._BT, self._S, inner, changed)
        return x[0] / self.floor

    def sample(self, seed: int) -> Float:
        """A random vector (p,) whose covariance is M."""
        rng = np.random.default_rng(seed)
        along = np.einsum("i,ij->j", rng.normal(size=len(self._B)), self._B)
        return along + np.sqrt(self.floor) * rng.normal(size=self._B.shape[1])

    def _product(self, A: Float, B: Float) -> Float:
        """A B, over panels of 32 rows of A."""
        from fasttangent.kernels.dense import product_of_panel

        C, panel, depth = np.zeros((len(A), B.shape[1])), 32, max(16, 2**16 // B.shape[1])

        def task(i: int) -> None:
            product_of_panel(C, A, B, i * panel, min((i + 1) * panel, len(A)), depth)

        parallel.run(task, -(-len(A) // panel), self._threads)
        return C


def _inverse_factor(A: Float) -> Float:
    """U^-1 with U^T U = A."""
    from fasttangent.kernels.dense import cholesky, invert_upper

    U, inverse = np.empty_like(A), np.empty_like(A)
    cholesky(U, A)
    invert_upper(inverse, U)
    return inverse
