"""The architecture: sizes, activation, initial parameters."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from fasttangent.common import checks
from fasttangent.common.words import ACTIVATIONS
from fasttangent.problem.layout import Layout

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fasttangent.kernels.network import Network as KernelNetwork


class Network:
    """A multilayer perceptron: h_0 = X,  z_l = h_{l-1} W_l + b_l,  h_l = phi(z_l), the last layer linear.

    Parameters
    ----------
    sizes : tuple of int
        Number of inputs, units of each hidden layer (none: a linear model), number of outputs.
    activation : {"tanh", "silu", "relu", "softplus", "gelu", "identity"}
        phi.

    Examples
    --------
    >>> network = Network((8, 32, 32, 1), "tanh")
    >>> network.layout.n_params
    1377
    """

    def __init__(self, sizes: tuple[int, ...], activation: str) -> None:
        self.sizes = tuple(checks.integer("hidden", s, at_least=1) for s in sizes)
        self.activation = checks.choice("activation", activation, ACTIVATIONS)
        self.layout = Layout(self.sizes)

    def __repr__(self) -> str:
        return f"Network({self.sizes}, {self.activation!r})"

    @cached_property
    def kernel_view(self) -> KernelNetwork:
        """What kernels know of the network."""
        from fasttangent.kernels import activations, network

        return network.Network(self.layout.table, activations.CODES[self.activation])

    def initial_params(self, rng: np.random.Generator) -> NDArray[np.float64]:
        """Random weights, zero biases.

        Hidden layers: normal with variance 2 / n_in for relu, silu, gelu and softplus (He et al. 2015,
        arXiv 1502.01852), uniform with variance 2 / (n_in + n_out) for tanh and identity (Glorot & Bengio
        2010); the last layer, being linear, the latter.
        """
        flat = np.zeros(self.layout.n_params)
        for l in range(self.layout.n_layers):
            W = self.layout.weights(flat, l)
            n_in, n_out = W.shape
            linear_after = l == self.layout.n_layers - 1 or self.activation in ("tanh", "identity")
            if linear_after:
                bound = np.sqrt(6 / (n_in + n_out))
                W[:] = rng.uniform(-bound, bound, W.shape)
            else:
                W[:] = rng.normal(0, np.sqrt(2 / n_in), W.shape)
        return flat
