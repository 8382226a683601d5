"""The networks that are timed, with random parameters: their sizes, their work and a reference in float64."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy.special import erf, expit

import fasttangent as ft
from fasttangent.problem.scaling import identity_scaling


def _tanh(z):
    h = np.tanh(z)
    return h, 1 - h * h


def _silu(z):
    s = expit(z)
    return z * s, s * (1 + z * (1 - s))


def _gelu(z):
    cdf = (1 + erf(z / np.sqrt(2))) / 2
    return z * cdf, cdf + z * np.exp(-z * z / 2) / np.sqrt(2 * np.pi)


ACTIVATIONS = {"tanh": _tanh, "silu": _silu, "gelu": _gelu}


@dataclass
class Case:
    """A network, K random tangents as long as its parameters, and rows; all in float64 but for the rows."""

    network: ft.Network
    theta: np.ndarray  # (p,)
    tangents: np.ndarray  # (K, p)
    X: np.ndarray  # (n, n_features), in the dtype of the scores
    dtype: str

    def layers(self, flat):
        """[(W, b)] of a flat vector, in the dtype of the case."""
        layout = self.network.layout
        return [
            (layout.weights(flat, l).astype(self.dtype), layout.biases(flat, l).astype(self.dtype))
            for l in range(layout.n_layers)
        ]

    def model(self) -> ft.Model:
        """A model that scores with the first tangent, in standard units; its certificate is not measured."""
        sizes = self.network.sizes
        certificate = ft.Certificate(0.0, 0.0, 1.0, 1.0, 0.0, True, ())
        return ft.Model(
            self.network,
            ft.Objective(),
            identity_scaling(sizes[0], sizes[-1]),
            self.theta,
            {"strength": self.tangents[0]},
            certificate,
            np.ones(sizes[-1]),
            self.dtype,
        )

    def reference(self, n: int) -> np.ndarray:
        """Sensitivities (n,) of the first rows, by the formulas of the dual pass in NumPy and float64."""
        layout, activation = self.network.layout, ACTIVATIONS[self.network.activation]
        h, ht = self.X[:n].astype(float), np.zeros((n, self.network.sizes[0]))
        for l in range(layout.n_layers):
            W, V = (layout.weights(flat, l) for flat in (self.theta, self.tangents[0]))
            b, c = (layout.biases(flat, l) for flat in (self.theta, self.tangents[0]))
            h, ht = h @ W + b, ht @ W + h @ V + c
            if l < layout.n_layers - 1:
                h, slope = activation(h)
                ht = ht * slope
        return ht[:, 0]


def make_case(sizes, n: int, activation: str = "tanh", dtype: str = "float32", K: int = 1) -> Case:
    """Initial parameters of the library with some biases, tangents as large, normal rows."""
    rng = np.random.default_rng(0)
    network = ft.Network(tuple(sizes), activation)
    theta = network.initial_params(rng) + 0.05 * rng.normal(size=network.layout.n_params)
    tangents = rng.normal(size=(K, len(theta))) * np.sqrt(np.mean(theta**2))
    X = rng.standard_normal((n, sizes[0]), dtype=np.float32).astype(dtype, copy=False)
    return Case(network, theta, tangents, X, dtype)


def flops_per_row(sizes, K: int = 1) -> int:
    """2 (1 + K) n_0 n_1 for the first layer and 2 (1 + 2 K) n_in n_out for each further hidden layer.

    These are the products that an exact score needs; the output layer, the activations and all that is done
    to get at the rows are not counted.
    """
    return sum(2 * (1 + K * min(l + 1, 2)) * product for l, product in enumerate(hidden_products(sizes)))


def hidden_products(sizes) -> list[int]:
    """n_in n_out of each hidden layer."""
    return [a * b for a, b in pairwise(sizes[:-1])]


def name_of(sizes) -> str:
    return "-".join(map(str, sizes))


def check_equal(value, reference, tolerance: float, what: str) -> float:
    """||value - reference|| / ||reference||, which must not be above the tolerance."""
    reference = np.asarray(reference, np.float64)
    error = float(np.linalg.norm(np.asarray(value, np.float64) - reference) / np.linalg.norm(reference))
    assert error <= tolerance, f"{what}: relative difference {error:.1e}, allowed {tolerance:.0e}"
    return error
