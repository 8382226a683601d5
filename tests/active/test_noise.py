"""Labels that are known to be noisier somewhere: what they tell, by brute force; which of equal rows is labelled."""

import re

import numpy as np
import pandas
import pytest
from helpers import noisy
from helpers.batches import TELLING
from helpers.pools import Chunks, compare_in_parts, selected, whole

import fasttangent as ft
from fasttangent.active import candidates
from fasttangent.active.pool import ArrayPool
from fasttangent.active.strategies.table import STRATEGIES

TAKERS = [name for name, strategy in STRATEGIES.items() if strategy.takes_noise]
OTHERS = [name for name in STRATEGIES if name not in TAKERS]
PARTED = [name for name in TAKERS if STRATEGIES[name].parted is not None]


@pytest.fixture(scope="module")
def model():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(40, 3))
    y = np.sin(X[:, 0]) + X[:, 1] + 0.1 * rng.normal(size=40)
    return ft.fit(X, y, hidden=(6,), epochs=20, strength=0.05, dtype="float64").with_posterior(
        X, y, samples=24
    )


@pytest.fixture(scope="module")
def known():
    return np.random.default_rng(0).normal(size=(40, 3))


@pytest.fixture(scope="module")
def pool():
    return np.random.default_rng(1).normal(size=(300, 3))


@pytest.fixture(scope="module")
def noise():
    return np.random.default_rng(2).choice([0.1, 1.0, 4.0, 50.0], 300)


@pytest.fixture
def in_parts(monkeypatch):
    compare_in_parts(monkeypatch)


# ---- by definition ----


def vectors(seed, n=24, D=4):
    rng = np.random.default_rng(seed)
    E = rng.normal(size=(n, D)) * rng.uniform(0.3, 3, (n, 1))
    return rng, E, rng.choice([0.02, 0.3, 1.0, 9.0], n) * rng.uniform(0.5, 1, n)


def with_all(rng, n, D, strategy):
    """Some of what may be said beside: (arguments of `select_embeddings`, of `noisy.batch`)."""
    given, naive = {}, {}
    if rng.random() < 0.5:
        given["groups"], given["per_group"] = rng.integers(0, 4, n), int(rng.integers(1, 4))
        naive = {"group": given["groups"], "per_group": given["per_group"]}
    if rng.random() < 0.5:
        given["cost"] = naive["cost"] = rng.choice([0.5, 1.0, 2.5, 7.0], n)
        if rng.random() < 0.6:
            given["max_cost"] = naive["max_cost"] = float(rng.choice([3.0, 8.0, 20.0]))
    if rng.random() < 0.5:
        given["labeled"] = naive["known"] = rng.normal(size=(3, D))
        given["labeled_noise"] = naive["known_noise"] = rng.uniform(0.1, 2, 3)
    if rng.random() < 0.4 and strategy != "maxdet":
        given["targets"] = naive["targets"] = rng.normal(size=(6, D))
    elif rng.random() < 0.5 and strategy != "bait":
        given["weight"] = naive["weight"] = rng.exponential(size=n)
    return given, naive


@pytest.mark.parametrize("strategy", TELLING)
@pytest.mark.parametrize("seed", range(12))
def test_by_brute_force(strategy, seed):
    _, E, noise = vectors(seed)
    expected, _ = noisy.batch(E, 5, strategy, noise)
    found = ft.select_embeddings(E, 5, strategy=strategy, noise=noise)
    assert found.indices.tolist() == expected


@pytest.mark.parametrize("strategy", TELLING)
@pytest.mark.parametrize("seed", range(25))
def test_beside_limits_costs_weights_targets_and_labels(strategy, seed):
    rng, E, noise = vectors(100 + seed)
    given, naive = with_all(rng, 24, 4, strategy)
    k = min(
        5,
        int(np.minimum(np.bincount(given.get("groups", np.zeros(24, int))), given.get("per_group", 9)).sum()),
    )
    expected, closest = noisy.batch(E, k, strategy, noise, **naive)
    found = ft.select_embeddings(E, k, strategy=strategy, noise=noise, **given)
    assert found.indices.tolist() == expected or closest < 1e-9
    assert closest > 1e-9 or strategy == "bait"


