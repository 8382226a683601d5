"""Standardisation of a target that is transformed first: one output, and a power from 0 to 2 (`powers`).

With t the transform, the network learns (t(y) - y_mean) / y_scale, and t^-1 brings what it gives back to units of y,
in which nothing is normal: a prediction is the median of a label, and a deviation half the distance between its
quantiles of 15.9 and 84.1 %.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from fasttangent.common.powers import Power, inverse, likeliest, slopes, transformed
from fasttangent.problem.scaling import Scaling

Float = NDArray[np.float64]

BOUNDS = 0.0, 2.0  # of the power: within them every number is the transform of one
NOT_YET = "is not there yet for a model with a transform of the target; fit without target_transform"


@dataclass(frozen=True, eq=False)
class TargetScaling(Scaling):
    """Of x as `Scaling`; y is transformed before it is standardised."""

    power: tuple[float, ...] = (1.0, 0.0, 1.0)  # a `Power`

    @property
    def _how(self) -> Power:
        return Power(*self.power)

    def targets(self, Y: NDArray, dtype: np.dtype) -> NDArray:
        """Targets (n, 1) in standard units."""
        return super().targets(transformed(Y, self._how), dtype)

    def predictions(self, F: NDArray) -> Float:
        """Medians of labels in the units of y."""
        return self.brought_back(super().predictions(F))

    def linear(self, F: NDArray) -> Float:
        """Predictions before they are brought back."""
        return super().predictions(F)

    def brought_back(self, T: NDArray) -> Float:
        """From transforms to the units of y."""
        return inverse(np.asarray(T, np.float64), self._how)

    def changes(self, D: NDArray) -> Float:
        """Not without the prediction that they are changes of."""
        raise ValueError(f"what was asked for {NOT_YET}")

    def y_parts(self) -> tuple[Float, Float]:
        """Not without predictions."""
        raise ValueError(f"what was asked for {NOT_YET}")

    def changes_at(self, F: NDArray, D: NDArray) -> Float:
        """Derivatives D of the network's outputs F as those of predictions, by the chain rule."""
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            return D * (self.y_scale / slopes(self.predictions(F), self._how))

    def standard_changes(self, D: NDArray, predictions: NDArray) -> Float:
        """The other way."""
        with np.errstate(over="ignore", invalid="ignore"):
            return np.asarray(D * (slopes(np.asarray(predictions, np.float64), self._how) / self.y_scale))

    def deviations(self, F: NDArray, deviations: Float) -> Float:
        """Half the distance between quantiles of labels whose standard outputs have these deviations."""
        F = np.asarray(F, np.float64)
        high, low = self.predictions(F + deviations), self.predictions(F - deviations)
        with np.errstate(over="ignore", invalid="ignore"):
            return np.where(np.isinf(high) | np.isinf(low), np.inf, (high - low) / 2)

    def standard_variance(self, v: Float) -> Float:
        """Not: it would be another for every row."""
        raise ValueError(
            f"variance must be None or 'posterior' where the target was transformed, got numbers: which "
            f"{NOT_YET}"
        )

    def output_dtype(self, dtype: np.dtype) -> np.dtype:
        """That of the units of y, not of their transforms."""
        _, centre, unit = self.power
        return Scaling(self.x_mean, self.x_scale, np.array([centre]), np.array([unit])).output_dtype(dtype)


def with_power(scaling: Scaling, power: Sequence[float]) -> TargetScaling:
    """A scaling of transforms, and the transform."""
    return TargetScaling(
        **{one.name: getattr(scaling, one.name) for one in fields(Scaling)}, power=tuple(power)
    )


def learned_power(Y: NDArray, w: Float) -> Power | None:
    """The power of a target (n, 1) by its labels; None where a transform gains little."""
    there = w > 0
    return likeliest(Y[there, 0].astype(np.float64), w[there], BOUNDS)


def power_of(scaling: Scaling) -> tuple[float, ...] | None:
    """Of a scaling of transforms."""
    return scaling.power if isinstance(scaling, TargetScaling) else None
