"""Sums over rows that are read block by block against those of rows in memory."""

import numpy as np
import pytest

from fasttangent.problem import stored_rows
from fasttangent.problem.curvature import System
from fasttangent.problem.linearized_users import linearized
from fasttangent.problem.network import Network
from fasttangent.problem.objective import Objective
from fasttangent.problem.problem import Problem
from fasttangent.problem.scaling import fit_scaling
from fasttangent.problem.stored_rows import StoredRows, stored_scaling
from fasttangent.problem.streamed_problem import StreamedProblem
from fasttangent.problem.tilted import TiltedProblem
from fasttangent.solvers.sampled_metric import SampledMetric

N, NETWORK, OBJECTIVE = 500, Network((3, 5, 2), "tanh"), Objective(strength=1e-2)


@pytest.fixture
def rows(monkeypatch):
    """Rows of three columns of which two of the weights are zero, read in blocks of 64."""
    monkeypatch.setattr(stored_rows, "BLOCK_VALUES", 200)
    rng = np.random.default_rng(0)
    X = (rng.normal(size=(N, 3)) * (1, 1e3, 1e-3) + 5).astype(np.float32)
    w = rng.uniform(0.5, 2, N)
    w[[3, 70]] = 0
    return X, rng.normal(size=(N, 2)), w


@pytest.fixture
def both(rows):
    """The problem on stored rows, and the same in memory."""
    X, Y, w = rows
    scaling = stored_scaling(X, Y, w)
    near = scaling.near_inputs("X", X), scaling.near_targets("y", Y)
    streamed = StreamedProblem(NETWORK, OBJECTIVE, StoredRows(X, Y, w, scaling), 2)
    return (
        streamed,
        Problem(NETWORK, OBJECTIVE, *near, w, 2),
        NETWORK.initial_params(np.random.default_rng(1)),
    )


def near(found, wanted, digits=1e-12):
    np.testing.assert_allclose(found, wanted, rtol=digits, atol=digits * np.abs(wanted).max())


def test_values_gradients_and_products_are_those_of_rows_in_memory(both):
    streamed, whole, theta = both
    V = np.random.default_rng(2).normal(size=(3, theta.size))
    for found, wanted in zip(
        streamed.value_and_gradient(theta), whole.value_and_gradient(theta), strict=True
    ):
        near(found, wanted)
    for gauss_newton in (False, True):
        products = (one.product(theta, V, gauss_newton=gauss_newton) for one in both[:2])
        near(*products)
    outputs = streamed.predictions(theta)
    near(outputs, whole.predictions(theta))
    near(streamed.value(theta, outputs), whole.value(theta, outputs))
    near(streamed.residual_variance(theta), whole.residual_variance(theta))
    near(linearized(streamed, theta).product(V[0]), linearized(whole, theta).product(V[0]))
    near(System(streamed, theta).dense(), System(whole, theta).dense())
    assert (streamed.n_rows, streamed.n_labels, streamed.n_learned) == (N, 2 * N, N - 2)


def test_sums_do_not_depend_on_threads_or_on_where_rows_are(both, rows, tmp_path):
    streamed, _, theta = both
    np.save(tmp_path / "x.npy", rows[0])
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    wanted = streamed.value_and_gradient(theta)[1]
    for X, threads in ((mapped, 1), (mapped.astype(float), 2), (np.asfortranarray(mapped), 3)):
        stored = StoredRows(X, *rows[1:], streamed.stored.scaling)
        found = StreamedProblem(NETWORK, OBJECTIVE, stored, threads).value_and_gradient(theta)[1]
        assert np.array_equal(found, wanted)


def test_another_strength_reaches_all_parts(both):
    streamed, whole, theta = both
    streamed.value_and_gradient(theta)
    other, wanted = streamed.at_strength(0.5), whole.at_strength(0.5)
    near(other.value(theta, other.predictions(theta)), wanted.value(theta, wanted.predictions(theta)))


@pytest.mark.parametrize("unit", [1e-290, 1.0, 1e300])
def test_scaling_in_blocks_is_that_of_all_rows(rows, unit):
    X, Y, w = rows
    X = X * np.array([unit, 1.0, 1.0])
    X[:, 2] = 7.0
    found, wanted = stored_scaling(X, Y * unit, w), fit_scaling(X, Y * unit, w)
    for name in ("x_mean", "x_scale", "y_mean", "y_scale"):
        np.testing.assert_allclose(getattr(found, name), getattr(wanted, name), rtol=1e-12)
    assert found.x_scale[2] == np.inf


def test_scaling_of_values_far_from_zero_keeps_its_digits(monkeypatch):
    monkeypatch.setattr(stored_rows, "BLOCK_VALUES", 200)
    X = 1e9 + np.arange(1000.0)[:, None]
    found = stored_scaling(X, np.arange(1000.0)[:, None], np.ones(1000))
    np.testing.assert_allclose(found.x_scale, np.arange(1000.0).std(), rtol=1e-12)


def test_an_epoch_has_every_row_once_in_an_order_of_the_seed(rows, monkeypatch):
    monkeypatch.setattr(stored_rows, "PIECE_VALUES", 64 * 3)
    monkeypatch.setattr(stored_rows, "PIECES", 3)
    X, Y, w = rows
    X[:, 0] = np.arange(N)
    stored = StoredRows(X, Y, w, stored_scaling(X, Y, w))

    def epoch(seed):
        windows = list(stored.shuffled(np.random.default_rng(seed), np.dtype(np.float64)))
        assert [len(order) for _, order in windows] == stored.windows
        x = np.concatenate([rows[0][order, 0] for rows, order in windows])
        return np.round(x * stored.scaling.x_scale[0] + stored.scaling.x_mean[0]).astype(int)

    first = epoch(0)
    assert np.array_equal(np.sort(first), np.arange(N))
    assert np.array_equal(first, epoch(0))
    assert not np.array_equal(first, epoch(1))
    assert (np.diff(first[:100]) < 0).any()
    # over some epochs the first window has had rows from everywhere but the last piece
    assert {i for seed in range(12) for i in np.unique(epoch(seed)[: stored.windows[0]] // 64)} == set(
        range(7)
    )


def test_a_tilted_problem_has_the_gradient_that_it_is_given(both):
    _, whole, theta = both
    g = np.random.default_rng(3).normal(size=theta.size)
    tilted = TiltedProblem(whole, theta, g, hold=2.0)
    near(tilted.value_and_gradient(theta)[1], g)
    near(tilted.value(theta, whole.predictions(theta)), tilted.value_and_gradient(theta)[0])
    v = np.random.default_rng(4).normal(size=(1, theta.size))
    step = 1e-5
    ahead, behind = (tilted.value_and_gradient(theta + s * step * v[0])[1] for s in (1, -1))
    near((ahead - behind) / (2 * step), tilted.product(theta, v)[0], 1e-7)


def test_the_metric_of_a_sample_solves_and_draws(both):
    _, whole, theta = both
    system = System(whole, theta)
    metric = SampledMetric(system)
    A = metric.matrix
    v = np.random.default_rng(5).normal(size=theta.size)
    near(metric.solve(A @ v), v, 1e-9)
    eigenvalues = np.linalg.eigvalsh(A)
    assert eigenvalues[0] > 0
    near(metric.largest, eigenvalues[-1], 0.05)
    assert np.linalg.eigvalsh(system.dense())[0] < 0  # what was added made it positive
    draws = np.array([metric.sample(i) for i in range(4000)])
    assert np.abs(draws.T @ draws / 4000 - A).max() < 0.1 * eigenvalues[-1]
