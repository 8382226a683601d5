"""Informing strategies against posteriors computed from scratch for every candidate."""

import numpy as np
import pytest
from helpers import relative

from fasttangent.active.covariances import bait, conditioned, max_determinant, moments, variance_reduction
from fasttangent.active.distances import CHUNK
from fasttangent.active.linear_model import root_of

# ---- slow twins: K = E E^T, the covariances of all rows, from scratch for every set ----


def left(E, targets, picks, noise):
    """Variances of the targets once the rows `picks` of E have labels: diag(K_TT - K_TS (K_SS + noise)^-1 K_ST)."""
    S = E[picks]
    cross = targets @ S.T
    inner = np.linalg.solve(S @ S.T + noise * np.eye(len(picks)), cross.T)
    return np.sum(targets * targets, axis=1) - np.sum(cross * inner.T, axis=1)


def greedy(n, k, value):
    """k rows, each the one for which value(picks with it) is largest, the first of equals."""
    picks = []
    for _ in range(k):
        values = [value([*picks, i]) if i not in picks else -np.inf for i in range(n)]
        picks.append(int(np.argmax(values)))
    return picks


def log_det(E, picks, noise, weight):
    F = E[picks] * np.sqrt(weight[picks])[:, None]
    return np.linalg.slogdet(np.eye(len(picks)) + F @ F.T / noise)[1]


def naive_max_determinant(E, k, noise, weight=None):
    w = np.ones(len(E)) if weight is None else weight
    return greedy(len(E), k, lambda picks: log_det(E, picks, noise, w))


def naive_variance_reduction(E, k, noise, targets=None, weight=None):
    T = E if targets is None else targets
    w = np.ones(len(T)) if weight is None else weight
    return greedy(len(E), k, lambda picks: -np.sum(w * left(E, T, picks, noise)))


def naive_bait(E, k, noise, targets=None):
    T = E if targets is None else targets
    picks = naive_variance_reduction(E, min(2 * k, len(E)), noise, targets)
    while len(picks) > k:
        without = [left(E, T, picks[:i] + picks[i + 1 :], noise).mean() for i in range(len(picks))]
        del picks[int(np.argmin(without))]
    return picks


def embedding(n, D, seed=0, dtype=np.float64):
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(n, D)) * rng.exponential(size=(n, 1)) / np.sqrt(1 + np.arange(D))).astype(dtype)


WEIGHT = np.random.default_rng(9).exponential(size=60) * (np.arange(60) % 5 > 0)

# ---- definitions ----


@pytest.mark.parametrize("noise", [1e-2, 1.0])
@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["plain", "weighted"])
@pytest.mark.parametrize("D", [1, 3, 17, 40])
def test_max_determinant(D, weight, noise):
    E = embedding(60, D)
    picks = max_determinant(E, 6, noise, weight)
    assert picks.dtype == np.int64
    assert picks.tolist() == naive_max_determinant(E, 6, noise, weight)


@pytest.mark.parametrize("noise", [1e-2, 1.0])
@pytest.mark.parametrize("aims", [0, 1, 25])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("D", [1, 3, 17, 40])
def test_variance_reduction(D, weighted, aims, noise):
    E, T = embedding(60, D), embedding(aims, D, 1) if aims else None
    weight = WEIGHT[1 : 1 + (aims or 60)] if weighted else None
    if weighted and not aims:
        weight = WEIGHT
    picks = variance_reduction(E, 8, noise, T, weight)
    assert picks.dtype == np.int64
    assert picks.tolist() == naive_variance_reduction(E, 8, noise, T, weight)


@pytest.mark.parametrize("aims", [0, 25])
@pytest.mark.parametrize(("n", "k"), [(40, 6), (10, 6), (5, 5), (1, 1)])
def test_bait(n, k, aims):
    E, T = embedding(n, 9), embedding(aims, 9, 1) if aims else None
    picks = bait(E, k, 0.1, T)
    assert picks.dtype == np.int64
    assert picks.tolist() == naive_bait(E, k, 0.1, T)


def test_bait_is_no_worse_than_the_first_picks():
    better = []
    for seed in range(10):
        E = embedding(80, 12, seed)
        ours, forward = bait(E, 5, 0.1), variance_reduction(E, 5, 0.1)
        better.append(left(E, E, forward, 0.1).mean() - left(E, E, ours, 0.1).mean())
    assert np.mean(better) > 0


def test_one_pick_of_max_determinant_is_the_longest_row():
    E = embedding(100, 7)
    assert max_determinant(E, 1, 0.3).tolist() == [np.argmax(np.sum(E * E, axis=1))]


