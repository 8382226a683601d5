"""Unlearning: take rows out of a trained model, or correct them, by one step instead of a new fit.

Let F' be the objective of the rows as they ought to be, with a divisor of its own.  At the old minimum theta its
gradient is what the wrong rows left behind, and

    order 1    theta' = theta - A^-1 grad F'(theta),   A the Hessian of the old objective
    order 2    the same with the Hessian of F', a Newton step

What is left of the gradient of F' is the certificate: at 0 the model is one that those rows alone could have given.

Warnecke, Pirch, Wressnegger & Rieck 2021, "Machine unlearning of features and labels", arXiv 2108.11577; their
first-order update has a learning rate in the place of A^-1.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from fasttangent.common import checks
from fasttangent.common.errors import IndefiniteError, UntrustedTangentWarning
from fasttangent.common.warning import warn
from fasttangent.influence.changes import check_numbers
from fasttangent.influence.following import WORDS, follow, prepared, solved
from fasttangent.model.certificate import LARGEST_GRADIENT, certify, gradient_at
from fasttangent.model.members import refuse_several, refuse_transformed
from fasttangent.model.model import Model
from fasttangent.model.prepared import mean_slope_squared
from fasttangent.problem.problem import Problem
from fasttangent.solvers import Solver, norm

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Float = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class RefitComparison:
    """An unlearned model next to the minimum that settling from the old one reaches on the corrected rows.

    Attributes
    ----------
    moved : float
        ||theta_refit - theta_old||, the way that the update had to go.
    missed : float
        ||theta' - theta_refit|| / moved: the part of it that is left; 1 for no update at all.
    complexity, complexity_refit : float
        Change of C, by the update and by the refit.
    prediction_error : float
        Root mean square of f' - f_refit over that of f_refit - f_old, on the corrected rows.
    gradient_norm : float
        Of the refit, as in `Certificate`.
    settled, jumped : bool
        Of the refit, as in `Refits`.
    """

    moved: float
    missed: float
    complexity: float
    complexity_refit: float
    prediction_error: float
    gradient_norm: float
    settled: bool
    jumped: bool


@dataclass(frozen=True, eq=False)
class Unlearned:
    """What `unlearn` returns.

    Attributes
    ----------
    model : Model
        With the parameters updated, the tangent solved for at the new ones, and a certificate measured on the
        corrected rows.
    gradient_before, gradient_after : float
        Gradient residual on the corrected rows: ||grad F'|| / (strength ||grad C||) at the old parameters and at the
        new ones, as in `Certificate`; trusted up to 1e-8.
    by_step : tuple of float
        The same after each step.
    update_norm : float
        ||theta' - theta||.
    """

    model: Model
    gradient_before: float
    gradient_after: float
    by_step: tuple[float, ...]
    update_norm: float
    _old: Problem = field(repr=False)
    _corrected: Problem = field(repr=False)
    _start: Float = field(repr=False)
    _solver: str = field(repr=False)

    def __repr__(self) -> str:
        return f"Unlearned(gradient {self.gradient_before:.1e} -> {self.gradient_after:.1e}, {self.model!r})"

    def against_refit(self) -> RefitComparison:
        """Settle on the corrected rows, starting from the old model, and compare.

        A new fit from other initial weights would end at another minimum, and say more about those weights than
        about unlearning.

        Returns
        -------
        RefitComparison

        Raises
        ------
        ValueError
            If the Hessian of the old objective is not positive definite (`IndefiniteError`).
        """
        old, start, theta = self._old, self._start, self.model.params
        curvature = _curvature(old, start, self._solver, "the old rows")
        end = follow(lambda t: _between(old, self._corrected, t), start, curvature)
        f_old, f_new, f_refit = (self._corrected.predictions(at) for at in (start, theta, end.theta))
        moved = norm(end.theta - start)
        C = old.complexity
        return RefitComparison(
            moved=moved,
            missed=norm(theta - end.theta) / max(moved, 1e-300),
            complexity=C(theta) - C(start),
            complexity_refit=C(end.theta) - C(start),
            prediction_error=norm((f_new - f_refit).ravel()) / max(norm((f_refit - f_old).ravel()), 1e-300),
            gradient_norm=end.gradient_norm,
            settled=end.settled,
            jumped=end.jumped,
        )


def unlearn(
    model: Model,
    X: Any,
    y: Any,
    *,
    remove: Any = None,
    correct: Any = None,
    new_X: Any = None,
    new_y: Any = None,
    order: int = 2,
    steps: int = 1,
    sample_weight: Any = None,
    solver: str = "auto",
    threads: int | None = None,
) -> Unlearned:
    """Remove or correct training rows without a new fit.

    Standardisation stays that of the old model, means and scales that the removed rows took part in included.

    Parameters
    ----------
    model : Model
        Settled.
    X : array_like of shape (n, n_features)
        The rows the model was trained on, as they were.
    y : array_like of shape (n,) or (n, n_outputs)
    remove : array_like of int, or of bool, shape (n,), optional
        Rows to take out: their numbers, or a mask.
    correct : array_like of int, or of bool, shape (n,), optional
        Rows to correct, with what `new_X` and `new_y` say, or one of them.
    new_X : array_like of shape (k, n_features), optional
    new_y : array_like of shape (k,) or (k, n_outputs), optional
        In the order of `correct`; of the rows, where that is a mask.
    order : {1, 2}
        Whether A is the Hessian of the old objective or that of the new one.
    steps : int
        Updates, each from where the last one ended; those of order 1 share one factorisation.
    sample_weight : array_like of shape (n,), optional
        The weights the model was trained with.
    solver : {"auto", "dense", "cg"}
        As for `refit`.
    threads : int, optional

    Returns
    -------
    Unlearned
        Where a step was not enough, the gradient residual and the model's certificate say so.

    Raises
    ------
    ValueError, TypeError
        For bad input, or if the Hessian is not positive definite (`IndefiniteError`).

    Warns
    -----
    UntrustedTangentWarning
        If the model is not stationary on X, y and sample_weight: the update then holds more than those rows.

    Examples
    --------
    >>> import numpy as np
    >>> import fasttangent as ft
    >>> rng = np.random.default_rng(0)
    >>> X = rng.uniform(-1, 1, (60, 2))
    >>> y = np.sin(3 * X[:, 0]) + X[:, 1] ** 2
    >>> model = ft.fit(X, y, hidden=(8,), strength=1e-2, dtype="float64")
    >>> out = ft.unlearn(model, X, y, remove=[3, 5], steps=6)
    >>> out.model.certificate.trusted
    True
    >>> out.against_refit().missed < 1e-6
    True

    References
    ----------
    Warnecke, Pirch, Wressnegger & Rieck 2021, arXiv 2108.11577.
    """
    refuse_several(model, "unlearning")
    refuse_transformed(model, "unlearning")
    if order not in (1, 2) or isinstance(order, bool):
        raise ValueError(f"order must be 1 or 2, got {order!r}")
    steps = checks.integer("steps", steps, at_least=1)
    checks.choice("solver", solver, WORDS)
    old = model.problem(X, y, sample_weight, threads=threads)
    corrected = _corrected(model, old, remove, correct, new_X, new_y)
    _warn_unless_stationary(old, model.params)

    theta = model.params
    residual, gradient = gradient_at(corrected, theta)
    residuals = [residual]
    if order == 1:
        curvature = _curvature(old, theta, solver, "the old rows; use order=2")
    for _ in range(steps):
        if order == 2:
            curvature = _curvature(corrected, theta, solver, "the corrected rows; use order=1, or fit again")
        theta = theta - solved(curvature, gradient[None])[0]
        residual, gradient = gradient_at(corrected, theta)
        residuals.append(residual)
    return Unlearned(
        model=_updated(model, corrected, theta, solver),
        gradient_before=residuals[0],
        gradient_after=residuals[-1],
        by_step=tuple(residuals[1:]),
        update_norm=norm(theta - model.params),
        _old=old,
        _corrected=corrected,
        _start=model.params,
        _solver=solver,
    )


def _curvature(problem: Problem, theta: Float, solver: str, rows: str) -> Solver:
    try:
        return prepared(problem, theta, solver)
    except IndefiniteError:
        raise IndefiniteError(f"the Hessian is not positive definite on {rows}") from None


def _updated(model: Model, problem: Problem, theta: Float, solver: str) -> Model:
    """The model at theta, as one that was fitted to the corrected rows."""
    tangents = {}
    if "strength" in model.tangents:
        try:
            there = prepared(problem, theta, solver)
            tau = solved(there, -problem.complexity_gradient(theta)[None])
            tau -= solved(there, problem.tangent_residual(theta, tau))  # what rounding left
            tangents = {"strength": tau[0]}
        except IndefiniteError:  # the certificate measures it, and says so
            tangents = {}
    certificate = certify(problem, theta, np.array(list(tangents.values())).reshape(-1, len(theta)))
    return replace(
        model,
        params=theta,
        tangents=tangents,
        certificate=certificate,
        slope_squared=mean_slope_squared(problem, theta),
        training={**model.training, "rows": problem.n_rows, "unlearned": True},
        noise=np.nan,
    )


def _between(old: Problem, corrected: Problem, t: float) -> Problem:
    """(1 - t) F + t F'."""
    (X, Y, w), (X_new, Y_new, w_new) = old.rows, corrected.rows
    if t == 1:
        return corrected
    X, Y = np.concatenate([X, X_new]), np.concatenate([Y, Y_new])
    w = np.concatenate([(1 - t) * w, t * w_new])
    return old.with_rows(X, Y, w, old.threads)


