"""The metric of many users: symmetric, near the exact one, and with the covariance that it claims."""

import numpy as np
import pytest
from helpers import relative
from helpers.users import users_problem

from fasttangent.problem.linearized_users import linearized
from fasttangent.solvers import arrow_metric, dual_metric
from fasttangent.solvers.arrow_metric import ArrowMetric, inverses, metric_at
from fasttangent.solvers.dual_metric import DualMetric

CASES = [((3, 5, 1), (1,)), ((3, 6, 4, 2), (0, 2))]


def matrix(solve, size):
    return np.array([solve(e) for e in np.eye(size)])


@pytest.mark.parametrize("sample", [40, 1000])
@pytest.mark.parametrize(("sizes", "layers"), CASES)
def test_near_the_exact_one(sizes, layers, sample, monkeypatch):
    monkeypatch.setattr(arrow_metric, "SAMPLE", sample)
    problem, vector, _ = users_problem(sizes, layers)
    at = linearized(problem, vector)
    metric, exact = ArrowMetric(at, 0.5), matrix(DualMetric(at, 0.5).solve, len(vector))
    found = matrix(metric.solve, len(vector))
    assert relative(found, found.T) <= 1e-14
    assert np.linalg.eigvalsh(found)[0] > 0
    spread = np.linalg.eigvals(found @ np.linalg.inv(exact)).real
    assert 0.25 < spread.min() <= spread.max() < 2  # what conjugate gradients see
    p, q = problem.deviations.n_params, len(problem.deviations.chosen)
    if sample == 1000:  # all rows: S is exact
        assert relative(found[:p, :p], exact[:p, :p]) <= 1e-12

    J = problem.jacobian(vector) * np.sqrt(problem.output_weights(vector))[:, :, None]
    A = np.einsum("iop,ioq->pq", J, J) + 0.5 * np.diag(problem.metric)
    own = [A[p + u * q : p + (u + 1) * q, p + u * q : p + (u + 1) * q] for u in range(7)]
    assert relative(inverses(at, 0.5), np.linalg.inv(own)) <= 1e-12


@pytest.mark.parametrize(("sizes", "layers"), CASES)
def test_samples_have_its_covariance(sizes, layers, monkeypatch):
    monkeypatch.setattr(arrow_metric, "SAMPLE", 40)
    problem, vector, _ = users_problem(sizes, layers)
    metric = ArrowMetric(linearized(problem, vector), 0.5)
    M = np.linalg.inv(matrix(metric.solve, len(vector)))
    some = np.random.default_rng(0).normal(size=(5, len(vector)))
    draws = np.array([metric.sample(seed) for seed in range(2000)]) @ some.T
    assert np.mean(draws**2, axis=0) == pytest.approx(np.einsum("ki,ij,kj->k", some, M, some), rel=0.15)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_threads_change_no_bit(dtype, monkeypatch):
    monkeypatch.setattr(arrow_metric, "SAMPLE", 100)
    found = []
    for threads in (1, 3):
        problem, vector, V = users_problem((3, 6, 4, 2), (0, 2), n_rows=900, n_users=300, threads=threads)
        metric = ArrowMetric(linearized(problem, vector, np.dtype(dtype)))
        found.append([metric.solve(V[0]), metric.sample(0), metric.least_change(metric.at.kept.roots)])
    assert all(np.array_equal(a, b) for a, b in zip(*found, strict=True))


def test_the_metric_of_few_rows_is_of_all_of_them(monkeypatch):
    problem, vector, _ = users_problem((3, 5, 1), (1,))
    at = linearized(problem, vector)
    assert type(metric_at(at)) is DualMetric
    monkeypatch.setattr(dual_metric, "SAMPLE", 10)
    monkeypatch.setattr(dual_metric, "FEW_PRODUCTS", 0)
    assert type(metric_at(at)) is ArrowMetric
    monkeypatch.setattr(arrow_metric, "MOST_VALUES", 10)  # of layers that are too large for blocks
    assert type(metric_at(at)) is DualMetric
