"""The dual pass of a block of rows through all layers.

A block keeps some rows of X as columns.  Its activations are stacked in flat buffers, inputs first, then the
hidden layers one after another, each followed by its unit that is always 1, so that one set of buffers serves a
network of any depth without another compilation; `matrix` and `tangent_matrix` are the views of one layer.
"""

from typing import NamedTuple

import numpy as np

from fasttangent.kernels.activations import activate
from fasttangent.kernels.arithmetic import fill
from fasttangent.kernels.jit import kernel
from fasttangent.kernels.layer import (
    add_bend,
    add_gradient,
    add_gradient_tangent,
    affine,
    affine_tangent,
    back,
    back_tangent,
    tangent_through,
    tangent_weights,
    weights,
)
from fasttangent.kernels.processor import vector_bits
from fasttangent.kernels.sums import gather_columns
from fasttangent.kernels.views import stretch, window

# Values of one unit in a block: 64 rows of float32, 32 of float64.  64 units of them fill 16 kB, so that a layer's
# inputs, outputs and weights stay in the L1 cache; and they are 4 vectors of 512 bits, the width of a tile.
BLOCK_BYTES = 256
VECTOR_BYTES = vector_bits() // 8


class Network(NamedTuple):
    """What kernels know of an architecture."""

    table: np.ndarray  # Layout.table
    activation: int  # code of `activations`


class Work(NamedTuple):
    """Room for one block: stacked over layers, or of two layers in turn (adjoints)."""

    f: np.ndarray  # outputs, then their adjoints
    ft: np.ndarray
    h: np.ndarray  # activations, and 1
    p: np.ndarray  # phi'(z)
    q: np.ndarray  # phi''(z)
    ht: np.ndarray  # tangents of the activations, and 0
    zt: np.ndarray  # tangents of the pre-activations
    d: np.ndarray  # adjoints of z
    e: np.ndarray  # adjoint of h in one layer
    dt: np.ndarray
    rows: np.ndarray  # a transposed adjoint
    rows_t: np.ndarray  # and its tangent
    sums: np.ndarray  # a value per unit
    offsets: np.ndarray  # where the units of a layer begin in a flat buffer
    starts: np.ndarray  # where the block's rows begin in X
    room: np.ndarray  # what all the others are views of, which do not keep it alive
    numbers: np.ndarray


@kernel
def block_rows(like):
    """Rows in a block of the dtype of an array."""
    return BLOCK_BYTES // like.itemsize