# Arguments


def _corrected(model: Model, old: Problem, remove: Any, correct: Any, new_X: Any, new_y: Any) -> Problem:
    """F': the corrected rows without the removed ones, divided by the weight that is left."""
    X, Y, w = old.rows
    n = len(X)
    gone, fixed = _rows("remove", remove, n), _rows("correct", correct, n)
    if len(gone) == len(fixed) == 0:
        raise ValueError("remove or correct must name at least 1 row, got none")
    both = np.intersect1d(gone, fixed)
    if len(both):
        raise ValueError(
            f"a row must be in remove or in correct, got row {both[0]} in both; drop it from correct"
        )
    X, Y = X.copy(), Y.copy()
    if len(fixed):
        X[fixed], Y[fixed] = _new_values(model, X[fixed], Y[fixed], new_X, new_y)
    elif new_X is not None or new_y is not None:
        raise ValueError("new_X and new_y need correct, the numbers of the rows that they belong to")
    keep = np.delete(np.arange(n), gone)
    if np.count_nonzero(w[keep]) < 2:
        raise ValueError(
            f"remove must leave at least 2 rows of positive weight, got {len(gone)} of {n} rows to remove"
        )
    return Problem(old.network, old.objective, X[keep], Y[keep], w[keep], old.threads)


def _rows(name: str, rows: Any, n: int) -> NDArray[np.int64]:
    """Row numbers, given as such or as a mask."""
    if rows is None:
        return np.empty(0, np.int64)
    a = checks.array(name, rows)
    if a.dtype.kind == "b":
        if a.shape != (n,):
            raise ValueError(
                f"{name} must have shape ({n},) to match X where it is a mask, got shape {a.shape}"
            )
        return np.flatnonzero(a)
    a = a.reshape(-1) if a.ndim == 0 or a.size == 0 else a
    if a.ndim != 1 or (a.size and a.dtype.kind not in "iu"):
        raise TypeError(
            f"{name} must hold row numbers, or be a mask of bools, got shape {a.shape} of {a.dtype}"
        )
    numbers = a.astype(np.int64)
    check_numbers(name, numbers, n)
    return numbers


