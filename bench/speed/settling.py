"""Time to a stationary point against SciPy's L-BFGS-B on a gradient compiled by JAX.

    python -m bench speed-settling DATA_FOLDER [--quick]

kin8nm, 500 rows, 64-64, strength 1e-3, both from the parameters after the first stage of training, to a relative
gradient norm of 1e-10, one seed after the other.  Ours is read off the history of `fit`, where the tangent is
solved along; L-BFGS-B (30 corrections, float64) has no tangent, is started anew when it gives up, and ends at
the goal, at the latest after `MOST_SECONDS`, or when a new start brings nothing.
"""

from __future__ import annotations

import time
import warnings
from pathlib import Path

import numpy as np
from scipy.optimize import minimize

import fasttangent as ft
from bench.common.data import LABELLED, parted
from bench.peers.lazy import with_jax
from bench.speed.section import print_section

CASE, GOALS, MOST_SECONDS = ("kin8nm", (64, 64), 1e-3), (1e-4, 1e-6, 1e-8, 1e-10), 60.0
OURS, SCIPY = "fasttangent, with tangent", "SciPy L-BFGS-B on JAX, no tangent"
SEEDS, CORRECTIONS = (0, 1, 2), 30


class _Stop(Exception):
    pass


def first_below(goal: float, seconds, norms) -> float | None:
    """When the gradient norm was first at most `goal`; None if never."""
    reached = np.flatnonzero(np.asarray(norms) <= goal)
    return float(seconds[reached[0]]) if len(reached) else None


def with_scipy(start: ft.Model, X, y, most_seconds: float):
    """(seconds, relative gradient norms) of all evaluations; the time JAX needs to compile is not counted."""
    x = start.scaling.inputs(X, np.dtype(float))
    t = start.scaling.targets(y[:, None], np.dtype(float))[:, 0]
    strength = start.objective.strength
    function = with_jax.full_objective(start.network, x, t, strength)
    function(start.params)[0].block_until_ready()
    seconds, norms = [], []
    best = [np.inf, start.params]
    began = time.perf_counter()

    def evaluate(theta):
        value, gradient = function(theta)
        value, gradient = float(value), np.asarray(gradient)
        norms.append(np.linalg.norm(gradient) / (strength * np.linalg.norm(theta)))
        seconds.append(time.perf_counter() - began)
        if norms[-1] < best[0]:
            best[:] = norms[-1], theta.copy()
        if norms[-1] <= GOALS[-1] or seconds[-1] > most_seconds:
            raise _Stop
        return value, gradient

    options = {"maxcor": CORRECTIONS, "ftol": 0.0, "gtol": 0.0, "maxiter": 10**6, "maxfun": 10**7}
    try:
        while True:
            before = best[0]
            minimize(evaluate, best[1], jac=True, method="L-BFGS-B", options=options)
            if best[0] > 0.5 * before:
                return seconds, norms
    except _Stop:
        return seconds, norms


def measure_seed(folder: Path, seed: int, most_seconds: float) -> dict:
    name, hidden, strength = CASE
    X, y, _, _ = parted(folder, name, seed)
    options = {"hidden": hidden, "strength": strength, "seed": seed}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ft.UntrustedTangentWarning)
        start = ft.fit(X, y, settle=False, **options)
        model = ft.fit(X, y, **options)
    return {
        OURS: outcome(model.history["seconds"], model.history["gradient_norm"]),
        SCIPY: outcome(*with_scipy(start, X, y, most_seconds)),
    }


def outcome(seconds, norms) -> dict:
    """Seconds to each goal, the last moment, and the smallest gradient norm so far."""
    reached = {f"{goal:g}": first_below(goal, seconds, norms) for goal in GOALS}
    return {"reached": reached, "seconds": float(seconds[-1]), "gradient_norm": float(np.min(norms))}


def measure_all(quick: bool = False, folder: Path | None = None) -> dict:
    """Of each seed and contender: seconds to each of the gradient norms, and where it ended."""
    assert folder is not None
    X, y, _, _ = parted(folder, CASE[0], 0)
    ft.fit(X[:100], y[:100], hidden=(4,), strength=0.1, epochs=2)  # compiles
    seeds, most_seconds = ((0,), 5.0) if quick else (SEEDS, MOST_SECONDS)
    return {
        "case": f"{CASE[0]}, {LABELLED} rows, {CASE[1]}, strength {CASE[2]:g}",
        "goals": [f"{goal:g}" for goal in GOALS],
        "most_seconds": most_seconds,
        "seeds": [measure_seed(folder, seed, most_seconds) for seed in seeds],
    }


def main() -> None:
    print_section(measure_all)
