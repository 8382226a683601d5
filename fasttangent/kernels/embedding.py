"""Embeddings of rows from the activations and adjoints of every layer; no gradient is ever formed.

The gradient of an output in the weights of layer l, the biases their last row, is the outer product of the layer's
inputs h_l, which end with 1, and the adjoints d_l of its pre-activations.  So whatever is linear in the gradient
needs h_l and d_l alone:

    posterior   e_k = v_k . grad f = sum_l d_l . (V_kl^T h_l)         one product per layer, 2 p operations,
                where the forward pass with a tangent takes two (`scoring.outputs`)
    gradient    phi = sum_l (P_l h_l) * (Q_l d_l)                     E[phi . phi'] = grad f . grad f'
    norms       ||grad f||^2 = sum_l ||h_l||^2 ||d_l||^2

A last layer has the adjoint 1 of its own output and 0 of others: its part is a product with h alone.
"""

from typing import NamedTuple

import numpy as np

from fasttangent.kernels.arithmetic import add, fill
from fasttangent.kernels.denormals import flush_denormals, restore
from fasttangent.kernels.jit import kernel, making_arrays
from fasttangent.kernels.layer import weights
from fasttangent.kernels.memory import aligned
from fasttangent.kernels.network import (
    block_rows,
    forward,
    matrix,
    whole_vectors,
    workspace,
)
from fasttangent.kernels.products import product
from fasttangent.kernels.sums import add_column_dots, gather_columns
from fasttangent.kernels.views import row, stretch, window

GROUP = 4  # blocks that are multiplied by a direction while it is in the L2 cache
STRIP = 48  # rows of a product whose results stay in the L1 cache: 8 tiles


class Inputs(NamedTuple):
    """Rows as they were read, and what makes standard units of them."""

    X: np.ndarray  # flat; row i is X[i step : i step + n_features]
    step: int
    centre: np.ndarray  # (n_features,); x -> (x - centre) inverse + shift
    inverse: np.ndarray
    shift: np.ndarray


class Room(NamedTuple):
    """What is kept of the blocks of a group, one behind the other."""

    h: np.ndarray  # activations, as Work.h
    d: (
        np.ndarray
    )  # of each layer but the last, the adjoints of its outputs for the first output, the second ...
    bad: np.ndarray  # a value per row: nan where the row is not finite, else 0


@kernel
def outputs_before(table, l):
    """Units of the hidden layers below layer l's own outputs."""
    total = 0
    for m in range(l):
        total += table[m, 1]
    return total


@making_arrays
def group_room(theta, table):
    """Room for the passes of a group."""
    lanes, last = block_rows(theta), len(table) - 1
    units, hidden = table[last, 4] + table[last, 0] + 1, outputs_before(table, last)
    return Room(
        aligned(GROUP * units * lanes, theta),
        aligned(GROUP * table[last, 1] * hidden * lanes, theta),
        aligned(GROUP * lanes, theta),
    )


@making_arrays
def block_of(flat, b):
    """Block b of what is kept of a group."""
    size = len(flat) // GROUP
    return stretch(flat, b * size, size)


@kernel
def load(work, bad, inputs, start, stop):
    """Rows start ... stop as columns in standard units; bad = nan for those that are not finite; their width."""
    n_features, n = len(inputs.centre), stop - start
    for j in range(n):
        work.starts[j] = (start + j) * inputs.step
    width, zero = whole_vectors(n, bad), bad.dtype.type(0)
    gather_columns(matrix(work.room, work.h, n_features, width), inputs.X, stretch(work.starts, 0, n))
    for j in range(width):
        bad[j] = zero
    for i in range(n_features):
        x = row(matrix(work.room, work.h, n_features, width), i)
        centre, inverse, shift = inputs.centre[i], inputs.inverse[i], inputs.shift[i]
        for j in range(x.size):
            bad[j] += zero * x[j]
            x[j] = (x[j] - centre) * inverse + shift
    return width


