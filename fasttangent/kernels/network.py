"""The dual pass of a block of rows through all layers.

A block keeps some rows of X as columns.  Its activations are stacked in flat buffers, inputs first, then the
hidden layers one after another, each followed by its unit that is always 1, so that one set of buffers serves a
network of any depth without another compilation; `matrix` is the view of one layer.
"""

from typing import NamedTuple

import numpy as np

from fasttangent.kernels.activations import activate
from fasttangent.kernels.arithmetic import fill
from fasttangent.kernels.jit import kernel, making_arrays
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
from fasttangent.kernels.memory import aligned
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
    """Room for one block, stacked over layers, or of two layers in turn (adjoints).

    A number says where something begins in `room`, in units: a place for a value of each of the block's rows.
    """

    room: np.ndarray
    f: int  # outputs, then their adjoints
    ft: int
    h: int  # activations, and 1
    p: int  # phi'(z)
    q: int  # phi''(z)
    ht: int  # tangents of the activations, and 0
    zt: int  # tangents of the pre-activations
    d: int  # adjoints of z, of one layer and, `half` units on, of the next
    e: int  # adjoint of h in one layer
    dt: int  # K times as many as d
    rows: int  # a transposed adjoint
    rows_t: int  # and its tangent
    half: int
    sums: np.ndarray  # a value per unit
    offsets: np.ndarray  # where the units of a layer begin in a flat buffer
    starts: np.ndarray  # where the block's rows begin in X


@kernel
def block_rows(like):
    """Rows in a block of the dtype of an array."""
    return BLOCK_BYTES // like.itemsize


