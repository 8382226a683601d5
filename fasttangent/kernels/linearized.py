"""Curvature of the data term at fixed parameters: what stays the same from product to product is kept.

A product with the Hessian is then 6 matrix products per inner layer instead of 8, one with J or J^T for a single
output is one.  Rows stand in blocks, a column each, as in `network`; columns beyond the last row are zero.
"""

from typing import NamedTuple

import numpy as np

from fasttangent.kernels.arithmetic import fill
from fasttangent.kernels.jit import kernel, making_arrays
from fasttangent.kernels.layer import (
    NARROW,
    add_gradient,
    add_gradient_tangent,
    affine,
    affine_tangent,
    back,
    back_tangent,
    tangent_through,
    weights,
)
from fasttangent.kernels.losses import loss_terms
from fasttangent.kernels.network import (
    block_rows,
    flat_units,
    forward,
    load_rows,
    matrix,
    padded_rows,
    workspace,
)
from fasttangent.kernels.sums import gather_columns
from fasttangent.kernels.views import row, stretch


class Kept(NamedTuple):
    """What is known of the rows.  A stack has the units of all layers' inputs where `Layout.table` says, of which
    those of X and the ones have no use but in h.
    """

    h: np.ndarray  # (blocks, stack) activations, and 1
    p: np.ndarray  # (blocks, stack) phi'(z)
    bends: np.ndarray  # (blocks, stack) phi''(z) times the adjoints of h
    d: np.ndarray  # (blocks, stack) adjoints of z
    slopes: np.ndarray  # (blocks, outputs) w loss'
    curvatures: np.ndarray  # (blocks, outputs) w loss''
    roots: np.ndarray  # (n_outputs, blocks, rows) their roots
    each: np.ndarray  # (n_outputs, blocks, stack) adjoints of z for each output alone, times its root


class Parts(NamedTuple):
    """Parts first <= c < last of a sum over blocks: blocks c size ... (c + 1) size."""

    first: int
    last: int
    size: int


@making_arrays
def linearize(kept, first, last, theta, data, every):
    """Fill blocks first ... last."""
    block, n_outputs = block_rows(theta), data.rows.Y.shape[1]
    work, none = workspace(theta, 0, data.network.table), np.empty((0, theta.size), theta.dtype)
    room = work, none, np.empty((n_outputs, block), theta.dtype)
    for b in range(first, last):
        span = b * block, min(block, len(every) - b * block)
        linearize_block(kept, b, theta, data, every, span, room)


@kernel
def linearize_block(kept, b, theta, data, order, span, room):
    """Fill block b from n rows of the order, from a start: `span`; `room` is a workspace, no tangents, and adjoints."""
    rows, network, loss, _ = data
    work, none, alone = room
    start, n = span
    table, block, n_outputs = network.table, block_rows(theta), rows.Y.shape[1]
    curvature = len(none) == 0  # a variable: a literal would compile `forward` again
    width = load_rows(work, rows.X, rows.X.shape[1], order, start, start + n)
    forward(work, width, theta, none, network, curvature)
    _keep(row(kept.h, b), work.room, work.h, n)
    _keep(row(kept.p, b), work.room, work.p, n)
    _keep(row(kept.bends, b), work.room, work.q, n)
    _output_derivatives(kept, b, order, span, flat_units(work.room, work.f, n_outputs), rows, loss)
    p, d = row(kept.p, b), row(kept.d, b)
    above = matrix(row(kept.slopes, b), 0, n_outputs, block)
    for l in range(len(table) - 1, 0, -1):
        at, units = table[l, 4], table[l, 0]
        e, bends, below = (
            matrix(work.room, work.e, units, block),
            row(kept.bends, b),
            matrix(d, at, units, block),
        )
        back(e, weights(theta, table, l), above, below[:0])
        tangent_through(below, matrix(p, at, units, block), e)
        tangent_through(matrix(bends, at, units, block), matrix(bends, at, units, block), e)
        above = below
    for o in range(n_outputs):
        fill(alone, 0)
        for j in range(block):
            alone[o, j] = kept.roots[o, b, j]
        _adjoints(kept.each[o, b], theta, table, matrix(alone, 0, n_outputs, block), p)


