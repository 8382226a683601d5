"""Dense matrices of curvature: the Hessian, Gauss-Newton, and the dual n x n one; drivers of `kernels.hessian`."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from fasttangent.common import parallel
from fasttangent.problem.linearized_users import LinearizedUsers, linearized
from fasttangent.problem.problem import Problem
from fasttangent.problem.users_problem import UsersProblem

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fasttangent.kernels.hessian import Chunk, Places

    Float = NDArray[np.float64]

CHUNK_ROWS = 1024  # the depth of a product: sums are read and written once for so many rows
CHUNK_BYTES = 2**27  # of a chunk's second derivatives, at the most
PANEL = 64  # columns of a product that are one task
TILE = 32


class _Term(NamedTuple):
    """One product C += A (u v) and how its result goes into the matrix."""

    C: Float
    A: Float  # (pairs, chunk)
    u: Float  # (chunk, units)
    v: Float
    upper: int  # units of A's pairs where only half of these are used, else 0
    place: str
    l: int
    m: int


def dense_curvature(problem: Problem, theta: Float, *, gauss_newton: bool) -> Float:
    """H (p, p) of the data term, symmetric to the bit, the same for any number of threads.

    Besides the result it takes at most as much memory again, for a network of one or two hidden layers a third.
    """
    if isinstance(problem, UsersProblem):
        return _of_users(problem, theta, gauss_newton)
    sums = _sums_over_rows(problem, theta, gauss_newton)
    return _assemble(sums, problem.network.layout.table, len(theta), problem.threads)


def _of_users(problem: UsersProblem, theta: Float, gauss_newton: bool) -> Float:
    """E^T of the matrix of each user's theta_u."""
    every, chosen, p = problem.deviations, problem.deviations.chosen, problem.deviations.n_params
    H, (X, Y, w) = np.zeros((every.size, every.size)), problem.rows
    for rows, theta_u in problem.each_user(theta):
        some = Problem(
            problem.network, problem.objective, X[rows], Y[rows], np.ones(len(rows)), problem.threads
        )
        some = some.with_rows(X[rows], Y[rows], w[rows], problem.threads)
        Hu, at = (
            dense_curvature(some, theta_u, gauss_newton=gauss_newton),
            p + len(chosen) * problem.of[rows[0]],
        )
        own = slice(at, at + len(chosen))
        H[:p, :p] += Hu
        H[:p, own], H[own, :p], H[own, own] = Hu[:, chosen], Hu[chosen], Hu[np.ix_(chosen, chosen)]
    return H


