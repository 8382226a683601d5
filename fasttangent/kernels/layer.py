"""The dual pass of one layer: forward, output, gradients, back, each with its tangents.

    theta      flat parameters (p,); W, b are views of one layer of it
    tangents   K directions in parameter space (K, p); V, c are views of one layer of one of them
    h, z       activations and pre-activations (units, rows): a block keeps one row of X per *column*,
               so that the innermost loops run over rows
    d, e       adjoints of z and h
    ht, zt, dt, et   their tangents (K, units, rows): one leading entry per direction
    p, q       phi'(z), phi''(z) (units, rows)

K = 0 is the primal pass: one definition serves predictions, gradients, scores and curvature products.
"""

from fasttangent.kernels.arithmetic import add_multiple, add_product, fill, transpose
from fasttangent.kernels.jit import kernel


@kernel
def weights(flat, table, l):
    """View of W_l (n_in, n_out); `Layout.weights` for kernels."""
    n_in, n_out, at = table[l, 0], table[l, 1], table[l, 2]
    return flat[at : at + n_in * n_out].reshape((n_in, n_out))


@kernel
def biases(flat, table, l):
    """View of b_l (n_out,); `Layout.biases` for kernels."""
    n_out, at = table[l, 1], table[l, 3]
    return flat[at : at + n_out]


@kernel
def affine(z, zt, h, ht, theta, tangents, table, l):
    """z = h W + b,   zt = ht W + h V + c; the input has no tangent, so ht W is left out in layer 0."""
    W = weights(theta, table, l)
    _spread(z, biases(theta, table, l))
    add_product(z, W.T, h)
    for k in range(len(tangents)):
        V = weights(tangents[k], table, l)
        _spread(zt[k], biases(tangents[k], table, l))
        add_product(zt[k], V.T, h)
        if l > 0:
            add_product(zt[k], W.T, ht[k])


@kernel
def tangent_through(ht, p, zt):
    """ht = phi'(z) zt."""
    for k in range(len(zt)):
        for u in range(p.shape[0]):
            for j in range(p.shape[1]):
                ht[k, u, j] = p[u, j] * zt[k, u, j]


@kernel
def back(e, et, d, dt, theta, tangents, table, l, gauss_newton):
    """e = d W^T,   et = dt W^T + d V^T; the Gauss-Newton product has no term with V."""
    W = weights(theta, table, l)
    fill(e, 0)
    add_product(e, W, d)
    for k in range(len(tangents)):
        fill(et[k], 0)
        add_product(et[k], W, dt[k])
        if not gauss_newton:
            add_product(et[k], weights(tangents[k], table, l), d)


@kernel
def adjoint_through(d, dt, e, et, p, q, zt, gauss_newton):
    """d = e phi'(z),   dt = et phi'(z) + e phi''(z) zt; Gauss-Newton has no term with phi''."""
    for u in range(p.shape[0]):
        for j in range(p.shape[1]):
            d[u, j] = e[u, j] * p[u, j]
        for k in range(len(dt)):
            for j in range(p.shape[1]):
                dt[k, u, j] = et[k, u, j] * p[u, j]
            if not gauss_newton:
                for j in range(p.shape[1]):
                    dt[k, u, j] += e[u, j] * q[u, j] * zt[k, u, j]


@kernel
def add_gradients(g, gt, d, dt, h, ht, table, l, gauss_newton, rows):
    """gW += h^T d,  gb += sum d,   gWt += h^T dt + ht^T d,  gbt += sum dt.

    `rows` (rows, units) is room for a transposed adjoint.  ht^T d is the change of the other factor of gW:
    a second derivative of the network, absent from the Gauss-Newton product and in layer 0.
    """
    transpose(rows, d)
    add_product(weights(g, table, l), h, rows)
    _add_row_sum(biases(g, table, l), rows)
    if l > 0 and not gauss_newton:
        for k in range(len(dt)):
            add_product(weights(gt[k], table, l), ht[k], rows)
    for k in range(len(dt)):
        transpose(rows, dt[k])
        add_product(weights(gt[k], table, l), h, rows)
        _add_row_sum(biases(gt[k], table, l), rows)


@kernel
def _spread(z, b):
    for u in range(z.shape[0]):
        for j in range(z.shape[1]):
            z[u, j] = b[u]


@kernel
def _add_row_sum(b, rows):
    for j in range(rows.shape[0]):
        add_multiple(b, rows.dtype.type(1), rows[j])
