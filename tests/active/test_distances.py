"""Spreading strategies against their definitions, row by row."""

from itertools import count

import numpy as np
import pytest

from fasttangent.active import distances
from fasttangent.active.chance import DRAWING, chances, exponential
from fasttangent.active.distances import CHUNK, k_center, k_means_plus_plus, lcmd

# ---- slow twins: all distances, one pick after the other ----


def naive(E, k, choose, known=None, weight=None):
    """`choose` is given w, squared distances, number of the nearest centre (all None without one) and who is free."""
    E = np.asarray(E, np.float64)
    centres = [] if known is None else list(np.asarray(known, np.float64))
    w, free, picks = np.ones(len(E)) if weight is None else weight, np.ones(len(E), bool), []
    for _ in range(k):
        squared = nearest = None
        if centres:
            all_squared = np.array([((E - c) ** 2).sum(axis=1) for c in centres])
            squared, nearest = all_squared.min(axis=0), all_squared.argmin(axis=0)
        i = choose(E, w, squared, nearest, free)
        picks.append(int(np.argmax(free)) if i is None else i)
        free[picks[-1]] = False
        centres.append(E[picks[-1]])
    return picks


def largest(values, free):
    """The first of the largest free values, None where that is zero."""
    values = np.where(free, values, -1)
    return int(np.argmax(values)) if values.max() > 0 else None


def farthest(E, w, squared, nearest, free):
    return largest(w * (np.sum(E * E, axis=1) if squared is None else squared), free)


def farthest_of_largest(E, w, squared, nearest, free):
    if squared is None:
        return farthest(E, w, squared, nearest, free)
    sums = np.bincount(nearest, weights=w * squared)
    return largest(np.where(sums[nearest] == sums.max(), w * squared, 0), free)


def by_chance(seed):
    """The row of the smallest exponential variable of the rate w d^2."""
    steps = count(DRAWING)

    def choose(E, w, squared, nearest, free):
        waits = exponential(chances(np.arange(len(E), dtype=np.uint64), seed, next(steps)))
        return largest(w * (1.0 if squared is None else squared) / waits, free)

    return choose


def plus_plus(E, k, known=None, weight=None, *, threads=None):
    return k_means_plus_plus(E, k, np.arange(len(E), dtype=np.uint64), 3, known, weight, threads=threads)


STRATEGIES = {
    "k_center": (k_center, lambda: farthest),
    "lcmd": (lcmd, lambda: farthest_of_largest),
    "k_means_plus_plus": (plus_plus, lambda: by_chance(3)),
}
every_strategy = pytest.mark.parametrize("name", STRATEGIES)


def agree(name, E, k, known=None, weight=None):
    """The picks, after comparing them with the twin's."""
    ours, twin = STRATEGIES[name]
    picks = ours(E, k, known, weight)
    assert picks.dtype == np.int64
    assert len(set(picks.tolist())) == k
    assert picks.tolist() == naive(E, k, twin(), known, weight)
    return picks


def embedding(n, D, seed=0, decay=1.0, dtype=np.float64):
    """Rows whose coordinates have falling deviations, turned, away from the origin."""
    rng = np.random.default_rng(seed)
    turn = np.linalg.qr(rng.normal(size=(D, D)))[0]
    return ((rng.normal(size=(n, D)) * (1 + np.arange(D)) ** -decay) @ turn + 0.3).astype(dtype)


# ---- the definition ----


@every_strategy
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("n", "D", "m"),
    [(1, 1, 0), (63, 1, 2), (64, 3, 0), (65, 24, 1), (300, 25, 7), (1000, 70, 0), (257, 130, 40)],
)
def test_against_all_distances(name, n, D, m, dtype):
    E = embedding(n + m, D, n, dtype=dtype)
    agree(name, E[:n], min(n, 30), E[n:] if m else None)


