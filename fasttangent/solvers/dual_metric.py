"""The Gauss-Newton matrix of the data term and a floor, inverted in the space of the rows."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from fasttangent.common import parallel
from fasttangent.common.vectors import norm
from fasttangent.problem.linearized import Linearized
from fasttangent.problem.linearized_users import linearized
from fasttangent.problem.problem import Problem
from fasttangent.solvers.steihaug import Path

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Float = NDArray[Any]  # of either precision

FEW_PRODUCTS = 20  # with the Hessian, whose price is worth a metric of all rows
SAMPLE = 1000  # rows times outputs of the sample that else stands for them
LEAST_SHARE = {4: 1e-6, 8: 1e-13}  # of the trace that the floor is at least, by the bytes of a number
CLOSE = (
    0.03  # relative residual of a least change where M is of a sample; at 0.1 settling takes 10 % more steps
)
MOST_PRODUCTS = 60  # and the most it takes
TILES_AT_ONCE = 1000  # tiles of a factor from which on threads share a row of them


class DualMetric:
    """M = J^T J + floor R, with J^T J the Gauss-Newton matrix of the data term and R = I, or ratios of strengths.

    M^-1 = R^-1 (R - J^T (J R^-1 J^T + floor I)^-1 J) R^-1 / floor, and J is never formed: its rows are outer products
    of activations and adjoints.  Where rows are many, a fixed sample of them stands for all.

    Parameters
    ----------
    at : Linearized
        The problem at its parameters, and the dtype of all numbers.
    floor : float, optional
        Default: the strength, but not so small that M^-1 cancels to rounding.
    whole : bool
        All rows, whatever it costs.
    """

    def __init__(self, at: Linearized, floor: float | None = None, whole: bool = False) -> None:
        rows = at.problem if whole else _sample(at.problem)
        self.at = at if rows is at.problem else linearized(rows, at.theta, at.dtype)
        self.of_all_rows, self._whole = rows is at.problem, at
        self._R = None if at.problem.inputs_ratio is None else at.problem.metric.astype(at.dtype)
        self.dtype, self._n = at.dtype, self.at.dual_blocks * len(self.at.kept.roots)
        self._tiles = self.at.dual_tiles()
        least = LEAST_SHARE[at.dtype.itemsize] * self._trace
        self.floor = _or_any(max(at.problem.objective.strength, least), at.dtype) if floor is None else floor
        while not self._factor() and self.floor < math.inf:  # the floor was lost in rounding
            self.floor *= 10
            self._tiles = self.at.dual_tiles()

    def _factor(self) -> bool:
        from fasttangent.kernels.tiles import factor_diagonal, factor_row

        n, T, threads = self._n, self._tiles, self.at.problem.threads
        T[self._diagonal] -= self.dtype.type(self.floor)

        def tile(j: int) -> None:
            factor_row(T, k, k + 1 + j, k + 2 + j, n)

        for k in range(n):
            if not factor_diagonal(T, k, n):
                return False
            if threads == 1 or len(T) < TILES_AT_ONCE:
                factor_row(T, k, k + 1, n, n)
            else:
                parallel.run(tile, n - k - 1, threads)
        return True

    @property
    def _diagonal(self) -> tuple[NDArray, ...]:
        i, each = np.arange(self._n), np.arange(self.at.block)
        return (i * self._n - i * (i - 1) // 2)[:, None], each, each

    @property
    def _trace(self) -> float:
        return -float(np.add.reduce(self._tiles[self._diagonal], axis=None))

    def solve(self, v: Float) -> Float:
        """M^-1 v, for v (p,)."""
        v = np.ascontiguousarray(v, self.dtype)
        u = self._solve_dual(self.at.times(self._over_ratios(v)))
        return self._over_ratios(v - self.at.transposed_times(u)) / self.dtype.type(self.floor)

    def length_of_gradient(self, g: Float) -> float:
        """(g . M^-1 g)^1/2, for g (p,)."""
        g = g.astype(self.dtype)
        return float(np.sqrt(max(np.add.reduce(g * self.solve(g)), 0.0)))

    def least_change(self, u: Float) -> Float:
        """The least step d (p,) that changes the outputs of all rows by u: |J d - u|^2 + floor d.Rd at its minimum.

        In closed form R^-1 J^T (J R^-1 J^T + floor I)^-1 u, where M is of a sample by conjugate gradients.
        """
        if self.of_all_rows:
            return self._over_ratios(self.at.transposed_times(self._solve_dual(u)))
        g = -self._whole.transposed_times(u)
        length = norm(g)
        if not 0 < length < math.inf:
            return np.zeros_like(g)
        path = Path(self._product, self.solve, g / self.dtype.type(length), CLOSE, MOST_PRODUCTS)
        return path.within(math.inf).d * self.dtype.type(length)

    def _product(self, v: Float) -> Float:
        """M v (p,), of all rows."""
        ridge = v if self._R is None else v * self._R
        return self._whole.transposed_times(self._whole.times(v)) + self.dtype.type(self.floor) * ridge

    def _over_ratios(self, v: Float) -> Float:
        return v if self._R is None else v / self._R

    def dual_solution(self, u: Float) -> Float:
        """(J R^-1 J^T + floor I)^-1 u."""
        return self._solve_dual(np.array(u, self.dtype))

    @property
    def log_determinant(self) -> float:
        """Of I + J R^-1 J^T / floor."""
        roots = -self._tiles[self._diagonal].astype(np.float64)  # 1 over those of U^T U
        return -2 * float(np.sum(np.log(roots))) - roots.size * math.log(self.floor)

    def _solve_dual(self, u: Float) -> Float:
        """(J R^-1 J^T + floor I)^-1 u, perhaps in the place of u."""
        from fasttangent.kernels.tiles import solve_tiles

        u = self.at.to_dual(u)
        solve_tiles(u.ravel(), self._tiles, self._n)
        return self.at.from_dual(u)

    def sample(self, seed: int) -> Float:
        """A random vector (p,) whose covariance is M."""
        rng = np.random.default_rng(seed)
        along = self.at.transposed_times(rng.normal(size=self.at.kept.roots.shape).astype(self.dtype))
        across = np.sqrt(self.floor) * rng.normal(size=len(along))
        return along + (across if self._R is None else across * np.sqrt(self._R))

    @property
    def largest(self) -> float:
        """Largest eigenvalue of R^-1 J^T J, to a few per cent (power iteration)."""
        v = np.ones_like(self.at.theta)
        for _ in range(20):
            v = self._over_ratios(self.at.transposed_times(self.at.times(v / max(norm(v), 1e-300))))
        return norm(v)


def pays(problem: Problem) -> bool:
    """Whether a metric of all rows costs little, or no more than a few products with the Hessian."""
    rows, table = problem.n_labels, problem.network.layout.table
    metric = rows * rows * (float(np.sum(table[:, :2])) / 2 + rows / 6)
    product = 6 * problem.n_rows * problem.network.layout.n_params
    return rows <= SAMPLE or metric <= FEW_PRODUCTS * product


def _or_any(floor: float, dtype: np.dtype) -> float:
    """The floor, or some number where there is no curvature at all: of one near zero squares of steps overflow."""
    return floor if floor > 1e4 * np.finfo(dtype).tiny else 1e-30


def _sample(problem: Problem) -> Problem:
    """The problem, or where it has too many rows a sample of them, whose weights stand for all."""
    n = problem.n_rows
    most = max(1, SAMPLE * n // problem.n_labels)
    if pays(problem):
        return problem
    sample = np.sort(np.random.default_rng(0).choice(n, most, replace=False))
    return problem.some(sample, n / most)
