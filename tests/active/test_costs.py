"""Batches that cost something: the best gain per cost, within a budget; by brute force."""

import numpy as np
import pytest
from helpers.batches import OF_VECTORS, left_over, naive_gain, picked

import fasttangent as ft
from fasttangent.active import candidates, picking, two_level
from fasttangent.active.covariances import AverageVariance
from fasttangent.active.greedy import along
from fasttangent.active.limits import Limits, Picks
from fasttangent.active.linear_model import Average, moments
from fasttangent.active.strategies.table import STRATEGIES

RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def pool():
    return np.random.default_rng(1).normal(size=(120, 3)) * [1, 20, 0.03] + [0, 5, -1]


def affordable(cost, max_cost, picks):
    spent = sum(cost[i] for i in picks)
    return [i for i in range(len(cost)) if i not in picks and spent + cost[i] <= max_cost]


def naive_with_costs(E, k, strategy, cost, max_cost, known=()):
    """The best gain per cost among what can be paid for, again and again."""
    picks = []
    while len(picks) < k and (free := affordable(cost, max_cost, picks)):
        centres = [*known, *E[picks]]
        if strategy in ("variance", "maxdet"):
            gain = np.array([naive_gain(E, picks, i, strategy) for i in range(len(E))])
        else:
            distances = np.array([[np.sum((e - c) ** 2) for c in centres] for e in E]).reshape(len(E), -1)
            gain = distances.min(axis=1) if centres else np.sum(E * E, axis=1)
        worth = gain / cost
        if strategy == "lcmd" and centres:
            cluster = distances.argmin(axis=1)
            sums = [sum(worth[i] for i in free if cluster[i] == c) for c in range(len(centres))]
            free = [i for i in free if cluster[i] == np.argmax(sums)]
        picks.append(max(free, key=lambda i: worth[i]))
    return picks


def naive_bait_with_costs(E, k, cost, max_cost):
    kept = naive_with_costs(E, 2 * k, "variance", np.where(cost <= max_cost, cost, 1e300), 2 * max_cost)
    while len(kept) > k or sum(cost[i] for i in kept) > max_cost:

        def loss(j, kept=kept):
            return (left_over(E, [i for i in kept if i != j], 0.3) - left_over(E, kept, 0.3)) / cost[j]

        worst = min(kept, key=loss)
        kept = [i for i in kept if i != worst]
    return kept


def costly(seed):
    rng = np.random.default_rng(seed)
    E = rng.normal(size=(30, 5)) * rng.uniform(0.3, 3, (30, 1))
    return E, rng.choice([0.5, 1.0, 2.5, 7.0, 40.0], 30)


@pytest.mark.parametrize("max_cost", [None, 3.0, 12.5, 70.0])
@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("strategy", ["lcmd", "kcenter", "variance", "maxdet", "bait"])
def test_gain_per_cost_by_brute_force(strategy, seed, max_cost):
    E, cost = costly(seed)
    found = picked(E, 8, strategy, cost=cost, max_cost=max_cost)
    budget = np.inf if max_cost is None else max_cost
    if strategy == "bait":
        expected = naive_bait_with_costs(E, 8, cost, budget)
    else:
        expected = naive_with_costs(E, 8, strategy, cost, budget)
    assert found.indices.tolist() == expected
    assert found.cost == sum(cost[expected]) <= budget
    assert len(found) == len(found.scores) == len(expected) <= 8


def test_a_row_dearer_than_all_may_be_takes_no_place_of_others():
    E, cost = np.array([[9.0, 0.0], [1.0, 0.0], [0.0, 2.0]]), [1.2, 1.0, 1.0]
    assert picked(E, 2, "bait", cost=cost, max_cost=1).indices.tolist() == [1]
    assert picked(E, 2, "kcenter", cost=cost, max_cost=1).indices.tolist() == [2]


@pytest.mark.parametrize("strategy", ["lcmd", "kcenter"])
def test_costs_beside_known_rows(strategy):
    E, cost = costly(9)
    C = RNG.normal(size=(3, 5))
    found = picked(E, 8, strategy, cost=cost, max_cost=20, labeled=C)
    assert found.indices.tolist() == naive_with_costs(E, 8, strategy, cost, 20, C)