@pytest.mark.parametrize("seed", range(6))
def test_noise_scales_the_row_that_is_labelled_and_not_what_is_averaged(seed):
    _, E, noise = vectors(seed)
    for strategy in ("variance", "bait"):
        found = ft.select_embeddings(E, 5, strategy=strategy, noise=noise)
        scaled = ft.select_embeddings(E / np.sqrt(noise)[:, None], 5, strategy=strategy, noise=1.0, targets=E)
        assert found.indices.tolist() == scaled.indices.tolist()
    found = ft.select_embeddings(E, 5, strategy="maxdet", noise=noise)
    scaled = ft.select_embeddings(E / np.sqrt(noise)[:, None], 5, strategy="maxdet", noise=1.0)
    assert found.indices.tolist() == scaled.indices.tolist()
    weighted = ft.select_embeddings(E, 5, strategy="maxdet", noise=1.0, weight=1 / noise)
    assert found.indices.tolist() == weighted.indices.tolist()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_many_rows_on_any_number_of_threads(dtype):
    """Several chunks, where few rows are brought up to date for a pick."""
    rng = np.random.default_rng(0)
    E, noise = rng.normal(size=(9000, 8)).astype(dtype), rng.exponential(size=9000) + 0.01
    F = E.astype(float)
    for strategy in ("maxdet", "variance"):
        found = [
            ft.select_embeddings(E, 25, strategy=strategy, noise=noise, threads=t).indices for t in (1, 3)
        ]
        np.testing.assert_array_equal(*found)
        picks, P, M = [], np.eye(8), F.T @ F
        for _ in range(25):
            a, b = (np.einsum("ij,jk,ik->i", F, A, F) for A in (P, P @ M @ P))
            gain = a / noise if strategy == "maxdet" else b / (noise + a)
            gain[picks] = -np.inf
            best = int(np.argmax(gain))
            assert gain[found[0][len(picks)]] == pytest.approx(gain[best], rel=1e-4)
            picks.append(int(found[0][len(picks)]))
            P = np.linalg.inv(np.eye(8) + (F[picks].T / noise[picks]) @ F[picks])


# ---- equal noise ----


@pytest.mark.parametrize("strategy", TELLING)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_same_noise_everywhere_is_one_number(strategy, dtype):
    rng = np.random.default_rng(3)
    E = rng.normal(size=(5000, 12)).astype(dtype)
    for noise in (0.3, 1e-9, 7.0):
        given = {"strategy": strategy, "labeled": E[:30] * 2}
        one = ft.select_embeddings(E, 40, noise=noise, **given)
        each = ft.select_embeddings(E, 40, noise=np.full(5000, noise), labeled_noise=noise, **given)
        np.testing.assert_array_equal(each.indices, one.indices)
        alone = ft.select_embeddings(E, 40, noise=noise, **given | {"labeled_noise": np.full(30, noise)})
        np.testing.assert_array_equal(alone.indices, one.indices)


@pytest.mark.parametrize("strategy", TAKERS)
def test_the_usual_noise_changes_nothing(strategy, model, pool, known):
    given = {"strategy": strategy, "labeled": known, "seed": 2}
    expected = ft.select(model, pool, 12, **given)
    found = ft.select(model, pool, 12, noise=np.ones(300), **given)
    np.testing.assert_array_equal(found.indices, expected.indices)
    np.testing.assert_array_equal(found.scores, expected.scores)


# ---- models ----


