"""Pools that are compared in parts: the picks of greedy on the whole, or how far from them."""

import numpy as np
import pytest
from helpers.pools import Chunks, compare_in_parts, selected, whole

import fasttangent as ft
from fasttangent.active import picking, pool, two_level
from fasttangent.active.covariances import AverageVariance
from fasttangent.active.exact_sums import ExactSum
from fasttangent.active.greedy import along
from fasttangent.active.limits import Picks
from fasttangent.active.linear_model import Average, moments
from fasttangent.active.paths import Path
from fasttangent.active.strategies.table import STRATEGIES

AVERAGING = ("error", "variance", "bait", "lcmd")  # over pools in parts, copies count
PARTED = [name for name, strategy in STRATEGIES.items() if strategy.parted is not None]


@pytest.fixture
def in_parts(monkeypatch):
    compare_in_parts(monkeypatch)


@pytest.fixture(scope="module")
def linear():
    """A model whose posterior has few directions, so that picks matter."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(40, 3))
    model = ft.fit(X, np.sin(X[:, 0]) + X[:, 1], hidden=(6,), epochs=20, strength=0.05, dtype="float64")
    return model.with_posterior(X, np.sin(X[:, 0]) + X[:, 1], samples=24), X


def pool_of(seed, n=500):
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(n, 3))
    if seed % 3 == 0:
        rows[:: n // 7] *= 4  # few that are far out
    if seed % 3 == 1:
        rows = np.round(rows)  # many copies
    return rows


def test_which_strategies_compare_in_parts():
    rank = {name for name, strategy in STRATEGIES.items() if strategy.rank is not None}
    assert set(STRATEGIES) - rank == set(PARTED)


@pytest.mark.parametrize("strategy", PARTED)
@pytest.mark.parametrize("seed", range(6))
def test_verified_picks_are_those_of_the_whole_pool(strategy, seed, in_parts, linear, monkeypatch):
    model, X = linear
    rows = pool_of(seed)
    if seed % 3 == 1 and strategy in AVERAGING:
        rows = np.unique(rows, axis=0)  # copies count in averages over a pool in parts
    given = {"strategy": strategy, "labeled": X, "seed": seed}
    expected = whole(model, rows, 12, monkeypatch, **given)
    found = ft.select(model, rows, 12, prefilter=None, passes=50, **given)
    assert found.verified
    assert found.shortfall == 0
    assert found.passes >= 1
    np.testing.assert_array_equal(found.indices, expected.indices)
    assert expected.verified
    assert expected.passes == 1
    streamed = selected(model, Chunks(rows), 12, prefilter=None, passes=50, **given)
    np.testing.assert_array_equal(streamed.indices, expected.indices)


@pytest.mark.parametrize("strategy", ["error", "maxdet", "kcenter", "lcmd", "kmeans++"])
@pytest.mark.parametrize("which", ["curiosity", "given"])
def test_weights(strategy, which, in_parts, linear, monkeypatch):
    model, X = linear
    for seed in range(3):
        rows = np.unique(pool_of(1), axis=0) if strategy in AVERAGING else pool_of(1)
        weight = np.random.default_rng(seed).exponential(size=len(rows)) if which == "given" else which
        given = {"strategy": strategy, "labeled": X, "weight": weight, "seed": seed}
        expected = whole(model, rows, 12, monkeypatch, **given)
        found = ft.select(model, rows, 12, prefilter=None, passes=50, **given)
        assert found.verified
        np.testing.assert_array_equal(found.indices, expected.indices)


@pytest.mark.parametrize("strategy", PARTED)
def test_limits(strategy, in_parts, linear, monkeypatch):
    """Of equal rows the first stands for all, with its own group and cost."""
    model, X = linear
    for seed in range(3):
        rng = np.random.default_rng(seed)
        rows = pool_of(seed)
        if strategy in AVERAGING:
            rows = np.unique(rows, axis=0)
        n = len(rows)
        for limits in (
            {"groups": rng.integers(0, 9, n), "per_group": 2},
            {"cost": rng.integers(1, 4, n), "max_cost": 20},
            {"cost": rng.integers(1, 4, n), "groups": rng.integers(0, 9, n), "per_group": 3},
            {"exclude": rng.integers(0, n, n // 2)},
        ):
            given = {"strategy": strategy, "labeled": X, **limits}
            expected = whole(model, rows, 10, monkeypatch, **given)
            found = ft.select(model, rows, 10, prefilter=None, passes=50, **given)
            assert found.verified
            np.testing.assert_array_equal(found.indices, expected.indices, str(limits.keys()))
            assert found.cost == expected.cost


def test_too_few_of_each_group(in_parts, linear):
    model, X = linear
    with pytest.raises(ValueError, match="k must be at most 4, as "):
        ft.select(
            model,
            pool_of(2),
            5,
            labeled=X,
            prefilter=None,
            groups=np.arange(500) % 2,
            per_group=2,
            strategy="kcenter",
        )


@pytest.mark.parametrize("strategy", ["error", "variance", "bait"])
def test_targets(strategy, in_parts, linear, monkeypatch):
    """Nothing of the pool is averaged over, so that one pass can do."""
    model, X = linear
    rows = pool_of(1)
    given = {"strategy": strategy, "labeled": X, "targets": X[:20] * 2}
    expected = whole(model, rows, 8, monkeypatch, **given)
    found = ft.select(model, rows, 8, prefilter=None, passes=50, **given)
    assert found.verified
    np.testing.assert_array_equal(found.indices, expected.indices)
    few = ft.select(model, rows[:64], 8, prefilter=None, **given)
    assert few.passes <= 2


@pytest.mark.parametrize("strategy", ["variance", "maxdet", "bait"])
def test_a_linear_model_of_another_embedding(strategy, in_parts, linear, monkeypatch):
    model, X = linear
    rows = pool_of(2)
    given = {"strategy": strategy, "labeled": X, "embedding": "hidden"}
    expected = whole(model, rows, 5, monkeypatch, **given)
    found = ft.select(model, rows, 5, prefilter=None, passes=50, **given)
    np.testing.assert_array_equal(found.indices, expected.indices)


def test_rows_that_cannot_be_picked(in_parts, linear, monkeypatch):
    model, X = linear
    rows = pool_of(2)
    rows[[3, 200]] = np.nan
    rows[300:340] = X
    given = {"labeled": X, "strategy": "maxdet"}
    with pytest.warns(UserWarning, match="2 rows hold"):
        expected = whole(model, rows, 12, monkeypatch, **given)
    with pytest.warns(UserWarning, match="2 rows hold"):
        found = ft.select(model, rows, 12, prefilter=None, **given)
    np.testing.assert_array_equal(found.indices, expected.indices)
    assert found.candidates == expected.candidates == 458


# ---- where passes end first ----


def steps(E, picks, noise, M):
    """What each pick gains, and the best row at that step, from scratch."""
    P, found = np.eye(E.shape[1]), []
    for t, i in enumerate(picks):
        F = E[picks[:t]]
        P = np.linalg.inv(np.eye(E.shape[1]) + F.T @ F / noise)
        gains = np.einsum("ij,ij->i", E @ P @ M @ P, E) / (noise + np.einsum("ij,ij->i", E @ P, E))
        gains[picks[:t]] = 0
        found.append((gains[i], gains.max()))
    return np.array(found)


def test_the_shortfall_is_what_the_best_row_would_have_gained_more(in_parts, linear, monkeypatch):
    model, X = linear
    monkeypatch.setattr(picking, "SAMPLE", 20)
    monkeypatch.setattr(two_level, "JOINING", 3)
    unverified = 0
    for seed in range(8):
        rows = pool_of(3 * seed + 2, 3000)
        found = ft.select(
            model, rows, 10, labeled=X, prefilter=None, passes=2, strategy="variance", seed=seed
        )
        E = model.embed(rows, "posterior")
        gains = steps(E, found.indices, model.noise, E.T @ E)
        short = (gains[:, 1] / gains[:, 0]).max() - 1
        assert found.passes == 2
        assert found.shortfall == pytest.approx(short, abs=1e-9)
        assert found.verified == (found.shortfall == 0)
        unverified += not found.verified
    assert unverified > 3


# ---- along picks ----


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("noise", [1.0, 1e-3, 1e-6])
def test_what_rows_gain_along_a_path_is_what_they_gain_in_greedy(dtype, noise):
    rng = np.random.default_rng(0)
    E = (rng.normal(size=(700, 20)) / np.sqrt(1 + np.arange(20))).astype(dtype)
    average, given = Average(moments(E, None, 1)), rng.choice(700, 40, replace=False)
    state = AverageVariance(E, average, Picks(700, 40, None), noise, 1, by_moments=True)
    seen = along(state, given)
    measured = state.measured
    path = Path(E[given], average, noise, 2)
    assert len(path._stretches) == measured
    assert noise > 1e-2 or measured > 1
    others = np.setdiff1d(np.arange(700), given)
    found = path.ratios(E)[others]
    np.testing.assert_allclose(found, seen.ratio[others], rtol=1e-2 if dtype == np.float32 else 1e-9)


# ---- sums and merging ----


def test_exact_sums_depend_on_no_order():
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=(5, 5)) * 10.0 ** rng.integers(-20, 20) for _ in range(60)]
    arrays.append(np.zeros((5, 5)))

    def total(order, halves):
        one, other = ExactSum(), ExactSum()
        for i in order:
            (one if i < halves else other).add(arrays[i])
        return one.merge(other).total()

    expected = total(range(61), 61)
    for seed in range(10):
        order = np.random.default_rng(seed).permutation(61)
        np.testing.assert_array_equal(total(order, 6 * seed), expected)
    np.testing.assert_allclose(expected, np.sum(arrays, axis=0), rtol=1e-9)


@pytest.mark.parametrize("strategy", ["error", "kcenter", "lcmd", "kmeans++"])
def test_parts_may_be_looked_at_in_any_order(strategy, in_parts, linear, monkeypatch):
    model, X = linear
    rows = pool_of(2)
    given = {"strategy": strategy, "labeled": X, "prefilter": None}
    expected = ft.select(model, rows, 10, **given)
    original = pool.parts
    monkeypatch.setattr(pool, "parts", lambda rows, size: reversed(list(original(rows, size))))
    found = ft.select(model, rows, 10, **given)
    np.testing.assert_array_equal(found.indices, expected.indices)
    assert found.passes == expected.passes


@pytest.mark.parametrize("strategy", ["error", "lcmd", "kmeans++"])
def test_threads_do_not_matter(strategy, in_parts, linear):
    model, X = linear
    given = {"labeled": X, "prefilter": None, "strategy": strategy}
    one, three = (ft.select(model, pool_of(2), 10, threads=t, **given) for t in (1, 3))
    np.testing.assert_array_equal(one.indices, three.indices)


def test_passes_are_checked(linear):
    model, X = linear
    with pytest.raises(ValueError, match="passes must be a whole number >= 2, got 1"):
        ft.select(model, pool_of(2), 10, labeled=X, passes=1)


@pytest.mark.parametrize("strategy", ["error", "maxdet", "kcenter", "lcmd", "kmeans++", "random", "sample"])
def test_files_do_not_matter(strategy, in_parts, linear, tmp_path):
    model, X = linear
    rows = pool_of(2)
    given = {"strategy": strategy, "labeled": X, "prefilter": None}
    expected = ft.select(model, rows, 10, **given)
    for n in (1, 7, 50):
        folder = tmp_path / str(n)
        folder.mkdir()
        for i, part in enumerate(np.array_split(rows, n)):
            np.save(folder / f"{i:03d}.npy", part)
        found = ft.select(model, ft.Pool(folder), 10, **given)
        np.testing.assert_array_equal(found.indices, expected.indices)
        assert found.passes == expected.passes
