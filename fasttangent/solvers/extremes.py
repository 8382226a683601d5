"""Extreme eigenvalues of a system: the smallest between two bounds, whichever way is cheaper, and the largest."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from fasttangent.common.vectors import dot, norm
from fasttangent.problem.curvature import System
from fasttangent.solvers import limits
from fasttangent.solvers.bracket import Bracket
from fasttangent.solvers.by_factors import by_factors
from fasttangent.solvers.by_products import by_products
from fasttangent.solvers.factor import leave_out
from fasttangent.solvers.memory import allowed
from fasttangent.solvers.metric import Metric

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Float = NDArray[np.float64]

METRIC_RANK = 600  # a step of conjugate gradients costs a product with A as well
LANCZOS_STEPS = 16  # for the largest eigenvalue
AT_ONCE = 1e9  # multiplications of a dense matrix and its factors that are not worth a thought
MATRIX_RATE, FACTOR_RATE = 4e9, 2e10  # multiplications a second and thread, of slow processors
COPIES = 2.5  # of the dense matrix in memory, at the most


def curvature_bracket(
    system: System,
    metric: Callable[[], Metric] | None = None,
    *,
    dense: Float | None = None,
    most: int = 5000,
    deadline: float = np.inf,
) -> Bracket:
    """The smallest eigenvalue of A = H + strength C'' over what predictions can depend on, between two bounds.

    Flat biases (`problem/dead_units.py`) are left out.  The dense matrix is factorised where that fits; larger systems
    are solved by conjugate gradients.

    Parameters
    ----------
    system : System
    metric : callable, optional
        Returns the metric to precondition with, if it comes to that; default: a new one.
    dense : ndarray of float64, shape (p, p), optional
        ``system.dense()``, if known; left as it is.
    most : int
        Products with A at the most; far fewer than it takes to make the matrix: that is not made then.
    deadline : float
        Of `time.perf_counter`.  When time is up the bounds are those known so far.
    """
    if dense is not None or _factors(system, most, deadline):
        return factored(system, dense)
    if time.perf_counter() >= deadline:
        return Bracket(-np.inf, np.inf, _start(system), 0.0, "out of time")
    return unfactored(system, metric, most, deadline)


def factored(system: System, dense: Float | None = None) -> Bracket:
    """As `curvature_bracket`, by factors of the dense matrix."""
    flat = system.flat_biases
    A = system.dense() if dense is None else dense.copy() if len(flat) else dense
    leave_out(A, flat)
    return by_factors(A, lambda v: system.product(v[None])[0], system.problem.threads, _start(system))


def unfactored(
    system: System, metric: Callable[[], Metric] | None = None, most: int = 5000, deadline: float = np.inf
) -> Bracket:
    """As `curvature_bracket`, by products with A alone."""
    M = Metric(system.problem, system.theta, METRIC_RANK) if metric is None else metric()
    keep = np.ones(system.size)
    keep[system.flat_biases] = 0
    return by_products(
        lambda v: keep * system.product(v[None])[0],
        lambda v: keep * M.solve(v),
        (_start(system), keep * M.sample(1)),
        most,
        deadline,
        M.largest,
    )


def _start(system: System) -> Float:
    start = np.random.default_rng(0).normal(size=system.size)
    start[system.flat_biases] = 0
    return start


def _factors(system: System, most: int, deadline: float) -> bool:
    """Whether the dense matrix is to be made: it fits into memory and time, and is worth the products allowed."""
    p, rows, threads = float(system.size), system.problem.n_rows, system.problem.threads
    if p > limits.BRACKETED_DENSE_UP_TO or 8 * COPIES * p * p > allowed(None):
        return False
    matrix, factors = rows * p * p / 3, 2 * p**3 / 3
    if matrix + factors <= AT_ONCE:
        return True
    seconds = (matrix / MATRIX_RATE + factors / FACTOR_RATE) / threads
    return most >= p / 4 and seconds < deadline - time.perf_counter()


def largest_curvature(system: System) -> float:
    """The largest eigenvalue, from below, by Lanczos.

    That k steps from a random start find less than half of the spectrum's width has a probability of at most
    1.65 sqrt(p) exp(-0.7 (2 k - 1)) (Kuczynski & Wozniakowski 1992): 2e-7 for 100,000 parameters.
    """
    v = np.random.default_rng(0).normal(size=system.size)
    v, before, off = v / norm(v), np.zeros(system.size), 0.0
    diagonal, beside = [], []
    for _ in range(min(LANCZOS_STEPS, system.size)):
        w = system.product(v[None])[0] - off * before
        diagonal.append(dot(v, w))
        w -= diagonal[-1] * v
        off = norm(w)
        if not off > 1e-12 * abs(diagonal[0]):
            break
        beside.append(off)
        before, v = v, w / off
    k = len(diagonal)
    T = np.diag(diagonal) + np.diag(beside[: k - 1], 1) + np.diag(beside[: k - 1], -1)
    return float(np.linalg.eigvalsh(T)[-1])
