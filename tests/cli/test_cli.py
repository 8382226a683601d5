"""The command line as its users meet it: tables in, models, scores and picks out."""

import gzip
import inspect
import json
import re
import subprocess
import sys

import numpy as np
import pytest
from helpers.command_line import NAMES, QUICK, cli, only_json, refused, rows_of, run

import fasttangent as ft
from fasttangent.cli import doctor as doctor_module
from fasttangent.cli import output as cli_output
from fasttangent.cli.tables.writing import write_table
from fasttangent.common import words
from fasttangent.common.tables.reading import open_table
from fasttangent.model.minibatch import Schedule

# --- help -----------------------------------------------------------------------------------------------


def test_help_loads_nothing_heavy():
    code = (
        "import sys\nfrom fasttangent.cli.app import cli\n"
        "for args in ([], ['fit'], ['score'], ['select'], ['info'], ['doctor'], ['warmup'], ['demo'],"
        " ['fidelity'], ['next'], ['tell']):\n"
        "    try:\n        cli([*args, '--help'])\n"
        "    except SystemExit as end:\n        assert end.code == 0\n"
        "heavy = {'numpy', 'numba', 'scipy', 'pyarrow', 'rich', 'pandas'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert out.returncode == 0, out.stderr
    assert out.stdout.count("Usage:") == 11


def test_options_of_fit_are_those_of_the_function():
    options = cli.commands["fit"].make_context("fit", [__file__, "-o", "m.npz"]).params
    elsewhere = {
        "X",
        "y",
        "sample_weight",
        "tangents",
        "samples",
        "start",
        "progress",
        "feature_names",
        "columns",
        "users",
        "user_layers",
    }
    parameters = inspect.signature(ft.fit).parameters
    assert {name: options[name] for name in parameters if name not in elsewhere} == {
        name: parameter.default for name, parameter in parameters.items() if name not in elsewhere
    }


WORDS = {
    "activation": words.ACTIVATIONS,
    "loss": words.LOSSES,
    "complexity": words.COMPLEXITIES,
    "optimizer": words.OPTIMIZERS,
    "curvature": words.CURVATURES,
    "dtype": words.DTYPES,
}


def described(function):
    """What a docstring says of each parameter, by name."""
    text = inspect.getdoc(function).partition("Parameters\n----------\n")[2].partition("\n\n")[0]
    found = re.findall(r"^(\w[\w, ]*) : (.*(?:\n +.*)*)", text, re.MULTILINE)
    return {name: about for names, about in found for name in names.split(", ")}


@pytest.mark.parametrize("name", ["fit", "fidelity"])
def test_choices_are_the_words_of_the_library(name):
    options = {option.name: option for option in cli.commands[name].params}
    for word in WORDS.keys() & options.keys():
        assert set(options[word].type.choices) == set(WORDS[word]), word
    assert set(options) >= {"activation", "loss", "complexity", "dtype"}
    for word, about in described(ft.fit).items():
        if word in WORDS:
            assert set(re.findall(r'"([^"]+)"', about.partition("}")[0])) == set(WORDS[word]), word


@pytest.mark.parametrize(
    ("option", "all_words", "described_by"),
    [
        ("momentum", words.OPTIMIZERS, Schedule),
        ("delta", words.LOSSES, ft.Objective),
    ],
)
def test_help_names_all_that_an_option_is_for(option, all_words, described_by):
    about = described(described_by)[option].lower()
    named = {word for word in all_words if word in about}
    assert len(named) == 2
    for command in ("fit", "fidelity"):
        for one in cli.commands[command].params:
            if one.name == option:
                assert {word for word in all_words if word in one.help.lower()} == named


def test_no_arguments_show_the_help():
    assert run().stdout == run("--help").stdout


def test_version():
    assert run("--version").stdout.strip().endswith(ft.__version__)


# --- the path from rows to picks -------------------------------------------------------------------------


def test_fit_is_the_function(trained, plain_data):
    X, y = plain_data
    direct = ft.fit(X, y, hidden=(4,), epochs=30, strength=0.01, dtype="float64", feature_names=NAMES)
    model = ft.load(trained / "m.npz")
    assert model.feature_names == tuple(NAMES)
    assert np.array_equal(model.params, direct.params)


@pytest.mark.parametrize("ending", [".csv", ".csv.gz", ".parquet"])
def test_score_writes_what_the_model_says(trained, pool, tmp_path, ending, monkeypatch):
    monkeypatch.setattr("fasttangent.cli.scoring.ROWS", 97)  # several pieces
    monkeypatch.setattr("fasttangent.common.tables.csv_file.BLOCK_BYTES", 2000)
    out = tmp_path / f"s{ending}"
    run("score", trained / "m.npz", pool, "-o", out)
    model, X = ft.load(trained / "m.npz"), open_table(pool).read()
    table = rows_of(out)
    assert table["row"].tolist() == list(range(500))
    for name in ("prediction", "sensitivity", "curiosity"):
        assert np.array_equal(table[name], getattr(model.score(X), name)), name


@pytest.mark.parametrize("strategy", ["sample", "top", "random"])
def test_select_writes_the_picked_rows(trained, pool, tmp_path, strategy):
    out = tmp_path / "picks.csv"
    result = run("select", trained / "m.npz", pool, "-k", 20, "-o", out, "--strategy", strategy, "--seed", 3)
    assert "picked 20 of 500 rows" in result.stdout
    picks, X = rows_of(out), open_table(pool).read()
    chosen = picks["row"].astype(int)
    curiosity = ft.load(trained / "m.npz").curiosity(X)
    assert list(picks) == ["row", "score", *NAMES]
    assert len(set(chosen)) == 20
    assert np.array_equal(np.column_stack([picks[name] for name in NAMES]), X[chosen])
    assert np.array_equal(picks["score"], curiosity[chosen])
    if strategy == "top":
        assert set(chosen) == set(np.argsort(-curiosity)[:20])
    again = tmp_path / "again.csv"
    run("select", trained / "m.npz", pool, "-k", 20, "-o", again, "--strategy", strategy, "--seed", 3)
    assert again.read_text() == out.read_text()


def test_picks_are_a_pool_again(trained, pool, tmp_path):
    more = ("--labeled", trained / "data.csv")
    run("select", trained / "m.npz", pool, "-k", 9, "-o", tmp_path / "a.csv", *more)
    run("select", trained / "m.npz", tmp_path / "a.csv", "-k", 4, "-o", tmp_path / "b.parquet", *more)
    assert list(rows_of(tmp_path / "b.parquet")) == ["row", "score", "pool_row", "pool_score", *NAMES]


def test_columns_are_matched_by_name(trained, pool, tmp_path):
    X = rows_of(pool)
    shuffled = {"note": np.array(["blue"] * 500), "mass": X["mass"], "y": X["mass"], **X}
    write_table(tmp_path / "p.csv", shuffled)
    for path, out in [(pool, "a.csv"), (tmp_path / "p.csv", "b.csv")]:
        run("score", trained / "m.npz", path, "-o", tmp_path / out)
    assert (tmp_path / "a.csv").read_text() == (tmp_path / "b.csv").read_text()


def test_missing_columns_are_listed(trained, pool, tmp_path):
    X = rows_of(pool)
    write_table(tmp_path / "p.csv", {"spede": X["speed"], "mass": X["mass"]})
    line = refused("score", trained / "m.npz", tmp_path / "p.csv", "-o", tmp_path / "s.csv")
    assert "lacks columns the model was fitted on: 'speed' (the nearest is 'spede'), 'height'; add" in line


def test_without_names_columns_are_matched_by_position(plain_data, tmp_path):
    X, y = plain_data
    np.save(tmp_path / "data.npy", np.column_stack([X, y]))
    np.savetxt(tmp_path / "data.csv", np.column_stack([X, y]), delimiter=",", fmt="%.17g")
    for name in ("data.npy", "data.csv"):
        assert run("fit", tmp_path / name, "-o", tmp_path / f"{name}.npz", *QUICK).stderr == ""
    model = ft.load(tmp_path / "data.csv.npz")
    assert model.feature_names is None
    assert np.array_equal(model.params, ft.load(tmp_path / "data.npy.npz").params)
    score = ["score", tmp_path / "data.npy.npz", tmp_path / "data.csv", "-o", tmp_path / "s.csv"]
    line = refused(*score)
    assert "has 4 columns but the model was fitted on 3" in line
    assert "leave it out with --drop COLUMN" in line
    assert run(*score, "--drop", "-1").stderr == ""
    assert np.array_equal(rows_of(tmp_path / "s.csv")["prediction"], model.predict(X))


def test_names_on_one_side_only_are_a_warning(trained, plain_data, tmp_path):
    np.save(tmp_path / "p.npy", plain_data[0])
    result = run("score", trained / "m.npz", tmp_path / "p.npy", "-o", tmp_path / "s.csv")
    assert result.stderr.count("fasttangent: warning: ") == 1
    assert "matched by position" in result.stderr


def test_several_targets_weights_and_dropped_columns(plain_data, tmp_path):
    X, y = plain_data
    w = np.linspace(0.5, 2, len(y))
    columns = {name: X[:, i] for i, name in enumerate(NAMES)}
    note = np.array(["a"] * len(y))
    write_table(tmp_path / "d.parquet", {"note": note, "w": w, "y1": y, **columns, "y2": y**2})
    run(
        "fit", tmp_path / "d.parquet", "--target", "y1", "--target", -1, "--weights", "w", "--drop", "note",
        "-o", tmp_path / "m.npz", *QUICK,
    )  # fmt: skip
    model = ft.load(tmp_path / "m.npz")
    Y = np.column_stack([y, y**2])
    direct = ft.fit(X, Y, hidden=(4,), epochs=30, strength=0.01, dtype="float64", sample_weight=w)
    assert np.array_equal(model.params, direct.params)
    run("score", tmp_path / "m.npz", tmp_path / "d.parquet", "-o", tmp_path / "s.csv")
    names = ["row", "prediction_0", "prediction_1", "sensitivity_0", "sensitivity_1", "curiosity"]
    assert list(rows_of(tmp_path / "s.csv")) == names


def test_rows_with_missing_values(trained, pool, tmp_path):
    lines = pool.read_text().splitlines()
    lines[8], lines[400] = ",1,2", "1,NA,inf"
    path = tmp_path / "holes.csv"
    path.write_text("\n".join(lines))
    result = run("score", trained / "m.npz", path, "-o", tmp_path / "s.csv")
    assert result.stderr.count("\n") == 1
    assert "2 of 500 rows" in result.stderr
    assert "first row 7 (counted from 0)" in result.stderr
    table = rows_of(tmp_path / "s.csv")
    for name in ("prediction", "sensitivity", "curiosity"):
        assert np.flatnonzero(np.isnan(table[name])).tolist() == [7, 399]
    for strategy in ("sample", "top", "random"):
        run("select", trained / "m.npz", path, "-k", 498, "-o", tmp_path / "p.csv", "--strategy", strategy)
        assert set(rows_of(tmp_path / "p.csv")["row"]) == set(range(500)) - {7, 399}
    many = ("-k", 499, "--strategy", "sample")
    line = run("select", trained / "m.npz", path, "-o", tmp_path / "p.csv", *many, code=2).stderr
    assert "k must be at most the 498 rows of the pool that can be picked, got 499: 2 are not finite" in line


def test_info(trained):
    text = run("info", trained / "m.npz").stdout
    assert "3-4-1" in text
    assert "tanh" in text
    assert re.search(r"trusted +yes", text)
    assert "speed" in text


# --- trust -----------------------------------------------------------------------------------------------


def test_an_unsettled_model_says_so_once(trained, pool, tmp_path, monkeypatch):
    monkeypatch.setattr("fasttangent.cli.scoring.ROWS", 50)
    monkeypatch.setattr("fasttangent.common.tables.csv_file.BLOCK_BYTES", 2000)
    fitted = run(
        "fit", trained / "data.csv", "-o", tmp_path / "m.npz", *QUICK, "--settle", "no", "--epochs", 3
    )
    assert re.search(r"trusted +no\n  reasons +not stationary", fitted.stdout)
    assert fitted.stderr.startswith("fasttangent: warning: scores of this model are not to be trusted: not ")
    assert fitted.stderr.count("\n") == 1
    result = run("score", tmp_path / "m.npz", pool, "-o", tmp_path / "s.csv", "--json")
    warnings = [line for line in result.stderr.splitlines() if line.startswith("fasttangent: warning: ")]
    assert len(warnings) == 1 == len(result.stderr.splitlines())
    assert json.loads(result.stdout)["trusted"] is False
    assert json.loads(run("info", tmp_path / "m.npz", "--json").stdout)["certificate"]["reasons"]


# --- JSON ------------------------------------------------------------------------------------------------


def test_every_command_prints_one_document(trained, pool, tmp_path, monkeypatch):
    m, out = trained / "m.npz", tmp_path / "out.csv"
    fitted = only_json(run("fit", trained / "data.csv", "-o", tmp_path / "m.npz", *QUICK, "--json").stdout)
    assert fitted["model"] == str(tmp_path / "m.npz")
    assert fitted["interrupted"] is False
    scored = only_json(run("score", m, pool, "-o", out, "--json").stdout)
    assert (scored["rows"], scored["missing_rows"], scored["first_missing_row"]) == (500, 0, None)
    assert (
        only_json(run("select", m, pool, "-k", 5, "-o", out, "--strategy", "sample", "--json").stdout)[
            "picked"
        ]
        == 5
    )
    assert only_json(run("info", m, "--json").stdout)["certificate"]["trusted"] is True
    monkeypatch.setattr(doctor_module, "warmup", lambda report, *_: report("compiling", 1, 1))
    assert only_json(run("warmup", "--json").stdout)["seconds"] >= 0
    assert only_json(run("doctor", "--no-self-test", "--json").stdout)["vector_bits"] in (128, 256, 512)


def test_json_of_a_refusal(trained):
    result = run("info", trained / "data.csv", "--json", code=1)
    document = only_json(result.stdout)
    assert document["exit_code"] == 1
    assert document["error"] in result.stderr


def test_json_has_no_nan():
    value = {"a": np.array([1.0, np.nan]), "b": (np.float32(np.inf), np.int64(3), True, None), 1: {"c": b"x"}}
    assert cli_output.plain(value) == {"a": [1.0, None], "b": [None, 3, True, None], "1": {"c": "b'x'"}}


# --- doctor, warmup, demo --------------------------------------------------------------------------------


def test_doctor_finds_nothing_wrong():
    result = run("doctor", "--json")
    document = only_json(result.stdout)
    assert document["passed"] is True
    assert len(document["self_test"]) >= 5
    assert document["lanes_float32"] == 2 * document["lanes_float64"]
    assert document["lanes_float32"] * 32 == document["vector_bits"]
    assert document["tile_rows"] * document["tile_vectors"] == document["tile_accumulators"]
    assert isinstance(document["fused_multiply_add"], bool)
    for threads in ("1_thread", "all_threads"):
        assert (
            document[f"peak_gflops_float32_{threads}"] > 0.5 * document[f"peak_gflops_float64_{threads}"] > 0
        )
        assert document[f"scoring_rows_per_second_{threads}"] > 0
        assert (
            document[f"scoring_share_of_peak_{threads}"] > 0
        )  # above 1 now and then: a shared machine, the peak too
    assert document["cores_available"] >= 1


def test_doctor_only_looks(monkeypatch):
    monkeypatch.setattr(doctor_module, "measure", lambda: 1 / 0)
    found = run("doctor", "--no-self-test").stdout
    assert "tile accumulators" in found
    assert "peak" not in found


def test_doctor_reports_what_failed(monkeypatch):
    monkeypatch.setattr(doctor_module, "measure", dict)
    monkeypatch.setattr(doctor_module, "_settles", lambda: 1 / 0)
    result = run("doctor", code=1)
    assert "FAILED: ZeroDivisionError" in result.stdout
    assert result.stderr == "fasttangent: error: the self-test failed: settles\n"


def test_warmup_runs_every_dtype(monkeypatch):
    from fasttangent.active import rehearsal

    seen = []
    monkeypatch.setattr(rehearsal, "everything", seen.append)
    assert "compiled in" in run("warmup").stdout
    assert seen == ["float32", "float64"]


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--cpu", "x86-64-v3"], "go together"),
        (["-o", "folder"], "go together"),
        (["--cpu", "z80", "-o", "folder"], "must be kinds of processor"),
    ],
)
def test_warmup_for_others_needs_both_and_known_names(arguments, why, monkeypatch):
    monkeypatch.setattr(doctor_module, "warmup", None)
    assert why in run("warmup", *arguments, code=2).stderr


def test_demo_passes_its_options_on(monkeypatch, tmp_path):
    from fasttangent.cli import demo as arm

    def fake(**settings):
        settings.pop("report")("round", 1, 1)
        return settings

    monkeypatch.setattr(arm, "run", fake)
    monkeypatch.setattr(arm, "table", lambda result: f"seeds {result['seeds']}")
    picture = tmp_path / "d.png"
    assert run("demo", "--seeds", 2, "--picture", picture).stdout == "seeds 2\n"
    document = only_json(run("demo", "--pool", 1000, "--picture", picture, "--json").stdout)
    assert document["pool"] == 1000
    assert document["picture"] == str(picture)


def test_gzip_scores_are_gzip(trained, pool, tmp_path):
    run("score", trained / "m.npz", pool, "-o", tmp_path / "s.csv.gz")
    with gzip.open(tmp_path / "s.csv.gz") as file:
        assert file.readline() == b"row,prediction,sensitivity,curiosity\n"
