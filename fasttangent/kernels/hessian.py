"""The dense Hessian of a sum of losses, from the structure of the network.

With h_l the inputs of layer l, z_l = h_l W_l its outputs, d_l the adjoints of z_l and, for every row,

    R_lm = d2 loss / dz_l dz_m      P_lm = dh_m / dz_l      (units of one layer, units of another)

the second derivatives of its loss in the weights are, for l <= m,

    d2 loss / dW_l[a,b] dW_m[c,d] = h_l[a] h_m[c] R_lm[b,d]  +  h_l[a] P_lm[b,c] d_m[d]

(the second term only for l < m; the Gauss-Newton matrix has the first alone, with the R of a linear network).
Summed over rows, each term is one matrix product between products of two factors:

    C[(b,d), (a,c)] = sum_i R_i[b,d] (h_l[a] h_m[c])_i

For l = m only b <= d and a <= c differ, a quarter.  P_l,l+1 is diagonal.  Altogether a row costs some p^2 / 3
multiplications, where p products with the Hessian cost 6 p^2, and J^T D J alone p^2 / 2.
"""

from typing import NamedTuple

import numpy as np

from fasttangent.kernels.arithmetic import copy
from fasttangent.kernels.jit import kernel, making_arrays
from fasttangent.kernels.layer import back, tangent_through, weights
from fasttangent.kernels.losses import loss_terms
from fasttangent.kernels.memory import aligned
from fasttangent.kernels.network import forward, load_rows, matrix, workspace
from fasttangent.kernels.products import product
from fasttangent.kernels.views import row, window


class Chunk(NamedTuple):
    """What is known of some rows, a column each; and `..._rows`, the same with a row each."""

    h: np.ndarray  # (units of all layers' inputs, rows), each layer's with its unit that is always 1
    d: np.ndarray  # (units of all layers' outputs, rows): adjoints of z
    p: np.ndarray  # (units of all layers' outputs, rows): phi'(z); not of the last layer
    R: np.ndarray  # (all pairs of units of blocks l <= m, rows)
    P: np.ndarray  # (all pairs of units of blocks l + 1 < m, rows)
    h_rows: np.ndarray
    d_rows: np.ndarray
    p_rows: np.ndarray


class Places(NamedTuple):
    """Where the layers begin in the arrays of a chunk."""

    outputs: np.ndarray  # (L,) of layer l in d and p
    R: np.ndarray  # (L, L)
    P: np.ndarray  # (L, L)


@making_arrays
def columns(flat, first, units, at, width):
    """Columns at ... at + width of units `first` and following of a 2-d array: (units, width)."""
    chunk = flat.shape[1]
    return window(flat, first * chunk + at, units, chunk, width)


@making_arrays
def derivatives_of_rows(chunk, places, start, stop, at, theta, data, every):
    """Columns at ... of a chunk from rows start ... stop of a data term, which are a block at most."""
    rows, network, gauss_newton = data.rows, data.network, data.gauss_newton
    table, n = network.table, stop - start
    work = workspace(theta, 0, table)
    none = np.empty((0, theta.size))
    width = load_rows(work, rows.X, rows.X.shape[1], every, start, stop)
    forward(work, width, theta, none, network, True)
    last = len(table) - 1
    for l in range(last + 1):
        copy(
            columns(chunk.h, table[l, 4], table[l, 0] + 1, at, n),
            matrix(work.room, work.h + table[l, 4], table[l, 0] + 1, n),
        )
        if l > 0:
            copy(
                columns(chunk.p, places.outputs[l - 1], table[l, 0], at, n),
                matrix(work.room, work.p + table[l, 4], table[l, 0], n),
            )
    f = matrix(work.room, work.f, table[last, 1], n)
    _output_derivatives(chunk, places, start, at, n, f, rows, data.loss)
    for l in range(last - 1, -1, -1):
        units, units_above = table[l, 1], table[l + 1, 1]
        W = weights(theta, table, l + 1)
        d, p = (
            columns(chunk.d, places.outputs[l], units, at, n),
            columns(chunk.p, places.outputs[l], units, at, n),
        )
        e = matrix(work.room, work.e, units, n)
        q = matrix(work.room, work.q + table[l + 1, 4], units, n)
        back(e, W, columns(chunk.d, places.outputs[l + 1], units_above, at, n), p[:0])
        tangent_through(d, p, e)
        tangent_through(e, q, e)
        bend = e[: 0 if gauss_newton else units]
        _second_derivatives(chunk.R, places.R, l, at, W[:units], p, bend, table)
    if not gauss_newton:
        _first_derivatives(chunk, places.P, places.outputs, at, n, theta, table)
    _turn(chunk.h_rows, chunk.h, at, n)
    _turn(chunk.d_rows, chunk.d, at, n)
    _turn(chunk.p_rows, chunk.p, at, n)


