"""The drivers of `rows` and `linearized` where users have parameters of their own: theta_u = theta + scatter(d_u).

Rows stand in the order of their users; a chunk (or a block) holds rows of one, and what is its own is put in its place
before the chunk and taken from there after it.
"""

from typing import NamedTuple

import numpy as np

from fasttangent.kernels.arithmetic import fill
from fasttangent.kernels.jit import kernel, making_arrays
from fasttangent.kernels.linearized import (
    add_product_of_block,
    add_transposed_times_block,
    linearize_block,
    times_block,
)
from fasttangent.kernels.network import block_rows, flat_units, forward, load_rows, workspace
from fasttangent.kernels.rows import Part, add_loss
from fasttangent.kernels.views import row


class Spans(NamedTuple):
    """Chunks of rows: order[starts[c] : starts[c] + counts[c]], of user of[c]."""

    order: np.ndarray  # (n,) numbers of rows
    starts: np.ndarray  # (chunks,)
    counts: np.ndarray  # (chunks,)
    of: np.ndarray  # (chunks,)
    chosen: np.ndarray  # (q,) the parameters that each user has of its own


class Split(NamedTuple):
    """Vectors in parameter space, of which users have parts of their own."""

    shared: np.ndarray  # (K, p)
    own: np.ndarray  # (K, users, q), in place of the chosen ones


@kernel
def _put(theta, chosen, values):
    for j in range(chosen.size):
        theta[chosen[j]] = values[j]


@kernel
def _take(values, g, chosen):
    """values = the chosen ones of g, which become 0."""
    for j in range(chosen.size):
        values[j] = g[chosen[j]]
        g[chosen[j]] = 0


@kernel
def _begin(theta, split):
    for k in range(len(theta)):
        for j in range(theta.shape[1]):
            theta[k, j] = split.shared[k, j]


@making_arrays
def loss_of_users(values, G, own, parts, theta, tangents, data, spans):
    """`loss_of_chunks`: values (chunks,), G (parts, 1 + K, p) gradients and products but for the chosen parameters,
    and own (chunks, 1 + K, q) those.
    """
    K, chosen = len(tangents.shared), spans.chosen
    at, V = np.empty_like(theta.shared), np.empty_like(tangents.shared)
    _begin(at, theta)
    _begin(V, tangents)
    work = workspace(at, K, data.network.table)
    for part in range(parts.first, parts.last):
        fill(G[part], 0)
        for c in range(part * parts.size, min((part + 1) * parts.size, len(spans.of))):
            u, start = spans.of[c], spans.starts[c]
            _put(at[0], chosen, theta.own[0, u])
            for k in range(K):
                _put(V[k], chosen, tangents.own[k, u])
            some = Part(spans.order, start, start + spans.counts[c], 1.0)
            values[c] = add_loss(G[part, 0], G[part, 1:], at[0], V, data, some, work)
            for k in range(1 + K):
                _take(own[c, k], G[part, k], chosen)


@making_arrays
def outputs_of_users(F, FT, first, last, theta, tangents, data, spans):
    """Outputs F (n, n_outputs) and their tangents FT (n, K, n_outputs) of the rows of chunks first ... last."""
    K, chosen, n_outputs, X = len(tangents.shared), spans.chosen, F.shape[1], data.rows.X
    at, V = np.empty_like(theta.shared), np.empty_like(tangents.shared)
    _begin(at, theta)
    _begin(V, tangents)
    work, block = workspace(at, K, data.network.table), block_rows(at)
    exact = K < 0  # a variable: a literal would compile `forward` again
    for c in range(first, last):
        u = spans.of[c]
        _put(at[0], chosen, theta.own[0, u])
        for k in range(K):
            _put(V[k], chosen, tangents.own[k, u])
        end = spans.starts[c] + spans.counts[c]
        for start in range(spans.starts[c], end, block):
            stop = min(start + block, end)
            width = load_rows(work, X, X.shape[1], spans.order, start, stop)
            forward(work, width, at[0], V, data.network, exact)
            f = flat_units(work.room, work.f, n_outputs)
            ft = flat_units(work.room, work.ft, K * n_outputs)
            for j in range(stop - start):
                i = spans.order[start + j]
                for o in range(n_outputs):
                    F[i, o] = f[o * block + j]
                    for k in range(K):
                        FT[i, k, o] = ft[(k * n_outputs + o) * block + j]


@making_arrays
def linearize_users(kept, first, last, theta, data, spans):
    """`linearize` blocks first ... last."""
    at, block = np.empty_like(theta.shared), block_rows(theta.shared)
    _begin(at, theta)
    work, none = workspace(at, 0, data.network.table), np.empty((0, at.shape[1]), at.dtype)
    room = work, none, np.empty((data.rows.Y.shape[1], block), at.dtype)
    for b in range(first, last):
        _put(at[0], spans.chosen, theta.own[0, spans.of[b]])
        linearize_block(kept, b, at[0], data, spans.order, (spans.starts[b], spans.counts[b]), room)


@making_arrays
def curvature_products_of_users(G, own, kept, parts, theta, v, table, spans):
    """`curvature_products`: G (parts, p) but for the chosen parameters, and own (blocks, q) those."""
    at, along, chosen = np.empty_like(theta.shared), np.empty_like(v.shared), spans.chosen
    _begin(at, theta)
    _begin(along, v)
    work = workspace(at, 1, table)
    for c in range(parts.first, parts.last):
        g = row(G, c)
        for j in range(g.size):
            g[j] = 0
        for b in range(c * parts.size, min((c + 1) * parts.size, len(kept.h))):
            u = spans.of[b]
            _put(at[0], chosen, theta.own[0, u])
            _put(along[0], chosen, v.own[0, u])
            add_product_of_block(g, work, kept, b, at[0], along[0], table)
            _take(own[b], g, chosen)


@making_arrays
def jacobian_times_of_users(u, kept, first, last, v, table, spans):
    """`jacobian_times` blocks first ... last."""
    along = np.empty_like(v.shared)
    _begin(along, v)
    work = workspace(along, 0, table)
    for b in range(first, last):
        _put(along[0], spans.chosen, v.own[0, spans.of[b]])
        times_block(u, kept, b, along[0], table, work)


@making_arrays
def jacobian_transposed_times_of_users(G, own, kept, parts, u, table, spans):
    """`jacobian_transposed_times`: G (parts, p) but for the chosen parameters, and own (blocks, q) those."""
    work = workspace(G, 0, table)
    for c in range(parts.first, parts.last):
        g = row(G, c)
        for j in range(g.size):
            g[j] = 0
        for b in range(c * parts.size, min((c + 1) * parts.size, len(kept.h))):
            add_transposed_times_block(g, kept, b, u, table, work)
            _take(own[b], g, spans.chosen)