@every_strategy
@pytest.mark.parametrize("decay", [0.0, 3.0])
def test_with_weights(name, decay):
    E, rng = embedding(400, 40, 1, decay, np.float32), np.random.default_rng(2)
    weight = rng.exponential(size=400) * (rng.uniform(size=400) < 0.8)
    picks = agree(name, E[:380], 60, E[380:], weight[:380])
    assert (weight[picks] > 0).all()
    assert picks.tolist() != agree(name, E[:380], 60, E[380:]).tolist()


@every_strategy
def test_every_row_in_turn(name):
    E = embedding(90, 5)
    assert sorted(agree(name, E, 90)) == list(range(90))
    agree(name, E, 90, E[:3])


@every_strategy
@pytest.mark.parametrize("m", [0, 2])
def test_ties(name, m):
    """Small whole numbers: distances are exact and often equal, and clusters add up to the same."""
    rng = np.random.default_rng(5)
    for seed in range(10):
        E = np.random.default_rng(seed).integers(-2, 3, (80, 3)).astype(float)
        weight = rng.integers(0, 3, 80).astype(float)
        for w in (None, weight):
            agree(name, E, 40, rng.integers(-2, 3, (m, 3)).astype(float) if m else None, w)


def test_of_clusters_of_equal_size_all_rows_compete():
    # clusters around -10 and 10: sums 9 + 4 + 4 = 17 and 16 + 1 = 17; the farthest row of both is 10 + 4
    E = np.array([[-10 - 3.0], [-10 + 2], [-10 - 2], [10 + 4], [10 - 1]])
    known = np.array([[-10.0], [10.0]])
    assert lcmd(E, 1, known).tolist() == [3]
    assert lcmd(E, 1, known, np.array([2.0, 1, 1, 1, 1])).tolist() == [0]  # 26 against 17


def test_the_largest_cluster_wins_over_the_farthest_row():
    E = np.concatenate([np.linspace(-1, 1, 21), [105.0]])[:, None]
    known = np.array([[0.0], [103.0]])
    assert k_center(E, 1, known).tolist() == [21]
    assert lcmd(E, 1, known).tolist() == [0]  # 7.7 against 4


@every_strategy
@pytest.mark.parametrize("scale", [1e30, 1e-30, 1e-43])
def test_scales_at_the_ends_of_float32(name, scale):
    E = embedding(200, 30, dtype=np.float32)
    usual = agree(name, E, 30)
    assert agree(name, E * np.float32(2.0 ** (90 * np.sign(scale - 1))), 30).tolist() == usual.tolist()
    agree(name, E * np.float32(scale), 30, E[:5] * np.float32(scale))


@every_strategy
def test_rows_of_very_different_lengths(name):
    E = embedding(120, 6) * 10.0 ** np.random.default_rng(0).integers(-40, 3, (120, 1))
    agree(name, E, 120)
    agree(name, E, 120, np.zeros((1, 6)))


@every_strategy
def test_rows_all_the_same(name):
    E = np.full((70, 4), 1.7)
    first = naive(E, 1, STRATEGIES[name][1]())[0]
    rest = [i for i in range(70) if i != first]
    assert agree(name, E, 70).tolist() == [first, *rest]  # then the first of those left
    assert agree(name, E, 5, E[:1]).tolist() == [0, 1, 2, 3, 4]


@every_strategy
def test_rows_of_zeros(name):
    E = np.zeros((70, 4), np.float32)
    agree(name, E, 70)
    E[[3, 40]] = [[1.0], [2.0]]
    agree(name, E, 10)
    agree(name, E, 10, np.zeros((2, 4)))


