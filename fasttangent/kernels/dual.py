"""The n x n matrix J J^T of gradients of outputs, from the structure of the network: no gradient is ever formed.

The gradient of an output with respect to W_l is the outer product of the inputs h_l and the adjoints d_l, so

    grad f_i . grad f_j = sum_l (h_l,i . h_l,j) (d_l,i . d_l,j)

which costs a pair of rows the number of units instead of the number of parameters.
"""

from typing import NamedTuple

import numpy as np

from fasttangent.kernels.arithmetic import add, copy
from fasttangent.kernels.hessian import columns
from fasttangent.kernels.jit import kernel
from fasttangent.kernels.layer import back, tangent_through, weights
from fasttangent.kernels.network import block_rows, forward, load_rows, matrix, workspace
from fasttangent.kernels.products import product
from fasttangent.kernels.views import row, window


class Factors(NamedTuple):
    """What gradients are products of, a column per row of X."""

    h: np.ndarray  # (units of all layers' inputs, n)
    d: np.ndarray  # (n_outputs, units of all layers' outputs, n): adjoints of z for each output
    places: np.ndarray  # (L,) where layer l begins in an output's d


@kernel
def load_factors(factors, scale, start, stop, theta, X, every, network):
    """Columns start ... stop of h and d, the outputs times scale (n, n_outputs)."""
    h, d, places = factors.h, factors.d, factors.places
    table, block = network.table, block_rows(theta)
    work, none = workspace(theta, 0, table), np.empty((0, theta.size))
    last, exact = len(table) - 1, len(none) > 0
    for first in range(start, stop, block):
        n = min(block, stop - first)
        width = load_rows(work, X, X.shape[1], every, first, first + n)
        forward(work, width, theta, none, network, exact)
        for l in range(last + 1):
            copy(
                columns(h, table[l, 4], table[l, 0] + 1, first, n),
                matrix(work.h, table[l, 4], table[l, 0] + 1, n),
            )
        for o in range(len(d)):
            adjoint = columns(d[o], places[last], table[last, 1], first, n)
            for u in range(len(adjoint)):
                for j in range(n):
                    adjoint[u, j] = scale[first + j, o] if u == o else 0.0
            for l in range(last - 1, -1, -1):
                units, W = table[l, 1], weights(theta, table, l + 1)
                below, p = (
                    columns(d[o], places[l], units, first, n),
                    matrix(work.p, table[l + 1, 4], units, n),
                )
                back(below, W, adjoint, p[:0])
                tangent_through(below, p, below)
                adjoint = below


@kernel
def dual_panel(K, factors, start, stop, outputs, table):
    """K[start:stop, start:] for the pair of outputs: K (n, n) of one block of J J^T, right of the diagonal."""
    h, d, places = factors.h, factors.d, factors.places
    n, rows, cut = h.shape[1], stop - start, h.shape[1] - start
    A, B = np.empty((rows, cut)), np.empty((rows, cut))
    for i in range(rows):
        target = row(K, start + i)
        for j in range(start, n):
            target[j] = 0
    for l in range(len(table)):
        x, y = (
            columns(h, table[l, 4], table[l, 0] + 1, start, rows),
            columns(h, table[l, 4], table[l, 0] + 1, start, cut),
        )
        product(A, x.T, y, x[:0].T, y[:0], A[:0], False)
        x = columns(d[outputs[0]], places[l], table[l, 1], start, rows)
        y = columns(d[outputs[1]], places[l], table[l, 1], start, cut)
        product(B, x.T, y, x[:0].T, y[:0], A, False)
        total = window(K.ravel(), start * n + start, rows, n, cut)
        for i in range(rows):
            add(row(total, i), row(B, i))
