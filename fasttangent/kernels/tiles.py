"""The dual matrix J J^T + floor I in square tiles, its Cholesky factor, and solves with it.

A tile has the rows and columns of one block of rows (`network.block_rows`) for one output; tile (i, j), i <= j, stands
at `tile_place`.  Tiles hold the negative of the matrix until their row is eliminated: a product can only add, and so
-A + U^T U needs no negated copy.  Those on the diagonal then hold -U^-1, others U.
"""

import math

import numpy as np

from fasttangent.kernels.arithmetic import add_multiple, add_product, fill
from fasttangent.kernels.jit import kernel, making_arrays
from fasttangent.kernels.network import matrix
from fasttangent.kernels.products import product
from fasttangent.kernels.scalar import fma
from fasttangent.kernels.sums import add_row_sums
from fasttangent.kernels.views import row, stretch, window

STRIP = 6  # rows of a tile solved one by one, between products with those before them


@kernel
def tile_place(i, j, n):
    """Number of tile (i, j), i <= j, of n by n."""
    return i * n - i * (i - 1) // 2 + j - i


@making_arrays
def _tile(T, i, j, n):
    size = T.shape[1]
    return window(T, tile_place(i, j, n) * size * size, size, size, size)


@making_arrays
def dual_row(T, kept, i, table):
    """Row i of tiles of -J J^T, from

    grad f_i . grad f_j = sum_l (h_l,i . h_l,j) (d_l,i . d_l,j)
    """
    size, n = T.shape[1], len(kept.roots) * len(kept.h)
    A, B = np.empty((size, size), T.dtype), np.empty((size, size), T.dtype)
    for j in range(i, n):
        tile = _tile(T, i, j, n)
        fill(tile, 0)
        for l in range(len(table)):
            if _products_of_layer(B, A, kept, i, j, l, table):
                for k in range(size):
                    _subtract(row(tile, k), row(B, k))


@making_arrays
def dual_row_of_users(T, kept, i, table, layers, users):
    """Subtract from row i of tiles what the users' own parameters add to J M^-1 J^T, for rows of the same user:

    sum_l (h_l,i . h_l,j) (d_l,i . d_l,j) over the layers of which users have their own

    layers (n_layers,) says which; users (blocks, rows) says whose a row is, ascending, -1 beyond the last row.
    """
    size, blocks = T.shape[1], len(kept.h)
    n = len(kept.roots) * blocks
    A, B = np.empty((size, size), T.dtype), np.empty((size, size), T.dtype)
    for j in range(i, n):
        a, b = users[i % blocks], users[j % blocks]
        if _last(a) < b[0] or _last(b) < a[0]:
            continue
        tile = _tile(T, i, j, n)
        for l in range(len(table)):
            if layers[l] and _products_of_layer(B, A, kept, i, j, l, table):
                for k in range(size):
                    for c in range(size):
                        if a[k] == b[c] and a[k] >= 0:
                            tile[k, c] -= B[k, c]


@kernel
def _last(users):
    """The last user of a block."""
    j = len(users) - 1
    while users[j] < 0:
        j -= 1
    return users[j]


