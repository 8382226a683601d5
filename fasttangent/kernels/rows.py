"""Drivers over many rows: scores of every row, and sums over rows of loss, gradient and curvature products."""

from typing import NamedTuple

import numpy as np

from fasttangent.kernels.arithmetic import fill
from fasttangent.kernels.jit import kernel
from fasttangent.kernels.losses import loss_terms
from fasttangent.kernels.network import (
    LANES,
    backward,
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


@kernel
def outputs(F, FT, theta, tangents, X, every, network):
    """Predictions F (n, n_outputs) and their tangents FT (n, K, n_outputs) for rows X (n, n_features).

    `every` is 0, 1 ... n - 1: the order in which blocks are loaded.
    """
    n, K, n_outputs = len(X), len(tangents), F.shape[1]
    work = workspace(theta, K, network.table)
    f = np.empty((n_outputs, LANES), theta.dtype)
    ft = np.empty((K, n_outputs, LANES), theta.dtype)
    for start in range(0, n, LANES):
        stop = min(start + LANES, n)
        load_rows(work, X, every, start, stop)
        forward(f, ft, work, theta, tangents, network)
        for j in range(stop - start):
            for o in range(n_outputs):
                F[start + j, o] = f[o, j]
                for k in range(K):
                    FT[start + j, k, o] = ft[k, o, j]


@kernel
def add_loss(g, gt, theta, tangents, rows, order, start, stop, scale, network, loss, gauss_newton, work):
    """Add the gradient of  scale sum_i w_i loss(f_i, y_i)  over rows i in order[start:stop] to g (p,), and the
    products of its Hessian (or Gauss-Newton matrix) with `tangents` (K, p) to gt (K, p); return the sum.
    """
    K, n_outputs = len(tangents), rows.Y.shape[1]
    f = np.empty((n_outputs, LANES), theta.dtype)
    ft = np.empty((K, n_outputs, LANES), theta.dtype)
    total = 0.0
    for first in range(start, stop, LANES):
        last = min(first + LANES, stop)
        load_rows(work, rows.X, order, first, last)
        forward(f, ft, work, theta, tangents, network)
        total += _output_adjoints(f, ft, rows, order, first, last, scale, loss)
        backward(g, gt, f, ft, work, theta, tangents, network, gauss_newton)
    return total


@kernel
def _output_adjoints(f, ft, rows, order, first, last, scale, loss):
    """f <- d = w loss'(f, y),   ft <- dt = w loss''(f, y) ft, in place; return the sum of w loss(f, y)."""
    total = 0.0
    for j in range(last - first):
        i = order[first + j]
        w = scale * rows.w[i]
        for o in range(f.shape[0]):
            value, slope, curvature = loss_terms(np.float64(f[o, j]) - rows.Y[i, o], loss.code, loss.delta)
            total += w * value
            f[o, j] = w * slope
            for k in range(len(ft)):
                ft[k, o, j] = w * curvature * ft[k, o, j]
    for j in range(last - first, LANES):
        for o in range(f.shape[0]):
            f[o, j] = 0
            for k in range(len(ft)):
                ft[k, o, j] = 0
    return total


@kernel
def loss_of_chunk(c, chunk, values, G, GT, theta, tangents, rows, every, network, loss, gauss_newton):
    """Chunk c of the full-batch sums: rows [c chunk, (c + 1) chunk) into values[c], G[c] (p,), GT[c] (K, p).

    G and GT hold zeros; `every` is 0, 1 ... n - 1.
    """
    start, stop = c * chunk, min((c + 1) * chunk, len(every))
    work = workspace(theta, len(tangents), network.table)
    values[c] = add_loss(
        G[c], GT[c], theta, tangents, rows, every, start, stop, 1.0, network, loss, gauss_newton, work
    )


@kernel
def output_jacobian(J, theta, X, every, network):
    """J (n, n_outputs, p) = d f_io / d theta."""
    n, n_outputs = J.shape[0], J.shape[1]
    none = np.empty((0, theta.size), theta.dtype)
    work = workspace(theta, 0, network.table)
    f = np.empty((n_outputs, LANES), theta.dtype)
    ft = np.empty((0, n_outputs, LANES), theta.dtype)
    for start in range(0, n, LANES):
        stop = min(start + LANES, n)
        load_rows(work, X, every, start, stop)
        forward(f, ft, work, theta, none, network)
        for o in range(n_outputs):
            fill(f, 0)
            for j in range(LANES):
                f[o, j] = 1
            row_gradients(J[start:stop, o], f, work, theta, network)
