"""The objective of one network for several users, each with a deviation of its own from what they share.

    F(theta, d) = (1/S) sum_i w_i loss(f(x_i; theta + scatter(d_u(i))), y_i)
                  + strength (C(theta) + ratio sum_u C_users(d_u))

Kernels see theta_u = theta + scatter(d_u), the expansion E(theta, d) = (theta_u)_u, which is linear: gradients and
products are E^T of those of the theta_u.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from fasttangent.common import parallel
from fasttangent.problem import groups
from fasttangent.problem.deviations import Deviations
from fasttangent.problem.network import Network
from fasttangent.problem.objective import Objective
from fasttangent.problem.problem import Problem

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fasttangent.kernels.linearized import Parts
    from fasttangent.kernels.users import Spans, Split

    Float = NDArray[np.float64]

PART_ROWS = 256  # of a sum of its own, about
MOST_PARTS = 32


class UsersProblem(Problem):
    """A `Problem` whose vectors hold a deviation for each user behind the shared parameters (`Deviations`).

    Parameters
    ----------
    network, objective : Network, Objective
        With ``objective.users``.
    rows : tuple of ndarray
        X (n, n_features), Y (n, n_outputs), w (n,), as for `Problem`.
    threads : int
    deviations : Deviations
    of : ndarray of int64, shape (n,)
        The user of each row.
    """

    def __init__(
        self,
        network: Network,
        objective: Objective,
        rows: tuple[Float, Float, Float],
        threads: int,
        deviations: Deviations,
        of: NDArray[np.int64],
    ) -> None:
        self.deviations, self.of = deviations, np.ascontiguousarray(of, np.int64)
        super().__init__(network, objective, *rows, threads)
        if self.inputs_ratio is None:
            self.inputs_ratio = groups.by_inputs(objective.ratio_of_each(network), network.layout)
        self._set_ratio(float(objective.users or 1.0))

    def _set_ratio(self, ratio: float) -> None:
        own = np.tile(ratio * self.deviations.ratios, self.deviations.n_users)
        p = self.deviations.n_params
        self.users_ratio = ratio
        self.mask, self.metric = np.append(self.mask[:p], own), np.append(self.metric[:p], own)

    def _set_rows(self, X: Float, Y: Float, w: Float, total: float, threads: int) -> None:
        if len(X) != len(self.of):
            raise ValueError(f"rows must be the {len(self.of)} whose users are known, got {len(X)}")
        super()._set_rows(X, Y, w, total, threads)
        self._order = np.argsort(self.of, kind="stable")
        self.spans, self._parts = self.layed_out(self.CHUNK_ROWS)

    def layed_out(self, size: int) -> tuple[Spans, Parts]:
        """Chunks of up to `size` rows, each of one user, and the parts of a sum over them."""
        from fasttangent.kernels.linearized import Parts
        from fasttangent.kernels.users import Spans

        users, first, count = np.unique(self.of[self._order], return_index=True, return_counts=True)
        chunks = -(-count // size)
        of = np.repeat(users, chunks)
        within = np.arange(len(of)) - np.repeat(np.cumsum(chunks) - chunks, chunks)
        starts = np.repeat(first, chunks) + size * within
        counts = np.minimum(size, np.repeat(first + count, chunks) - starts)
        parts = max(1, min(MOST_PARTS, -(-len(self.of) // PART_ROWS)))
        each = -(-len(of) // parts)
        spans = Spans(self._order, starts, counts, of, self.deviations.chosen)
        return spans, Parts(0, -(-len(of) // each), each)

    def some(self, rows: NDArray[np.int64], factor: float) -> UsersProblem:
        """Some of the rows, their weights times a factor."""
        other = copy.copy(self)
        other.of = self.of[rows]
        X, Y, w = (np.ascontiguousarray(a[rows]) for a in self.rows)
        other._set_rows(X, Y, w * factor, 1.0, self.threads)
        return other

    def with_users_ratio(self, factor: float) -> UsersProblem:
        """The same rows with the ratio of the group of users times a factor."""
        other = copy.copy(self)
        other._set_ratio(self.users_ratio * factor)
        other.objective = replace(self.objective, users=other.users_ratio)
        other._kept, other._data = None, {}
        return other

    def unlabelled(self, X: Float, threads: int) -> Problem:
        """Refused: nobody said whose the rows are."""
        raise ValueError("rows of a model with users must come with their users; this cannot take them yet")

    @property
    def shared(self) -> Problem:
        """The problem without users."""
        X, Y, w = self.rows
        plain = Problem(self.network, self.objective, X, Y, w * self.total, self.threads)
        return plain

    def extended(self, vectors: Float) -> Float:
        """Vectors of `shared` with deviations of zero."""
        return self.deviations.extended(vectors)

    def each_user(self, theta: Float) -> list[tuple[NDArray[np.int64], Float]]:
        """Numbers of the rows of each user that has any, and theta_u (p,)."""
        users, first = np.unique(self.of[self._order], return_index=True)
        rows = np.split(self._order, first[1:])
        return [
            (mine, self.deviations.of_user(theta[None], int(u))[0])
            for u, mine in zip(users, rows, strict=True)
        ]

    def expanded(self, vectors: Float, dtype: Any = np.float64) -> Split:
        """What kernels take for vectors (K, size): theta, and theta_u where it differs."""
        from fasttangent.kernels.users import Split

        shared, own = self.deviations.split(vectors)
        each = shared[:, None, self.deviations.chosen] + own
        return Split(np.ascontiguousarray(shared, dtype), np.ascontiguousarray(each, dtype))

    def collected(self, G: Float, own: Float, spans: Spans) -> Float:
        """E^T of sums over parts, G (parts, K, p), and what chunks have of their own, (chunks, K, q): (K, size)."""
        shared, by_user = (
            np.add.reduce(G, axis=0),
            np.zeros((self.deviations.n_users, *own.shape[1:]), own.dtype),
        )
        users, first = np.unique(spans.of, return_index=True)
        by_user[users] = np.add.reduceat(own, first, axis=0)
        shared[:, self.deviations.chosen] += np.add.reduce(by_user, axis=0)
        return np.concatenate([shared, by_user.transpose(1, 0, 2).reshape(len(shared), -1)], axis=1)

    def _sums(self, theta: Float, V: Float, gauss_newton: bool) -> tuple[float, Float, Float]:
        from fasttangent.kernels.users import loss_of_users

        K, spans, data = len(V), self.spans, self.data_term(gauss_newton)
        at, along = self.expanded(theta[None]), self.expanded(V)
        if self._kept is None or self._kept[1].shape[1] != 1 + K:
            P, C, p, q = self._parts.last, len(spans.of), self.deviations.n_params, len(spans.chosen)
            self._kept = np.empty(C), np.empty((P, 1 + K, p)), np.empty((C, 1 + K, q))
        values, G, own = self._kept
        self.share_parts(lambda parts: loss_of_users(values, G, own, parts, at, along, data, spans))
        found = self.collected(G, own, spans)
        return float(np.add.reduce(values)), found[0], found[1:]

    def share_parts(self, task: Callable[[Parts], object], every: Parts | None = None) -> None:
        """Call task(parts) for all parts, at most two calls for a thread."""
        every = self._parts if every is None else every
        P, n = every.last, min(every.last, 2 * self.threads)
        if self.threads <= 1 or n <= 1:
            task(every)
            return
        parts = [every._replace(first=P * i // n, last=P * (i + 1) // n) for i in range(n)]
        parallel.run(lambda i: task(parts[i]), n, self.threads)

    def _outputs(self, theta: Float, V: Float, part: slice = slice(None)) -> tuple[Float, Float]:
        from fasttangent.kernels.users import outputs_of_users

        (n, n_outputs), spans, data = self.rows.Y.shape, self.spans, self.data_term(False)
        F, FT = np.empty((n, n_outputs)), np.empty((n, len(V), n_outputs))
        at, along, size = self.expanded(theta[None]), self.expanded(V), self._parts.size

        def task(parts: Parts) -> None:
            blocks = parts.first * size, min(parts.last * size, len(spans.of))
            outputs_of_users(F, FT, *blocks, at, along, data, spans)

        self.share_parts(task)
        return F[part], FT[part]

    def jacobian(self, theta: Float, part: slice | NDArray[np.int64] = slice(None)) -> Float:
        """J of all rows or some, as dense as it is: (rows, n_outputs, size)."""
        from fasttangent.kernels.rows import output_jacobian

        X, of, every = self.rows.X[part], self.of[part], self.deviations
        J = np.zeros((len(X), self.rows.Y.shape[1], every.size))
        _, own = every.split(J.reshape(-1, every.size))
        own = own.reshape(*J.shape[:2], every.n_users, -1)
        for u in np.unique(of):
            mine = np.flatnonzero(of == u)
            Ju = np.empty((len(mine), J.shape[1], every.n_params))
            theta_u = every.of_user(theta[None], int(u))[0]
            output_jacobian(
                Ju, theta_u, np.ascontiguousarray(X[mine]), np.arange(len(mine)), self.network.kernel_view
            )
            J[mine, :, : every.n_params] = Ju
            own[mine, :, u] = Ju[:, :, every.chosen]
        return J

    def jacobian_transposed_product(self, theta: Float, U: Float) -> Float:
        """J^T u for each u of U (K, n, n_outputs): (K, size)."""
        every, U = self.deviations, np.ascontiguousarray(U)
        found = np.zeros((len(U), every.size))
        shared, own = every.split(found)
        X, Y, w = self.rows
        for mine, theta_u in self.each_user(theta):
            some = Problem(self.network, self.objective, X[mine], Y[mine], np.maximum(w[mine], 1.0), 1)
            G = some.jacobian_transposed_product(theta_u, U[:, mine])
            shared += G
            own[:, self.of[mine[0]]] += G[:, every.chosen]
        return found