@pytest.mark.parametrize("strategy", TELLING)
@pytest.mark.parametrize("embedding", ["posterior", "error", "gradient", "hidden"])
def test_picks_of_a_model_are_those_of_its_embedding(strategy, embedding, model, pool, noise, known):
    E, C = model.embed(pool, embedding, seed=1), model.embed(known, embedding, seed=1)
    usual, given = model.noise, {}
    if embedding in ("gradient", "hidden"):
        usual = model.objective.strength * len(known)
        given = {"labeled": C, "labeled_noise": usual}
    expected = ft.select_embeddings(E, 10, strategy=strategy, noise=noise * usual, **given)
    found = ft.select(
        model, pool, 10, strategy=strategy, embedding=embedding, noise=noise, labeled=known, seed=1
    )
    np.testing.assert_array_equal(found.indices, expected.indices)
    assert found.verified
    less = ft.select(model, pool, 10, strategy=strategy, embedding=embedding, labeled=known, seed=1)
    assert noise[found.indices].mean() < noise[less.indices].mean()


@pytest.mark.parametrize("strategy", ["top", "sample"])
def test_scores_are_those_of_a_label_that_counts_for_less(strategy, model, pool, noise):
    curiosity = model.curiosity(pool)
    sensitivity = abs(model.sensitivity(pool))
    for name, weight in (("curiosity", curiosity / noise), ("sensitivity", sensitivity / np.sqrt(noise))):
        found = ft.select(model, pool, 30, strategy=strategy, weight=name, noise=noise, seed=4)
        expected = ft.select(model, pool, 30, strategy=strategy, weight=weight, seed=4)
        np.testing.assert_array_equal(found.indices, expected.indices)
        assert found.verified
        more = {"cost": noise[::-1], "max_cost": 200, "groups": np.arange(300) % 9, "per_group": 4, "seed": 4}
        found = ft.select(model, pool, 30, strategy=strategy, weight=name, noise=noise, **more)
        expected = ft.select(model, pool, 30, strategy=strategy, weight=weight, **more)
        np.testing.assert_array_equal(found.indices, expected.indices)
        assert found.cost == expected.cost
    default = ft.select(model, pool, 30, strategy=strategy, noise=noise, seed=4)
    expected = ft.select(model, pool, 30, strategy=strategy, weight=curiosity / noise, seed=4)
    np.testing.assert_array_equal(default.indices, expected.indices)


def test_the_gradient_of_a_noisy_label(model, pool, noise):
    """Half the mean square of its loss, whose weight is 1 / noise, around the network's function and its spread."""
    _, deviation = model.predict(pool, return_std=True)
    scale = float(model.scaling.y_scale[0])
    spread = (deviation / scale) ** 2 - model.noise
    norms = np.linalg.norm(model.embed(pool, "gradient", 1 << 14), axis=1)
    length = np.sqrt(spread + noise * model.noise) / noise * norms
    found = ft.select(model, pool, 25, strategy="egl", noise=noise).indices
    np.testing.assert_allclose(length[found], np.sort(length)[::-1][:25], rtol=0.05)
    for noise_of_all in (
        1e-9,
        3.0,
    ):  # another order than that of the usual noise, as the spread is not of labels
        found = ft.select(model, pool, 25, strategy="egl", noise=np.full(300, noise_of_all)).indices
        length = np.sqrt(spread + noise_of_all * model.noise) * norms
        np.testing.assert_allclose(length[found], np.sort(length)[::-1][:25], rtol=0.05)


def test_a_label_learned_with_its_weight_moves_the_complexity_as_the_score_says(model, known):
    """Curiosity / noise is the mean square of the influence of a label of that noise, weighted by 1 / noise."""
    rng, c = np.random.default_rng(0), 4.0
    x, s = known[:1], float(model.sensitivity(known[:1])[0])
    scale = float(model.scaling.y_scale[0])
    sd = scale**2 * np.sqrt(model.curiosity(x)[0]) / abs(s)  # of a usual label, as the score takes it
    labels = model.predict(x)[0] + sd * np.sqrt(c) * rng.normal(size=20_000)
    influence = model.influence(np.repeat(x, 20_000, axis=0), labels) / c
    assert np.mean(influence**2) == pytest.approx(model.curiosity(x)[0] / c, rel=0.05)


