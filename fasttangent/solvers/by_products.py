"""The smallest eigenvalue between two bounds by products with A alone, for systems that are too large to factorise.

Preconditioned descent finds an upper bound, the Rayleigh quotient of a direction; conjugate gradients with A - shift I
and a random right-hand side prove the lower one, but for a small probability, or meet a direction with a
smaller quotient.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from fasttangent.common.blas import one_thread
from fasttangent.common.vectors import dot, norm
from fasttangent.solvers.bracket import TRIES, Bracket

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Float = NDArray[np.float64]

SHARE = 0.55  # of the upper bound that is proved; the closer, the more products
FAILURE = 1e-9  # probability that a proof is none
FLAT = 1e-12  # share of the largest eigenvalue; what is smaller is zero to rounding
DESCENT_STEPS = 40


def by_products(
    product: Callable[[Float], Float],
    precondition: Callable[[Float], Float],
    random: tuple[Float, Float],
    most: int,
    deadline: float,
    scale: float,
) -> Bracket:
    """Products alone: an upper bound by descent, then a lower one that fails with probability FAILURE.

    Parameters
    ----------
    product, precondition : callable
        v (p,) -> A v and M^-1 v, M positive definite.
    random : tuple of ndarray of float64, shape (p,)
        A random vector, and one whose covariance is M.
    most : int
        Products at the most.
    deadline : float
        Of `time.perf_counter`.
    scale : float
        About the largest eigenvalue.
    """
    count, zero = 0, FLAT * scale

    def counted(v: Float) -> Float:
        nonlocal count
        count += 1
        return product(v)

    def stop() -> str:
        return "iteration limit" if count >= most else "out of time" if time.perf_counter() > deadline else ""

    least, x = _descend(counted, precondition, precondition(random[0]), stop)
    for _ in range(TRIES):
        if not least > zero:
            return Bracket(-np.inf, least, x, zero, "")
        if why := stop():
            return Bracket(-np.inf, least, x, zero, why)
        shift = SHARE * least
        outcome = _prove(counted, precondition, random[1], shift, stop)
        if outcome is None:
            return Bracket(shift, least, x, zero)
        if isinstance(outcome, str):
            return Bracket(-np.inf, least, x, zero, outcome)
        least, x = _descend(counted, precondition, outcome, stop)
    return Bracket(-np.inf, least, x, zero, "iteration limit")


def _prove(
    product: Callable[[Float], Float],
    precondition: Callable[[Float], Float],
    b: Float,
    shift: float,
    stop: Callable[[], str],
) -> Float | str | None:
    """Solve (A - shift I) x = b, b random with covariance M: None once that proves A - shift I positive definite.

    In the variables of M the residual of a step is R(C) b, with C = M^-1/2 (A - shift I) M^-1/2 and R a polynomial
    that is 1 at zero and at least 1 below, as its zeros are positive while no curvature was met that is not.  So along
    an eigenvector whose eigenvalue is not positive the residual never becomes smaller than b is there; and b, which
    points everywhere with equal likelihood, is smaller there than c ||b|| with a probability of at most
    c sqrt(2 p / pi).  Once the residual is c ||b||, there is no such eigenvector, or that has happened.

    Otherwise: a direction of curvature at most `shift`, or why it stopped.
    """
    goal = FAILURE * np.sqrt(np.pi / (2 * len(b)))
    r, z = b.copy(), precondition(b)
    d, rz = z.copy(), dot(b, z)
    first = rz
    while not (why := stop()):
        Ad = product(d) - shift * d
        curvature = dot(d, Ad)
        if not curvature > 0:
            return d / norm(d)
        r -= (rz / curvature) * Ad
        z = precondition(r)
        before, rz = rz, dot(r, z)
        if rz <= goal**2 * first:
            return None
        d = z + (rz / before) * d
    return why


def _descend(
    product: Callable[[Float], Float],
    precondition: Callable[[Float], Float],
    x: Float,
    stop: Callable[[], str],
) -> tuple[float, Float]:
    """The Rayleigh quotient made small, by conjugate gradients with a preconditioner; and its direction.

    References
    ----------
    Knyazev 2001, Toward the optimal preconditioned eigensolver, SIAM J. Sci. Comput. 23: algorithm 4.1.
    """
    x = x / norm(x)
    Ax = product(x)
    quotients = [dot(x, Ax)]
    step: tuple[Float, Float] | None = None
    for _ in range(DESCENT_STEPS if np.isfinite(quotients[0]) else 0):
        w = precondition(Ax - quotients[-1] * x)
        w -= dot(x, w) * x
        if stop() or not norm(w) > 0:
            break
        w /= norm(w)
        S, AS = [x, w], [Ax, product(w)]
        if step is not None:
            S, AS = [*S, step[0]], [*AS, step[1]]
        c = _rayleigh_ritz(S, AS)
        step = _combined(S[1:], c[1:]), _combined(AS[1:], c[1:])
        length = norm(c[0] * x + step[0])
        x, Ax = (c[0] * x + step[0]) / length, (c[0] * Ax + step[1]) / length
        scale = norm(step[0])
        if not scale > 0:
            break
        step = step[0] / scale, step[1] / scale
        quotients.append(dot(x, Ax))
        if len(quotients) > 5 and quotients[-6] - quotients[-1] < 0.03 * abs(quotients[-1]):
            break
    return dot(x, product(x)), x  # Ax as it was updated is off by rounding


def _combined(S: list[Float], c: Float) -> Float:
    return sum((c[i] * s for i, s in enumerate(S)), np.zeros_like(S[0]))


def _rayleigh_ritz(S: list[Float], AS: list[Float]) -> Float:
    """Coefficients of the smallest quotient over the span of S; what hardly adds to the span is left out."""
    G = np.array([[dot(s, t) for t in S] for s in S])
    K = np.array([[dot(s, t) for t in AS] for s in S])
    with one_thread():
        weights, V = np.linalg.eigh(G)
        V = V[:, weights > 1e-10 * weights[-1]] / np.sqrt(weights[weights > 1e-10 * weights[-1]])
        return V @ np.linalg.eigh(V.T @ (K + K.T) @ V / 2)[1][:, 0]
