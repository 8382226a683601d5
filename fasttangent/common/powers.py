"""A smooth monotone transform that brings heavy tails near a normal distribution: Yeo & Johnson 2000, Biometrika 87.

    z >= 0: ((1 + z)^p - 1) / p, log(1 + z) for p = 0;   z < 0: -((1 - z)^(2-p) - 1) / (2 - p), -log(1 - z) for p = 2

has the derivative (1 + z)^(p-1) and (1 - z)^(1-p): 1 at 0, and everywhere for p = 1, which changes nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Float = NDArray[np.float64]

LEAST, LARGEST = -2.0, 4.0  # powers
WORTH = 4.0  # of log likelihood, below which a column stays as it is
CLOSE = 1e-9  # to 0 or 2, where the logarithm takes over


class Power(NamedTuple):
    """Of z = (x - centre) / unit."""

    power: float
    centre: float
    unit: float


def transformed(values: Float, how: Power) -> Float:
    """The values transformed; nan stays nan."""
    z, p = (values - how.centre) / how.unit, how.power
    with np.errstate(over="ignore", invalid="ignore"):
        size = np.log1p(np.abs(z))
        up = size if abs(p) < CLOSE else np.expm1(p * size) / p
        q = 2 - p
        down = size if abs(q) < CLOSE else np.expm1(q * size) / q
        return np.where(z < 0, -down, up)


def inverse(transforms: Float, how: Power) -> Float:
    """The values of which these are the transforms; for powers from 0 to 2 every number is one."""
    t, p = transforms, how.power
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        size = np.abs(t)
        up = size if abs(p) < CLOSE else np.log1p(np.maximum(p * size, -1)) / p
        q = 2 - p
        down = size if abs(q) < CLOSE else np.log1p(np.maximum(q * size, -1)) / q
        return how.centre + how.unit * np.where(t < 0, -np.expm1(down), np.expm1(up))


def slopes(values: Float, how: Power) -> Float:
    """The derivative of `transformed` in the values."""
    z = (values - how.centre) / how.unit
    with np.errstate(over="ignore"):
        return np.exp(np.where(z < 0, 1 - how.power, how.power - 1) * np.log1p(np.abs(z))) / how.unit


def likeliest(values: Float, w: Float, bounds: tuple[float, float] = (LEAST, LARGEST)) -> Power | None:
    """The power under which the values are nearest to normal; None where that is hardly better than as they are.

    The centre is their median, the unit half of the range of the middle half; `w` > 0 counts rows.
    """
    from scipy.optimize import minimize_scalar

    order = np.argsort(values, kind="stable")
    share = np.cumsum(w[order]) / w.sum()
    low, centre, high = values[order][np.searchsorted(share, [0.25, 0.5, 0.75], side="left")]
    unit = float(high - low) / 2
    if not 0 < unit < np.inf:
        return None
    v = w / w.sum()
    z = (values - centre) / unit
    pull = float(np.sum(v * np.sign(z) * np.log1p(np.abs(z))))

    def minus_log_likelihood(p: float) -> float:
        t = transformed(values, Power(p, float(centre), unit))
        with np.errstate(over="ignore", invalid="ignore"):
            variance = float(np.sum(v * (t - np.sum(v * t)) ** 2))
        return 0.5 * np.log(variance) - (p - 1) * pull if 0 < variance < np.inf else np.inf

    found = minimize_scalar(minus_log_likelihood, bounds=bounds, method="bounded", options={"xatol": 1e-4})
    gain = len(values) * (minus_log_likelihood(1.0) - float(found.fun))
    return Power(float(found.x), float(centre), unit) if gain > WORTH else None