@pytest.mark.parametrize("strategy", OF_VECTORS)
@pytest.mark.parametrize("seed", range(20))
def test_limits_together(strategy, seed):
    E, cost = costly(seed)
    group = np.random.default_rng(seed).integers(0, 6, 30)
    given = {"cost": cost, "groups": group, "per_group": 2, "seed": seed}
    found = picked(E, 9, strategy, max_cost=15, **given)
    assert np.bincount(group[found.indices]).max() <= 2
    assert found.cost == sum(cost[found.indices]) <= 15
    assert len(set(found.indices.tolist())) == len(found)
    full = np.bincount(group[found.indices], minlength=6)[group] == 2
    more = [i for i in affordable(cost, 15, found.indices.tolist()) if not full[i]]
    assert len(found) == 9 or not more or strategy == "bait"
    without = picked(E, 9, strategy, **given)
    assert len(without) == 9


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_costs_that_are_alike_end_a_batch_and_change_no_pick(strategy, model, pool, data):
    given = {"strategy": strategy, "labeled": data[0], "seed": 2}
    free = ft.select(model, pool, 9, **given)
    assert free.cost is None
    for cost, max_cost in ((1, None), (1, 9), (0.1, 100)):
        found = ft.select(model, pool, 9, cost=np.full(120, cost), max_cost=max_cost, **given)
        np.testing.assert_array_equal(found.indices, free.indices)
        assert found.cost == pytest.approx(9 * cost)
    found = ft.select(model, pool, 9, cost=np.full(120, 2), max_cost=13.5, **given)
    assert len(found) == 6
    assert found.cost == 12
    if strategy != "bait":
        np.testing.assert_array_equal(found.indices, free.indices[:6])


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_batch_costs_no_more_than_it_may(strategy, model, pool, data):
    cost = np.random.default_rng(5).exponential(size=120)
    given = {"strategy": strategy, "labeled": data[0], "seed": 2, "cost": cost}
    for max_cost in (0.1, 1.0, 10.0):
        found = [ft.select(model, pool, 20, max_cost=max_cost, threads=t, **given) for t in (1, 3)]
        np.testing.assert_array_equal(found[0].indices, found[1].indices)
        assert 0 < found[0].cost <= max_cost
        assert found[0].cost == sum(cost[found[0].indices])
        left = affordable(cost, max_cost, found[0].indices.tolist())
        assert len(found[0]) == 20 or not left or strategy == "bait"


def test_top_and_sample_go_by_weight_per_cost(model, pool):
    weight, cost = np.random.default_rng(0).exponential(size=(2, 120))
    for strategy in ("top", "sample"):
        found = ft.select(model, pool, 30, strategy=strategy, weight=weight, cost=cost, seed=1)
        expected = ft.select(model, pool, 30, strategy=strategy, weight=weight / (cost / cost.min()), seed=1)
        np.testing.assert_array_equal(found.indices, expected.indices)
    found = ft.select(model, pool, 30, strategy="random", cost=cost, seed=1)
    np.testing.assert_array_equal(
        found.indices, ft.select(model, pool, 30, strategy="random", seed=1).indices
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_lazy_gains_per_cost_over_many_rows(dtype):
    """Several chunks, where few rows are brought up to date for a pick."""
    rng = np.random.default_rng(0)
    E, cost = rng.normal(size=(9000, 8)).astype(dtype), rng.exponential(size=9000) + 0.01
    found = [picked(E, 25, "maxdet", cost=cost, threads=t).indices for t in (1, 3)]
    np.testing.assert_array_equal(*found)
    F, picks, P = E.astype(float), [], np.eye(8)
    for _ in range(25):
        gain = np.log1p(np.einsum("ij,jk,ik->i", F, P, F) / 0.3) / cost
        gain[picks] = -np.inf
        picks.append(int(np.argmax(gain)))
        P = np.linalg.inv(np.eye(8) + F[picks].T @ F[picks] / 0.3)
    assert found[0].tolist() == picks


def test_costs_of_any_size_and_money():
    E, cost = costly(3)
    for scale in (1e-300, 1e290):
        found = picked(E, 8, "maxdet", cost=cost * scale, max_cost=12.5 * scale)
        assert found.indices.tolist() == picked(E, 8, "maxdet", cost=cost, max_cost=12.5).indices.tolist()
    assert len(picked(E, 8, "kcenter", cost=[0.25] * 30, max_cost=1)) == 4


def test_costs_follow_their_rows():
    E, cost = np.repeat(costly(2)[0], 2, axis=0), np.repeat(costly(2)[1], 2)
    cost[1::2] = 1e-3  # a copy's cost is not looked at
    found = picked(E, 6, "variance", cost=cost, max_cost=20, exclude=[0, 1], labeled=E[4:8])
    left = [i for i in range(0, 60, 2) if i not in (0, 4, 6)]
    expected = picked(E[left], 6, "variance", cost=cost[left], max_cost=20, labeled=E[4:8])
    assert found.indices.tolist() == [left[i] for i in expected.indices]


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ({"max_cost": 2}, ValueError, "max_cost must be left out without cost, got 2; pass cost="),
        (
            {"cost": np.ones(29)},
            ValueError,
            r"cost must have shape \(30,\) to match the pool, got shape \(29,\)",
        ),
        ({"cost": 1.0}, ValueError, r"cost must have shape \(30,\)"),
        ({"cost": [1.0] * 29 + [np.nan]}, ValueError, "cost must be finite and > 0, got nan in row 29"),
        ({"cost": [1.0, 0.0] * 15}, ValueError, "cost must be finite and > 0, got 0.0 in row 1"),
        ({"cost": [-1] * 30}, ValueError, "cost must be finite and > 0, got -1.0 in row 0"),
        ({"cost": [np.inf] * 30}, ValueError, "cost must be finite and > 0, got inf in row 0"),
        ({"cost": ["a"] * 30}, TypeError, "cost must hold numbers"),
        ({"cost": [1] * 30, "max_cost": 0}, ValueError, "max_cost must be a finite number > 0, got 0"),
        ({"cost": [1] * 30, "max_cost": np.nan}, ValueError, "max_cost must be a finite number > 0, got nan"),
        (
            {"cost": np.arange(30) + 5, "max_cost": 5.5, "exclude": [0]},
            ValueError,
            "max_cost must be at least 6, the cost of the cheapest row that can be picked, got 5.5",
        ),
    ],
)
def test_bad_costs(given, error, words):
    with pytest.raises(error, match=words):
        picked(np.arange(120.0).reshape(30, 4), 2, "lcmd", **given)


