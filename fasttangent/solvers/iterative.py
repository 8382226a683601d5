"""Solvers that need products with A alone."""

from __future__ import annotations

import copy
from abc import abstractmethod
from typing import TYPE_CHECKING

import numpy as np

from fasttangent.common import checks
from fasttangent.common.errors import IndefiniteError
from fasttangent.common.vectors import norms
from fasttangent.problem.curvature import System
from fasttangent.solvers.base import Solver, relative_norms
from fasttangent.solvers.block_cg import block_conjugate_gradients
from fasttangent.solvers.extremes import curvature_bracket
from fasttangent.solvers.krylov import conjugate_gradients
from fasttangent.solvers.lissa import MARGIN, lissa
from fasttangent.solvers.metric import Metric
from fasttangent.solvers.minres import minres
from fasttangent.solvers.preconditioners import preconditioner as make_preconditioner

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Float = NDArray[np.float64]


class Iterative(Solver):
    """Passes of a method, each on what the true residual leaves, until that is within the tolerance.

    The residual that a method updates drifts from the true one by rounding; a pass on the true one makes up for it.
    """

    METRIC_RANK = 600  # of the metric for bounds on eigenvalues, where the solver has none

    PASSES = 6
    LEAST_GAIN = 0.5  # of the residual in a pass; less is rounding

    def __init__(self, system: System, tolerance: float, most: int) -> None:
        super().__init__(system)
        self.tolerance = checks.number("tolerance", tolerance, above=0, below=1)
        self.most = checks.integer("most", most, at_least=1)

    def definite(self) -> bool:
        """By bounds on the smallest eigenvalue."""
        return curvature_bracket(self.system, self._metric).lower > 0

    def _metric(self) -> Metric:
        return Metric(self.system.problem, self.system.theta, self.METRIC_RANK)

    @abstractmethod
    def _pass(self, product: _Counted, R: Float, goals: Float, most: int, x: Float, shift: float) -> str:
        """One run of the method from zero on right-hand sides R (k, p), into x; why it stopped."""

    def _solve(self, B: Float, shift: float) -> tuple[Float, Float, int, str]:
        product = _Counted(self, shift)
        X, R, stopped = np.zeros_like(B), B.copy(), "converged"
        residuals = relative_norms(R, B)
        for _ in range(self.PASSES):
            rows = np.flatnonzero(residuals > self.tolerance)
            if len(rows) == 0:
                return X, residuals, product.count, "converged"
            goals, step = 0.5 * self.tolerance * norms(B[rows]), np.zeros((len(rows), B.shape[1]))
            try:
                stopped = self._pass(product, R[rows], goals, self.most - product.count, step, shift)
            except KeyboardInterrupt:
                stopped = "interrupted"
            X[rows] += step
            R = B - self._product(X, shift)
            before, residuals = residuals, relative_norms(R, B)
            if stopped == "converged" and not (residuals[rows] <= self.LEAST_GAIN * before[rows]).any():
                stopped = "no further progress"
            if stopped != "converged":
                break
        done = bool((residuals <= self.tolerance).all())
        if not done and stopped == "converged":
            stopped = "no further progress"
        return X, residuals, product.count, "converged" if done else stopped


class _Counted:
    """Products with A + shift C'', counted."""

    def __init__(self, solver: Iterative, shift: float) -> None:
        self._solver, self._shift, self.count = solver, shift, 0

    def __call__(self, V: Float) -> Float:
        self.count += 1
        return self._solver._product(V, self._shift)


class _Preconditioned(Iterative):
    def __init__(
        self,
        system: System,
        tolerance: float = 1e-10,
        most: int = 5000,
        preconditioner: str = "gauss-newton",
        rank: int | None = None,
    ) -> None:
        super().__init__(system, tolerance, most)
        self.preconditioner = make_preconditioner(system, preconditioner, rank)

    def at(self, system: System) -> Solver:
        """The same for another system, with the preconditioner of this one, which need only be near."""
        other = copy.copy(self)
        other.system = system
        return other

    def _metric(self) -> Metric:
        return self.preconditioner if isinstance(self.preconditioner, Metric) else super()._metric()


class ConjugateGradients(_Preconditioned):
    """`cg`: conjugate gradients in lockstep, each right-hand side with a Krylov space of its own.

    Parameters
    ----------
    residuals : bool
        False: residuals are not measured (nan), and what the method takes for the tolerance in one pass will do.
    """

    name = "cg"

    def __init__(
        self,
        system: System,
        tolerance: float = 1e-10,
        most: int = 5000,
        preconditioner: str = "gauss-newton",
        rank: int | None = None,
        residuals: bool = True,
    ) -> None:
        super().__init__(system, tolerance, most, preconditioner, rank)
        self.measured = checks.flag("residuals", residuals)

    def _solve(self, B: Float, shift: float) -> tuple[Float, Float, int, str]:
        if self.measured:
            return super()._solve(B, shift)
        product = _Counted(self, shift)
        found = conjugate_gradients(product, B, self.preconditioner, self.tolerance, self.most)
        if found.negative is not None:
            stopped = "negative curvature"
        else:
            stopped = "converged" if (found.residuals <= self.tolerance).all() else "iteration limit"
        return found.x, np.full(len(B), np.nan), product.count, stopped

    def _pass(self, product: _Counted, R: Float, goals: Float, most: int, x: Float, shift: float) -> str:
        found = conjugate_gradients(product, R, self.preconditioner, goals / norms(R), most, x)
        if found.negative is not None:
            return "negative curvature"
        return "converged" if (found.residuals * norms(R) <= goals).all() else "iteration limit"


class BlockConjugateGradients(_Preconditioned):
    """`block-cg`: all right-hand sides in one Krylov space."""

    name = "block-cg"

    def _pass(self, product: _Counted, R: Float, goals: Float, most: int, x: Float, shift: float) -> str:
        return block_conjugate_gradients(product, R, self.preconditioner, goals, most, x)


class Minres(_Preconditioned):
    """`minres`: symmetric A, definite or not."""

    name = "minres"

    def _pass(self, product: _Counted, R: Float, goals: Float, most: int, x: Float, shift: float) -> str:
        return minres(product, R, self.preconditioner, goals, most, x)


class Lissa(Iterative):
    """`lissa`: x <- x + eta (b - A x), eta = 1 / (1.05 lambda_max) with lambda_max measured.

    Attributes
    ----------
    largest : float
        lambda_max of A, to 1 %.
    """

    name = "lissa"

    def __init__(self, system: System, tolerance: float = 1e-10, most: int = 10_000) -> None:
        super().__init__(system, tolerance, most)
        self.largest = system.largest_eigenvalue()
        if not self.largest > 0:
            raise IndefiniteError(
                f"A must have a positive eigenvalue for lissa, its largest is {self.largest:.1e}; raise the strength"
            )

    def _pass(self, product: _Counted, R: Float, goals: Float, most: int, x: Float, shift: float) -> str:
        eta = 1 / (MARGIN * (self.largest + max(shift, 0.0)))
        return lissa(product, R, eta, goals, most, x)
