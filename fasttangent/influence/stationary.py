"""Whether a model is a minimum on the rows at hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fasttangent.common.errors import UntrustedTangentWarning
from fasttangent.common.warning import warn
from fasttangent.model.certificate import LARGEST_GRADIENT, gradient_at

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fasttangent.problem.problem import Problem

    Float = NDArray[np.float64]


def warn_unless_stationary(problem: Problem, theta: Float, whose: str, which: str, so: str) -> None:
    """Warn that parameters are no stationary point, `so` what is said of them is worth little; of `which` rows."""
    gradient_norm, _ = gradient_at(problem, theta)
    if not gradient_norm <= LARGEST_GRADIENT:
        warn(
            f"{whose} is not stationary on {which} rows (relative gradient norm {gradient_norm:.1e} > "
            f"{LARGEST_GRADIENT:.0e}), so {so}; settle it, and give the rows and weights it was trained on",
            UntrustedTangentWarning,
        )