@kernel
def _output_derivatives(chunk, places, start, at, n, f, rows, loss):
    """d and R of the last layer: w loss' and the diagonal matrix of w loss''."""
    last = len(places.outputs) - 1
    n_outputs, first, block = len(f), places.outputs[last], places.R[last, last]
    for o in range(n_outputs):
        for j in range(n):
            i = start + j
            _, slope, curvature = loss_terms(f[o, j] - rows.Y[i, o], loss.code, loss.delta)
            chunk.d[first + o, at + j] = rows.w[i] * slope
            for u in range(n_outputs):
                chunk.R[block + o * n_outputs + u, at + j] = rows.w[i] * curvature if u == o else 0.0


@kernel
def _second_derivatives(R, places, l, at, W, p, bend, table):
    """R_lm = D W R_l+1,m for m > l, and R_ll = R_l,l+1 W^T D + diag(phi'' e); W = W_l+1, D = diag phi'(z_l).

    bend (units, rows) is phi''(z_l) e; empty for the Gauss-Newton matrix.
    """
    chunk, flat = R.shape[1], R
    units, above, n = table[l, 1], table[l + 1, 1], p.shape[1]
    for m in range(l + 1, len(table)):
        units_m = table[m, 1]
        for o in range(units_m):
            known = window(flat, (places[l + 1, m] + o) * chunk + at, above, units_m * chunk, n)
            found = window(flat, (places[l, m] + o) * chunk + at, units, units_m * chunk, n)
            product(found, W, known, W[:, :0], known[:0], p[:0], False)
            tangent_through(found, p, found)
    for b in range(units):
        first = b if l == 0 else 0  # below layer 0 nobody needs the other half
        known = window(flat, (places[l, l + 1] + b * above) * chunk + at, above, chunk, n)
        found = window(flat, (places[l, l] + b * units + first) * chunk + at, units - first, chunk, n)
        product(found, W[first:], known, W[first:, :0], known[:0], p[:0], False)
        tangent_through(found, p[first:], found)
        if len(bend):
            diagonal, change = row(found, b - first), row(bend, b)
            for j in range(n):
                diagonal[j] += change[j]


@kernel
def _first_derivatives(chunk, places, outputs, at, n, theta, table):
    """P_l,l+2 = D_l W_l+1 D_l+1, and P_l,m+1 = P_lm W_m D_m."""
    rows, flat = chunk.P.shape[1], chunk.P
    for l in range(len(table) - 2):
        p = columns(chunk.p, outputs[l], table[l, 1], at, n)
        for m in range(l + 1, len(table) - 1):
            units, below = table[m, 1], table[m, 0]
            W, p_m = weights(theta, table, m), columns(chunk.p, outputs[m], table[m, 1], at, n)
            for b in range(table[l, 1]):
                found = window(flat, (places[l, m + 1] + b * units) * rows + at, units, rows, n)
                if m == l + 1:
                    for c in range(units):
                        a, x = row(found, c), row(p, b)
                        for j in range(n):
                            a[j] = x[j] * W[b, c]
                else:
                    known = window(flat, (places[l, m] + b * below) * rows + at, below, rows, n)
                    product(found, W[:below].T, known, W[:0].T, known[:0], p_m[:0], False)
                tangent_through(found, p_m, found)


