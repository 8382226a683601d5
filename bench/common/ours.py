"""What the benchmarks call of the library below its public interface: the only file that knows its inside."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

import fasttangent as ft
from fasttangent.model import minibatch as training
from fasttangent.model.scores import outputs_of_rows
from fasttangent.problem.problem import Problem
from fasttangent.problem.scaling import identity_scaling

EPOCHS = 10**6  # of a schedule that is never run to its end: the rate stays, no residual is measured


@dataclass
class Task:
    """A training problem in standard units, with a start; X and y in the dtype of the steps."""

    network: ft.Network
    theta: np.ndarray  # (p,) float64
    tau: np.ndarray  # (p,) float64
    X: np.ndarray  # (n, n_features)
    y: np.ndarray  # (n,)
    batch_size: int
    strength: float
    dtype: str
    complexity: str = "l2"

    @property
    def activation(self) -> str:
        return self.network.activation

    def layers(self, flat):
        """[(W, b)] of a flat vector, in the dtype of the steps."""
        layout = self.network.layout
        return [
            (layout.weights(flat, l).astype(self.dtype), layout.biases(flat, l).astype(self.dtype))
            for l in range(layout.n_layers)
        ]

    def problem(self, threads: int) -> Problem:
        objective = ft.Objective(strength=self.strength, complexity=self.complexity)
        rows = self.X.astype(float), self.y.astype(float)[:, None], np.ones(len(self.y))
        return Problem(self.network, objective, *rows, threads)

    def start(self, with_tangent: bool):
        return self.theta.copy(), self.tau[None][: int(with_tangent)].copy()


def _schedule(task: Task, rate: float, epochs: int, curvature: str | None) -> training.Schedule:
    return training.Schedule(
        "adam", rate, epochs=epochs, batch_size=task.batch_size, curvature=curvature or "gauss-newton"
    )


def _quiet(*_args, **_figures) -> None:
    pass


def epoch_after(task: Task, rate: float, curvature: str | None, threads: int = 1):
    """A function without arguments that runs one more epoch; `curvature` None carries no tangent."""
    run = training._Run(
        task.problem(threads),
        _schedule(task, rate, EPOCHS, curvature),
        task.start(curvature is not None),
        np.dtype(task.dtype),
        np.random.default_rng(0),
        _quiet,
    )
    count = iter(range(EPOCHS))

    def epoch() -> None:
        run.epoch(next(count))
        assert len(run.state.tangents) == (curvature is not None)  # none was dropped on the way

    for _ in range(8):  # until a call of the kernel is a whole epoch
        epoch()
    return epoch


def train(task: Task, rate: float, epochs: int, curvature: str | None, seed: int):
    """(theta (p,), tangents (K, p)) after some epochs of the first stage, in the order of `orders`."""
    found = training.train(
        task.problem(1),
        _schedule(task, rate, epochs, curvature),
        task.start(curvature is not None),
        np.dtype(task.dtype),
        np.random.default_rng(seed),
        _quiet,
    )
    return found.theta, found.tangents


def orders(task: Task, rate: float, epochs: int, seed: int):
    """The order of rows and the learning rates of each epoch of `train`."""
    rng, n = np.random.default_rng(seed), len(task.y)
    steps = n // task.batch_size
    rates = rate * 0.5 * (1 + np.cos(np.pi * np.arange(epochs * steps) / (epochs * steps)))
    return [(rng.permutation(n), rates[e * steps : (e + 1) * steps]) for e in range(epochs)]


def scorer(case, threads: int):
    """Scores of all tangents of a case: a function without arguments that returns (n, K)."""
    sizes = case.network.sizes
    scaling, dtype = identity_scaling(sizes[0], sizes[-1]), np.dtype(case.dtype)

    def score():
        out = outputs_of_rows(case.network, scaling, case.theta, case.tangents, case.X, dtype, threads)
        return out.ft[:, :, 0]

    return score
