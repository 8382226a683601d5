"""Extreme eigenvalues of a system: the smallest between two bounds, and the largest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fasttangent.common.vectors import norm
from fasttangent.problem.curvature import System
from fasttangent.solvers.limits import EIGENVALUES_UP_TO
from fasttangent.solvers.metric import Metric

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Float = NDArray[np.float64]


@dataclass(frozen=True)
class Bracket:
    """The smallest eigenvalue of H + strength C'' between two bounds."""

    lower: float  # the smallest eigenvalue of T^T H T, where H is positive definite
    rayleigh: float  # x.Hx / x.x, an upper bound: negative proves negative curvature; nan: none was found
    direction: Float  # x, of length 1


def curvature_bracket(system: System, metric: Metric, restarts: int = 10) -> Bracket:
    """Lanczos for the smallest eigenvalue, in the variables of the Gauss-Newton metric M.

    The eigenvalues of H spread over six decades and Lanczos would need thousands of products to see the smallest;
    those of T^T H T, with T T^T = floor M^-1, spread over two.  By Sylvester's law of inertia both have as many
    negative ones, and if nu >= 0 is the smallest there, H >= nu M / floor >= nu.
    """
    from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh

    p = system.size
    if p <= EIGENVALUES_UP_TO:
        H = system.product(np.eye(p))
        eigenvalues, vectors = np.linalg.eigh((H + H.T) / 2)
        return Bracket(float(eigenvalues[0]), float(eigenvalues[0]), vectors[:, 0])

    def scaled(u: Float) -> Float:
        return metric.scale_back(system.product(metric.scale(u.ravel())[None])[0])

    start = np.random.default_rng(0).normal(size=p)
    operator = LinearOperator((p, p), matvec=scaled, dtype=np.float64)
    try:
        values, vectors = eigsh(operator, k=1, which="SA", v0=start, ncv=60, tol=1e-2, maxiter=restarts)
    except ArpackNoConvergence:
        return Bracket(np.nan, np.nan, start)
    nu, u = float(values[0]), vectors[:, 0]
    x = metric.scale(u)
    x /= norm(x)
    rayleigh = float(np.sum(x * system.product(x[None])[0]))
    # 1 % is the error Lanczos was allowed
    return Bracket(min(0.99 * nu, rayleigh) if nu > 0 else min(nu, rayleigh), rayleigh, x)


def largest_curvature(system: System) -> float:
    """Largest eigenvalue, to a few per cent."""
    if system.size <= EIGENVALUES_UP_TO:
        return float(np.linalg.eigvalsh(system.product(np.eye(system.size)))[-1])
    return system.largest_eigenvalue()
