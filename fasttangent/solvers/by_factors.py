"""The smallest eigenvalue between two bounds by Cholesky factors of A - shift I: their existence is a proof.

Inverse iteration finds an upper bound, the Rayleigh quotient of a direction; a factor for a shift just below it, the
lower one.  Where there is no factor, what stopped it is a direction with a smaller quotient.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from fasttangent.common.vectors import dot, norm
from fasttangent.solvers.bracket import TRIES, Bracket
from fasttangent.solvers.dense import Cholesky, NotPositiveDefinite
from fasttangent.solvers.factor import EPS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Float = NDArray[np.float64]

SHARE = 0.9  # of the upper bound that is proved: the bracket is 10 % wide
STEPS, CHANGE = 20, 5e-3  # of inverse iteration: done once a step changes the quotient by a smaller share
LEAST = 1e-290  # what counts as zero in a matrix of zeros


def by_factors(
    A: Float, product: Callable[[Float], Float], threads: int, start: Float, change: float = CHANGE
) -> Bracket:
    """Cholesky factors of A - shift I: their existence proves that the smallest eigenvalue is above the shift.

    A (p, p) is left as it is; `product` takes v (p,) to A v, `start` (p,) is a random vector.
    """
    # A factor is exact for a matrix within p eps trace(A) (Higham 2002, theorem 10.3); the sums over rows that A is
    # made of are rounded, too.
    zero = max(EPS * (len(A) + 1000) * float(abs(np.diag(A)).sum()), LEAST)
    shift, x = 0.0, start
    found = _factor(A, shift, threads)
    while not isinstance(found, Cholesky):
        x = found
        if not np.isfinite(x).all():
            return Bracket(-np.inf, np.nan, x, zero, "values that are not finite")
        shift = min(2 * dot(x, product(x)), 4 * shift, -4 * zero)
        found = _factor(A, shift, threads)
    least, x = _inverse_iteration(found, product, x, change)
    lower = shift - zero
    for _ in range(TRIES if least > 2 * zero else 0):
        tight = _factor(A, SHARE * least, threads)
        if isinstance(tight, Cholesky):
            lower = SHARE * least - zero
            least, x = _inverse_iteration(tight, product, x, 1e-9)
            break
        least, x = _inverse_iteration(found, product, tight, change)
    return Bracket(lower, least, x, zero)


def _inverse_iteration(
    factor: Cholesky, product: Callable[[Float], Float], x: Float, change: float
) -> tuple[float, Float]:
    """The smallest Rayleigh quotient of A met from x on, and its direction; done once a step changes it less."""
    quotients, best = [np.inf], x
    for _ in range(STEPS):
        x = factor.solve(x)
        x /= norm(x)
        quotients.append(dot(x, product(x)))
        if quotients[-1] <= min(quotients):
            best = x
        if abs(quotients[-1] - quotients[-2]) <= change * abs(quotients[-1]):
            break
    return min(quotients), best


def _factor(A: Float, shift: float, threads: int) -> Cholesky | Float:
    """The factor of A - shift I, or a direction of length 1 in which A has at most the curvature `shift`."""
    places = np.diag_indices(len(A))
    kept = A[places]
    A[places] = kept - shift
    try:
        return Cholesky(A, threads)
    except NotPositiveDefinite as error:
        return _direction(A, error, threads)
    finally:
        A[places] = kept


def _direction(A: Float, error: NotPositiveDefinite, threads: int) -> Float:
    """(-B^-1 a, 1, 0), with B the leading block, which has a factor, and a the column that has none: v.Av = pivot."""
    v = np.zeros(len(A))
    if not np.isfinite(error.pivot_value):
        return np.full(len(A), np.nan)
    k = error.pivot_index
    while k > 0:
        try:
            v[:k] = -Cholesky(A[:k, :k], threads).solve(A[:k, k])
            break
        except NotPositiveDefinite as again:  # rounding: another blocking of the same numbers
            k = again.pivot_index
    v[k] = 1
    return v / norm(v)
