"""The objective of some rows, tilted so that its gradient at a point is that of all rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fasttangent.problem.problem import Problem

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Float = NDArray[np.float64]


class TiltedProblem(Problem):
    """F of a problem + slope . theta + strength hold |theta|^2 / 2.

    With slope = g - grad F(centre) - strength hold centre, its gradient at the centre is g, and it is held near there.
    Its minima are what a surrogate of the objective on all rows proposes (Shamir, Srebro & Zhang 2014, DANE).
    """

    def __init__(self, problem: Problem, centre: Float, gradient: Float, hold: float = 0.0) -> None:
        vars(self).update(vars(problem))
        own = problem.value_and_gradient(centre)[1]
        self.slope = gradient - own - problem.objective.strength * hold * centre
        self.mask = problem.mask + hold

    def value_and_gradient(self, theta: Float) -> tuple[float, Float]:
        value, gradient = super().value_and_gradient(theta)
        return value + float(np.sum(self.slope * theta)), gradient + self.slope

    def value(self, theta: Float, outputs: Float) -> float:
        return super().value(theta, outputs) + float(np.sum(self.slope * theta))