def _new_values(model: Model, X: Float, Y: Float, new_X: Any, new_y: Any) -> tuple[Float, Float]:
    """Corrected values of rows X, Y, in standard units."""
    if new_X is None and new_y is None:
        raise ValueError("correct needs new_X or new_y, the values that the rows ought to have")
    k = len(X)
    if new_X is not None:
        rows = model.matrix("new_X", new_X)
        if len(rows) != k:
            raise ValueError(f"new_X must have {k} rows, one for each in correct, got {len(rows)}")
        checks.finite("new_X", rows)
        X = model.scaling.near_inputs("new_X", rows)
    if new_y is not None:
        labels = checks.array("new_y", new_y)
        shapes = {(k, model.n_outputs)} | ({(k,)} if model.n_outputs == 1 else set())
        if labels.shape not in shapes:
            raise ValueError(
                f"new_y must have shape {' or '.join(map(str, sorted(shapes)))} to match correct, got {labels.shape}"
            )
        checks.finite("new_y", labels)
        Y = model.scaling.near_targets("new_y", labels.reshape(k, -1))
    return X, Y


def _warn_unless_stationary(problem: Problem, theta: Float) -> None:
    r, _ = gradient_at(problem, theta)
    if not r <= LARGEST_GRADIENT:
        warn(
            f"the model is not stationary on X, y and sample_weight: relative gradient norm {r:.1e} > "
            f"{LARGEST_GRADIENT:.0e}; pass the rows and weights it was trained on, or fit with settle=True",
            UntrustedTangentWarning,
        )
