"""The second stage of training on rows that memory does not hold, to a stationary point of all of them.

A pass through all rows gives a value and a gradient, or a product; what takes hundreds of products is done on a sample:

1. *A tilted sample* (`problem/tilted.py`) has the gradient of all rows at the point reached.  Its minimum, or where
   thirty Newton steps lead, is a step that is proposed; all rows say whether it is taken.
2. *The curvature of the sample*, factored, is the preconditioner of conjugate gradients with products of all rows:
   for Newton steps where those of the sample become slow, as it knows large curvature better than small; for the
   tangents; and for the bound on the smallest curvature.

So gradient, tangents and curvature are those of all rows, and only the way to them knows a sample.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from fasttangent.common.vectors import norm
from fasttangent.model.settling import ENOUGH, FLAT, descend, leave_saddle
from fasttangent.model.settling_state import OutOfTime, Settling
from fasttangent.problem.curvature import System
from fasttangent.problem.problem import Problem
from fasttangent.problem.streamed_problem import StreamedProblem
from fasttangent.problem.tilted import TiltedProblem
from fasttangent.solvers import conjugate_gradients
from fasttangent.solvers.extremes import factored, unfactored
from fasttangent.solvers.sampled_metric import SampledMetric, sampled_metric
from fasttangent.solvers.steihaug import Path

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fasttangent.solvers.bracket import Bracket
    from fasttangent.solvers.dual_metric import DualMetric
    from fasttangent.solvers.preconditioners import Preconditioner

    Float = NDArray[np.float64]
    Report = Callable[..., None]

GOAL = 0.3 * ENOUGH  # relative gradient norm: rounding of sums over many rows allows little more
SAMPLE_BYTES = 2**28  # of activations and their like that settling keeps of the sample
SHARE = 0.03  # of its gradient to which a sample is settled before all rows are asked
STEPS = 30  # Newton steps on a sample at the most
MOST_ROUNDS = 300
HOLDS = (0.0, *(10.0**k for k in range(-1, 7)))  # how strongly a step is held short, in strengths
SLOW = 0.5  # times the gradient before: a step that leaves more is slow
STALE = 40  # products of a step after which the metric is made anew
LOOSE = 0.1  # residual of a step, relative
LEAST, GOOD = (
    1e-4,
    0.75,
)  # shares of the decrease promised with which a step is taken, and the radius may grow
WIDEST, MOST_TRIALS = 100.0, 12  # radius, times the length of the first step; radii for a step
ROUNDED = 1e-13  # share of F below which a change is lost in rounding
TANGENT_GOAL = 1e-9  # relative residual of the tangents
MOST_PRODUCTS = 1000


def settle_many(
    problem: StreamedProblem, theta: Float, tangents: Float, seconds: float, report: Report
) -> Settling:
    """As `settling.settle`."""
    state = Settling(problem, theta.copy(), tangents.copy(), time.perf_counter() + seconds, report)
    try:
        sample = problem.sample(sample_rows(problem))
        _rounds(state, sample)
        state.show()
    except OutOfTime:
        state.stopped = "out of time"
    except KeyboardInterrupt:
        state.stopped = "interrupted"
    return state


def sample_rows(problem: Problem) -> int:
    """Rows of a sample, by what settling keeps of a row."""
    units = int(np.sum(problem.network.layout.table[:, 0] + 1))
    return max(2048, SAMPLE_BYTES // (40 * units))


def _rounds(state: Settling, sample: Problem) -> None:
    for _ in range(MOST_ROUNDS):
        _descend(state, sample)
        if state.gradient_norm > FLAT:
            return
        metric = sampled_metric(System(sample, state.theta))
        _solve_tangents(state, metric)
        bracket = _bracket(state, metric)
        if not bracket.negative:
            if state.gradient_norm <= ENOUGH:
                state.stopped = "settled"
            state.bracket = bracket
            if bracket.stopped and isinstance(metric, SampledMetric) and metric.positive:
                state.curvature_of = System(sample, state.theta)
                state.bracket = factored(state.curvature_of, metric.matrix)
            return
        if not leave_saddle(state, bracket.direction):
            state.bracket = bracket
            return


def _bracket(state: Settling, metric: SampledMetric | DualMetric) -> Bracket:
    """Of the smallest curvature of all rows."""
    return unfactored(System(state.problem, state.theta), lambda: metric, MOST_PRODUCTS, state.deadline)


def _descend(state: Settling, sample: Problem) -> None:
    """Steps that the sample proposes, as long as they shorten the gradient; then Newton steps with all rows."""
    hold = 0
    for _ in range(MOST_ROUNDS):
        before = state.gradient_norm
        while not _taken(state, _proposed(state, sample, HOLDS[hold])):
            hold += 1
            if hold == len(HOLDS):
                return _newton(state, sample)
        if not GOAL < state.gradient_norm <= SLOW * before:
            return _newton(state, sample)


def _proposed(state: Settling, sample: Problem, hold: float) -> Float:
    """A step (p,) towards a minimum of the tilted sample."""
    tilted = TiltedProblem(sample, state.theta, state.gradient, hold)
    inner = Settling(tilted, state.theta.copy(), np.empty((0, len(state.theta))), state.deadline, _unheard)
    descend(inner, SHARE * inner.gradient_norm, STEPS)
    state.show()
    return inner.theta - state.theta


def _taken(state: Settling, step: Float) -> bool:
    """Whether the step, or a shorter one, helps all rows; if so it is taken."""
    for length in (1.0, 0.3):
        theta = state.theta + length * step
        value, gradient = state.evaluate(theta)
        near = abs(value - state.value) <= ROUNDED * abs(state.value)
        if value < state.value or (near and norm(gradient) < norm(state.gradient)):
            state.move(theta, value, gradient)
            state.record()
            return True
    return False


def _newton(state: Settling, sample: Problem) -> None:
    """Newton steps within a radius, by conjugate gradients with products of all rows."""
    metric, radius = sampled_metric(System(sample, state.theta)), np.inf
    for _ in range(MOST_ROUNDS):
        if state.gradient_norm <= GOAL:
            return
        path, count = _path(state, metric)
        radius = _stepped(state, path, min(radius, WIDEST * path.first_length))
        if not radius > 0:
            return
        if count() > STALE:
            metric = sampled_metric(System(sample, state.theta))


def _path(state: Settling, metric: Preconditioner) -> tuple[Path, Callable[[], int]]:
    """The way to the minimum of the quadratic model of all rows, and how many products it has taken so far."""
    problem, theta, products = state.problem, state.theta, 0

    def product(v: Float) -> Float:
        nonlocal products
        products += 1
        return problem.product(theta, v[None])[0]

    tolerance = min(LOOSE, np.sqrt(state.gradient_norm))
    path = Path(state.heeding(product), metric.solve, state.gradient, tolerance, MOST_PRODUCTS)
    return path, lambda: products


def _stepped(state: Settling, path: Path, radius: float) -> float:
    """A step along the path, within a radius that shrinks until it helps; the radius for the next, 0 if none helps."""
    theta = state.theta
    for _ in range(MOST_TRIALS):
        step = path.within(radius)
        value, gradient = state.evaluate(theta + step.d)
        near = not step.decrease > ROUNDED * abs(state.value)
        ratio = 0.0 if near else (state.value - value) / step.decrease
        if norm(gradient) < norm(state.gradient) if near else ratio > LEAST:
            state.move(theta + step.d, value, gradient)
            state.record()
            return 2.5 * radius if ratio > GOOD and step.at_edge else radius
        if near:
            return 0.0
        radius *= 0.25
    return 0.0


def _solve_tangents(state: Settling, metric: Preconditioner) -> None:
    """(H + strength C'') tau = -grad C at the final point, H of all rows."""
    problem, theta = state.problem, state.theta
    product = state.heeding(lambda V: problem.product(theta, V))
    for _ in range(3 if len(state.tangents) else 0):
        residual = product(state.tangents) + problem.complexity_gradient(theta)
        goals = TANGENT_GOAL * norm(problem.complexity_gradient(theta))
        norms = np.array([norm(r) for r in residual])
        if (norms <= goals).all():
            return
        tolerance = np.minimum(0.5, goals / np.maximum(norms, 1e-300))
        state.tangents = (
            state.tangents + conjugate_gradients(product, -residual, metric, tolerance, MOST_PRODUCTS).x
        )


def _unheard(*told: object, **figures: object) -> None:
    """Progress of a sample is not progress."""
