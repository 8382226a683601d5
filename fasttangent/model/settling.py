"""The second stage of training: to a stationary point, full batch, in float64, and to the tangents there.

At a stationary point the tangent of the strength solves (H + strength C'') tau = -grad C; away from one it is
an accident.  Four means, each for what it does best:

1. *Newton steps within a radius* (`trust_region`) lead from wherever the first stage ended to a stationary point.
2. *L-BFGS in the Gauss-Newton metric* comes near beforehand for relu, whose kinks stop a Newton step early.
3. *A step along negative curvature* leaves a saddle.  Saddles are common, not exotic: a unit that fits nothing
   and its twins stay at one however small the gradient.
4. *Conjugate gradients* solve for the tangents at the end.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from fasttangent.model.lbfgs import minimize
from fasttangent.model.settling_state import GOAL, OutOfTime, Settling
from fasttangent.model.trust_region import MOST_STEPS, TrustRegion, coarse
from fasttangent.problem.curvature import System
from fasttangent.problem.linearized_users import linearized
from fasttangent.problem.problem import Problem
from fasttangent.solvers import conjugate_gradients, norm
from fasttangent.solvers.arrow_metric import metric_at
from fasttangent.solvers.dual_metric import DualMetric
from fasttangent.solvers.extremes import curvature_bracket

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Float = NDArray[np.float64]
    Report = Callable[..., None]
    Product = Callable[[NDArray[Any]], NDArray[Any]]

ENOUGH = 1e-8  # and the largest that counts as settled, where rounding allows no better
FLAT = 1e-5  # and the largest at which a saddle is looked for: to some, rounding lets no step come nearer
NEAR = 1e-3  # where Newton steps take over from L-BFGS
ROUND = 100  # L-BFGS iterations in one metric
MOST_ROUNDS = 240
TANGENT_GOAL = 1e-10  # relative residual of the tangents
MOST_KRYLOV_STEPS = 1000
JITTER = 1e-3  # of a typical parameter, after a saddle


def settle(problem: Problem, theta: Float, tangents: Float, seconds: float, report: Report) -> Settling:
    """Take theta (p,) to a stationary point and tangents (K, p) to the implicit ones.

    Parameters
    ----------
    problem : Problem
    theta, tangents : ndarray of float64
        Where to start; not changed.
    seconds : float
        Time budget; inf for none.
    report : callable
        Called as report("settling", done, total, gradient_norm=...).

    Returns
    -------
    Settling
        Also when time ran out or Ctrl-C was pressed: the best point reached, with `stopped` saying so.
    """
    state = Settling(problem, theta.copy(), tangents.copy(), time.perf_counter() + seconds, report)
    try:
        _rounds(state)
        if len(tangents):
            _solve_tangents(state)
        state.show()
    except OutOfTime:
        state.stopped = "out of time"
    except KeyboardInterrupt:
        state.stopped = "interrupted"
    return state


def descend(state: Settling, goal: float, most: int = MOST_STEPS) -> None:
    """Downhill until the relative gradient is at most `goal`, no step helps, or that many Newton steps are done."""
    region = TrustRegion(state)
    approach = state.problem.network.activation == "relu"
    for _ in range(MOST_ROUNDS):
        if approach:
            _approach(state)
        if region.descend(goal, NEAR if approach else np.inf, most):
            return  # else past a saddle, and down again


def _rounds(state: Settling) -> None:
    for _ in range(MOST_ROUNDS):
        descend(state, GOAL)
        if state.gradient_norm > FLAT:
            return  # a kink of relu, rounding, or too many steps
        bracket = curvature_bracket(System(state.problem, state.theta), deadline=state.deadline)
        if not bracket.negative:
            if state.gradient_norm <= ENOUGH:
                state.stopped, state.bracket = "settled", bracket
            return
        if not leave_saddle(state, bracket.direction):
            return


def _approach(state: Settling) -> None:
    """L-BFGS in the Gauss-Newton metric, its floor at 0.1 % of the largest curvature, as long as it gains."""

    def function(theta: Float) -> tuple[float, Float]:
        value, gradient = state.evaluate(theta)
        if value <= state.value:
            state.move(theta, value, gradient)
        return value, gradient

    for _ in range(MOST_ROUNDS):
        before = state.value
        if state.gradient_norm <= NEAR:
            return
        at = linearized(state.problem, state.theta, coarse(state.problem))
        metric = metric_at(at)
        metric = metric_at(at, max(metric.floor, 1e-3 * metric.largest))

        def solve(v: Float, metric: DualMetric = metric) -> Float:
            return metric.solve(v).astype(np.float64)

        minimize(function, state.theta, solve, ROUND, lambda: state.gradient_norm <= NEAR)
        state.record()
        if not before - state.value > 1e-10 * abs(before):
            return


def leave_saddle(state: Settling, direction: Float) -> bool:
    """To the lowest of some points along the direction, either way, and a little beside it; False if none is lower.

    A saddle often has many directions out, one for every unit that fits nothing; a jitter of 0.1 % lets what follows
    find the others by itself.
    """
    origin, before = state.theta, state.value
    length = max(norm(origin), 1.0)  # the point where all parameters are zero is a saddle too
    for k in range(16):
        for sign in (1.0, -1.0):
            theta = origin + sign * length * 2.0**-k * direction
            value, gradient = state.evaluate(theta)
            if value < state.value:
                state.move(theta, value, gradient)
    if not state.value < before - 1e-14 * abs(before):
        return False
    jitter = np.random.default_rng(0).normal(size=origin.size) * JITTER * length / np.sqrt(origin.size)
    state.move(state.theta + jitter, *state.evaluate(state.theta + jitter))
    state.record()
    return True


def _solve_tangents(state: Settling) -> None:
    """(H + strength C'') tau = -grad C at the final point."""
    sides = np.repeat(state.problem.complexity_gradient(state.theta)[None], len(state.tangents), axis=0)

    def keep(tangents: Float) -> None:
        state.tangents = tangents

    solve_tangents(state.problem, state.theta, sides, state.tangents, state.heeding, keep)


def solve_tangents(
    problem: Problem,
    theta: Float,
    sides: Float,
    start: Float,
    heeding: Callable[[Product], Product] = lambda product: product,
    keep: Callable[[Float], object] = lambda tangents: None,
) -> Float:
    """tau (K, p) of (H + strength C'') tau = -b for each side b of (K, p), refined until the true residual is small.

    `keep` is given them whenever they are better.
    """
    at = linearized(problem, theta)
    metric, product, tangents = metric_at(at), heeding(at.product), start
    goals = TANGENT_GOAL * np.array([norm(b) for b in sides])
    for _ in range(4):
        residual = problem.product(theta, tangents) + sides
        norms = np.array([norm(r) for r in residual])
        if (norms <= goals).all():
            break
        tolerance = np.minimum(0.5, 0.3 * goals / np.maximum(norms, np.maximum(goals, 1e-300)))
        found = conjugate_gradients(
            lambda V: np.array([product(v) for v in V]), -residual, metric, tolerance, MOST_KRYLOV_STEPS
        )
        tangents = tangents + found.x
        keep(tangents)
    return tangents
