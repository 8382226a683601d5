"""Users of one network: theta_u = theta + scatter(d_u), a deviation d_u of some layers for each.

A vector of such a problem is flat: the parameters that all share (p,), then the deviations, user by user (users q,).

Their complexity is sum_u (|W_u|^2 + |b_u|^2 / n_in) / 2: a bias is held as loosely as all weights into its unit
together, so that an offset of a user costs no more than a gain.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from fasttangent.common import checks
from fasttangent.problem.layout import Layout

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Float = NDArray[Any]


@dataclass(frozen=True)
class Deviations:
    """Where deviations stand.

    Parameters
    ----------
    layout : Layout
    layers : tuple of int
        The layers whose weights and biases each user has of its own, ascending.
    n_users : int
    """

    layout: Layout
    layers: tuple[int, ...]
    n_users: int

    @cached_property
    def chosen(self) -> NDArray[np.int64]:
        """Numbers of the parameters that deviate (q,)."""
        table = self.layout.table
        return np.concatenate([np.arange(table[l, 2], table[l, 3] + table[l, 1]) for l in self.layers])

    @cached_property
    def ratios(self) -> NDArray[np.float64]:
        """What holds each of them, over what holds a weight (q,)."""
        found = np.ones(self.n_params)
        for l, n_in in enumerate(self.layout.sizes[:-1]):
            self.layout.biases(found, l)[:] = 1 / n_in
        return found[self.chosen]

    @property
    def weights(self) -> NDArray[np.int64]:
        """Numbers of the parameters that deviate and are no biases."""
        return self.chosen[self.layout.weight_mask()[self.chosen] == 1]

    @property
    def n_params(self) -> int:
        """p, of those that are shared."""
        return self.layout.n_params

    @property
    def size(self) -> int:
        """p + users q."""
        return self.n_params + self.n_users * len(self.chosen)

    def extended(self, shared: Float) -> Float:
        """A vector (p,), or K of them, with deviations of zero."""
        return np.concatenate([shared, np.zeros((*shared.shape[:-1], self.size - self.n_params))], axis=-1)

    def split(self, vectors: Float) -> tuple[Float, Float]:
        """Of vectors (K, size): what is shared (K, p), and the deviations (K, users, q)."""
        p = self.n_params
        return vectors[:, :p], vectors[:, p:].reshape(len(vectors), self.n_users, len(self.chosen))

    def of_user(self, vectors: Float, user: int) -> Float:
        """The vectors theta_u (K, p) that a user has; -1: the shared ones."""
        shared, own = self.split(vectors)
        found = shared.copy()
        if user >= 0:
            found[:, self.chosen] += own[:, user]
        return found


def checked_layers(name: str, layers: Any, n_layers: int) -> tuple[int, ...]:
    """Numbers 0 ... n_layers - 1 from an argument, in which -1 is the last layer; ascending."""
    if isinstance(layers, str) or not isinstance(layers, Sequence | np.ndarray) or not len(layers):
        raise ValueError(
            f"{name} must be a sequence of numbers of layers, such as (-1,) for the last, got {layers!r}"
        )
    found = [checks.integer(name, l, at_least=-n_layers) for l in layers]
    for l in found:
        if not l < n_layers:
            raise ValueError(f"{name} must be numbers of the {n_layers} layers, 0 to {n_layers - 1}, got {l}")
    return tuple(sorted({l % n_layers for l in found}))