@making_arrays
def passes(room, work, n, first, theta, inputs, network):
    """Forward and back for the group of rows from `first` on, as far as n: the number of blocks."""
    table, lanes = network.table, block_rows(theta)
    last, n_outputs = len(table) - 1, table[-1, 1]
    none = np.empty((0, theta.size), theta.dtype)
    exact = len(none) > 0  # a variable: a literal would compile `forward` again
    blocks = 0
    for start in range(first, min(first + GROUP * lanes, n), lanes):
        bad, d, h = block_of(room.bad, blocks), block_of(room.d, blocks), block_of(room.h, blocks)
        width = load(work, bad, inputs, start, min(start + lanes, n))
        forward(work, width, theta, none, network, exact)
        for o in range(n_outputs):
            f = row(matrix(work.room, work.f, n_outputs, width), o)
            for j in range(f.size):
                bad[j] += 0 * f[j]
        stack = stretch(work.room, work.h * lanes, h.size)
        for j in range(h.size):
            h[j] = stack[j]
        for l in range(last, 0, -1):
            n_in, n_out, at = table[l, 0], table[l, 1], table[l, 4]
            W, p = weights(theta, table, l)[:n_in], matrix(work.room, work.p + at, n_in, width)
            below, above = n_outputs * outputs_before(table, l - 1), n_outputs * outputs_before(table, l)
            for o in range(n_outputs):
                into = matrix(d, below + o * n_in, n_in, width)
                if l == last:  # the unit that is always 1 is the adjoint of the output
                    one = matrix(h, at + n_in, 1, width)
                    product(into, W[:, o : o + 1], one, W[:, :0], one[:0], p, False)
                else:
                    e = matrix(d, above + o * n_out, n_out, width)
                    product(into, W, e, W[:, :0], e[:0], p, False)
        blocks += 1
    return blocks


@kernel
def columns_out(E, start, stop, flat, bad, offsets):
    """E[start:stop] = columns of a block, column j the values flat[offsets + j]; nan where bad."""
    n, dim = stop - start, len(offsets)
    whole = dim // whole_vectors(1, flat) * whole_vectors(1, flat)
    if whole > 0:
        gather_columns(window(E, start * dim, n, dim, whole), flat, stretch(offsets, 0, whole))
    for j in range(n):
        for i in range(whole, dim):
            E[start + j, i] = flat[offsets[i] + j]
        if bad[j] != 0:  # nan
            for i in range(dim):
                E[start + j, i] = bad[j]


@making_arrays
def every_block(n, like):
    """0, 1 ... n - 1 times the rows of a block: where units begin."""
    offsets = np.empty(n, np.int64)
    for i in range(n):
        offsets[i] = i * block_rows(like)
    return offsets


