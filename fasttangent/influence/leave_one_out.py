"""Training rows as if each had been left out, by one Newton step."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from fasttangent.common.blas import one_thread
from fasttangent.model.scores import slope

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fasttangent.problem.problem import Problem

    Float = NDArray[np.float64]


class LeaveOneOut(NamedTuple):
    """What the model would say of its training rows, had it not seen them; nan where that is not defined."""

    prediction: Float  # (n,) or (n, n_outputs), units of y
    residual: Float  # y - prediction
    leverage: Float  # (n,)


def left_out(problem: Problem, theta: Float, hat: Float) -> tuple[Float, Float]:
    """Outputs (n, n_outputs) in standard units as if each row had been left out, nan where undefined; leverages (n,).

    With a = grad f_i . A^-1 grad f_i of each row, the `hat` (n, n_outputs, n_outputs), and D = w_i/S loss'', taking
    the row out of F and, as its Gauss-Newton part, out of A moves f_i by (1 - a D)^-1 a w_i/S loss'.
    """
    D, f = problem.output_weights(theta), problem.predictions(theta)
    pull = problem.rows.w[:, None] * slope(problem.objective, f - problem.rows.Y)
    left = np.eye(f.shape[1]) - hat * D[:, None, :]
    pulled, change = np.einsum("iou,iu->io", hat, pull), np.full_like(f, np.nan)
    with one_thread():
        defined = np.linalg.eigvals(left).real.min(axis=1) > 0
        change[defined] = np.linalg.solve(left[defined], pulled[defined, :, None])[..., 0]
    return f + change, np.einsum("ioo,io->i", hat, D)