@making_arrays
def workspace(theta, n_tangents, table):
    """Buffers of the dtype of `theta` for blocks of a network with K = n_tangents directions."""
    K, units, widest, lanes = n_tangents, 0, 0, block_rows(theta)
    for l in range(len(table)):
        units += table[l, 0] + 1
        widest = max(widest, table[l, 0] + 1, table[l, 1])
    padded = widest + 2 * (64 // theta.itemsize)
    h = (1 + K) * table[-1, 1]
    ht, d = h + 3 * units, h + (3 + 2 * K) * units
    dt, rows = d + 3 * widest, d + (3 + 2 * K) * widest
    sums = rows + 2 * padded
    room, numbers = aligned((sums + widest) * lanes, theta), aligned(widest + lanes, table)
    work = Work(
        room,
        0,
        table[-1, 1],
        h,
        h + units,
        h + 2 * units,
        ht,
        ht + K * units,
        d,
        d + 2 * widest,
        dt,
        rows,
        rows + padded,
        widest,
        stretch(room, sums * lanes, widest),
        numbers,
        stretch(numbers, widest, lanes),
    )
    for i in range(widest):
        numbers[i] = i * lanes
    for l in range(len(table)):
        n_in, at = table[l, 0], table[l, 4]
        fill(matrix(room, h + at + n_in, 1, lanes), 1)
        fill(matrix(room, ht + K * at, K * (n_in + 1), lanes), 0)
    return work


@making_arrays
def matrix(flat, first, units, width):
    """Units `first` and following of a flat buffer, `width` rows of each: (units, width)."""
    lanes = block_rows(flat)
    return window(flat, first * lanes, units, lanes, width)


@making_arrays
def flat_units(flat, first, units):
    """The same as one flat array."""
    lanes = block_rows(flat)
    return stretch(flat, first * lanes, units * lanes)


@making_arrays
def padded_rows(flat, first, n_rows, n):
    """(n_rows, n) of a flat buffer from a unit on, every row beginning at a cache line.

    An odd number of lines from row to row: with 16 lines, 256 values of float32, a tile's rows would all fall into
    a quarter of the L1 cache.
    """
    lanes = 64 // flat.itemsize
    lines = (n + lanes - 1) // lanes | 1
    return window(flat, first * block_rows(flat), n_rows, lines * lanes, n)


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
    x, starts = matrix(work.room, work.h, n_features, width), stretch(work.starts, 0, stop - start)
    gather_columns(x, stretch(X, 0, X.size), starts)
    return width


@kernel
def forward(work, width, theta, tangents, network, curvature):
    """Outputs work.f (n_outputs, block) and their tangents work.ft (K, n_outputs, block) of the loaded rows.

    `curvature`: keep what the exact Hessian product needs on the way back (phi'' and zt).
    """
    table, K, room = network.table, len(tangents), work.room
    for l in range(len(table)):
        n_in, n_out, at = table[l, 0], table[l, 1], table[l, 4]
        inner, above = n_in if l > 0 else 0, at + n_in + 1
        last = l == len(table) - 1
        W, h = weights(theta, table, l), matrix(room, work.h + at, n_in + 1, width)
        z = matrix(room, work.f if last else work.h + above, n_out, width)
        p = matrix(room, work.p + (0 if last else above), 0 if last else n_out, width)
        affine(z, W, h)
        if not last:
            q = matrix(room, work.q + above, n_out if curvature else 0, width)
            activate(z, p, q, z, network.activation)
        for k in range(K):
            V = tangent_weights(tangents, k, table, l)
            ht = matrix(room, work.ht + K * at + k * (n_in + 1), inner, width)
            above_t = K * above + k * (n_out + 1)
            if last:
                affine_tangent(matrix(room, work.ft + k * n_out, n_out, width), V, h, W, ht, p)
            elif curvature:
                zt = matrix(room, work.zt + K * above + k * n_out, n_out, width)
                affine_tangent(zt, V, h, W, ht, p[:0])
                tangent_through(matrix(room, work.ht + above_t, n_out + 1, width), p, zt)
            else:
                affine_tangent(matrix(room, work.ht + above_t, n_out, width), V, h, W, ht, p)


@kernel
def backward(g, gt, work, n_rows, theta, tangents, network, curvature):
    """Add the block's gradient to g (p,) and its tangents to gt (K, p), after `forward`.

    work.f (n_outputs, block), work.ft (K, n_outputs, block): adjoints of the outputs and their tangents, zero from
    n_rows on.  Without `curvature` the product is the Gauss-Newton one.
    """
    table, K, room = network.table, len(tangents), work.room
    width = whole_vectors(n_rows, theta)
    adjoint, adjoint_t = work.f, work.ft
    for l in range(len(table) - 1, -1, -1):
        n_in, n_out, at = table[l, 0], table[l, 1], table[l, 4]
        d, h = matrix(room, adjoint, n_out, width), matrix(room, work.h + at, n_in + 1, width)
        rows = padded_rows(room, work.rows, n_rows, n_out)
        rows_t = padded_rows(room, work.rows_t, n_rows, n_out)
        flat = flat_units(room, adjoint, n_out)
        add_gradient(weights(g, table, l), h, flat, rows, work.offsets, work.sums)
        second = n_in + 1 if curvature and l > 0 else 0
        for k in range(K):
            ht = matrix(room, work.ht + K * at + k * (n_in + 1), second, width)
            dt = flat_units(room, adjoint_t + k * n_out, n_out)
            Gt = tangent_weights(gt, k, table, l)
            add_gradient_tangent(Gt, h, dt, ht, flat, (rows, rows_t), work.offsets, work.sums)
        if l == 0:
            return
        # the adjoints of one layer stand in one half, those of the next in the other
        adjoint_below, adjoint_below_t = work.d + l % 2 * work.half, work.dt + l % 2 * K * work.half
        below, W = matrix(room, adjoint_below, n_in, width), weights(theta, table, l)
        p, above = matrix(room, work.p + at, n_in, width), d[: n_out if curvature else 0]
        e, q = matrix(room, work.e, n_in, width), matrix(room, work.q + at, n_in, width)
        if curvature:
            back(e, W, d, p[:0])
            tangent_through(below, p, e)
        else:
            back(below, W, d, p)
        for k in range(K):
            dt = matrix(room, adjoint_t + k * n_out, n_out, width)
            below_t = matrix(room, adjoint_below_t + k * n_in, n_in, width)
            back_tangent(below_t, W, dt, tangent_weights(tangents, k, table, l), above, p)
            if curvature:
                add_bend(below_t, e, q, matrix(room, work.zt + K * at + k * n_in, n_in, width))
        adjoint, adjoint_t = adjoint_below, adjoint_below_t


@kernel
def row_gradients(J, work, width, theta, network):
    """J (rows, p): gradient of each of the block's rows for adjoints work.f (n_outputs, block), after `forward`."""
    table, room, adjoint = network.table, work.room, work.f
    for l in range(len(table) - 1, -1, -1):
        n_in, n_out, w_at, at = table[l, 0], table[l, 1], table[l, 2], table[l, 4]
        d, h = matrix(room, adjoint, n_out, width), matrix(room, work.h + at, n_in + 1, width)
        for j in range(len(J)):
            for i in range(n_in + 1):
                for o in range(n_out):
                    J[j, w_at + i * n_out + o] = h[i, j] * d[o, j]
        if l > 0:
            adjoint = work.d + l % 2 * work.half
            below, p = matrix(room, adjoint, n_in, width), matrix(room, work.p + at, n_in, width)
            back(below, weights(theta, table, l), d, p)