def _sums_over_rows(problem: Problem, theta: Float, gauss_newton: bool) -> list[_Term]:
    from fasttangent.kernels import hessian
    from fasttangent.kernels.network import BLOCK_BYTES

    table, n, n_threads = problem.network.layout.table, problem.n_rows, problem.threads
    places, n_R, n_P = _places(table, gauss_newton)
    block = BLOCK_BYTES // theta.itemsize
    rows = min(CHUNK_ROWS, CHUNK_BYTES // (8 * n_R), n)
    rows = max(1, -(-rows // block)) * block
    chunk = _room(table, rows, n_R, n_P)
    terms = _terms(chunk, table, places, gauss_newton)
    tasks = [(t, start) for t in terms for start in range(0, t.C.shape[1], _panel(t))]
    data = problem.data_term(gauss_newton)
    none = np.empty((0, 0))

    for start in range(0, n, rows):
        depth = min(rows, n - start)

        def derivatives(i: int, start: int = start, depth: int = depth) -> None:
            first, last = start + i * block, start + min((i + 1) * block, depth)
            hessian.derivatives_of_rows(chunk, places, first, last, i * block, theta, data, problem.every)

        def panel(i: int, depth: int = depth) -> None:
            t, first = tasks[i]
            last = min(first + _panel(t), t.C.shape[1])
            hessian.add_panel(t.C, t.A, t.u, t.v, first, last, depth, t.upper)

        parallel.run(derivatives, -(-depth // block), n_threads)
        parallel.run(panel, len(tasks), n_threads)
    sums = [
        t._replace(A=none, u=none, v=none) for t in terms
    ]  # the chunk is given back before the matrix is made
    return sums


def _panel(term: _Term) -> int:
    """Columns of one task: a product that is not tall is to be wide."""
    return PANEL * max(1, min(32, 512 // len(term.C)))


def _places(table: NDArray[np.int64], gauss_newton: bool) -> tuple[Places, int, int]:
    """Where blocks begin, and the number of pairs of units in R and P."""
    from fasttangent.kernels.hessian import Places

    L, n_in, n_out = len(table), table[:, 0], table[:, 1]
    R, P, n_R, n_P = np.zeros((L, L), np.int64), np.zeros((L, L), np.int64), 0, 0
    for l in range(L):
        for m in range(l, L):
            R[l, m], n_R = n_R, n_R + int(n_out[l] * n_out[m])
            if m > l + 1 and not gauss_newton:
                P[l, m], n_P = n_P, n_P + int(n_out[l] * n_in[m])
    return Places(np.concatenate([[0], np.cumsum(n_out)[:-1]]), R, P), n_R, n_P


def _room(table: NDArray[np.int64], rows: int, n_R: int, n_P: int) -> Chunk:
    from fasttangent.kernels.hessian import Chunk

    inputs, outputs = int(np.sum(table[:, 0] + 1)), int(np.sum(table[:, 1]))
    stacks = [np.empty((units, rows)) for units in (inputs, outputs, outputs, n_R, n_P)]
    return Chunk(*stacks, *(np.empty((rows, units)) for units in (inputs, outputs, outputs)))


def _terms(chunk: Chunk, table: NDArray[np.int64], places: Places, gauss_newton: bool) -> list[_Term]:
    """All products, the largest first, so that threads end together."""
    terms, L = [], len(table)

    def h(l: int) -> slice:
        return slice(table[l, 4], table[l, 4] + table[l, 0] + 1)

    def z(l: int) -> slice:
        return slice(places.outputs[l], places.outputs[l] + table[l, 1])

    def term(A: Float, u: Float, v: Float, upper: int, place: str, l: int, m: int) -> None:
        a, b = u.shape[1], upper
        shape = (b * (b + 1) // 2, a * (a + 1) // 2) if upper else (len(A), a * v.shape[1])
        terms.append(_Term(np.zeros(shape), A, u, v, upper, place, l, m))

    for l in range(L):
        for m in range(l, L):
            A = chunk.R[places.R[l, m] : places.R[l, m] + table[l, 1] * table[m, 1]]
            h_l, h_m, d_m = chunk.h_rows[:, h(l)], chunk.h_rows[:, h(m)], chunk.d_rows[:, z(m)]
            term(A, h_l, h_m, int(table[l, 1]) if l == m else 0, "second", l, m)
            if gauss_newton or l == m:
                continue
            if m == l + 1:
                term(chunk.h[h(l)], chunk.p_rows[:, z(l)], d_m, 0, "diagonal first", l, m)
            else:
                A = chunk.P[places.P[l, m] : places.P[l, m] + table[l, 1] * table[m, 0]]
                term(A, h_l, d_m, 0, "first", l, m)
    return sorted(terms, key=lambda t: -t.C.size)


def _assemble(terms: list[_Term], table: NDArray[np.int64], p: int, n_threads: int) -> Float:
    """The matrix; sums are given back as soon as they have their place."""
    from fasttangent.kernels import hessian

    H = np.empty((p, p))
    terms.sort(
        key=lambda t: t.place == "second"
    )  # taken from the end: others are added to the second derivatives
    while terms:
        t = terms.pop()

        def task(a: int, t: _Term = t) -> None:
            if t.place == "second":
                hessian.place_second(H, t.C, t.l, t.m, a, table)
            elif t.place == "first":
                hessian.place_first(H, t.C, t.l, t.m, a, table)
            else:
                hessian.place_diagonal_first(H, t.C, t.l, a, table)

        parallel.run(task, int(table[t.l, 0]) + 1, n_threads)

    # Rows later in the matrix have more to the left: dealt out one panel at a time.
    panel = 8 * TILE

    def lower(i: int) -> None:
        hessian.mirror(H, i * panel, min((i + 1) * panel, p), TILE)

    parallel.run(lower, -(-p // panel), n_threads)
    return H


def dual_matrix(problem: Problem, theta: Float) -> Float:
    """D^1/2 J M^-1 J^T D^1/2, D = w loss'': (n n_outputs, the same), in the order of (n, n_outputs)."""
    at = linearized(problem, theta)
    n, n_outputs, size = problem.n_rows, len(at.kept.roots), at.block
    blocks = n_outputs * at.dual_blocks
    K, tiles = np.empty((blocks, size, blocks, size)), iter(at.dual_tiles())
    for i in range(blocks):
        for j in range(i, blocks):
            tile = -next(tiles)
            K[i, :, j], K[j, :, i] = tile, tile.T
    each = K.reshape(n_outputs, -1, n_outputs, at.dual_blocks * size)[:, :n, :, :n]
    if isinstance(at, LinearizedUsers):
        back = np.argsort(at.order)
        each = each[:, back][:, :, :, back]
    return np.ascontiguousarray(each.transpose(1, 0, 3, 2)).reshape(n * n_outputs, n * n_outputs)
