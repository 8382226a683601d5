"""Linear systems in H: a Gauss-Newton metric and conjugate gradients for several right-hand sides at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fasttangent.objective import Problem

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Float = NDArray[np.float64]


class Metric:
    """M = J^T D J + floor I, the Gauss-Newton matrix with its small eigenvalues levelled.

    J (n, p) is the Jacobian of the outputs and D the weights times loss''; the eigenvectors of the matrix are
    found from its dual J J^T (n, n).  Where there are many rows a fixed sample of them stands for all.

    Parameters
    ----------
    problem : Problem
    theta : ndarray of float64, shape (p,)
    floor : float
        Eigenvalues below it are raised to it; the rank follows from it.
    """

    MOST_ROWS = 1000  # rows of the dual: its eigenvectors cost 0.1 s
    MOST_VALUES = 2**25  # values of the Jacobian: 256 MB
    MOST_RANK = 400

    def __init__(self, problem: Problem, theta: Float, floor: float) -> None:
        J = self._weighted_jacobian(problem, theta)
        eigenvalues, Q = np.linalg.eigh(J @ J.T)
        kept = np.flatnonzero(eigenvalues > floor)[::-1][: self.MOST_RANK]
        self.eigenvalues: Float = eigenvalues[kept]
        self.largest = max(float(eigenvalues[-1]), floor)
        self._U: Float = np.ascontiguousarray((Q[:, kept].T @ J) / np.sqrt(self.eigenvalues)[:, None])
        self._UT: Float = np.ascontiguousarray(self._U.T)
        self.floor = floor

    @classmethod
    def _weighted_jacobian(cls, problem: Problem, theta: Float) -> Float:
        """sqrt(w loss'') J over all rows, or over a sample scaled to stand for all: shape (rows outputs, p)."""
        from fasttangent.kernels.rows import output_jacobian

        X, Y, w = problem.rows
        n_outputs = Y.shape[1]
        most = max(1, min(cls.MOST_ROWS, cls.MOST_VALUES // len(theta)) // n_outputs)
        if len(X) > most:
            sample = np.sort(np.random.default_rng(0).choice(len(X), most, replace=False))
            X, Y, w = X[sample], Y[sample], w[sample] * (len(X) / most)
        J = np.empty((len(X), n_outputs, len(theta)))
        output_jacobian(J, theta, X, np.arange(len(X)), problem.network.kernel_view)
        # loss'' is between 0 and 1; 1 keeps the metric definite where a robust loss has no curvature
        J *= np.sqrt(w)[:, None, None]
        return J.reshape(-1, len(theta))

    def solve(self, v: Float) -> Float:
        """M^-1 v, for v (p,)."""
        shrink = self.floor / (self.floor + self.eigenvalues) - 1
        return self._apply(v, shrink) / self.floor

    def unscale(self, v: Float) -> Float:
        """(M / floor)^-1/2 v: the change of variables in which M is a multiple of the identity."""
        return self._apply(v, np.sqrt(self.floor / (self.floor + self.eigenvalues)) - 1)

    def raised(self, floor: float) -> Metric:
        """The metric with a higher floor, without the eigenvectors that no longer matter."""
        rank = int(np.count_nonzero(self.eigenvalues > 0.3 * floor))
        other = object.__new__(Metric)
        other.floor, other.largest = floor, self.largest
        other.eigenvalues = self.eigenvalues[:rank]
        other._U, other._UT = self._U[:rank], np.ascontiguousarray(self._UT[:, :rank])
        return other

    def _apply(self, v: Float, c: Float) -> Float:
        from fasttangent.kernels.arithmetic import low_rank_plus_identity

        x = np.empty((1, len(v)))
        low_rank_plus_identity(x, np.ascontiguousarray(v)[None], self._U, self._UT, c)
        return x[0]


@dataclass
class Solution:
    """What conjugate gradients found for right-hand sides B (K, p)."""

    x: Float  # (K, p)
    residuals: Float  # (K,) ||A x - b|| / ||b||
    iterations: int
    negative: Float | None  # a direction of negative curvature, (p,), if one was met


def conjugate_gradients(
    product: Callable[[Float], Float], B: Float, metric: Metric, tolerance: Float | float, most: int
) -> Solution:
    """Solve A x = b for each row b of B (K, p), in lockstep: K products share one primal pass.

    Parameters
    ----------
    product : callable
        V (K, p) -> the rows A v.
    B : ndarray of float64, shape (K, p)
    metric : Metric
        The preconditioner.
    tolerance : float or ndarray of shape (K,)
        Relative residual at which a right-hand side is done.
    most : int
        Iterations at the most.

    Returns
    -------
    Solution
        With `negative` set, and x as far as it got, when a direction of negative curvature was met.
    """
    K = len(B)
    x, r = np.zeros_like(B), B.copy()
    norms = np.array([norm(b) for b in B])
    wanted = tolerance * norms
    z = np.array([metric.solve(v) for v in r])
    q = z.copy()
    rz = np.array([dot(r[k], z[k]) for k in range(K)])
    active = [k for k in range(K) if norms[k] > wanted[k]]
    iterations, negative = 0, None
    while active and iterations < most:
        iterations += 1
        for k, Aq in zip(list(active), product(q[active]), strict=True):
            curvature = dot(q[k], Aq)
            if not curvature > 0:  # also NaN
                negative = q[k] / norm(q[k])
                break
            step = rz[k] / curvature
            x[k] += step * q[k]
            r[k] -= step * Aq
            if norm(r[k]) <= wanted[k]:
                active.remove(k)
                continue
            z[k] = metric.solve(r[k])
            rz_next = dot(r[k], z[k])
            q[k] = z[k] + (rz_next / rz[k]) * q[k]
            rz[k] = rz_next
        if negative is not None:
            break
    residuals = np.array([norm(r[k]) / norms[k] if norms[k] > 0 else 0.0 for k in range(K)])
    return Solution(x, residuals, iterations, negative)


def dot(a: Float, b: Float) -> float:
    """a . b, summed pairwise in an order that no number of BLAS threads changes."""
    return float(np.add.reduce(a * b))


def norm(a: Float) -> float:
    return float(np.sqrt(dot(a, a)))