def test_weights_change_the_picks():
    E = embedding(60, 17)
    for strategy in (
        lambda w: max_determinant(E, 6, 0.1, w),
        lambda w: variance_reduction(E, 6, 0.1, None, w),
    ):
        assert strategy(WEIGHT).tolist() != strategy(None).tolist()
        assert strategy(np.full(60, 2.0)).tolist() != strategy(WEIGHT).tolist()
    assert (
        variance_reduction(E, 6, 0.1, None, np.full(60, 7.0)).tolist()
        == variance_reduction(E, 6, 0.1).tolist()
    )
    assert (WEIGHT[max_determinant(E, 6, 0.1, WEIGHT)] > 0).all()


def test_weights_of_whole_numbers_are_copies_of_targets():
    E, times = embedding(50, 6), np.arange(50) % 4
    expected = variance_reduction(E, 8, 0.1, np.repeat(E, times, axis=0))
    assert variance_reduction(E, 8, 0.1, None, times.astype(float)).tolist() == expected.tolist()


def test_a_target_far_from_all_but_one_row():
    E = np.vstack([10 * np.eye(5), [[0, 0, 0, 0, 1.0]]])
    assert variance_reduction(E[:5], 1, 1.0).tolist() == [0]  # all alike: the first
    assert variance_reduction(E, 1, 1.0, np.eye(5)[[3]]).tolist() == [3]


@pytest.mark.parametrize("D", [3, 30])
def test_every_row_in_turn(D):
    E = embedding(25, D)
    assert max_determinant(E, 25, 0.5).tolist() == naive_max_determinant(E, 25, 0.5)
    assert variance_reduction(E, 25, 0.5).tolist() == naive_variance_reduction(E, 25, 0.5)
    assert bait(E, 25, 0.5).tolist() == variance_reduction(E, 25, 0.5).tolist()


@pytest.mark.parametrize("k", [1, 7])
def test_rows_that_tell_nothing_are_taken_from_the_first_on(k):
    for E in (np.zeros((9, 3)), np.zeros((9, 3), np.float32)):
        for picks in (max_determinant(E, k, 1.0), variance_reduction(E, k, 1.0), bait(E, k, 1.0)):
            assert len(set(picks.tolist())) == k
        assert max_determinant(E, k, 1.0).tolist() == variance_reduction(E, k, 1.0).tolist() == [*range(k)]
    same = np.ones((9, 3))
    assert max_determinant(same, k, 1.0).tolist() == variance_reduction(same, k, 1.0).tolist() == [*range(k)]


# ---- precision and scale ----


@pytest.mark.parametrize("scale", [2.0**40, 1.0, 2.0**-40])
def test_float32_agrees_with_float64_where_picks_are_clear(scale):
    E = embedding(400, 30, 3, np.float32)
    noise = 0.5 * scale**2
    F = (E * np.float32(scale)).astype(np.float32)
    wide = F.astype(np.float64)
    for ours in (max_determinant, variance_reduction, bait):
        assert ours(F, 20, noise).tolist() == ours(wide, 20, noise).tolist()


def test_many_picks_in_float32_reach_the_goal_of_float64():
    """Picks may part where two rows are as good; what is left of the variance may not."""
    E = embedding(1500, 40, 4, np.float32)
    wide, noise = E.astype(float), 1e-3
    narrow, exact = variance_reduction(E, 120, noise), variance_reduction(wide, 120, noise)
    assert left(wide, wide, narrow, noise).mean() <= 1.001 * left(wide, wide, exact, noise).mean()
    narrow, exact = max_determinant(E, 120, noise), max_determinant(wide, 120, noise)
    ones = np.ones(len(E))
    assert log_det(wide, narrow, noise, ones) >= 0.9999 * log_det(wide, exact, noise, ones)


@pytest.mark.parametrize("noise", [1e-12, 1e-16, 1e-18, 1e-200])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_noise_below_rounding_still_picks_rows(noise, dtype):
    E = embedding(70, 20, dtype=dtype)
    for strategy in (max_determinant, variance_reduction, bait):
        picks = strategy(E, 25, noise)
        assert len({*picks.tolist()} & {*range(70)}) == 25
        assert picks[:10].tolist() == strategy(E, 25, max(noise, 1e-14))[:10].tolist()


@pytest.mark.parametrize("seed", [0, 2, 4])
def test_rows_alike_to_rounding_still_give_picks(seed):
    """Rows 1e9 from the origin and 1 from each other, noise far below: the covariance lost its digits."""
    rng = np.random.default_rng(seed)
    E = rng.normal(size=(60, 3)) + 10.0 ** rng.uniform(6, 12)
    picks = variance_reduction(E, 57, 10.0 ** rng.uniform(-12, 0))
    assert len(set(picks.tolist())) == 57


@pytest.mark.parametrize("rank", [0, 1, 7, 20])
def test_roots_of_singular_moments(rank):
    T = embedding(rank, 20)
    T[:, 5:8] = 0
    M = T.T @ T
    R = root_of(M)
    assert relative(R @ R.T, M) <= 1e-14 if rank else not R.any()
    assert not R[5:8].any()  # nothing, to the bit, where there is nothing
    assert np.count_nonzero(R.any(axis=0)) == min(rank, 17)


