"""Tangents of anything that a fit depends on: a right-hand side each, and nothing else.

At a minimum grad F(theta, s) = 0, whatever s is, so

    d theta / d s = -A^-1 rho        rho = d_s grad F at fixed theta,    A = H + strength C''

For s the strength rho = grad C: the regularity tangent.  Those below need a line each.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fasttangent.influence.exact import Exact
from fasttangent.influence.row_blocks import loss_slopes
from fasttangent.model.group_tangents import pulls

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Float = NDArray[np.float64]

Numbers = int | Sequence[int] | None


@dataclass(frozen=True, eq=False)
class Perturbation:
    """Something that a settled fit depends on, s, given by rho = d_s grad F.

    Attributes
    ----------
    name : str
    right_sides : callable
        Takes the `Exact` of the fit and returns rho (K, p), one row for each of K numbers s.  Of use there:
        ``truth.model.params`` theta (p,), and ``truth.system.problem``, which has the rows of F in standard units
        (``rows.X``, ``rows.Y``, and ``rows.w``, which sum to 1), ``predictions(theta)`` and
        ``jacobian_transposed_product(theta, U)``.

    Examples
    --------
    What labels and weights do, and a perturbation of one's own: the delta of the Huber loss, where
    d loss' / d delta is the sign of a residual beyond delta.

    >>> import numpy as np
    >>> import fasttangent as ft
    >>> rng = np.random.default_rng(0)
    >>> X = rng.uniform(-1, 1, (60, 2))
    >>> y = np.sin(3 * X[:, 0]) + 0.3 * rng.standard_t(2, 60)
    >>> model = ft.fit(X, y, hidden=(6,), strength=1e-2, loss="huber", delta=0.5, dtype="float64")
    >>> truth = ft.exact(model, X, y)
    >>> ft.Perturbation.labels([0, 1]).of_predictions(truth, X[:5]).shape
    (2, 5)
    >>> def of_delta(truth):
    ...     problem, theta = truth.system.problem, truth.model.params
    ...     residual = problem.predictions(theta) - problem.rows.Y
    ...     beyond = np.where(abs(residual) > model.objective.delta, np.sign(residual), 0.0)
    ...     return problem.jacobian_transposed_product(theta, (problem.rows.w[:, None] * beyond)[None])
    >>> ft.Perturbation("delta", of_delta).of_predictions(truth, X[:5]).shape
    (1, 5)
    """

    name: str
    right_sides: Callable[[Exact], Float]

    @staticmethod
    def strengths() -> Perturbation:
        """The strength of each group of parameters: rho_g = grad C_g."""
        return Perturbation("strengths", lambda truth: pulls(truth.system.problem, truth.model.params))

    @staticmethod
    def weights(rows: Numbers = None) -> Perturbation:
        """Of training rows, all by default, relative to what they are: rho_i = w_i / S grad loss_i; S is kept."""
        return Perturbation("weights", lambda truth: _of_weights(truth, rows))

    @staticmethod
    def labels(rows: Numbers = None) -> Perturbation:
        """Of training rows, in units of y: rho_i = -w_i / S loss'' grad f_i; of several outputs each, row by row."""
        return Perturbation("labels", lambda truth: _of_labels(truth, rows))

    @staticmethod
    def input_scales(columns: Numbers = None) -> Perturbation:
        """Of columns, relative to what they are: rho_j = -2 strength_j C'' theta_j, theta_j the weights of column j.

        A column times 1 + s asks for weights smaller by that factor, which cost less: for the function of the columns
        as they were it is a change of their strength.  So nothing changes in a fit without a regulariser.
        """
        return Perturbation("input scales", lambda truth: _of_input_scales(truth, columns))

    def tangents(self, truth: Exact) -> Float:
        """d theta / d s = -A^-1 rho.

        Parameters
        ----------
        truth : Exact
            Of the settled model and its training rows, see `exact`.

        Returns
        -------
        ndarray of float64, shape (K, p)
            In standard units.

        Raises
        ------
        ValueError
            If the right-hand sides have another shape than (K, p) or are not finite.
        """
        rho, p = np.asarray(self.right_sides(truth), np.float64), len(truth.model.params)
        if rho.ndim != 2 or rho.shape[1] != p or not np.isfinite(rho).all():
            raise ValueError(
                f"right_sides of perturbation {self.name!r} must return finite numbers of shape (K, {p}), got shape "
                f"{rho.shape}"
            )
        return -truth._solve(rho)

    def of_predictions(self, truth: Exact, X: Any) -> Float:
        """d prediction / d s of rows.

        Parameters
        ----------
        truth : Exact
        X : array_like of shape (m, n_features)

        Returns
        -------
        ndarray of float64, shape (K, m) or (K, m, n_outputs)
            Units of y over the unit of s.
        """
        rows = truth._unlabelled(X)
        found = truth.model.scaling.changes(rows.jacobian_product(truth.model.params, self.tangents(truth)))
        return found[..., 0] if truth.model.n_outputs == 1 else found


def _of_weights(truth: Exact, rows: Numbers) -> Float:
    problem, theta = truth.system.problem, truth.model.params
    numbers = _chosen("rows", rows, problem.n_rows)
    slopes = problem.rows.w[:, None] * loss_slopes(problem, theta)
    return np.einsum("io,iop->ip", slopes[numbers], problem.jacobian(theta, numbers))


def _of_labels(truth: Exact, rows: Numbers) -> Float:
    problem, theta = truth.system.problem, truth.model.params
    numbers = _chosen("rows", rows, problem.n_rows)
    slopes = -problem.output_weights(theta)[numbers] / truth.model.scaling.y_scale
    return (slopes[..., None] * problem.jacobian(theta, numbers)).reshape(-1, len(theta))


def _of_input_scales(truth: Exact, columns: Numbers) -> Float:
    problem, layout = truth.system.problem, truth.model.network.layout
    numbers = _chosen("columns", columns, truth.model.n_features)
    of = np.full(layout.n_params, -1)
    layout.weights(of, 0)[:] = np.arange(truth.model.n_features)[:, None]
    pull = -2 * problem.objective.strength * problem.complexity_gradient(truth.model.params)
    return np.where(of == numbers[:, None], pull, 0.0)


def _chosen(name: str, chosen: Numbers, n: int) -> NDArray[np.int64]:
    numbers = np.arange(n) if chosen is None else np.atleast_1d(np.asarray(chosen))
    if numbers.ndim != 1 or len(numbers) == 0 or numbers.dtype.kind not in "iu":
        raise TypeError(
            f"{name} must be a number or a sequence of numbers, which count from 0, got {chosen!r}"
        )
    if not ((numbers >= 0) & (numbers < n)).all():
        raise ValueError(f"{name} must be from 0 to {n - 1}, got {numbers.min()} to {numbers.max()}")
    return numbers
