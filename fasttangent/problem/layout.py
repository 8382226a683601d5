"""The one table of the flat vector, shared by parameters, gradients, tangents and optimiser moments."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Layout:
    """Where the weights and biases of each layer stand in a flat vector.

    Layer l keeps W_l (n_in, n_out) in C order, then b_l (n_out,); layers follow one another without gaps.

    Parameters
    ----------
    sizes : tuple of int
        Number of inputs, units of each hidden layer, number of outputs.

    Attributes
    ----------
    table : ndarray of int64, shape (n_layers, 5)
        What kernels read, for each layer: n_in, n_out, offset of W_l, offset of b_l, and the number of
        activations that come before the inputs of the layer: inputs, then hidden units, each layer with one more
        unit that is always 1.
    n_params : int
        Length p of the flat vector.

    Examples
    --------
    >>> layout = Layout((2, 3, 1))
    >>> layout.n_params
    13
    >>> layout.weights(np.arange(13.0), 1).ravel()
    array([ 9., 10., 11.])
    """

    def __init__(self, sizes: tuple[int, ...]) -> None:
        self.sizes = sizes
        rows, at, units_before = [], 0, 0
        for n_in, n_out in pairwise(sizes):
            rows.append((n_in, n_out, at, at + n_in * n_out, units_before))
            at += (n_in + 1) * n_out
            units_before += n_in + 1
        self.table: NDArray[np.int64] = np.array(rows, np.int64)
        self.n_params = at

    def __repr__(self) -> str:
        return f"Layout({self.sizes})"

    @property
    def n_layers(self) -> int:
        """Number of layers with weights: hidden layers and the output layer."""
        return len(self.table)

    def weights(self, flat: NDArray, l: int) -> NDArray:
        """View of W_l, shape (n_in, n_out), of a flat vector (p,) or of K stacked ones (K, p)."""
        n_in, n_out, at, end, _ = self.table[l]
        return flat[..., at:end].reshape(*flat.shape[:-1], n_in, n_out)

    def biases(self, flat: NDArray, l: int) -> NDArray:
        """View of b_l, shape (n_out,), of a flat vector (p,) or of K stacked ones (K, p)."""
        _, n_out, _, at, _ = self.table[l]
        return flat[..., at : at + n_out]

    def transposed(self, flat: NDArray) -> NDArray:
        """Each layer's weights and biases as (n_out, n_in + 1), for a flat vector (p,) or K stacked ones (K, p)."""
        turned = np.empty_like(flat)
        for n_in, n_out, at, _, _ in self.table:
            end = at + (n_in + 1) * n_out
            layer = flat[..., at:end].reshape(*flat.shape[:-1], n_in + 1, n_out)
            turned[..., at:end] = np.swapaxes(layer, -1, -2).reshape(*flat.shape[:-1], end - at)
        return turned

    def weight_mask(self) -> NDArray[np.float64]:
        """1 where the flat vector holds a weight, 0 where it holds a bias."""
        mask = np.ones(self.n_params)
        for l in range(self.n_layers):
            self.biases(mask, l)[:] = 0
        return mask
