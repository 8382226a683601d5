"""A million rows scored by tangent, and by the routes that form a gradient, or solve a system, for every row.

    python -m bench exact-rows [--rows 1000000] [-o bench/results/exact_rows.json]

All four give tau . grad loss, one influence on complexity per row, of one settled model (20-64-64-1, trained on
2,000 rows); the first in float32, the others in float64, asserted to agree on rows that all of them score.

tangent         `Model.influence`: a forward pass with the tangent
exact           `Exact.influence`: one linear system, then the same forward pass in float64
row gradients   the p-long gradient of every row, times the exact tangent
row solves      A^-1 grad loss for every row, from the one Cholesky factor, times grad C

The last two are timed on the first rows only, as many as the table says, and extrapolated to all of them.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np

import fasttangent as ft
from bench.common import options

ROUNDS = 3
PARTS = {"tangent": 1.0, "exact": 1.0, "row gradients": 0.02, "row solves": 0.002}  # of the rows, timed


def problem(rows: int):
    """A smooth function of 20 inputs: a settled model, its rows, and new ones."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(2000 + rows, 20))
    y = np.sin(X[:, 0] + X[:, 1]) + 0.5 * X[:, 2] * X[:, 3] + 0.3 * rng.normal(size=len(X))
    model = ft.fit(X[:2000], y[:2000], hidden=(64, 64), strength=1e-2)
    return model, (X[:2000], y[:2000]), (X[2000:], y[2000:])


def by_gradients(truth: ft.Exact, X, y) -> np.ndarray:
    found = [g @ truth.tangent for g in loss_gradients(truth, X, y)]
    return np.concatenate(found)


def by_solves(truth: ft.Exact, X, y) -> np.ndarray:
    gradient = truth.system.problem.complexity_gradient(truth.model.params)
    return np.concatenate([-truth.solver.solve(g).x @ gradient for g in loss_gradients(truth, X, y)])


def loss_gradients(truth: ft.Exact, X, y):
    """Gradients of the losses of 512 rows at a time (rows, p)."""
    theta = truth.model.params
    for start in range(0, len(X), 512):
        some = truth.model.problem(X[start : start + 512], y[start : start + 512])
        yield (some.predictions(theta) - some.rows.Y) * some.jacobian(theta)[:, 0]


def main() -> None:
    parser = options.parser(__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("-o", "--output", type=Path)
    given = parser.parse_args()
    model, training, (X, y) = problem(given.rows)
    start = time.perf_counter()
    truth = ft.exact(model, *training)
    assert truth.tangent is not None
    prepared = time.perf_counter() - start
    routes = {
        "tangent": lambda X, y: model.influence(X, y),
        "exact": lambda X, y: truth.influence(X, y),
        "row gradients": lambda X, y: by_gradients(truth, X, y),
        "row solves": lambda X, y: by_solves(truth, X, y),
    }
    reference = routes["row solves"](X[:1000], y[:1000])
    for name, route in routes.items():
        error = np.linalg.norm(route(X[:1000], y[:1000]) - reference) / np.linalg.norm(reference)
        assert error < (1e-5 if name == "tangent" else 1e-8), (name, error)
    seconds = {name: [] for name in routes}
    for _ in range(ROUNDS):
        for name, route in routes.items():
            n = max(512, int(PARTS[name] * given.rows))
            start = time.perf_counter()
            route(X[:n], y[:n])
            seconds[name].append((time.perf_counter() - start) * given.rows / n)
    results = {"rows": given.rows, "parameters": len(model.params), "certificate": model.certificate.trusted}
    results |= {"preparing the exact tangent, seconds": prepared, "parts": PARTS}
    results["seconds"] = {name: float(np.median(values)) for name, values in seconds.items()}
    text = json.dumps(results, indent=1)
    print(text)
    if given.output:
        given.output.write_text(text + "\n")
