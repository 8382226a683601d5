"""Conjugate gradients for several right-hand sides at once, in lockstep."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fasttangent.common.vectors import dot, norm
from fasttangent.solvers.preconditioners import Preconditioner

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Float = NDArray[np.float64]


LONGEST = 1e100  # step: where one is longer, A is singular in its direction


@dataclass
class Solution:
    """What conjugate gradients found for right-hand sides B (K, p)."""

    x: Float  # (K, p)
    residuals: Float  # (K,) ||A x - b|| / ||b||
    iterations: int
    negative: Float | None  # a direction of negative curvature, (p,), if one was met


def conjugate_gradients(
    product: Callable[[Float], Float],
    B: Float,
    metric: Preconditioner,
    tolerance: Float | float,
    most: int,
    x: Float | None = None,
) -> Solution:
    """Solve A x = b for each row b of B (K, p), in lockstep: K products share one primal pass.

    Parameters
    ----------
    product : callable
        V (K, p) -> the rows A v.
    B : ndarray of float64, shape (K, p)
    metric : Preconditioner
    tolerance : float or ndarray of shape (K,)
        Relative residual at which a right-hand side is done.
    most : int
        Iterations at the most.
    x : ndarray of float64, shape (K, p), optional
        Where the solution is written; there it is, as far as it got, after an interrupt.

    Returns
    -------
    Solution
        With `negative` set, and x as far as it got, when a direction of negative curvature was met, or of none.
    """
    K = len(B)
    x, r = np.zeros_like(B) if x is None else x, B.copy()
    x[:] = 0
    norms = np.array([norm(b) for b in B])
    wanted = tolerance * norms
    z = np.array([metric.solve(v) for v in r])
    q = z.copy()
    rz = np.array([dot(r[k], z[k]) for k in range(K)])
    active = [k for k in range(K) if norms[k] > wanted[k]]
    iterations, negative = 0, None
    while active and iterations < most:
        iterations += 1
        for k, Aq in zip(list(active), product(q[active]), strict=True):
            curvature = dot(q[k], Aq)
            step = float(rz[k]) / curvature if curvature > 0 else np.inf  # also where it is NaN
            if not step * abs(q[k]).max() < LONGEST:
                negative = q[k] / norm(q[k])
                break
            x[k] += step * q[k]
            r[k] -= step * Aq
            if norm(r[k]) <= wanted[k]:
                active.remove(k)
                continue
            z[k] = metric.solve(r[k])
            rz_next = dot(r[k], z[k])
            q[k] = z[k] + (rz_next / rz[k]) * q[k]
            rz[k] = rz_next
        if negative is not None:
            break
    residuals = np.array([norm(r[k]) / norms[k] if norms[k] > 0 else 0.0 for k in range(K)])
    return Solution(x, residuals, iterations, negative)
