"""Random shapes, networks and problems for cases of kernels, and the comparison with a twin."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

import fasttangent as ft
from bench.reliability.case import Wrong
from bench.reliability.kernels import twins

EDGES = (1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 47, 48, 49, 63, 64, 65, 100, 127, 128, 129, 200)
KINK = 1e-3  # of a kink: nearer, rounding decides
SMOOTH = ("tanh", "silu", "softplus", "gelu", "identity")


class NearAKink(Exception):
    """The case says nothing."""


class Net(NamedTuple):
    """A network with parameters and directions in float64, and rows, rounded to the dtype of the kernels."""

    network: ft.Network
    theta: np.ndarray
    V: np.ndarray  # (K, p)
    X: np.ndarray
    dtype: np.dtype

    @property
    def twin(self) -> twins.Network:
        return twins.Network(self.theta, self.X, self.network.sizes, self.network.activation)

    def cast(self, a) -> np.ndarray:
        return np.ascontiguousarray(a, self.dtype)


def size(rng: np.random.Generator, most: int = 200) -> int:
    """A number of rows or units, near the width of a vector or a block more often than not."""
    return (
        int(rng.choice([e for e in EDGES if e <= most]))
        if rng.random() < 0.8
        else int(rng.integers(1, most + 1))
    )


def rounded(rng: np.random.Generator, dtype: np.dtype, *shape: int, scale: float = 1.0) -> np.ndarray:
    """Normal numbers in float64 that the dtype holds."""
    return (scale * rng.normal(size=shape)).astype(dtype).astype(np.float64)


def net(
    rng: np.random.Generator, dtype: np.dtype, *, smooth: bool = False, most: int = 1500, hidden: int = 0
) -> Net:
    """At least so many hidden layers."""
    while True:
        depth = int(rng.integers(hidden, 4))
        sizes = (size(rng, 70), *(size(rng, 70) for _ in range(depth)), int(rng.integers(1, 4)))
        activation = str(rng.choice(SMOOTH if smooth else sorted(twins.ACTIVATIONS)))
        network = ft.Network(sizes, activation)
        if network.layout.n_params <= most:
            break
    theta = rounded(rng, dtype, network.layout.n_params)
    for W in twins.layers(theta, sizes):
        W[:] = (W / np.sqrt(len(W))).astype(dtype)
    V = rounded(rng, dtype, int(rng.integers(0, 4)), len(theta))
    return Net(network, theta, V, rounded(rng, dtype, size(rng), sizes[0]), dtype)


def near(what: str, found, expected, tolerance: float, about: object = "", scale: float = 0.0) -> None:
    """Raise if the two differ by more than `tolerance` of the norm of what is expected, or of `scale`."""
    found, expected = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    if found.shape != expected.shape:
        raise Wrong(f"kernel of {what}", f"shape {found.shape}, not {expected.shape}; {about}")
    good = np.isfinite(expected)
    if not (np.isfinite(found) == good).all():
        raise Wrong(f"kernel of {what}", f"finite elsewhere than its twin; {about}")
    norm = max(float(np.linalg.norm(expected[good])), scale, 1e-30)
    error = float(np.linalg.norm(found[good] - expected[good])) / norm
    if not error <= tolerance:
        raise Wrong(f"kernel of {what}", f"relative difference {error:.1e}, allowed {tolerance:.0e}; {about}")


def rounding(dtype: np.dtype) -> float:
    """A relative difference that sums of hundreds of products may have."""
    return 2e-4 if dtype == np.float32 else 1e-11
