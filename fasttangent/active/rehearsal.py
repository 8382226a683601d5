"""A little of everything: small calls that compile what real ones need.

`warmup` goes through all of it.  A helper (`kernels.helpers`) goes through that of one call from its end, while the
call goes on from its beginning.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from fasttangent.common.progress import silent

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fasttangent.model.model import Model
    from fasttangent.problem.problem import Problem

N, K = 40, 3  # rows, columns


def everything(dtype: str) -> None:
    """Every kernel that takes the dtype."""
    import fasttangent as ft
    from fasttangent.active.strategies.table import STRATEGIES

    with _quietly():
        X, y = rows()
        found = model(dtype)
        _products_in(dtype)
        _drivers(dtype)
        _descent(dtype)
        found.score(X)
        found.influence(X, y)
        found.curiosity(X, variance=1.0)
        found = found.with_posterior(X, y, samples=8)
        found.posterior(X)
        for strategy in STRATEGIES:
            ft.select(found, X + 0.01, 5, strategy=strategy, labeled=X)
        ft.select(found, X + 0.01, 5, strategy="maxdet", embedding="hidden", labeled=X)
        for method in ("learning-loss", "learning-loss++"):
            ft.learning_loss(found, X, y, method=method, epochs=2).predict(X)
        if dtype == "float64":
            truth = ft.exact(found, X, y, curvature="gauss-newton", solver="cholesky")  # never indefinite
            truth.influence(X, y)
            truth.leave_one_out()
            ft.exact(found, X, y, curvature="gauss-newton", solver="dual").influence(X, y)


def take_part(call: str) -> None:
    """What the process that makes a call does while helpers are at what it needs next."""
    what, dtype = call.split()
    for piece in OURS.get(what, ()):
        with contextlib.suppress(Exception):
            piece(dtype)


def help_out(call: str, number: int) -> None:
    """What a helper does: the pieces of a call that come last in it, or, the second one, those of its beginning."""
    from fasttangent.kernels import helpers

    helpers.end_with_parent()
    what, dtype = call.split()
    for piece in PIECES[what][number]:
        with contextlib.suppress(Exception), _quietly():  # whoever needs it compiles it
            piece(dtype)


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # two epochs settle nothing; the numbers are thrown away
        yield


def rows() -> tuple[NDArray, NDArray]:
    """Rows and labels."""
    rng = np.random.default_rng(1)
    X = rng.normal(size=(N, K))
    return X, np.sin(X[:, 0]) + 0.5 * X[:, 1] * X[:, 2] + 0.1 * rng.normal(size=N)


def model(dtype: str, hidden: tuple[int, ...] = (4, 3)) -> Model:
    """A fit that ends at once."""
    import fasttangent as ft

    X, y = rows()
    return ft.fit(X, y, hidden=hidden, epochs=2, batch_size=16, learning_rate=1e-3, dtype=dtype, threads=1)


def _problem() -> tuple[Problem, NDArray]:
    from fasttangent.problem.network import Network
    from fasttangent.problem.objective import Objective
    from fasttangent.problem.problem import Problem

    X, y = rows()
    network = Network((K, 4, 1), "tanh")
    problem = Problem(network, Objective(strength=0.1), X, y[:, None], np.ones(N), threads=1)
    return problem, network.initial_params(np.random.default_rng(0))


def _scores_in_float64(dtype: str) -> None:
    from fasttangent.model.prepared import mean_slope_squared

    mean_slope_squared(*_problem())


def _dense_curvature(dtype: str) -> None:
    from fasttangent.problem.curvature import System

    System(*_problem()).dense()


def _factors(dtype: str) -> None:
    from fasttangent.solvers.dense import Cholesky

    Cholesky(np.eye(5), 1).solve(np.ones(5))


def _products(dtype: str) -> None:
    """Of settling, in float64 for any fit."""
    _products_in("float64")


def _dual_matrix(dtype: str) -> None:
    """Of settling: factors of J J^T, whatever J is."""
    from fasttangent.kernels.linearized import Kept
    from fasttangent.kernels.network import BLOCK_BYTES
    from fasttangent.kernels.tiles import dual_row, factor_diagonal, factor_row, solve_tiles

    size = BLOCK_BYTES // np.dtype(np.float64).itemsize
    table = _problem()[0].network.layout.table
    stack, each = np.zeros((1, 3 * 8 * size)), np.zeros((1, 1, 3 * 8 * size))
    kept = Kept(stack, stack, stack, stack, stack, stack, np.zeros((1, 1, size)), each)
    tiles = np.eye(size)[None]
    dual_row(tiles, kept, 0, table)
    factor_diagonal(-np.eye(size)[None], 0, 1)
    factor_row(tiles, 0, 1, 1, 1)
    solve_tiles(np.zeros(size), tiles, 1)


def _coarse_products(dtype: str) -> None:
    """Of settling a large fit."""
    _products_in("float32")


def _products_in(dtype: str) -> None:
    from fasttangent.problem.linearized import Linearized
    from fasttangent.solvers.dual_metric import DualMetric

    at = Linearized(*_problem(), np.dtype(dtype))
    at.product(at.theta)
    DualMetric(at, 1.0).solve(at.theta)


def _drivers(dtype: str) -> None:
    """Of row-parallel work, where `prange` is chosen."""
    from fasttangent.kernels import launch
    from fasttangent.problem.linearized import Linearized

    if launch.choice == "prange":
        problem, theta = _problem()
        X, Y, w = (np.repeat(a, 8, axis=0) for a in problem.rows)
        many = problem.with_rows(X, Y, w, threads=2)
        many.LEAST_PRODUCTS, many.OUTPUT_ROWS = 0, N
        many.value_and_gradient(theta)
        many.predictions(theta)
        at = Linearized(many, theta, np.dtype(dtype))
        at.product(at.theta)
        at.transposed_times(at.times(at.theta))


def _settling_drivers(dtype: str) -> None:
    """In float64 for any fit."""
    _drivers("float64")


def _descent(dtype: str) -> None:
    """Of settling with relu or many rows."""
    from fasttangent.model.lbfgs import minimize

    minimize(lambda x: (0.5 * float(np.sum(x * x)), x.copy()), np.ones(5), np.copy, 3, lambda: False)


def _steps(dtype: str) -> None:
    """Minibatch steps without the full-batch sums before them, which the call itself begins with."""
    from fasttangent.model.minibatch import Schedule, train
    from fasttangent.problem.problem import Problem

    class WithoutSums(Problem):
        def value_and_gradient(self, theta: NDArray) -> tuple[float, NDArray]:
            return 0.0, np.zeros_like(theta)

    problem, theta = _problem()
    problem.__class__ = WithoutSums
    start = theta, np.zeros((1, len(theta)))
    train(problem, Schedule(epochs=1), start, np.dtype(dtype), np.random.default_rng(0), silent)


def _fit(dtype: str) -> None:
    model(dtype)


def _variance_reduction(dtype: str) -> None:
    from fasttangent.active.covariances import variance_reduction

    variance_reduction(np.random.default_rng(0).normal(size=(N, 8)).astype(dtype), 3, 1.0, threads=1)


def _noise(dtype: str) -> None:
    """Embeddings by tangents of noise, which are not solved for."""
    import fasttangent as ft

    X, y = rows()
    found = ft.fit(X, y, hidden=(4,), epochs=1, settle=False, tangents=None, dtype=dtype, threads=1)
    rng, p = np.random.default_rng(0), len(found.params)
    found = replace(
        found, tangents={"posterior": rng.normal(size=(8, p)), "bias": rng.normal(size=p)}, noise=1.0
    )
    found.posterior(X, threads=1)


def _select(dtype: str) -> None:
    import fasttangent as ft

    ft.select(model(dtype), rows()[0] + 0.01, 3, labeled=rows()[0], threads=1)


Piece = Callable[[str], Any]

# What the first helper of a call does, and the second: whole calls at the end find what was left out above.
PIECES: dict[str, tuple[tuple[Piece, ...], tuple[Piece, ...]]] = {
    "fit": (
        (_steps, _dual_matrix, _scores_in_float64, _factors, _products, _dense_curvature, _fit),
        (_factors, _products, _scores_in_float64, _coarse_products, _settling_drivers),
    ),
    "warmup": ((everything,), ()),  # of one of the two types of numbers
    "select": ((_variance_reduction, _noise, _select), (_noise,)),
}
# What shares most of its code with what the call has compiled by then.
OURS: dict[str, tuple[Piece, ...]] = {"fit": (_dense_curvature,)}
