"""Curvature of the objective: the Hessian or the Gauss-Newton matrix, as products, as an operator, or dense."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fasttangent.common.blas import one_thread
from fasttangent.problem.dead_units import flat_biases
from fasttangent.problem.problem import Problem

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from scipy.sparse.linalg import LinearOperator

    Float = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class System:
    """A = H + strength C'' at some parameters, H the Hessian or the Gauss-Newton matrix of the data term.

    Parameters
    ----------
    problem : Problem
        Rows, weights and objective.
    theta : ndarray of float64, shape (p,)
    gauss_newton : bool
        H = J^T D J, positive semi-definite, instead of the Hessian; D = w loss''.
    regularized : bool
        False: H alone, without strength C''.
    """

    problem: Problem
    theta: Float
    gauss_newton: bool = False
    regularized: bool = True

    PANEL = 16  # directions that share a primal pass in a product

    @property
    def size(self) -> int:
        """p."""
        return len(self.theta)

    @property
    def diagonal_term(self) -> Float:
        """The diagonal of strength C'' (p,), zero if not regularized."""
        return (self.problem.objective.strength if self.regularized else 0.0) * self.problem.mask

    @property
    def flat_biases(self) -> NDArray[np.int64]:
        """Numbers of the parameters that no prediction and no other parameter depends on: see `dead_units`.

        None with users, whose deviations may use a unit that is the same for every row.
        """
        if self.size > self.problem.network.layout.n_params:
            return np.empty(0, np.int64)
        return flat_biases(self.problem.network.layout, self.theta, self.diagonal_term)

    def product(self, V: Float) -> Float:
        """The rows A v, for V (K, p)."""
        parts = [
            self.problem.data_product(self.theta, V[k : k + self.PANEL], gauss_newton=self.gauss_newton)
            for k in range(0, len(V), self.PANEL)
        ]
        return np.concatenate([*parts, np.empty((0, self.size))]) + self.diagonal_term * V

    def operator(self) -> LinearOperator:
        """A for SciPy's iterative solvers: (p, p), symmetric, of float64; `matmat` shares primal passes."""
        from scipy.sparse.linalg import LinearOperator

        def matmat(V: Float) -> Float:
            return self.product(np.ascontiguousarray(V.T)).T

        def matvec(v: Float) -> Float:
            return self.product(np.ascontiguousarray(v.reshape(1, -1)))[0]

        return LinearOperator(
            (self.size, self.size),
            matvec=matvec,
            rmatvec=matvec,
            matmat=matmat,
            rmatmat=matmat,
            dtype=np.float64,
        )

    def largest_eigenvalue(self) -> float:
        """Of A, to 1 % (Lanczos)."""
        from scipy.sparse.linalg import eigsh

        start = np.random.default_rng(0).normal(size=self.size)
        with one_thread():
            found = eigsh(self.operator(), k=1, which="LA", v0=start, tol=1e-2, return_eigenvectors=False)
        return float(found[0])

    def dense(self) -> Float:
        """A (p, p), symmetric to the bit; some p^2 / 3 multiplications a row."""
        from fasttangent.problem.dense_curvature import dense_curvature

        matrices = (
            dense_curvature(part, self.theta, gauss_newton=self.gauss_newton) for part in self.problem.parts()
        )
        A = next(matrices)
        for more in matrices:
            A += more
        A[np.diag_indices(self.size)] += self.diagonal_term
        return A

    def dual_matrix(self) -> Float:
        """D^1/2 J M^-1 J^T D^1/2 (n n_outputs, n n_outputs), with J^T D J the Gauss-Newton matrix of the data term
        and M the problem's `metric`."""
        from fasttangent.problem.dense_curvature import dual_matrix

        return dual_matrix(self.problem, self.theta)
