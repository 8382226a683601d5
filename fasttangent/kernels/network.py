"""The dual pass of a block of rows through all layers.

A block keeps LANES rows of X as columns.  Its activations are stacked in flat buffers, inputs first, then the
hidden layers one after another, so that one set of buffers serves a network of any depth without another
compilation; `_matrix` and `_matrices` are the views of one layer.
"""

from typing import NamedTuple

import numpy as np

from fasttangent.kernels.activations import activate
from fasttangent.kernels.jit import kernel
from fasttangent.kernels.layer import (
    add_gradients,
    adjoint_through,
    affine,
    back,
    tangent_through,
)

LANES = 64  # rows per block: 64 x 64 activations of float64 fill 32 kB, one L1 cache


class Network(NamedTuple):
    """What kernels know of an architecture."""

    table: np.ndarray  # Layout.table
    activation: int  # code of `activations`


class Work(NamedTuple):
    """Room for one block: stacked over layers where flat, of one layer where it has two or three axes."""

    h: np.ndarray  # activations
    p: np.ndarray  # phi'(z)
    q: np.ndarray  # phi''(z)
    ht: np.ndarray  # tangents of the activations
    zt: np.ndarray  # tangents of the pre-activations
    d: np.ndarray  # adjoint of z in one layer
    e: np.ndarray  # adjoint of h in one layer
    dt: np.ndarray
    et: np.ndarray
    rows: np.ndarray  # a transposed adjoint


@kernel
def workspace(theta, n_tangents, table):
    """Buffers of the dtype of `theta` for blocks of a network with K = n_tangents directions."""
    K, units, widest = n_tangents, 0, 0
    for l in range(len(table)):
        units += table[l, 0] * LANES
        widest = max(widest, table[l, 0] * LANES, table[l, 1] * LANES)
    return Work(
        np.zeros(units, theta.dtype),
        np.empty(units, theta.dtype),
        np.empty(units, theta.dtype),
        np.zeros(K * units, theta.dtype),
        np.zeros(K * units, theta.dtype),
        np.empty(widest, theta.dtype),
        np.empty(widest, theta.dtype),
        np.empty(K * widest, theta.dtype),
        np.empty(K * widest, theta.dtype),
        np.empty(widest, theta.dtype),
    )


@kernel
def _matrix(flat, first, units):
    return flat[first * LANES : (first + units) * LANES].reshape((units, LANES))


@kernel
def _matrices(flat, K, first, units):
    return flat[K * first * LANES : K * (first + units) * LANES].reshape((K, units, LANES))


@kernel
def load_rows(work, X, order, start, stop):
    """The block's inputs: rows order[start:stop] of X as columns; columns past the last row are zero."""
    x = _matrix(work.h, 0, X.shape[1])
    for j in range(stop - start):
        row = X[order[start + j]]
        for i in range(X.shape[1]):
            x[i, j] = row[i]
    for i in range(X.shape[1]):
        for j in range(stop - start, LANES):
            x[i, j] = 0


@kernel
def forward(f, ft, work, theta, tangents, network):
    """Outputs f (n_outputs, LANES) and their tangents ft (K, n_outputs, LANES) of the loaded rows."""
    table, K = network.table, len(tangents)
    for l in range(len(table)):
        n_in, n_out, at = table[l, 0], table[l, 1], table[l, 4]
        h, ht = _matrix(work.h, at, n_in), _matrices(work.ht, K, at, n_in)
        if l == len(table) - 1:
            affine(f, ft, h, ht, theta, tangents, table, l)
        else:
            at += n_in
            z, zt = _matrix(work.d, 0, n_out), _matrices(work.zt, K, at, n_out)
            affine(z, zt, h, ht, theta, tangents, table, l)
            p, q = _matrix(work.p, at, n_out), _matrix(work.q, at, n_out)
            activate(_matrix(work.h, at, n_out), p, q, z, network.activation)
            tangent_through(_matrices(work.ht, K, at, n_out), p, zt)


@kernel
def backward(g, gt, d, dt, work, theta, tangents, network, gauss_newton):
    """Add the block's gradient to g (p,) and its tangents to gt (K, p), after `forward`.

    d (n_outputs, LANES), dt (K, n_outputs, LANES): adjoints of the outputs and their tangents; zero for
    columns without a row.
    """
    table, K = network.table, len(tangents)
    for l in range(len(table) - 1, -1, -1):
        n_in, n_out, at = table[l, 0], table[l, 1], table[l, 4]
        h, ht = _matrix(work.h, at, n_in), _matrices(work.ht, K, at, n_in)
        rows = work.rows[: LANES * n_out].reshape((LANES, n_out))
        add_gradients(g, gt, d, dt, h, ht, table, l, gauss_newton, rows)
        if l > 0:
            e, et = _matrix(work.e, 0, n_in), _matrices(work.et, K, 0, n_in)
            back(e, et, d, dt, theta, tangents, table, l, gauss_newton)
            d, dt = _matrix(work.d, 0, n_in), _matrices(work.dt, K, 0, n_in)
            p, q, zt = _matrix(work.p, at, n_in), _matrix(work.q, at, n_in), _matrices(work.zt, K, at, n_in)
            adjoint_through(d, dt, e, et, p, q, zt, gauss_newton)


@kernel
def row_gradients(J, d, work, theta, network):
    """J (rows, p): gradient of each of the block's rows for adjoints d (n_outputs, LANES), after `forward`."""
    table = network.table
    none, no_tangent = np.empty((0, 0), theta.dtype), _matrices(work.ht, 0, 0, 0)
    exact = len(none) == 0  # a variable: the literal False would compile `back` once more
    for l in range(len(table) - 1, -1, -1):
        n_in, n_out, w_at, b_at, at = table[l]
        h = _matrix(work.h, at, n_in)
        for j in range(len(J)):
            for i in range(n_in):
                for o in range(n_out):
                    J[j, w_at + i * n_out + o] = h[i, j] * d[o, j]
            for o in range(n_out):
                J[j, b_at + o] = d[o, j]
        if l > 0:
            e = _matrix(work.e, 0, n_in)
            back(e, no_tangent, d, no_tangent, theta, none, table, l, exact)
            d = _matrix(work.d, 0, n_in)
            p, q = _matrix(work.p, at, n_in), _matrix(work.q, at, n_in)
            adjoint_through(d, no_tangent, e, no_tangent, p, q, no_tangent, exact)
