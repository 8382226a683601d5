"""Campaigns in any unit: the same rows, the same figures times the unit; labels beyond float64 are refused by name."""

import numpy as np
import pytest
from helpers.command_line import rows_of, run

import fasttangent as ft
from fasttangent.active.loop import diagnostics
from fasttangent.cli.tables.writing import write_table
from fasttangent.common.vectors import root_mean_square
from fasttangent.influence.agreement import agreement

pytestmark = pytest.mark.filterwarnings("ignore::fasttangent.UntrustedTangentWarning")
RNG = np.random.default_rng(0)
POOL = RNG.normal(size=(80, 2))
LABELS = np.sin(POOL[:, 0]) + POOL[:, 1]
KNOWN = RNG.normal(size=(20, 2))
Y = np.sin(KNOWN[:, 0]) + KNOWN[:, 1]
FIT = {"hidden": (4,), "epochs": 20, "strength": 1e-2, "dtype": "float64"}
UNITS = [(996, -996), (-996, 996)]


def learner(a=0, b=0, **more):
    options = {
        "oracle": np.ldexp(LABELS, b),
        "batch": 6,
        "budget": 12,
        "fit": FIT,
        "seed": 2,
        "start": "warm",
    }
    return ft.ActiveLearner(np.ldexp(POOL, a), np.ldexp(KNOWN, a), np.ldexp(Y, b), **{**options, **more})


@pytest.mark.parametrize(("a", "b"), UNITS)
def test_a_campaign_in_any_unit(a, b):
    test = np.ldexp(POOL[:20], a), np.ldexp(LABELS[:20], b)
    found = learner(a, b, random_control=True, patience=3, test=test).run()
    wanted = learner(random_control=True, patience=3, test=(POOL[:20], LABELS[:20])).run()
    assert found.stopped == wanted.stopped
    assert len(wanted.history) == 3
    for one, other in ((found, wanted), (found.control, wanted.control)):
        for record, plain in zip(one.history, other.history, strict=True):
            assert record["rows"] == plain["rows"]
            for name in ("redundancy", "expected_change", "trusted", "score_error_correlation"):
                assert record[name] == plain[name], name
            for name in ("batch_rmse", "batch_mae", "test_rmse", "test_mae"):
                if plain[name] is not None:
                    assert record[name] == np.ldexp(plain[name], b), name
    assert found.summary()["rmse_mae_ratio"] == wanted.summary()["rmse_mae_ratio"]


def test_a_label_that_is_too_large(tmp_path):
    person = learner(oracle=None, folder=tmp_path / "c")
    rows = person.ask()
    for value in (1e308, -2e304):
        with pytest.raises(
            ValueError, match=rf"the label of row {rows[1]} must be at most 1\.1e\+304 in size, got "
        ):
            person.tell({int(rows[0]): 1.0, int(rows[1]): value})
    assert not person.campaign.state.labels
    assert person.tell({int(rows[0]): 1e304}) == 1


def test_answers_that_are_too_large():
    with pytest.raises(
        ValueError, match=r"oracle must hold labels of at most .*, got 1e\+308 in row 7; divide all"
    ):
        learner(oracle=np.where(np.arange(80) == 7, 1e308, LABELS))
    run = learner(oracle=lambda X, rows: np.where(rows % 2, 1e308, LABELS[rows])).run(rounds=1)
    failed = run.campaign.state.failed
    assert failed
    assert set(failed.values()) == {"a label above 1.1e+304"}
    assert all(row % 2 for row in failed)


def test_tables_that_hold_what_cannot_be_learned():
    large = np.where(np.arange(20) == 3, 1e305, Y)
    with pytest.raises(ValueError, match=r"y must be at most 1\.1e\+304 in size, got 1e\+305; divide"):
        ft.ActiveLearner(POOL, KNOWN, large)
    with pytest.raises(ValueError, match=r"X must be at most 1\.1e\+304 in size, got .*; divide"):
        ft.ActiveLearner(POOL, KNOWN * large[:, None], Y)
    pool = POOL.copy()
    pool[4, 1] = 1e305
    with pytest.warns(
        UserWarning, match=r"1 of 80 rows of X_pool hold a value above 1\.1e\+304 \(first: row 4\)"
    ):
        one = ft.ActiveLearner(pool, KNOWN, Y)
    assert not one._rounds.sources.usable[4]
    assert one._rounds.sources.usable.sum() == 79


