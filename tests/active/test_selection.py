"""Picking rows: ties, missing values, probabilities, refusals."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from helpers import naive

import fasttangent as ft
from fasttangent.active import covariances, distances
from fasttangent.active.asked import SAMPLES
from fasttangent.active.strategies import informing, scoring, spreading
from fasttangent.active.strategies.scoring import pick
from fasttangent.active.strategies.table import DEFAULT_STRATEGY, STRATEGIES
from fasttangent.common.duplicates import row_keys
from fasttangent.common.vectors import power_of_two

SCORED = ("top", "random", "sample")
SPREADING = {s.name: s.embedding for s in spreading.FAMILY if s.any_embedding}
INFORMING = {s.name: s.embedding for s in informing.FAMILY}


def test_the_table_of_the_docstring_is_that_of_the_records():
    text = " ".join(ft.select.__doc__.split())
    for name, strategy in STRATEGIES.items():
        assert f'"{name}" ' in text
        for words in (strategy.what, strategy.source):
            assert all(word in text for word in words.split()), (name, words)
    assert {s.name for s in (*informing.FAMILY, *spreading.FAMILY, *scoring.FAMILY)} == set(STRATEGIES)


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


@pytest.mark.parametrize("strategy", SCORED)
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
def test_selection(strategy, model, pool, data):
    given = {"strategy": strategy, "labeled": data[0]}
    picks = ft.select(model, pool, 12, seed=4, **given)
    assert picks.indices.dtype == np.int64
    assert picks.scores.dtype == np.float64
    assert len(picks) == len(picks.indices) == len(set(picks.indices.tolist())) == 12
    assert picks.strategy == strategy
    assert picks.trusted
    assert picks.candidates == 200
    assert picks.embedding == {**SPREADING, **INFORMING}.get(strategy)
    assert picks.weight == ("curiosity" if strategy in ("top", "sample") else None)
    np.testing.assert_array_equal(picks.scores, model.curiosity(pool)[picks.indices])
    again = ft.select(model, pool, 12, seed=4, threads=2, **given)
    np.testing.assert_array_equal(again.indices, picks.indices)
    others = [ft.select(model, pool, 12, seed=s, **given).indices.tolist() for s in range(3)]
    if strategy in ("random", "sample", *SPREADING):
        assert picks.indices.tolist() not in others
    else:
        assert [picks.indices.tolist()] * 3 == others


def test_top_is_the_highest_curiosity(model, pool):
    picks = ft.select(model, pool, 12, strategy="top")
    assert (np.diff(picks.scores) <= 0).all()
    assert picks.scores[-1] == np.sort(model.curiosity(pool))[-12]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_row_can_be_asked_for(strategy, model, pool, data):
    picks = ft.select(model, pool, 200, strategy=strategy, labeled=data[0])
    assert sorted(picks.indices) == list(range(200))


def test_the_default(model, pool, data):
    assert ft.select(model, pool, 3, labeled=data[0]).strategy == DEFAULT_STRATEGY


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_labelled_rows_bad_rows_and_copies_are_left_out(strategy, model, pool):
    rows = pool.copy()
    rows[7] = np.nan
    rows[8, 1] = -np.inf
    rows[[20, 30]] = 0.0
    rows[[99, 120]] = rows[98]
    labelled = np.vstack([rows[40:60], [[-0.0, 0.0, 0.0]]])
    left_out = {7, 8, 20, 30, 99, 120, *range(40, 60)}
    given = {"strategy": strategy, "labeled": labelled}
    with pytest.warns(
        UserWarning,
        match=r"2 rows hold a value that is not finite or too far from all training rows \(first: row 7\)",
    ):
        picks = ft.select(model, rows, 174, **given)
    assert set(picks.indices.tolist()) == set(range(200)) - left_out
    assert picks.candidates == 174
    with (
        pytest.warns(UserWarning, match="not finite"),
        pytest.raises(
            ValueError,
            match=r"k must be at most the 174 rows .* 2 are not finite or too far away, 22 .* 2 equal",
        ),
    ):
        ft.select(model, rows, 175, **given)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_copies_never_fill_a_batch(strategy, model, pool, data):
    rows = np.repeat(pool[:30], 8, axis=0)
    picks = ft.select(model, rows, 10, strategy=strategy, labeled=data[0]).indices
    assert len({tuple(rows[i]) for i in picks}) == 10
    assert (picks % 8 == 0).all()  # the first of each
    once = ft.select(model, pool[:30], 10, strategy=strategy, labeled=data[0]).indices
    np.testing.assert_array_equal(picks // 8, once)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_pools_of_other_layouts(strategy, model, pool, data, tmp_path):
    rows = pool.astype(np.float32)
    expected = ft.select(model, rows.astype(float), 9, strategy=strategy, labeled=data[0]).indices
    mapped = np.lib.format.open_memmap(tmp_path / "p.npy", mode="w+", dtype=np.float32, shape=rows.shape)
    mapped[:] = rows
    mapped.flush()
    mapped = np.load(tmp_path / "p.npy", mmap_mode="r")
    wide = np.zeros((200, 8), np.float32)
    wide[:, 1:7:2] = rows
    for same in (rows, mapped, np.asfortranarray(rows), wide[:, 1:7:2]):
        same.flags.writeable = False
        picks = ft.select(model, same, 9, strategy=strategy, labeled=data[0]).indices
        np.testing.assert_array_equal(picks, expected)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_several_outputs(strategy, model2, pool, data):
    picks = ft.select(model2, pool, 9, strategy=strategy, labeled=data[0])
    assert len(set(picks.indices.tolist())) == 9


# ---- what each strategy is handed ----


@pytest.fixture(scope="module")
def posterior(model, data):
    return model.with_posterior(*data, samples=48)


@pytest.mark.parametrize("kind", ["posterior", "gradient", "hidden", "input"])
@pytest.mark.parametrize("strategy", SPREADING)
@pytest.mark.parametrize("weighted", [False, True])
def test_spreading(strategy, kind, weighted, posterior, pool, data):
    weight = np.random.default_rng(0).exponential(size=200) if weighted else None
    unit = replace(posterior, noise=1.0)
    E, C = (unit.embed(rows, kind, seed=3) for rows in (pool, data[0]))
    how = {"lcmd": distances.lcmd, "kcenter": distances.k_center}.get(strategy)
    expected = (
        how(E, 9, C, weight)
        if how
        else distances.k_means_plus_plus(
            E, 9, row_keys(pool / power_of_two(posterior.scaling.x_scale)), 3, C, weight
        )
    )
    picks = ft.select(
        posterior, pool, 9, strategy=strategy, embedding=kind, weight=weight, labeled=data[0], seed=3
    )
    np.testing.assert_array_equal(picks.indices, expected)
    assert picks.weight == ("given" if weighted else None)


@pytest.mark.parametrize("strategy", INFORMING)
@pytest.mark.parametrize("aims", [None, 20])
def test_informing(strategy, aims, posterior, pool, data):
    targets = None if aims is None else pool[:aims] + 0.1
    kind, noise = "error" if strategy == "error" else "posterior", posterior.noise
    E, T = posterior.embed(pool, kind), None if aims is None else posterior.embed(targets, kind)
    given = {"strategy": strategy, "targets": targets}
    if strategy == "maxdet" and targets is not None:
        with pytest.raises(ValueError, match="targets are for strategies 'error', 'variance' and 'bait'"):
            ft.select(posterior, pool, 9, **given)
        return
    expected = {
        "maxdet": lambda: covariances.max_determinant(E, 9, noise),
        "error": lambda: covariances.variance_reduction(E, 9, noise, T),
        "variance": lambda: covariances.variance_reduction(E, 9, noise, T),
        "bait": lambda: covariances.bait(E, 9, noise, T),
    }[strategy]()
    np.testing.assert_array_equal(ft.select(posterior, pool, 9, **given).indices, expected)
    made = ft.select(replace(posterior, tangents=posterior.tangents | {}), pool, 9, **given)
    np.testing.assert_array_equal(made.indices, expected)


@pytest.mark.parametrize("aims", [None, 20])
@pytest.mark.parametrize("strategy", sorted(set(INFORMING) - {"error"}))
def test_informing_without_a_posterior(strategy, aims, model, pool, data):
    """Hidden features as a linear model with m labels: the precision of the posterior is I + C^T C / (strength m)."""
    if strategy == "maxdet" and aims:
        return
    targets = None if aims is None else pool[:aims] + 0.1
    noise = model.objective.strength * len(data[0])
    C = model.embed(data[0], "hidden")
    root = np.linalg.cholesky(np.linalg.inv(np.eye(C.shape[1]) + C.T @ C / noise))
    E = model.embed(pool, "hidden") @ root
    T = None if aims is None else model.embed(targets, "hidden") @ root
    expected = {
        "maxdet": lambda: covariances.max_determinant(E, 4, noise),
        "variance": lambda: covariances.variance_reduction(E, 4, noise, T),
        "bait": lambda: covariances.bait(E, 4, noise, T),
    }[strategy]()
    picks = ft.select(model, pool, 4, strategy=strategy, embedding="hidden", labeled=data[0], targets=targets)
    np.testing.assert_array_equal(picks.indices, expected)


@pytest.mark.parametrize("which", ["curiosity", "sensitivity"])
@pytest.mark.parametrize("strategy", ["lcmd", "kmeans++", "kcenter", "variance", "maxdet", "top", "sample"])
def test_named_weights_are_arrays_of_scores(strategy, which, posterior, pool, data):
    scores = posterior.score(pool)
    array = scores.curiosity if which == "curiosity" else abs(scores.sensitivity) / posterior.scaling.y_scale
    given = {"strategy": strategy, "labeled": data[0]}
    named = ft.select(posterior, pool, 15, weight=which, **given)
    np.testing.assert_array_equal(
        named.indices, ft.select(posterior, pool, 15, weight=array, **given).indices
    )
    plain = ft.select(posterior, pool, 15, weight=np.ones(200), **given).indices
    assert named.indices.tolist() != plain.tolist()
    assert named.weight == which


def test_weights_follow_their_rows(posterior, pool, data):
    """Through bad rows, copies, labelled rows and the prefilter."""
    rng = np.random.default_rng(0)
    rows = np.vstack([data[0][:7], np.full((1, 3), np.nan), pool[:90], pool[:90], pool[90:]])
    weight = np.concatenate([rng.exponential(size=8), rng.exponential(size=290)])
    weight[8 + 5], weight[8 + 95] = 0.0, 1e9  # a copy's weight is not looked at
    given = {"labeled": data[0], "strategy": "lcmd"}
    with pytest.warns(UserWarning, match="1 row holds"):
        picks = ft.select(posterior, rows, 20, weight=weight, **given)
    own = np.concatenate([weight[8:98], weight[188:]])
    clean = ft.select(posterior, pool, 20, weight=own, **given)
    np.testing.assert_array_equal(rows[picks.indices], pool[clean.indices])
    with pytest.warns(UserWarning, match="1 row holds"):
        few = ft.select(posterior, rows, 20, weight=weight, prefilter=60, **given)
    assert few.candidates == 60


@pytest.mark.parametrize("known", [False, True])
def test_greedy_x_is_farthest_first_in_standardised_inputs(known, model, pool, data):
    Z, L = ((rows - model.scaling.x_mean) / model.scaling.x_scale for rows in (pool, data[0]))
    centres, picks = (list(L) if known else []), []
    for _ in range(10):
        far = [min(((z - c) ** 2).sum() for c in centres) if centres else z @ z for z in Z]
        picks.append(int(np.argmax(far)))
        centres.append(Z[picks[-1]])
    given = {"labeled": data[0]} if known else {}
    assert ft.select(model, pool, 10, strategy="greedy-x", **given).indices.tolist() == picks


@pytest.mark.parametrize("outputs", [1, 2])
def test_greedy_y_is_farthest_first_in_predictions(outputs, model, model2, pool, data):
    chosen = model if outputs == 1 else model2
    Z, centres = (
        (chosen.predict(rows).reshape(-1, outputs) - chosen.scaling.y_mean) / chosen.scaling.y_scale
        for rows in (pool, data[0])
    )
    centres, picks = list(centres), []
    for _ in range(10):
        far = [min(((z - c) ** 2).sum() for c in centres) for z in Z]
        picks.append(int(np.argmax(far)))
        centres.append(Z[picks[-1]])
    assert ft.select(chosen, pool, 10, strategy="greedy-y", labeled=data[0]).indices.tolist() == picks


def test_egl_is_the_deviation_times_the_length_of_the_gradient(posterior, pool):
    Z = (pool - posterior.scaling.x_mean) / posterior.scaling.x_scale
    J = naive.row_jacobian(posterior.params, Z, posterior.network.sizes, "tanh")
    lengths = np.linalg.norm(J.reshape(200, -1), axis=1)
    _, deviation = posterior.predict(pool, return_std=True)
    expected = np.argsort(-deviation * lengths)[:15]
    np.testing.assert_array_equal(ft.select(posterior, pool, 15, strategy="egl").indices, expected)


def test_the_posterior_is_made_from_labelled_rows(model, pool, data):
    made = model.with_posterior(data[0], samples=SAMPLES)
    for strategy in (*INFORMING, "egl"):
        ours = ft.select(model, pool, 6, strategy=strategy, labeled=data[0]).indices
        np.testing.assert_array_equal(ours, ft.select(made, pool, 6, strategy=strategy).indices)


def test_models_without_the_tangent_of_the_strength(model, pool, data):
    bare = replace(model, tangents={})
    for strategy in set(STRATEGIES) - {"top", "sample"}:
        picks = ft.select(bare, pool, 5, strategy=strategy, labeled=data[0])
        assert np.isnan(picks.scores).all()
        np.testing.assert_array_equal(
            picks.indices, ft.select(model, pool, 5, strategy=strategy, labeled=data[0]).indices
        )
    mine = np.arange(200.0)
    assert ft.select(bare, pool, 2, strategy="top", weight=mine).indices.tolist() == [199, 198]
    with pytest.raises(ValueError, match="the model carries no tangent"):
        ft.select(bare, pool, 5, strategy="top")


# ---- prefilter ----


@pytest.mark.parametrize("strategy", [*SPREADING, *INFORMING, "greedy-x", "greedy-y"])
def test_a_prefilter_limits_the_candidates(strategy, posterior, pool, data):
    given = {"strategy": strategy, "labeled": data[0]}
    for prefilter in (50, ("random", 50), ["random", 50]):
        picks = ft.select(posterior, pool, 20, prefilter=prefilter, **given)
        assert picks.candidates == 50
        again = ft.select(posterior, pool, 50, prefilter=50, **given)
        assert set(picks.indices.tolist()) <= set(again.indices.tolist())
    assert set(again.indices) != set(ft.select(posterior, pool, 50, prefilter=50, seed=1, **given).indices)
    whole = ft.select(posterior, pool, 20, prefilter=None, **given)
    assert whole.candidates == 200
    np.testing.assert_array_equal(
        whole.indices, ft.select(posterior, pool, 20, prefilter=200, **given).indices
    )


@pytest.mark.parametrize("how", ["curiosity", "sensitivity"])
def test_a_prefilter_by_a_score_keeps_the_highest(how, posterior, pool):
    scores = posterior.score(pool)
    order = np.argsort(-(scores.curiosity if how == "curiosity" else abs(scores.sensitivity)))
    picks = ft.select(posterior, pool, 40, strategy="kcenter", prefilter=(how, 40))
    assert set(picks.indices) == set(order[:40])


@pytest.mark.parametrize("strategy", [*SCORED, "egl"])
def test_some_strategies_see_every_row(strategy, posterior, pool):
    assert ft.select(posterior, pool, 20, strategy=strategy, prefilter=30).candidates == 200


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
    with pytest.warns(UserWarning, match="only 2 rows have a weight above 0"):
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
        ({"labeled": np.ones((0, 3))}, ValueError, "labeled must have at least 1 row, got none"),
        ({"labeled": np.full((2, 3), np.nan)}, ValueError, "labeled must be finite"),
        ({"targets": np.ones((5, 2)), "strategy": "variance"}, ValueError, "targets has 2 columns"),
        ({"targets": np.ones((5, 3)), "strategy": "lcmd"}, ValueError, "'bait', got them with 'lcmd'"),
        (
            {"targets": np.ones((5, 3)), "strategy": "variance", "weight": "curiosity"},
            ValueError,
            "weight must be None where targets are given",
        ),
        ({"embedding": "gradients", "strategy": "lcmd"}, ValueError, "did you mean 'gradient'?"),
        (
            {"embedding": "input", "strategy": "top"},
            ValueError,
            "embedding must be left out for strategy 'top'",
        ),
        ({"embedding": "input", "strategy": "error"}, ValueError, "embedding must be left out for"),
        ({"strategy": "variance"}, ValueError, "'variance' needs tangents of noise"),
        ({"strategy": "egl"}, ValueError, "pass the rows it was fitted on (labeled=, --labeled)"),
        ({"strategy": "lcmd", "embedding": "posterior"}, ValueError, "'lcmd' needs tangents of noise"),
        ({"strategy": "maxdet", "embedding": "input"}, ValueError, "needs labeled= and a strength > 0"),
        ({"weight": "curious", "strategy": "lcmd"}, ValueError, "did you mean 'curiosity'?"),
        ({"weight": np.ones(5), "strategy": "lcmd"}, ValueError, "weight must have shape (200,)"),
        ({"weight": np.ones((200, 1)), "strategy": "lcmd"}, ValueError, "got shape (200, 1)"),
        ({"weight": -np.ones(200), "strategy": "lcmd"}, ValueError, ">= 0, got -1.0 in row 0; ranks"),
        ({"weight": np.full(200, np.inf), "strategy": "top"}, ValueError, "must be finite and >= 0, got inf"),
        ({"weight": np.full(200, np.nan), "strategy": "top"}, ValueError, "must be finite and >= 0, got nan"),
        ({"weight": np.zeros(200), "strategy": "lcmd"}, ValueError, "above 0 for some row"),
        ({"weight": ["a"] * 200, "strategy": "lcmd"}, TypeError, "weight must hold numbers"),
        ({"weight": np.ones(200), "strategy": "random"}, ValueError, "which has no use for it"),
        ({"prefilter": 4}, ValueError, "prefilter must be a whole number >= 5, got 4"),
        ({"prefilter": ("random", 4)}, ValueError, "prefilter must be a whole number >= 5, got 4"),
        ({"prefilter": ("rnd", 40)}, ValueError, "prefilter must be"),
        ({"prefilter": ("random", 40, 1)}, ValueError, "prefilter must be (how, m), m or None"),
        ({"prefilter": "random"}, TypeError, "prefilter must be a whole number"),
        ({"seed": -1}, ValueError, "seed must be a whole number >= 0"),
        ({"pool": np.empty((0, 3)), "k": 1}, ValueError, "k must be at most the 0 rows"),
    ],
)
def test_refusals(model, pool, arguments, error, fragment):
    given = {"pool": pool, "k": 5, **arguments}
    with pytest.raises(error) as caught:
        ft.select(model, given.pop("pool"), given.pop("k"), **given)
    assert fragment in str(caught.value)


def test_picks_of_a_table_are_a_table_of_its_kind():
    import pandas as pd
    import polars as pl
    import pyarrow as pa

    rows = np.random.default_rng(0).normal(size=(30, 2))
    frame = pd.DataFrame(rows, columns=["a", "b"], index=[f"r{i}" for i in range(30)]).assign(note="x")
    table = pa.Table.from_pandas(frame, preserve_index=False)
    model = ft.fit(frame[["a", "b"]], rows[:, 0], hidden=(2,), strength=1e-2)
    picks = ft.select(model, rows, 4, strategy="top")
    found = picks.to_frame(frame)
    assert found.equals(frame.iloc[picks.indices])
    for pool in (pl.from_pandas(frame), table, table.to_batches()[0]):
        found = picks.to_frame(pool)
        assert type(found) is type(pool)
        np.testing.assert_array_equal(found["a"], rows[picks.indices, 0])
        assert found["note"][0] == "x" or found["note"][0].as_py() == "x"
    with pytest.raises(TypeError, match=r"pool must be a data frame, got ndarray; .* pool\[picks.indices\]"):
        picks.to_frame(rows)
    with pytest.raises(ValueError, match="pool must have the rows that were picked from, got 0"):
        picks.to_frame(frame[:0])
