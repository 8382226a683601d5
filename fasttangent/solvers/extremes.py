"""Extreme eigenvalues of a system: the smallest between two bounds, whichever way is cheaper, and the largest."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from fasttangent.common.blas import one_thread
from fasttangent.common.vectors import dot, norm
from fasttangent.problem.curvature import System
from fasttangent.problem.linearized_users import linearized
from fasttangent.solvers import limits
from fasttangent.solvers.arrow_metric import metric_at
from fasttangent.solvers.bracket import Bracket
from fasttangent.solvers.by_factors import CHANGE, by_factors
from fasttangent.solvers.by_products import FLAT, by_products
from fasttangent.solvers.dual_metric import DualMetric
from fasttangent.solvers.factor import leave_out
from fasttangent.solvers.memory import allowed
from fasttangent.solvers.metric import Metric
from fasttangent.solvers.sampled_metric import SampledMetric

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Float = NDArray[np.float64]

LANCZOS_STEPS, NEGATIVE_STEPS = 16, 32  # for the largest eigenvalue, and for one below zero
AT_ONCE = 4e8  # multiplications of a dense matrix and its factors that take no longer than a hundred products
FEW = 600  # products that cost what a dense matrix of thousands of parameters does
MATRIX_RATE, FACTOR_RATE = 4e9, 2e10  # multiplications a second and thread, of slow processors
COPIES = 2.5  # of the dense matrix in memory, at the most


def curvature_bracket(
    system: System,
    metric: Callable[[], Metric | DualMetric | SampledMetric] | None = None,
    *,
    dense: Float | None = None,
    most: int = 5000,
    deadline: float = np.inf,
) -> Bracket:
    """The smallest eigenvalue of A = H + strength C'' over what predictions can depend on, between two bounds.

    Flat biases (`problem/dead_units.py`) are left out.  Small dense matrices are factorised, and larger ones that fit
    where conjugate gradients have not decided after FEW products.

    Parameters
    ----------
    system : System
    metric : callable, optional
        Returns the metric to precondition with, if it comes to that; default: a new one.
    dense : ndarray of float64, shape (p, p), optional
        ``system.dense()``, if known: it is factorised, and left as it is.
    most : int
        Products with A at the most; fewer than FEW: a matrix that is not small is not made.
    deadline : float
        Of `time.perf_counter`.  When time is up the bounds are those known so far.
    """
    p = float(system.size)
    if dense is not None or sum(_multiplications(system)) <= AT_ONCE:
        return factored(system, dense)
    if time.perf_counter() >= deadline:
        return Bracket(-np.inf, np.inf, _start(system), 0.0, "out of time")
    fits = p <= limits.BRACKETED_DENSE_UP_TO and 8 * COPIES * p * p <= allowed(None)
    found = unfactored(system, metric, min(most, FEW) if fits else most, deadline)
    if found.stopped != "iteration limit" or not fits or most < FEW:
        return found
    matrix, factors = _multiplications(system)
    seconds = (matrix / MATRIX_RATE + factors / FACTOR_RATE) / system.problem.threads
    if time.perf_counter() + seconds > deadline:
        return replace(found, stopped="out of time")
    return factored(system)


def factored(system: System, dense: Float | None = None, change: float = CHANGE) -> Bracket:
    """As `curvature_bracket`, by factors of the dense matrix."""
    flat = system.flat_biases
    A = system.dense() if dense is None else dense.copy() if len(flat) else dense
    leave_out(A, flat)
    return by_factors(A, lambda v: system.product(v[None])[0], system.problem.threads, _start(system), change)


def unfactored(
    system: System,
    metric: Callable[[], Metric | DualMetric | SampledMetric] | None = None,
    most: int = 5000,
    deadline: float = np.inf,
) -> Bracket:
    """As `curvature_bracket`, by products with A alone."""
    at = linearized(system.problem, system.theta)
    M = metric_at(at) if metric is None else metric()
    exact = not system.gauss_newton and system.regularized
    product = at.product if exact else lambda v: system.product(v[None])[0]
    keep = np.ones(system.size)
    keep[system.flat_biases] = 0
    return by_products(
        lambda v: keep * product(v),
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


def largest_curvature(system: System) -> float:
    """The largest eigenvalue, from below, by Lanczos.

    That k steps from a random start find less than half of the spectrum's width has a probability of at most
    1.65 sqrt(p) exp(-0.7 (2 k - 1)) (Kuczynski & Wozniakowski 1992): 2e-7 for 100,000 parameters.
    """
    return float(_ritz_values(system, LANCZOS_STEPS)[-1])


def negative_curvature(system: System) -> float:
    """An eigenvalue below zero, from above, as far as some products find one; 0.0 if not, or if a factor costs less.

    At a random start, or after a few epochs, a Hessian has many such; near a minimum they have to be looked for.
    """
    if sum(_multiplications(system)) <= AT_ONCE:
        return 0.0
    values = _ritz_values(system, NEGATIVE_STEPS)
    return float(values[0]) if values[0] < -FLAT * values[-1] else 0.0


def _multiplications(system: System) -> tuple[float, float]:
    """Of a dense matrix, and of its factors."""
    p = float(system.size)
    return system.problem.n_rows * p * p / 3, 2 * p**3 / 3


def _ritz_values(system: System, steps: int) -> Float:
    """By Lanczos, ascending."""
    v = _start(system)
    v, before, off = v / norm(v), np.zeros(system.size), 0.0
    diagonal, beside = [], []
    for _ in range(min(steps, system.size)):
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
    with one_thread():
        return np.linalg.eigvalsh(T)
