"""How well a model generalises, by four criteria, and how each would change with the strengths: hypergradients.

At a minimum theta follows the strengths along tau_g = d theta / d strength_g, so any criterion V(theta, strengths) has

    d V / d log strength_g = strength_g (grad V . tau_g + d V / d strength_g)

    hold-out        mean loss of further rows
    folds           mean loss of each fold's rows at the minimum without them, which has tangents of its own
    leave-one-out   mean loss of rows as if each had been left out, by one Newton step
    evidence        minus the log evidence of the linearised network for a label, as `model/strengths.py` has it

The first two take one inner product for each group.  The last two hold second derivatives of F, and their gradients
would hold third ones; but the derivative along a line in (theta, log strength_g) is all that is asked for, and central
differences of fourth order have it to some ten digits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from fasttangent.common import checks
from fasttangent.common.vectors import norm
from fasttangent.influence.exact import Exact
from fasttangent.influence.leave_one_out import left_out
from fasttangent.influence.stationary import warn_unless_stationary
from fasttangent.model.group_tangents import group_tangents
from fasttangent.model.members import refuse_several, refuse_transformed
from fasttangent.model.settling import settle
from fasttangent.model.strengths import minus_log_evidence
from fasttangent.problem.curvature import System
from fasttangent.problem.problem import Problem
from fasttangent.solvers import prepare

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fasttangent.model.model import Model

    Float = NDArray[np.float64]
    Value = Callable[[Problem, Float], float]

CRITERIA = ("evidence", "leave-one-out", "folds", "hold-out")
SO = "its tangents say little"  # where it is no minimum
STEP = 1e-3  # along a line, of a logarithm and of the length of theta


@dataclass(frozen=True)
class Hypergradient:
    """A criterion and its derivatives; made by `hypergradient`.

    Attributes
    ----------
    criterion : str
    value : float
        The lower, the better.  Losses are in standard units (squared loss: half the squared error, in variances of y).
    groups : dict of str to float
        d value / d log strength of each group, by the names of `Model.strengths`.  Negative: a larger strength would
        be better.
    """

    criterion: str
    value: float
    groups: dict[str, float]

    @property
    def common(self) -> float:
        """d value / d log of a factor of all strengths."""
        return float(sum(self.groups.values()))


def hypergradient(
    model: Model,
    X: Any,
    y: Any,
    criterion: str = "evidence",
    *,
    X_val: Any = None,
    y_val: Any = None,
    folds: int = 5,
    sample_weight: Any = None,
    seed: int = 0,
    threads: int | None = None,
) -> Hypergradient:
    """How a criterion of generalisation would change with the strength of each group of parameters.

        d V / d log strength_g = strength_g (grad V . tau_g + d V / d strength_g),    tau_g = d theta / d strength_g

    Parameters
    ----------
    model : Model
        Settled.
    X : array_like of shape (n, n_features)
        The rows the model was trained on.
    y : array_like of shape (n,) or (n, n_outputs)
    criterion : {"evidence", "leave-one-out", "folds", "hold-out"}
        Minus the log evidence of the linearised network for a label, but for a constant; or the mean loss of rows as if
        each had been left out, by one Newton step; of the rows of each of several folds, by a model settled without
        them; of `X_val` and `y_val`.
    X_val, y_val : array_like, optional
        Of "hold-out": rows the model was not trained on.
    folds : int
        Of "folds": from 2 to n.
    sample_weight : array_like of shape (n,), optional
        The weights the model was trained with.
    seed : int
        Of the folds.
    threads : int, optional

    Returns
    -------
    Hypergradient

    Raises
    ------
    ValueError
        If the rows do not fit the model, an argument is not as described, or the criterion is not defined: a row of
        leverage 1 cannot be left out.

    Warns
    -----
    UntrustedTangentWarning
        If the model, or that of a fold, is no minimum on these rows.

    References
    ----------
    Bengio 2000, Neural Computation 12; MacKay 1992, Neural Computation 4; Eaton 2024, arXiv 2411.15292, section 3.

    Examples
    --------
    >>> import numpy as np
    >>> import fasttangent as ft
    >>> rng = np.random.default_rng(0)
    >>> X = rng.uniform(-1, 1, (80, 2))
    >>> y = np.sin(3 * X[:, 0]) + 0.3 * rng.normal(size=80)
    >>> model = ft.fit(X, y, hidden=(8,), strength=1e-4, groups="one", dtype="float64")
    >>> found = ft.hypergradient(model, X, y, "folds")
    >>> list(found.groups), found.common < 0  # it fits the noise; a larger strength would be better
    (['all'], True)
    """
    refuse_several(model, "a hypergradient")
    refuse_transformed(model, "a hypergradient")
    checks.choice("criterion", criterion, CRITERIA)
    problem = model.problem(X, y, sample_weight, threads=threads)
    if model.objective.strength == 0:
        raise ValueError("the model must have a strength > 0 for a hypergradient, got 0; fit it with one")
    warn_unless_stationary(problem, model.params, "the model", "its", SO)
    if criterion == "hold-out":
        further = _further(model, X_val, y_val, problem.threads)
        value, each = _of_rows(problem, model.params, further)
    elif criterion == "folds":
        value, each = _of_folds(problem, model.params, _folds(folds, problem.n_rows, seed))
    else:
        along: Value = _evidence if criterion == "evidence" else _left_out(model)
        value, each = along(problem, model.params), _along_lines(problem, model.params, along)
    return Hypergradient(criterion, value, dict(zip(model.strengths, map(float, each), strict=True)))


def _strengths(problem: Problem) -> Float:
    return np.array(list(problem.objective.by_group(problem.network, None).values()))


def _under(problem: Problem, strengths: Float) -> Problem:
    """The same rows under other strengths of the groups."""
    objective = problem.objective.with_strengths(strengths)
    other = Problem(problem.network, objective, *problem.rows, problem.threads)
    other.total = problem.total
    return other


# ---- the loss of further rows ----


def _further(model: Model, X_val: Any, y_val: Any, threads: int) -> Problem:
    if X_val is None or y_val is None:
        missing = "X_val" if X_val is None else "y_val"
        raise ValueError(f"{missing} must be given for criterion 'hold-out'; 'folds' needs no further rows")
    return model.problem(X_val, y_val, threads=threads)


def _of_rows(problem: Problem, theta: Float, further: Problem) -> tuple[float, Float]:
    """The mean loss of further rows, and its derivatives."""
    value, gradient = further.value_and_gradient(theta)
    strength = further.objective.strength
    loss = value - strength * further.complexity(theta)
    slope = gradient - strength * further.complexity_gradient(theta)
    return loss, _strengths(problem) * np.einsum("gp,p->g", group_tangents(problem, theta), slope)


def _folds(folds: Any, n: int, seed: Any) -> list[NDArray[np.int64]]:
    """The rows of each."""
    if not 2 <= checks.integer("folds", folds, at_least=2) <= n:
        raise ValueError(f"folds must be at most the number of rows, {n}, got {folds}")
    order = np.random.default_rng(checks.seed(seed)).permutation(n)
    return [np.sort(part) for part in np.array_split(order, folds)]


def _of_folds(problem: Problem, theta: Float, parts: list[NDArray[np.int64]]) -> tuple[float, Float]:
    (X, Y, w), value, each = problem.rows, 0.0, np.zeros(len(_strengths(problem)))
    for k, part in enumerate(parts):
        rest = np.setdiff1d(problem.every, part)
        if not (share := float(w[part].sum())) > 0 or not w[rest].sum() > 0:
            raise ValueError(f"each fold must hold rows with a weight, fold {k} does not; take fewer folds")
        without = problem.with_rows(X[rest], Y[rest], w[rest] / w[rest].sum(), problem.threads)
        found = settle(without, theta, np.empty((0, len(theta))), np.inf, lambda *_, **__: None)
        warn_unless_stationary(without, found.theta, f"the model of fold {k}", "its", SO)
        rows = problem.with_rows(X[part], Y[part], w[part] / share, problem.threads)
        loss, slopes = _of_rows(without, found.theta, rows)
        value, each = value + share * loss, each + share * slopes
    return value, each


# ---- criteria of second order ----


def _evidence(problem: Problem, theta: Float) -> float:
    return minus_log_evidence(problem, theta)[0]


def _left_out(model: Model) -> Value:
    def value(problem: Problem, theta: Float) -> float:
        at = replace(model, params=theta, objective=problem.objective)
        system = System(problem, theta, False)
        hat = Exact(at, system, prepare(system, "auto")).hat()
        outputs, _ = left_out(problem, theta, hat)
        if undefined := np.count_nonzero(np.isnan(outputs).any(axis=1)):
            raise ValueError(
                f"criterion 'leave-one-out' is not defined: {undefined} rows have leverage 1 and cannot be left out by "
                f"one step; raise the strength, or take criterion 'folds'"
            )
        loss = problem.value(theta, outputs)
        return loss - problem.objective.strength * problem.complexity(theta)

    return value


def _along_lines(problem: Problem, theta: Float, value: Value) -> Float:
    """d value / d log strength_g, theta along its tangent."""
    strengths, found = _strengths(problem), []
    for g, tau in enumerate(group_tangents(problem, theta)):
        move = strengths[g] * tau  # d theta / d log strength_g
        h = STEP / max(1.0, norm(move) / max(norm(theta), 1e-300))

        def at(t: float, g: int = g, move: Float = move) -> float:
            each = strengths * np.exp(t * (np.arange(len(strengths)) == g))
            return value(_under(problem, each), theta + t * move)

        near, far = at(h) - at(-h), at(2 * h) - at(-2 * h)
        found.append((8 * near - far) / (12 * h))
    return np.array(found)
