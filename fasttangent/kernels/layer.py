"""The dual pass of one layer: forward, gradients, back, each with its tangents.

    theta      flat parameters (p,); W (n_in + 1, n_out) is the view of one layer, its last row the biases
    tangents   K directions in parameter space (K, p); V is the view of one layer of one of them
    h, z       activations and pre-activations (units, rows): a block keeps one row of X per *column*, so that
               a vector holds one unit of many rows.  h ends with a unit that is always 1, and so W with its
               biases is one matrix, forward and in the gradient
    d, e       adjoints of z and h
    ht, zt, dt, et   their tangents (K, units, rows): one leading entry per direction; ht of the last unit is 0
    p, q       phi'(z), phi''(z) (units, rows)

K = 0 is the primal pass: one definition serves predictions, gradients, scores and curvature products.  A tangent
is a sum of two products, and `product` forms it in one register tile: 1 + 2 K products per inner layer forward.
"""

from fasttangent.kernels.arithmetic import add_product
from fasttangent.kernels.jit import kernel, making_arrays
from fasttangent.kernels.products import product
from fasttangent.kernels.sums import add_row_sums, gather_columns
from fasttangent.kernels.views import row, stretch, window

NARROW = 4  # outputs; a tile as wide as a vector would be empty but for so many columns


@making_arrays
def weights(flat, table, l):
    """View of W_l with b_l as its last row (n_in + 1, n_out); they stand one behind the other."""
    return window(flat, table[l, 2], table[l, 0] + 1, table[l, 1], table[l, 1])


@making_arrays
def tangent_weights(tangents, k, table, l):
    """The same of direction k."""
    return window(tangents, k * tangents.shape[1] + table[l, 2], table[l, 0] + 1, table[l, 1], table[l, 1])


@kernel
def affine(z, W, h):
    """z = W^T h."""
    product(z, W.T, h, W.T[:, :0], h[:0], h[:0], False)


@kernel
def affine_tangent(zt, V, h, W, ht, p):
    """zt = V^T h + W^T ht, times p = phi'(z) where that is wanted at once (p empty: not).

    ht is empty in layer 0: inputs have no tangent.
    """
    n = len(ht)
    product(zt, V.T, h, W[:n].T, ht, p, False)


@kernel
def tangent_through(ht, p, zt):
    """ht = phi'(z) zt, elementwise; ht may be zt."""
    for u in range(len(p)):
        a, b, c = row(ht, u), row(p, u), row(zt, u)
        for j in range(a.size):
            a[j] = b[j] * c[j]


@kernel
def back(d, W, above, p):
    """d = (W above) phi'(z), for the adjoint `above` of the layer above; p empty: e = W above."""
    n_in = len(W) - 1
    product(d, W[:n_in], above, W[:n_in, :0], above[:0], p, False)


@kernel
def back_tangent(dt, W, above_t, V, above, p):
    """dt = (W above_t + V above) phi'(z); the Gauss-Newton product has no term with V (`above` empty)."""
    n_in, n = len(W) - 1, len(above)
    product(dt, W[:n_in], above_t, V[:n_in, :n], above, p, False)


@kernel
def add_bend(dt, e, q, zt):
    """dt += e phi''(z) zt, the last term of the Hessian product."""
    for u in range(len(q)):
        a, b, c, x = row(dt, u), row(e, u), row(q, u), row(zt, u)
        for j in range(a.size):
            a[j] += b[j] * c[j] * x[j]


@kernel
def add_gradient(G, h, d, rows, offsets, sums):
    """G += h d^T, for G (n_in + 1, n_out): gradients of weights and biases at once.

    d is flat, unit o beginning at offsets[o]; rows (n, n_out) becomes its transpose, n the rows of the block.
    """
    n_rows, n_out = rows.shape
    if n_out <= NARROW:
        _add_narrow(G, h, d, offsets, sums)
    else:
        gather_columns(rows, d, stretch(offsets, 0, n_out))
        add_product(G, h[:, :n_rows], rows)


@kernel
def add_gradient_tangent(Gt, h, dt, ht, d, turned, offsets, sums):
    """Gt += h dt^T + ht d^T, the second term absent (ht empty) from the Gauss-Newton product and in layer 0.

    ht d^T is the change of the other factor of G: a second derivative of the network.  `turned` is d^T and room for
    dt^T.
    """
    rows, rows_t = turned
    n_rows, n_out = rows.shape
    n = n_rows if len(ht) else 0
    if n_out <= NARROW:
        _add_narrow(Gt, h, dt, offsets, sums)
        if n:
            _add_narrow(Gt, ht, d, offsets, sums)
    else:
        gather_columns(rows_t, dt, stretch(offsets, 0, n_out))
        if n:
            product(Gt, h[:, :n_rows], rows_t, ht[:, :n], rows[:n], h[:0], True)
        else:
            add_product(Gt, h[:, :n_rows], rows_t)


@kernel
def _add_narrow(G, h, d, offsets, sums):
    """G += h d^T where n_out is small: sums over the rows of one output at a time."""
    width = h.shape[1]
    for o in range(G.shape[1]):
        for i in range(len(h)):
            sums[i] = 0
        add_row_sums(stretch(sums, 0, len(h)), h, stretch(d, offsets[o], width))
        for i in range(len(h)):
            G[i, o] += sums[i]
