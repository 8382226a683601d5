"""How well predicted changes agree with measured ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fasttangent.common.vectors import power_of_two

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Float = NDArray[np.float64]


class Agreement(NamedTuple):
    """How well a prediction agrees with what was measured.

    Attributes
    ----------
    pearson, spearman : float
        Correlation of the values, and of their ranks; nan for less than 2 values or where all are equal.
    slope : float
        measured . predicted / predicted . predicted, the factor by which the prediction is short; 1 is perfect.
    n : int
        Values compared: those that are finite in both.
    """

    pearson: float
    spearman: float
    slope: float
    n: int


def agreement(predicted: Any, measured: Any) -> Agreement:
    """Compare predicted changes with measured ones, of any one shape; pairs that hold a nan are left out.

    Examples
    --------
    >>> agreement([1.0, 2.0, 3.0], [2.0, 4.0, 6.0])
    Agreement(pearson=1.0, spearman=1.0, slope=2.0, n=3)
    """
    a, b = (np.asarray(v, np.float64) for v in (predicted, measured))
    if a.shape != b.shape:
        raise ValueError(
            f"predicted and measured must have the same shape, got {a.shape} and {b.shape}; compare row by row"
        )
    both = np.isfinite(a) & np.isfinite(b)
    a, b = a[both], b[both]
    unit_of_a, unit_of_b = (power_of_two(np.max(abs(v), initial=0.0)) for v in (a, b))
    a, b = a / unit_of_a, b / unit_of_b  # exact, so that squares are numbers in any unit
    length = float(np.sum(a * a))
    factor = float(np.sum(a * b) / length / unit_of_a * unit_of_b) if length > 0 else np.nan
    return Agreement(_correlation(a, b), _correlation(_ranks(a), _ranks(b)), factor, len(a))


def _correlation(a: Float, b: Float) -> float:
    """Of Pearson; nan where all values of either are equal, whose mean rounding may put beside them."""
    if len(a) == 0 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return np.nan
    a, b = a - a.mean(), b - b.mean()
    squares = float(np.sum(a * a) * np.sum(b * b))
    return float(np.clip(np.sum(a * b) / np.sqrt(squares), -1, 1)) if squares > 0 else np.nan


def _ranks(a: Float) -> Float:
    from scipy.stats import rankdata

    return rankdata(a)
