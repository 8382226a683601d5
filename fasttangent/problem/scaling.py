"""Standardisation: what the model sees against what the user sees.

Units cost nothing: values are brought near 1 by powers of two, which is exact, before anything is squared, so that
data in units from 1e-300 to 1e300 give the same parameters to the bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fasttangent.common import checks
from fasttangent.common.vectors import excess, power_of_two
from fasttangent.problem.layout import Layout

Float = NDArray[np.float64]

LARGEST = (
    2.0**1010
)  # 1.1e304, the largest value to learn from: above it is room for what is predicted far away
SMALLEST = 2.0**-1010  # 9.1e-305, the smallest standard deviation: below it values lose digits
FARTHEST = 2.0**500  # 3.3e150 standard deviations: squares of products with it are still numbers


@dataclass(frozen=True, eq=False)
class Scaling:
    """x -> (x - x_mean) / x_scale and y -> (y - y_mean) / y_scale, fitted on the training rows.

    An input that is constant over the training rows has the scale inf: the model sees 0 there, whatever a
    candidate says.  (With any finite scale a candidate that differs would be sent far outside the data.)
    """

    x_mean: Float  # (n_features,)
    x_scale: Float
    y_mean: Float  # (n_outputs,)
    y_scale: Float

    def inputs(self, X: NDArray, dtype: np.dtype) -> NDArray:
        """Rows in standard units, C-contiguous; the subtraction is in float64.  What `dtype` cannot hold is inf."""
        with np.errstate(over="ignore", invalid="ignore"):
            return np.ascontiguousarray((X - self.x_mean) / self.x_scale, dtype)

    def targets(self, Y: NDArray, dtype: np.dtype) -> NDArray:
        """Targets (n, n_outputs) in standard units.  What `dtype` cannot hold is inf."""
        with np.errstate(over="ignore"):
            return np.ascontiguousarray((Y - self.y_mean) / self.y_scale, dtype)

    def near_inputs(self, name: str, X: NDArray) -> Float:
        """Rows in standard units and float64, to be computed with: none is farther away than squares allow."""
        return _near(name, X, self.inputs(X, np.dtype(np.float64)), "column")

    def near_targets(self, name: str, Y: NDArray) -> Float:
        """The same of targets (n, n_outputs)."""
        return _near(name, Y, self.targets(Y, np.dtype(np.float64)), "output")

    def near_rows(self, X: NDArray, dtype: np.dtype) -> NDArray[np.bool_]:
        """Which rows are finite, and none too far away for squares in `dtype`; (n,).

        Of a constant column the unit is its size, at least 1.
        """
        unit = np.where(self.x_scale < np.inf, self.x_scale, np.maximum(abs(self.x_mean), 1.0))
        with np.errstate(over="ignore"):
            radius = largest_square_root(dtype) * unit
            near = checks.finite_rows(
                X, float(min(np.finfo(np.float64).max, (radius - abs(self.x_mean)).min()))
            )
            doubtful = np.flatnonzero(~near)
            for start in range(0, len(doubtful), checks.ROWS_PER_CHECK):
                some = doubtful[start : start + checks.ROWS_PER_CHECK]
                rows = X[some].astype(np.float64)
                near[some] = (np.isfinite(rows) & (abs(rows - self.x_mean) <= radius)).all(axis=1)
        return near

    def predictions(self, F: NDArray) -> Float:
        """Predictions in the units of y; inf beyond the range of float64."""
        with np.errstate(over="ignore"):
            return F * self.y_scale + self.y_mean

    def changes(self, D: NDArray) -> Float:
        """Differences and derivatives of predictions, outputs last, in the units of y; inf beyond the range."""
        with np.errstate(over="ignore"):
            return D * self.y_scale

    def linear(self, F: NDArray) -> Float:
        """Predictions before they are `brought_back`, where targets are transformed."""
        return self.predictions(F)

    def brought_back(self, T: NDArray) -> NDArray:
        """From transforms of targets, here themselves, to the units of y."""
        return T

    def changes_at(self, F: NDArray, D: NDArray) -> Float:
        """`changes` of predictions whose standard outputs are F."""
        return self.changes(D)

    def standard_changes(self, D: NDArray, predictions: NDArray) -> Float:
        """Changes of these predictions in standard units."""
        return np.asarray(D / self.y_scale)

    def deviations(self, F: NDArray, deviations: Float) -> Float:
        """Standard deviations around standard outputs F, in the units of y."""
        return self.changes(deviations)

    def standard_variance(self, v: Float) -> Float:
        """A variance in units of y squared in standard units; inf beyond the range of float64."""
        exact = power_of_two(self.y_scale)
        with np.errstate(over="ignore", under="ignore"):
            return v / (self.y_scale / exact) ** 2 / exact / exact

    def y_parts(self) -> tuple[Float, Float]:
        """(a, b) with a b = y_scale, b a power of two, 1 if it may be, and a such that its square is a number."""
        exact = excess(self.y_scale)
        return self.y_scale / exact, exact

    def output_dtype(self, dtype: np.dtype) -> np.dtype:
        """`dtype`, or float64 where it cannot hold the units of y with room for what is far from the training rows."""
        scales, means = self.y_scale.tolist(), self.y_mean.tolist()
        fits = max(scales + means) < 2.0**100 and min(means) > -(2.0**100) and min(scales) > 2.0**-100
        return dtype if fits else np.dtype(np.float64)

    def readable(self, dtype: np.dtype) -> tuple[Scaling, Float | None]:
        """(scaling, divisor): rows over the divisor, None for 1, lose nothing in `dtype`, and that is their scaling.

        Kernels take rows less their mean in `dtype`, the scales in the weights, and numbers below the normal range for
        zero, which must be no more than rounding.  The divisor is made of powers of two, so it changes no result.
        """
        largest = 2.0**103 if dtype == np.float32 else 2.0**970  # rounding over the least normal number
        scale, mean = np.where(self.x_scale < np.inf, self.x_scale, 1.0), self.x_mean
        if scale.max() <= largest and scale.min() >= 1 / largest and max(-mean.min(), mean.max()) <= largest:
            return self, None
        exact = power_of_two(self.x_scale)
        divisor = np.where(self.x_scale < np.inf, exact, np.inf)  # a column that was constant is 0
        return Scaling(self.x_mean / divisor, self.x_scale / exact, self.y_mean, self.y_scale), divisor


def identity_scaling(n_features: int, n_outputs: int) -> Scaling:
    """What `standardize=False` means."""
    return Scaling(np.zeros(n_features), np.ones(n_features), np.zeros(n_outputs), np.ones(n_outputs))


def largest_square_root(dtype: np.dtype) -> float:
    """Up to here squares, and sums of many, are numbers in `dtype`."""
    return 2.0**60 if dtype == np.float32 else FARTHEST


def check_squares(name: str, A: NDArray, used: NDArray[np.bool_], dtype: np.dtype, first: int = 0) -> None:
    """Raise unless the squares of used rows, which are to be taken as they are, are numbers in `dtype`.

    `first` is the number of the first row, for errors.
    """
    most = largest_square_root(dtype)
    with np.errstate(over="ignore"):  # float16 holds no such number
        bad = np.argwhere(~(abs(A) <= most) & used[:, None])
    if len(bad):
        i, j = (int(n) for n in bad[0])
        raise ValueError(
            f"{name} must be at most {most:.1e} in size with standardize=False, so that its squares are numbers in "
            f"{dtype}, got {float(A[i, j]):g} in row {first + i}, column {j}; leave standardize=True, or divide it by "
            f"{float(A[i, j]):.0e}"
        )


def fit_scaling(X: NDArray, Y: NDArray, w: Float, names: Sequence[str] | None = None) -> Scaling:
    """Weighted means and standard deviations, so that a weight of 2 means a row twice and 0 no row.

    `names` are those of the columns of X, for errors.
    """
    columns, outputs = places(X, Y, names)
    return scaling_of(_moments("X", X, w, columns), _moments("y", Y, w, outputs))


def places(X: NDArray, Y: NDArray, names: Sequence[str] | None = None) -> tuple[list[str], list[str]]:
    """How errors say in which column of X, and of Y."""
    columns = [f" in column {name!r}" for name in (range(X.shape[1]) if names is None else names)]
    return columns, [f" in output {o}" for o in range(Y.shape[1])] if Y.shape[1] > 1 else [""]


def scaling_of(inputs: tuple[Float, Float], targets: tuple[Float, Float]) -> Scaling:
    """From means and standard deviations, which are 0 of what is constant."""
    (x_mean, x_scale), (y_mean, y_scale) = inputs, targets
    if not y_scale.all():
        o = int(np.argmin(y_scale))
        which = f" (output {o})" if len(y_scale) > 1 else ""
        raise ValueError(
            f"y must vary, got {y_mean[o]:g} in every row{which}; there is nothing to learn from it"
        )
    constant = np.flatnonzero(x_scale == 0)
    if len(constant) == len(x_scale):
        raise ValueError("X must vary, got the same values in every row; there is nothing to learn from it")
    x_scale[constant] = np.inf
    return Scaling(x_mean, x_scale, y_mean, y_scale)


def transferred(theta: Float, layout: Layout, old: Scaling, new: Scaling) -> Float:
    """Parameters (p,) that give in the units of `new` the function that theta gives in those of `old`.

    Inputs constant in the rows of either have no weights to take over; they begin at 0.
    """
    theta, last = theta.copy(), layout.n_layers - 1
    with np.errstate(
        over="ignore", invalid="ignore"
    ):  # `Prepared` looks whether the function has numbers there
        W, b = layout.weights(theta, 0), layout.biases(theta, 0)
        seen = np.isfinite(old.x_scale) & np.isfinite(new.x_scale)
        exact = power_of_two(old.x_scale)
        rates = np.where(seen, W.T / (old.x_scale / exact), 0.0).T  # per unit of x / exact
        b += np.einsum("i,io->o", (new.x_mean / exact) - (old.x_mean / exact), rates)
        W[:] = (rates.T * np.where(seen, new.x_scale / exact, 0.0)).T
        W, b = layout.weights(theta, last), layout.biases(theta, last)
        W *= old.y_scale / new.y_scale
        exact = power_of_two(new.y_scale)
        moved = b * (old.y_scale / exact) + old.y_mean / exact - new.y_mean / exact
        b[:] = moved / (new.y_scale / exact)
    return theta


def _moments(name: str, A: NDArray, w: Float, places: Sequence[str]) -> tuple[Float, Float]:
    """Weighted mean and standard deviation of each column; 0 exactly where a column is constant.

    `places` say where a column is, in errors.
    """
    with np.errstate(over="ignore"):
        seen = A[w > 0].astype(np.float64)
    v = (w[w > 0] / w.sum())[:, None]
    low, high = seen.min(axis=0), seen.max(axis=0)
    exact = unit_of(name, low, high, places)
    seen /= exact
    mean = np.sum(v * seen, axis=0)
    scale = np.sqrt(np.sum(v * (seen - mean) ** 2, axis=0)) * exact
    return mean * exact, checked_scale(name, scale, low == high, places)


def unit_of(name: str, low: Float, high: Float, places: Sequence[str]) -> Float:
    """The power of two near the largest value of each column, whose values are from `low` to `high`."""
    largest = np.maximum(-low, high)
    if (large := largest > LARGEST).any():
        j = int(np.argmax(large))
        worst = low[j] if -low[j] > high[j] else high[j]
        raise ValueError(
            f"{name} must be at most {LARGEST:.1e} in size, got {worst:g}{places[j]}; divide it by 1e100"
        )
    return power_of_two(largest)


def checked_scale(name: str, scale: Float, constant: NDArray[np.bool_], places: Sequence[str]) -> Float:
    """Standard deviations, 0 exactly where a column is constant."""
    if (small := ~constant & (scale < SMALLEST)).any():
        j = int(np.argmax(small))
        raise ValueError(
            f"{name} must have a standard deviation of at least {SMALLEST:.1e}, or be constant, got "
            f"{scale[j]:g}{places[j]}; multiply it by 1e100"
        )
    scale[constant] = 0
    return scale


def _near(name: str, A: NDArray, Z: Float, place: str) -> Float:
    """Z, values of A in standard units, unless one is too far to be computed with."""
    if Z.size == 0 or (Z.min() >= -FARTHEST and Z.max() <= FARTHEST):
        return Z
    i, j = (int(n) for n in np.argwhere(~(abs(Z) <= FARTHEST))[0])
    raise ValueError(
        f"{name} must be within {FARTHEST:.1e} standard deviations of the training rows, got {A[i, j]:g} in row {i}, "
        f"{place} {j}; drop or correct such rows"
    )
