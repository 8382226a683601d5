"""Inner products without BLAS, whose number of threads would change them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Float = NDArray[np.float64]


def dot(a: Float, b: Float) -> float:
    """a . b, summed pairwise."""
    return float(np.add.reduce(a * b))


def norm(a: Float) -> float:
    """||a||."""
    return float(np.sqrt(dot(a, a)))


def norms(A: Float) -> Float:
    """||a|| for each row a of A (K, p)."""
    return np.array([norm(a) for a in A])
