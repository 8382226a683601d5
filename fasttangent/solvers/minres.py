"""MINRES in lockstep: symmetric systems, definite or not, whose right-hand sides share primal passes."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TYPE_CHECKING

import numpy as np

from fasttangent.common.vectors import dot, norm
from fasttangent.solvers.preconditioners import Preconditioner

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Float = NDArray[np.float64]

EPS = float(np.finfo(np.float64).eps)


def minres(
    product: Callable[[Float], Float],
    B: Float,
    preconditioner: Preconditioner,
    goals: Float,
    most: int,
    x: Float,
) -> str:
    """Solve A x = b for each row b of B (K, p), A symmetric, the preconditioner positive definite.

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
        "converged", "iteration limit", or "no further progress" where A is singular and b out of its reach.

    References
    ----------
    Paige & Saunders 1975; Elman, Silvester & Wathen 2014, algorithm 4.1.
    """
    steps = [_steps(x[k], B[k], preconditioner, goals[k]) for k in range(len(B))]
    wanted, results = {}, {}

    def advance(k: int, Az: Float | None) -> None:
        try:
            wanted[k] = next(steps[k]) if Az is None else steps[k].send(Az)
        except StopIteration as end:
            wanted.pop(k, None)
            results[k] = end.value

    for k in range(len(B)):
        advance(k, None)
    for _ in range(most):
        if not wanted:
            break
        numbers = list(wanted)
        for k, Az in zip(numbers, product(np.array([wanted[k] for k in numbers])), strict=True):
            advance(k, Az)
    if wanted:
        return "iteration limit"
    return "converged" if all(results.values()) else "no further progress"


def _steps(x: Float, b: Float, preconditioner: Preconditioner, goal: float) -> Generator[Float, Float, bool]:
    """Yields directions z, is sent A z, adds to x; True when its residual has come to rounding or its goal.

    v and z = M^-1 v are Lanczos vectors, w directions with A w orthogonal, (c, s) the rotations of the QR
    factorisation, eta the norm of the residual in M^-1.
    """
    r, v_old, v = b.copy(), np.zeros_like(b), b.copy()
    w_old, w, Aw_old, Aw = (np.zeros_like(b) for _ in range(4))
    if norm(r) <= goal:
        return True
    z = preconditioner.solve(v)
    gamma_old, gamma = 1.0, np.sqrt(dot(z, v))
    eta, c_old, c, s_old, s = gamma, 1.0, 1.0, 0.0, 0.0
    least = EPS * gamma
    while gamma > 0:  # not NaN
        z = z / gamma
        Az = yield z
        delta = dot(Az, z)
        v_old, v = v, Az - (delta / gamma) * v - (gamma / gamma_old) * v_old
        z_next = preconditioner.solve(v)
        gamma_next = np.sqrt(max(dot(z_next, v), 0.0))
        a0, a2, a3 = c * delta - c_old * s * gamma, s * delta + c_old * c * gamma, s_old * gamma
        a1 = np.hypot(a0, gamma_next)
        if not a1 > 0:
            return False
        w_old, w = w, (z - a3 * w_old - a2 * w) / a1
        Aw_old, Aw = Aw, (Az - a3 * Aw_old - a2 * Aw) / a1
        c_old, c, s_old, s = c, a0 / a1, s, gamma_next / a1
        x += (c * eta) * w
        r -= (c * eta) * Aw
        if norm(r) <= goal:
            return True
        eta, z, gamma_old, gamma = -s * eta, z_next, gamma, gamma_next
        if abs(eta) <= least:
            return True  # as far as rounding allows in one pass
    return False