# ---- rows that have a label ----


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-12), (np.float32, 1e-5)])
@pytest.mark.parametrize("m", [1, 5, 50])
def test_conditioned(m, dtype, tolerance):
    E, known = embedding(70, 20, 0, dtype), embedding(m, 20, 1, dtype)
    copy = E.copy()
    F = conditioned(E, known, 0.3)
    wide, S = E.astype(float), known.astype(float)
    covariance = wide @ wide.T - (wide @ S.T) @ np.linalg.solve(S @ S.T + 0.3 * np.eye(m), S @ wide.T)
    assert F.dtype == dtype
    assert relative(F.astype(float) @ F.T.astype(float), covariance) <= tolerance
    assert not np.shares_memory(F, E)
    np.testing.assert_array_equal(E, copy)


@pytest.mark.parametrize("m", [5, 50])
@pytest.mark.parametrize("noise", [1e-16, 1e-18, 1e-200])
def test_conditioned_on_rows_known_beyond_rounding(m, noise):
    """What is known has no variance left beside what is not."""
    rng = np.random.default_rng(0)
    E = np.linalg.qr(rng.normal(size=(20, 20)))[0][:8]
    known = rng.normal(size=(m, 4)) @ E[:4]
    F = conditioned(E, known, noise)
    left = np.sum(F * F, axis=1)
    assert np.isfinite(left).all()
    assert left[:4].max() <= 1e-6 * left[4:].min()


def test_conditioned_picks_are_those_that_follow():
    E = embedding(60, 12)
    for strategy in (max_determinant, variance_reduction):
        six = strategy(E, 6, 0.2)
        rest = strategy(conditioned(E, E[six[:2]], 0.2), 6, 0.2)
        chosen = [i for i in rest.tolist() if i not in six[:2]]
        assert chosen[:2] == six[2:4].tolist()


def test_moments():
    E, w = embedding(500, 7), np.random.default_rng(0).exponential(size=500)
    assert relative(moments(E, None, 1), E.T @ E / 500) <= 1e-14
    assert relative(moments(E, w, 1), (E * w[:, None]).T @ E / w.sum()) <= 1e-14


# ---- what must leave no trace ----


@pytest.mark.parametrize(
    "strategy",
    [
        lambda E, w, T, threads: max_determinant(E, 30, 0.1, w, threads=threads),
        lambda E, w, T, threads: variance_reduction(E, 30, 0.1, None, w, threads=threads),
        lambda E, w, T, threads: bait(E, 15, 0.1, T, threads=threads),
        lambda E, w, T, threads: conditioned(E, T, 0.1, threads=threads),
    ],
)
def test_threads_and_layouts(strategy):
    E, w = (
        embedding(2 * CHUNK + 55, 24, 0, np.float32),
        np.random.default_rng(1).exponential(size=2 * CHUNK + 55),
    )
    T = E[:3000].copy()
    for a in (E, w, T):
        a.flags.writeable = False
    expected = strategy(E, w, T, 1)
    for threads in (2, 3):
        np.testing.assert_array_equal(strategy(E, w, T, threads), expected)
    np.testing.assert_array_equal(strategy(np.asfortranarray(E), w, T, 2), expected)


@pytest.mark.parametrize("chunk", [256, 1024])
def test_borders_of_chunks(monkeypatch, chunk):
    """Given targets, whose moments are summed in chunks, are the same; all else is computed row by row."""
    E, T = embedding(3000, 24, 0, np.float32), embedding(200, 24, 1, np.float32)
    strategies = (
        lambda: max_determinant(E, 30, 0.1, threads=1),
        lambda: variance_reduction(E, 30, 0.1, T, threads=1),
        lambda: bait(E, 15, 0.1, T, threads=1),
    )
    expected = [strategy() for strategy in strategies]
    monkeypatch.setattr("fasttangent.active.distances.CHUNK", chunk)
    monkeypatch.setattr("fasttangent.active.linear_model.CHUNK", chunk)
    for strategy, picks in zip(strategies, expected, strict=True):
        np.testing.assert_array_equal(strategy(), picks)


def test_ties_go_to_the_first_row_also_across_chunks(monkeypatch):
    monkeypatch.setattr("fasttangent.active.distances.CHUNK", 64)
    monkeypatch.setattr("fasttangent.active.linear_model.CHUNK", 64)
    E = np.tile(embedding(50, 5), (6, 1))
    for strategy in (max_determinant, variance_reduction):
        once = strategy(E[:50], 3, 1e-6)
        np.testing.assert_array_equal(strategy(E, 3, 1e-6), once)
