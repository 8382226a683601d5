"""Positive definite approximations of A whose inverses are cheap."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

from fasttangent.common import checks
from fasttangent.common.blas import one_thread
from fasttangent.common.vectors import norm
from fasttangent.problem.curvature import System
from fasttangent.solvers.metric import Metric

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Float = NDArray[np.float64]

PRECONDITIONERS = ("none", "jacobi", "gauss-newton", "nystroem")
MOST_VALUES = 2**23  # of the Jacobian of a chunk of rows: 64 MB
METRIC_RANK = 600
NYSTROEM_RANK = 200


class Preconditioner(Protocol):
    """M, symmetric and positive definite."""

    def solve(self, v: Float) -> Float:
        """M^-1 v, for v (p,)."""


class Identity:
    """M = I."""

    def solve(self, v: Float) -> Float:
        """v."""
        return v.copy()


class Jacobi:
    """The diagonal of the Gauss-Newton matrix with strength C'', which is positive where that of H need not be."""

    def __init__(self, system: System) -> None:
        D, diagonal = system.problem.output_weights(system.theta), system.diagonal_term.copy()
        chunk = max(1, MOST_VALUES // (D.shape[1] * system.size))
        for start in range(0, len(D), chunk):
            part = slice(start, start + chunk)
            J = system.problem.jacobian(system.theta, part)
            diagonal += np.einsum("iop,iop,io->p", J, J, D[part])
        self.diagonal = np.maximum(diagonal, 1e-12 * diagonal.max() or 1.0)

    def solve(self, v: Float) -> Float:
        """v / diagonal."""
        return v / self.diagonal


class Nystroem:
    """M = U L U^T + mu I, up to a factor: the Nystroem approximation of the Gauss-Newton matrix of the data term.

    With Y = H Omega, Omega (p, rank) orthonormal and random, U L U^T = Y (Omega^T Y)^-1 Y^T, at the price of one
    product with `rank` directions.  mu is the strength, but at least the smallest value of L, beyond which the
    sketch knows nothing.

    References
    ----------
    Frangella, Tropp & Udell 2023, Randomized Nystroem preconditioning, algorithms 2.1 and 5.1.
    """

    def __init__(self, system: System, rank: int) -> None:
        from scipy.linalg import qr, solve_triangular, svd

        p = system.size
        gauss_newton = System(system.problem, system.theta, gauss_newton=True, regularized=False)
        start = np.random.default_rng(0).normal(size=(p, min(rank, p)))
        with one_thread():
            omega = np.ascontiguousarray(qr(start, mode="economic")[0].T)
        Y = gauss_newton.product(omega)
        shift = max(np.sqrt(p) * np.finfo(float).eps * norm(Y.ravel()), 1e-300)
        Y += shift * omega
        with one_thread():
            core = Y @ omega.T
            factor = np.linalg.cholesky((core + core.T) / 2)
            B = solve_triangular(factor, Y, lower=True)  # B^T B is the approximation
            _, roots, self._UT = svd(B, full_matrices=False)
        L = np.maximum(roots**2 - shift, 0)
        mu = max(float(system.diagonal_term.max()), float(L[-1]), 1e-12 * float(L[0]), 1e-300)
        self._change = (L[-1] + mu) / (L + mu) - 1

    def solve(self, v: Float) -> Float:
        """U (l_last + mu) / (L + mu) U^T v + (I - U U^T) v."""
        with one_thread():
            return v + (self._change * (self._UT @ v)) @ self._UT


def preconditioner(system: System, name: str, rank: int | None) -> Preconditioner:
    """The preconditioner of that name for a system."""
    checks.choice("preconditioner", name, PRECONDITIONERS)
    if rank is not None:
        if name not in ("gauss-newton", "nystroem"):
            raise ValueError(
                f"rank is for preconditioner 'gauss-newton' or 'nystroem', got {name!r}; leave it out"
            )
        checks.integer("rank", rank, at_least=1)
    if name == "gauss-newton":
        return Metric(system.problem, system.theta, rank or METRIC_RANK)
    if name == "nystroem":
        return Nystroem(system, rank or NYSTROEM_RANK)
    return Jacobi(system) if name == "jacobi" else Identity()
