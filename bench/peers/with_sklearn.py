"""The same work in scikit-learn: MLPRegressor with Adam, without a tangent."""

from __future__ import annotations

import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPRegressor

from bench.common.turns import seconds_of


def regressor(task, **options) -> MLPRegressor:
    """Its penalty is alpha / 2 per batch on the weights, not on the biases."""
    return MLPRegressor(
        hidden_layer_sizes=task.network.sizes[1:-1],
        activation=task.activation,
        solver="adam",
        alpha=task.strength * task.batch_size,
        batch_size=task.batch_size,
        tol=0.0,
        n_iter_no_change=10**6,
        random_state=0,
        **options,
    )


def epoch_seconds(task, rate: float, epochs: int) -> float:
    """Seconds of one epoch: the difference between trainings of 1 + epochs and of 1 epoch."""

    def training(n: int) -> float:
        model = regressor(task, max_iter=n, learning_rate_init=rate)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            return seconds_of(lambda: model.fit(task.X, task.y))

    return (training(1 + epochs) - training(1)) / epochs


def params_after_epoch(task, rate: float, epsilon: float) -> np.ndarray:
    """Flat parameters after one epoch, the rows in their order, from the start of the task."""
    model = regressor(task, shuffle=False, learning_rate_init=rate, epsilon=epsilon)
    model.partial_fit(task.X[: task.batch_size], task.y[: task.batch_size])  # makes the arrays
    for l, (W, b) in enumerate(task.layers(task.theta)):
        model.coefs_[l][:], model.intercepts_[l][:] = W, b
    del model._optimizer  # its moments
    model.partial_fit(task.X, task.y)
    parts = [part.ravel() for layer in zip(model.coefs_, model.intercepts_, strict=True) for part in layer]
    return np.concatenate(parts)
