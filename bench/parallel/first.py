"""Seconds of the first call of every driver after its kernels are there, printed as JSON; for a new process."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import numpy as np

from bench.parallel.work import THREADS, problem
from fasttangent.kernels import launch
from fasttangent.problem.linearized import Linearized

found: dict[str, float] = {}


def clock(name: str, call: Callable[[], object]) -> None:
    start = time.process_time()
    call()
    found[name] = time.process_time() - start


def calls(at, theta: np.ndarray, kept: Linearized) -> dict[str, Callable[[], object]]:
    return {
        "loss_of_parts": lambda: at.value_and_gradient(theta),
        "outputs_of_parts": lambda: at.predictions(theta),
        "linearize_parts": lambda: Linearized(at, theta),
        "curvature_products_of_parts": lambda: kept.product(theta),
        "jacobian_times_parts": lambda: kept.times(theta),
        "jacobian_transposed_times_parts": lambda: kept.transposed_times(np.zeros_like(kept.kept.roots)),
    }


def main() -> None:
    at, theta = problem(THREADS)
    launch.choice = "pool"
    start = time.process_time()
    kept = Linearized(at, theta)
    for call in calls(at, theta, kept).values():
        call()
    found["their kernels"] = time.process_time() - start
    launch.choice = "prange"
    for name, call in calls(at, theta, kept).items():
        clock(name, call)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