@pytest.mark.parametrize("strategy", TAKERS)
def test_members_and_several_outputs(strategy, known, pool, noise):
    y = np.column_stack([np.sin(known[:, 0]), 1e6 * known[:, 1]])
    model = ft.fit(known, y, hidden=(4,), epochs=10, strength=0.05, members=2)
    given = {"strategy": strategy, "labeled": known}
    found = ft.select(model, pool, 8, noise=noise, **given)
    assert len(set(found.indices.tolist())) == 8
    few = ft.select(model, pool, 8, noise=np.where(np.arange(300) < 20, 1e-6, 1e6), **given)
    assert few.indices.max() < 20


@pytest.mark.parametrize("strategy", TAKERS)
def test_rows_in_any_order_threads_and_chunks(strategy, model, pool, noise, known):
    noise = noise * np.random.default_rng(5).uniform(1, 1.1, 300)  # no two alike
    turned = np.random.default_rng(3).permutation(300)
    given = {"strategy": strategy, "labeled": known, "seed": 1}
    expected = ft.select(model, pool, 9, noise=noise, **given)
    for threads in (1, 3):
        found = ft.select(model, pool[turned], 9, noise=noise[turned], threads=threads, **given)
        np.testing.assert_array_equal(turned[found.indices], expected.indices)
        np.testing.assert_array_equal(found.scores, expected.scores)
    chunks = selected(model, Chunks(pool), 9, noise=noise, **given)
    np.testing.assert_array_equal(chunks.indices, expected.indices)


@pytest.mark.parametrize("strategy", TAKERS)
def test_noise_follows_rows_that_are_left_out(strategy, model, pool, noise, known):
    rows, out = pool.copy(), np.arange(300) % 3 == 0
    rows[[4, 7]] = np.nan
    left = np.flatnonzero(~out & (np.arange(300) != 4) & (np.arange(300) != 7))
    given = {"strategy": strategy, "labeled": known, "seed": 1, "cost": noise[::-1] + 1, "weight": None}
    with pytest.warns(UserWarning, match=r"2 rows hold .* \(first: row 4\)"):
        found = ft.select(model, rows, 9, noise=noise, exclude=out, **given)
    given["cost"] = given["cost"][left]
    expected = ft.select(model, rows[left], 9, noise=noise[left], **given)
    np.testing.assert_array_equal(found.indices, left[expected.indices])
    assert found.cost == expected.cost


# ---- equal rows ----


@pytest.mark.parametrize("strategy", TELLING)
def test_of_equal_vectors_the_least_noisy_stands_for_all(strategy):
    rng, E, noise = vectors(1)
    copies, turned = np.repeat(E, 3, axis=0), rng.permutation(72)
    noises = np.repeat(noise, 3) * np.tile([4.0, 1.0, 2.0], 24)
    found = ft.select_embeddings(copies[turned], 6, strategy=strategy, noise=noises[turned])
    expected = ft.select_embeddings(E, 6, strategy=strategy, noise=noise)
    assert found.candidates == 24
    assert turned[found.indices].tolist() == (3 * expected.indices + 1).tolist()
    noises[0::3] = noises[1::3]  # of equally noisy ones the first
    found = ft.select_embeddings(copies, 6, strategy=strategy, noise=noises)
    assert found.indices.tolist() == (3 * expected.indices).tolist()
    out = ft.select_embeddings(copies, 6, strategy=strategy, noise=noises, exclude=np.arange(0, 72, 3))
    assert out.indices.tolist() == (3 * expected.indices + 1).tolist()


@pytest.mark.parametrize("held", [None, 1])
@pytest.mark.parametrize("strategy", TAKERS)
def test_of_equal_rows_the_least_noisy_stands_for_all(strategy, held, model, pool, noise, known, monkeypatch):
    if held is not None:
        monkeypatch.setattr(candidates, "HELD", held)
    rows, noise = pool[:100], noise[:100] * np.random.default_rng(5).uniform(1, 1.1, 100)
    copies, noises = np.concatenate([rows, rows, rows]), np.concatenate([3 * noise, noise, 2 * noise])
    for limits in ({}, {"groups": np.arange(300) % 7, "per_group": 2}, {"cost": np.arange(300) % 7 + 1.0}):
        given = {"strategy": strategy, "labeled": known, "seed": 1}
        own = {name: a if name == "per_group" else a[100:200] for name, a in limits.items()}
        expected = ft.select(model, rows, 9, noise=noise, **own, **given)
        found = ft.select(model, copies, 9, noise=noises, **limits, **given)
        np.testing.assert_array_equal(found.indices, 100 + expected.indices)
        chunks = selected(model, Chunks(copies), 9, noise=noises, **limits, **given)
        np.testing.assert_array_equal(chunks.indices, found.indices)
        np.testing.assert_array_equal(chunks.scores, expected.scores)


