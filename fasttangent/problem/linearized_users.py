"""The objective's curvature at fixed parameters where users have some of their own.

For products a block holds rows of one user only, and is padded.  In the dual matrix the rows of all users stand one
behind the other; what users have of their own adds to the products of two rows of the same user alone:

    (J M^-1 J^T)_ij = sum_l (h_i . h_j)(d_i . d_j) / ratio_l + [same user] sum_own (h_i . h_j)(d_i . d_j) / ratio
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np

from fasttangent.common import parallel
from fasttangent.problem.linearized import Linearized, aligned
from fasttangent.problem.problem import FLOAT64, Problem
from fasttangent.problem.streamed_problem import StreamedLinearized, StreamedProblem
from fasttangent.problem.users_problem import UsersProblem

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fasttangent.kernels.linearized import Kept

    Float = NDArray[Any]  # of either precision


def linearized(problem: Problem, theta: Float, dtype: np.dtype = FLOAT64) -> Linearized:
    """The `Linearized` of a problem, with users or without, of rows in memory or not."""
    if isinstance(problem, StreamedProblem):
        return StreamedLinearized(problem, theta, dtype)
    kind = LinearizedUsers if isinstance(problem, UsersProblem) else Linearized
    return kind(problem, theta, dtype)


class LinearizedUsers(Linearized):
    """`Linearized` for a `UsersProblem`."""

    def _linearize(self) -> None:
        from fasttangent.kernels.users import linearize_users

        problem = self.users_problem = cast(UsersProblem, self.problem)
        self.spans, self._parts = problem.layed_out(self.block)
        self.n_blocks, every = len(self.spans.of), problem.deviations
        #: where the rows stand in a vector of J's rows, in the order of users, and in the order given
        within = np.concatenate([np.arange(count) for count in self.spans.counts])
        self._places = np.repeat(np.arange(self.n_blocks) * self.block, self.spans.counts) + within
        self.kept = kept = self._room()
        self._sums = np.empty((self._parts.last, every.n_params), self.dtype)
        self._own = np.empty((self.n_blocks, len(every.chosen)), self.dtype)
        self._at = at = problem.expanded(self.theta[None], self.dtype)
        data, spans = problem.data_term(False, self.dtype), self.spans
        problem.share_parts(
            lambda parts: linearize_users(kept, *self._blocks(parts), at, data, spans), self._parts
        )

    def product(self, v: Float) -> Float:
        """(H + strength C'') v, for v (size,)."""
        from fasttangent.kernels.users import curvature_products_of_users

        G, own, kept, at, along, spans = (
            self._sums,
            self._own,
            self.kept,
            self._at,
            self._split(v),
            self.spans,
        )
        self.users_problem.share_parts(
            lambda parts: curvature_products_of_users(G, own, kept, parts, at, along, self.table, spans),
            self._parts,
        )
        return self._collected() + self._diagonal * v

    def times(self, v: Float) -> Float:
        """J v, for v (size,)."""
        from fasttangent.kernels.users import jacobian_times_of_users

        u, kept, along, spans = np.empty_like(self.kept.roots), self.kept, self._split(v), self.spans
        self.users_problem.share_parts(
            lambda parts: jacobian_times_of_users(u, kept, *self._blocks(parts), along, self.table, spans),
            self._parts,
        )
        return u

    def transposed_times(self, u: Float) -> Float:
        """J^T u (size,)."""
        from fasttangent.kernels.users import jacobian_transposed_times_of_users

        G, own, kept, spans = self._sums, self._own, self.kept, self.spans
        self.users_problem.share_parts(
            lambda parts: jacobian_transposed_times_of_users(G, own, kept, parts, u, self.table, spans),
            self._parts,
        )
        return self._collected()

    def _split(self, v: Float) -> Any:
        return self.users_problem.expanded(np.asarray(v, self.dtype)[None], self.dtype)

    def _collected(self) -> Float:
        return self.users_problem.collected(self._sums[:, None], self._own[:, None], self.spans)[0]

    @property
    def order(self) -> NDArray[np.int64]:
        """Numbers of the rows in the order of their users."""
        return self.spans.order

    @property
    def dual_blocks(self) -> int:
        """Blocks of rows of `dual_tiles`, for one output."""
        return -(-self.problem.n_rows // self.block)

    def to_dual(self, u: Float) -> Float:
        """A vector in the space of J's rows without what pads the blocks of users."""
        found = np.zeros((len(u), self.dual_blocks * self.block), u.dtype)
        found[:, : len(self._places)] = u.reshape(len(u), -1)[:, self._places]
        return found.reshape(len(u), self.dual_blocks, self.block)

    def from_dual(self, u: Float) -> Float:
        """And back."""
        found = np.zeros(self.kept.roots.shape, u.dtype)
        found.reshape(len(u), -1)[:, self._places] = u.reshape(len(u), -1)[:, : len(self._places)]
        return found

    def dual_tiles(self) -> Float:
        """-J M^-1 J^T, M the problem's `metric`, in tiles for `kernels/tiles.py`, rows in the order of users."""
        from fasttangent.kernels.tiles import dual_row, dual_row_of_users

        problem, table = self.users_problem, self.table
        plain, blocks = self._without_padding(), self.dual_blocks
        scaled, own = (
            self._over_ratios(plain, problem.inputs_ratio),
            self._over_ratios(plain, self._own_ratio),
        )
        n = blocks * len(plain.roots)
        users = np.full(blocks * self.block, -1)
        users[: problem.n_rows] = problem.of[self.order]
        of = users.reshape(blocks, self.block)
        layers = np.isin(np.arange(len(table)), problem.deviations.layers)
        T = aligned((n * (n + 1) // 2, self.block, self.block), self.dtype)

        def row(i: int) -> None:
            dual_row(T, scaled, i, table)
            dual_row_of_users(T, own, i, table, layers, of)

        parallel.run(row, n, problem.threads)
        return T

    @property
    def _own_ratio(self) -> Float:
        """As the problem's `inputs_ratio`, of what users have of their own."""
        found = np.full(int(np.sum(self.table[:, 0] + 1)), self.users_problem.users_ratio)
        found[self.table[:, 4] + self.table[:, 0]] /= self.table[:, 0]
        return found

    def _without_padding(self) -> Kept:
        """Activations, roots and adjoints of rows that stand one behind the other."""
        kept, blocks, n = self.kept, self.dual_blocks, len(self._places)

        def moved(stack: Float) -> Float:
            units = stack.shape[1] // self.block
            each = stack.reshape(self.n_blocks, units, self.block).transpose(1, 0, 2).reshape(units, -1)
            found = np.zeros((units, blocks * self.block), self.dtype)
            found[:, :n] = each[:, self._places]
            back, room = (
                found.reshape(units, blocks, self.block),
                aligned((blocks, stack.shape[1]), self.dtype),
            )
            room.reshape(blocks, units, self.block)[:] = back.transpose(1, 0, 2)
            return room

        each = aligned((len(kept.each), blocks, kept.each.shape[2]), self.dtype)
        for o in range(len(each)):
            each[o] = moved(kept.each[o])
        roots = aligned((len(each), blocks, self.block), self.dtype)
        roots[:] = self.to_dual(kept.roots)
        return kept._replace(h=moved(kept.h), roots=roots, each=each)

    def scaled(self, change: Float) -> Float:
        """Changes of the outputs (n, n_outputs) as a vector in the space of J's rows, times the roots of w loss''."""
        u = np.zeros_like(self.kept.roots)
        u.reshape(len(u), -1)[:, self._places] = change[self.order].T
        return u * self.kept.roots
