"""Limited-memory BFGS.

SciPy has it, and its answer and its cost depend on the threads of its BLAS: settling kin8nm (64-64, 500 rows,
strength 1e-2) on two cores spent 9.0 s of processor time inside it, 0.7 s with BLAS held to one thread, and
ended after another number of iterations.  `common.blas` could hold it, and with it, for as long as it runs, the BLAS
of everybody else in the process.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Float = NDArray[np.float64]

MEMORY = 30
DECREASE, SLOPE = 1e-4, 0.9  # the weak Wolfe conditions
MOST_TRIALS = 30  # points of one line search


def minimize(
    function: Callable[[Float], tuple[float, Float]],
    x: Float,
    solve: Callable[[Float], Float],
    most: int,
    enough: Callable[[], bool],
) -> None:
    """Go downhill from x until `enough()`, for `most` steps, or until no point on the line is lower.

    Parameters
    ----------
    function : callable
        x (p,) -> value and gradient (p,); keeps the best point itself.
    x : ndarray of float64, shape (p,)
    solve : callable
        v (p,) -> M^-1 v, M about the curvature, up to a factor but for the first step.
    most : int
    enough : callable
        Asked after every step.
    """
    from fasttangent.kernels.lbfgs import dot, first_loop, second_loop

    S, Y = np.zeros((MEMORY, len(x))), np.zeros((MEMORY, len(x)))
    alpha, d = np.empty(MEMORY), np.empty(len(x))
    value, g = function(x)
    newest, count, scale = 0, 0, 1.0
    for _ in range(most):
        first_loop(d, g, S, Y, alpha, newest, count)
        d = scale * solve(d)
        second_loop(d, S, Y, alpha, newest, count)
        found = _line_search(function, x, value, g, d)
        if found is None:
            if count == 0:
                return
            count, scale = 0, 1.0  # once more, straight down
            continue
        new_x, value, new_g = found
        s, y = new_x - x, new_g - g
        x, g = new_x, new_g
        if dot(s, y) > 0:
            newest, count = (newest + 1) % MEMORY, min(count + 1, MEMORY)
            S[newest], Y[newest] = s, y
            scale = dot(s, y) / dot(y, solve(y))
        if enough():
            return


def _line_search(
    function: Callable[[Float], tuple[float, Float]], x: Float, value: float, g: Float, d: Float
) -> tuple[Float, float, Float] | None:
    """A point x + t d with the weak Wolfe conditions, by doubling and bisection (Lewis & Overton 2013).

    It needs no smoothness, so relu is no special case.
    """
    from fasttangent.kernels.lbfgs import dot

    descent = dot(g, d)
    if not descent < 0:
        return None
    low, high, t = 0.0, np.inf, 1.0
    for _ in range(MOST_TRIALS):
        point = x + t * d
        f, new_g = function(point)
        if not f <= value + DECREASE * t * descent:  # also NaN
            high = t
        elif dot(new_g, d) < SLOPE * descent:
            low = t
        else:
            return point, f, new_g
        t = 2 * low if high == np.inf else 0.5 * (low + high)
    return None
