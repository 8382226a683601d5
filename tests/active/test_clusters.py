"""The largest clusters of pools that are looked at in parts, against their definition."""

import numpy as np
import pytest
from helpers.pools import compare_in_parts

import fasttangent as ft
from fasttangent.active import clusters, picking

K = 12


@pytest.fixture
def in_parts(monkeypatch):
    compare_in_parts(monkeypatch)


@pytest.fixture(scope="module")
def model():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(40, 3))
    return ft.fit(X, np.sin(X[:, 0]) + X[:, 1], hidden=(6,), epochs=20, dtype="float64")


KNOWN = np.random.default_rng(0).normal(size=(8, 3))


def followed(E, C, weight, picks, kind=None, can_follow=None):
    """At each step along the picks: sums of the clusters, the cluster of every row, w d^2."""
    centres, steps = list(C), []
    free, kind = np.ones(len(E), bool), np.arange(len(E)) if kind is None else kind
    for t, i in enumerate(picks):
        if centres:
            all_squared = np.array([((E - c) ** 2).sum(axis=1) for c in centres])
            nearest, value = all_squared.argmin(axis=0), weight * all_squared.min(axis=0)
        else:
            nearest, value = np.zeros(len(E), int), weight * (E**2).sum(axis=1)
        if can_follow is not None:
            free &= can_follow(picks[:t])
        value = np.where(free, value, 0)
        steps.append((np.bincount(nearest, value, max(len(centres), 1)), nearest, value))
        centres.append(E[i])
        free[kind == kind[i]] = False
    return steps


def check(E, C, weight, picks, kind, can_follow=None):
    """Each pick is the farthest row of the largest cluster, but for rounding; of equal rows the first."""
    first = np.unique(kind, return_index=True)[1]
    assert np.isin(picks, first).all()
    for i, (sums, nearest, value) in zip(picks, followed(E, C, weight, picks, kind, can_follow), strict=True):
        value = np.where(np.isin(np.arange(len(E)), first), value, 0)
        largest = sums[nearest] >= sums.max() * (1 - 1e-12)
        assert largest[i]
        assert value[i] >= value[largest].max() * (1 - 1e-12)


def without_labels(rows, labeled):
    return rows if labeled is None else rows[~(rows[:, None] == labeled).all(axis=2).any(axis=1)]


def rounded(seed, n=600):
    return np.round(np.random.default_rng(seed).normal(size=(n, 3)) * 1.5)


@pytest.mark.parametrize("labeled", [None, KNOWN])
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("weighted", [False, True])
def test_of_rows_many_of_which_are_copies(labeled, seed, weighted, in_parts, model):
    """Of equal rows the first can be picked; in the sums all count, each with its own weight."""
    rows, rng = without_labels(rounded(seed), labeled), np.random.default_rng(seed)
    weight = rng.exponential(size=len(rows)) if weighted else np.ones(len(rows))
    given = {"strategy": "lcmd", "labeled": labeled, "prefilter": None, "passes": 60}
    found = ft.select(model, rows, K, weight=weight if weighted else None, **given)
    assert found.verified
    C = [] if labeled is None else model.embed(labeled, "gradient")
    kind = np.unique(rows, axis=0, return_inverse=True)[1].ravel()
    check(model.embed(rows, "gradient"), C, weight, found.indices, kind)


@pytest.mark.parametrize("seed", range(3))
def test_copies_of_other_groups(seed, in_parts, model):
    rows, rng = rounded(seed), np.random.default_rng(seed)
    groups = rng.integers(0, 5, len(rows))
    given = {"strategy": "lcmd", "prefilter": None, "passes": 60}
    found = ft.select(model, rows, 10, groups=groups, per_group=2, **given)
    assert found.verified
    kind = np.unique(rows, axis=0, return_inverse=True)[1].ravel()

    def still(before):
        return np.bincount(groups[list(before)], minlength=5)[groups] < 2

    check(model.embed(rows, "gradient"), [], np.ones(len(rows)), found.indices, kind, still)


@pytest.mark.parametrize("seed", range(3))
def test_what_is_told_may_be_little(seed, in_parts, model, monkeypatch):
    """More passes then, and the same picks."""
    rows = np.random.default_rng(seed).normal(size=(700, 3))
    given = {"strategy": "lcmd", "labeled": KNOWN, "prefilter": None, "passes": 50}
    usual = ft.select(model, rows, K, **given)
    monkeypatch.setattr(clusters, "LINES", 0)
    few = ft.select(model, rows, K, **given)
    assert few.verified
    assert usual.passes < few.passes <= K
    np.testing.assert_array_equal(few.indices, usual.indices)


@pytest.mark.parametrize("seed", range(6))
def test_the_shortfall_is_that_of_the_largest_cluster_or_of_its_farthest_row(seed, in_parts, model):
    rows = np.random.default_rng(seed).normal(size=(3000, 3))
    found = ft.select(model, rows, 30, strategy="lcmd", labeled=KNOWN, prefilter=None, passes=2)
    assert found.passes == 2
    assert len(found) == 30
    E, C = model.embed(rows, "gradient"), model.embed(KNOWN, "gradient")
    short = 0.0
    for i, (sums, nearest, value) in zip(
        found.indices, followed(E, C, np.ones(len(E)), found.indices), strict=True
    ):
        own = sums[nearest[i]]
        if own < sums.max() * (1 - 1e-12):
            short = max(short, sums.max() / own - 1)
        else:
            short = max(short, value[nearest == nearest[i]].max() / value[i] - 1)
    assert found.verified == (short < 1e-12)
    assert found.shortfall == pytest.approx(short, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("strategy", ["lcmd", "kmeans++"])
def test_weights_of_nothing_but_a_few_rows(strategy, in_parts, model):
    """When those are picked the first of the others come."""
    rows = np.random.default_rng(1).normal(size=(400, 3))
    weight = np.zeros(400)
    weight[::8] = 1
    found = ft.select(
        model, rows, 60, strategy=strategy, prefilter=None, labeled=KNOWN, weight=weight, passes=80
    )
    held = np.setdiff1d(np.arange(400), np.arange(0, 400, 8))
    assert found.verified
    np.testing.assert_array_equal(np.sort(found.indices[:50]), np.arange(0, 400, 8))
    np.testing.assert_array_equal(found.indices[50:], held[:10])


def test_draws_do_not_depend_on_the_order_of_rows(in_parts, model, monkeypatch):
    rows = np.random.default_rng(2).normal(size=(500, 3))
    order = np.random.default_rng(3).permutation(500)
    given = {"strategy": "kmeans++", "labeled": KNOWN, "prefilter": None, "seed": 4, "passes": 30}
    found = ft.select(model, rows, 20, **given)
    turned = ft.select(model, rows[order], 20, **given)
    assert found.verified
    assert turned.verified
    np.testing.assert_array_equal(order[turned.indices], found.indices)
    monkeypatch.setattr(picking, "WHOLE", 1 << 30)
    np.testing.assert_array_equal(ft.select(model, rows, 20, **given).indices, found.indices)
    other = ft.select(model, rows, 20, **{**given, "seed": 5})
    assert not np.array_equal(other.indices, found.indices)
