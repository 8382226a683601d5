"""Picking rows: ties, missing values, probabilities, refusals."""

import itertools

import numpy as np
import pytest

import fasttangent as ft
from fasttangent.selection import STRATEGIES, pick


@pytest.fixture(scope="module")
def pool():
    return np.random.default_rng(1).normal(size=(200, 3)) * [1, 20, 0.03] + [0, 5, -1]


# ---- top ----


@pytest.mark.parametrize("k", [1, 2, 3, 5, 8, 9])
def test_top_breaks_ties_by_row_number(k):
    scores = np.array([1.0, 3.0, 2.0, 3.0, 0.0, 2.0, 3.0, 2.0, 1.0])
    expected = sorted(range(9), key=lambda i: (-scores[i], i))
    assert pick(scores, k, "top").tolist() == expected[:k]


def test_top_against_sorting():
    rng = np.random.default_rng(0)
    for n in (1, 2, 17, 400):
        scores = rng.integers(0, 20, n).astype(float)  # many ties
        scores[rng.uniform(size=n) < 0.2] = np.nan
        order = sorted(np.flatnonzero(~np.isnan(scores)), key=lambda i: (-scores[i], i))
        for k in range(1, len(order) + 1, max(1, len(order) // 5)):
            assert pick(scores, k, "top").tolist() == order[:k]


def test_infinite_scores_are_the_highest():
    assert pick(np.array([1.0, np.inf, 2.0, np.nan]), 2, "top").tolist() == [1, 2]


# ---- what holds for every strategy ----


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_rows_without_a_score_are_never_picked(strategy):
    scores = np.random.default_rng(0).uniform(1, 2, 50)
    scores[::3] = np.nan
    for seed in range(20):
        picks = pick(scores, 33, strategy, seed)
        assert not np.isnan(scores[picks]).any()
        assert len(set(picks.tolist())) == 33
    with pytest.raises(
        ValueError, match="k must be at most the 33 rows of the pool that can be picked, got 34"
    ):
        pick(scores, 34, strategy)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_selection(strategy, model, pool):
    picks = ft.select(model, pool, 12, strategy=strategy, seed=4)
    assert picks.indices.dtype == np.int64
    assert picks.scores.dtype == np.float64
    assert len(picks) == len(picks.indices) == len(set(picks.indices.tolist())) == 12
    assert picks.strategy == strategy
    assert picks.trusted
    np.testing.assert_array_equal(picks.scores, model.curiosity(pool)[picks.indices])
    again = ft.select(model, pool, 12, strategy=strategy, seed=4, threads=2)
    np.testing.assert_array_equal(again.indices, picks.indices)
    if strategy == "top":
        assert (np.diff(picks.scores) <= 0).all()
        assert picks.scores[-1] == np.sort(model.curiosity(pool))[-12]
    else:
        others = [ft.select(model, pool, 12, strategy=strategy, seed=s).indices.tolist() for s in range(3)]
        assert picks.indices.tolist() not in others


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_row_can_be_asked_for(strategy, model, pool):
    assert sorted(ft.select(model, pool, 200, strategy=strategy).indices) == list(range(200))


def test_sampling_is_the_default(model, pool):
    assert ft.select(model, pool, 3).strategy == "sample"


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_labelled_rows_and_bad_rows_are_left_out(strategy, model, pool):
    rows = pool.copy()
    rows[7] = np.nan
    rows[[20, 30]] = 0.0
    labelled = np.vstack([rows[40:60], [[-0.0, 0.0, 0.0]]])
    left_out = {7, 20, 30, *range(40, 60)}
    with pytest.warns(UserWarning, match="1 row holds a value that is not finite"):
        picks = ft.select(model, rows, 177, strategy=strategy, labeled=labelled)
    assert set(picks.indices.tolist()) == set(range(200)) - left_out
    with (
        pytest.warns(UserWarning, match="not finite"),
        pytest.raises(ValueError, match="at most the 177 rows"),
    ):
        ft.select(model, rows, 178, strategy=strategy, labeled=labelled)


# ---- probabilities ----


def inclusion_probabilities(weights, k):
    """Of drawing k rows one after the other, each time in proportion to the weights of those left."""
    total = np.zeros(len(weights))
    for order in itertools.permutations(range(len(weights)), k):
        probability, left = 1.0, weights.sum()
        for i in order:
            probability *= weights[i] / left
            left -= weights[i]
        total[list(order)] += probability
    return total


@pytest.mark.parametrize("k", [1, 2, 4])
def test_sampling_has_the_right_probabilities(k):
    weights, draws = np.array([1.0, 2.0, 0.5, 8.0, 4.0, 1e-3]), 4000
    expected = inclusion_probabilities(weights, k)
    assert expected.sum() == pytest.approx(k)
    counts = np.zeros(6)
    for seed in range(draws):
        counts[pick(weights, k, "sample", seed)] += 1
    deviation = np.sqrt(expected * (1 - expected) / draws) + 0.5 / draws
    assert (abs(counts / draws - expected) <= 4.5 * deviation).all()


def test_the_first_row_drawn_is_drawn_in_proportion_to_its_score():
    weights, draws = np.array([1.0, 3.0, 6.0]), 4000
    first = np.bincount([pick(weights, 2, "sample", seed)[0] for seed in range(draws)], minlength=3)
    expected = weights / 10
    assert (abs(first / draws - expected) <= 4.5 * np.sqrt(expected * (1 - expected) / draws)).all()


def test_random_is_uniform():
    draws, counts = 4000, np.zeros(5)
    for seed in range(draws):
        counts[pick(np.array([0.0, 1e9, 1.0, 1.0, 1e-9]), 2, "random", seed)] += 1
    assert (abs(counts / draws - 0.4) <= 4.5 * np.sqrt(0.24 / draws)).all()


def test_sampling_does_not_depend_on_the_scale_of_the_scores():
    scores = np.random.default_rng(0).uniform(1, 2, 30)
    for scale in (1e-300, 1e300):
        np.testing.assert_array_equal(pick(scores * scale, 5, "sample", 1), pick(scores, 5, "sample", 1))


def test_rows_of_score_0_are_drawn_last_and_with_a_warning():
    scores = np.array([0.0, 2.0, 0.0, 1.0, 0.0, np.nan])
    for seed in range(20):
        assert set(pick(scores, 2, "sample", seed).tolist()) == {1, 3}
    with pytest.warns(UserWarning, match="only 2 rows have a curiosity above 0"):
        picks = pick(scores, 4, "sample")
    assert set(picks[:2].tolist()) == {1, 3}
    assert set(picks[2:].tolist()) < {0, 2, 4}


# ---- refusals ----


@pytest.mark.parametrize(
    ("arguments", "error", "fragment"),
    [
        ({"k": 201}, ValueError, "k must be at most the 200 rows of the pool, got 201"),
        ({"k": 0}, ValueError, "k must be a whole number >= 1, got 0"),
        ({"k": -1}, ValueError, "k must be a whole number >= 1, got -1"),
        ({"k": 2.5}, TypeError, "k must be a whole number >= 1, got 2.5"),
        ({"k": "all"}, TypeError, "k must be a whole number"),
        ({"k": True}, TypeError, "k must be a whole number"),
        ({"strategy": "tops"}, ValueError, "did you mean 'top'?"),
        ({"strategy": "Random"}, ValueError, "did you mean 'random'?"),
        ({"pool": np.ones((5, 2))}, ValueError, "pool has 2 columns but the model was fitted on 3"),
        ({"pool": np.ones(5)}, ValueError, "pool must have shape (rows, columns)"),
        ({"pool": [["a", "b", "c"]]}, TypeError, "pool must hold numbers"),
        ({"labeled": np.ones((5, 2))}, ValueError, "labeled has 2 columns"),
        ({"pool": np.empty((0, 3)), "k": 1}, ValueError, "k must be at most the 0 rows"),
    ],
)
def test_refusals(model, pool, arguments, error, fragment):
    given = {"pool": pool, "k": 5, **arguments}
    with pytest.raises(error) as caught:
        ft.select(model, given.pop("pool"), given.pop("k"), **given)
    assert fragment in str(caught.value)
