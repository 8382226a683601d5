"""Newton steps within a radius: from wherever the first stage ended to a stationary point.

The quadratic model is the exact one, its minimum within the radius is sought by conjugate gradients that follow
negative curvature to the edge (`solvers/steihaug.py`), and radius and conjugate gradients use the exact
Gauss-Newton metric of each point (`solvers/dual_metric.py`).  Two things took kin8nm and concrete (500 rows, 64-64,
strength 1e-3) from 2,000-5,500 evaluations of L-BFGS in a metric of rank 128 to some 150 such steps:

1. A metric of every point: one that is a step old takes twice the steps.
2. A correction of second order where a step does less than promised.  It asks for the smallest further step that takes
   back what J d missed of the change of the outputs; without it there were 850 steps.  Where the metric is of a sample
   of the rows, the correction is of all of them nevertheless: 794 steps became 195 (kin40k, 5,000 rows, 64-64).

While the gradient is large, everything but F and its gradient is done in float32.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from fasttangent.common.vectors import norm
from fasttangent.model.settling_state import Settling
from fasttangent.problem.linearized import Linearized
from fasttangent.problem.linearized_users import linearized
from fasttangent.problem.problem import Problem
from fasttangent.solvers.arrow_metric import metric_at
from fasttangent.solvers.dual_metric import DualMetric
from fasttangent.solvers.steihaug import Path

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Float = NDArray[np.float64]

MOST_STEPS = 3000
MOST_PRODUCTS = 300  # of one step
LOOSE = 0.3  # residual of a step, relative, far from the end
CLEARLY = 0.9  # times its norm in the metric, to which a gradient is to fall
ROUNDED = 1e-13  # share of F below which a decrease is lost in rounding
SINGLE, DOUBLE = np.dtype(np.float32), np.dtype(np.float64)
NEAR = 1e-5  # relative gradient from which on steps are taken in float64
GOOD = 0.9  # share of the promised decrease below which a correction is tried
WIDER = 1e6  # than a radius, where steps are lost in rounding
LEAST = 1e-4  # and the smallest with which a step is taken
LARGE = 500_000  # rows times parameters from which on float32 is worth its compilation


def coarse(problem: Problem) -> np.dtype:
    """The dtype of what need not be exact."""
    return SINGLE if problem.n_rows * problem.network.layout.n_params >= LARGE else DOUBLE


class _Point(NamedTuple):
    """What is known of a point."""

    outputs: Float  # predictions (n, n_outputs)
    at: Linearized
    metric: DualMetric
    path: Path  # for the gradient divided by its length, so that float32 has no underflow
    length: float


class TrustRegion:
    """The point where settling stands, and the radius within which its quadratic model is believed."""

    def __init__(self, state: Settling) -> None:
        self._state, self._problem = state, state.problem
        self._radius = 0.0  # not known
        self._point: _Point | None = None  # not looked at
        self._outputs: Float | None = None
        self._lost = False  # whether float32 promised a step that rounding hides, so that float64 is to tell

    def descend(self, goal: float, near: float = np.inf, most: int = MOST_STEPS) -> bool:
        """Steps, so many at most, until the relative gradient is at most `goal`, or no step helps.

        Returns
        -------
        bool
            False if the way from a point whose gradient was at most `near` led to one where it is ten times that.
        """
        self._radius, self._point, self._outputs = 0.0, None, None
        self._lost = False
        least = np.inf
        for _ in range(most):
            relative = self._state.gradient_norm
            least = min(least, relative)
            if not relative > goal:
                return True
            if least <= near and relative > 10 * near:
                return False
            self._point = self._point or self._look_around()
            if not self._step(self._point):
                return True
        return True

    def _look_around(self) -> _Point:
        state, outputs = self._state, self._outputs
        relative, length = state.gradient_norm, norm(state.gradient)
        rough = relative > NEAR and not self._lost
        at = linearized(self._problem, state.theta, coarse(self._problem) if rough else DOUBLE)
        metric = metric_at(at)
        g, tolerance = (state.gradient / length).astype(at.dtype), min(LOOSE, np.sqrt(relative))
        path = Path(state.heeding(at.product), metric.solve, g, tolerance, MOST_PRODUCTS)
        if self._radius == 0:
            self._radius = path.first_length * length
        if outputs is None:
            outputs = self._problem.predictions(state.theta)
        return _Point(outputs, at, metric, path, length)

    def _step(self, point: _Point) -> bool:
        """Try a step; False if none promises what rounding would show."""
        state, problem = self._state, self._problem
        step = point.path.within(self._radius / point.length)
        d, promised = point.length * step.d.astype(float), point.length**2 * step.decrease
        if not promised > ROUNDED * abs(state.value):
            if point.at.dtype == SINGLE:
                self._lost, self._point = True, None
                return True
            # the radius may have shrunk by decreases that were rounded, so here it is not believed
            step = point.path.within(WIDER * self._radius / point.length) if step.at_edge else step
            return self._last_step(point, state.theta + point.length * step.d.astype(float))
        theta, known = state.theta + d, None
        outputs = problem.predictions(theta)
        value = problem.value(theta, outputs)
        if not state.value - value >= GOOD * promised:
            corrected = theta + _correction(point, d, outputs)
            better = state.evaluate(corrected)
            if better[0] < value:
                theta, value, known = corrected, better[0], better
        ratio = (state.value - value) / promised
        self._resize(ratio, step.at_edge)
        if ratio > LEAST:
            self._move(theta, known or state.evaluate(theta), None if known else outputs)
        return True

    def _last_step(self, point: _Point, theta: Float) -> bool:
        """Where a decrease of F drowns in its rounding a smaller gradient is what helps.

        Or one that is smaller in the metric: of a system of condition 2e7 a step took its norm there to 40 %, and
        made the gradient six times as long, along what is stiff and gone with the next step.
        """
        before, found = self._state.gradient, self._state.evaluate(theta)
        lengths = (point.metric.length_of_gradient(g / point.length) for g in (found[1], before))
        helps = norm(found[1]) < norm(before) or next(lengths) < CLEARLY * next(lengths)
        if helps:
            self._move(theta, found, None)
        return helps

    def _move(self, theta: Float, found: tuple[float, Float], outputs: Float | None) -> None:
        self._state.move(theta, *found)
        self._state.record()
        self._point, self._outputs = None, outputs

    def _resize(self, ratio: float, at_edge: bool) -> None:
        if not ratio >= 0.25:  # also NaN
            self._radius *= 0.5 if ratio >= 0 else 0.25
        elif ratio > 0.75 and at_edge:
            self._radius *= 2.5


def _correction(point: _Point, d: Float, outputs: Float) -> Float:
    """The least further step that takes back what J d missed of the change of the outputs; none if longer than d."""
    at = point.at
    back = point.metric.least_change(at.scaled(outputs - point.outputs) - at.times(d.astype(at.dtype)))
    return -back.astype(float) if norm(back) < norm(d) else np.zeros_like(d)
