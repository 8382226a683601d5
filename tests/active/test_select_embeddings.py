"""Batches from vectors: those that `select` picks from the model's own, and by brute force."""

import numpy as np
import pytest

import fasttangent as ft
from fasttangent.active.distances import k_means_plus_plus
from fasttangent.common.duplicates import row_keys

RNG = np.random.default_rng(0)
X = RNG.uniform(-1, 1, (60, 3))
Y = np.sin(3 * X[:, 0]) + X[:, 1] * X[:, 2] + 0.1 * RNG.normal(size=60)
POOL = RNG.uniform(-2, 2, (700, 3)).astype(np.float32)
POOL[5], POOL[9] = np.nan, POOL[8]
STRATEGIES = ("lcmd", "kmeans++", "kcenter", "variance", "bait", "maxdet")


@pytest.fixture(scope="module")
def model():
    return ft.fit(
        X, Y, hidden=(12,), strength=1e-2, tangents=("strength", "posterior"), samples=48, dtype="float64"
    )


@pytest.mark.filterwarnings("ignore:1 row holds")
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_they_are_those_of_the_model(model, strategy, weighted):
    weight = RNG.uniform(0, 1, len(POOL)) if weighted and strategy != "bait" else None
    spread = strategy in ("lcmd", "kmeans++", "kcenter")
    kind = "gradient" if spread else "posterior"
    E = model.embed(np.nan_to_num(POOL), kind, seed=3)
    E[5] = np.nan
    options = {"labeled": model.embed(X, kind, seed=3)} if spread else {"noise": model.noise}
    found = ft.select_embeddings(E, 8, strategy=strategy, weight=weight, seed=3, **options)
    expected = ft.select(model, POOL, 8, strategy=strategy, labeled=X, weight=weight, seed=3)
    picks = expected.indices
    if strategy == "kmeans++":  # whose chance belongs to the values of what it is given
        there = np.setdiff1d(np.arange(len(E)), [5, 9])
        w = None if weight is None else weight[there]
        picks = there[k_means_plus_plus(E[there], 8, row_keys(E[there]), 3, options["labeled"], w)]
    np.testing.assert_array_equal(found.indices, picks)
    assert (found.embedding, found.candidates, found.trusted) == ("given", 698, False)
    assert (found.verified, found.shortfall) == (expected.verified, expected.shortfall) == (True, 0.0)
    assert np.isnan(found.scores).all()


@pytest.mark.filterwarnings("ignore:1 row holds")
def test_on_gradients_what_has_a_label_is_known(model):
    E, C = model.embed(np.nan_to_num(POOL), "gradient"), model.embed(X, "gradient")
    E[5] = np.nan
    noise = model.objective.strength * len(X)
    found = ft.select_embeddings(E, 8, strategy="variance", labeled=C, noise=noise, targets=C[:5])
    expected = ft.select(model, POOL, 8, strategy="variance", embedding="gradient", labeled=X, targets=X[:5])
    np.testing.assert_array_equal(found.indices, expected.indices)


def test_variance_by_brute_force():
    E, C, noise = RNG.normal(size=(40, 6)), RNG.normal(size=(5, 6)), 0.3
    known, picks = C, []
    for _ in range(4):
        left = [
            np.trace(E @ np.linalg.inv(np.eye(6) + (K := np.vstack([known, e])).T @ K / noise) @ E.T)
            for e in E
        ]
        picks.append(int(np.argmin(left)))
        known = np.vstack([known, E[picks[-1]]])
    assert ft.select_embeddings(E, 4, strategy="variance", labeled=C, noise=noise).indices.tolist() == picks


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, np.int64])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_dtypes_and_threads(strategy, dtype):
    E = (3 * RNG.normal(size=(3000, 9))).astype(dtype)
    options = {"noise": 1.0} if strategy in STRATEGIES[3:] else {}
    found = [ft.select_embeddings(E, 20, strategy=strategy, threads=t, **options).indices for t in (1, 3)]
    np.testing.assert_array_equal(*found)
    assert len({tuple(E[i]) for i in found[0]}) == 20


def test_what_has_a_label_and_copies_are_not_picked():
    E = np.repeat(RNG.normal(size=(10, 4)), 2, axis=0)
    found = ft.select_embeddings(E, 7, strategy="kcenter", labeled=E[[0, 4, 8]])
    assert sorted(found.indices) == [2, 6, 10, 12, 14, 16, 18]
    with pytest.raises(ValueError, match="k must be at most the 7 rows"):
        ft.select_embeddings(E, 8, strategy="kcenter", labeled=E[[0, 4, 8]])


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"strategy": "error"}, ValueError, "strategy must be one of"),
        ({"k": 0}, ValueError, "k must be"),
        ({"k": 31}, ValueError, "k must be at most the 30 rows of E, got 31"),
        ({"E": np.zeros(3)}, ValueError, "E must"),
        ({"E": np.array([["a"]])}, (ValueError, TypeError), "E must"),
        ({"E": np.zeros((0, 3))}, ValueError, "E must have at least 1 row"),
        ({"labeled": np.zeros((3, 2))}, ValueError, "labeled must have 4 columns, as E has, got 2"),
        ({"labeled": np.full((1, 4), np.inf)}, ValueError, "labeled"),
        ({"targets": np.zeros((3, 4))}, ValueError, "targets are for strategies 'variance' and 'bait'"),
        ({"noise": 1.0}, ValueError, "noise must be left out for strategy 'lcmd', got 1.0"),
        (
            {"strategy": "variance"},
            ValueError,
            "noise must be the variance of a label for strategy 'variance'",
        ),
        ({"strategy": "maxdet", "noise": 0.0}, ValueError, "noise must be a finite number > 0"),
        ({"strategy": "bait", "noise": 1.0, "weight": np.ones(30)}, ValueError, "weight must be None"),
        ({"weight": np.zeros(30)}, ValueError, "weight must be above 0 for some row"),
        ({"weight": np.ones(29)}, ValueError, r"weight must have shape \(30,\)"),
        ({"seed": -1}, ValueError, "seed must be"),
    ],
)
def test_bad_input(options, error, words):
    arguments = {"E": np.arange(120.0).reshape(30, 4), "k": 2} | options
    with pytest.raises(error, match=words):
        ft.select_embeddings(**arguments)
