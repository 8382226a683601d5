"""The active learning loop: oracles, answers that fail, budgets, what is refused, figures, command line."""

import errno
import inspect
import json
import os
import warnings

import numpy as np
import pytest
from helpers import python
from helpers.command_line import cli, only_json, refused, rows_of, run
from helpers.kill_active import FIT, learner, pool_and_labels

import fasttangent as ft
from fasttangent.active.loop import diagnostics
from fasttangent.active.loop.campaign import JOURNAL, MANIFEST
from fasttangent.cli.tables.writing import write_table

pytestmark = pytest.mark.filterwarnings("ignore::fasttangent.UntrustedTangentWarning")
X, Y = pool_and_labels()
WHOLE = np.where(np.isnan(Y), 0.0, Y)


def rows_asked(run):
    return [record["rows"] for record in run.history]


def flat(run):
    return [row for rows in rows_asked(run) for row in rows]


# --- oracles ---------------------------------------------------------------------------------------------


def test_array_function_chunks_and_person_pick_the_same_rows():
    array = learner(None, "array").run()
    function = learner(None, "function", oracle=lambda Z, rows: Y[rows], at_once=4).run()
    person = learner(None, "person", oracle=None)
    while len(rows := person.ask()):
        assert person.ask().tolist() == rows.tolist()
        person.tell({int(row): Y[row] for row in rows[::-1][:2]})
        person.tell(Y[person.ask()] if len(person.ask()) and person.campaign.state.open else [])
    assert rows_asked(array) == rows_asked(function) == rows_asked(person)
    assert array.campaign.state.labels == function.campaign.state.labels == person.campaign.state.labels
    assert len(array.campaign.state.labels) == 20
    assert array.stopped == person.stop_reason == "the budget of 20 labels is spent"


def test_rows_that_fail_are_recorded_and_not_asked_again():
    def oracle(Z, rows):
        if rows[0] % 2:
            raise OSError("the instrument is stuck")
        return [None] if rows[0] % 3 == 0 else WHOLE[rows]

    run = learner(None, "function", oracle=oracle).run()
    asked = flat(run)
    assert len(asked) == len(set(asked))
    assert len(run.campaign.state.labels) == 20
    assert all(row % 2 == 0 and row % 3 for row in run.campaign.state.labels)
    assert "the instrument is stuck" in next(why for row, why in run.campaign.state.failed.items() if row % 2)
    failed = len(run.campaign.state.failed)
    assert run.retry() == failed > 0
    assert not run.campaign.state.failed


def test_an_oracle_that_always_fails_is_an_error():
    run = learner(None, "function", oracle=lambda Z: 1 / 0)
    with pytest.raises(ft.CampaignError, match="the last 12 rows all failed, one with: ZeroDivisionError"):
        run.run()


def test_an_oracle_of_the_wrong_shape_is_an_error():
    run = learner(None, "function", oracle=lambda Z: np.ones((len(Z), 2, 2)), at_once=3)
    with pytest.raises(ValueError, match="oracle must return"):
        learner(None, "function", oracle=lambda Z: [1.0, 2.0], at_once=3).run()
    del run


def test_given_labels_are_learned_first_and_their_rows_not_asked():
    run = learner(None, "array", X=X[:30], y=WHOLE[:30], oracle=WHOLE, budget=None, batch=45).run()
    assert sorted(flat(run)) == list(range(30, 120))
    assert run.stopped == "all rows of the pool have been asked"
    assert [h["labels"] for h in run.history] == [30, 75, 120]
    inputs, labels = run.labelled()
    assert np.array_equal(inputs[:30], X[:30])
    rows = flat(run)
    assert np.array_equal(labels[30:], WHOLE[rows])


def test_copies_of_one_row_are_asked_once():
    pool = np.concatenate([np.repeat(X[:1], 50, axis=0), X[1:20]])
    run = ft.ActiveLearner(
        pool, X[20:40], WHOLE[20:40], oracle=np.arange(69.0), batch=8, fit=FIT, seed=1
    ).run()
    assert run.stopped == "all rows of the pool have been asked"


