"""Drivers over many rows: sums over rows of loss, gradient and curvature products, and the Jacobian."""

from typing import NamedTuple

import numpy as np

from fasttangent.kernels.arithmetic import add, fill
from fasttangent.kernels.jit import kernel, making_arrays
from fasttangent.kernels.losses import loss_terms
from fasttangent.kernels.network import (
    Network,
    backward,
    block_rows,
    flat_units,
    forward,
    load_rows,
    row_gradients,
    workspace,
)


class Rows(NamedTuple):
    """Standardised rows as kernels take them."""

    X: np.ndarray  # (n, n_features), dtype of the parameters
    Y: np.ndarray  # (n, n_outputs), the same dtype
    w: np.ndarray  # (n,) float64: weight of each row in the sum


class Loss(NamedTuple):
    """What kernels know of a loss."""

    code: int  # code of `losses`
    delta: float


class DataTerm(NamedTuple):
    """sum_i w_i loss(f_i, y_i), with f the outputs of a network."""

    rows: Rows
    network: Network
    loss: Loss
    gauss_newton: bool  # curvature without the second derivatives of the network


class Part(NamedTuple):
    """Rows order[start:stop] of a sum, and what the sum over them is multiplied by."""

    order: np.ndarray
    start: int
    stop: int
    scale: float


class Chunks(NamedTuple):
    """Chunks c of the full-batch sums, first <= c < last: rows [c size, (c + 1) size)."""

    first: int
    last: int
    size: int
    every: np.ndarray  # 0, 1 ... n - 1


@kernel
def add_loss(g, gt, theta, tangents, data, part, work):
    """Add the gradient of a part of the data term to g (p,), and the products of its Hessian (or Gauss-Newton
    matrix) with `tangents` (K, p) to gt (K, p); return the part's value.
    """
    rows, network, loss, gauss_newton = data
    order, start, stop, scale = part
    X, n_features = rows.X, rows.X.shape[1]
    block, curvature = block_rows(theta), len(tangents) > 0 and not gauss_newton
    total = 0.0
    for first in range(start, stop, block):
        last = min(first + block, stop)
        width = load_rows(work, X, n_features, order, first, last)
        forward(work, width, theta, tangents, network, curvature)
        total += output_adjoints(work, len(tangents), rows, order, first, last, scale, loss)
        backward(g, gt, work, last - first, theta, tangents, network, curvature)
    return total


@kernel
def output_adjoints(work, K, rows, order, first, last, scale, loss):
    """f <- d = w loss'(f, y),   ft <- dt = w loss''(f, y) ft, in place; return the sum of w loss(f, y)."""
    total, block, n_outputs = 0.0, block_rows(work.room), rows.Y.shape[1]
    f, ft = flat_units(work.room, work.f, n_outputs), flat_units(work.room, work.ft, K * n_outputs)
    for o in range(n_outputs):
        for j in range(last - first):
            i, at = order[first + j], o * block + j
            w = scale * rows.w[i]
            value, slope, curvature = loss_terms(np.float64(f[at]) - rows.Y[i, o], loss.code, loss.delta)
            total += w * value
            f[at] = w * slope
            for k in range(at, len(ft), n_outputs * block):
                ft[k] = w * curvature * ft[k]
        for j in range(last - first, block):
            f[o * block + j] = 0
            for k in range(o * block + j, len(ft), n_outputs * block):
                ft[k] = 0
    return total


@making_arrays
def loss_of_chunks(values, G, GT, chunks, theta, tangents, data):
    """The data term's sums over each chunk: values (chunks,), gradients G (chunks, p), products GT (chunks, K, p)."""
    first, last, size, every = chunks
    work = workspace(theta, len(tangents), data.network.table)
    for c in range(first, last):
        g = G[c]
        for j in range(g.size):
            g[j] = 0
        fill(GT[c], 0)
        part = Part(every, c * size, min((c + 1) * size, len(every)), 1.0)
        values[c] = add_loss(g, GT[c], theta, tangents, data, part, work)


@kernel
def add_up(values, G, GT):
    """Add all chunks to the first, in their order; return the sum of the values."""
    for c in range(1, len(G)):
        add(G[0], G[c])
        for k in range(GT.shape[1]):
            add(GT[0, k], GT[c, k])
    total = 0.0
    for c in range(len(values)):
        total += values[c]
    return total


@making_arrays
def output_jacobian(J, theta, X, every, network):
    """J (n, n_outputs, p) = d f_io / d theta."""
    n, n_outputs, block = J.shape[0], J.shape[1], block_rows(theta)
    none = np.empty((0, theta.size), theta.dtype)
    work = workspace(theta, 0, network.table)
    exact = len(none) > 0  # a variable: a literal would compile `forward` again
    for start in range(0, n, block):
        stop = min(start + block, n)
        width = load_rows(work, X, X.shape[1], every, start, stop)
        forward(work, width, theta, none, network, exact)
        f = flat_units(work.room, work.f, n_outputs)
        for o in range(n_outputs):
            for j in range(f.size):
                f[j] = 1 if j // block == o else 0
            row_gradients(J[start:stop, o], work, width, theta, network)


@making_arrays
def weighted_gradients(G, chunks, theta, U, X, network):
    """Chunks c of J^T u: G[c, k] (p,) = sum_io U[k, i, o] d f_io / d theta, i the chunk's rows."""
    block, every = block_rows(theta), chunks.every
    none = np.empty((0, theta.size), theta.dtype)
    work = workspace(theta, 0, network.table)
    exact = len(none) > 0
    for c in range(chunks.first, chunks.last):
        fill(G[c], 0)
        end = min((c + 1) * chunks.size, len(every))
        for start in range(c * chunks.size, end, block):
            n = min(block, end - start)
            width = load_rows(work, X, X.shape[1], every, start, start + n)
            forward(work, width, theta, none, network, exact)
            f = flat_units(work.room, work.f, U.shape[2])
            for k in range(len(U)):
                for o in range(U.shape[2]):
                    for j in range(block):
                        f[o * block + j] = U[k, start + j, o] if j < n else 0.0
                backward(G[c, k], none, work, n, theta, none, network, exact)
