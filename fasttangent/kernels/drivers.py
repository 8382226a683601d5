"""Row-parallel drivers: one `prange` over the tasks that the threads of `common.parallel` would take.

Every task is a call of the kernel that a thread would call and writes to the same place, so all bits are the same.
Numba hands a task arrays and numbers only, so records are taken apart and made again.  An error in a task is lost on
its way out of a `prange`; so every driver returns whether all tasks came to their end.
"""

import numpy as np
from numba import prange

from fasttangent.kernels.jit import kernel, making_arrays, row_parallel
from fasttangent.kernels.linearized import (
    Kept,
    Parts,
    curvature_products,
    jacobian_times,
    jacobian_transposed_times,
    linearize,
)
from fasttangent.kernels.network import Network
from fasttangent.kernels.rows import Chunks, DataTerm, Loss, Rows, loss_of_chunks
from fasttangent.kernels.scoring import outputs


@making_arrays
def none_done(n):
    return np.zeros(n, np.bool_)


@kernel
def all_done(done):
    return done.all()


@row_parallel
def loss_of_parts(values, G, GT, n, chunks, theta, tangents, data):
    """`loss_of_chunks` of all chunks, in n parts."""
    X, Y, w = data.rows
    table, activation = data.network
    code, delta = data.loss
    gauss_newton, C, size, every, done = (
        data.gauss_newton,
        chunks.last,
        chunks.size,
        chunks.every,
        none_done(n),
    )
    for i in prange(n):
        term = DataTerm(Rows(X, Y, w), Network(table, activation), Loss(code, delta), gauss_newton)
        part = Chunks(C * i // n, C * (i + 1) // n, size, every)
        loss_of_chunks(values, G, GT, part, theta, tangents, term)
        done[i] = True
    return all_done(done)


@row_parallel
def outputs_of_parts(F, FT, n, size, WT, VT, X, row_step, centre, network):
    """`outputs` of n parts of `size` rows."""
    table, activation = network
    done = none_done(n)
    for i in prange(n):
        start, stop = i * size, min((i + 1) * size, len(F))
        part = X[start * row_step : (stop - 1) * row_step + centre.size]
        outputs(F[start:stop], FT[start:stop], WT, VT, part, row_step, centre, Network(table, activation))
        done[i] = True
    return all_done(done)


@row_parallel
def linearize_parts(kept, parts, theta, data, every):
    """`linearize` all blocks."""
    h, p, bends, d, slopes, curvatures, roots, each = kept
    X, Y, w = data.rows
    table, activation = data.network
    code, delta = data.loss
    gauss_newton, size, done = data.gauss_newton, parts.size, none_done(parts.last)
    for c in prange(parts.last):
        known = Kept(h, p, bends, d, slopes, curvatures, roots, each)
        term = DataTerm(Rows(X, Y, w), Network(table, activation), Loss(code, delta), gauss_newton)
        linearize(known, c * size, min((c + 1) * size, len(h)), theta, term, every)
        done[c] = True
    return all_done(done)


@row_parallel
def curvature_products_of_parts(G, kept, parts, theta, v, table):
    """`curvature_products` of all parts."""
    h, p, bends, d, slopes, curvatures, roots, each = kept
    size, done = parts.size, none_done(parts.last)
    for c in prange(parts.last):
        known = Kept(h, p, bends, d, slopes, curvatures, roots, each)
        curvature_products(G, known, Parts(c, c + 1, size), theta, v, table)
        done[c] = True
    return all_done(done)


@row_parallel
def jacobian_times_parts(u, kept, parts, v, table):
    """`jacobian_times` of all blocks."""
    h, p, bends, d, slopes, curvatures, roots, each = kept
    size, done = parts.size, none_done(parts.last)
    for c in prange(parts.last):
        known = Kept(h, p, bends, d, slopes, curvatures, roots, each)
        jacobian_times(u, known, c * size, min((c + 1) * size, len(h)), v, table)
        done[c] = True
    return all_done(done)


@row_parallel
def jacobian_transposed_times_parts(G, kept, parts, u, table):
    """`jacobian_transposed_times` of all parts."""
    h, p, bends, d, slopes, curvatures, roots, each = kept
    size, done = parts.size, none_done(parts.last)
    for c in prange(parts.last):
        known = Kept(h, p, bends, d, slopes, curvatures, roots, each)
        jacobian_transposed_times(G, known, Parts(c, c + 1, size), u, table)
        done[c] = True
    return all_done(done)
