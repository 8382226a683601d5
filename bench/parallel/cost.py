"""What a launch, a sum, settling and a first call cost by the pool and by `prange`, which take turns."""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
from numba import prange

import fasttangent as ft
from fasttangent.common import parallel
from fasttangent.kernels import launch
from fasttangent.kernels.drivers import outputs_of_parts
from fasttangent.kernels.jit import kernel, row_parallel
from fasttangent.problem.network import Network
from fasttangent.problem.objective import Objective
from fasttangent.problem.problem import Problem

Figures = dict[str, float]
THREADS = 2
LEAST_ROUNDS, BUDGET = 3, 20.0  # seconds for one measure


@contextmanager
def by(choice: str) -> Iterator[None]:
    before, launch.choice = launch.choice, choice
    try:
        yield
    finally:
        launch.choice = before


def clocked(calls: dict[str, Callable[[], object]], rounds: int, times: int = 1) -> dict[str, Figures]:
    """Of each call, microseconds on the clock (a tenth, half and nine tenths of them are below) and of processors."""
    wall: dict[str, list[float]] = {name: [] for name in calls}
    used: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        call()
    begin = time.perf_counter()
    for done in range(rounds):
        if done >= LEAST_ROUNDS and time.perf_counter() - begin > BUDGET:
            break
        for name, call in calls.items():
            time.sleep(1e-3)  # threads that still spin
            for _ in range(times):
                start, began = time.process_time(), time.perf_counter()
                call()
                wall[name].append(time.perf_counter() - began)
                used[name].append(time.process_time() - start)
    found = {}
    for name in calls:
        low, middle, high = 1e6 * np.percentile(wall[name], [10, 50, 90])
        found[name] = {"low": low, "median": middle, "high": high, "used": 1e6 * float(np.mean(used[name]))}
    return found


@kernel
def nothing(done, i):
    done[i] = True


@row_parallel
def nothings(done):
    for i in prange(done.size):
        nothing(done, i)
    return True


def launches(rounds: int = 200) -> dict[str, Figures]:
    """Two tasks that do nothing."""
    done = np.zeros(2, np.bool_)
    with by("prange"):
        return clocked(
            {
                "serial": lambda: [nothing(done, i) for i in range(2)],
                "pool": lambda: parallel.run(lambda i: nothing(done, i), 2, THREADS),
                "prange": lambda: launch.launched(nothings, THREADS, done),
                "prange, not asked whether safe": lambda: nothings(done),
            },
            rounds,
            20,
        )


def problem(n: int, hidden: tuple[int, ...], threads: int = THREADS) -> tuple[Problem, np.ndarray]:
    rng = np.random.default_rng(4)
    network = Network((8, *hidden, 1), "tanh")
    X, Y = rng.normal(size=(n, 8)), rng.normal(size=(n, 1))
    found = Problem(network, Objective(strength=1e-3), X, Y, np.ones(n), threads)
    found.LEAST_PRODUCTS = 0
    return found, network.initial_params(rng)


def sums(n: int, hidden: tuple[int, ...], rounds: int = 100) -> dict[str, Figures]:
    """A gradient and a product with the Hessian over all rows."""
    at, theta = problem(n, hidden)
    serial, v = problem(n, hidden, 1)[0], theta[None]

    def chosen(choice: str) -> Callable[[], object]:
        def call() -> None:
            with by(choice):
                at.data_product(theta, v)

        return call

    calls = {
        "serial": lambda: serial.data_product(theta, v),
        "pool": chosen("pool"),
        "prange": chosen("prange"),
    }
    return clocked(calls, rounds, 5)


def settling(n: int, hidden: tuple[int, ...], rounds: int = 9) -> dict[str, Figures]:
    """`fit`, few epochs and then to a stationary point."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, 8))
    y = np.sin(X[:, 0]) + X[:, 1] * X[:, 2] + 0.1 * rng.normal(size=n)
    params = {}

    def chosen(name: str, choice: str, threads: int) -> Callable[[], object]:
        def call() -> None:
            with by(choice), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                params[name] = ft.fit(X, y, hidden=hidden, strength=1e-3, epochs=20, threads=threads).params

        return call

    calls = {
        "serial": chosen("serial", "pool", 1),
        "pool": chosen("pool", "pool", THREADS),
        "prange": chosen("prange", "prange", THREADS),
    }
    found = clocked(calls, rounds)
    assert all((one == params["serial"]).all() for one in params.values())
    return found


def scoring(n: int = 100_000, rounds: int = 15) -> dict[str, Figures]:
    """Outputs and sensitivities of a 16-64-64-1 network in float32, by tasks of 1024 rows."""
    rng = np.random.default_rng(4)
    network, size = Network((16, 64, 64, 1), "tanh"), 1024
    theta, tangent = (network.initial_params(rng).astype(np.float32) for _ in range(2))
    X, centre = rng.standard_normal((n, 16), np.float32), np.zeros(16, np.float32)
    turned = network.layout.transposed(np.stack([theta, tangent]))
    F, FT = np.empty((n, 1), np.float32), np.empty((n, 1, 1), np.float32)
    arguments = (turned[0], turned[1:], X.ravel(), 16, centre, network.kernel_view)
    tasks = -(-n // size)

    def task(i: int) -> None:
        from fasttangent.kernels.scoring import outputs

        rows = slice(i * size, (i + 1) * size)
        outputs(F[rows], FT[rows], *arguments[:2], X[rows].ravel(), *arguments[3:])

    with by("prange"):
        return clocked(
            {
                "serial": lambda: parallel.run(task, tasks, 1),
                "pool": lambda: parallel.run(task, tasks, THREADS),
                "prange": lambda: launch.launched(outputs_of_parts, THREADS, F, FT, tasks, size, *arguments),
            },
            rounds,
        )


def everything() -> dict[str, object]:
    """With the layer of this process."""
    parts: dict[str, Callable[[], object]] = {
        "two empty tasks": launches,
        "product with the Hessian, 130 rows, 8-8": lambda: sums(130, (8, 8)),
        "product with the Hessian, 300 rows, 16-16": lambda: sums(300, (16, 16)),
        "product with the Hessian, 500 rows, 64-64": lambda: sums(500, (64, 64)),
        "fit with settling, 300 rows, 64-64": lambda: settling(300, (64, 64)),
        "fit with settling, 500 rows, 64-64": lambda: settling(500, (64, 64)),
        "sensitivities of 100,000 rows, 16-64-64-1": scoring,
    }
    return {name: part() for name, part in parts.items()}


if __name__ == "__main__":
    print(json.dumps(everything()))
