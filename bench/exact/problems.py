"""The two problems of the comparison."""

from __future__ import annotations

import numpy as np

import fasttangent as ft
from bench.exact.worker import Problem
from fasttangent.cli import robot


def large_problem(quick: bool) -> Problem:
    """20-64-64-1, p = 5,569, and 10,000 normal rows; parameters of a start with some biases."""
    rng = np.random.default_rng(0)
    sizes, n = ((20, 16, 16, 1), 1000) if quick else ((20, 64, 64, 1), 10_000)
    network = ft.Network(sizes, "tanh")
    theta = network.initial_params(rng) + 0.05 * rng.normal(size=network.layout.n_params)
    X, V = rng.normal(size=(n, sizes[0])), rng.normal(size=(16, len(theta)))
    y = np.sin(X[:, :4].sum(1)) + 0.1 * rng.normal(size=n)
    return Problem(sizes, theta, 1e-3, X, y, V, X[:100], y[:100])


def settled_problem(quick: bool) -> Problem:
    """8-32-32-1, p = 1,377, settled on 500 poses of the robot arm, and 100 further ones."""
    rng = np.random.default_rng(0)
    n, hidden = (200, (8, 8)) if quick else (500, (32, 32))
    X = robot.poses(n + 100, rng).astype(float)
    y = robot.distance(X) + 0.02 * rng.normal(size=len(X))
    strength = 2.0**-10  # captum adds its multiple to the Hessian in float32: here without rounding
    model = ft.fit(X[:n], y[:n], hidden=hidden, strength=strength, dtype="float64", seed=0)
    train, test = (model.problem(X[part], y[part]).rows for part in (slice(n), slice(n, None)))
    V = rng.normal(size=(16, len(model.params)))
    sizes = model.network.sizes
    return Problem(sizes, model.params, strength, train.X, train.Y[:, 0], V, test.X, test.Y[:, 0])
