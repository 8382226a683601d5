"""Scores of rows from one forward pass with the tangent, in chunks and on several threads.

Let theta*(eps) minimise F + eps loss(x, y), and s(x) = tau . grad f(x) = d f(x) / d strength.  Then

    influence   d C(theta*) / d eps = tau . grad loss(x, y) = loss'(f - y) . s(x)
    curiosity   E_y[influence^2] = E[loss'^2] . s(x)^2

(Eaton 2024, arXiv 2411.15292; Koh & Liang 2017, arXiv 1703.04730.)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fasttangent.objective import Objective

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fasttangent.network import Network
    from fasttangent.scaling import Scaling

    Float = NDArray[np.float64]

CHUNK = 8192  # rows: 1 MB of 32 float32 inputs, large enough to hide the cost of a call


class Outputs(NamedTuple):
    """Standard-unit outputs of rows; nan where a row is not finite."""

    f: NDArray  # (n, n_outputs)
    ft: NDArray  # (n, K, n_outputs)
    bad: NDArray[np.int64]  # numbers of rows with a value that is not finite, ascending


def outputs_of_rows(
    network: Network,
    scaling: Scaling,
    theta: Float,
    tangents: Float,
    X: NDArray,
    dtype: np.dtype,
    threads: int,
) -> Outputs:
    """Run the network over rows of any number, dtype and memory layout, a chunk at a time.

    A chunk is standardised in float64 and cast to `dtype` in the thread that scores it, so X may be a read-only
    memory map or a strided view: no more than a chunk per thread is ever copied.
    """
    from fasttangent.kernels import threads as pool
    from fasttangent.kernels.rows import outputs

    n, n_outputs, K = len(X), network.sizes[-1], len(tangents)
    F, FT = np.empty((n, n_outputs), dtype), np.empty((n, K, n_outputs), dtype)
    theta, tangents = theta.astype(dtype), tangents.astype(dtype)
    n_chunks = -(-n // CHUNK)
    bad: list[NDArray[np.int64]] = [np.empty(0, np.int64)] * n_chunks

    def task(c: int) -> None:
        start, stop = c * CHUNK, min((c + 1) * CHUNK, n)
        rows = X[start:stop]
        wrong = np.flatnonzero(~np.isfinite(rows).all(axis=1))
        inputs, every = scaling.inputs(rows, dtype), np.arange(stop - start)
        outputs(F[start:stop], FT[start:stop], theta, tangents, inputs, every, network.kernel_view)
        if len(wrong):
            bad[c] = start + wrong
            F[bad[c]] = np.nan
            FT[bad[c]] = np.nan

    pool.run(task, n_chunks, threads)
    return Outputs(F, FT, np.concatenate([np.empty(0, np.int64), *bad]))


def influence(objective: Objective, f: NDArray, y: NDArray, s: NDArray) -> Float:
    """loss'(f - y) . s, for (n, n_outputs) arrays in standard units: shape (n,)."""
    return np.sum(slope(objective, f.astype(np.float64) - y) * s, axis=1)


def curiosity(slope_squared: Float, s: NDArray) -> Float:
    """E[loss'^2] . s^2, for arrays that broadcast to (n, n_outputs): shape (n,)."""
    return np.sum(slope_squared * np.square(s, dtype=np.float64), axis=1)


def slope(objective: Objective, r: Float) -> Float:
    """loss'(r), elementwise, for float64 of any shape."""
    from fasttangent.kernels.losses import loss_slopes

    r = np.asarray(r, np.float64)
    d = np.empty(r.size)
    loss_slopes(d, np.ascontiguousarray(r).ravel(), *objective.kernel_loss)
    return d.reshape(r.shape)


def expected_slope_squared(objective: Objective, variance: Any) -> Float:
    """E[loss'(r)^2] for r normal with mean 0 and the given variance (standard units), elementwise."""
    from scipy.special import erf

    v = np.asarray(variance, np.float64)
    if objective.loss == "squared":
        return v
    sigma, delta = np.sqrt(v), objective.delta
    if objective.loss == "huber":
        with np.errstate(divide="ignore"):
            a = delta / sigma  # inf where there is no noise
        inside = erf(a / np.sqrt(2))
        density = np.exp(-(np.minimum(a, 40.0) ** 2) / 2) / np.sqrt(2 * np.pi)
        return v * (inside - 2 * np.minimum(a, 40.0) * density) + delta**2 * (1 - inside)
    # The trapezoid rule over +-12 sigma: to rounding, for a smooth function that vanishes at the ends.
    nodes = np.linspace(-12, 12, 801)
    weights = np.exp(-(nodes**2) / 2)
    total = np.zeros_like(v)
    for node, weight in zip(nodes, weights / weights.sum(), strict=True):
        total += weight * slope(objective, node * sigma) ** 2
    return total
