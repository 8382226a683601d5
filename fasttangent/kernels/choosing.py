"""Choosing rows of an embedding: nearest centres, and the spread that is left once rows are known.

Letters: E (n, D) embedding of the candidates, C (m, D) centres, D its width; a loop over rows goes through blocks of
BLOCK of them, and every number of a row is computed from that row alone, so borders of chunks leave no trace.
"""

import math

import numpy as np

from fasttangent.kernels.arithmetic import add_multiple, add_product, fill
from fasttangent.kernels.jit import kernel
from fasttangent.kernels.processor import lanes
from fasttangent.kernels.scalar import fma
from fasttangent.kernels.sums import add_row_sums, gather_columns
from fasttangent.kernels.views import row, stretch, window

BLOCK = 64  # rows whose bounds are computed side by side
DEPTH = 64  # values of those rows that are compared at once: a square of 16 kB in float32, half an L1 cache
GROUP = 16  # rows multiplied with vectors at once: 32 kB of 512 float32 values
SUM_ROWS = 512  # rows added up in the precision of the embedding, before float64 takes over
# What rounding can do to a bound, in units of the norms of row and centre: HEAD + 3 roundings of float32 and the
# root of a float64 rounding, 3e-7, three times over.
SLACK = 4e-6
EPS32, EPS64, TINY = 2.0**-23, 2.0**-52, 2.0**-126  # rounding and underflow of a product, and as much again

_LANES32, _LANES64 = lanes(np.float32), lanes(np.float64)


# ---------------------------------------------------------------------------------------------------------------
# Distances to centres


