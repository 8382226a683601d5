"""Heads that predict the loss of a row from a model's hidden activations: their layout, and what they predict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from fasttangent.common import checks
from fasttangent.problem.rows import CHUNK, Readable, each_readable_chunk, sizes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fasttangent.kernels.loss_heads import Head as KernelHead
    from fasttangent.model.model import Model
    from fasttangent.problem.network import Network

    Float = NDArray[np.float64]

METHODS = ("learning-loss++", "learning-loss")


class HeadLayout:
    """Where the weights and units of a head stand; `steps` is the table that kernels read.

    Parameters
    ----------
    method : {"learning-loss", "learning-loss++"}
    hidden : sequence of int
        Units of the network's hidden layers.
    width : int
        "learning-loss": units that each hidden layer is mapped to.  "learning-loss++": where the stack that follows
        the last hidden layer stops narrowing; it halves from layer to layer.

    Examples
    --------
    >>> HeadLayout("learning-loss", (64, 64), 16).n_params
    2113
    >>> [tuple(int(n) for n in step[:2]) for step in HeadLayout("learning-loss++", (64, 32), 8).steps]
    [(64, 32), (32, 16), (16, 8), (8, 1)]
    """

    def __init__(self, method: str, hidden: Sequence[int], width: int) -> None:
        self.method, self.hidden, self.width = method, tuple(hidden), width
        self.ones = np.cumsum([n + 1 for n in self.hidden]) - 1  # units of the stack that are always 1
        self.n_features = int(self.ones[-1]) + 1
        self.n_params = 0
        self._next = self.n_features  # unit of the stack
        self._rows: list[tuple[int, ...]] = []
        if method == "learning-loss":
            self._side_by_side()
        else:
            self._multi_scale()
        self.steps: NDArray[np.int64] = np.array(self._rows, np.int64)

    def __repr__(self) -> str:
        return f"HeadLayout({self.method!r}, {self.hidden}, {self.width})"

    def _first(self, l: int) -> int:
        """Where hidden layer l begins in the stack."""
        return int(self.ones[l]) - self.hidden[l]

    def _step(self, n_in: int, n_out: int, source: int, added: int = -1, *, ends: bool = True) -> int:
        """Append a step; `ends`: its units are followed by one that is always 1.  Returns its first unit."""
        target = self._next
        self._rows.append((n_in, n_out, self.n_params, source, target, added))
        self.n_params += (n_in + 1) * n_out
        self._next += n_out + ends
        return target

    def _side_by_side(self) -> None:
        first = self._next
        for l, n in enumerate(self.hidden):
            self._step(n, self.width, self._first(l), ends=l == len(self.hidden) - 1)
        self._step(len(self.hidden) * self.width, 1, first)

    def _multi_scale(self) -> None:
        z, n = self._first(0), self.hidden[0]
        for l, above in enumerate(self.hidden[1:], start=1):
            z, n = self._step(n, above, z, self._first(l)), above
        while n > self.width:
            z, n = self._step(n, max(n // 2, self.width), z), max(n // 2, self.width)
        self._step(n, 1, z)

    def weights(self, flat: NDArray, s: int) -> NDArray:
        """View of W of step s with its biases as last row, shape (n_in + 1, n_out), of a flat vector (p,)."""
        n_in, n_out, at = (int(n) for n in self.steps[s, :3])
        return flat[at : at + (n_in + 1) * n_out].reshape(n_in + 1, n_out)

    def initial_params(self, rng: np.random.Generator) -> Float:
        """Zero biases; normal weights with variance 2 / n_in before a relu, 1 / n_in at the end (He et al. 2015)."""
        flat = np.zeros(self.n_params)
        for s in range(len(self.steps)):
            W = self.weights(flat, s)
            gain = 2 if s < len(self.steps) - 1 else 1
            W[:-1] = rng.normal(0, np.sqrt(gain / (len(W) - 1)), (len(W) - 1, W.shape[1]))
        return flat

    def weight_mask(self) -> Float:
        """1 where the flat vector holds a weight, 0 where it holds a bias."""
        mask = np.ones(self.n_params)
        for s in range(len(self.steps)):
            self.weights(mask, s)[-1] = 0
        return mask


def kernel_head(layout: HeadLayout, centre: Float, spread: Float, dtype: np.dtype) -> KernelHead:
    """What kernels know of a head; features are centred and divided by their spread, the ones left alone."""
    from fasttangent.kernels.loss_heads import Head

    centre, scale = centre.copy(), 1 / np.where(spread > 0, spread, np.inf)  # a constant feature is 0
    centre[layout.ones], scale[layout.ones] = 0, 1
    return Head(layout.steps, centre.astype(dtype), scale.astype(dtype))


@dataclass(frozen=True, eq=False)
class LossHead:
    """What `learning_loss` returns: a predictor of each row's loss.

    Attributes
    ----------
    model : Model
        Whose hidden activations it reads.
    method : {"learning-loss", "learning-loss++"}
    layout : HeadLayout
    params : ndarray of float64, shape (p,)
        The head's weights.
    centre, spread : ndarray of float64, shape (features,)
        Of the hidden activations on the labelled rows.
    level, temperature : float
        Predicted loss = exp(level + temperature v).
    history : dict of str to ndarray
        "pair_loss" by epoch.
    """

    model: Model
    method: str
    layout: HeadLayout
    params: Float
    centre: Float
    spread: Float
    level: float = 0.0
    temperature: float = 1.0
    folds: int | None = None
    history: dict[str, NDArray] = field(default_factory=dict)
    threads: int | None = None

    def __repr__(self) -> str:
        crossed = f"{self.folds} folds" if self.folds else "losses in sample"
        return f"LossHead({self.method!r}, {len(self.params)} parameters, {crossed})"

    def predict(self, X: Any, *, threads: int | None = None) -> Float:
        """The predicted loss of rows, always positive; higher is worse.

        exp(level + temperature v): monotone in the head's output v, with the two numbers such that pairs of the
        labelled rows are told apart with the right probability, and that the mean is the mean loss.

        Parameters
        ----------
        X : array_like of shape (n, n_features)
            In the units the model was fitted on; also a memory map.
        threads : int, optional
            Default: the head's, else all cores.  Results do not depend on it.

        Returns
        -------
        ndarray of float64, shape (n,)
            Loss as in the model's objective, of residuals in standard deviations of y, summed over outputs.

        Raises
        ------
        ValueError
            If X has another number of columns or a value that is not finite.
        """
        exponent = self.level + self.temperature * self.score(X, threads=threads)
        return np.exp(np.clip(exponent, -700, 700))  # the range of float64

    def score(self, X: Any, *, threads: int | None = None) -> Float:
        """v of rows, shape (n,): the head's own output, of which the order means something and the size does not.

        Parameters and errors are those of `predict`.
        """
        from fasttangent.kernels.loss_heads import head_outputs

        model, dtype = self.model, np.dtype(self.model.dtype)
        rows = model.matrix("X", X)
        n_threads = checks.thread_count(self.threads if threads is None else threads)
        v, every = np.empty(len(rows), dtype), np.arange(CHUNK)
        theta, params, head = model.params.astype(dtype), self.params.astype(dtype), self._kernel_head

        def task(start: int, some: Readable) -> NDArray:
            checks.finite("X", rows[start : start + some.n])  # a relu would hide NaN
            part = v[start : start + some.n]
            inputs = some.flat.reshape(some.n, some.step)
            head_outputs(part, params, theta, inputs, every, model.network.kernel_view, head)
            return sizes(part)

        each_readable_chunk(model.scaling, None, rows, dtype, len(theta) + len(params), n_threads, task)
        checks.finite("the head's output", v)
        return v.astype(np.float64)

    @cached_property
    def _kernel_head(self) -> KernelHead:
        return kernel_head(self.layout, self.centre, self.spread, np.dtype(self.model.dtype))


def features_of(model: Model, X: NDArray, layout: HeadLayout, head: KernelHead) -> NDArray:
    """The hidden activations of standardised rows as a head takes them, with its ones, (n, features)."""
    from fasttangent.kernels.loss_heads import hidden_rows

    H = np.empty((len(X), layout.n_features), X.dtype)
    hidden_rows(H, model.params.astype(X.dtype), X, np.arange(len(X)), model.network.kernel_view, head)
    return H


def moments(H: NDArray) -> tuple[Float, Float]:
    """Mean and standard deviation of each feature, 0 where it is constant to rounding."""
    mean, spread = H.mean(axis=0, dtype=np.float64), H.std(axis=0, dtype=np.float64)
    return mean, np.where(spread > 100 * np.finfo(H.dtype).eps * (1 + abs(mean)), spread, 0)


def check_hidden(network: Network) -> tuple[int, ...]:
    """The widths of the hidden layers, of which there must be one."""
    hidden = network.sizes[1:-1]
    if not hidden:
        raise ValueError(
            "model must have a hidden layer, whose activations the head reads; got a linear model"
        )
    return hidden
