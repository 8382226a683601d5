"""Pools that are passed through: the same picks whatever their chunks and the order of their rows, and what is kept."""

from itertools import pairwise

import numpy as np
import pytest
from helpers.pools import Chunks, selected

import fasttangent as ft
from fasttangent.active import candidates, pool, smallest
from fasttangent.active.chance import PICKING, THINNING, chances, exponential
from fasttangent.active.smallest import Ranks, Smallest
from fasttangent.active.strategies.table import STRATEGIES
from fasttangent.common.duplicates import row_keys

STREAMED = ("top", "sample", "random", "egl")


@pytest.fixture
def few(monkeypatch):
    """As if little could be kept."""
    monkeypatch.setattr(candidates, "HELD", 1)
    monkeypatch.setattr(smallest, "ROOM", 5)
    monkeypatch.setattr(pool, "PIECE", 13)


def rows_with_everything():
    """300 rows, among them copies, rows without a number and rows that are like labelled ones."""
    rng = np.random.default_rng(3)
    rows = rng.normal(size=(300, 3)) * [1, 20, 0.03] + [0, 5, -1]
    rows[100:140] = rows[:40]
    rows[[5, 77]] = np.nan
    return rows


# ---- chance ----


def test_chances_are_uniform_and_know_nothing_of_each_other():
    keys = np.arange(20_000, dtype=np.uint64)
    drawn = [chances(keys, seed, purpose) for seed in (0, 1) for purpose in (PICKING, THINNING)]
    for bits in drawn:
        counts = np.bincount((bits >> np.uint64(60)).astype(int), minlength=16)
        assert ((counts - 1250) ** 2 / 1250).sum() < 45  # chi-squared with 15 degrees of freedom
    assert np.max(abs(np.corrcoef([bits.astype(float) for bits in drawn]) - np.eye(4))) < 0.03
    sizes = exponential(drawn[0])
    assert abs(sizes.mean() - 1) < 0.03
    assert sizes.min() > 0
    extremes = exponential(np.array([0, 2**64 - 1], np.uint64))
    assert np.isfinite(extremes).all()
    assert (extremes > 0).all()


def test_chances_belong_to_a_key():
    keys = np.random.default_rng(0).integers(0, 2**64, 100, np.uint64)
    np.testing.assert_array_equal(chances(keys, 7)[::3], chances(keys[::3], 7))


# ---- what is kept ----


@pytest.mark.parametrize("m", [1, 5, 40, 200])
@pytest.mark.parametrize("distinct", [10, 60, 10_000])
def test_the_smallest_are_kept_whatever_the_portions(few, m, distinct):
    rng = np.random.default_rng(0)
    rows = rng.integers(0, distinct, (500, 1)).astype(float)
    keys, numbers = row_keys(rows), np.arange(500)
    value, tie = np.floor(rows[:, 0] / 3) % 5, chances(keys, 0) >> np.uint64(62)  # many equal ones
    value[rows[:, 0] == 7] = np.nan
    first = [i for i in range(500) if rows[i, 0] not in rows[:i, 0] and rows[i, 0] != 7]
    expected = sorted(first, key=lambda i: (value[i], tie[i], i))[:m]

    def gathered(edges):
        kept = Smallest(m)
        for a, b in pairwise(edges):
            kept.add(Ranks(value[a:b], tie[a:b]), numbers[a:b], rows[a:b], keys[a:b])
        return kept

    for edges in ([0, 500], list(range(0, 501, 10)), [0, 1, 2, 300, 499, 500]):
        kept = gathered(edges)
        assert kept.rows().number.tolist() == expected
        assert kept.complete == (len(first) <= m)
    edges = sorted({0, 500, *rng.integers(0, 500, 6)})
    pieces = [gathered([a, b]) for a, b in pairwise(edges)]
    last = pieces.pop()
    for piece in pieces[::-1]:  # from the end
        last = piece.merge(last)
    assert last.rows().number.tolist() == expected


def test_different_rows_of_one_key_are_both_kept():
    rows = np.arange(6.0)[:, None]
    kept = Smallest(10)
    kept.add(Ranks(np.zeros(6), np.zeros(6, np.uint64)), np.arange(6), rows, np.zeros(6, np.uint64))
    assert kept.rows().number.tolist() == [0, 1, 2, 3, 4, 5]


