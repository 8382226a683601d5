"""How predictions and scores would vary between samples of the training rows: the infinitesimal jackknife.

A bootstrap draws n rows with replacement and fits anew; to first order in the weights of the rows its variance is

    Var g = sum_i (d g / d log w_i)^2

with the sum of the weights kept, as by a bootstrap: F becomes F_s = F + s w_i/S (loss_i - F_data).  At the minimum
the gradient of the data term is -strength grad C, so rho_i = w_i/S (grad loss_i + strength grad C), and

    d f(x) / d log w_i = grad f . v_i,        v_i = -A^-1 rho_i
    d (tau . grad f) / d log w_i = grad f . t_i + tau . (grad^2 f) v_i
    t_i = -A^-1 d/ds [grad^2 F_s tau + grad C](theta + s v_i),

as a sensitivity changes with theta and with tau.  The derivatives along v_i are central differences of exact products.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fasttangent.common.vectors import norm
from fasttangent.influence.exact import Exact
from fasttangent.influence.row_blocks import jacobians, loss_slopes
from fasttangent.problem.problem import Problem

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Float = NDArray[np.float64]

STEP = 1e-4  # along a tangent, relative to the length of theta
BLOCK = 64  # rows of training at a time


class Deviations(NamedTuple):
    """Standard deviations by the infinitesimal jackknife; made by `jackknife`."""

    prediction: Float  # (m,) or (m, n_outputs), units of y
    sensitivity: Float  # (m,) or (m, n_outputs), units of y per unit of strength


def jackknife(truth: Exact, X: Any) -> Deviations:
    """Standard deviations that predictions and sensitivities of rows have from the choice of the training rows.

    Between samples of rows, not those of the noise of a label: the noise is in it as far as it moves the fit.  Of the
    minimum where the model is; another start may find another one, see `members` of `fit`.

    Parameters
    ----------
    truth : Exact
        Of the settled model and its training rows, see `exact`.
    X : array_like of shape (m, n_features)
        Where to predict.

    Returns
    -------
    Deviations

    Raises
    ------
    ValueError
        If the rows do not fit the model; its activation has kinks (relu), where sensitivities have no derivative; or
        `truth` has the Gauss-Newton matrix in place of the Hessian.

    References
    ----------
    Jaeckel 1972, The infinitesimal jackknife; Efron 2014, JASA 109; Giordano et al. 2019, arXiv 1806.00550.

    Examples
    --------
    >>> import numpy as np
    >>> import fasttangent as ft
    >>> rng = np.random.default_rng(0)
    >>> X = rng.uniform(-1, 1, (100, 2))
    >>> y = np.sin(3 * X[:, 0]) + 0.1 * rng.normal(size=100)
    >>> model = ft.fit(X, y, hidden=(8,), strength=1e-2, dtype="float64")
    >>> found = ft.jackknife(ft.exact(model, X, y), X[:3])
    >>> found.prediction.shape, found.sensitivity.shape
    ((3,), (3,))
    """
    model, problem = truth.model, truth.system.problem
    if model.network.activation == "relu":
        raise ValueError("activation must be smooth for a jackknife of sensitivities, got 'relu'; use 'silu'")
    if truth.system.gauss_newton:
        raise ValueError("curvature of truth must be 'hessian' for a jackknife, got 'gauss-newton'")
    theta, tau, at = model.params, truth.tangent, truth._unlabelled(X)
    pull = model.objective.strength * problem.complexity_gradient(theta)
    slopes, squares = loss_slopes(problem, theta), np.zeros((2, *at.rows.Y.shape))
    for part, J in jacobians(problem, theta, BLOCK):
        w = problem.rows.w[part, None]
        V = -truth._solve(w * (np.einsum("io,iop->ip", slopes[part], J) + pull))
        numbers = np.arange(problem.n_rows)[part]
        T = -truth._solve(
            np.array([_turned(problem, theta, tau, i, v) for i, v in zip(numbers, V, strict=True)])
        )
        of_theta, of_tau = at.jacobian_product(theta, V), at.jacobian_product(theta, T)
        bent = np.array([_bent(at, theta, tau, v) for v in V])
        squares += np.sum(of_theta**2, axis=0), np.sum((of_tau + bent) ** 2, axis=0)
    found = model.scaling.changes(np.sqrt(squares))
    return Deviations(*(found[..., 0] if model.flat_targets else found))


def _turned(problem: Problem, theta: Float, tau: Float, i: int, v: Float) -> Float:
    """d/ds of grad^2 F_s(theta + s v) tau + grad C(theta + s v), F_s with row i up-weighted and the rest down."""
    X, Y, w = problem.rows
    h, towards = _step(theta, v), -w[i] * w
    towards[i] += w[i]

    def gradient(s: float) -> Float:
        there, moved = problem.with_rows(X, Y, w + s * towards, problem.threads), theta + s * v
        return there.product(moved, tau[None])[0] + there.complexity_gradient(moved)

    return (gradient(h) - gradient(-h)) / (2 * h)


def _bent(at: Problem, theta: Float, tau: Float, v: Float) -> Float:
    """tau . (grad^2 f) v of rows: (m, n_outputs)."""
    h = _step(theta, v)
    ahead, behind = (at.jacobian_product(theta + s * v, tau[None])[0] for s in (h, -h))
    return (ahead - behind) / (2 * h)


def _step(theta: Float, v: Float) -> float:
    return STEP * max(norm(theta), 1.0) / max(norm(v), 1e-300)
