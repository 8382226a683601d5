"""Distances of the rows of an embedding to the nearest of some centres.

Letters: E (n, D) embedding of the candidates, C (m, D) centres, D its width; a loop over rows goes through blocks of
BLOCK of them, and every number of a row is computed from that row alone, so borders of chunks leave no trace.
"""

import math
from typing import NamedTuple

import numpy as np

from fasttangent.kernels.arithmetic import add_product, fill
from fasttangent.kernels.jit import kernel, making_arrays
from fasttangent.kernels.scalar import fma
from fasttangent.kernels.sums import gather_columns
from fasttangent.kernels.views import row, stretch, window

BLOCK = 64  # rows whose bounds are computed side by side
DEPTH = (
    64  # values of rows and centres that are compared at once: two squares of 16 kB in float32, an L1 cache
)
# What rounding can do to a bound, in units of the norms of row and centre: HEAD + 3 roundings of float32 and the
# root of a float64 rounding, 3e-7, three times over.
SLACK = 4e-6
EPS32, EPS64, TINY = 2.0**-23, 2.0**-52, 2.0**-126  # rounding and underflow of a product, and as much again


class Candidates(NamedTuple):
    """Rows among which centres are looked for."""

    E: np.ndarray  # (n, D)
    norm: np.ndarray  # (n,) float64: their norms, scaled
    scale: float


class Nearest(NamedTuple):
    """The nearest centre of every row."""

    squared: np.ndarray  # (n,) float64: squared distance
    number: np.ndarray  # (n,) int64: which centre
    reach: np.ndarray  # (n,) float32: the scaled distance, and a little more


class Heads(NamedTuple):
    """Scaled coordinates of rows along q orthonormal directions, and what these leave."""

    values: np.ndarray  # (blocks, q, BLOCK) float32, rows side by side
    rest: np.ndarray  # (2, n) float32: the norms of what the `first` directions and all of them leave
    first: int


class Centre(NamedTuple):
    """One centre c, scaled but for c itself."""

    c: np.ndarray  # (1, D)
    head: np.ndarray  # (q,)
    rest: np.ndarray  # (2,)
    norm: float
    number: int