@making_arrays
def posterior(E, VT, theta, inputs, network):
    """E (n, n_outputs K): v_k . grad f_o of row i in E[i, o K + k].

    VT is flat: of every layer but the last, V_kl transposed (K, n_out, n_in + 1), then the next layer; of the last
    one (n_out, K, n_in + 1).
    """
    table, lanes, (n, dim) = network.table, block_rows(theta), E.shape
    K, n_outputs, last, widest = len(VT) // theta.size, table[-1, 1], len(table) - 1, 0
    for l in range(last):
        widest = max(widest, STRIP, table[l, 1])
    room, work, mode = group_room(theta, table), workspace(theta, 0, table), flush_denormals()
    e, G, offsets = (
        aligned(GROUP * dim * lanes, theta),
        aligned(widest * lanes, theta),
        every_block(dim, theta),
    )
    for first in range(0, n, GROUP * lanes):
        blocks = passes(room, work, n, first, theta, inputs, network)
        n_in, at = table[last, 0] + 1, table[last, 2]
        V = window(VT, K * at, dim, n_in, n_in)
        for b in range(blocks):
            width = whole_vectors(min(lanes, n - first - b * lanes), theta)
            h = matrix(block_of(room.h, b), table[last, 4], n_in, width)
            product(matrix(block_of(e, b), 0, dim, width), V, h, V[:, :0], h[:0], h[:0], False)
        for l in range(last):
            n_in, n_out, at = table[l, 0] + 1, table[l, 1], table[l, 2]
            some = max(1, STRIP // n_out)
            for k in range(0, K, some):
                m = min(some, K - k)
                V = window(VT, K * at + k * n_out * n_in, m * n_out, n_in, n_in)
                for b in range(blocks):
                    width = whole_vectors(min(lanes, n - first - b * lanes), theta)
                    h, total = matrix(block_of(room.h, b), table[l, 4], n_in, width), block_of(e, b)
                    product(matrix(G, 0, m * n_out, width), V, h, V[:, :0], h[:0], h[:0], False)
                    for o in range(n_outputs):
                        place = n_outputs * outputs_before(table, l) + o * n_out
                        d = matrix(block_of(room.d, b), place, n_out, width)
                        for i in range(m):
                            add_column_dots(
                                stretch(total, (o * K + k + i) * lanes, width),
                                matrix(G, i * n_out, n_out, width),
                                d,
                            )
        for b in range(blocks):
            start = first + b * lanes
            columns_out(E, start, min(start + lanes, n), block_of(e, b), block_of(room.bad, b), offsets)
    restore(mode)


@making_arrays
def gradient(E, P, Q, theta, inputs, network):
    """E (n, D) = sum_l (P_l h_l) * (Q_l d_l).

    P is flat, P_l (D, n_in + 1) of one layer after the other, and so is Q, Q_l (D, n_outputs n_out) for the adjoints
    of all outputs, without the last layer's, which is a factor of P_l.
    """
    table, lanes, (n, dim) = network.table, block_rows(theta), E.shape
    n_outputs, last = table[-1, 1], len(table) - 1
    room, work, mode = group_room(theta, table), workspace(theta, 0, table), flush_denormals()
    phi, offsets = aligned(GROUP * dim * lanes, theta), every_block(dim, theta)
    u, t = aligned(STRIP * lanes, theta), aligned(STRIP * lanes, theta)
    for sums in (phi, t):  # columns behind the last row are added up, too
        for j in range(sums.size):
            sums[j] = 0
    for first in range(0, n, GROUP * lanes):
        blocks = passes(room, work, n, first, theta, inputs, network)
        for s in range(0, dim, STRIP):
            m = min(STRIP, dim - s)
            for b in range(blocks):
                width = whole_vectors(min(lanes, n - first - b * lanes), theta)
                for l in range(last, -1, -1):
                    n_in, at = table[l, 0] + 1, table[l, 4]
                    A, h = window(P, dim * at + s * n_in, m, n_in, n_in), block_of(room.h, b)
                    x = matrix(h, at, n_in, width)
                    into = matrix(block_of(phi, b), s, m, width) if l == last else matrix(u, 0, m, width)
                    product(into, A, x, A[:, :0], x[:0], x[:0], False)
                    if l < last:
                        q, place = n_outputs * table[l, 1], n_outputs * outputs_before(table, l)
                        B, d = window(Q, dim * place + s * q, m, q, q), block_of(room.d, b)
                        y = matrix(d, place, q, width)
                        product(matrix(t, 0, m, width), B, y, B[:, :0], y[:0], into, False)
                        add(stretch(block_of(phi, b), s * lanes, m * lanes), stretch(t, 0, m * lanes))
        for b in range(blocks):
            start = first + b * lanes
            columns_out(E, start, min(start + lanes, n), block_of(phi, b), block_of(room.bad, b), offsets)
    restore(mode)


@making_arrays
def norms(squares, theta, inputs, network):
    """squares (n,) float64 = sum_l ||h_l||^2 sum_o ||d_l^o||^2; nan where a row is not finite."""
    table, lanes, n = network.table, block_rows(theta), len(squares)
    n_outputs, last = table[-1, 1], len(table) - 1
    room, work, mode = group_room(theta, table), workspace(theta, 0, table), flush_denormals()
    both = aligned(2 * lanes, theta)
    hh, dd = both[:lanes], both[lanes : 2 * lanes]
    for first in range(0, n, GROUP * lanes):
        blocks = passes(room, work, n, first, theta, inputs, network)
        for b in range(blocks):
            start, bad = first + b * lanes, block_of(room.bad, b)
            width = whole_vectors(min(lanes, n - start), theta)
            for j in range(min(lanes, n - start)):
                squares[start + j] = bad[j]
            for l in range(last + 1):
                fill(window(both, 0, 2, lanes, lanes), 0)
                x = matrix(block_of(room.h, b), table[l, 4], table[l, 0] + 1, width)
                add_column_dots(stretch(hh, 0, width), x, x)
                if l < last:
                    place, units = n_outputs * outputs_before(table, l), n_outputs * table[l, 1]
                    y = matrix(block_of(room.d, b), place, units, width)
                    add_column_dots(stretch(dd, 0, width), y, y)
                for j in range(min(lanes, n - start)):
                    D = np.float64(dd[j]) if l < last else np.float64(n_outputs)
                    squares[start + j] += np.float64(hh[j]) * D
    restore(mode)


@making_arrays
def inputs_of_layer(E, l, theta, inputs, network):
    """E (n, n_in) = h_l, what layer l multiplies by its weights: standardised inputs, or activations."""
    table, lanes, (n, dim) = network.table, block_rows(theta), E.shape
    none, work, mode = np.empty((0, theta.size), theta.dtype), workspace(theta, 0, table), flush_denormals()
    bad, exact, offsets = aligned(lanes, theta), len(none) > 0, every_block(dim, theta)
    for start in range(0, n, lanes):
        stop, place = min(start + lanes, n), table[l, 4] * lanes
        width = load(work, bad, inputs, start, stop)
        if l > 0:
            forward(work, width, theta, none, network, exact)
        columns_out(E, start, stop, stretch(work.room, work.h * lanes + place, dim * lanes), bad, offsets)
    restore(mode)
