"""What all solvers share: the checks, the measured residuals, what they report."""

from __future__ import annotations

import copy
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from fasttangent.common import checks
from fasttangent.common.vectors import norms
from fasttangent.problem.curvature import System

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Float = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Solved:
    """Solutions of A x = b, and what they are worth.

    Attributes
    ----------
    x : ndarray of float64, shape (K, p)
    residuals : ndarray of float64, shape (K,)
        ||A x - b|| / ||b||, of a product with A after the solve; 0 for b = 0.  nan if not measured.
    iterations : int
        Products with A that the method needed, each of all right-hand sides that were not done; of a direct
        method, steps of refinement.
    stopped : str
        "direct"; "converged": every residual is within the tolerance; "iteration limit"; "no further progress":
        rounding, or a singular matrix, allows no smaller residual; "negative curvature": A is not positive
        definite, x is as far as it got; "diverging" (lissa): the same, seen in a residual that grew;
        "interrupted": by Ctrl-C, x is as far as it got.
    seconds : float
        Of the solve, without the preparation.
    name : str
        The solver.
    """

    x: Float
    residuals: Float
    iterations: int
    stopped: str
    seconds: float
    name: str


class Solver(ABC):
    """A system prepared for many right-hand sides.

    Attributes
    ----------
    name : str
        One of `SOLVERS`.
    system : System
    seconds : float
        That preparing it took.
    options : dict
        That it was prepared with.
    direct : bool
        Whether it holds a decomposition, which also serves systems nearby.
    """

    name: str
    direct = False
    seconds = 0.0

    def __init__(self, system: System) -> None:
        self.system = system
        self.options: dict[str, Any] = {}

    def at(self, system: System) -> Solver:
        """The same solver with the same options for another system."""
        other = type(self)(system, **self.options)
        other.options = self.options
        return other

    def beside(self) -> Solver:
        """The same for use next to this one in another thread, with what it prepared."""
        other = copy.copy(self)
        other.system = replace(self.system, problem=self.system.problem.alone())
        return other

    @abstractmethod
    def definite(self) -> bool:
        """Whether A is positive definite, by proof."""

    def solve(self, B: Any, strength: float | None = None) -> Solved:
        """Solve A x = b for each row b of B.

        Parameters
        ----------
        B : array_like of shape (K, p)
        strength : float, optional
            Another strength than the system's: A = H + strength C''.  "cholesky" has factorised one matrix and can't.

        Returns
        -------
        Solved

        Raises
        ------
        ValueError
            If B has another shape or a value that is not finite, or the solver is for one strength only.
        IndefiniteError
            If a direct solver finds A singular at that strength.
        """
        B = self._right_sides(B)
        shift = self._shift(strength)
        start = time.perf_counter()
        x, residuals, iterations, stopped = self._solve(B, shift)
        return Solved(x, residuals, iterations, stopped, time.perf_counter() - start, self.name)

    @abstractmethod
    def _solve(self, B: Float, shift: float) -> tuple[Float, Float, int, str]:
        """x, residuals, iterations, stopped of (A + shift C'') x = b."""

    def _product(self, V: Float, shift: float) -> Float:
        """(A + shift C'') v for each row v of V."""
        AV = self.system.product(V)
        return AV + shift * self.system.problem.mask * V if shift else AV

    def _right_sides(self, B: Any) -> Float:
        B, p = checks.array("B", B), self.system.size
        if B.ndim != 2 or B.shape[1] != p:
            hint = "; one right-hand side is b[None, :]" if B.shape == (p,) else ""
            raise ValueError(
                f"B must have shape (K, {p}), one right-hand side in a row, got shape {B.shape}{hint}"
            )
        B = np.ascontiguousarray(B, np.float64)
        checks.finite("B", B)
        return B

    def _shift(self, strength: float | None) -> float:
        """What A lacks of C'' at that strength."""
        if strength is None:
            return 0.0
        return checks.number("strength", strength, at_least=0) - own_strength(self.system)


def own_strength(system: System) -> float:
    """The strength inside A."""
    return system.problem.objective.strength if system.regularized else 0.0


def relative_norms(R: Float, B: Float) -> Float:
    """||r|| / ||b|| for each row; 0 where b = 0."""
    lengths = norms(B)
    return norms(R) / np.where(lengths > 0, lengths, 1.0)


def plain_complexity(system: System) -> bool:
    """Whether C'' is the problem's `metric`: the identity, or the ratios of groups that are made of whole inputs."""
    return bool((system.problem.mask == system.problem.metric).all())