@making_arrays
def load_heads(heads, norm, E, V, scale, start, stop):
    """Rows start to stop: their norms and their coordinates along the orthonormal columns of V (D, q), both scaled.

    norm (n,) float64.
    """
    (D, q), rest, first = V.shape, heads.rest, heads.first
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
                heads.values[top // BLOCK, i, r] = h[r, i]
            rest[1, top + r] = math.sqrt(max(left, 0.0))
            if first == q:
                rest[0, top + r] = rest[1, top + r]


class Pairs(NamedTuple):
    """Rows and centres whose distances are to be taken in full, some at a time."""

    row: np.ndarray  # (2 BLOCK,) int64
    centre: np.ndarray  # (2 BLOCK,) int64: which one of those at hand
    offsets: np.ndarray  # (BLOCK,) int64
    found: np.ndarray  # (BLOCK,) float64
    rows: np.ndarray  # (DEPTH, BLOCK) of E's dtype: values of the rows, side by side
    centres: np.ndarray  # the same of the centres


@making_arrays
def _no_pairs(E):
    row, centre, offsets = (
        np.empty(2 * BLOCK, np.int64),
        np.empty(2 * BLOCK, np.int64),
        np.empty(BLOCK, np.int64),
    )
    rows, centres = np.empty((DEPTH, BLOCK), E.dtype), np.empty((DEPTH, BLOCK), E.dtype)
    return Pairs(row, centre, offsets, np.empty(BLOCK), rows, centres)


@making_arrays
def add_centres(nearest, candidates, C, scaled, c_norm, number, start, stop):
    """Rows start to stop of `nearest`, where one of the centres C is nearer than all before.

    Which centre that is, products in E's dtype tell but for what rounding can do; the distances to all that are left
    are taken in full, in float64.  scaled (m, D) are the centres multiplied by the scale and c_norm (m,) their norms.
    They get numbers from `number` on.
    """
    (m, D), E, norm, scale = scaled.shape, candidates.E, candidates.norm, candidates.scale
    turned, R, least = np.empty((D, BLOCK), E.dtype), np.empty((m, BLOCK), E.dtype), np.empty(BLOCK)
    eps, pairs, count = EPS32 if E.itemsize == 4 else EPS64, _no_pairs(E), 0
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
            near = 0
            for r in range(rows):
                near += half - np.float64(R[j, r]) - (slope * norm[top + r] + more) <= least[r]
            if near == 0:
                continue
            for r in range(rows):
                if half - np.float64(R[j, r]) - (slope * norm[top + r] + more) <= least[r]:
                    pairs.row[count], pairs.centre[count] = top + r, j
                    count += 1
            if count >= BLOCK:
                count = _compare(nearest, candidates, C, pairs, count, number)
    _compare(nearest, candidates, C, pairs, count, number)


@making_arrays
def add_centre(nearest, candidates, heads, centre, start, stop):
    """Rows start to stop, as `add_centres` does, for one centre.

    |e - c|^2 is at least |he - hc|^2 + (re - rc)^2, with h the heads and r the norms of the rest, for the `first`
    coordinates as for all.  Only rows for which that is below the square of their `reach`, the distance so far, are
    looked at in full.
    """
    E, rest, first = candidates.E, heads.rest, heads.first
    c_head, c_rest = centre.head, centre.rest
    q, pairs, count = heads.values.shape[1], _no_pairs(E), 0
    part, bound, limit = np.empty(BLOCK, np.float32), np.empty(BLOCK, np.float32), np.empty(BLOCK, np.float32)
    for top in range(start, stop, BLOCK):
        rows = min(BLOCK, stop - top)
        head = heads.values[top // BLOCK]
        rest_first, rest_all = stretch(row(rest, 0), top, rows), stretch(row(rest, 1), top, rows)
        _limits(limit, stretch(nearest.reach, top, rows), np.float32(SLACK * centre.norm))
        for r in range(BLOCK):
            part[r] = 0
        _add_squares(part, head, c_head, 0, first)
        if _bounds(bound, part, rest_first, c_rest[0], limit) == 0:
            continue
        _add_squares(part, head, c_head, first, q)
        if _bounds(bound, part, rest_all, c_rest[1], limit) == 0:
            continue
        for r in range(rows):
            if bound[r] <= limit[r]:
                pairs.row[count], pairs.centre[count] = top + r, 0
                count += 1
        if count >= BLOCK:
            count = _compare(nearest, candidates, centre.c, pairs, count, centre.number)
    _compare(nearest, candidates, centre.c, pairs, count, centre.number)


@kernel
def _compare(nearest, candidates, C, pairs, count, number):
    """The first of the pairs, BLOCK at the most: the rest move up; how many these are.

    Many at a time, as vectors hold values of many pairs; those of a row come in the order of the centres.
    """
    some = min(count, BLOCK)
    _distances(pairs, candidates.E, C, some)
    for s in range(some):
        i, squared = pairs.row[s], pairs.found[s]
        if squared < nearest.squared[i]:
            nearest.squared[i], nearest.number[i] = squared, number + pairs.centre[s]
            nearest.reach[i] = candidates.scale * math.sqrt(squared) + SLACK * candidates.norm[i]
    for s in range(some, count):
        pairs.row[s - some], pairs.centre[s - some] = pairs.row[s], pairs.centre[s]
    return count - some


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
def _distances(pairs, E, C, count):
    """found[s] = |e - c|^2 of the first pairs; zero where e equals c, and nowhere else."""
    D, found = E.shape[1], pairs.found
    for s in range(count):
        found[s] = 0
    for first in range(0, D, DEPTH):
        depth = min(DEPTH, D - first)
        _gather(pairs.rows, E, pairs.row, pairs.offsets, first, depth, count)
        _gather(pairs.centres, C, pairs.centre, pairs.offsets, first, depth, count)
        for i in range(depth):
            e, c = row(pairs.rows, i), row(pairs.centres, i)
            for s in range(count):
                d = np.float64(e[s]) - np.float64(c[s])
                found[s] = fma(d, d, found[s])


@kernel
def _gather(values, table, numbers, offsets, first, depth, count):
    """values[i, s] = table[numbers[s], first + i], i < depth."""
    for s in range(count):
        offsets[s] = numbers[s] * table.shape[1] + first
    gather_columns(
        window(values, 0, depth, BLOCK, BLOCK), stretch(table, 0, table.size), stretch(offsets, 0, count)
    )


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
