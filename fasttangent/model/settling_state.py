"""Where settling stands."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from fasttangent.model.certificate import relative_gradient
from fasttangent.problem.curvature import System
from fasttangent.problem.problem import Problem

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fasttangent.solvers.bracket import Bracket

    Float = NDArray[np.float64]
    Report = Callable[..., None]

GOAL = 1e-12  # relative gradient norm aimed at


class OutOfTime(Exception):
    """Raised where the budget is spent."""


@dataclass
class Settling:
    """Where settling stands; what it ends with.

    Attributes
    ----------
    theta : ndarray of float64, shape (p,)
    tangents : ndarray of float64, shape (K, p)
    stopped : str
        "settled", "out of time", "interrupted" or "no further progress".
    history : dict of list of float
        "seconds", "gradient_norm", "objective" after each step.
    bracket : Bracket or None
        Of the smallest curvature at theta, where it settled.
    curvature_of : System or None
        Whose it is, if it is that of a sample of the rows.
    """

    problem: Problem
    theta: Float
    tangents: Float
    deadline: float
    report: Report
    value: float = field(init=False)
    gradient: Float = field(init=False)
    stopped: str = "no further progress"
    bracket: Bracket | None = None  # of the curvature where it settled
    curvature_of: System | None = None  # whose the bracket is, if there was no time for that of all rows
    history: dict[str, list[float]] = field(init=False)

    def __post_init__(self) -> None:
        self._start = time.perf_counter()
        self._reported = 0.0
        self.history = {"seconds": [], "gradient_norm": [], "objective": []}
        self.value, self.gradient = self.problem.value_and_gradient(self.theta)

    @property
    def gradient_norm(self) -> float:
        return relative_gradient(self.problem, self.theta, self.gradient)

    def evaluate(self, theta: Float) -> tuple[float, Float]:
        """F and gradient at `theta`, unless time is up; progress is shown twice a second."""
        now = time.perf_counter()
        if now > self.deadline:
            raise OutOfTime
        if now - self._reported > 0.5:
            self._reported = now
            self.show()
        return self.problem.value_and_gradient(theta)

    def heeding(
        self, product: Callable[[NDArray[Any]], NDArray[Any]]
    ) -> Callable[[NDArray[Any]], NDArray[Any]]:
        """The product, unless time is up."""

        def heeded(v: NDArray[Any]) -> NDArray[Any]:
            if time.perf_counter() > self.deadline:
                raise OutOfTime
            return product(v)

        return heeded

    def show(self) -> None:
        """Progress in decades of the gradient norm, of which there are as many as GOAL has zeros."""
        decades = -np.log10(max(self.gradient_norm, GOAL))
        self.report("settling", int(max(0, decades)), int(-np.log10(GOAL)), gradient_norm=self.gradient_norm)

    def move(self, theta: Float, value: float, gradient: Float) -> None:
        self.theta, self.value, self.gradient = theta, value, gradient

    def record(self) -> None:
        self.history["seconds"].append(time.perf_counter() - self._start)
        self.history["gradient_norm"].append(self.gradient_norm)
        self.history["objective"].append(self.value)