# ---- how a pool is read ----


@pytest.mark.parametrize("sizes", [(1,), (7, 1, 30), (64,), (63, 2), (1000,)])
@pytest.mark.parametrize("n", [1, 64, 129, 300])
def test_parts_have_one_size_whatever_the_chunks(sizes, n):
    rows = np.arange(2.0 * n).reshape(n, 2)
    found = list(pool.parts(Chunks(rows, sizes), 64))
    assert [start for start, _ in found] == list(range(0, n, 64))
    assert all(len(some) == 64 for _, some in found[:-1])
    np.testing.assert_array_equal(np.concatenate([some for _, some in found]), rows)


# ---- picks ----


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("sizes", [(1,), (7, 1, 30), (300,)])
def test_chunks_do_not_matter(strategy, sizes, few, model, data):
    rows = rows_with_everything()
    rows[40:43] = data[0][:3]
    for more in ({}, {"prefilter": 40}, {"prefilter": None}, {"exclude": np.arange(20, 30)}):
        given = {"strategy": strategy, "labeled": data[0], "seed": 2, **more}
        with pytest.warns(UserWarning, match="2 rows hold"):
            expected = ft.select(model, rows, 12, **given)
        with pytest.warns(UserWarning, match="2 rows hold"):
            found = selected(model, Chunks(rows, sizes), 12, **given)
        np.testing.assert_array_equal(found.indices, expected.indices)
        np.testing.assert_array_equal(found.scores, expected.scores)
        assert found.candidates == expected.candidates
        assert not {5, 77, 40, 41, 42, *range(100, 140), *more.get("exclude", ())} & {*found.indices} - (
            {*range(120, 130)} if "exclude" in more else set()
        )


@pytest.mark.parametrize("strategy", [*STREAMED, "kcenter", "maxdet"])
def test_the_order_of_the_rows_does_not_matter(strategy, few, model, data):
    """Nor do rows that come or go, where they are not among those drawn."""
    rows = np.delete(rows_with_everything(), [5, 77], axis=0)
    order = np.random.default_rng(0).permutation(len(rows))
    given = {"strategy": strategy, "labeled": data[0], "prefilter": 40, "seed": 1}
    one = ft.select(model, rows, 12, **given).indices
    other = ft.select(model, rows[order], 12, **given).indices
    np.testing.assert_array_equal(rows[one], rows[order][other])


@pytest.mark.parametrize("strategy", STREAMED)
def test_nothing_but_the_picks_is_taken(strategy, few, model, data):
    rows = Chunks(np.random.default_rng(0).normal(size=(5000, 3)))
    selected(model, rows, 12, strategy=strategy, labeled=data[0])
    assert rows.most == 12
    assert rows.passes == 1


@pytest.mark.parametrize("strategy", ["top", "sample"])
def test_the_first_of_equals_stands_for_all_also_by_weights_of_its_own(strategy, few, model):
    """A copy of a great weight is no candidate, however many there are."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(400, 3))
    rows[200:] = rows[rng.integers(0, 50, 200)]
    weight = rng.uniform(1, 2, 400)
    weight[200:] += 100
    alone = ft.select(model, rows[:200], 20, strategy=strategy, weight=weight[:200]).indices
    found = selected(model, Chunks(rows), 20, strategy=strategy, weight=weight)
    np.testing.assert_array_equal(found.indices, alone)
    with pytest.raises(ValueError, match=r"k must be at most the 200 rows .* 200 equal an earlier row"):
        ft.select(model, rows, 201, strategy=strategy, weight=weight)


def test_a_thinned_pool_is_thinned_evenly(few, model):
    """Every different row has the same chance, also one that stands for many."""
    rng = np.random.default_rng(0)
    rows = np.concatenate([rng.normal(size=(40, 3)), np.repeat(rng.normal(size=(1, 3)), 60, axis=0)])
    times = np.zeros(100)
    for seed in range(1000):
        picks = ft.select(model, rows, 10, strategy="greedy-x", prefilter=10, seed=seed)
        assert picks.candidates == 10
        times[picks.indices] += 1
    assert (times[41:] == 0).all()
    chance = 10 / 41
    assert (abs(times[:41] / 1000 - chance) < 4.5 * np.sqrt(chance * (1 - chance) / 1000)).all()