@kernel
def load_heads(heads, rest, norm, E, V, first, scale, start, stop):
    """Rows start to stop: their norms and their coordinates along the orthonormal columns of V (D, q), both scaled.

    norm (n,) float64; heads (blocks, q, BLOCK) float32, rows side by side; rest (2, n) float32, the norms of what the
    `first` columns and all of V leave.
    """
    D, q = V.shape
    e, h = np.empty((BLOCK, D)), np.empty((BLOCK, q))
    for top in range(start, stop, BLOCK):
        rows = min(BLOCK, stop - top)
        fill(h, 0)
        for r in range(rows):
            for j in range(D):
                e[r, j] = scale * E[top + r, j]
        add_product(h[:rows], e[:rows], V)
        for r in range(rows):
            left = 0.0
            for j in range(D):
                left += e[r, j] * e[r, j]
            norm[top + r] = math.sqrt(left)
            for i in range(q):
                if i == first:
                    rest[0, top + r] = math.sqrt(max(left, 0.0))
                left -= h[r, i] * h[r, i]
                heads[top // BLOCK, i, r] = h[r, i]
            rest[1, top + r] = math.sqrt(max(left, 0.0))
            if first == q:
                rest[0, top + r] = rest[1, top + r]


@kernel
def add_centres(squared, nearest, reach, E, norm, scale, C, scaled, c_norm, number, start, stop):
    """Rows start to stop: squared (n,) and nearest (n,), where one of the centres C is nearer than all before.

    Which centre that is, products in E's dtype tell but for what rounding can do; the distances to all that are left
    are taken in full, in float64.  reach (n,) float32 is the scaled distance, and a little more; scaled (m, D) are the
    centres multiplied by `scale` and c_norm (m,) their norms.  They get numbers from `number` on.
    """
    m, D = scaled.shape
    near, offsets, found = np.empty(BLOCK, np.int64), np.empty(BLOCK, np.int64), np.empty(BLOCK)
    T, flat = np.empty((DEPTH, BLOCK), E.dtype), E.reshape(-1)
    turned, R, least = np.empty((D, BLOCK), E.dtype), np.empty((m, BLOCK), E.dtype), np.empty(BLOCK)
    eps = EPS32 if E.itemsize == 4 else EPS64
    for top in range(start, stop, BLOCK):
        rows = min(BLOCK, stop - top)
        for r in range(rows):
            least[r] = math.inf
            for i in range(D):
                turned[i, r] = scale * E[top + r, i]
        fill(R, 0)
        add_product(R, scaled, turned)
        # |e - c|^2 / 2 less |e|^2 / 2
        for j in range(m):
            half, slope, more = 0.5 * c_norm[j] ** 2, (D + 4) * eps * c_norm[j], 2 * D * TINY
            for r in range(rows):
                least[r] = min(least[r], half - np.float64(R[j, r]) + (slope * norm[top + r] + more))
        for j in range(m):
            half, slope, more = 0.5 * c_norm[j] ** 2, (D + 4) * eps * c_norm[j], 2 * D * TINY
            count = 0
            for r in range(rows):
                count += half - np.float64(R[j, r]) - (slope * norm[top + r] + more) <= least[r]
            if count == 0:
                continue
            count = 0
            for r in range(rows):
                if half - np.float64(R[j, r]) - (slope * norm[top + r] + more) <= least[r]:
                    near[count] = top + r
                    count += 1
            _distances(found, T, offsets, flat, D, near, count, row(C, j))
            _keep(squared, nearest, reach, norm, scale, near, found, count, number + j)


@kernel
def add_centre(
    squared,
    nearest,
    reach,
    E,
    heads,
    rest,
    first,
    norm,
    scale,
    c,
    c_head,
    c_rest,
    c_norm,
    number,
    start,
    stop,
):
    """Rows start to stop, as `add_centres` does, for one centre c (D,).

    |e - c|^2 is at least |he - hc|^2 + (re - rc)^2, with h the heads and r the norms of the rest, for the `first`
    coordinates as for all.  Only rows for which that is below the square of their `reach`, the distance so far, are
    looked at in full.
    """
    D, q = E.shape[1], heads.shape[1]
    part, bound, limit = np.empty(BLOCK, np.float32), np.empty(BLOCK, np.float32), np.empty(BLOCK, np.float32)
    near, offsets, found = np.empty(BLOCK, np.int64), np.empty(BLOCK, np.int64), np.empty(BLOCK)
    T, flat = np.empty((DEPTH, BLOCK), E.dtype), E.reshape(-1)
    for top in range(start, stop, BLOCK):
        rows = min(BLOCK, stop - top)
        head = heads[top // BLOCK]
        rest_first, rest_all = stretch(row(rest, 0), top, rows), stretch(row(rest, 1), top, rows)
        _limits(limit, stretch(reach, top, rows), np.float32(SLACK * c_norm))
        for r in range(BLOCK):
            part[r] = 0
        _add_squares(part, head, c_head, 0, first)
        if _bounds(bound, part, rest_first, c_rest[0], limit) == 0:
            continue
        _add_squares(part, head, c_head, first, q)
        if _bounds(bound, part, rest_all, c_rest[1], limit) == 0:
            continue
        count = 0
        for r in range(rows):
            if bound[r] <= limit[r]:
                near[count] = top + r
                count += 1
        _distances(found, T, offsets, flat, D, near, count, c)
        _keep(squared, nearest, reach, norm, scale, near, found, count, number)


@kernel
def _keep(squared, nearest, reach, norm, scale, near, found, count, number):
    for s in range(count):
        i = near[s]
        if found[s] < squared[i]:
            squared[i], nearest[i] = found[s], number
            reach[i] = scale * math.sqrt(found[s]) + SLACK * norm[i]


@kernel
def _limits(limit, reach, slack):
    for r in range(reach.size):
        d = reach[r] + slack
        limit[r] = d * d


@kernel
def _add_squares(part, head, c_head, start, stop):
    """part += |h - hc|^2 over coordinates start to stop, for the heads h of a block (q, BLOCK)."""
    for i in range(start, stop):
        h, c = row(head, i), c_head[i]
        for r in range(part.size):
            d = h[r] - c
            part[r] = fma(d, d, part[r])


@kernel
def _bounds(bound, part, rest, c_rest, limit):
    """bound = part + (r - rc)^2; how many are within their limit, also where float32 holds neither square."""
    count = 0
    for r in range(rest.size):
        d = rest[r] - c_rest
        bound[r] = fma(d, d, part[r])
        count += bound[r] <= limit[r]
    return count


@kernel
def _distances(found, T, offsets, flat, D, near, count, c):
    """found[s] = |e - c|^2 for the rows e near[:count]; zero for rows that equal c, and for no others."""
    for s in range(count):
        found[s] = 0
    for first in range(0, D, DEPTH):
        depth = min(DEPTH, D - first)
        for s in range(count):
            offsets[s] = near[s] * D + first
        gather_columns(window(T, 0, depth, BLOCK, BLOCK), flat, stretch(offsets, 0, count))
        for i in range(depth):
            t, centre = row(T, i), np.float64(c[first + i])
            for s in range(count):
                d = np.float64(t[s]) - centre
                found[s] = fma(d, d, found[s])


@kernel
def farthest(squared, weight, free):
    """The free row of the largest w d^2, the first of equals; -1 where that is zero everywhere."""
    best, found = 0.0, -1
    for i in range(squared.size):
        value = weight[i] * squared[i]
        if value > best and free[i]:
            best, found = value, i
    return found


@kernel
def farthest_of_largest(squared, weight, free, nearest, sums):
    """The free row of the largest w d^2 in the cluster with the largest sum of w d^2; -1 where all are zero.

    sums (clusters,) is room.  Of clusters with equal sums all rows compete.
    """
    for c in range(sums.size):
        sums[c] = 0
    for i in range(squared.size):
        sums[nearest[i]] += weight[i] * squared[i]
    largest = 0.0
    for c in range(sums.size):
        largest = max(largest, sums[c])
    best, found = 0.0, -1
    for i in range(squared.size):
        value = weight[i] * squared[i]
        if value > best and sums[nearest[i]] == largest and free[i]:
            best, found = value, i
    return found


# ---------------------------------------------------------------------------------------------------------------
# Covariances: P the covariance of a linear model's weights given what is picked, prior P = I


@kernel
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


@kernel
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


@kernel
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


@kernel
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


@kernel
def lower_variances(best, a, b, free, E, u, w, norm_M, noise, start, stop):
    """Rows start to stop: a = e.P e and b = e.P M P e once a row is known and P' = P - u u^T, with w = P M u.

    With d = e.u:  a' = a - d^2  and  b' = b - 2 d e.w + d^2 u.M u;  norm_M = u.M u.
    best = (largest b / (noise + a) of a free row, that row, the first of equals; -1 without free rows).
    u and w of E's dtype; empty for the start, when nothing changes.
    """
    D = E.shape[1]
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


@kernel
def refresh(best, key, age, weight, E, U, t, limit, start, stop):
    """Rows start to stop with key = w e.P e >= limit as of pick `age`: brought up to pick t.

    U (k, D) of E's dtype are the directions of the picks.  Picks only lower a key, so
    the other rows cannot reach the limit.  best = (largest key brought up to date, its row, the first of equals).
    """
    s = np.empty(max(t, 1), E.dtype)
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
