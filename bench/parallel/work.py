"""What every situation computes: sums, products and predictions that go through the drivers, and their bits."""

from __future__ import annotations

import hashlib
import os

import numpy as np

from fasttangent.kernels import drivers, launch
from fasttangent.problem.linearized import Linearized
from fasttangent.problem.network import Network
from fasttangent.problem.objective import Objective
from fasttangent.problem.problem import Problem

ROWS, SIZES = 640, (3, 8, 1)
THREADS = 2


def problem(threads: int) -> tuple[Problem, np.ndarray]:
    """A small one, of which even small sums are shared."""
    rng = np.random.default_rng(5)
    network = Network(SIZES, "tanh")
    X, Y, w = rng.normal(size=(ROWS, SIZES[0])), rng.normal(size=(ROWS, 1)), rng.uniform(0.5, 2, ROWS)
    found = Problem(network, Objective(), X, Y, w, threads)
    found.LEAST_PRODUCTS, found.OUTPUT_ROWS = 0, 200
    return found, network.initial_params(rng)


def digest(threads: int = THREADS) -> str:
    """Of all bits that the drivers compute."""
    at, theta = problem(threads)
    v = np.linspace(-1, 1, len(theta))
    value, gradient = at.value_and_gradient(theta)
    found = [np.array(value), gradient, at.predictions(theta)]
    found += [at.product(theta, v[None], gauss_newton=linear) for linear in (False, True)]
    kept = Linearized(at, theta)
    found += [kept.product(v), kept.transposed_times(kept.times(v))]
    return hashlib.sha256(b"".join(array.tobytes() for array in found)).hexdigest()[:16]


def report(before: str = "") -> str:
    """The digest, and by what: 'prange' or the reason why not."""
    found = digest()
    by = launch.obstacle(THREADS) if launch.choice == "prange" else "pool was chosen"
    if not by:
        assert drivers.loss_of_parts.signatures, "no driver was called"
    return f"{before}{found} {by or 'prange'}"


def main() -> None:
    print(report(), f"[{os.getpid()}]")
