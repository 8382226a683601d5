"""Rows as vectors whose inner products say what two rows have in common, at about the price of a score.

    posterior   E E^T = Cov(f), the posterior covariance of the outputs as the model's tangents of noise sample it
    error       the same, and the bias of the regulariser as one more direction
    gradient    E[E E^T] = J J^T, the neural tangent kernel, through a random sketch that never forms a gradient
    hidden      the inputs of the last layer
    input       the inputs, standardised

All in standard units.  The gradient of an output in the weights of a layer is an outer product h d^T of the layer's
inputs, which end with 1, and the adjoints of its pre-activations; every embedding is computed from these two.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from fasttangent.common import checks
from fasttangent.model.scores import Parameters
from fasttangent.problem.rows import Readable, beyond, each_readable_chunk, sizes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fasttangent.kernels.embedding import Inputs
    from fasttangent.problem.scaling import Scaling

    Float = NDArray[np.float64]
    Kernel = Callable[[NDArray, NDArray, Inputs, Any], object]  # of a result, theta, rows, network

GRADIENT_DIM = 512


class Trained(Parameters, Protocol):
    """What an embedding needs of a model besides."""

    @property
    def tangents(self) -> dict[str, Float]: ...
    @property
    def noise(self) -> float: ...


class Embedding(NamedTuple):
    """Rows as vectors in standard units; nan where a row is not finite."""

    E: NDArray  # (n, D), C-contiguous, dtype of the model
    bad: NDArray[np.int64]  # numbers of rows with a value that is not finite, ascending


def embed(
    model: Trained, X: NDArray, kind: str, *, dim: int | None = None, seed: int = 0, threads: int = 1
) -> Embedding:
    """Embed rows of any number, dtype and memory layout, a chunk at a time.

    Parameters
    ----------
    model : Model
    X : ndarray of shape (n, n_features)
        Rows in the units the model was fitted on; also a memory map.
    kind : {"posterior", "error", "gradient", "hidden", "input"}
        "posterior": e_k(x) = sqrt(noise / dim) v_k . grad f(x) for the first `dim` tangents of noise v_k; several
        outputs stand side by side, D = n_outputs dim, so that E E^T adds up their covariances.
        "error": the same, and b . grad f(x) for the tangent b of the bias as one more column per output,
        D = n_outputs (dim + 1), so that E E^T adds the bias squared.
        "gradient": phi(x) = sum_l (P_l h_l) * (Q_l d_l) / sqrt(D), elementwise, with standard normal P_l
        (D, n_in + 1) and Q_l (D, n_out).  E[phi(x) . phi(x')] = grad f(x) . grad f(x'); several outputs have their
        own Q_l and are added, which gives the sum over outputs.  `gradient_sketch` says in what order they are drawn.
        "hidden": the activations that the last layer sees; of a network without hidden layers, its inputs.
        "input": standardised inputs; a column that was constant in training is 0.
    dim : int, optional
        "posterior", "error": how many of the tangents; default all.  "gradient": D, default 512.  Others: none.
    seed : int
        Of the sketch.
    threads : int
        The result is the same for any number.

    Returns
    -------
    Embedding

    Raises
    ------
    ValueError
        If an argument is not as described, or the model has no tangents of noise.

    References
    ----------
    Holzmueller et al. 2023, JMLR 24(164), section 4.2 (sketches of gradients layer by layer).

    Examples
    --------
    >>> import numpy as np, fasttangent as ft
    >>> rng = np.random.default_rng(0)
    >>> X = rng.uniform(-1, 1, (60, 1))
    >>> model = ft.fit(X, np.sin(3 * X[:, 0]), hidden=(8,), epochs=50)
    >>> embed(model, X, "gradient", dim=32).E.shape
    (60, 32)
    """
    checks.choice("kind", kind, EMBEDDINGS)
    seed = checks.seed(seed)
    theta, network = model.params.astype(model.dtype), model.network
    if dim is not None:
        if not EMBEDDINGS[kind].takes_dim:
            raise ValueError(
                f"dim must be None for {kind!r} embeddings, whose size the network sets, got {dim!r}"
            )
        dim = checks.integer("dim", dim, at_least=1)
    columns, work, kernel = EMBEDDINGS[kind].build(model, dim, seed)
    E = np.empty((len(X), columns), model.dtype)

    def task(start: int, inputs: Inputs, n: int) -> NDArray:
        part = E[start : start + n]
        kernel(part, theta, inputs, network.kernel_view)
        return sizes(part)

    return Embedding(E, _each_chunk(model, X, work, threads, task))


def gradient_norms(model: Trained, X: NDArray, *, threads: int = 1) -> Float:
    """||grad f(x)||^2 = sum_l ||h_l||^2 ||d_l||^2 of every row, added over outputs, in standard units.

    The squared length of the parameter gradient of the loss is loss'^2 times this, so it is what "expected gradient
    length" needs.

    Parameters
    ----------
    model : Model
    X : ndarray of shape (n, n_features)
    threads : int

    Returns
    -------
    ndarray of float64, shape (n,)
        nan where a row is not finite.
    """
    from fasttangent.kernels.embedding import norms

    theta, squares = model.params.astype(model.dtype), np.empty(len(X))

    def task(start: int, inputs: Inputs, n: int) -> NDArray:
        part = squares[start : start + n]
        norms(part, theta, inputs, model.network.kernel_view)
        size = sizes(np.sqrt(part))
        part[beyond(size)] = np.nan
        return size

    _each_chunk(model, X, (1 + model.network.sizes[-1]) * len(theta), threads, task)
    return squares


def gradient_sketch(sizes: tuple[int, ...], dim: int, seed: int) -> tuple[list[Float], list[Float]]:
    """The random matrices of a "gradient" embedding: P_l (dim, n_in + 1) and Q_l (dim, n_outputs, n_out).

    Drawn in float64 from ``np.random.default_rng(seed).standard_normal``, layer by layer from the inputs on, P_l
    before Q_l.  The last layer's adjoints are 1 for its own output and 0 for others, so of its Q only the diagonals
    would be used, and Q_l is drawn as (dim, n_outputs, 1).
    """
    rng, n_outputs, P, Q = np.random.default_rng(seed), sizes[-1], [], []
    for l, (n_in, n_out) in enumerate(pairwise(sizes)):
        last = l == len(sizes) - 2
        P.append(rng.standard_normal((dim, n_in + 1)))
        Q.append(rng.standard_normal((dim, n_outputs, 1 if last else n_out)))
    return P, Q


def _posterior(model: Trained, dim: int | None, seed: int) -> tuple[int, int, Kernel]:
    """(columns, multiplications per row, kernel) of a posterior embedding."""
    tangents = _noise_tangents(model, "posterior", dim)
    return _of_tangents(model, tangents, np.full(len(tangents), np.sqrt(model.noise / len(tangents))))


def _error(model: Trained, dim: int | None, seed: int) -> tuple[int, int, Kernel]:
    """The same with the bias as one more direction."""
    tangents = _noise_tangents(model, "error", dim)
    K = len(tangents)
    scales = np.append(np.full(K, np.sqrt(model.noise / K)), 1.0)
    return _of_tangents(model, np.vstack([tangents, model.tangents["bias"]]), scales)


def _noise_tangents(model: Trained, kind: str, dim: int | None) -> Float:
    if "posterior" not in model.tangents:
        *others, last = (repr(name) for name, embedding in EMBEDDINGS.items() if not embedding.of_noise)
        raise ValueError(
            f"kind must be {', '.join(others)} or {last} for a model without tangents of noise, got {kind!r}; fit "
            'with tangents=("strength", "posterior"), or use model.with_posterior(X, y)'
        )
    most = len(model.tangents["posterior"])
    K = most if dim is None else dim
    if most < K:
        raise ValueError(
            f"dim must be at most {most}, the model's tangents of noise, got {K}; "
            f"draw more: model.with_posterior(X, y, samples={K})"
        )
    return model.tangents["posterior"][:K]


def _of_tangents(model: Trained, tangents: Float, scales: Float) -> tuple[int, int, Kernel]:
    """Columns scales_k v_k . grad f for the directions v_k, the rows of tangents (K, p)."""
    from fasttangent.kernels import embedding

    layout, dtype, K = model.network.layout, np.dtype(model.dtype), len(tangents)
    turned = np.empty(K * layout.n_params, dtype)
    for l, (n_in, n_out, at, _, _) in enumerate(layout.table):
        end = at + (n_in + 1) * n_out
        V = np.moveaxis(tangents[:, at:end].reshape(K, n_in + 1, n_out), 1, 2)
        into, scale = turned[K * at : K * end], scales[:, None, None]
        if l == layout.n_layers - 1:  # an output's directions stand together, as in the embedding
            V, scale = V.swapaxes(0, 1), scales[:, None]
        np.multiply(V, scale, out=into.reshape(V.shape), casting="same_kind")
    return (
        K * model.network.sizes[-1],
        (1 + K) * layout.n_params,
        lambda E, theta, inputs, network: embedding.posterior(E, turned, theta, inputs, network),
    )


def _gradient(model: Trained, dim: int | None, seed: int) -> tuple[int, int, Kernel]:
    from fasttangent.kernels import embedding

    D, sizes = GRADIENT_DIM if dim is None else dim, model.network.sizes
    P, Q = gradient_sketch(sizes, D, seed)
    P[-1] *= Q[-1].sum(axis=(1, 2))[:, None]
    P[-1] /= np.sqrt(D)
    flat_P = np.concatenate([p.ravel() for p in P]).astype(model.dtype)
    flat_Q = np.concatenate([np.empty(0), *(q.ravel() / np.sqrt(D) for q in Q[:-1])]).astype(model.dtype)
    return (
        D,
        len(flat_P) + len(flat_Q) + (1 + sizes[-1]) * model.network.layout.n_params,
        lambda E, theta, inputs, network: embedding.gradient(E, flat_P, flat_Q, theta, inputs, network),
    )


def _hidden(model: Trained, dim: int | None, seed: int) -> tuple[int, int, Kernel]:
    return _layer(model, model.network.layout.n_layers - 1)


def _input(model: Trained, dim: int | None, seed: int) -> tuple[int, int, Kernel]:
    return _layer(model, 0)


def _layer(model: Trained, l: int) -> tuple[int, int, Kernel]:
    """What layer l multiplies by its weights."""
    from fasttangent.kernels import embedding

    return (
        model.network.sizes[l],
        model.network.layout.n_params if l else model.network.sizes[0],
        lambda E, theta, inputs, network: embedding.inputs_of_layer(E, l, theta, inputs, network),
    )


class Kind(NamedTuple):
    """A way to make vectors of rows."""

    build: Callable[[Trained, int | None, int], tuple[int, int, Kernel]]  # of model, dim and seed
    of_noise: bool = False  # whether it needs tangents of noise
    takes_dim: bool = False  # whether `dim` has a say


EMBEDDINGS = {
    "posterior": Kind(_posterior, of_noise=True, takes_dim=True),
    "error": Kind(_error, of_noise=True, takes_dim=True),
    "gradient": Kind(_gradient, takes_dim=True),
    "hidden": Kind(_hidden),
    "input": Kind(_input),
}
KINDS = tuple(EMBEDDINGS)


def _each_chunk(
    model: Trained,
    X: NDArray,
    products: int,
    threads: int,
    task: Callable[[int, Inputs, int], NDArray],
) -> NDArray[np.int64]:
    """Call task(first row, rows for kernels, their number) for chunks of rows; as `each_readable_chunk` otherwise."""
    from fasttangent.kernels.embedding import Inputs

    scaling, dtype = model.scaling, np.dtype(model.dtype)
    scaling, divisor = scaling.readable(dtype)
    centre, inverse, shift = _standardisation(scaling, dtype)

    def one(start: int, rows: Readable) -> NDArray:
        return task(start, Inputs(rows.flat, rows.step, rows.centre, inverse, shift), rows.n)

    return each_readable_chunk(scaling, centre, X, dtype, products, threads, one, divisor)


def _standardisation(scaling: Scaling, dtype: np.dtype) -> tuple[NDArray, NDArray, NDArray]:
    """(centre, inverse, shift), standard units being (x - centre) inverse + shift in `dtype`.

    The shift is what rounding took from the centre.
    """
    with np.errstate(under="ignore"):
        centre, inverse = scaling.x_mean.astype(dtype), (1 / scaling.x_scale).astype(dtype)
        shift = ((centre - scaling.x_mean) / scaling.x_scale).astype(dtype)
    return centre, inverse, shift
