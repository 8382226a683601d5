"""Batches and campaigns with several members: picks by the mean of their kernels, as single models have them."""

import json

import numpy as np
import pytest
from helpers import naive
from helpers.command_line import only_json, refused, rows_of, run

import fasttangent as ft
from fasttangent.active.asked import SAMPLES
from fasttangent.active.loop import diagnostics
from fasttangent.active.strategies import informing
from fasttangent.active.strategies.table import STRATEGIES
from fasttangent.cli.tables.writing import write_table
from fasttangent.model.members import member_seeds

QUICK = {"hidden": (5,), "epochs": 20, "strength": 0.02, "dtype": "float64"}
K = 8


@pytest.fixture(scope="module")
def members(data):
    return ft.fit(*data, members=3, **QUICK).with_posterior(*data, samples=45)


@pytest.fixture(scope="module")
def plain(data):
    return ft.fit(*data, members=3, **QUICK)


@pytest.fixture(scope="module")
def pool():
    return np.random.default_rng(1).normal(size=(200, 3)) * [1, 20, 0.03] + [0, 5, -1]


def kernel(members, rows, kind, seed=0):
    """Mean of the inner products of single models."""
    dim = -(-512 // len(members.models)) if kind == "gradient" else None
    seeds = member_seeds(seed, len(members.models))
    each = [one.embed(rows, kind, dim, seed=own) for one, own in zip(members.models, seeds, strict=True)]
    return np.mean([E @ E.T for E in each], axis=0)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_strategy_works(strategy, members, pool, data):
    given = {"strategy": strategy, "labeled": data[0], "seed": 4}
    picks = ft.select(members, pool, K, **given)
    assert len(set(picks.indices.tolist())) == K
    assert picks.trusted
    np.testing.assert_array_equal(picks.scores, members.curiosity(pool)[picks.indices])
    again = ft.select(members, pool, K, threads=3, **given)
    np.testing.assert_array_equal(again.indices, picks.indices)


@pytest.mark.parametrize("strategy", ["variance", "error"])
def test_least_error_by_the_mean_kernel(strategy, members, pool):
    """Greedily: the row whose label lowers the mean variance (or error) over the pool most."""
    C, noise, picks = (
        kernel(members, pool, "posterior" if strategy == "variance" else "error"),
        members.noise,
        [],
    )
    for _ in range(K):
        gain = np.sum(C * C, axis=0) / (np.diag(C) + noise)
        gain[picks] = -np.inf
        picks.append(int(np.argmax(gain)))
        c = C[:, picks[-1]]
        C = C - np.outer(c, c) / (c[picks[-1]] + noise)
    assert ft.select(members, pool, K, strategy=strategy).indices.tolist() == picks


def test_most_information_by_the_mean_kernel(members, pool):
    C, picks = kernel(members, pool, "posterior"), []
    for _ in range(K):
        left = np.diag(C).copy()
        left[picks] = -np.inf
        picks.append(int(np.argmax(left)))
        c = C[:, picks[-1]]
        C = C - np.outer(c, c) / (c[picks[-1]] + members.noise)
    assert ft.select(members, pool, K, strategy="maxdet").indices.tolist() == picks


@pytest.mark.parametrize("kind", ["gradient", "hidden", "posterior", "input"])
def test_far_apart_by_the_mean_kernel(kind, members, pool, data):
    G = kernel(members, np.vstack([pool, data[0]]), kind, seed=2)
    square = np.diag(G)[:, None] + np.diag(G) - 2 * G
    near, picks = square[:200, 200:].min(axis=1), []
    for _ in range(K):
        picks.append(int(np.argmax(near)))
        near = np.minimum(near, square[:200, picks[-1]])
    given = {"strategy": "kcenter", "embedding": kind, "labeled": data[0], "seed": 2}
    assert ft.select(members, pool, K, **given).indices.tolist() == picks


@pytest.mark.parametrize("which", ["curiosity", "sensitivity"])
def test_by_mean_scores(which, members, pool):
    scores = np.mean([getattr(one, which)(pool) for one in members.models], axis=0)
    for strategy in ("top", "sample"):
        found = ft.select(members, pool, K, strategy=strategy, weight=which, seed=5)
        unit = members.scaling.y_scale[0] if which == "sensitivity" else 1.0
        mine = ft.select(members, pool, K, strategy=strategy, weight=abs(scores) / unit, seed=5)
        np.testing.assert_array_equal(found.indices, mine.indices)


def test_by_the_mean_squared_length_of_gradients(members, pool):
    Z = (pool - members.scaling.x_mean) / members.scaling.x_scale
    J = [
        naive.row_jacobian(one.params, Z, one.network.sizes, "tanh").reshape(200, -1)
        for one in members.models
    ]
    lengths = np.sqrt(np.mean([np.sum(j**2, axis=1) for j in J], axis=0))
    _, deviation = members.predict(pool, return_std=True)
    expected = np.argsort(-deviation * lengths)[:K]
    np.testing.assert_array_equal(ft.select(members, pool, K, strategy="egl").indices, expected)


def test_the_posterior_is_made_from_labelled_rows(plain, pool, data):
    with pytest.raises(ValueError, match="needs tangents of noise"):
        ft.select(plain, pool, K)
    made = plain.with_posterior(data[0], samples=SAMPLES)
    assert made.embed(pool).shape == (200, SAMPLES)
    expected = ft.select(made, pool, K, labeled=data[0]).indices
    np.testing.assert_array_equal(ft.select(plain, pool, K, labeled=data[0]).indices, expected)


def test_a_large_pool_is_thinned_by_variance(members, monkeypatch):
    rows = np.random.default_rng(3).normal(size=(900, 3)) * [1, 20, 0.03] + [0, 5, -1]
    monkeypatch.setattr(informing, "COMPARED", 300)
    picks = [ft.select(members, rows, K, seed=seed).indices.tolist() for seed in (0, 1)]
    assert picks[0] != picks[1]
    assert ft.select(members, rows, K, prefilter=("curiosity", 100)).candidates == 100


def test_fits_without_residuals(data):
    """A noise of 0 is no noise to divide by."""
    X = data[0][:6]
    exact = ft.fit(X, data[1][:6], members=2, hidden=(8,), strength=1e-9, settle=False, dtype="float64")
    picks = ft.select(exact.with_posterior(X, samples=8), data[0][6:], 3)
    assert len(set(picks.indices.tolist())) == 3


# ---- campaigns ----


def truth(rows):
    return np.sin(3 * rows[:, 0]) + rows[:, 1] ** 2


@pytest.mark.parametrize("start", ["cold", "warm"])
def test_a_campaign(start, tmp_path):
    pool = np.random.default_rng(0).uniform(-1, 1, (150, 2))
    fit = {"hidden": (4,), "strength": 0.02, "epochs": 20, "members": 3}
    given = {"oracle": truth, "batch": 12, "budget": 36, "start": start, "fit": fit}
    learner = ft.ActiveLearner(pool, folder=tmp_path / "c", **given)
    learner.run()
    assert [record["labels"] for record in learner.history] == [0, 12, 24, 36]
    assert isinstance(learner.model, ft.Members)
    assert len(learner.model.models) == 3
    last = learner.history[-1]
    each = [diagnostics.expected_change(one, pool) for one in learner.model.models]
    assert min(each) / 2 < last["expected_change"] < 2 * max(each)
    picks = [record["rows"] for record in learner.history]
    learner.campaign.close()
    again = ft.ActiveLearner(pool, folder=tmp_path / "c", **given)
    assert [record["rows"] for record in again.history] == picks
    assert isinstance(again.model, ft.Members)
    again.campaign.close()
    with pytest.raises(ValueError, match="fit members was 3 and is 4"):
        ft.ActiveLearner(pool, folder=tmp_path / "c", **{**given, "fit": {**fit, "members": 4}})


# ---- the command line ----


def test_from_table_to_picks(data, pool, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = ["a", "b", "c"]
    write_table("d.csv", {**dict(zip(names, data[0].T, strict=True)), "y": data[1]})
    write_table("p.csv", dict(zip(names, pool.T, strict=True)))
    quick = ["--hidden", "5", "--epochs", "20", "--strength", "0.02", "--dtype", "float64"]
    options = ["-o", "m.npz", "--members", 3, "--plot", "strengths.svg", "--json"]
    document = only_json(run("fit", "d.csv", *options, *quick).stdout)
    assert (tmp_path / "strengths.svg").exists()
    assert len(document["members"]) == 3
    assert document["certificate"]["trusted"]
    model = ft.load("m.npz")
    assert isinstance(model, ft.Members)
    assert model.feature_names == ("a", "b", "c")
    direct = ft.fit(data[0], data[1], members=3, **QUICK).with_posterior(*data, samples=SAMPLES)
    text = run("info", "m.npz").stdout
    assert "seed 0: settled, trusted" in text
    run("score", "m.npz", "p.csv", "-o", "s.csv")
    scores = rows_of("s.csv")
    np.testing.assert_allclose(scores["prediction"], direct.predict(pool), rtol=1e-12)
    np.testing.assert_allclose(scores["curiosity"], direct.curiosity(pool), rtol=1e-12)
    for strategy in ("error", "lcmd", "top"):
        run("select", "m.npz", "p.csv", "-k", K, "-o", "q.csv", "--strategy", strategy)
        expected = ft.select(direct, pool, K, strategy=strategy).indices
        assert rows_of("q.csv")["row"].astype(int).tolist() == expected.tolist()
    assert "members must be a whole number >= 1, got 0" in refused(
        "fit", "d.csv", "-o", "n.npz", "--members", 0
    )


def test_next_with_members(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pool = np.random.default_rng(0).uniform(-1, 1, (80, 2))
    write_table("p.csv", {"a": pool[:, 0], "b": pool[:, 1]})
    quick = ["--hidden", "4", "--epochs", "20", "--strength", "0.02"]
    run("next", "p.csv", "--folder", "c", "-k", 12, "-o", "q.csv", "--target", "y", "--members", 2, *quick)
    table = rows_of("q.csv")
    write_table("q.csv", {**table, "y": truth(np.column_stack([table["a"], table["b"]]))})
    run("tell", "q.csv", "--folder", "c")
    found = only_json(run("next", "--folder", "c", "-k", 5, "-o", "r.csv", "--json").stdout)
    assert found["picked"] == 5
    assert len(ft.load(found["model"]).models) == 2


def test_next_with_one_member_is_as_before(tmp_path, monkeypatch):
    """Campaigns that began before there were members go on."""
    monkeypatch.chdir(tmp_path)
    write_table("p.csv", {"a": np.arange(30.0), "b": np.arange(30.0) ** 2})
    run("next", "p.csv", "--folder", "c", "-k", 3, "-o", "q.csv", "--target", "y")
    assert "members" not in json.loads((tmp_path / "c" / "manifest.json").read_text())["settings"]["fit"]