def test_several_outputs_and_rows_that_cannot_be_asked():
    pool = X.copy()
    pool[5] = np.nan
    with pytest.warns(UserWarning, match="1 of 120 rows of X_pool"):
        run = ft.ActiveLearner(pool, oracle=np.column_stack([WHOLE, X[:, 0]]), batch=50, budget=119, fit=FIT)
    assert 5 not in flat(run.run())
    assert run.model.n_outputs == 2


def test_a_strategy_of_ones_own():
    def furthest(model, pool, k, *, labeled, seed):
        return np.argsort(-abs(pool[:, 0]))[:k]

    run = learner(None, "array", oracle=WHOLE, strategy=furthest, X=X[:10], y=WHOLE[:10], budget=6).run()
    assert sorted(rows_asked(run)[0]) == sorted((10 + np.argsort(-abs(X[10:, 0]))[:6]).tolist())


# --- asking a person -------------------------------------------------------------------------------------


def test_what_tell_refuses():
    run = learner(None, "person", oracle=None)
    rows = [int(row) for row in run.ask()]
    other = next(row for row in range(120) if row not in rows)
    for labels, message in [
        ({other: 1.0}, f"row {other} was not asked"),
        ([1.0, 2.0], r"labels must have one value per open row \(6\), got 2"),
        ({rows[0]: np.inf}, "must be finite"),
        ({rows[0]: "x"}, "must be a number"),
        ({rows[0]: 1.0, rows[1]: [1.0, 2.0]}, "same number of outputs"),
    ]:
        with pytest.raises((ValueError, TypeError), match=message):
            run.tell(labels)
    assert run.campaign.state.labels == {}
    assert run.tell({rows[0]: 1.0, rows[1]: None}) == 2
    assert run.tell({rows[0]: 1.0}) == 0
    with pytest.raises(ValueError, match=r"has the label 1.0 and was now told 2.0"):
        run.tell({rows[0]: 2.0, rows[2]: 5.0})
    assert rows[2] not in run.campaign.state.labels
    assert run.tell({rows[0]: 2.0}, correct=True) == 1
    assert run.tell({rows[1]: 3.0}) == 1  # a label after all
    assert run.campaign.state.labels == {rows[0]: 2.0, rows[1]: 3.0}
    assert run.skip() == 4
    assert len(run.campaign.state.failed) == 4


# --- on disk ---------------------------------------------------------------------------------------------


def test_a_campaign_goes_on_in_another_process_and_is_locked(tmp_path):
    folder = tmp_path / "c"
    first = learner(folder, "array")
    first.step()
    code = (
        "import sys\nfrom helpers.kill_active import learner\n"
        "try:\n    learner(sys.argv[1], 'array').step()\nexcept Exception as error:\n    print(error)\n"
    )
    printed = python("-c", code, str(folder))
    assert f"is in use by process {os.getpid()} on" in printed
    again = learner(folder, "array")  # in the same process: takes over
    with pytest.raises(ft.CampaignError, match="a later one of this process took the folder over"):
        first.step()
    assert rows_asked(again.run()) == rows_asked(learner(None, "array").run())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch": 7}, "batch was 6 and is 7"),
        ({"strategy": "top"}, 'strategy was "sample" and is "top"'),
        ({"fit": {**FIT, "epochs": 6}}, "fit epochs was 5 and is 6"),
        ({"seed": 6}, "seed was 5 and is 6"),
        ({"X": X[:4], "y": WHOLE[:4]}, "labeled was null"),
    ],
)
def test_changed_settings_are_named(tmp_path, change, message):
    learner(tmp_path / "c", "array").close()
    with pytest.raises(ValueError, match=message):
        learner(tmp_path / "c", "array", **change)
    learner(tmp_path / "c", "array", budget=100, patience=3).close()  # rules for stopping may change


def test_a_changed_pool_is_named(tmp_path):
    learner(tmp_path / "c", "array").close()
    with pytest.raises(ValueError, match="the values of pool are not the same"):
        ft.ActiveLearner(X + 1e-9, oracle=Y, batch=6, fit=FIT, seed=5, folder=tmp_path / "c")


