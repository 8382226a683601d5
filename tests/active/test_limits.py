"""What a batch may hold: rows that must not be picked, so many of a group; by brute force."""

import numpy as np
import pytest
from helpers.batches import OF_VECTORS, left_over, naive_gain, picked, rows_left

import fasttangent as ft
from fasttangent.active.strategies.table import STRATEGIES

RNG = np.random.default_rng(0)
BOXES = np.empty(30, object)
BOXES[:] = [np.zeros(2)] * 30


@pytest.fixture(scope="module")
def pool():
    return np.random.default_rng(1).normal(size=(120, 3)) * [1, 20, 0.03] + [0, 5, -1]


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


@pytest.mark.parametrize("strategy", ["variance", "maxdet", "lcmd"])
def test_of_excluded_rows_nothing_need_be_known(strategy):
    E, out, cost = RNG.normal(size=(30, 4)), np.arange(0, 30, 4), RNG.choice([1.0, 2.0, 5.0], 30)
    groups = RNG.choice(["a", "b", "c"], 30).astype(object)
    given = {"groups": groups, "per_group": 2, "cost": cost, "max_cost": 15}
    if strategy != "lcmd":
        given["noise"] = RNG.choice([0.1, 1.0], 30)
    for found in (given, given | {"cost": np.full(30, 2.0)}):
        without = {name: np.array(a) if np.ndim(a) else a for name, a in found.items()}
        without["groups"][out], without["cost"][out] = None, [np.nan, -1, 0, np.inf, 1e-300, 1e300, 1, 2]
        if strategy != "lcmd":
            without["noise"][out] = np.nan
        picks = [
            ft.select_embeddings(E, 5, strategy=strategy, exclude=out, **one) for one in (found, without)
        ]
        np.testing.assert_array_equal(picks[0].indices, picks[1].indices)
        assert picks[0].cost == picks[1].cost
    with pytest.raises(ValueError, match="got nan in row 1; exclude= leaves a row out"):
        ft.select_embeddings(E, 5, cost=np.where(np.arange(30) == 1, np.nan, 1), exclude=out)


@pytest.mark.parametrize("kind", ["pandas", "polars", "arrow", "chunks"])
def test_columns_of_frames(kind):
    pytest.importorskip({"arrow": "pyarrow", "chunks": "pyarrow"}.get(kind, kind))
    make = {
        "pandas": lambda a: __import__("pandas").Series(a),
        "polars": lambda a: __import__("polars").Series(a),
        "arrow": lambda a: __import__("pyarrow").array(a),
        "chunks": lambda a: __import__("pyarrow").chunked_array([a[:7], a[7:]]),
    }[kind]
    E, out = RNG.normal(size=(30, 4)), np.arange(30) % 2 > 0
    expected = picked(E, 5, "lcmd", exclude=out).indices
    for given in (out, np.flatnonzero(out)):
        np.testing.assert_array_equal(picked(E, 5, "lcmd", exclude=make(given)).indices, expected)
    sites, cost = np.array(["x", "y", "z"])[np.arange(30) % 3], np.arange(30.0) + 1
    expected = picked(E, 5, "lcmd", groups=sites, per_group=2, cost=cost)
    found = picked(E, 5, "lcmd", groups=make(sites.tolist()), per_group=2, cost=make(cost))
    np.testing.assert_array_equal(found.indices, expected.indices)
    assert found.cost == expected.cost


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


# ---- so many of a group ----


def naive_spread(E, k, strategy, group, per_group, known=()):
    n, picks = len(E), []
    for _ in range(k):
        free = rows_left(group, per_group, picks, n)
        centres = [*known, *E[picks]]
        distances = np.array([[np.sum((e - c) ** 2) for c in centres] for e in E]).reshape(n, -1)
        gain = distances.min(axis=1) if centres else np.sum(E * E, axis=1)
        if strategy == "lcmd" and centres:
            cluster = distances.argmin(axis=1)
            sums = [sum(gain[i] for i in free if cluster[i] == c) for c in range(len(centres))]
            free = [i for i in free if cluster[i] == np.argmax(sums)]
        picks.append(max(free, key=lambda i: gain[i]))
    return picks


def naive_telling(E, k, strategy, group, per_group):
    picks = []
    for _ in range(k):
        free = rows_left(group, per_group, picks, len(E))
        picks.append(max(free, key=lambda i: naive_gain(E, picks, i, strategy)))
    return picks


