"""The rules of the active learning benchmark: splits, seeds, and what its statistics say."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest

from bench.active import command, statistics, tables
from bench.active import data as active_data
from bench.common import data


def every_flip_p(differences):
    """The sign-flip test by all arrangements."""
    weights = np.concatenate([d / (len(d) * len(differences)) for d in differences])
    sums = [abs(np.dot(signs, weights)) for signs in itertools.product((-1, 1), repeat=len(weights))]
    return np.mean(np.array(sums) >= abs(weights.sum()) * (1 - 1e-12))


def test_sign_flips_give_the_p_of_all_arrangements():
    rng = np.random.default_rng(0)
    for shift in (0.0, 0.5, 1.5):
        differences = [rng.normal(shift, 1, 4), rng.normal(shift, 1, 5), rng.normal(shift, 3, 3)]
        exact = every_flip_p(differences)
        found = statistics.sign_flip_p(differences, flips=20_000)
        assert abs(found - exact) < 4 * np.sqrt(exact * (1 - exact) / 20_000) + 1e-3


def test_sign_flips_count_equal_sums_and_are_never_zero():
    assert statistics.sign_flip_p([np.zeros(5), np.zeros(3)], flips=500) == 1.0
    assert statistics.sign_flip_p([np.full(40, 1.0)], flips=500) == pytest.approx(1 / 501)


def test_p_is_uniform_without_a_difference():
    rng = np.random.default_rng(1)
    p = [
        statistics.sign_flip_p([rng.normal(size=6) for _ in range(3)], flips=199, seed=i) for i in range(400)
    ]
    for level in (0.05, 0.2, 0.5):
        assert abs(np.mean(np.array(p) <= level) - level) < 4 * np.sqrt(level * (1 - level) / 400)


def test_holm():
    assert statistics.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert statistics.holm([0.04, 0.04]) == pytest.approx([0.08, 0.08])
    assert statistics.holm([0.9, 0.6]) == [1.0, 1.0]


def test_bootstrap_covers_the_effect():
    rng, held = np.random.default_rng(2), 0
    for i in range(300):
        differences = [rng.normal(centre, spread, 10) for centre, spread in ((0, 1), (3, 0.1), (-1, 2))]
        effect = statistics.bootstrap(differences, draws=400, seed=i)
        assert effect.mean == pytest.approx(np.mean([d.mean() for d in differences]))
        held += effect.low <= 2 / 3 <= effect.high
    assert 0.90 <= held / 300 <= 0.98


def test_bootstrap_weights_sets_alike_however_many_seeds():
    effect = statistics.bootstrap([np.full(2, 1.0), np.full(20, 3.0)], draws=50)
    assert effect == pytest.approx((2.0, 2.0, 2.0))
    with pytest.raises(ValueError, match="at least 2 seeds"):
        statistics.bootstrap([np.ones(1)])


def test_paired_t_is_scipys():
    from scipy.stats import ttest_1samp

    d = np.random.default_rng(3).normal(0.4, 1, 10)
    low, high = ttest_1samp(d, 0).confidence_interval(0.95)
    assert statistics.paired_t(d) == pytest.approx((d.mean(), low, high))


def test_tally_calls_a_lower_error_a_win():
    wiggle = np.linspace(-0.1, 0.1, 5)
    assert statistics.tally([wiggle - 1, wiggle - 2, wiggle, wiggle + 1]) == (2, 1, 1)


def test_splits_have_the_sizes_of_the_protocol():
    for n, n_pool, n_test in (
        (308, 246, 62),
        (768, 614, 154),
        (8192, None, None),
        (40_000, active_data.MOST_POOL + 64, 5000),
    ):
        X = np.arange(n, dtype=float)[:, None]
        found = active_data.split(X, X[:, 0], np.random.default_rng(0))
        rows = np.concatenate([found.X, found.X_test])
        assert len(np.unique(rows)) == len(rows) <= n
        assert len(found.X_test) >= 0.2 * min(n, 25_000)
        if n_pool:
            assert (len(found.X), len(found.X_test)) == (n_pool, n_test)


def test_batches_leave_a_choice():
    assert active_data.n_batches(246, 32) == 4
    assert active_data.n_batches(614, 32) == 8
    for n_pool, size in itertools.product(range(64, 1200, 7), (32, 128)):
        n = active_data.n_batches(n_pool, size)
        left = n_pool - 64 - size * (n - 1)  # candidates of the last selection
        assert n == 0 or left >= 2 * size
        assert n == active_data.MOST_BATCHES[size] or left - size < 2 * size


def test_seeds_differ_by_set_seed_step_and_stream():
    cases = itertools.product(("yacht", "pol"), (0, 10), (0, 1), active_data.STREAMS)
    found = [tuple(active_data.seeds(*case, 2)) for case in cases]
    assert len(set(itertools.chain(*found))) == 2 * len(found)
    assert active_data.seeds("yacht", 3, 1, "fit") == active_data.seeds("yacht", 3, 1, "fit")


def test_duplicated_inputs_are_dropped(tmp_path):
    rows = np.array([[2.0, 1.0, 5.0], [0.0, 1.0, 6.0], [2.0, 1.0, 7.0]])
    np.savetxt(tmp_path / "toy.csv.gz", rows, delimiter=",")
    X, y = data.load(tmp_path, "toy")
    np.testing.assert_array_equal(X, rows[:2, :2])
    np.testing.assert_array_equal(y, [5.0, 6.0])


def a_line(method, seed, factor=1.0, name="yacht", select=0.1):
    errors = [2.0, 1.0 * factor, 0.5 * factor]
    return {
        "set": name,
        "seed": seed,
        "method": method,
        "stage": "first",
        "batch": 32,
        "rmse": errors,
        "mae": errors,
        "q99": errors,
        "fit_seconds": [0.1, 0.2, 0.3],
        "select_seconds": [select, select],
        "stopped": [],
        "picks": 0,
        "failures": [],
    }


def test_a_file_cut_off_by_a_kill_is_gone_on_with(tmp_path):
    path = tmp_path / "lines.jsonl"
    command.append(path, a_line("random", 10))
    with path.open("a") as file:
        file.write(json.dumps(a_line("lcmd", 10))[:40])
    command.end_last_line(path)
    command.append(path, a_line("top", 10))
    command.append(path, a_line("top", 10, factor=9))
    assert [(line["method"], line["rmse"][1]) for line in command.read(path)] == [
        ("random", 1.0),
        ("top", 1.0),
    ]


def test_the_endpoint_leaves_out_the_initial_model():
    found = tables.endpoints(a_line("lcmd", 0))
    assert found["rmse"] == pytest.approx((np.log(1.0) + np.log(0.5)) / 2)
    assert found["final"] == pytest.approx(np.log(0.5))


def test_effects_are_paired_by_set_and_seed():
    lines = [a_line("random", seed, factor=1 + seed) for seed in range(3)]
    lines += [a_line("lcmd", seed, factor=0.9 * (1 + seed)) for seed in range(1, 4)]
    design = tables.Design(tables.collect(lines)["first, 32"])
    assert design.effect("lcmd", "random") == pytest.approx((-10, -10, -10), abs=1e-3)
    assert len(design.differences("lcmd", "random")["yacht"]) == 2


def test_only_complete_seeds_count():
    pairs = [(10, "yacht"), (10, "pol"), (11, "yacht"), (11, "pol"), (12, "yacht")]
    lines = [a_line("random", seed, name=name) for seed, name in pairs]
    lines += [a_line("lcmd", seed, name=name) for seed, name in [*pairs[:3], (12, "yacht"), (12, "pol")]]
    found = tables.collect(lines)["first, 32"]
    assert set(found["random"]["runs"]) == {"yacht 10", "pol 10", "yacht 11", "pol 11"}
    assert set(found["lcmd"]["runs"]) == {"yacht 10", "pol 10"}


def test_the_choice_takes_the_quickest_of_the_best():
    factors = dict.fromkeys(tables.CANDIDATES, 1.0) | {"variance": 0.900, "maxdet": 0.903}
    seconds = dict.fromkeys(tables.CANDIDATES, 0.01) | {"variance": 0.3, "maxdet": 0.2}
    lines = [
        a_line(method, seed, factors[method], name, seconds[method])
        for method, seed, name in itertools.product(factors, range(3), active_data.SETS)
    ]
    found = tables.choice(lines)
    assert found["default"] == "maxdet"
    assert set(found["close"]) == {"maxdet", "variance"}
    with pytest.raises(ValueError, match="needs all of"):
        tables.choice([line for line in lines if line["set"] != "pol"])