def test_damage_in_the_journal(tmp_path):
    folder = tmp_path / "c"
    learner(folder, "array").run(rounds=2).close()
    path = folder / JOURNAL
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"n": 99, "event": "to')  # torn: never confirmed
    learner(folder, "array").close()
    assert path.read_bytes() == whole
    lines = whole.splitlines(keepends=True)
    for damaged in (lines[:1] + lines[2:], [lines[0], lines[1].replace(b"1", b"2", 1), *lines[2:]]):
        path.write_bytes(b"".join(damaged))
        with pytest.raises(ft.CampaignError, match="is damaged in line 2"):
            learner(folder, "array")
        assert path.read_bytes() == b"".join(damaged)
    path.write_bytes(whole)
    (folder / MANIFEST).unlink()
    with pytest.raises(ft.CampaignError, match=r"no manifest\.json"):
        learner(folder, "array")


def test_a_full_disk_loses_nothing(tmp_path, monkeypatch):
    folder, real = tmp_path / "c", os.write
    run = learner(folder, "function", oracle=lambda Z, rows: WHOLE[rows])
    calls = 0

    def full(file, data):
        nonlocal calls
        calls += 1
        if calls == 5:
            real(file, data[: len(data) // 2])
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(file, data)

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="No space left on device") as caught:
        run.run()
    monkeypatch.undo()
    assert JOURNAL in str(caught.value)
    assert "(row: label) were not recorded" in str(caught.value)
    row = next(iter(run.campaign.state.doubtful))
    run.close()
    run = learner(folder, "function", oracle=lambda Z, rows: WHOLE[rows])
    with pytest.raises(ft.CampaignError, match=rf"rows \[{row}\] were handed to the oracle"):
        run.run()
    run.tell({row: WHOLE[row]})
    expected = learner(None, "function", oracle=lambda Z, rows: WHOLE[rows]).run()
    assert rows_asked(run.run()) == rows_asked(expected)


@pytest.mark.parametrize(("in_doubt", "made"), [("ask", 2), ("failed", 1)])
def test_ctrl_c_in_the_oracle(tmp_path, in_doubt, made):
    calls = []

    def oracle(Z, rows):
        calls.append(int(rows[0]))
        if len(calls) == 9:
            raise KeyboardInterrupt
        return WHOLE[rows]

    run = learner(tmp_path / "c", "function", oracle=oracle, in_doubt=in_doubt)
    assert run.run().stopped == "interrupted"
    run.run()
    assert calls.count(calls[8]) == made
    assert len(run.campaign.state.labels) == 20


def test_a_lost_model_is_fitted_again(tmp_path):
    run = learner(tmp_path / "c", "array").run(rounds=2)
    (file,) = (tmp_path / "c").glob("model-*.npz")
    run.close()
    file.unlink()
    again = learner(tmp_path / "c", "array").run()
    assert rows_asked(again) == rows_asked(learner(None, "array").run())


def test_warnings_point_at_the_line_that_called(tmp_path):
    learner(tmp_path / "c", "warm", oracle=WHOLE).run(rounds=1).close()
    (file,) = (tmp_path / "c").glob("model-*.npz")
    file.unlink()
    again = learner(tmp_path / "c", "warm", oracle=WHOLE)
    with pytest.warns(UserWarning, match="this fit starts anew") as caught:
        again.run(rounds=2)
    pool = X.copy()
    pool[5] = np.nan
    with pytest.warns(UserWarning, match="rows of X_pool") as more:
        ft.ActiveLearner(pool, oracle=WHOLE, fit=FIT)
    assert {str(warning.filename) for warning in (*caught, *more)} == {__file__}


def test_settings_may_be_changed_between_rounds_and_are_checked():
    run = learner(None, "control", oracle=WHOLE).run()
    with pytest.raises(ValueError, match="budget must be"):
        run.budget = 0
    assert run.budget == 20
    run.budget = 26
    assert run.run().stopped == "the budget of 26 labels is spent"
    assert len(run.campaign.state.labels) == 26
    assert len(run.control.campaign.state.labels) == run.control.budget == 20


# --- beside random labelling, figures --------------------------------------------------------------------


def test_the_control_is_charged_and_asks_nothing_twice():
    calls = []

    def oracle(Z, rows):
        calls.extend(rows.tolist())
        return WHOLE[rows]

    run = learner(None, "control", oracle=oracle).run()
    assert len(calls) == len(set(calls))
    found = run.summary()
    assert found["labels_asked_for_this_run"] + found["labels_asked_for_the_control"] == len(calls)
    assert rows_asked(run)[0] == rows_asked(run.control)[0]
    curve = run.curve()
    assert len(curve["rmse"]) == len(curve["control_rmse"]) >= 2
    tested = learner(None, "control", oracle=WHOLE, test=(X[:50], WHOLE[:50])).run()
    curve = tested.curve()
    assert curve["rmse"][-1] == pytest.approx(
        np.sqrt(np.mean((tested.model.predict(X[:50]) - WHOLE[:50]) ** 2)), rel=1e-5
    )
    assert len(curve["control_rmse"]) == len(curve["control_labels"])


def test_figures_of_a_round():
    run = learner(None, "array", oracle=WHOLE).run()
    record = run.history[2]
    before = learner(None, "array", oracle=WHOLE).run(rounds=2).model
    rows = record["rows"]
    residual = before.predict(X[rows]) - WHOLE[rows]
    assert record["batch_rmse"] == pytest.approx(np.sqrt(np.mean(residual**2)), rel=1e-5)
    assert record["batch_mae"] == pytest.approx(np.mean(abs(residual)), rel=1e-5)
    assert run.summary()["rmse_mae_ratio"] >= 1
    json.dumps(run.history), json.dumps(run.summary())


def test_redundancy_of_near_copies():
    others = np.random.default_rng(0).normal(size=(400, 2))
    copies = others[:1] + 1e-3 * np.random.default_rng(1).normal(size=(20, 2))
    assert diagnostics.redundancy(copies, others, 0) < 0.02
    ratios = [diagnostics.redundancy(others[20 * i : 20 * i + 20], others, i) for i in range(20)]
    assert np.mean(ratios) == pytest.approx(1, abs=0.1)


def test_an_outlook_is_left_out_where_a_fold_cannot_be_fitted():
    labels = np.zeros(12)
    labels[3] = 1.0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert diagnostics.outlook(X[:12], labels, FIT, 0) is None  # one fold holds all that differs
        assert diagnostics.outlook(X[:12], WHOLE[:12], {**FIT, "validation": 0.05}, 0) is None


def test_an_outlook_does_not_hide_errors(monkeypatch):
    fast = {**FIT, "optimizer": "momentum", "learning_rate": 1e6, "epochs": 50}
    with pytest.warns(UserWarning, match="there is no outlook, since a fit to 4 of 5 parts"):
        assert diagnostics.outlook(X[:30], WHOLE[:30], fast, 0) is None
    for error in (ValueError, ft.IndefiniteError):

        def broken(*_, error=error, **__):
            raise error("a defect")

        monkeypatch.setattr(diagnostics, "fit", broken)
        with pytest.raises(error, match="a defect"):
            diagnostics.outlook(X[:30], WHOLE[:30], FIT, 0)


def test_rules_for_stopping():
    def told(errors, change=1.0):
        return [{"test_rmse": None, "batch_rmse": e, "expected_change": change} for e in errors]

    assert diagnostics.enough(told([4, 3, 2, 1]), 2, 0.01, None) is None
    assert "did not fall over 2 rounds" in diagnostics.enough(told([4, 3, 2, 2, 2, 2]), 2, 0.01, None)
    assert diagnostics.enough(told([2, 2, 2]), 2, 0.01, None) is None
    assert "expected to change" in diagnostics.enough(told([1], 1e-4), None, 0.01, 1e-3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"strategy": "best"}, "strategy must be one of"),
        ({"fit": {"hiden": (3,)}}, "did you mean 'hidden'"),
        ({"fit": {"strength": -1}}, "strength"),
        ({"select": {"color": 1}}, "a setting in select"),
        ({"X": X}, "X and y go together"),
        ({"oracle": Y[:7]}, "oracle must have shape"),
        ({"oracle": None, "random_control": True}, "random_control needs an oracle"),
        ({"batch": 0}, "batch must be"),
        ({"in_doubt": "guess"}, "in_doubt must be one of"),
    ],
)
def test_bad_arguments(tmp_path, arguments, message):
    with pytest.raises((ValueError, TypeError), match=message):
        learner(tmp_path / "c", "array", **arguments)
    assert not (tmp_path / "c").exists()