def naive_bait(E, k, group, per_group):
    wide = sum(min(2 * per_group, group.count(g)) for g in set(group))
    kept = naive_telling(E, min(2 * k, wide), "variance", group, 2 * per_group)

    def within(rows):
        return sum(min(per_group, sum(group[i] == g for i in rows)) for g in set(group))

    while len(kept) > k:
        smaller = [[i for i in kept if i != j] for j in kept]
        kept = min((rows for rows in smaller if within(rows) >= k), key=lambda rows: left_over(E, rows, 0.3))
    return kept


CASES = [(seed, k, per_group) for seed in range(6) for k, per_group in ((5, 1), (7, 2), (8, 3))]


def case(seed):
    rng = np.random.default_rng(seed)
    E = rng.normal(size=(40, 5)) * rng.uniform(0.3, 3, (40, 1))
    return E, np.concatenate([np.arange(7), rng.integers(0, 3, 33)]).tolist()  # three large groups


@pytest.mark.parametrize(("seed", "k", "per_group"), CASES)
@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("strategy", ["lcmd", "kcenter"])
def test_spreading_in_groups_by_brute_force(strategy, known, seed, k, per_group):
    E, group = case(seed)
    C = RNG.normal(size=(3, 5)) if known else None
    found = picked(E, k, strategy, groups=group, per_group=per_group, labeled=C)
    expected = naive_spread(E, k, strategy, group, per_group, () if C is None else C)
    assert found.indices.tolist() == expected