@kernel
def _turn(T, A, at, n):
    """Rows at ... at + n of T from the columns of A."""
    for j in range(at, at + n):
        for u in range(len(A)):
            T[j, u] = A[u, j]


# ---------------------------------------------------------------------------------------------------------------
# Sums over rows


@making_arrays
def add_panel(C, A, u, v, start, stop, depth, upper):
    """C[:, start:stop] += A (u v), where (u v)[i, (a,c)] = u[i,a] v[i,c] of `depth` rows i.

    upper units, if not 0: of the pairs (a,c) only a <= c; and A (upper^2, rows) has pairs (b,d) of which only b <= d
    are used.
    """
    n = stop - start
    B = aligned(depth * n, u).reshape((depth, n))  # owns its memory, which a window would not
    for i in range(depth):
        _pairs_of_row(row(B, i), row(u, i), row(v, i), start, upper > 0)
    total, flat, chunk, a = C.shape[1], C, A.shape[1], A
    if upper == 0:
        part = window(flat, start, len(C), total, n)
        used = window(a, 0, len(A), chunk, depth)
        product(part, used, B, used[:, :0], B[:0], part[:0], True)
        return
    first = 0
    for b in range(upper):
        part = window(flat, first * total + start, upper - b, total, n)
        used = window(a, b * (upper + 1) * chunk, upper - b, chunk, depth)
        product(part, used, B, used[:, :0], B[:0], part[:0], True)
        first += upper - b


@kernel
def _pairs_of_row(x, u, v, start, upper):
    """x = the products u[a] v[c] of pairs (a,c) number start, start + 1, ... in their order."""
    a, c, at = 0, 0, 0
    begin = start
    while begin >= v.size - (a if upper else 0):
        begin -= v.size - (a if upper else 0)
        a += 1
    c = begin + (a if upper else 0)
    while at < x.size:
        n = min(v.size - c, x.size - at)
        for j in range(n):
            x[at + j] = u[a] * v[c + j]
        at += n
        a += 1
        c = a if upper else 0


# ---------------------------------------------------------------------------------------------------------------
# From the sums to the matrix: its upper half, then the lower one


@kernel
def place_second(H, C, l, m, a, table):
    """Rows (a, b) of the block (l, m) of H, from C[(b,d), (a,c)]."""
    n_in, n_l, n_m = table[m, 0] + 1, table[l, 1], table[m, 1]
    upper = l == m
    first = a * n_in - a * (a - 1) // 2 - a if upper else a * n_in  # column of the pair (a, 0)
    for b in range(n_l):
        target = row(H, table[l, 2] + a * n_l + b)
        for d in range(n_m):
            low, high = min(b, d), max(b, d)
            source = row(C, low * n_l - low * (low + 1) // 2 + high if upper else b * n_m + d)
            for c in range(a if upper else 0, n_in):  # what is written lies close together, for all d
                target[table[m, 2] + c * n_m + d] = source[first + c]


@kernel
def place_diagonal_first(H, C, l, a, table):
    """Add C[a, (b,d)] = sum h_l[a] phi'(z_l)[b] d_m[d] to the block (l, m = l + 1) of H, where c = b."""
    n_l, n_m = table[l, 1], table[l + 1, 1]
    for b in range(n_l):
        for d in range(n_m):
            H[table[l, 2] + a * n_l + b, table[l + 1, 2] + b * n_m + d] += C[a, b * n_m + d]


@kernel
def place_first(H, C, l, m, a, table):
    """Add C[(b,c), (a,d)] = sum P_lm[b,c] h_l[a] d_m[d] to the block (l, m) of H."""
    n_in, n_l, n_m = table[m, 0], table[l, 1], table[m, 1]
    for b in range(n_l):
        for c in range(n_in):
            for d in range(n_m):
                H[table[l, 2] + a * n_l + b, table[m, 2] + c * n_m + d] += C[b * n_in + c, a * n_m + d]


@kernel
def mirror(H, start, stop, tile):
    """The lower half of rows start ... stop of H from the upper one, by square tiles."""
    for j0 in range(0, stop, tile):
        for i in range(start, stop):
            for j in range(j0, min(j0 + tile, i)):
                H[i, j] = H[j, i]
