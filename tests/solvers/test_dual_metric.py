"""The Gauss-Newton metric in the space of the rows, against dense algebra."""

import numpy as np
import pytest
from helpers import random_problem, relative

from fasttangent.problem.linearized import Linearized
from fasttangent.solvers import dual_metric
from fasttangent.solvers.dual_metric import DualMetric

DTYPES = [np.dtype("float32"), np.dtype("float64")]


def case(sizes, n_rows, loss="squared", **options):
    """A problem, its parameters, its dense Gauss-Newton matrix, and a vector."""
    problem, theta, V = random_problem(sizes, n_rows, "tanh", loss, unequal=True, **options)
    data = problem.data_product(theta, np.eye(len(theta)), gauss_newton=True)
    return problem, theta, (data + data.T) / 2, V[0]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("loss", ["squared", "huber"])
@pytest.mark.parametrize(
    ("sizes", "n_rows"), [((2, 4, 1), 5), ((3, 2), 40), ((3, 6, 5, 1), 200), ((2, 9, 6, 3), 130)]
)
def test_it_is_the_gauss_newton_matrix_and_a_floor(sizes, n_rows, loss, dtype):
    problem, theta, G, v = case(sizes, n_rows, loss)
    metric = DualMetric(Linearized(problem, theta, dtype), 0.1)
    M = G + 0.1 * np.eye(len(G))
    near = np.finfo(dtype).eps * np.linalg.cond(M) * 10
    assert metric.of_all_rows
    assert metric.solve(v).dtype == dtype
    assert relative(M @ metric.solve(v), v) <= near
    assert metric.largest == pytest.approx(np.linalg.eigvalsh(G)[-1], rel=0.05)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_least_change_of_the_outputs(dtype):
    problem, theta, G, v = case((3, 20, 2), 30)
    at = Linearized(problem, theta, dtype)
    metric, wanted = DualMetric(at, 1e-3), at.times(v.astype(dtype))
    step = metric.least_change(wanted.copy())
    expected = np.linalg.solve(G + 1e-3 * np.eye(len(G)), G @ v)
    assert relative(step, expected) <= (1e-2 if dtype == np.float32 else 1e-9)
    assert relative(at.times(step), wanted) <= 0.05


def test_the_floor_is_the_strength_unless_it_is_lost_in_rounding():
    for strength, dtype in ((0.3, "float32"), (1e-9, "float64")):
        problem, theta, G, _ = case((3, 6, 1), 50, strength=strength)
        metric = DualMetric(Linearized(problem, theta, np.dtype(dtype)))
        assert metric.floor == strength
    for dtype, share in (("float32", 1e-6), ("float64", 1e-13)):
        problem, theta, G, v = case((3, 6, 1), 50)
        metric = DualMetric(Linearized(problem, theta, np.dtype(dtype)))
        assert metric.floor == pytest.approx(share * np.trace(G), rel=1e-5)
        assert np.isfinite(metric.solve(v)).all()


def test_a_floor_that_is_too_small_is_raised():
    """Twins among the rows: their dual matrix is singular."""
    problem, theta, *_ = case((3, 6, 1), 50)
    X, Y, w = (np.concatenate([a, a]) for a in problem.rows)
    metric = DualMetric(Linearized(problem.with_rows(X, Y, w, 1), theta, np.dtype("float32")), 1e-30)
    assert metric.floor > 1e-12
    assert np.isfinite(metric.solve(theta)).all()


def test_values_that_are_not_finite_end():
    problem, theta, *_ = case((3, 6, 1), 50)
    metric = DualMetric(Linearized(problem, theta * np.nan))
    assert np.isnan(metric.solve(theta)).any()


def test_of_many_rows_a_sample_stands_for_all(monkeypatch):
    problem, theta, G, v = case((3, 6, 2), 3000)
    monkeypatch.setattr(dual_metric, "SAMPLE", 2000)
    metric = DualMetric(Linearized(problem, theta), 1.0)
    assert not metric.of_all_rows
    assert metric.at.problem.n_rows == 1000
    assert relative(metric.solve(v), np.linalg.solve(G + np.eye(len(G)), v)) <= 0.1
    monkeypatch.setattr(dual_metric, "FEW_PRODUCTS", 1e9)
    assert DualMetric(Linearized(problem, theta), 1.0).of_all_rows


@pytest.mark.parametrize("dtype", DTYPES)
def test_of_many_rows_the_least_change_is_of_all(dtype, monkeypatch):
    problem, theta, G, v = case((3, 6, 2), 3000)
    at = Linearized(problem, theta, np.dtype(dtype))
    u = at.times(v.astype(dtype))
    wanted = np.linalg.solve(G + np.eye(len(G)), at.transposed_times(u).astype(float))
    assert relative(DualMetric(at, 1.0, whole=True).least_change(u.copy()), wanted) <= 1e-3
    monkeypatch.setattr(dual_metric, "SAMPLE", 200)
    monkeypatch.setattr(dual_metric, "FEW_PRODUCTS", 0)
    monkeypatch.setattr(dual_metric, "CLOSE", 1e-5)
    metric = DualMetric(at, 1.0)
    assert not metric.of_all_rows
    assert relative(metric.least_change(u), wanted) <= 1e-3
    assert not metric.least_change(0 * u).any()


def test_a_sample_has_the_metric_as_its_covariance():
    problem, theta, G, _ = case((2, 3, 1), 40)
    metric = DualMetric(Linearized(problem, theta), 0.5)
    drawn = np.array([metric.sample(seed) for seed in range(4000)])
    assert relative(drawn.T @ drawn / 4000, G + 0.5 * np.eye(len(G))) <= 0.1
    assert np.array_equal(metric.sample(7), drawn[7])


@pytest.mark.parametrize("dtype", DTYPES)
def test_threads_change_no_bit(dtype, monkeypatch):
    problem, theta, _, v = case((3, 6, 5, 2), 400)
    monkeypatch.setattr(dual_metric, "TILES_AT_ONCE", 1)
    found = []
    for threads in (1, 3):
        problem.threads = threads
        found.append(DualMetric(Linearized(problem, theta, dtype), 0.01).solve(v))
    assert np.array_equal(*found)


@pytest.mark.parametrize("dtype", DTYPES)
def test_where_nothing_has_curvature_steps_have_a_length(dtype):
    """All rows in the linear part of a Huber loss, and no strength."""
    problem, theta, _, v = case((3, 1), 4, "huber", strength=0.0)
    far = problem.with_rows(problem.rows.X, problem.rows.Y + 1e6, problem.rows.w, 1)
    step = DualMetric(Linearized(far, theta, dtype)).solve(v).astype(float)
    assert np.isfinite(step).all()
    assert np.isfinite(step @ step)
    assert step.any()
