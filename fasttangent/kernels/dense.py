"""Dense matrices of a few hundred rows, in one fixed order of summation.

LAPACK would do, held to one thread: otherwise their number changes the last bits and with them the path of an
optimisation, and on a busy machine they wait for one another (measured under load: settling took 42 s with two BLAS
threads and 0.9 s with one).  These are called in every step, from several threads, and hold nobody.
"""

import math

import numpy as np

from fasttangent.kernels.arithmetic import add_multiple, add_product, fill
from fasttangent.kernels.jit import kernel
from fasttangent.kernels.scalar import fma


@kernel
def cholesky(U, A):
    """U upper triangular with U^T U = A, for A (r, r) positive definite; zeros below the diagonal."""
    r = len(A)
    fill(U, 0)
    for i in range(r):
        for j in range(i, r):
            U[i, j] = A[i, j]
    for k in range(r):
        pivot = math.sqrt(U[k, k])
        for j in range(k, r):
            U[k, j] /= pivot
        for i in range(k + 1, r):
            add_multiple(U[i, i:], -U[k, i], U[k, i:])


@kernel
def invert_upper(X, U):
    """X = U^-1, for U (r, r) upper triangular."""
    r = len(U)
    fill(X, 0)
    for i in range(r - 1, -1, -1):
        X[i, i] = 1
        for j in range(i + 1, r):
            add_multiple(X[i, j:], -U[i, j], X[j, j:])
        for j in range(i, r):
            X[i, j] /= U[i, i]


@kernel
def product_of_panel(C, A, B, start, stop, depth):
    """Rows start to stop of C += A B, `depth` rows of B at a time, so that they stay in the L2 cache."""
    panel = C[start:stop]
    for k in range(0, len(B), depth):
        last = min(k + depth, len(B))
        add_product(panel, A[start:stop, k:last], B[k:last])


@kernel
def low_rank_change(x, v, B, BT, ST, inner, changed):
    """x = v - B^T S B v, for x and v (1, p), B (r, p) and the transposes BT (p, r), ST (r, r).

    `inner` and `changed` (1, r) are room for B v and S B v.
    """
    fill(inner, 0)
    _add_vector_times_matrix(inner[0], v[0], BT)
    fill(changed, 0)
    _add_vector_times_matrix(changed[0], inner[0], ST)
    for a in range(changed.shape[1]):
        changed[0, a] = -changed[0, a]
    for j in range(x.shape[1]):
        x[0, j] = v[0, j]
    _add_vector_times_matrix(x[0], changed[0], B)


@kernel
def _add_vector_times_matrix(x, v, A):
    """x += v A, for x (n,), v (m,), A (m, n) of either precision, four rows at a time: A is read from memory once."""
    whole = len(A) - len(A) % 4
    for i in range(0, whole, 4):
        v0, v1, v2, v3 = v[i], v[i + 1], v[i + 2], v[i + 3]
        a0, a1, a2, a3 = A[i], A[i + 1], A[i + 2], A[i + 3]
        for j in range(x.size):
            total = fma(v1, np.float64(a1[j]), fma(v0, np.float64(a0[j]), x[j]))
            x[j] = fma(v3, np.float64(a3[j]), fma(v2, np.float64(a2[j]), total))
    for i in range(whole, len(A)):
        a = A[i]
        for j in range(x.size):
            x[j] = fma(v[i], np.float64(a[j]), x[j])
