"""Exact influence functions: linear systems in the whole curvature matrix, to check cheap scores against.

Let theta*(eps) minimise F + eps loss(x, y) from the settled model, A = H + strength C''.  Then

    d theta* / d eps = -A^-1 grad loss(x, y)        d g(theta*) / d eps = -grad g . A^-1 grad loss(x, y)

for any function g of the parameters: the complexity C, predictions, a validation loss (Koh & Liang 2017,
arXiv 1703.04730).  The system is solved for the gradients of g; a row then costs one forward pass with the
solutions as tangents, and no gradient of a row is ever formed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fasttangent.common import checks
from fasttangent.common.errors import IndefiniteError, UntrustedTangentWarning
from fasttangent.common.progress import reporting
from fasttangent.common.vectors import excess
from fasttangent.common.warning import warn
from fasttangent.influence.leave_one_out import LeaveOneOut, left_out
from fasttangent.influence.row_blocks import (
    blocks,
    gradients_of,
    influence_of_rows,
    jacobians,
    loss_slopes,
    members_of,
    prediction_gradients,
)
from fasttangent.influence.stationary import warn_unless_stationary
from fasttangent.model.members import refuse_several, refuse_transformed
from fasttangent.model.model import Model
from fasttangent.problem.curvature import System
from fasttangent.problem.problem import Problem
from fasttangent.solvers import SOLVERS, prepare

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fasttangent.solvers import Solved, Solver

    Float = NDArray[np.float64]

CURVATURES = ("hessian", "gauss-newton")


class Top(NamedTuple):
    """The rows of largest influence on each target, largest first."""

    rows: NDArray[np.int64]  # (n_targets, k)
    influence: Float  # (n_targets, k), with their sign


def exact(
    model: Model,
    X: Any,
    y: Any,
    *,
    sample_weight: Any = None,
    curvature: str = "hessian",
    solver: str = "auto",
    threads: int | None = None,
    progress: bool | Callable[..., None] = False,
    **options: Any,
) -> Exact:
    """Exact influence functions of a settled model, by linear systems in H + strength C''.

    Parameters
    ----------
    model : Model
    X : array_like of shape (n, n_features)
        The rows the model was trained on.
    y : array_like of shape (n,) or (n, n_outputs)
        Their labels.
    sample_weight : array_like of shape (n,), optional
        The weights the model was trained with.
    curvature : {"hessian", "gauss-newton"}
        H of the data term.  Only the Hessian agrees with refitting; Gauss-Newton is never indefinite.
    solver : str
        "auto": "cholesky" where the matrix fits into memory, else "cg".  Others: see `fasttangent.solvers.SOLVERS`.
    threads : int, optional
    progress : bool or callable
        Of later work: True shows a bar on stderr, a callable gets ("influence", targets done, targets).
    **options
        Of the solver: tolerance, most (iterations), preconditioner, memory (GB).

    Returns
    -------
    Exact

    Raises
    ------
    ValueError
        If the rows do not fit the model, the matrix is too large or not positive definite (and the solver needs it).

    Warns
    -----
    UntrustedTangentWarning
        If the model is not stationary on these rows: it was not settled, or trained on others.

    Examples
    --------
    >>> import numpy as np
    >>> import fasttangent as ft
    >>> rng = np.random.default_rng(0)
    >>> X = rng.uniform(-1, 1, (100, 2))
    >>> y = np.sin(3 * X[:, 0]) + X[:, 1] ** 2
    >>> model = ft.fit(X, y, hidden=(8,), strength=1e-2, dtype="float64")
    >>> truth = ft.exact(model, X, y)
    >>> bool(np.allclose(truth.influence(X, y), model.influence(X, y), rtol=1e-6))
    True
    >>> truth.influence_on_predictions(X, y, at=X[:3]).shape
    (100, 3)
    """
    refuse_several(model, "exact influence")
    refuse_transformed(model, "exact influence")
    checks.choice("curvature", curvature, CURVATURES)
    checks.choice("solver", solver, ("auto", *SOLVERS))
    problem = model.problem(X, y, sample_weight, threads=threads)
    so = "influence says little of refitting"
    warn_unless_stationary(problem, model.params, "the model", "these", so)
    system = System(problem, model.params, curvature == "gauss-newton")
    return Exact(model, system, prepare(system, solver, **options), progress)


class Exact:
    """Exact influence of rows on whatever depends on the parameters; made by `exact`.

    Attributes
    ----------
    model : Model
    system : System
        A = H + strength C'' of the training rows: ``system.dense()``, ``system.operator()``, ``system.product(V)``.
    solver : Solver
    last : Solved or None
        Residuals, iterations and reason to stop of the last solve.
    """

    def __init__(
        self, model: Model, system: System, solver: Solver, progress: bool | Callable[..., None] = False
    ) -> None:
        self.model, self.system, self.solver, self.progress = model, system, solver, progress
        self.last: Solved | None = None
        self._tau: Float | None = None

    def __repr__(self) -> str:
        return f"Exact({self.model!r}, {self.solver.name})"

    @property
    def tangent(self) -> Float:
        """tau = d theta / d strength = -A^-1 grad C, (p,)."""
        if self._tau is None:
            gradient = self.system.problem.complexity_gradient(self.model.params)
            self._tau = -self._solve(gradient[None])[0]
        return self._tau

    def sensitivity(self, X: Any) -> Float:
        """d prediction / d strength of rows, as `Model.sensitivity`: (n,) or (n, n_outputs), units of y."""
        problem = self._unlabelled(X)
        s = self.model.scaling.changes(problem.jacobian_product(self.model.params, self.tangent[None])[0])
        return s[:, 0] if self.model.flat_targets else s

    def influence(
        self,
        X: Any,
        y: Any,
        on: str | Float | Callable[[Float], Float] = "complexity",
        *,
        groups: Any = None,
    ) -> Float:
        """d g / d eps for every row: add eps loss(x, y) to F, refit, and g changes by eps times this number.

        One further row among n has eps = 1/n; to leave out training row i is eps = -w_i / S.

        Parameters
        ----------
        X : array_like of shape (n, n_features)
            Training rows or new ones.
        y : array_like of shape (n,) or (n, n_outputs)
        on : "complexity", array_like of shape (p,) or (k, p), or callable
            g: the complexity C; or its gradient at ``model.params``; or a function that returns it for theta (p,).
        groups : array_like of shape (n,), optional
            A label for every row; influence is then summed over the rows of each group, in the order of
            ``np.unique(groups)``.

        Returns
        -------
        ndarray of float64, shape (n,) or (n, k); (n_groups,) or (n_groups, k)
            Change of g per unit of eps.  Positive: the row raises g.

        Raises
        ------
        ValueError
            If rows, labels, groups or the gradient do not fit the model or are not finite.
        """
        gradients = gradients_of(on, self.system)
        unit = excess(abs(np.atleast_2d(gradients)).max(axis=1))
        found = self._influence(X, y, blocks(gradients / unit[:, None]), unit, groups)
        return found[:, 0] if gradients.ndim == 1 else found

    def influence_on_predictions(
        self, X: Any, y: Any, at: Any, *, groups: Any = None, out: NDArray | None = None
    ) -> Float:
        """d prediction(at) / d eps for every row (x, y) and every row of `at`.

        Parameters
        ----------
        X, y : array_like
            Rows that are given weight, as in `influence`.
        at : array_like of shape (m, n_features)
            Where to predict.
        groups : array_like of shape (n,), optional
            As in `influence`.
        out : ndarray of shape (n, m n_outputs), optional
            Where to write: a memory map for a result that does not fit into memory.

        Returns
        -------
        ndarray of float64, shape (n, m) or (n, m, n_outputs)
            Units of y per unit of eps.
        """
        targets = self._unlabelled(at, "at")
        m, n_outputs = targets.n_rows, self.model.n_outputs
        part, unit = self.model.scaling.y_parts()
        gradients = prediction_gradients(targets, self.model.params, part)
        found = self._influence(X, y, gradients, np.tile(unit, m), groups, out)
        return found if n_outputs == 1 else found.reshape(len(found), m, n_outputs)

    def influence_on_loss(
        self, X: Any, y: Any, X_val: Any, y_val: Any, sample_weight: Any = None, *, groups: Any = None
    ) -> Float:
        """d (weighted mean loss of validation rows) / d eps for every row (x, y): (n,).

        Negative: more weight on the row would lower the validation loss.  Losses are those of the objective, in
        standard units (squared loss: half the squared error, in variances of y).
        """
        validation = self.model.problem(X_val, y_val, sample_weight, threads=self.system.problem.threads)
        theta, strength = self.model.params, self.model.objective.strength
        gradient = validation.value_and_gradient(theta)[1] - strength * validation.complexity_gradient(theta)
        return self.influence(X, y, gradient, groups=groups)

    def top(self, X: Any, y: Any, at: Any, k: int = 10) -> Top:
        """The k rows of largest absolute influence on the prediction at each row of `at`, without the whole matrix.

        Parameters
        ----------
        X, y, at : array_like
            As in `influence_on_predictions`.
        k : int
            At most the number of rows.

        Returns
        -------
        Top
            One entry per row of `at` (per row and output, if there are several outputs).
        """
        rows, (unit, rest) = self._labelled(X, y), self.model.scaling.y_parts()
        if not 1 <= checks.integer("k", k, at_least=1) <= rows.n_rows:
            raise ValueError(f"k must be at most the number of rows, {rows.n_rows}, got {k}")
        places, values = [], []
        for gradients in prediction_gradients(self._unlabelled(at, "at"), self.model.params, unit):
            found = influence_of_rows(rows, self.model.params, self._solve(gradients))
            found *= np.resize(rest, len(gradients))
            best = np.argsort(-abs(found), axis=0, kind="stable")[:k].T
            places.append(best)
            values.append(np.take_along_axis(found.T, best, axis=1))
        return Top(np.concatenate(places), np.concatenate(values))

    def self_influence(self, X: Any, y: Any) -> Float:
        """d loss(x, y) / d eps of a row on itself, -grad loss . A^-1 grad loss: (n,), standard units.

        Never positive where A is positive definite; large for rows the model holds on to by themselves.
        """
        rows, found = self._labelled(X, y), []
        d = loss_slopes(rows, self.model.params)
        for part, J in jacobians(rows, self.model.params):
            g = np.einsum("io,iop->ip", d[part], J)
            found.append(-np.einsum("ip,ip->i", g, self._solve(g)))
        return np.concatenate(found)

    def leverage(self) -> Float:
        """trace of w_i/S loss'' grad f_i . A^-1 grad f_i for every training row: (n,), between 0 and n_outputs.

        How far a prediction follows its own label; with the Gauss-Newton matrix its sum is the effective number of
        parameters.
        """
        return np.einsum("ioo,io->i", self.hat(), self.system.problem.output_weights(self.model.params))

    def leave_one_out(self) -> LeaveOneOut:
        """Predictions and residuals of training rows as if each had been left out, from one Newton step each.

        The row's weight is taken from F, S kept; the step uses A without the row's Gauss-Newton part
        (Sherman-Morrison), so for a linear model with squared loss it is exact, residual / (1 - leverage).

        Returns
        -------
        LeaveOneOut
            nan, with a warning, for a row without which the system would not be positive definite.
        """
        scaling = self.model.scaling
        outputs, leverage = left_out(self.system.problem, self.model.params, self.hat())
        if missing := np.count_nonzero(np.isnan(outputs).any(axis=1)):
            warn(
                f"{missing} training rows cannot be left out by one step (leverage >= 1); nan",
                UntrustedTangentWarning,
            )
        prediction = scaling.predictions(outputs)
        residual = scaling.predictions(self.system.problem.rows.Y) - prediction
        if self.model.flat_targets:
            prediction, residual = prediction[:, 0], residual[:, 0]
        return LeaveOneOut(prediction, residual, leverage)

    def _solve(self, B: Float) -> Float:
        """A^-1 b for each row b of B (K, p); what is reported of it is kept."""
        self.last = self.solver.solve(B)
        if self.last.stopped == "interrupted":
            raise KeyboardInterrupt
        if self.last.stopped in ("negative curvature", "diverging"):
            raise IndefiniteError(
                f"H + strength C'' is not positive definite: solver {self.solver.name!r} met a direction of negative "
                f"curvature; settle longer, raise the strength, take curvature='gauss-newton', or solver='minres'"
            )
        if self.last.stopped not in ("direct", "converged"):
            warn(
                f"{self.solver.name} ended with {self.last.stopped!r}, relative residual "
                f"{np.max(self.last.residuals):.1e}; allow more iterations (most=...), or use another solver",
                UntrustedTangentWarning,
            )
        return self.last.x

    def _influence(
        self,
        X: Any,
        y: Any,
        targets: Iterator[Float],
        unit: Float,
        groups: Any,
        out: NDArray | None = None,
    ) -> Float:
        """-grad g . A^-1 grad loss for rows and gradients of g over a unit, in blocks: (rows or groups, targets)."""
        rows = self._labelled(X, y)
        members = None if groups is None else members_of(groups, rows.n_rows)
        shape = (rows.n_rows if members is None else members.shape[0], len(unit))
        if out is None:
            out = np.empty(shape)
        elif out.shape != shape:
            raise ValueError(f"out must have shape {shape}, got {out.shape}")
        start = 0
        with reporting(self.progress) as report:
            for gradients in targets:
                found = influence_of_rows(rows, self.model.params, self._solve(gradients))
                part = slice(start, start + len(gradients))
                out[:, part] = (found if members is None else members @ found) * unit[part]
                start += len(gradients)
                report("influence", start, len(unit))
        return out

    def hat(self) -> Float:
        """grad f_i . A^-1 grad f_i of training rows, without weights: (n, n_outputs, n_outputs)."""
        problem, found = self.system.problem, []
        for _, J in jacobians(problem, self.model.params):
            solved = self._solve(J.reshape(-1, J.shape[2])).reshape(J.shape)
            found.append(np.einsum("iop,iup->iou", J, solved))
        return np.concatenate(found)

    def _labelled(self, X: Any, y: Any) -> Problem:
        return self.model.problem(X, y, threads=self.system.problem.threads)

    def _unlabelled(self, X: Any, name: str = "X") -> Problem:
        """Rows whose labels nobody asks for."""
        rows = self.model.standard_inputs(name, X)
        if len(rows) == 0:
            raise ValueError(f"{name} must have at least 1 row, got none")
        return self.system.problem.unlabelled(rows, self.system.problem.threads)
