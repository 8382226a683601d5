"""The second stage of training: to a stationary point, full batch, in float64, with the tangents solved along.

At a stationary point the tangent of the strength solves (H + strength C'') tau = -grad C; away from one it is
an accident.  Three means, each for what it does best:

1. *L-BFGS in the Gauss-Newton metric* comes near.  In the variables u with theta = theta_0 + M^-1/2 u the
   curvature along the data's directions is about 1; measured on kin8nm and concrete (500 rows, strength 1e-3)
   it needs 2,000-5,500 evaluations where plain L-BFGS needs 22,000 iterations and more.
2. *Damped Newton* ends it, quadratically: (H + mu I) d = -g by conjugate gradients, and in the same Krylov loop
   (H + mu I) dtau = -((H + strength C'') tau + grad C): the tangents are further right-hand sides that share
   the primal pass of every product.
3. *A step along negative curvature* leaves a saddle.  Saddles are common, not exotic: a unit that fits nothing
   and its twins stay at one however small the gradient.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from fasttangent.model.certificate import PRECONDITIONER_RANK, relative_gradient
from fasttangent.model.lbfgs import minimize
from fasttangent.problem.curvature import System
from fasttangent.problem.problem import Problem
from fasttangent.solvers import Metric, conjugate_gradients, dot, norm
from fasttangent.solvers.extremes import curvature_bracket

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fasttangent.solvers.bracket import Bracket

    Float = NDArray[np.float64]
    Report = Callable[..., None]

GOAL = 1e-12  # relative gradient norm aimed at
ENOUGH = 1e-8  # and the largest that counts as settled, where rounding allows no better
NEAR = 1e-3  # where Newton takes over from L-BFGS
TANGENT_GOAL = 1e-10  # relative residual of the tangents
ROUND = 400  # L-BFGS iterations in one metric
MOST_ROUNDS = 60
MOST_NEWTON_STEPS = 30
MOST_KRYLOV_STEPS = 1000
APPROACH_RANK = 128  # of the metric of L-BFGS, whose iterations are cheap
JITTER = 1e-3  # of a typical parameter, after a saddle


class _OutOfTime(Exception):
    pass


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
        "seconds", "gradient_norm", "objective" after each round of L-BFGS and each Newton step.
    bracket : Bracket or None
        Of the smallest curvature at theta, where it settled.
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
            raise _OutOfTime
        if now - self._reported > 0.5:
            self._reported = now
            self.show()
        return self.problem.value_and_gradient(theta)

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
    except _OutOfTime:
        state.stopped = "out of time"
    except KeyboardInterrupt:
        state.stopped = "interrupted"
    return state


def _rounds(state: Settling) -> None:
    near = NEAR
    for _ in range(MOST_ROUNDS):
        before = state.value
        if state.gradient_norm > near:
            _approach(state, near)
            state.record()
            if state.gradient_norm > near and before - state.value > 1e-10 * abs(before):
                continue
        saddle = _newton(state)
        if saddle is None and state.gradient_norm <= ENOUGH:
            bracket = curvature_bracket(System(state.problem, state.theta), deadline=state.deadline)
            saddle = bracket.direction if bracket.negative else None
            if saddle is None:
                state.stopped, state.bracket = "settled", bracket
                return
        if saddle is not None and _leave_saddle(state, saddle):
            continue
        if before - state.value <= 1e-12 * abs(before):
            return  # neither means moves it: a kink of relu, or rounding
        near = max(near / 10, ENOUGH)


def _metric(state: Settling) -> Metric:
    return Metric(state.problem, state.theta, PRECONDITIONER_RANK)


def _approach(state: Settling, near: float) -> None:
    """L-BFGS in the variables of the metric, its floor at 0.3 % of the largest curvature."""
    metric = Metric(state.problem, state.theta, APPROACH_RANK)
    metric = metric.with_floor(max(metric.floor, 3e-3 * metric.largest))
    origin = state.theta

    def function(u: Float) -> tuple[float, Float]:
        theta = origin + metric.scale(u)
        value, gradient = state.evaluate(theta)
        if value <= state.value:
            state.move(theta, value, gradient)
        return value, metric.scale_back(gradient)

    minimize(function, np.zeros_like(origin), metric.floor, ROUND, lambda: state.gradient_norm <= near)


def _newton(state: Settling) -> Float | None:
    """Damped Newton steps for theta, and the same for the tangents; a direction if it ends at a saddle."""
    problem, metric = state.problem, _metric(state)
    unit = metric.floor
    damping = 1e-2 * unit
    for _ in range(MOST_NEWTON_STEPS):
        relative = state.gradient_norm
        if relative <= GOAL:
            return None
        theta, K = state.theta, len(state.tangents)
        B = -np.vstack([state.gradient[None], problem.tangent_residual(theta, state.tangents)])
        tolerance = np.full(K + 1, min(0.1, np.sqrt(relative)))
        tolerance[1:] = 0.1  # the tangent of a point that still moves need not be exact

        def product(V: Float, theta: Float = theta, damping: float = damping) -> Float:
            if time.perf_counter() > state.deadline:
                raise _OutOfTime
            return problem.product(theta, V) + damping * V

        if not 0.5 <= metric.floor / (unit + damping) <= 2:  # near enough will do for a preconditioner
            metric = metric.with_floor(unit + damping)
        found = conjugate_gradients(product, B, metric, tolerance, MOST_KRYLOV_STEPS)
        if found.negative is not None:
            if relative <= NEAR and damping <= unit:
                return found.negative
            damping = max(4 * damping, 1e-3 * unit)
            continue
        ratio = _try_step(state, found.x[0], B[0], damping)
        if ratio > 1e-3:
            state.tangents = state.tangents + found.x[1:]
            state.record()
        elif relative <= ENOUGH:
            return None  # as far as rounding allows
        if ratio < 0.25:
            damping = max(4 * damping, 1e-3 * unit)
        elif ratio > 0.75:
            damping = damping / 3 if damping > 1e-4 * unit else 0.0
    return None


def _try_step(state: Settling, d: Float, r: Float, damping: float) -> float:
    """Take the step d, with (H + damping) d = r = -gradient, if it helps; return actual over predicted decrease.

    Once the decrease drowns in the rounding of F, a smaller gradient is what helps.
    """
    predicted = 0.5 * dot(r, d) + 0.5 * damping * dot(d, d)
    value, gradient = state.evaluate(state.theta + d)
    if predicted > 1e-12 * abs(state.value):
        ratio = (state.value - value) / predicted
    else:
        ratio = 1.0 if norm(gradient) < norm(state.gradient) else 0.0
    if ratio > 1e-3:
        state.move(state.theta + d, value, gradient)
    return ratio


def _leave_saddle(state: Settling, direction: Float) -> bool:
    """To the lowest of some points along the direction, either way, and a little beside it; False if none is lower.

    A saddle often has many directions out, one for every unit that fits nothing; a jitter of 0.1 % lets
    L-BFGS find the others by itself, which took kin8nm (64-64, strength 1e-2) from 137 recorded steps to 61.
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
    """(H + strength C'') tau = -grad C at the final point, refined until the true residual is small."""
    problem, theta = state.problem, state.theta
    metric = _metric(state)
    goal = TANGENT_GOAL * norm(problem.complexity_gradient(theta))
    for _ in range(4):
        residual = problem.tangent_residual(theta, state.tangents)
        norms = np.array([norm(r) for r in residual])
        if (norms <= goal).all():
            return
        tolerance = np.minimum(0.5, 0.3 * goal / np.maximum(norms, goal))

        def product(V: Float) -> Float:
            if time.perf_counter() > state.deadline:
                raise _OutOfTime
            return problem.product(theta, V)

        found = conjugate_gradients(product, -residual, metric, tolerance, MOST_KRYLOV_STEPS)
        state.tangents = state.tangents + found.x