# --- the command line ------------------------------------------------------------------------------------


def fill(path, label):
    """Fill in a table of picks, its rows turned round and a column added."""
    columns = {name: values[::-1] for name, values in rows_of(path).items()}
    rows = columns["row"].astype(int)
    columns["y"] = np.array([label(row) for row in rows], dtype=object).astype(str)
    write_table(path, {"note": np.array(["ok"] * len(rows)), **columns})
    return rows


def test_defaults_of_next_are_those_of_the_learner():
    defaults = cli.commands["next"].make_context("next", ["--folder", "c"]).params
    parameters = inspect.signature(ft.ActiveLearner).parameters
    for name in ("strategy", "start", "budget", "seed", "threads"):
        assert defaults[name] == parameters[name].default, name


def test_next_and_tell(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_table("pool.csv", {"a": X[:, 0], "b": X[:, 1]})
    quick = ["--hidden", "4", "--epochs", "5", "--settle", "no"]
    run("next", "pool.csv", "--folder", "c", "-k", 12, "-o", "p.csv", "--target", "y", *quick)
    assert list(rows_of("p.csv")) == ["row", "a", "b", "y"]
    asked = rows_of("p.csv")["row"].tolist()
    run("next", "--folder", "c", "-k", 12, "-o", "p.csv")
    assert rows_of("p.csv")["row"].tolist() == asked  # the same again
    rows = fill("p.csv", lambda row: "failed" if row == asked[0] else "" if row == asked[1] else WHOLE[row])
    line = refused("next", "--folder", "c", "-k", 12, "-o", "p.csv")
    assert "holds labels that were not told yet" in line
    told = only_json(run("tell", "p.csv", "--folder", "c", "--json").stdout)
    assert (told["told"], told["failed"], told["open"], told["labels"]) == (11, 1, 1, 10)
    assert "told          0" in run("tell", "p.csv", "--folder", "c").stdout
    found = only_json(run("next", "--folder", "c", "-k", 5, "-o", "q.csv", "--skip", "--json").stdout)
    assert (found["picked"], found["skipped"], found["failed"]) == (5, 1, 2)
    assert not set(rows_of("q.csv")["row"]) & set(rows)
    assert "    1      10      5 " in run("next", "--folder", "c", "--status").stdout
    assert "hidden was [4] and is [8]" in refused(
        "next", "--folder", "c", "-k", 5, "-o", "q.csv", "--hidden", "8"
    )


def test_what_tell_refuses_on_the_command_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_table("pool.csv", {"a": X[:, 0], "b": X[:, 1]})
    write_table("first.csv", {"a": X[:20, 0], "b": X[:20, 1], "y": WHOLE[:20]})
    quick = ["--hidden", "4", "--epochs", "5", "--settle", "no", "--labeled", "first.csv"]
    run("next", "pool.csv", "--folder", "c", "-k", 6, "-o", "p.csv", *quick)
    picks = rows_of("p.csv")
    assert min(picks["row"]) >= 20
    filled = {**picks, "row": picks["row"].astype(int), "y": np.arange(6.0)}
    for change, message in [
        ({"row": filled["row"][::-1]}, "was only part of the table sorted?"),
        ({"row": np.array([0, *filled["row"][1:]]), "a": [""] * 6, "b": [""] * 6}, "row 0 was not asked"),
        (
            {"row": np.array([filled["row"][1], *filled["row"][1:]]), "a": [""] * 6, "b": [""] * 6},
            "two labels for row",
        ),
        ({"y": np.array(["1,5"] * 6)}, "write a number with a point"),
    ]:
        write_table("bad.csv", {name: np.asarray(v) for name, v in {**filled, **change}.items()})
        assert message in refused("tell", "bad.csv", "--folder", "c")
    write_table("no.csv", {"a": filled["a"], "y": filled["y"]})
    assert "has no column 'row'" in refused("tell", "no.csv", "--folder", "c")
    assert "holds no campaign" in refused("tell", "p.csv", "--folder", "elsewhere", code=1)
    assert "holds no campaign" in refused("next", "--status", "--folder", "elsewhere", code=1)
    assert "Missing argument 'POOL'" in refused("next", "--folder", "elsewhere", "-k", 1, "-o", "p.csv")
