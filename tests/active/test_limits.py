"""What must not be picked."""

import numpy as np
import pytest

import fasttangent as ft
from fasttangent.active.strategies.table import STRATEGIES

RNG = np.random.default_rng(0)
NOISE = {"variance": 0.3, "bait": 0.3, "maxdet": 0.3}
OF_VECTORS = ("lcmd", "kmeans++", "kcenter", "variance", "bait", "maxdet")


@pytest.fixture(scope="module")
def pool():
    return np.random.default_rng(1).normal(size=(120, 3)) * [1, 20, 0.03] + [0, 5, -1]


def picked(E, k, strategy, **given):
    return ft.select_embeddings(E, k, strategy=strategy, noise=NOISE.get(strategy), **given)


# ---- rows that must not be picked ----


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_excluded_rows_are_no_candidates(strategy, model, pool, data):
    out = np.zeros(120, bool)
    out[[0, 3, 119, *range(40, 70)]] = True
    given = {"strategy": strategy, "labeled": data[0], "seed": 2}
    found = ft.select(model, pool, 12, exclude=out, **given)
    left = np.flatnonzero(~out)
    np.testing.assert_array_equal(found.indices, left[ft.select(model, pool[left], 12, **given).indices])
    assert found.candidates == len(left)
    numbers = ft.select(model, pool, 12, exclude=np.flatnonzero(out).tolist() * 2, **given)
    np.testing.assert_array_equal(numbers.indices, found.indices)
    nothing = ft.select(model, pool, 12, exclude=[], **given)
    np.testing.assert_array_equal(nothing.indices, ft.select(model, pool, 12, **given).indices)


@pytest.mark.parametrize("strategy", OF_VECTORS)
def test_excluded_vectors(strategy):
    E, out = RNG.normal(size=(50, 6)), RNG.uniform(size=50) < 0.5
    left = np.flatnonzero(~out)
    expected = left[picked(E[left], 6, strategy).indices]
    np.testing.assert_array_equal(picked(E, 6, strategy, exclude=out).indices, expected)


def test_rows_of_weight_follow_those_left():
    E, weight = RNG.normal(size=(50, 6)), RNG.uniform(size=50)
    left = np.arange(50) % 3 > 0
    expected = np.flatnonzero(left)[picked(E[left], 6, "lcmd", weight=weight[left]).indices]
    np.testing.assert_array_equal(picked(E, 6, "lcmd", weight=weight, exclude=~left).indices, expected)


@pytest.mark.filterwarnings("error")
def test_an_excluded_row_may_be_a_bad_one_and_another_stands_for_its_copies():
    E = np.repeat(RNG.normal(size=(10, 4)), 2, axis=0)
    E[3] = np.nan
    found = picked(E, 10, "kcenter", exclude=[0, 3])
    assert sorted(found.indices) == [1, 2, *range(4, 20, 2)]
    with pytest.raises(
        ValueError, match=r"the 10 rows .* got 11: 0 are not finite .* 8 equal .*, 2 are excluded"
    ):
        picked(E, 11, "kcenter", exclude=[0, 3])


@pytest.mark.parametrize("kind", ["pandas", "polars", "arrow"])
def test_excluded_rows_of_a_frame(kind):
    pytest.importorskip({"arrow": "pyarrow"}.get(kind, kind))
    make = {
        "pandas": lambda a: __import__("pandas").Series(a),
        "polars": lambda a: __import__("polars").Series(a),
        "arrow": lambda a: __import__("pyarrow").chunked_array([a[:7], a[7:]]),
    }[kind]
    E, out = RNG.normal(size=(30, 4)), np.arange(30) % 2 > 0
    expected = picked(E, 5, "lcmd", exclude=out).indices
    for given in (out, np.flatnonzero(out)):
        np.testing.assert_array_equal(picked(E, 5, "lcmd", exclude=make(given)).indices, expected)


@pytest.mark.parametrize(
    ("exclude", "error", "words"),
    [
        (np.zeros(29, bool), ValueError, r"exclude must have shape \(30,\) to match the pool, got a mask of"),
        ([30], ValueError, "exclude must hold row numbers from 0 to 29, got 30"),
        ([3, -1], ValueError, "exclude must hold row numbers from 0 to 29, got -1"),
        ([1.0], ValueError, "exclude must be row numbers, or a mask of dtype bool, got float64"),
        ([[1]], ValueError, "exclude must be row numbers"),
        (7, ValueError, "exclude must be row numbers"),
        ("7", TypeError, "exclude must be an array"),
        (range(30), ValueError, "k must be at most the 0 rows of the pool that can be picked"),
        (np.ones(30, bool), ValueError, "30 are excluded"),
    ],
)
def test_bad_exclude(exclude, error, words):
    with pytest.raises(error, match=words):
        picked(np.arange(120.0).reshape(30, 4), 2, "lcmd", exclude=exclude)