@kernel
def aligned(n, like):
    """n values of the dtype of `like`, not initialised, from the beginning of a cache line.

    A vector that crosses a line costs two loads: unaligned buffers took 10-20 % longer.
    """
    room = np.empty(n + 64 // like.itemsize, like.dtype)
    skip = (-room.ctypes.data % 64) // like.itemsize
    return room[skip : skip + n]


@kernel
def workspace(theta, n_tangents, table):
    """Buffers of the dtype of `theta` for blocks of a network with K = n_tangents directions."""
    K, units, widest, lanes = n_tangents, 0, 0, block_rows(theta)
    for l in range(len(table)):
        units += table[l, 0] + 1
        widest = max(widest, table[l, 0] + 1, table[l, 1])
    stack, layer, out = units * lanes, widest * lanes, table[-1, 1] * lanes
    padded = (widest + 2 * (64 // theta.itemsize)) * lanes
    room = aligned((1 + K) * out + (3 + 2 * K) * stack + (4 + 2 * K) * layer + 2 * padded, theta)
    numbers = np.zeros(widest + lanes, np.int64)
    h = (1 + K) * out
    ht, d = h + 3 * stack, h + (3 + 2 * K) * stack
    dt, rows = d + 3 * layer, d + (3 + 2 * K) * layer
    work = Work(
        stretch(room, 0, out),
        stretch(room, out, K * out),
        stretch(room, h, stack),
        stretch(room, h + stack, stack),
        stretch(room, h + 2 * stack, stack),
        stretch(room, ht, K * stack),
        stretch(room, ht + K * stack, K * stack),
        stretch(room, d, 2 * layer),
        stretch(room, d + 2 * layer, layer),
        stretch(room, dt, 2 * K * layer),
        stretch(room, rows, padded),
        stretch(room, rows + padded, padded),
        stretch(room, rows + 2 * padded, widest),
        stretch(numbers, 0, widest),
        stretch(numbers, widest, lanes),
        room,
        numbers,
    )
    for i in range(widest):
        numbers[i] = i * lanes
    for l in range(len(table)):
        n_in, at = table[l, 0], table[l, 4]
        fill(matrix(work.h, at + n_in, 1, lanes), 1)
        for k in range(K):
            fill(tangent_matrix(work.ht, K, k, at, n_in + 1, lanes), 0)
    return work


@kernel
def matrix(flat, first, units, width):
    """Units `first` and following of a flat buffer, `width` rows of each: (units, width)."""
    lanes = block_rows(flat)
    return window(flat, first * lanes, units, lanes, width)


@kernel
def tangent_matrix(flat, K, k, first, units, width):
    """The same of direction k of K in a layer of `units` units, where `first` units of each come before."""
    lanes = block_rows(flat)
    return window(flat, (K * first + k * units) * lanes, units, lanes, width)


@kernel
def padded_rows(flat, n_rows, n):
    """(n_rows, n) of a flat buffer, every row beginning at a cache line.

    An odd number of lines from row to row: with 16 lines, 256 values of float32, a tile's rows would all fall into
    a quarter of the L1 cache.
    """
    lanes = 64 // flat.itemsize
    lines = (n + lanes - 1) // lanes | 1
    return window(flat, 0, n_rows, lines * lanes, n)


@kernel
def whole_vectors(n, like):
    """n rounded up to a whole number of vectors."""
    lanes = VECTOR_BYTES // like.itemsize
    return (n + lanes - 1) // lanes * lanes


@kernel
def load_rows(work, X, n_features, order, start, stop):
    """The block's inputs: rows order[start:stop] of X as columns; return their number padded to whole vectors.

    Columns past the last row repeat it.
    """
    for j in range(stop - start):
        work.starts[j] = order[start + j] * n_features
    width = whole_vectors(stop - start, X)
    x, starts = matrix(work.h, 0, n_features, width), stretch(work.starts, 0, stop - start)
    gather_columns(x, stretch(X, 0, X.size), starts)
    return width


@kernel
def forward(work, width, theta, tangents, network, curvature):
    """Outputs work.f (n_outputs, block) and their tangents work.ft (K, n_outputs, block) of the loaded rows.

    `curvature`: keep what the exact Hessian product needs on the way back (phi'' and zt).
    """
    table, K = network.table, len(tangents)
    for l in range(len(table)):
        n_in, n_out, at = table[l, 0], table[l, 1], table[l, 4]
        inner, above = n_in if l > 0 else 0, at + n_in + 1
        last = l == len(table) - 1
        W, h = weights(theta, table, l), matrix(work.h, at, n_in + 1, width)
        z = matrix(work.f, 0, n_out, width) if last else matrix(work.h, above, n_out, width)
        p = matrix(work.p, 0 if last else above, 0 if last else n_out, width)
        affine(z, W, h)
        if not last:
            q = matrix(work.q, above, n_out if curvature else 0, width)
            activate(z, p, q, z, network.activation)
        for k in range(K):
            V = tangent_weights(tangents, k, table, l)
            ht = window(
                work.ht, (K * at + k * (n_in + 1)) * block_rows(theta), inner, block_rows(theta), width
            )
            if last:
                affine_tangent(tangent_matrix(work.ft, K, k, 0, n_out, width), V, h, W, ht, p)
            elif curvature:
                zt = tangent_matrix(work.zt, K, k, above, n_out, width)
                affine_tangent(zt, V, h, W, ht, p[:0])
                tangent_through(tangent_matrix(work.ht, K, k, above, n_out + 1, width), p, zt)
            else:
                above_t = tangent_matrix(work.ht, K, k, above, n_out + 1, width)
                affine_tangent(above_t[:n_out], V, h, W, ht, p)


@kernel
def backward(g, gt, work, n_rows, theta, tangents, network, curvature):
    """Add the block's gradient to g (p,) and its tangents to gt (K, p), after `forward`.

    work.f (n_outputs, block), work.ft (K, n_outputs, block): adjoints of the outputs and their tangents, zero from
    n_rows on.  Without `curvature` the product is the Gauss-Newton one.
    """
    table, K, block = network.table, len(tangents), block_rows(theta)
    width = whole_vectors(n_rows, theta)
    flat, flat_t = work.f, work.ft
    for l in range(len(table) - 1, -1, -1):
        n_in, n_out, at = table[l, 0], table[l, 1], table[l, 4]
        d, h = matrix(flat, 0, n_out, width), matrix(work.h, at, n_in + 1, width)
        rows, rows_t = padded_rows(work.rows, n_rows, n_out), padded_rows(work.rows_t, n_rows, n_out)
        add_gradient(weights(g, table, l), h, flat, rows, work.offsets, work.sums)
        second = n_in + 1 if curvature and l > 0 else 0
        for k in range(K):
            ht = window(work.ht, (K * at + k * (n_in + 1)) * block, second, block, width)
            dt = stretch(flat_t, k * n_out * block, n_out * block)
            Gt = tangent_weights(gt, k, table, l)
            add_gradient_tangent(Gt, h, dt, ht, flat, (rows, rows_t), work.offsets, work.sums)
        if l == 0:
            return
        # the adjoints of one layer stand in one half, those of the next in the other
        size, half = len(work.d) // 2, l % 2
        flat_below, flat_below_t = (
            stretch(work.d, half * size, size),
            stretch(work.dt, half * K * size, K * size),
        )
        below, p, W = (
            matrix(flat_below, 0, n_in, width),
            matrix(work.p, at, n_in, width),
            weights(theta, table, l),
        )
        above = matrix(flat, 0, n_out if curvature else 0, width)
        if curvature:
            e, q = matrix(work.e, 0, n_in, width), matrix(work.q, at, n_in, width)
            back(e, W, d, p[:0])
            tangent_through(below, p, e)
        else:
            back(below, W, d, p)
        for k in range(K):
            dt, below_t = (
                tangent_matrix(flat_t, K, k, 0, n_out, width),
                tangent_matrix(flat_below_t, K, k, 0, n_in, width),
            )
            back_tangent(below_t, W, dt, tangent_weights(tangents, k, table, l), above, p)
            if curvature:
                add_bend(below_t, e, q, tangent_matrix(work.zt, K, k, at, n_in, width))
        flat, flat_t = flat_below, flat_below_t


@kernel
def row_gradients(J, work, width, theta, network):
    """J (rows, p): gradient of each of the block's rows for adjoints work.f (n_outputs, block), after `forward`."""
    table = network.table
    flat = work.f
    for l in range(len(table) - 1, -1, -1):
        n_in, n_out, w_at, at = table[l, 0], table[l, 1], table[l, 2], table[l, 4]
        d, h = matrix(flat, 0, n_out, width), matrix(work.h, at, n_in + 1, width)
        for j in range(len(J)):
            for i in range(n_in + 1):
                for o in range(n_out):
                    J[j, w_at + i * n_out + o] = h[i, j] * d[o, j]
        if l > 0:
            size = len(work.d) // 2
            flat = stretch(work.d, l % 2 * size, size)
            back(matrix(flat, 0, n_in, width), weights(theta, table, l), d, matrix(work.p, at, n_in, width))
