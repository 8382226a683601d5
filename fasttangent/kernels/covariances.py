"""Variances and covariances of the rows of an embedding: the spread that is left once rows are known.

Letters: E (n, D) embedding of the candidates, D its width; P (D, D) the covariance of a linear model's weights given
what is picked, prior P = I.  Every number of a row is computed from that row alone, so borders of chunks leave no
trace.
"""

import math
from typing import NamedTuple

import numpy as np

from fasttangent.kernels.arithmetic import add_multiple, add_product, fill
from fasttangent.kernels.jit import kernel, making_arrays
from fasttangent.kernels.processor import lanes
from fasttangent.kernels.sums import add_row_sums
from fasttangent.kernels.views import row, stretch, window

GROUP = 16  # rows multiplied with vectors at once: 32 kB of 512 float32 values
SUM_ROWS = 512  # rows added up in the precision of the embedding, before float64 takes over

_LANES32, _LANES64 = lanes(np.float32), lanes(np.float64)


class Variances(NamedTuple):
    """What is left of all rows: variance and share in the average, given what is known."""

    a: np.ndarray  # (n,) e.P e
    b: np.ndarray  # (n,) e.P M P e
    free: np.ndarray  # (n,) bool
    noise: float


class Update(NamedTuple):
    """What a pick f changes: P less u u^T, with u = P f / sqrt(noise + f.P f); empty u: nothing."""

    u: np.ndarray  # (D,)
    w: np.ndarray  # (D,) P M u
    norm_M: float  # u.M u


class Keys(NamedTuple):
    """Upper bounds w e.P e of rows, true as of a pick."""

    key: np.ndarray  # (n,)
    age: np.ndarray  # (n,) int64: the pick
    weight: np.ndarray  # (n,)


@making_arrays
def add_moments(M, E, w, start, stop):
    """M (D, D) float64 += sum of w e e^T over rows start to stop."""
    D = E.shape[1]
    scaled, part = np.empty((SUM_ROWS, D), E.dtype), np.empty((D, D), E.dtype)
    for top in range(start, stop, SUM_ROWS):
        rows = min(SUM_ROWS, stop - top)
        for r in range(rows):
            for j in range(D):
                scaled[r, j] = w[top + r] * E[top + r, j]
        fill(part, 0)
        add_product(part, window(E, top * D, rows, D, D).T, scaled[:rows])
        for i in range(D):
            total, more = row(M, i), row(part, i)
            for j in range(D):
                total[j] += more[j]


@making_arrays
def load_forms(a, E, L, start, stop):
    """Rows start to stop: a = |e L|^2, for L (D, D) of E's dtype, or a = |e|^2 where L is empty."""
    D = E.shape[1]
    R = np.empty((GROUP, D), E.dtype)
    for top in range(start, stop, GROUP):
        rows = min(GROUP, stop - top)
        if len(L):
            fill(R, 0)
            add_product(R[:rows], window(E, top * D, rows, D, D), L)
        for r in range(rows):
            e = row(R, r) if len(L) else row(E, top + r)
            total = 0.0
            for j in range(D):
                total += np.float64(e[j]) * e[j]
            a[top + r] = total


@making_arrays
def multiply_rows(out, E, L, start, stop):
    """Rows start to stop of out = E L, for L (D, D) of E's dtype; `out` may be E."""
    D = E.shape[1]
    R = np.empty((GROUP, D), E.dtype)
    for top in range(start, stop, GROUP):
        rows = min(GROUP, stop - top)
        fill(R, 0)
        add_product(R[:rows], window(E, top * D, rows, D, D), L)
        for r in range(rows):
            for j in range(D):
                out[top + r, j] = R[r, j]


@kernel
def direction(u, v, w, f, M, U, t):
    """u = P f,  v = M u,  w = P v,  with  P = I - sum_s<t U_s U_s^T;  all float64, f (D,), U (k, D)."""
    _reduce(u, f, U, t)
    for i in range(len(M)):
        v[i] = 0
    _add_products(v, M, len(M), u)
    if len(M):
        _reduce(w, v, U, t)


@making_arrays
def _reduce(u, f, U, t):
    s = np.zeros(t)
    _add_products(s, U, t, f)
    for j in range(f.size):
        u[j] = f[j]
    for i in range(t):
        add_multiple(u, -s[i], row(U, i))


@kernel
def _add_products(s, A, rows, b):
    """s[:rows] += A[:rows] b, for contiguous A (m, D) of any D."""
    D = A.shape[1]
    per = _LANES32 if A.itemsize == 4 else _LANES64
    whole = D - D % per
    add_row_sums(stretch(s, 0, rows), window(A, 0, rows, D, whole), stretch(b, 0, whole))
    for i in range(rows):
        for j in range(whole, D):
            s[i] += A[i, j] * b[j]


@making_arrays
def lower_variances(best, variances, E, update, start, stop):
    """Rows start to stop: a = e.P e and b = e.P M P e once a row is known and P' = P - u u^T, with w = P M u.

    With d = e.u:  a' = a - d^2  and  b' = b - 2 d e.w + d^2 u.M u;  norm_M = u.M u.
    best = (largest b / (noise + a) of a free row, that row, the first of equals; -1 without free rows).
    u and w of E's dtype; empty for the start, when nothing changes.
    """
    D, a, b, u, w = E.shape[1], variances.a, variances.b, update.u, update.w
    free, noise, norm_M = variances.free, variances.noise, update.norm_M
    du, dw = np.empty(GROUP, E.dtype), np.empty(GROUP, E.dtype)
    per = _LANES32 if E.itemsize == 4 else _LANES64
    whole = D - D % per
    top_value, top_row = -math.inf, -1
    for top in range(start, stop, GROUP):
        rows = min(GROUP, stop - top)
        if u.size:
            for r in range(rows):
                du[r] = dw[r] = 0
            A = window(E, top * D, rows, D, whole)
            add_row_sums(stretch(du, 0, rows), A, stretch(u, 0, whole))
            add_row_sums(stretch(dw, 0, rows), A, stretch(w, 0, whole))
            for r in range(rows):
                for j in range(whole, D):
                    du[r] += E[top + r, j] * u[j]
                    dw[r] += E[top + r, j] * w[j]
                d = np.float64(du[r])
                a[top + r] = max(a[top + r] - d * d, 0.0)
                b[top + r] = max(b[top + r] + d * (d * norm_M - 2 * np.float64(dw[r])), 0.0)
        for r in range(rows):
            if free[top + r]:
                value = b[top + r] / (noise + a[top + r])
                if value > top_value:
                    top_value, top_row = value, top + r
    best[0], best[1] = top_value, top_row


@making_arrays
def refresh(best, keys, E, U, t, limit, start, stop):
    """Rows start to stop with key = w e.P e >= limit as of pick `age`: brought up to pick t.

    U (k, D) of E's dtype are the directions of the picks.  Picks only lower a key, so
    the other rows cannot reach the limit.  best = (largest key brought up to date, its row, the first of equals).
    """
    s, key, age, weight = np.empty(max(t, 1), E.dtype), keys.key, keys.age, keys.weight
    top_value, top_row = -math.inf, -1
    for i in range(start, stop):
        if key[i] < limit:
            continue
        behind = t - age[i]
        if behind > 0:
            for c in range(behind):
                s[c] = 0
            _add_products(s, U[age[i] : t], behind, row(E, i))
            for c in range(behind):
                d = np.float64(s[c])
                key[i] -= weight[i] * d * d
            key[i] = max(key[i], 0.0)
            age[i] = t
        if key[i] > top_value:
            top_value, top_row = key[i], i
    best[0], best[1] = top_value, top_row
