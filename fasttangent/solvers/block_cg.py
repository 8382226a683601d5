"""Block conjugate gradients: right-hand sides share their Krylov spaces, and may depend on one another."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from fasttangent.common.blas import one_thread
from fasttangent.common.vectors import norms
from fasttangent.solvers.preconditioners import Preconditioner

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Float = NDArray[np.float64]

DEPENDENT = 1e-10  # what is left of a direction of length 1 that counts as nothing


def block_conjugate_gradients(
    product: Callable[[Float], Float],
    B: Float,
    preconditioner: Preconditioner,
    goals: Float,
    most: int,
    x: Float,
) -> str:
    """Solve A x = b for each row b of B (K, p), by breakdown-free block CG.

    The directions of a step are an orthonormal basis of what the residuals span, of fewer than K rows where those
    depend on one another: equal right-hand sides cost one.  Right-hand sides that have reached their goal give no
    direction and are still improved by those of the others.

    Parameters
    ----------
    product : callable
        V (k, p) -> the rows A v.
    B : ndarray of float64, shape (K, p)
    preconditioner : Preconditioner
    goals : ndarray of float64, shape (K,)
        ||A x - b|| at which a right-hand side is done.
    most : int
        Iterations at the most.
    x : ndarray of float64, shape (K, p)
        Where the solution is added to.

    Returns
    -------
    str
        "converged", "iteration limit" or "negative curvature".

    References
    ----------
    Ji & Li 2017, A breakdown-free block conjugate gradient method, BIT 57, algorithm 1.
    """
    R = B.copy()
    active = norms(R) > goals
    P = _basis(_solve(preconditioner, R[active]))
    for _ in range(most):
        if not active.any():
            return "converged"
        Q = product(P)
        try:
            inverse = _step(x, R, P, Q)
        except np.linalg.LinAlgError:
            return "negative curvature"
        active = norms(R) > goals
        Z = _solve(preconditioner, R[active])
        with one_thread():
            Z -= (Z @ Q.T @ inverse) @ P
        P = _basis(Z)
    return "iteration limit" if active.any() else "converged"


def _step(x: Float, R: Float, P: Float, Q: Float) -> Float:
    """The smallest error in the directions P, whose products are Q, is taken from x and R; returns (P A P^T)^-1."""
    with one_thread():
        curvature = P @ Q.T
        inverse = np.linalg.inv(np.linalg.cholesky((curvature + curvature.T) / 2))
        inverse = inverse.T @ inverse
        alpha = R @ P.T @ inverse
        x += alpha @ P
        R -= alpha @ Q
    return inverse


def _solve(preconditioner: Preconditioner, R: Float) -> Float:
    return np.array([preconditioner.solve(r) for r in R]).reshape(R.shape)


def _basis(Z: Float) -> Float:
    """Orthonormal rows that span the rows of Z (k, p), each of which counts as much as the others."""
    from scipy.linalg import qr

    if len(Z) == 0:
        return Z
    lengths = norms(Z)
    scaled = Z / np.where(lengths > 0, lengths, 1)[:, None]
    with one_thread():
        Q, R, _ = qr(scaled.T, mode="economic", pivoting=True)
    return np.ascontiguousarray(Q[:, abs(np.diag(R)) > DEPENDENT].T)
