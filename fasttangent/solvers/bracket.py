"""What is known of the smallest eigenvalue of a symmetric matrix A."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Float = NDArray[np.float64]

TRIES = 8  # of a lower bound, each below the last


@dataclass(frozen=True, eq=False)
class Bracket:
    """The smallest eigenvalue of A between two bounds."""

    lower: float  # -inf where none is known
    rayleigh: float  # x.Ax / x.x, an upper bound: negative proves negative curvature
    direction: Float  # x, of length 1
    zero: float  # up to here a number is zero to rounding
    stopped: str = (
        ""  # what ended the search for a lower bound, if there is none: "out of time", "iteration limit"
    )

    @property
    def negative(self) -> bool:
        """Whether there is negative curvature, beyond rounding, along the direction."""
        return self.rayleigh < -self.zero

    @property
    def positive(self) -> bool:
        """Whether A is positive definite, its smallest eigenvalue known within a factor of two."""
        return 0 < self.rayleigh <= 2 * self.lower
