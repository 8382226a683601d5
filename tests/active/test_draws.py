"""Drawing the candidates of "error" and "variance", and what is lost by it."""

import numpy as np
import pytest

import fasttangent as ft
from fasttangent.active import covariances
from fasttangent.active.draws import draw, inclusion
from fasttangent.active.strategies import informing


@pytest.mark.parametrize(
    "size", [np.ones(50), np.zeros(50), np.arange(50.0), np.arange(50.0) ** 6, np.eye(50)[3]], ids=str
)
@pytest.mark.parametrize("m", [1, 7, 40])
def test_chances_add_up_and_follow_sizes(size, m):
    chances = inclusion(size, m)
    assert chances.sum() == pytest.approx(m)
    assert chances.min() > 0
    assert chances.max() <= 1
    below, size = chances < 1, size + 1e-3 * size.mean() if size.any() else size + 1
    np.testing.assert_allclose(chances[below] / size[below], (chances / size)[below].max(initial=0))
    assert (chances[~below] / size[~below] <= (chances / size)[below].min(initial=np.inf)).all()


def test_chances_are_those_of_many_draws_and_sums_come_out():
    rng = np.random.default_rng(0)
    size, values = rng.exponential(size=200), rng.normal(size=200)
    times, sums = np.zeros(200), []
    for seed in range(3000):
        drawn, chances = draw(size, 40, np.random.default_rng(seed))
        assert len(drawn) in (39, 40)
        assert (np.diff(drawn) > 0).all()
        times[drawn] += 1
        sums.append(np.sum(values[drawn] / chances))
    expected = inclusion(size, 40)
    assert (abs(times / 3000 - expected) < 5 * np.sqrt(expected * (1 - expected) / 3000) + 1e-9).all()
    assert abs(np.mean(sums) - values.sum()) < 5 * np.std(sums) / np.sqrt(3000)


@pytest.fixture(scope="module")
def model():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 3))
    y = np.sin(2 * X[:, 0]) + X[:, 1] * X[:, 2]
    return ft.fit(X, y, hidden=(16,), strength=1e-3, epochs=100, settle=False).with_posterior(
        X, y, samples=64
    )


@pytest.fixture
def few(monkeypatch):
    """As if 2,001 rows were many."""
    monkeypatch.setattr(informing, "COMPARED", 1000)
    monkeypatch.setattr(informing, "EACH", 1)


def error_left(model, pool, picks, weight=None):
    E = model.embed(pool, "error").astype(float)
    F = E[picks]
    P = np.linalg.inv(np.eye(E.shape[1]) + F.T @ F / model.noise)
    return np.average(np.sum(E @ P * E, axis=1), weights=weight)


def pool_of(heavy):
    rng = np.random.default_rng(1)
    return rng.standard_t(3, size=(5000, 3)) if heavy else rng.normal(size=(5000, 3))


@pytest.mark.parametrize("heavy", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_hardly_anything_is_lost(model, few, heavy, weighted):
    pool = pool_of(heavy)
    weight = np.maximum(pool[:, 0], 0) if weighted else None
    some, every = (
        ft.select(model, pool, 20, strategy="error", weight=weight, prefilter=prefilter).indices
        for prefilter in (100_000, None)
    )
    assert len(set(some)) == 20
    assert set(some) != set(every)
    left, least = (error_left(model, pool, picks, weight) for picks in (some, every))
    by_chance = error_left(model, pool, np.arange(20), weight)
    assert left < 1.05 * least < by_chance


def test_every_row_is_compared_where_asked_for_where_there_are_few_and_with_targets(model, few):
    pool = pool_of(False).astype(np.float32)
    E = model.embed(pool, "error")
    assert (
        ft.select(model, pool, 9, prefilter=None).indices == covariances.variance_reduction(E, 9, model.noise)
    ).all()
    assert (
        ft.select(model, pool[:600], 9).indices == covariances.variance_reduction(E[:600], 9, model.noise)
    ).all()
    assert (
        ft.select(model, pool, 9, targets=pool[:50]).indices
        == covariances.variance_reduction(E, 9, model.noise, E[:50])
    ).all()


def test_threads_do_not_matter_and_seeds_do(model, few):
    pool = pool_of(True)
    picks = [
        ft.select(model, pool, 20, seed=seed, threads=threads).indices
        for seed, threads in ((0, 1), (0, 3), (1, 1))
    ]
    assert (picks[0] == picks[1]).all()
    assert (picks[0] != picks[2]).any()


def test_a_weight_of_few_rows_is_heard(model, few):
    pool, weight = pool_of(False), np.zeros(5000)
    weight[[17, 4321]] = 1
    some, every = (
        ft.select(model, pool, 2, weight=weight, prefilter=prefilter).indices for prefilter in (5000, None)
    )
    left, least = (error_left(model, pool, picks, weight) for picks in (some, every))
    assert left < 1.2 * least
