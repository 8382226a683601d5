"""Inner products without BLAS, whose number of threads would change them, and squares that overflow in no unit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Float = NDArray[np.float64]


def dot(a: Float, b: Float) -> float:
    """a . b, summed pairwise."""
    return float(np.add.reduce(a * b))


def norm(a: Float) -> float:
    """||a||, also where the squares overflow: solutions of singular systems have any length."""
    with np.errstate(over="ignore"):
        square = dot(a, a)
    if square < np.inf or not np.isfinite(a).all():
        return float(np.sqrt(square))
    exact = float(power_of_two(abs(a).max()))
    return float(np.sqrt(dot(a / exact, a / exact))) * exact


def norms(A: Float) -> Float:
    """||a|| for each row a of A (K, p)."""
    return np.array([norm(a) for a in A])


def power_of_two(a: Any) -> Float:
    """For each value the power of two by which it is between 1/2 and 2 in size, 1 for 0 and inf.

    Products and quotients with it are exact, so that what is squared in between is the same to the bit in any unit.
    """
    _, exponent = np.frexp(a)
    return np.ldexp(1.0, np.clip(exponent, -1020, 1020))


def excess(a: Any) -> Float:
    """For each value 1 where its square is a number, else the power of two by which it is near 1."""
    return np.where((a == 0) | ((a > 2.0**-250) & (a < 2.0**250)), 1.0, power_of_two(a))


def root_mean_square(a: Float, axis: int | None = None) -> Float:
    """sqrt(mean(a^2)) over all values, or along an axis, whatever their unit."""
    exact = power_of_two(np.max(abs(a), initial=0.0))
    return np.sqrt(np.mean((a / exact) ** 2, axis=axis)) * exact
