"""The objective's curvature at fixed parameters, for many products: what they share is computed once and kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from fasttangent.common import parallel
from fasttangent.problem.problem import FLOAT64, Problem

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fasttangent.kernels.linearized import Kept, Parts

    Float = NDArray[Any]  # of either precision

PART_ROWS = 256  # of a sum of its own
MOST_PARTS = 32


class Linearized:
    """Products with H + strength C'' at theta, with J and with J^T, in float32 or float64.

    H is the Hessian of the data term, J (n n_outputs, p) the Jacobian of the outputs, its rows times the roots of
    w loss'', so that J^T J is the Gauss-Newton matrix.  Vectors in the space of J's
    rows are arrays (n_outputs, blocks, rows of a block), zero beyond the last row.

    Parameters
    ----------
    problem : Problem
    theta : ndarray of float64, shape (p,)
    dtype : dtype
        Of all products.  float32 takes half of the time.
    """

    def __init__(self, problem: Problem, theta: Float, dtype: np.dtype = FLOAT64) -> None:
        from fasttangent.kernels.network import BLOCK_BYTES

        self.problem, self.theta, self.dtype = problem, np.ascontiguousarray(theta, dtype), dtype
        self.block = BLOCK_BYTES // dtype.itemsize  #: rows
        self.table = problem.network.layout.table
        self._diagonal = (problem.objective.strength * problem.mask).astype(dtype)
        self._linearize()

    def _linearize(self) -> None:
        from fasttangent.kernels import drivers
        from fasttangent.kernels.linearized import Parts, linearize

        problem = self.problem
        self._drivers = drivers  # imported once: a few parts cost little more than that
        self.n_blocks = -(-problem.n_rows // self.block)
        self.kept = kept = self._room()
        size = PART_ROWS // self.block * -(-problem.n_rows // (PART_ROWS * MOST_PARTS))
        self._parts = Parts(0, -(-self.n_blocks // size), size)
        self._sums = aligned((self._parts.last, len(self.theta)), self.dtype)
        data, every = problem.data_term(False, self.dtype), problem.every
        self._share(
            3,
            lambda parts: linearize(kept, *self._blocks(parts), self.theta, data, every),
            self._drivers.linearize_parts,
            (kept, self._parts, self.theta, data, every),
        )

    def _room(self) -> Kept:
        """What is kept of the blocks, not known yet."""
        from fasttangent.kernels.linearized import Kept

        units, n_outputs, dtype = int(np.sum(self.table[:, 0] + 1)), int(self.table[-1, 1]), self.dtype
        stack, outputs = (self.n_blocks, units * self.block), (self.n_blocks, n_outputs * self.block)
        h, p, bends, d = (aligned(stack, dtype) for _ in range(4))
        slopes, curvatures = (aligned(outputs, dtype) for _ in range(2))
        roots = aligned((n_outputs, self.n_blocks, self.block), dtype)
        each = aligned((n_outputs, *stack), dtype)
        return Kept(h, p, bends, d, slopes, curvatures, roots, each)

    def product(self, v: Float) -> Float:
        """(H + strength C'') v, for v (p,)."""
        from fasttangent.kernels.linearized import curvature_products

        G, kept, theta, table = self._sums, self.kept, self.theta, self.table
        self._share(
            6,
            lambda parts: curvature_products(G, kept, parts, theta, v, table),
            self._drivers.curvature_products_of_parts,
            (G, kept, self._parts, theta, v, table),
        )
        return np.add.reduce(G, axis=0) + self._diagonal * v

    def times(self, v: Float) -> Float:
        """J v, for v (p,)."""
        from fasttangent.kernels.linearized import jacobian_times

        u, kept, table = np.empty_like(self.kept.roots), self.kept, self.table
        self._share(
            1,
            lambda parts: jacobian_times(u, kept, *self._blocks(parts), v, table),
            self._drivers.jacobian_times_parts,
            (u, kept, self._parts, v, table),
        )
        return u

    def transposed_times(self, u: Float) -> Float:
        """J^T u (p,)."""
        from fasttangent.kernels.linearized import jacobian_transposed_times

        G, kept, table = self._sums, self.kept, self.table
        self._share(
            1,
            lambda parts: jacobian_transposed_times(G, kept, parts, u, table),
            self._drivers.jacobian_transposed_times_parts,
            (G, kept, self._parts, u, table),
        )
        return np.add.reduce(G, axis=0)

    def dual_tiles(self) -> Float:
        """-J M^-1 J^T, M the problem's `metric`, in tiles for `kernels/tiles.py`: (tiles, block, block)."""
        from fasttangent.kernels.tiles import dual_row

        kept, table = self._over_ratios(self.kept, self.problem.inputs_ratio), self.table
        n = self.n_blocks * len(kept.roots)
        T = aligned((n * (n + 1) // 2, self.block, self.block), self.dtype)
        parallel.run(lambda i: dual_row(T, kept, i, table), n, self.problem.threads)
        return T

    def _over_ratios(self, kept: Kept, ratio: Float | None) -> Kept:
        """With activations over the roots of the ratios of strengths."""
        if ratio is None:
            return kept
        h = aligned(kept.h.shape, self.dtype)
        each = len(h), len(ratio), self.block
        scale = (1 / np.sqrt(ratio)).astype(self.dtype)[:, None]
        np.multiply(kept.h.reshape(each), scale, out=h.reshape(each))
        return kept._replace(h=h)

    @property
    def dual_blocks(self) -> int:
        """Blocks of rows of `dual_tiles`, for one output."""
        return self.n_blocks

    def to_dual(self, u: Float) -> Float:
        """A vector in the space of J's rows as `dual_tiles` has them."""
        return u

    def from_dual(self, u: Float) -> Float:
        """And back."""
        return u

    def scaled(self, change: Float) -> Float:
        """Changes of the outputs (n, n_outputs) as a vector in the space of J's rows, times the roots of w loss''."""
        u = np.zeros_like(self.kept.roots)
        u.reshape(len(u), -1)[:, : len(change)] = change.T
        return u * self.kept.roots

    def _share(
        self, passes: int, task: Callable[[Parts], object], driver: Callable[..., bool], arguments: tuple
    ) -> None:
        """task(parts) for all parts, where each of the passes takes a multiplication for a row and parameter.

        driver(*arguments) does the same of all at once, where `launched` lets it.
        """
        every, threads = self._parts, min(self.problem.threads, self._parts.last)
        products = passes * self.problem.n_rows * len(self.theta)
        if threads <= 1 or products <= self.problem.LEAST_PRODUCTS:
            task(every)
            return
        from fasttangent.kernels.launch import launched

        if not launched(driver, threads, *arguments):
            P, n = every.last, min(every.last, 2 * threads)  # a call costs 10 microseconds
            parts = [every._replace(first=P * i // n, last=P * (i + 1) // n) for i in range(n)]
            parallel.run(lambda i: task(parts[i]), n, threads)

    def _blocks(self, parts: Parts) -> tuple[int, int]:
        """The first block, and the one after the last."""
        return parts.first * parts.size, min(parts.last * parts.size, self.n_blocks)


def aligned(shape: tuple[int, ...], dtype: np.dtype) -> Float:
    """An array, not initialised, that begins on a line of the caches."""
    size, line = int(np.prod(shape)), 64 // dtype.itemsize
    room = np.empty(size + line, dtype)
    start = -room.ctypes.data % 64 // dtype.itemsize
    return room[start : start + size].reshape(shape)
