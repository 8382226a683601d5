"""Refits as experiments: change the weights of rows, minimise again from where the model stands, measure.

An experiment adds sum_i eps_i loss(x_i, y_i) to the objective F, whose divisor S stays what it was:

    up-weight a row by eps    eps_i = eps
    add a new row             eps_i = 1 / S
    leave a row out           eps_i = -w_i / S

The influence of a row is what the first of these does to C per unit of eps, for a small eps; here it is done.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fasttangent.common import checks, forked
from fasttangent.common.progress import reporting
from fasttangent.influence.agreement import Agreement, agreement
from fasttangent.influence.changes import Change, Experiment, experiment, listed
from fasttangent.influence.following import WORDS, Arrival, follow, starting_point
from fasttangent.model.members import refuse_several, refuse_transformed
from fasttangent.model.model import Model
from fasttangent.problem.problem import Problem
from fasttangent.solvers import Solver, norm

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Float = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Refits:
    """What m experiments did, next to what was predicted; nan where a refit did not settle.

    Attributes
    ----------
    eps : ndarray, shape (m,)
        Sum of the eps_i of an experiment.
    complexity : ndarray, shape (m,)
        Measured change of C, theta in standard units.
    complexity_first : ndarray, shape (m,)
        Predicted to first order: sum_i eps_i tau . grad loss_i, the influence of the rows.
    complexity_second : ndarray, shape (m,)
        Predicted with the rows' own curvature: leverage-rescaled influence, grad C . d for
        d = -(A + sum_i eps_i J_i^T loss''_i J_i)^-1 sum_i eps_i grad loss_i.  For one row and squared loss this is
        the first order with eps / (1 + eps g . A^-1 g) for eps, g the gradient of the prediction.  The term
        d C'' d / 2 is left out: it serves a linear model, but the minimum of a network moves far along curves on
        which C hardly changes.
    predictions, predictions_first, predictions_second : ndarray or None
        The same for the predictions at `at`, in units of y: shape (m, n_at), or (m, n_at, n_outputs).
    distance : ndarray, shape (m,)
        ||theta' - theta||.
    gradient_norm : ndarray, shape (m,)
        Where the refit ended, as in `Certificate`.
    positive_definite, settled, jumped : ndarray of bool, shape (m,)
        Hessian at the end; whether it is, and the gradient norm at most 1e-8; whether the end could not be reached
        from the model continuously, so that no derivative could have predicted it.
    steps : ndarray of int, shape (m,)
        Newton steps on the way; -1 for an experiment that was not finished.
    params : ndarray, shape (m, p), or None
        theta', if `keep_params`.
    interrupted : bool
        Whether Ctrl-C ended the work; what was finished is here.
    """

    eps: Float
    complexity: Float
    complexity_first: Float
    complexity_second: Float
    predictions: Float | None
    predictions_first: Float | None
    predictions_second: Float | None
    distance: Float
    gradient_norm: Float
    positive_definite: NDArray[np.bool_]
    settled: NDArray[np.bool_]
    jumped: NDArray[np.bool_]
    steps: NDArray[np.int64]
    params: Float | None
    interrupted: bool

    def __repr__(self) -> str:
        jumped, more = np.count_nonzero(self.jumped), ", interrupted" if self.interrupted else ""
        return f"Refits({len(self.eps)}, {np.count_nonzero(self.settled)} settled, {jumped} jumped{more})"

    @property
    def complexity_per_eps(self) -> Float:
        """Measured change of C per unit of eps: what `Model.influence` predicts for one row."""
        return self.complexity / self.eps

    def agreement(self, order: int = 2, of: str = "complexity") -> Agreement:
        """How well the first or second order predicts the measured changes of "complexity" or "predictions"."""
        checks.choice("of", of, ("complexity", "predictions"))
        suffix = {1: "first", 2: "second"}.get(order)
        if suffix is None:
            raise ValueError(f"order must be 1 or 2, got {order!r}")
        measured = getattr(self, of)
        if measured is None:
            raise ValueError("predictions were not measured; pass the points as at= to refit")
        return agreement(getattr(self, f"{of}_{suffix}"), measured)


def refit(
    model: Model,
    X: Any,
    y: Any,
    changes: Sequence[Change],
    *,
    sample_weight: Any = None,
    at: Any = None,
    keep_params: bool = False,
    settle_jumps: bool = True,
    solver: str = "auto",
    threads: int | None = None,
    progress: bool | Callable[..., None] = False,
) -> Refits:
    """Perform experiments: change the weights of rows, minimise again from the model, and measure the change.

    Standardisation stays that of the model, and so does the divisor S of F.

    Parameters
    ----------
    model : Model
        Settled.
    X : array_like of shape (n, n_features)
        The rows the model was trained on.
    y : array_like of shape (n,) or (n, n_outputs)
    changes : sequence of Change
        The experiments, each on its own: ``[Change.leave_out(i) for i in range(len(X))]``.
    sample_weight : array_like of shape (n,), optional
        The weights the model was trained with.
    at : array_like of shape (n_at, n_features), optional
        Points whose predictions are to be followed.
    keep_params : bool
        Keep the parameters of each refit.
    settle_jumps : bool
        Where no minimum continues that of the model, settle into another one, which takes seconds; False: leave such
        experiments nan, `jumped` and not `settled`.
    solver : {"auto", "dense", "cg"}
        Cholesky of the dense Hessian, or conjugate gradients, which need no (p, p) matrix; "auto": dense up to
        4,000 parameters.
    threads : int, optional
        Experiments side by side; default: all cores.  Results do not depend on it.
    progress : bool or callable
        True: a bar on stderr.  A callable gets ("refits", done, total), in the thread that called `refit`.

    Returns
    -------
    Refits
        After Ctrl-C, with what was finished, marked `interrupted`.

    Raises
    ------
    ValueError, TypeError
        For bad input, or if the model is not stationary on these rows or its Hessian not positive definite.

    Examples
    --------
    >>> import numpy as np
    >>> import fasttangent as ft
    >>> rng = np.random.default_rng(0)
    >>> X = rng.uniform(-1, 1, (60, 2))
    >>> y = np.sin(3 * X[:, 0]) + X[:, 1] ** 2
    >>> model = ft.fit(X, y, hidden=(8,), strength=1e-2, dtype="float64")
    >>> out = ft.refit(model, X, y, [ft.Change.leave_out(i) for i in range(len(X))])
    >>> out
    Refits(60, 60 settled, 0 jumped)
    >>> out.agreement(order=2).pearson > 0.99
    True

    References
    ----------
    Koh & Liang 2017, arXiv 1703.04730; Sherman-Morrison for the second order, as in Cook 1977.
    """
    refuse_several(model, "refits")
    refuse_transformed(model, "refits")
    problem = model.problem(X, y, sample_weight, threads=threads)
    checks.choice("solver", solver, WORDS)
    experiments = [experiment(model, problem, c, change) for c, change in enumerate(listed(changes))]
    points = None if at is None else problem.unlabelled(model.standard_inputs("at", at), threads=1)
    keep_params = checks.flag("keep_params", keep_params)
    settle_jumps = checks.flag("settle_jumps", settle_jumps)
    with reporting(progress) as report:
        theta, curvature = starting_point(problem, model.params, solver)
        base = _Base(problem, theta, curvature, points, settle_jumps)
        found, interrupted = _run_all(experiments, base, report)
    return _collected(model, experiments, found, base, keep_params, interrupted)


@dataclass(frozen=True, eq=False)
class _Base:
    """Where all experiments start: the model, as stationary as rounding allows."""

    problem: Problem
    theta: Float
    curvature: Solver
    points: Problem | None  # the rows to predict
    settle_jumps: bool


class _Found(NamedTuple):
    """What one experiment gave: measured, to first and to second order."""

    arrival: Arrival
    complexity: Float  # (3,)
    predictions: Float | None  # (3, n_at, n_outputs), in standard units
    distance: float


def _run(one: Experiment, base: _Base, heed: Callable[..., None]) -> _Found:
    curvature, theta, mask = base.curvature.beside(), base.theta, base.problem.mask
    arrival = follow(one.problem, theta, curvature, heed, base.settle_jumps)
    d = np.vstack([arrival.theta - theta, one.predicted(theta, curvature)])
    if not arrival.settled:
        d[0] = np.nan
    complexity = np.sum(mask * theta * d, axis=1)
    # from the difference itself: C(theta') - C(theta) would cancel
    complexity[0] += 0.5 * np.sum(mask * d[0] ** 2)
    return _Found(arrival, complexity, _at_points(base, d), norm(d[0]))


def _at_points(base: _Base, d: Float) -> Float | None:
    """Changes of the outputs for d (3, p): of the network for the first, of its linearisation for the others."""
    if base.points is None:
        return None
    points, theta = base.points, base.theta
    moved = points.predictions(theta + d[0]) - points.predictions(theta)
    return np.stack([moved, *points.jacobian_product(theta, d[1:])])


# All experiments


def _run_all(
    experiments: list[Experiment],
    base: _Base,
    report: Callable[..., None],
) -> tuple[list[_Found | None], bool]:
    """What each experiment gave, None for those that Ctrl-C left undone; and whether it did."""

    def task(i: int, heed: Callable[..., None]) -> _Found:
        return _run(experiments[i], base, heed)

    def count(done: int, m: int, _: _Found | None) -> None:
        report("refits", done, m)

    m, threads = len(experiments), base.problem.threads
    side_by_side = forked.mapping(m, threads, base.problem.n_rows * len(base.theta), base.curvature.name)
    try:
        return side_by_side(task, m, threads, count), False
    except KeyboardInterrupt as interrupt:
        return getattr(interrupt, "results", [None] * m), True


def _collected(
    model: Model,
    experiments: list[Experiment],
    found: list[_Found | None],
    base: _Base,
    keep_params: bool,
    interrupted: bool,
) -> Refits:
    m, p = len(found), len(base.theta)
    C, distance, gradient_norm = np.full((3, m), np.nan), np.full(m, np.nan), np.full(m, np.nan)
    definite, settled, jumped = (np.zeros(m, bool) for _ in range(3))
    steps, params = np.full(m, -1), np.full((m, p), np.nan) if keep_params else None
    n_at = 0 if base.points is None else base.points.n_rows
    changes = np.full((3, m, n_at, model.n_outputs), np.nan)
    for i, one in enumerate(found):
        if one is None:
            continue
        end = one.arrival
        C[:, i], distance[i], gradient_norm[i] = one.complexity, one.distance, end.gradient_norm
        definite[i], settled[i], jumped[i], steps[i] = end.definite, end.settled, end.jumped, end.steps
        if params is not None and end.settled:
            params[i] = end.theta
        if one.predictions is not None:
            changes[:, i] = model.scaling.changes(one.predictions)
    shaped: Any = changes[..., 0] if model.flat_targets else changes
    predictions = (None, None, None) if base.points is None else shaped
    return Refits(
        eps=np.array([e.eps.sum() for e in experiments]),
        complexity=C[0],
        complexity_first=C[1],
        complexity_second=C[2],
        predictions=predictions[0],
        predictions_first=predictions[1],
        predictions_second=predictions[2],
        distance=distance,
        gradient_norm=gradient_norm,
        positive_definite=definite,
        settled=settled,
        jumped=jumped,
        steps=steps,
        params=params,
        interrupted=interrupted,
    )