@kernel
def _keep(stack, room, first, n):
    """stack = the units of the room from the first on, columns from n on zero."""
    block = block_rows(stack)
    for u in range(stack.size // block):
        a, b = stretch(stack, u * block, block), stretch(room, (first + u) * block, block)
        for j in range(n):
            a[j] = b[j]
        for j in range(n, block):
            a[j] = 0


@kernel
def _output_derivatives(kept, b, order, span, f, rows, loss):
    start, n = span
    slopes, curvatures, block = row(kept.slopes, b), row(kept.curvatures, b), block_rows(f)
    for o in range(rows.Y.shape[1]):
        for j in range(block):
            at, slope, curvature = o * block + j, 0.0, 0.0
            if j < n:
                i = order[start + j]
                residual = np.float64(f[at]) - rows.Y[i, o]
                _, slope, curvature = loss_terms(residual, loss.code, loss.delta)
                slope, curvature = rows.w[i] * slope, rows.w[i] * curvature
            slopes[at], curvatures[at] = slope, curvature
            kept.roots[o, b, j] = np.sqrt(curvature)


@kernel
def _adjoints(d, theta, table, above, p):
    """Adjoints of z of all hidden layers in the stack d, from those of the outputs."""
    block = block_rows(theta)
    for l in range(len(table) - 1, 0, -1):
        below = matrix(d, table[l, 4], table[l, 0], block)
        back(below, weights(theta, table, l), above, matrix(p, table[l, 4], table[l, 0], block))
        above = below


@making_arrays
def curvature_products(G, kept, parts, theta, v, table):
    """G[c] (p,) = the product of v (p,) with the Hessian of the data term, summed over the blocks of part c."""
    work = workspace(theta, 1, table)
    for c in range(parts.first, parts.last):
        g = row(G, c)
        for j in range(g.size):
            g[j] = 0
        for b in range(c * parts.size, min((c + 1) * parts.size, len(kept.h))):
            add_product_of_block(g, work, kept, b, theta, v, table)


@kernel
def add_product_of_block(g, work, kept, b, theta, v, table):
    """Add the product of v (p,) with the Hessian of a block's part of the data term to g (p,)."""
    _tangents_forward(work, kept, b, theta, v, table)
    _tangents_back(g, work, kept, b, theta, v, table)


@kernel
def _tangents_forward(work, kept, b, theta, v, table):
    """Tangents of z and h in work, and of the adjoints of the outputs in work.ft."""
    h, p, curvatures = row(kept.h, b), row(kept.p, b), row(kept.curvatures, b)
    block, none = block_rows(theta), matrix(h, 0, 0, block_rows(theta))
    for l in range(len(table)):
        n_in, n_out, at = table[l, 0], table[l, 1], table[l, 4]
        W, V, below = weights(theta, table, l), weights(v, table, l), matrix(h, at, n_in + 1, block)
        ht = matrix(work.room, work.ht + at, n_in if l > 0 else 0, block)
        if l == len(table) - 1:
            affine_tangent(matrix(work.room, work.ft, n_out, block), V, below, W, ht, none)
        else:
            zt = matrix(work.room, work.zt + at + n_in + 1, n_out, block)
            affine_tangent(zt, V, below, W, ht, none)
            above = matrix(work.room, work.ht + at + n_in + 1, n_out, block)
            tangent_through(above, matrix(p, at + n_in + 1, n_out, block), zt)
    ft = flat_units(work.room, work.ft, table[-1, 1])
    for j in range(ft.size):
        ft[j] *= curvatures[j]


@kernel
def _tangents_back(g, work, kept, b, theta, v, table):
    """Add the tangents of the gradient to g."""
    h, p, d, bends = row(kept.h, b), row(kept.p, b), row(kept.d, b), row(kept.bends, b)
    block, flat, adjoint_t, room = block_rows(theta), row(kept.slopes, b), work.ft, work.room
    for l in range(len(table) - 1, -1, -1):
        n_in, n_out, at = table[l, 0], table[l, 1], table[l, 4]
        rows = padded_rows(room, work.rows, block, n_out)
        rows_t = padded_rows(room, work.rows_t, block, n_out)
        below = matrix(h, at, n_in + 1, block)
        ht = matrix(room, work.ht + at, n_in + 1 if l > 0 else 0, block)
        if l > 0 and n_out > NARROW:
            gather_columns(rows, flat, stretch(work.offsets, 0, n_out))
        G, turned = weights(g, table, l), (rows, rows_t)
        flat_t = flat_units(room, adjoint_t, n_out)
        add_gradient_tangent(G, below, flat_t, ht, flat, turned, work.offsets, work.sums)
        if l == 0:
            return
        dt, W, V = matrix(room, adjoint_t, n_out, block), weights(theta, table, l), weights(v, table, l)
        adjoint_t = work.dt + l % 2 * work.half
        dt_below, above = matrix(room, adjoint_t, n_in, block), matrix(flat, 0, n_out, block)
        back_tangent(dt_below, W, dt, V, above, matrix(p, at, n_in, block))
        for u in range(n_in):
            bend, zt = flat_units(bends, at + u, 1), flat_units(room, work.zt + at + u, 1)
            _add_elementwise(row(dt_below, u), bend, zt)
        flat = flat_units(d, at, n_in)


@kernel
def _add_elementwise(total, a, b):
    """total += a b."""
    for j in range(total.size):
        total[j] += a[j] * b[j]


@making_arrays
def jacobian_times(u, kept, first, last, v, table):
    """u (n_outputs, blocks, rows) = J v for blocks first ... last, rows of J times the roots of w loss''."""
    work = workspace(v, 0, table)
    for b in range(first, last):
        times_block(u, kept, b, v, table, work)


@kernel
def times_block(u, kept, b, v, table, work):
    """u[:, b] = J v for block b."""
    block, top = block_rows(v), len(table) - 1
    for l in range(top, -1, -1):
        n_in, n_out = table[l, 0], table[l, 1]
        z = matrix(work.room, work.d, n_out, block)
        affine(z, weights(v, table, l), matrix(row(kept.h, b), table[l, 4], n_in + 1, block))
        for o in range(len(u)):
            total = u[o, b]
            if l == top:
                for j in range(block):
                    total[j] = kept.roots[o, b, j] * z[o, j]
            else:
                d = matrix(kept.each[o, b], table[l + 1, 4], n_out, block)
                for k in range(n_out):
                    _add_elementwise(total, row(d, k), row(z, k))


@making_arrays
def jacobian_transposed_times(G, kept, parts, u, table):
    """G[c] (p,) = J^T u over the blocks of part c, for u (n_outputs, blocks, rows)."""
    work = workspace(G, 0, table)
    for c in range(parts.first, parts.last):
        g = row(G, c)
        for j in range(g.size):
            g[j] = 0
        for b in range(c * parts.size, min((c + 1) * parts.size, len(kept.h))):
            add_transposed_times_block(g, kept, b, u, table, work)


@kernel
def add_transposed_times_block(g, kept, b, u, table, work):
    """Add J^T u over block b to g (p,)."""
    block, top = block_rows(g), len(table) - 1
    for l in range(top + 1):
        n_in, n_out = table[l, 0], table[l, 1]
        d = matrix(work.room, work.d, n_out, block)
        fill(d, 0)
        for o in range(len(u)):
            if l == top:
                _add_elementwise(row(d, o), kept.roots[o, b], u[o, b])
            else:
                each = matrix(kept.each[o, b], table[l + 1, 4], n_out, block)
                for k in range(n_out):
                    _add_elementwise(row(d, k), row(each, k), u[o, b])
        h = matrix(row(kept.h, b), table[l, 4], n_in + 1, block)
        flat, rows = flat_units(work.room, work.d, n_out), padded_rows(work.room, work.rows, block, n_out)
        add_gradient(weights(g, table, l), h, flat, rows, work.offsets, work.sums)
