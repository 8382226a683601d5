"""Standardisation: what the model sees against what the user sees."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fasttangent.problem.layout import Layout

Float = NDArray[np.float64]


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
        """Rows in standard units, C-contiguous; the subtraction is in float64."""
        return np.ascontiguousarray((X - self.x_mean) / self.x_scale, dtype)

    def targets(self, Y: NDArray, dtype: np.dtype) -> NDArray:
        """Targets (n, n_outputs) in standard units."""
        return np.ascontiguousarray((Y - self.y_mean) / self.y_scale, dtype)

    def predictions(self, F: NDArray) -> Float:
        """Predictions in the units of y."""
        return F * self.y_scale + self.y_mean


def identity_scaling(n_features: int, n_outputs: int) -> Scaling:
    """What `standardize=False` means."""
    return Scaling(np.zeros(n_features), np.ones(n_features), np.zeros(n_outputs), np.ones(n_outputs))


def fit_scaling(X: NDArray, Y: NDArray, w: Float) -> Scaling:
    """Weighted means and standard deviations, so that a weight of 2 means a row twice and 0 no row."""
    x_mean, x_scale = _moments(X, w)
    y_mean, y_scale = _moments(Y, w)
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
    W, b = layout.weights(theta, 0), layout.biases(theta, 0)
    seen = np.isfinite(old.x_scale) & np.isfinite(new.x_scale)
    rates = np.where(seen, W.T / old.x_scale, 0.0).T  # per unit of x
    b += np.einsum("i,io->o", new.x_mean - old.x_mean, rates)
    W[:] = (rates.T * np.where(seen, new.x_scale, 0.0)).T
    W, b = layout.weights(theta, last), layout.biases(theta, last)
    W *= old.y_scale / new.y_scale
    b[:] = (b * old.y_scale + old.y_mean - new.y_mean) / new.y_scale
    return theta


def _moments(A: NDArray, w: Float) -> tuple[Float, Float]:
    """Weighted mean and standard deviation of each column; 0 exactly where a column is constant."""
    seen = A[w > 0].astype(np.float64)
    v = (w[w > 0] / w.sum())[:, None]
    mean = np.sum(v * seen, axis=0)
    scale = np.sqrt(np.sum(v * (seen - mean) ** 2, axis=0))
    scale[np.ptp(seen, axis=0) == 0] = 0
    return mean, scale
