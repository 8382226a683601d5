"""Cholesky factors of thousands of rows, and solves with them, in blocks that threads share.

The upper half of a matrix A (p, p) becomes U with U^T U = A.  It is kept in blocks of BLOCK rows and columns, block
(i, j) at `place`; a block is SLABS slabs of WIDTH columns, each contiguous: U (blocks, SLABS, BLOCK, WIDTH).
So a product reads and writes its operands in the order of memory, which fetches ahead; from rows of the whole
matrix it ran at 50 % of the peak, from slabs at 73 %.

Every number is one chain of fused multiply-adds in the order of the unknowns, whatever the blocks are and whoever
does them: the factor equals that of `dense.cholesky` bit for bit.  A product can only add, so one side of it is
negated beforehand.
"""

import math
from typing import NamedTuple

import numpy as np

from fasttangent.kernels.arithmetic import add_multiple, add_product
from fasttangent.kernels.jit import kernel, making_arrays
from fasttangent.kernels.sums import add_row_sums, gather_columns
from fasttangent.kernels.views import row, stretch, window

BLOCK, WIDTH = 288, 32  # a block of 660 kB, to stay in an L2 cache; a slab is as wide as the widest tile
SLABS = BLOCK // WIDTH
STEP = 296  # from row to row in other room: 37 lines; an even number of them shares few sets of an L1 cache
DEPTH = 96  # rows of a slab multiplied at once: 24 kB, half of an L1 cache
PANEL = 48  # rows of a block solved between products with all rows before them
STRIP = 6  # rows solved one by one, between products with the rows of the panel before them


@kernel
def place(i, j, p):
    """Where block (i, j), i <= j, stands in U."""
    blocks = (p + BLOCK - 1) // BLOCK
    return i * blocks - i * (i - 1) // 2 + j - i


@making_arrays
def _slab(U, block, s, first, rows, columns):
    """Rows of slab s of a block, from `first` on."""
    return window(U, ((block * SLABS + s) * BLOCK + first) * WIDTH, rows, WIDTH, columns)


@kernel
def load_block(U, A, i, j):
    """Block (i, j) of U becomes that of A; beyond the last column it stays zero."""
    p, block = len(A), place(i, j, len(A))
    rows = min(BLOCK, p - i * BLOCK)
    for s in range(_slabs(p, j)):
        left = j * BLOCK + s * WIDTH
        columns = min(WIDTH, p - left)
        _copy(_slab(U, block, s, 0, rows, columns), window(A, i * BLOCK * p + left, rows, p, columns), 1.0)


