"""Cholesky factorisations of dense matrices, in one place."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fasttangent.solvers.dense import Cholesky, NotPositiveDefinite

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Float = NDArray[np.float64]

EPS = float(np.finfo(np.float64).eps)


def factor(A: Float, threads: int) -> Cholesky:
    """L L^T = A, for A (p, p) symmetric and positive definite beyond rounding.

    Raises
    ------
    NotPositiveDefinite
        If A is not.
    """
    found = Cholesky(A, threads)
    least = int(np.argmin(found.diagonal))
    pivot = float(found.diagonal[least]) ** 2
    if not pivot > EPS * len(A) * float(np.diag(A).max()):
        raise NotPositiveDefinite(least, pivot)
    return found


def leave_out(A: Float, numbers: NDArray[np.int64]) -> None:
    """Put a multiple of the identity in place of these rows and columns of A (p, p), among its largest values."""
    if len(numbers):
        largest = np.diag(A).max()
        A[numbers] = 0
        A[:, numbers] = 0
        A[numbers, numbers] = largest