@pytest.mark.parametrize(("a", "b"), UNITS)
def test_the_command_line_in_any_unit(tmp_path, monkeypatch, a, b):
    monkeypatch.chdir(tmp_path)
    quick = ["--hidden", 4, "--epochs", 20, "--strength", 0.01, "--dtype", "float64"]
    found = {}
    for name, x, y in (("plain", 0, 0), ("other", a, b)):
        columns = np.ldexp(KNOWN, x).T
        write_table(f"{name}.csv", {"a": columns[0], "b": columns[1], "y": np.ldexp(Y, y)})
        write_table(f"{name}-pool.csv", dict(zip("ab", np.ldexp(POOL, x).T, strict=True)))
        run("fit", f"{name}.csv", "--target", "y", "-o", f"{name}.npz", *quick)
        run("score", f"{name}.npz", f"{name}-pool.csv", "-o", "scores.csv")
        run("select", f"{name}.npz", f"{name}-pool.csv", "-k", 5, "-o", "picks.csv")
        run(
            "next",
            f"{name}-pool.csv",
            "--folder",
            name,
            "-k",
            5,
            "-o",
            "next.csv",
            "--labeled",
            f"{name}.csv",
            *quick,
        )
        found[name] = [rows_of(table) for table in ("scores.csv", "picks.csv", "next.csv")]
    (scores, picks, asked), (others, picked, asked_too) = found["plain"], found["other"]
    for name, exponent in (("prediction", b), ("sensitivity", b), ("curiosity", 0)):
        np.testing.assert_array_equal(others[name], np.ldexp(scores[name], exponent))
    np.testing.assert_array_equal(picked["row"], picks["row"])
    np.testing.assert_array_equal(asked_too["row"], asked["row"])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("exponent", [-996, -130, 130, 996])
def test_weights_in_any_unit(dtype, exponent):
    """All strategies but "maxdet", which multiplies variances by them."""
    options = {**FIT, "dtype": dtype, "tangents": ("strength", "posterior"), "samples": 16}
    model, weight = ft.fit(KNOWN, Y, **options), RNG.uniform(0, 1, len(POOL))
    for strategy in (
        "error",
        "variance",
        "lcmd",
        "kmeans++",
        "kcenter",
        "greedy-x",
        "greedy-y",
        "top",
        "sample",
    ):
        picks = [
            ft.select(model, POOL, 6, strategy=strategy, weight=w, seed=1).indices.tolist()
            for w in (weight, np.ldexp(weight, exponent))
        ]
        assert picks[0] == picks[1], strategy


# ---- figures ----


@pytest.mark.parametrize("exponent", [-1000, -600, 0, 600, 1000])
def test_figures_in_any_unit(exponent):
    a, b = RNG.normal(size=50), RNG.normal(size=50)
    small = np.sqrt(np.mean((a - b) ** 2)), np.mean(abs(a - b))
    assert diagnostics.errors(np.ldexp(a, exponent), np.ldexp(b, exponent)) == tuple(
        np.ldexp(small, exponent)
    )
    assert root_mean_square(np.zeros(3)) == 0
    assert agreement(np.ldexp(a, exponent), np.ldexp(b, exponent)) == agreement(a, b)
    assert agreement(a, np.ldexp(b, exponent)).slope == np.ldexp(agreement(a, b).slope, exponent)
    scores = RNG.normal(size=50)
    assert diagnostics.finds_errors(
        scores, np.ldexp(a, exponent), np.ldexp(b, exponent)
    ) == diagnostics.finds_errors(scores, a, b)
