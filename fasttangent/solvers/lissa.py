"""LiSSA, full batch: the Neumann series of A^-1, with a step that is known to be short enough."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from fasttangent.common.vectors import dot, norm

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Float = NDArray[np.float64]

MARGIN = 1.05  # by which Lanczos may have missed the largest eigenvalue
GROWTH = 1 + 1e-9  # of a residual, beyond rounding


def lissa(product: Callable[[Float], Float], B: Float, eta: float, goals: Float, most: int, x: Float) -> str:
    """x <- x + eta (b - A x) for each row b of B (K, p).

    With 0 < eta <= 1 / lambda_max and A positive semi-definite no residual grows and r.Ar > 0, so either of these
    failing proves a negative eigenvalue (or a step too long), and the iteration ends there: a negative eigenvalue
    -nu would multiply its part of x by 1 + eta nu in every step.

    Parameters
    ----------
    product : callable
        V (k, p) -> the rows A v.
    B : ndarray of float64, shape (K, p)
    eta : float
    goals : ndarray of float64, shape (K,)
        ||A x - b|| at which a right-hand side is done.
    most : int
        Iterations at the most.
    x : ndarray of float64, shape (K, p)
        Where the solution is added to.

    Returns
    -------
    str
        "converged", "iteration limit", "negative curvature" or "diverging".

    References
    ----------
    Agarwal, Bullins & Hazan 2017, JMLR 18; Koh & Liang 2017, section 3.
    """
    R = B.copy()
    lengths = {k: norm(R[k]) for k in range(len(R)) if norm(R[k]) > goals[k]}
    for _ in range(most):
        if not lengths:
            return "converged"
        for k, Ar in zip(list(lengths), product(R[list(lengths)]), strict=True):
            if not dot(R[k], Ar) > 0:  # also NaN
                return "negative curvature"
            r = R[k] - eta * Ar
            length = norm(r)
            if length > GROWTH * lengths[k]:
                return "diverging"
            x[k] += eta * R[k]
            R[k] = r
            if length <= goals[k]:
                del lengths[k]
            else:
                lengths[k] = length
    return "iteration limit" if lengths else "converged"
