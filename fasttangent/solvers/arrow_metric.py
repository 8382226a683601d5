"""The Gauss-Newton metric of many rows of many users: the arrow structure, users eliminated one by one.

With A the Gauss-Newton matrix of the data term and a floor, in what is shared (s) and what each user has (u),

    A = [ A_ss  A_su ]      A_uu has a block for every user, of the size of its deviation
        [ A_us  A_uu ]      S = A_ss - A_su A_uu^-1 A_us

the blocks of users are inverted as they are, for every user and all of its rows.  The Schur complement S is that of a
sample of whole users: the shared part of `DualMetric.solve` of the sample, as the inverse of a matrix has that of its
Schur complement in its corner.  And A_su is taken for its part in the shared parameters from which users deviate,
in which it is A_uu less its ridge: then A_su A_uu^-1 x = x - ridge A_uu^-1 x, and a product with M^-1 is two with the
inverses.  With all of A_su it takes as long as two products with the Hessian and saves a fifth of them: settling 28,000
rows of 1,000 users (8-32-32-1) took 0.7 s of a processor a step so, 0.35 s this way, 0.6 s without any of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np

from fasttangent.common import parallel
from fasttangent.common.blas import one_thread
from fasttangent.problem.linearized import Linearized
from fasttangent.problem.linearized_users import LinearizedUsers, linearized
from fasttangent.problem.users_problem import UsersProblem
from fasttangent.solvers.dual_metric import SAMPLE, DualMetric, pays

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Float = NDArray[Any]  # of either precision

MOST_VALUES = 2**25  # of all users' blocks: 256 MB
BLOCKS_AT_ONCE = 64


def metric_at(at: Linearized, floor: float | None = None) -> DualMetric:
    """The metric of a problem, with users or without, by what its number of rows allows."""
    problem = at.problem
    if isinstance(problem, UsersProblem) and not pays(problem):
        every = problem.deviations
        if every.n_users * len(every.chosen) ** 2 <= MOST_VALUES:
            return ArrowMetric(cast(LinearizedUsers, at), floor)
    return DualMetric(at, floor)


class ArrowMetric(DualMetric):
    """M = [ S + A_su A_uu^-1 A_us, A_su; A_us, A_uu ], S of a sample of the users, A_su in part.

    Parameters
    ----------
    at : LinearizedUsers
    floor : float, optional
    """

    def __init__(self, at: LinearizedUsers, floor: float | None = None) -> None:
        sampled, factor = _sample_of_users(at.users_problem)
        # a row that stands for several is not to tell of its user several times
        sampled = sampled.with_users_ratio(factor)
        inner = cast(LinearizedUsers, linearized(sampled, at.theta, at.dtype))
        self._inner = DualMetric(inner, floor, whole=True)
        self.floor, self._sampled = self._inner.floor, inner
        self.at, self._whole, self.of_all_rows, self.dtype = at, at, False, at.dtype
        self._R = at.problem.metric.astype(at.dtype)
        self._chosen = at.spans.chosen
        self._p = at.users_problem.deviations.n_params
        self._ridge = ridge(at, self.floor).astype(at.dtype)
        self._inverses = inverses(at, self.floor)

    def solve(self, v: Float) -> Float:
        """M^-1 v, for v (size,)."""
        v, p, chosen = np.ascontiguousarray(v, self.dtype), self._p, self._chosen
        own = v[p:].reshape(len(self._inverses), -1)
        alone = self._times_inverses(own)
        reduced = v.copy()
        reduced[p:] = 0
        reduced[chosen] -= np.add.reduce(own - self._ridge * alone, axis=0)
        found = self._inner.solve(reduced)
        moved = found[chosen]
        found[p:] = (alone - moved + self._times_inverses(self._ridge[None] * moved)).ravel()
        return found

    def sample(self, seed: int) -> Float:
        """A random vector (size,) whose covariance is M."""
        rng, inner, p = np.random.default_rng((seed, 1)), self._sampled, self._p
        found = self._inner.sample(seed)  # of the sample's M; less what its users explain, of S
        explained = np.zeros_like(found)
        own = found[p:].reshape(len(self._inverses), -1)
        explained[p:] = np.einsum("uij,uj->ui", inverses(inner, self.floor), own).ravel()
        found -= inner.transposed_times(inner.times(explained))
        own = self.at.transposed_times(rng.normal(size=self.at.kept.roots.shape).astype(self.dtype))
        own += (
            np.sqrt(self.floor)
            * rng.normal(size=len(own)).astype(self.dtype)
            * np.sqrt(self.at.problem.metric).astype(self.dtype)
        )
        found[p:] = own[p:]
        own = own[p:].reshape(len(self._inverses), -1)
        found[self._chosen] += np.add.reduce(own - self._ridge * self._times_inverses(own), axis=0)
        return found

    def _times_inverses(self, own: Float) -> Float:
        """A_uu^-1 x for x (users, q), or (1, q) for all."""
        own = np.broadcast_to(own, self._inverses.shape[:2])
        return np.einsum("uij,uj->ui", self._inverses, own)


def inverses(at: LinearizedUsers, floor: float) -> Float:
    """The inverse of every user's block of J^T J + floor R (users, q, q)."""
    problem, spans = at.users_problem, at.spans
    q, held = len(spans.chosen), ridge(at, floor)
    found = np.zeros((problem.deviations.n_users, q, q), at.dtype)
    found[:, np.arange(q), np.arange(q)] = 1 / held
    users, first = np.unique(spans.of, return_index=True)
    last = np.append(first[1:], len(spans.of))
    groups = np.unique(first // BLOCKS_AT_ONCE, return_index=True)[1]  # users whose blocks begin near another
    ends = np.append(groups[1:], len(users))

    def task(i: int) -> None:
        a, b = groups[i], ends[i]
        part = slice(first[a], last[b - 1])
        A = np.zeros((part.stop - part.start, q, q))
        for o in range(len(at.kept.roots)):
            J = own_jacobian(at, o, part)
            with one_thread():
                A += J @ J.transpose(0, 2, 1)
        A = np.add.reduceat(A, first[a:b] - part.start, axis=0)
        A[:, np.arange(q), np.arange(q)] += held
        with one_thread():
            found[users[a:b]] = np.linalg.inv(A)

    parallel.run(task, len(groups), problem.threads)
    return found


def ridge(at: LinearizedUsers, floor: float) -> NDArray[np.float64]:
    """The diagonal of floor R for a user (q,)."""
    return floor * at.users_problem.users_ratio * at.users_problem.deviations.ratios


def own_jacobian(at: LinearizedUsers, o: int, part: slice) -> Float:
    """Derivatives of output o in what users have of their own, times the roots of w loss'': (blocks, q, rows)."""
    kept, table, block, found = at.kept, at.table, at.block, []
    n_blocks = part.stop - part.start
    for l in at.users_problem.deviations.layers:
        n_in, n_out, units = table[l, 0] + 1, table[l, 1], table[l, 4]
        h = kept.h[part].reshape(n_blocks, -1, block)[:, units : units + n_in].astype(np.float64)
        if l == len(table) - 1:
            d = np.zeros((n_blocks, n_out, block))
            d[:, o] = kept.roots[o, part]
        else:
            above = table[l + 1, 4]
            d = kept.each[o, part].reshape(n_blocks, -1, block)[:, above : above + n_out].astype(np.float64)
        found.append((h[:, :, None] * d[:, None]).reshape(n_blocks, -1, block))
    return np.concatenate(found, axis=1)


def _sample_of_users(problem: UsersProblem) -> tuple[UsersProblem, float]:
    """Rows of some users, all of each but perhaps the last, and for how many rows each stands."""
    n, n_outputs = problem.rows.Y.shape
    most = max(1, SAMPLE // n_outputs)
    order = np.random.default_rng(0).permutation(problem.deviations.n_users)
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    rows = np.sort(np.argsort(place[problem.of], kind="stable")[:most])
    return problem.some(rows, n / len(rows)), n / len(rows)