@kernel
def _products_of_layer(B, A, kept, i, j, l, table):
    """B = (h_l,i . h_l,j) (d_l,i . d_l,j) of the rows of tiles i and j; False where it is zero."""
    blocks, top, size = len(kept.h), len(table) - 1, len(B)
    if l == top and i // blocks != j // blocks:
        return False  # the last layer's adjoints of two outputs are orthogonal
    x = matrix(kept.h[i % blocks], table[l, 4], table[l, 0] + 1, size)
    y = matrix(kept.h[j % blocks], table[l, 4], table[l, 0] + 1, size)
    product(A, x.T, y, x[:0].T, y[:0], A[:0], False)
    if l == top:
        x = window(kept.roots, i * size, 1, size, size)
        y = window(kept.roots, j * size, 1, size, size)
    else:
        x = matrix(kept.each[i // blocks, i % blocks], table[l + 1, 4], table[l, 1], size)
        y = matrix(kept.each[j // blocks, j % blocks], table[l + 1, 4], table[l, 1], size)
    product(B, x.T, y, x[:0].T, y[:0], A, False)
    return True


@kernel
def _subtract(a, b):
    for j in range(a.size):
        a[j] -= b[j]


@making_arrays
def factor_diagonal(T, k, n):
    """Tile (k, k), once the rows above are done, becomes -U^-1; False if a pivot is not positive."""
    size = T.shape[1]
    tile, U = _tile(T, k, k, n), np.empty((size, size), T.dtype)
    _eliminate(tile, T, k, k, n)
    for first in range(0, size, STRIP):
        last = min(first + STRIP, size)
        rows, above = _part(tile, first, last, first, size), _part(U, 0, first, first, size)
        add_product(rows, _part(U, 0, first, first, last).T, above)
        for i in range(first, last):
            u = stretch(U, i * size + i, size - i)
            for j in range(i, size):
                u[j - i] = -tile[i, j]
            for t in range(first, i):
                add_multiple(u, -U[t, i], stretch(U, t * size + i, size - i))
            pivot = U[i, i]
            if not 0 < pivot < math.inf:
                return False
            root = np.sqrt(pivot)
            for j in range(u.size):
                u[j] /= root
    _invert(tile, U)
    return True


@kernel
def _invert(N, U):
    """N = -U^-1, from its last rows to the first."""
    size = len(U)
    fill(N, 0)
    for strip in range((size - 1) // STRIP, -1, -1):
        first, last = strip * STRIP, min((strip + 1) * STRIP, size)
        for i in range(first, last):
            N[i, i] = 1
        rows, below = _part(N, first, last, first, size), _part(N, last, size, first, size)
        add_product(rows, _part(U, first, last, last, size), below)
        for i in range(last - 1, first - 1, -1):
            x = stretch(N, i * size + i, size - i)
            for t in range(i + 1, last):
                add_multiple(stretch(N, i * size + t, size - t), U[i, t], stretch(N, t * size + t, size - t))
            for j in range(x.size):
                x[j] /= -U[i, i]


@making_arrays
def _part(A, first, last, left, right):
    """A[first:last, left:right], which costs nothing."""
    size = len(A)
    return window(A, first * size + left, last - first, size, right - left)


@making_arrays
def factor_row(T, k, first, last, n):
    """Tiles (k, j), first <= j < last, once the diagonal one is done."""
    size = T.shape[1]
    C = np.empty((size, size), T.dtype)
    diagonal = _tile(T, k, k, n)
    for j in range(first, last):
        tile = _tile(T, k, j, n)
        _eliminate(tile, T, k, j, n)
        for i in range(size):
            a, b = row(C, i), row(tile, i)
            for c in range(size):
                a[c] = b[c]
        product(tile, diagonal.T, C, diagonal[:0].T, C[:0], C[:0], False)


@kernel
def _eliminate(tile, T, k, j, n):
    for i in range(k):
        add_product(tile, _tile(T, i, k, n).T, _tile(T, i, j, n))


@making_arrays
def solve_tiles(x, T, n):
    """x (n rows,) becomes U^-1 U^-T x."""
    size = T.shape[1]
    y = np.empty(size, T.dtype)
    for k in range(n):
        part = stretch(x, k * size, size)
        for i in range(size):
            y[i] = -part[i]
            part[i] = 0
        _add_vector_times_matrix(part, y, _tile(T, k, k, n))
        for i in range(size):
            y[i] = -part[i]
        for j in range(k + 1, n):
            _add_vector_times_matrix(stretch(x, j * size, size), y, _tile(T, k, j, n))
    negative = np.empty(x.size, T.dtype)
    for k in range(n - 1, -1, -1):
        part, negated = stretch(x, k * size, size), stretch(negative, k * size, size)
        for j in range(k + 1, n):
            add_row_sums(part, _tile(T, k, j, n), stretch(negative, j * size, size))
        for i in range(size):
            negated[i] = 0
        add_row_sums(negated, _tile(T, k, k, n), part)
        for i in range(size):
            part[i] = -negated[i]


@kernel
def _add_vector_times_matrix(x, v, A):
    """x += v A, four rows at a time."""
    for i in range(0, len(A), 4):
        v0, v1, v2, v3 = v[i], v[i + 1], v[i + 2], v[i + 3]
        a0, a1, a2, a3 = row(A, i), row(A, i + 1), row(A, i + 2), row(A, i + 3)
        for j in range(x.size):
            x[j] = fma(v3, a3[j], fma(v2, a2[j], fma(v1, a1[j], fma(v0, a0[j], x[j]))))