@every_strategy
def test_copies_far_apart_are_one_row(name):
    E = np.repeat(embedding(20, 4), 5, axis=0)
    picks = agree(name, E, 20)
    assert len(set((picks // 5).tolist())) == 20


@every_strategy
def test_a_known_row_twice_changes_nothing(name):
    E = embedding(200, 12)
    once = agree(name, E, 20, E[:4])
    assert STRATEGIES[name][0](E, 20, np.vstack([E[:4], E[:4]])).tolist() == once.tolist()


@every_strategy
def test_known_rows_come_in_groups(name, monkeypatch):
    E = embedding(700, 9, dtype=np.float32)
    expected = agree(name, E[:300], 20, E[300:])
    monkeypatch.setattr(distances, "GROUP", 7)
    np.testing.assert_array_equal(STRATEGIES[name][0](E[:300], 20, E[300:]), expected)


@every_strategy
def test_all_weights_zero_leave_the_order_of_rows(name):
    assert agree(name, embedding(30, 3), 5, None, np.zeros(30)).tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("known", [None, np.array([[-1.0]])])
def test_the_first_two_picks_of_k_means_have_the_right_chances(known):
    E, w, draws = np.array([[0.0], [1.0], [3.0], [7.0]]), np.array([1.0, 2.0, 1.0, 0.5]), 4000
    first = w if known is None else w * ((E - known) ** 2)[:, 0]
    chances = np.zeros((4, 4))
    for i in range(4):
        centres = E[[i]] if known is None else np.vstack([known, E[[i]]])
        second = w * np.array([((e - centres) ** 2).min() for e in E])
        chances[i] = first[i] / first.sum() * second / second.sum()
    counts = np.zeros((4, 4))
    for seed in range(draws):
        i, j = k_means_plus_plus(E, 2, np.arange(4, dtype=np.uint64), seed, known, w, threads=1)
        counts[i, j] += 1
    deviation = np.sqrt(chances * (1 - chances) / draws) + 0.5 / draws
    assert (abs(counts / draws - chances) <= 4.5 * deviation).all()


def test_chance_belongs_to_the_keys_of_rows():
    """Whatever their order, and whichever rows are beside them."""
    E, keys = embedding(400, 6), np.arange(7, 407, dtype=np.uint64)
    picks = k_means_plus_plus(E, 20, keys, 5, E[:2])
    order = np.random.default_rng(0).permutation(400)
    np.testing.assert_array_equal(order[k_means_plus_plus(E[order], 20, keys[order], 5, E[:2])], picks)
    fewer = np.union1d(picks, np.arange(0, 400, 3))
    np.testing.assert_array_equal(fewer[k_means_plus_plus(E[fewer], 20, keys[fewer], 5, E[:2])], picks)


# ---- what must leave no trace ----


@every_strategy
def test_threads_and_chunks(name, monkeypatch):
    E = embedding(2 * CHUNK + 777, 20, dtype=np.float32)
    ours = STRATEGIES[name][0]
    weight = np.random.default_rng(0).exponential(size=len(E))
    expected = ours(E, 40, E[:3], weight, threads=1)
    for threads in (2, 3):
        np.testing.assert_array_equal(ours(E, 40, E[:3], weight, threads=threads), expected)
    monkeypatch.setattr(distances, "CHUNK", 1024)
    np.testing.assert_array_equal(ours(E, 40, E[:3], weight, threads=2), expected)


@pytest.mark.parametrize("name", ["k_center", "lcmd"])
def test_a_bound_from_few_directions_is_only_a_bound(name, monkeypatch):
    E = embedding(3000, 50, decay=0.3, dtype=np.float32)
    expected = STRATEGIES[name][0](E, 50, E[:10])
    for directions in ((1, 1), (1, 3), (20, 50)):
        monkeypatch.setattr(distances, "DIRECTIONS", directions)
        np.testing.assert_array_equal(STRATEGIES[name][0](E, 50, E[:10]), expected)


@every_strategy
def test_arguments_stay_as_they_are(name):
    E, known, weight = embedding(100, 8), embedding(5, 8, 1), np.arange(100.0)
    copies = E.copy(), known.copy(), weight.copy()
    for a in (E, known, weight):
        a.flags.writeable = False
    expected = agree(name, E, 10, known, weight)
    turned = STRATEGIES[name][0](np.asfortranarray(E), 10, np.repeat(known, 2, axis=0)[::2], weight)
    np.testing.assert_array_equal(turned, expected)
    for a, copy in zip((E, known, weight), copies, strict=True):
        np.testing.assert_array_equal(a, copy)