@kernel
def factor_block(U, M, W, p, k):
    """Block (k, k), from what A has left there; also -U in M (BLOCK, STEP), its diagonal the exact roots; W is room.

    Returns the row of the first pivot that is not positive and finite, its value in W[0, BLOCK], or -1.
    """
    block, n = place(k, k, p), min(BLOCK, p - k * BLOCK)
    for i in range(n):
        for j in range(n):
            W[i, j] = U[block, j // WIDTH, i, j % WIDTH]
    for first in range(0, n, STRIP):
        last = min(first + STRIP, n)
        before = window(M, first, first, STEP, last - first).T
        rows = window(W, first * STEP + first, last - first, STEP, n - first)
        add_product(rows, before, window(W, first, first, STEP, n - first))
        for i in range(first, last):
            for t in range(first, i):
                add_multiple(W[i, i:n], M[t, i], W[t, i:n])
            pivot = W[i, i]
            if not 0 < pivot < math.inf:
                W[0, BLOCK] = pivot
                return k * BLOCK + i
            root = math.sqrt(pivot)
            for j in range(i, n):
                W[i, j] /= root
                M[i, j] = -W[i, j]
                U[block, j // WIDTH, i, j % WIDTH] = W[i, j]
            M[i, i] = -root  # which pivot / root misses at times by one unit in the last place
    return -1


@making_arrays
def solve_block(U, T, M, p, k, j):
    """Block (k, j), once block (k, k) is done; also -U^T in T[j] (BLOCK, STEP)."""
    block, offsets = place(k, j, p), WIDTH * np.arange(BLOCK)
    diagonal = window(M, 0, BLOCK, STEP, BLOCK)
    for s in range(_slabs(p, j)):
        X = _slab(U, block, s, 0, BLOCK, WIDTH)
        _substitute_forward(X, diagonal)
        columns = window(T, (j * BLOCK + s * WIDTH) * STEP, WIDTH, STEP, BLOCK)
        flat = stretch(U, (block * SLABS + s) * BLOCK * WIDTH, BLOCK * WIDTH)
        gather_columns(columns, flat, offsets)
        _copy(columns, columns, -1.0)


@kernel
def update_block(U, T, p, k, i, j):
    """Block (i, j) loses the product of the blocks (k, i) and (k, j) of U: rows on and above the diagonal only."""
    block, right, n = place(i, j, p), place(k, j, p), min(BLOCK, p - i * BLOCK)
    for s in range(_slabs(p, j)):
        rows = min(n, (s + 1) * WIDTH) if i == j else n
        C = _slab(U, block, s, 0, rows, WIDTH)
        for q in range(0, BLOCK, DEPTH):
            left = window(T, i * BLOCK * STEP + q, rows, STEP, DEPTH)
            add_product(C, left, _slab(U, right, s, q, DEPTH, WIDTH))


@kernel
def _slabs(p, j):
    """Slabs of a block in column j that hold columns of A."""
    return (min(BLOCK, p - j * BLOCK) + WIDTH - 1) // WIDTH


# ---------------------------------------------------------------------------------------------------------------
# Many right-hand sides: X (p, K), one column each


class Elimination(NamedTuple):
    """Columns start to stop of X: block j loses what block k, solved before, contributes to it."""

    k: int
    j: int
    start: int
    stop: int
    forward: bool  # U^T X = B, else U X = B


@kernel
def solve_rows(X, room, W, U, step):
    """An elimination; where block j is next in turn, or is k itself, the first, it is then solved.

    `room` (2, BLOCK, K) keeps the last two solved blocks, negated; W (BLOCK, STEP) is room of this thread alone.
    """
    k, j, start, stop, forward = step
    p, K = X.shape
    n, columns = min(BLOCK, p - j * BLOCK), stop - start
    solved = (k % 2) * BLOCK * K + start
    for s in range(_slabs(p, j if forward else k) if j != k else 0):
        wide = min(WIDTH, p - (j if forward else k) * BLOCK - s * WIDTH)
        if forward:
            C = window(X, (j * BLOCK + s * WIDTH) * K + start, wide, K, columns)
            for q in range(0, BLOCK, DEPTH):
                left = _slab(U, place(k, j, p), s, q, DEPTH, wide).T
                add_product(C, left, window(room, solved + q * K, DEPTH, K, columns))
        else:
            C = window(X, j * BLOCK * K + start, n, K, columns)
            left = _slab(U, place(j, k, p), s, 0, n, wide)
            add_product(C, left, window(room, solved + s * WIDTH * K, wide, K, columns))
    if j == k or j == (k + 1 if forward else k - 1):
        rows = window(X, j * BLOCK * K + start, n, K, columns)
        diagonal = window(W, 0, n, STEP, n)
        _load_diagonal(diagonal, U, place(j, j, p))
        if forward:
            _substitute_forward(rows, diagonal)
        else:
            _substitute_back(rows, diagonal)
        _copy(window(room, (j % 2) * BLOCK * K + start, n, K, columns), rows, -1.0)


@kernel
def _load_diagonal(M, U, block):
    """M = -U of a block on the diagonal, for M (n, n), its upper half."""
    for i in range(len(M)):
        for j in range(i, len(M)):
            M[i, j] = -U[block, j // WIDTH, i, j % WIDTH]


@kernel
def _copy(B, A, factor):
    """B = factor A."""
    for i in range(A.shape[0]):
        b, a = row(B, i), row(A, i)
        for j in range(a.size):
            b[j] = factor * a[j]


@kernel
def _substitute_forward(X, M):
    """X becomes U^-T X, for X (n, columns), M = -U (n, n) upper triangular: below its diagonal nothing is read."""
    n = len(M)
    for top in range(0, n, PANEL):
        bottom = min(top + PANEL, n)
        add_product(X[top:bottom], M[:top, top:bottom].T, X[:top])
        for first in range(top, bottom, STRIP):
            last = min(first + STRIP, bottom)
            add_product(X[first:last], M[top:first, first:last].T, X[top:first])
            for i in range(first, last):
                x = row(X, i)
                for t in range(first, i):
                    add_multiple(x, M[t, i], row(X, t))
                divisor = -M[i, i]
                for c in range(x.size):
                    x[c] /= divisor


@kernel
def _substitute_back(X, M):
    """X becomes U^-1 X, likewise."""
    n = len(M)
    for bottom in range(n, 0, -PANEL):
        top = max(bottom - PANEL, 0)
        add_product(X[top:bottom], M[top:bottom, bottom:], X[bottom:])
        for last in range(bottom, top, -STRIP):
            first = max(last - STRIP, top)
            add_product(X[first:last], M[first:last, last:bottom], X[last:bottom])
            for i in range(last - 1, first - 1, -1):
                x = row(X, i)
                for t in range(i + 1, last):
                    add_multiple(x, M[i, t], row(X, t))
                divisor = -M[i, i]
                for c in range(x.size):
                    x[c] /= divisor


# ---------------------------------------------------------------------------------------------------------------
# A few right-hand sides: X (K, columns), one row each, with room up to whole blocks; U is read once


@kernel
def solve_few_forward(X, N, U, p):
    """The first p columns of X become U^-T x, for each row x; N is room like X."""
    K, step = X.shape
    for k in range((p + BLOCK - 1) // BLOCK):
        _divide_forward(X, U, p, k)
        _copy(window(N, k * BLOCK, K, step, BLOCK), window(X, k * BLOCK, K, step, BLOCK), -1.0)
        for j in range(k + 1, (p + BLOCK - 1) // BLOCK):
            for s in range(_slabs(p, j)):
                C = window(X, j * BLOCK + s * WIDTH, K, step, WIDTH)
                right = _slab(U, place(k, j, p), s, 0, BLOCK, WIDTH)
                add_product(C, window(N, k * BLOCK, K, step, BLOCK), right)


@kernel
def solve_few_back(X, N, U, p):
    """The first p columns of X become U^-1 x, likewise; the columns of X beyond p are zero."""
    K = len(X)
    for i in range((p + BLOCK - 1) // BLOCK - 1, -1, -1):
        n = min(BLOCK, p - i * BLOCK)
        for j in range(i + 1, (p + BLOCK - 1) // BLOCK):
            for s in range(_slabs(p, j)):
                for k in range(K):
                    c = j * BLOCK + s * WIDTH
                    total = row(X, k)[i * BLOCK : i * BLOCK + n]
                    add_row_sums(total, _slab(U, place(i, j, p), s, 0, n, WIDTH), row(N, k)[c : c + WIDTH])
        _divide_back(X, U, p, i)
        for k in range(K):
            for c in range(i * BLOCK, i * BLOCK + n):
                N[k, c] = -X[k, c]


@kernel
def _divide_forward(X, U, p, k):
    """Within block k, eliminate and divide, from the first column to the last."""
    block = place(k, k, p)
    for i in range(min(BLOCK, p - k * BLOCK)):
        for v in range(len(X)):
            x = row(X, v)[k * BLOCK : (k + 1) * BLOCK]
            x[i] /= U[block, i // WIDTH, i, i % WIDTH]
            for s in range(i // WIDTH, SLABS):
                u = U[block, s, i]
                for c in range(max(0, i + 1 - s * WIDTH), WIDTH):
                    x[s * WIDTH + c] -= x[i] * u[c]


@kernel
def _divide_back(X, U, p, k):
    """Within block k, from the last column to the first."""
    block, n = place(k, k, p), min(BLOCK, p - k * BLOCK)
    for v in range(len(X)):
        x = row(X, v)[k * BLOCK : k * BLOCK + n]
        for i in range(n - 1, -1, -1):
            total = x[i]
            for c in range(i + 1, n):
                total -= U[block, c // WIDTH, i, c % WIDTH] * x[c]
            x[i] = total / U[block, i // WIDTH, i, i % WIDTH]