def test_a_prefilter_that_leaves_nothing_to_be_paid_for(model, pool, data):
    cost = np.where(np.arange(120) < 1, 1.0, 9.0)
    given = {"strategy": "kcenter", "labeled": data[0], "cost": cost, "max_cost": 5}
    assert ft.select(model, pool, 5, **given).indices.tolist() == [0]
    with pytest.raises(
        ValueError, match=r"max_cost must be at least 9, .* got 5; raise prefilter, which left"
    ):
        ft.select(model, pool, 5, prefilter=6, **given)


def test_in_parts_the_shortfall_is_in_costs_of_the_whole_pool(model, data, monkeypatch):
    """A part whose cheapest row is cheaper than those of others measures as they do."""
    for where, name, value in (
        (candidates, "HELD", 1),
        (picking, "WHOLE", 0),
        (picking, "SAMPLE", 20),
        (two_level, "PART", 64),
        (two_level, "JOINING", 3),
    ):
        monkeypatch.setattr(where, name, value)
    rng, X = np.random.default_rng(1), data[0]
    rows = rng.normal(size=(3000, 3)) * [1, 20, 0.03] + [0, 5, -1]
    rows[:64] = rows[:64] * 2 - [0, 5, -1]  # the best, and the cheapest, which is worth nothing
    rows[0] = X[0] * (1 + 1e-9)
    cost = rng.choice([1.0, 3.0], 3000)
    cost[0] = 1e-3
    given = {"strategy": "greedy-x", "labeled": X, "cost": cost}
    found = ft.select(model, rows, 10, prefilter=None, passes=2, **given)
    E, C = (model.embed(some, "input") for some in (rows, X))
    squared = np.min([np.sum((E - c) ** 2, axis=1) for c in C], axis=0)
    short = 0.0
    for i in found.indices:
        gains = squared / cost
        short = max(short, gains.max() / gains[i] - 1)
        squared = np.minimum(squared, np.sum((E - E[i]) ** 2, axis=1))
    assert not found.verified
    assert found.shortfall == pytest.approx(short)


def test_along_picks_of_which_none_is_left_nothing_gains_more():
    E = np.random.default_rng(0).normal(size=(5, 3))
    average, limits = Average(moments(E, None, 1)), Limits(price=np.array([1.0, 50, 50, 50, 50]))
    for own in (limits, None):
        state = AverageVariance(E, average, Picks(5, 5, own), 0.1, 1)
        seen = along(state, np.array([1, 2, 3, 4, 0]))
        assert seen.best.tolist() == [-1] * 5
        assert not seen.better(np.array([1, 2, 3, 4, 0])).any()
