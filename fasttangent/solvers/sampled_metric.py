"""The curvature of a sample of the rows as a preconditioner for that of all."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fasttangent.common.vectors import norm
from fasttangent.problem.curvature import System
from fasttangent.problem.linearized_users import linearized
from fasttangent.solvers.dense import Cholesky, NotPositiveDefinite
from fasttangent.solvers.dual_metric import DualMetric
from fasttangent.solvers.limits import FOLLOWED_DENSE_UP_TO

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Float = NDArray[np.float64]

ROWS = 4096  # of the sample where only the Gauss-Newton matrix is inverted, in the space of the rows
LEAST = (
    1e-6  # of the largest diagonal value, which is added first where the sample's curvature is not positive
)


class SampledMetric:
    """M = A of a sample, factored, and a multiple of the identity where A is not positive definite."""

    def __init__(self, system: System) -> None:
        A = system.dense()
        places = np.diag_indices(len(A))
        diagonal, added = A[places], 0.0
        while True:
            try:
                self._factor = Cholesky(A, system.problem.threads)
                break
            except NotPositiveDefinite:
                added = max(4 * added, LEAST * float(diagonal.max()))
                A[places] = diagonal + added
        self.matrix, self.positive = A, added == 0  #: (p, p), and whether it is the sample's own

    def solve(self, v: Float) -> Float:
        """M^-1 v, for v (p,)."""
        return self._factor.solve(v)

    def sample(self, seed: int) -> Float:
        """A random vector (p,) whose covariance is M."""
        z = np.random.default_rng(seed).normal(size=len(self.matrix))
        return self._times(self._factor.half_solve_transposed(z))

    @property
    def largest(self) -> float:
        """Largest eigenvalue, to a few per cent (power iteration)."""
        v = np.ones(len(self.matrix))
        for _ in range(20):
            v = self._times(v / max(norm(v), 1e-300))
        return norm(v)

    def _times(self, v: Float) -> Float:
        return np.einsum("ij,j->i", self.matrix, v)


def sampled_metric(system: System) -> SampledMetric | DualMetric:
    """Of a system of a sample: its curvature as it is, or of large networks the Gauss-Newton matrix of fewer rows."""
    if system.size <= FOLLOWED_DENSE_UP_TO:
        return SampledMetric(system)
    problem = system.problem
    few = max(1, ROWS * problem.n_rows // problem.n_labels)
    if few < problem.n_rows:
        rows = np.sort(np.random.default_rng(0).choice(problem.n_rows, few, replace=False))
        problem = problem.some(rows, problem.n_rows / few)
    return DualMetric(linearized(problem, system.theta), whole=True)