@pytest.mark.parametrize(("seed", "k", "per_group"), CASES)
@pytest.mark.parametrize("strategy", ["variance", "maxdet", "bait"])
def test_telling_in_groups_by_brute_force(strategy, seed, k, per_group):
    E, group = case(seed)
    found = picked(E, k, strategy, groups=group, per_group=per_group)
    if strategy == "bait":
        expected = naive_bait(E, k, group, per_group)
    else:
        expected = naive_telling(E, k, strategy, group, per_group)
    assert found.indices.tolist() == expected


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_no_group_has_more_than_its_share(strategy, model, pool, data):
    group = np.array(["a", "b", "c", "d"])[np.minimum(np.arange(120) // 30, 3)]
    given = {"strategy": strategy, "labeled": data[0], "seed": 2, "groups": group}
    for k, per_group in ((8, 2), (11, 3)):
        found = [ft.select(model, pool, k, per_group=per_group, threads=t, **given).indices for t in (1, 3)]
        np.testing.assert_array_equal(*found)
        assert len(set(found[0].tolist())) == k
        assert np.unique(group[found[0]], return_counts=True)[1].max() <= per_group
    with pytest.raises(
        ValueError, match="k must be at most 8, as 120 rows of 4 groups can be picked and per_g"
    ):
        ft.select(model, pool, 9, per_group=2, **given)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_share_of_k_is_no_limit(strategy, model, pool, data):
    given = {"strategy": strategy, "labeled": data[0], "seed": 2}
    free = ft.select(model, pool, 9, **given)
    for groups, per_group in ((np.zeros(120), 9), (np.arange(120), 1)):
        found = ft.select(model, pool, 9, groups=groups, per_group=per_group, **given)
        np.testing.assert_array_equal(found.indices, free.indices)


@pytest.mark.parametrize("strategy", ["top", "sample", "random"])
def test_the_first_of_an_order_within_groups(strategy, model, pool):
    group, weight = np.arange(120) % 5, np.random.default_rng(0).exponential(size=120)
    given = {} if strategy == "random" else {"weight": weight}
    order = ft.select(model, pool, 120, strategy=strategy, seed=3, **given).indices
    expected = []
    for i in order:
        if len(expected) < 12 and sum(group[j] == group[i] for j in expected) < 3:
            expected.append(i)
    found = ft.select(model, pool, 12, strategy=strategy, seed=3, groups=group, per_group=3, **given)
    assert found.indices.tolist() == expected


def test_rows_without_weight_fill_a_sample_within_groups(model, pool):
    weight = np.where(np.arange(120) < 40, 1.0, 0.0)  # all of them in one group
    given = {"strategy": "sample", "weight": weight, "groups": np.arange(120) // 40, "per_group": 2}
    with pytest.warns(
        UserWarning, match="only 2 rows have a weight above 0, within the limits; the rest of the 5"
    ):
        found = ft.select(model, pool, 5, **given).indices
    assert np.bincount(found // 40).tolist()[0] == 2
    assert np.bincount(found // 40).max() == 2


def test_copies_labelled_and_excluded_rows_take_no_place_in_a_group():
    E = np.repeat(RNG.normal(size=(12, 4)), 2, axis=0)
    group = np.repeat(["x", "y", "z"], 8)
    given = {"groups": group, "labeled": E[:4], "exclude": [16, 17]}
    found = picked(E, 6, "variance", per_group=2, **given)
    assert sorted(found.indices)[:2] == [4, 6]
    with pytest.raises(
        ValueError, match="at most 8, as 9 rows of 3 groups can be picked and per_group is 3, got 9"
    ):
        picked(E, 9, "variance", per_group=3, **given)


@pytest.mark.parametrize(
    "labels",
    [
        np.array(["b", "a", "b", "c"]),
        np.array(["b", "a", "b", "c"], object),
        ["b", "a", "b", "c"],
        [2.5, -1.0, 2.5, 0.0],
        [True, 7, True, "c"],
        [("s", 1), ("s", 2), ("s", 1), ("t", 1)],
        np.array(["2020-01-02", "2020-01-01", "2020-01-02", "2021-01-01"], "M8[D]"),
    ],
)
def test_labels_of_any_kind(labels):
    if isinstance(labels, list) and isinstance(labels[0], (tuple, bool)):
        boxed = np.empty(4, object)
        boxed[:] = labels
        labels = boxed
    E = np.array([[4.0], [1.0], [3.0], [2.0]])
    assert picked(E, 3, "maxdet", groups=labels, per_group=1).indices.tolist() == [0, 3, 1]


def test_a_prefilter_that_leaves_too_few_groups(model, pool, data):
    groups = np.minimum(np.arange(120), 4)
    given = {"strategy": "kcenter", "groups": groups, "per_group": 1, "labeled": data[0]}
    assert len(ft.select(model, pool, 5, **given)) == 5
    with pytest.raises(ValueError, match=r"k must be at most .* got 5; raise prefilter, which left them"):
        ft.select(model, pool, 5, prefilter=6, **given)


@pytest.mark.parametrize(
    "given",
    [
        {"cost": [1.0]},
        {"cost": np.ones(120), "max_cost": -1},
        {"groups": [1]},
        {"exclude": [120]},
        {"noise": [1.0]},
        {"passes": 1},
        {"prefilter": 3},
    ],
)
def test_what_is_wrong_is_said_before_tangents_are_drawn(given, model, pool, data, monkeypatch):
    def drawn(*_, **__):
        raise AssertionError("tangents of noise were drawn")

    monkeypatch.setattr(ft.Model, "with_posterior", drawn)
    with pytest.raises(AssertionError):
        ft.select(model, pool, 5, strategy="variance", labeled=data[0])
    with pytest.raises(ValueError, match=next(iter(given))):
        ft.select(model, pool, 5, strategy="variance", labeled=data[0], **given)


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ({"per_group": 2}, ValueError, "per_group must be left out without groups, got 2"),
        ({"groups": range(30)}, ValueError, "per_group must be given with groups, got None"),
        (
            {"groups": range(29), "per_group": 1},
            ValueError,
            r"groups must have shape \(30,\) to match the pool",
        ),
        ({"groups": range(30), "per_group": 0}, ValueError, "per_group must be a whole number >= 1, got 0"),
        (
            {"groups": range(30), "per_group": 1.5},
            TypeError,
            "per_group must be a whole number >= 1, got 1.5",
        ),
        ({"groups": [None] * 30, "per_group": 1}, ValueError, "a label for every row, got None in row 0"),
        ({"groups": [1.0] * 29 + [np.nan], "per_group": 1}, ValueError, "every row, got nan in row 29"),
        ({"groups": [[1]] * 30, "per_group": 1}, ValueError, r"groups must have shape \(30,\)"),
        ({"groups": BOXES, "per_group": 1}, TypeError, "groups must hold labels such as numbers or text"),
        ({"groups": [0] * 30, "per_group": 1}, ValueError, "k must be at most 1, as 30 rows of 1 groups can"),
    ],
)
def test_bad_groups(given, error, words):
    with pytest.raises(error, match=words):
        picked(np.arange(120.0).reshape(30, 4), 2, "lcmd", **given)
