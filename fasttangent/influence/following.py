"""A minimum followed while its objective changes: how refits get where they belong.

The minimum theta*(t) of F_t is followed from t = 0 to t = 1.  Mostly one stride of simplified Newton steps will do,
all with one Cholesky factor of the Hessian where the way begins.  Where these contract slowly the Hessian is
factorised anew, and where Newton leaves the neighbourhood the stride is halved.  If the way ends, at a fold where
the smallest curvature passes through zero, no minimum at t = 1 belongs to the one at t = 0: what is found from there
by settling is another, and is marked `jumped`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fasttangent.common.errors import IndefiniteError
from fasttangent.model.certificate import LARGEST_GRADIENT, gradient_at
from fasttangent.model.settling import settle
from fasttangent.problem.curvature import System
from fasttangent.problem.problem import Problem
from fasttangent.solvers import Solver, norm, prepare
from fasttangent.solvers.limits import FOLLOWED_DENSE_UP_TO
from fasttangent.solvers.memory import UNBOUNDED

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Float = NDArray[np.float64]

GOAL = 1e-15  # relative gradient norm aimed at; rounding stops most a decade or two above
SLOW = 0.3  # of the gradient left after a step: what makes a new factorisation worth its time
LEAST_GAIN = (
    0.7  # of the gradient left after a step with the Hessian itself: above, Newton is out of its depth
)
NEARLY = 1e-11  # relative gradient norm from which a slow step means rounding
MOST_STEPS = 30  # in one stride
LEAST_STRIDE = 1 / 128
WIDEST = 4.0  # a stride may not lead farther than so many times its first step

# The words of `refit` and `unlearn`, and what they mean to `solvers.prepare`.  A matrix is never refused for its size.
SOLVERS: dict[str, tuple[str, dict[str, Any]]] = {
    "dense": ("cholesky", {"memory": UNBOUNDED, "residuals": False, "strict": False}),
    "cg": ("cg", {"tolerance": 1e-9, "most": 2000, "rank": 600, "residuals": False}),
}
WORDS = ("auto", *SOLVERS)


def prepared(problem: Problem, theta: Float, solver: str = "auto") -> Solver:
    """The Hessian with strength C'' at theta, ready to solve; raises IndefiniteError."""
    if solver == "auto":
        solver = "dense" if len(theta) <= FOLLOWED_DENSE_UP_TO else "cg"
    name, options = SOLVERS[solver]
    return prepare(System(problem, theta), name, **options)


def solved(curvature: Solver, B: Float) -> Float:
    """The rows A^-1 b, for B (K, p); raises IndefiniteError."""
    found = curvature.solve(B)
    if found.stopped == "interrupted":  # x is as far as it got
        raise KeyboardInterrupt
    if found.stopped == "negative curvature":
        raise IndefiniteError(f"solver {found.name!r} met a direction of negative curvature")
    return found.x


def starting_point(problem: Problem, theta: Float, solver: str) -> tuple[Float, Solver]:
    """A settled model's parameters, as stationary as rounding allows, and the curvature there.

    Raises
    ------
    ValueError
        If theta is not stationary; IndefiniteError if the Hessian there is not positive definite.
    """
    r, _ = gradient_at(problem, theta)
    if not r <= LARGEST_GRADIENT:
        raise ValueError(
            f"the model must be stationary on X, y and sample_weight: relative gradient norm {r:.1e} > "
            f"{LARGEST_GRADIENT:.0e}; pass the rows and weights it was trained on, or fit with settle=True"
        )
    try:
        there = _newton(problem, theta, prepared(problem, theta, solver), lambda: None)
    except IndefiniteError:
        there = None
    if there is None:
        raise IndefiniteError(
            "the Hessian of the objective is not positive definite at the model, so there is no minimum to follow; "
            "raise the strength, or settle longer"
        )
    return there.theta, there.curvature


@dataclass
class Arrival:
    """Where following a minimum ended."""

    theta: Float
    gradient_norm: float
    definite: bool
    jumped: bool
    steps: int

    @property
    def settled(self) -> bool:
        """By the rule of the certificate, a positive definite Hessian included."""
        return self.definite and self.gradient_norm <= LARGEST_GRADIENT


def follow(
    problem_at: Callable[[float], Problem],
    theta: Float,
    curvature: Solver,
    heed: Callable[..., None] = lambda *_, **__: None,
    settle_jumps: bool = True,
) -> Arrival:
    """Follow the minimum of problem_at(t) from theta at t = 0 to t = 1.

    Parameters
    ----------
    problem_at : callable
        t -> Problem.
    theta : ndarray of float64, shape (p,)
        A minimum of problem_at(0).
    curvature : Solver
        Prepared there.
    heed : callable
        Called before each step; may raise to end the work.
    settle_jumps : bool
        Where the way ends, settle from there; False: leave it, not settled.

    Returns
    -------
    Arrival
    """
    t, stride, steps = 0.0, 1.0, 0
    gradient_norm = np.nan
    while t < 1:
        problem = problem_at(min(1.0, t + stride))
        try:
            reached = _newton(problem, theta, curvature, heed)
        except IndefiniteError:
            reached = None
        if reached is None:
            stride /= 2
            if stride < LEAST_STRIDE:
                return _beyond(problem_at(1.0), theta, curvature, steps, heed, settle_jumps)
            continue
        theta, curvature, gradient_norm = reached.theta, reached.curvature, reached.gradient_norm
        steps += reached.steps
        t, stride = min(1.0, t + stride), 2 * stride
    return Arrival(theta, gradient_norm, True, False, steps)


class _Reached(NamedTuple):
    theta: Float
    curvature: Solver  # there, and definite
    gradient_norm: float
    steps: int


def _newton(problem: Problem, theta: Float, curvature: Solver, heed: Callable[..., None]) -> _Reached | None:
    """Simplified Newton steps to a minimum; None if that is not where they lead, or IndefiniteError is raised."""
    start, fresh, reach = theta, False, np.inf
    norm_now, g = gradient_at(problem, theta)
    for steps in range(MOST_STEPS):
        if norm_now <= GOAL:
            break
        heed()
        d = -solved(curvature, g[None])[0]
        if steps == 0:
            reach = WIDEST * norm(d)
        norm_next, g_next = gradient_at(problem, theta + d)
        left = norm_next / norm_now
        if left < 1:
            theta, norm_now, g = theta + d, norm_next, g_next
        if left > SLOW and (norm_now <= NEARLY or (fresh and norm_now <= LARGEST_GRADIENT)):
            break  # as low as rounding allows
        if norm(theta - start) > reach or (fresh and not left < LEAST_GAIN):
            return None
        fresh = left > (SLOW if curvature.direct else 0.0)  # nothing but a factor is worth using again
        if fresh:
            curvature = curvature.at(System(problem, theta))
    if not norm_now <= LARGEST_GRADIENT:
        return None
    curvature = curvature.at(System(problem, theta))
    return _Reached(theta, curvature, norm_now, steps) if curvature.definite() else None


def _beyond(
    problem: Problem,
    theta: Float,
    curvature: Solver,
    steps: int,
    heed: Callable[..., None],
    settle_jumps: bool,
) -> Arrival:
    """The minimum that settling finds from the end of the way."""
    if not settle_jumps or (problem.rows.w < 0).any():  # with negative weights F may have no minimum
        return Arrival(theta, gradient_at(problem, theta)[0], False, True, steps)
    state = settle(problem, theta, np.empty((0, len(theta))), np.inf, heed)
    heed()
    try:
        there = _newton(problem, state.theta, curvature.at(System(problem, state.theta)), heed)
    except IndefiniteError:
        there = None
    if there is None:
        return Arrival(state.theta, state.gradient_norm, False, True, steps)
    return Arrival(there.theta, there.gradient_norm, True, True, steps + there.steps)