# ---- pools in parts and elsewhere ----


@pytest.mark.parametrize("strategy", PARTED)
@pytest.mark.parametrize("seed", range(4))
def test_verified_picks_are_those_of_the_whole_pool(strategy, seed, in_parts, model, known, monkeypatch):
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(500, 3))
    if seed % 2:
        rows = np.round(rows)  # many copies
        if strategy != "maxdet":
            rows = np.unique(rows, axis=0)  # they count in averages over a pool in parts
    n = len(rows)
    noise = rng.choice([0.1, 1.0, 4.0, 50.0], n)
    for more in (
        {},
        {"cost": rng.integers(1, 4, n), "max_cost": 15},
        {"groups": rng.integers(0, 9, n), "per_group": 2, "cost": rng.uniform(1, 2, n)},
        {"weight": rng.exponential(size=n)}
        if strategy != "bait"
        else {"exclude": rng.integers(0, n, n // 3)},
    ):
        given = {"strategy": strategy, "labeled": known, "noise": noise, **more}
        expected = whole(model, rows, 10, monkeypatch, **given)
        for pool in (ArrayPool(rows), Chunks(rows)):
            found = selected(model, pool, 10, prefilter=None, passes=50, **given)
            assert found.verified
            assert found.shortfall == 0
            np.testing.assert_array_equal(found.indices, expected.indices)
            assert found.cost == expected.cost


@pytest.mark.parametrize("strategy", PARTED)
def test_one_noise_for_all_in_parts(strategy, in_parts, model, known, monkeypatch):
    rows = np.random.default_rng(3).normal(size=(500, 3))
    given = {"strategy": strategy, "labeled": known, "noise": np.full(500, 30.0)}
    expected = whole(model, rows, 10, monkeypatch, **given)
    found = ft.select(model, rows, 10, prefilter=None, passes=50, **given)
    assert found.verified
    np.testing.assert_array_equal(found.indices, expected.indices)


def test_on_partitions(in_parts, model, known, pool, noise):
    dask = pytest.importorskip("dask")
    array = pytest.importorskip("dask.array")
    rows = np.concatenate([pool, pool])
    noise = np.concatenate([noise * 2, noise])
    parts = array.from_array(rows, chunks=((250, 1, 349), 3))
    with dask.config.set(scheduler="synchronous"):
        for strategy in ("maxdet", "top", "error"):
            given = {"strategy": strategy, "labeled": known, "noise": noise, "passes": 50}
            found = ft.dask.select(parts, model, 8, **given)
            expected = ft.select(model, rows, 8, prefilter=None, **given)
            np.testing.assert_array_equal(found.indices, expected.indices)
            assert found.indices.min() >= 300


def test_pools_of_files_and_columns_of_frames(model, known, pool, noise, tmp_path):
    for i in range(3):
        np.save(tmp_path / f"{i}.npy", pool[100 * i : 100 * (i + 1)])
    expected = ft.select(model, pool, 8, noise=noise, labeled=known)
    for rows in (ft.Pool(tmp_path), pandas.DataFrame(pool)):
        for given in (noise, pandas.Series(noise), noise.tolist()):
            found = ft.select(model, rows, 8, noise=given, labeled=known)
            np.testing.assert_array_equal(found.indices, expected.indices)


# ---- campaigns ----


def test_a_campaign_goes_by_noise_and_its_control_does_not(pool, noise):
    labels = pool[:, 0] ** 2 + pool[:, 1]
    fit = {"hidden": (4,), "epochs": 20, "strength": 1e-2}
    given = {"oracle": labels, "batch": 6, "fit": fit}
    learner = ft.ActiveLearner(pool, **given, select={"noise": noise}, random_control=True)
    learner.run(rounds=3)
    first, second, _ = (np.array(record["rows"]) for record in learner._rounds.state.rounds)
    with_usual = ft.ActiveLearner(pool, **given)
    with_usual.run(rounds=2)
    rounds = with_usual._rounds.state.rounds
    assert rounds[0]["rows"] == first.tolist()  # by chance
    assert rounds[1]["rows"] != second.tolist()
    assert noise[second].mean() < noise[rounds[1]["rows"]].mean()


@pytest.mark.parametrize("begun", [False, True])
def test_a_campaign_and_its_control_learn_labels_as_much_as_they_tell(begun, pool, noise, monkeypatch):
    fits, unpatched = [], ft.fit

    def fit(X, y, *, sample_weight=None, **settings):
        fits.append((X, sample_weight))
        return unpatched(X, y, sample_weight=sample_weight, **settings)

    monkeypatch.setattr("fasttangent.model.fit.fit", fit)
    labels, X = pool[:, 0] ** 2 + pool[:, 1], pool[:12] + 0.5
    known = (X, X[:, 0]) if begun else (None, None)
    given = {"oracle": labels, "batch": 6, "fit": {"hidden": (4,), "epochs": 20, "strength": 1e-2}}
    learner = ft.ActiveLearner(pool, *known, **given, select={"noise": noise.tolist()}, random_control=True)
    learner.run(rounds=3)
    weights = {tuple(row): 1 / own for row, own in zip(pool, noise, strict=True)}
    weights |= {tuple(row): 1.0 for row in X}
    assert len(fits) >= 6
    for rows, found in fits:
        np.testing.assert_array_equal(found, [weights[tuple(row)] for row in rows])
    fits.clear()
    ft.ActiveLearner(pool, **given).run(rounds=1)
    assert [found for _, found in fits] == [None]


def test_a_campaign_remembers_noise_and_refuses_it_early(pool, noise, tmp_path):
    given = {"oracle": pool[:, 0], "batch": 6, "fit": {"hidden": (4,), "epochs": 20, "strength": 1e-2}}
    learner = ft.ActiveLearner(pool, **given, folder=tmp_path / "c", select={"noise": noise})
    learner.run(rounds=1).close()
    with pytest.raises(ValueError, match="noise"):
        ft.ActiveLearner(pool, **given, folder=tmp_path / "c", select={"noise": noise + 1})
    with pytest.raises(ValueError, match=r"noise must have shape \(300,\)"):
        ft.ActiveLearner(pool, **given, select={"noise": np.ones(3)})
    with pytest.raises(ValueError, match="noise must be None for strategy 'lcmd'"):
        ft.ActiveLearner(pool, **given, strategy="lcmd", select={"noise": noise})
    with pytest.raises(ValueError, match="'noise' only with a strategy of `select`"):
        ft.ActiveLearner(pool, **given, strategy=lambda *a, **k: None, select={"noise": noise})


def test_the_last_batch_of_a_campaign_is_as_large_as_the_groups_of_the_least_noisy_copies_allow(pool):
    rows, noise = np.concatenate([pool[:6], pool[:6]]), np.repeat([4.0, 1.0], 6)
    groups = np.array([0] * 6 + [1, 2, 3, 4, 5, 6])
    learner = ft.ActiveLearner(
        rows, pool[20:40], pool[20:40, 0], batch=12, fit={"hidden": (4,), "epochs": 20, "strength": 1e-2},
        select={"noise": noise, "groups": groups, "per_group": 1},
    )  # fmt: skip
    assert sorted(learner.ask()) == [6, 7, 8, 9, 10, 11]


# ---- what is refused ----


def test_which_strategies_know_noise():
    assert TAKERS == ["error", "variance", "bait", "maxdet", "sample", "top", "egl"]


@pytest.mark.parametrize("strategy", OTHERS)
def test_others_refuse_it_by_name(strategy, model, pool, noise, known):
    takers = "'error', 'variance', 'bait', 'maxdet', 'sample', 'top' and 'egl'"
    instead = "" if strategy == "random" else "; weight=1 / noise makes noisy rows less far"
    words = f"^noise must be None for strategy '{re.escape(strategy)}', .* it is for strategies {takers}{instead}$"
    with pytest.raises(ValueError, match=words):
        ft.select(model, pool, 3, strategy=strategy, noise=noise, labeled=known)
    if strategy != "random":
        assert len(ft.select(model, pool, 3, strategy=strategy, weight=1 / noise, labeled=known)) == 3


@pytest.mark.parametrize("strategy", ["top", "sample"])
def test_nobody_knows_what_noise_takes_of_a_given_weight(strategy, model, pool, noise):
    with pytest.raises(ValueError, match="where weight is an array; divide the weight"):
        ft.select(model, pool, 3, strategy=strategy, weight=np.ones(300), noise=noise)


@pytest.mark.parametrize(
    ("noise", "error", "words"),
    [
        (np.ones(29), ValueError, r"noise must have shape \(30,\) to match the pool, got shape \(29,\)"),
        (np.ones((30, 1)), ValueError, r"noise must have shape \(30,\)"),
        ([1.0] * 29 + [np.nan], ValueError, "noise must be finite and > 0, got nan in row 29; exclude="),
        ([1.0, 0.0] * 15, ValueError, "noise must be finite and > 0, got 0.0 in row 1"),
        ([-1] * 30, ValueError, "noise must be finite and > 0, got -1.0 in row 0"),
        ([np.inf] * 30, ValueError, "noise must be finite and > 0, got inf in row 0"),
        (["a"] * 30, TypeError, "noise must hold numbers"),
        (np.ma.masked_array(np.ones(30), np.arange(30) == 3), ValueError, "noise must have no masked values"),
    ],
)
def test_bad_noise(noise, error, words, model):
    E = np.arange(120.0).reshape(30, 4)
    with pytest.raises(error, match=words):
        ft.select_embeddings(E, 2, strategy="variance", noise=noise)
    with pytest.raises(error, match=words):
        ft.select(model, E[:, :3], 2, strategy="top", noise=noise)


def test_one_number_is_of_vectors_alone(model, pool):
    with pytest.raises(ValueError, match=r"noise must have shape \(300,\) to match the pool, got shape \(\)"):
        ft.select(model, pool, 2, strategy="top", noise=4.0)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (
            {"strategy": "lcmd", "noise": [1.0] * 30},
            "noise must be left out for strategy 'lcmd', got an array; weight=1 / noise",
        ),
        ({"strategy": "maxdet"}, "noise must be the variance of a label for strategy 'maxdet', got None"),
        (
            {"noise": [1.0] * 30, "labeled": [[1.0] * 4]},
            "labeled_noise must be given with labeled where noise is an array",
        ),
        ({"noise": 1.0, "labeled_noise": 1.0}, "labeled_noise must be left out without labeled, got 1.0"),
        (
            {"strategy": "lcmd", "labeled": [[1.0] * 4], "labeled_noise": 1.0},
            "labeled_noise must be left out without use to strategy 'lcmd'",
        ),
        (
            {"noise": 1.0, "labeled": [[1.0] * 4], "labeled_noise": [1.0, 2.0]},
            r"labeled_noise must have shape \(1,\) to match labeled, got shape \(2,\)",
        ),
        (
            {"noise": 1.0, "labeled": [[1.0] * 4], "labeled_noise": [0.0]},
            "labeled_noise must be finite and > 0, got 0.0 in row 0$",
        ),
        (
            {"noise": 1.0, "labeled": [[1.0] * 4], "labeled_noise": -1},
            "labeled_noise must be a finite number > 0",
        ),
    ],
)
def test_noise_of_vectors(given, words):
    with pytest.raises(ValueError, match=words):
        ft.select_embeddings(np.arange(120.0).reshape(30, 4), 2, **{"strategy": "variance", **given})
