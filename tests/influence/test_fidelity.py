"""The fidelity report: each method against a slow twin, its figures recomputed, its verdict, its refusals."""

import inspect
import os
import re
import sys
import tracemalloc

import numpy as np
import pytest
from helpers.command_line import cli, only_json, refused, run

import fasttangent as ft
from fasttangent.cli import plots
from fasttangent.cli.tables.writing import write_table
from fasttangent.common.errors import IndefiniteError
from fasttangent.influence.fidelity import methods as fidelity_methods
from fasttangent.influence.fidelity import report as fidelity_report
from fasttangent.influence.fidelity.comparison import Comparison, verdict

SMALL = {"hidden": (4,), "refits": 12, "epochs": 30, "strength": 0.02, "dtype": "float64"}
OPTIONS = ["--hidden", "4", "--refits", "12", "--epochs", "30", "--strength", "0.02", "--dtype", "float64"]
METHODS = [
    "SGD first stage", "momentum first stage", "Adam first stage", "settled tangent", "exact solve",
    "CG to 1e-8", "CG to 1e-4", "CG to 1e-2", "LiSSA 1000 products", "Gauss-Newton solve", "gradient product",
]  # fmt: skip


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(7)
    X = rng.normal(size=(160, 3)) * [1.0, 20.0, 0.03]
    Z = X / [1.0, 20.0, 0.03]
    return X, 40 + 10 * (np.sin(Z[:, 0]) + 0.5 * Z[:, 1] * Z[:, 2] + 0.2 * rng.normal(size=160))


@pytest.fixture(scope="module")
def found(rows):
    return ft.fidelity(*rows, rows=70, **SMALL)


def by_name(found):
    return {row.method: row for row in found.rows}


# --- the methods -----------------------------------------------------------------------------------------


def gradients(model, X, y):
    """grad loss of each row, (n, p), one problem a row."""
    each = []
    for i in range(len(X)):
        problem = model.problem(X[[i, i]], y[[i, i]])  # a row twice: the mean is that of one
        strength = model.objective.strength
        gradient = problem.value_and_gradient(model.params)[1]
        each.append(gradient - strength * problem.complexity_gradient(model.params))
    return np.array(each)


@pytest.mark.parametrize(
    ("method", "gauss_newton", "tolerance"),
    [
        ("exact solve", False, 1e-9),
        ("settled tangent", False, 1e-6),
        ("CG to 1e-8", False, 1e-6),
        ("Gauss-Newton solve", True, 1e-9),
        ("gradient product", None, 1e-12),
    ],
)
def test_scores_are_those_of_dense_algebra(rows, found, method, gauss_newton, tolerance):
    X, y = rows
    model, train, new = found.model, found.trained_on, found.candidates
    problem, theta = model.problem(X[train], y[train]), model.params
    tau = -problem.complexity_gradient(theta)
    if gauss_newton is not None:
        tau = np.linalg.solve(problem.product(theta, np.eye(len(theta)), gauss_newton=gauss_newton), tau)
    expected = gradients(model, X[new], y[new]) @ tau
    np.testing.assert_allclose(found.scores[method], expected, rtol=0, atol=tolerance * abs(expected).max())


@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adam"])
def test_first_stages_are_models_that_did_not_settle(rows, found, optimizer):
    X, y = (a[found.trained_on] for a in rows)
    model = ft.fit(
        X, y, hidden=(4,), epochs=30, strength=0.02, dtype="float64", settle=False, optimizer=optimizer,
        learning_rate=fidelity_methods.RATES[optimizer],
    )  # fmt: skip
    with pytest.warns(ft.UntrustedTangentWarning):
        expected = model.influence(*(a[found.candidates] for a in rows))
    np.testing.assert_array_equal(found.scores[fidelity_methods.FIRST_STAGES[optimizer]], expected)


def test_refits_are_what_scores_are_to_predict(found):
    exact = found.scores["exact solve"][found.refitted]
    np.testing.assert_allclose(found.refits.derivative, exact, rtol=0, atol=1e-5 * abs(exact).max())
    np.testing.assert_allclose(found.refits.eps, 1 / 70)
    np.testing.assert_allclose(found.refits.complexity_first[:, 1], exact / 70, rtol=1e-6)


def test_a_method_with_a_looser_tolerance_is_further_off(found):
    method = by_name(found)
    exact = found.scores["exact solve"]
    off = [np.linalg.norm(found.scores[name] - exact) for name in ("CG to 1e-8", "CG to 1e-2")]
    assert off[0] < 1e-6 * np.linalg.norm(exact)
    for tolerance in ("1e-8", "1e-4", "1e-2"):
        assert method[f"CG to {tolerance}"].residual <= float(tolerance)
    assert method["gradient product"].residual > 0.1
    assert method["Gauss-Newton solve"].residual > 1e-3


# --- the figures -----------------------------------------------------------------------------------------


def ranks(a):
    return np.argsort(np.argsort(a))


@pytest.mark.parametrize("method", METHODS)
def test_figures(found, method):
    row, scores, exact = by_name(found)[method], found.scores[method], found.scores["exact solve"]
    truth, refitted = found.refits.derivative, scores[found.refitted]
    correlation = [np.corrcoef(a, b)[0, 1] for a, b in ((scores, exact), (refitted, truth))]
    rank = [np.corrcoef(ranks(a), ranks(b))[0, 1] for a, b in ((scores, exact), (refitted, truth))]
    assert [row.pearson, row.refit_pearson] == pytest.approx(correlation, abs=1e-12)
    assert [row.spearman, row.refit_spearman] == pytest.approx(rank, abs=1e-12)
    assert row.top == float(np.argmax(abs(scores)) == np.argmax(abs(exact)))  # 1 % of 90 candidates is one
    assert row.agrees == (row.refit_spearman >= 0.99)
    assert row.trusted == (not row.reasons)
    assert row.seconds > 0
    assert row.memory > 0


def test_top_is_the_share_of_the_largest_hundredth():
    from fasttangent.influence.fidelity.comparison import _overlap

    exact = np.arange(400.0) - 100.0  # largest: 299, 298, 297, 296
    scores = exact.copy()
    scores[[399, 0]] = 0.0, 1000.0
    assert _overlap(scores, exact) == 0.75
    assert np.isnan(_overlap(np.where(exact > 0, exact, np.nan), exact))


def test_the_certificate_of_each_method(found):
    assert [row.method for row in found.rows] == METHODS == list(found.scores)
    trusted = {row.method for row in found.rows if row.trusted}
    assert trusted >= {"settled tangent", "exact solve", "CG to 1e-8"}
    for name in (
        "SGD first stage",
        "Adam first stage",
        "CG to 1e-2",
        "Gauss-Newton solve",
        "gradient product",
    ):
        assert name not in trusted
    assert all(row.agrees for row in found.rows if row.trusted)
    assert found.verdict.startswith(f"The certificate was right: {len(trusted)} of {len(trusted)} methods")


def test_memory_of_a_dense_solve_holds_the_matrix(found):
    p = found.model.network.layout.n_params
    assert by_name(found)["exact solve"].memory >= 8 * p * p
    assert by_name(found)["gradient product"].memory < by_name(found)["CG to 1e-8"].memory


def test_tracing_that_was_on_stays_on():
    tracemalloc.start()
    try:
        with fidelity_methods._traced() as peak:
            block = np.ones(100_000)
            assert peak() >= block.nbytes
        assert tracemalloc.is_tracing()
    finally:
        tracemalloc.stop()
    with fidelity_methods._traced():
        pass
    assert not tracemalloc.is_tracing()


# --- the split -------------------------------------------------------------------------------------------


def test_rows_are_split(rows, found):
    train, new = found.trained_on, found.candidates
    assert (len(train), len(new), len(found.refitted)) == (70, 90, 12)
    assert set(train) | set(new) == set(range(160))
    assert len(set(found.refitted)) == 12
    assert found.refitted.max() < 90
    again, _ = fidelity_report._split(160, 70, 2000, np.random.default_rng(0))
    other, _ = fidelity_report._split(160, 70, 2000, np.random.default_rng(1))
    assert np.array_equal(again, train)
    assert not np.array_equal(other, train)


@pytest.mark.parametrize(
    ("n", "rows", "most", "sizes"),
    [(160, None, 2000, (80, 80)), (9000, None, 2000, (500, 2000)), (40, 30, 20, (30, 10))],
)
def test_sizes_of_the_split(n, rows, most, sizes):
    train, new = fidelity_report._split(n, rows, most, np.random.default_rng(0))
    assert (len(train), len(new)) == sizes
    assert not set(train) & set(new)


def test_nothing_depends_on_threads_and_everything_on_weights(rows, found):
    X, y = rows
    again = ft.fidelity(X, y, rows=70, threads=1, **SMALL)
    for name in METHODS:
        np.testing.assert_array_equal(again.scores[name], found.scores[name])
    np.testing.assert_array_equal(again.refits.complexity, found.refits.complexity)
    w = np.linspace(0.5, 2, len(y))
    weighted = ft.fidelity(X, y, sample_weight=w, rows=70, **SMALL)
    train = weighted.trained_on
    model = ft.fit(
        X[train], y[train], sample_weight=w[train], **{k: v for k, v in SMALL.items() if k != "refits"}
    )
    np.testing.assert_array_equal(weighted.model.params, model.params)
    np.testing.assert_allclose(weighted.refits.eps, 1 / w[train].sum())
    assert by_name(weighted)["settled tangent"].agrees


def test_two_outputs(rows):
    X, y = rows
    found = ft.fidelity(X, np.column_stack([y, np.cos(X[:, 0])]), **{**SMALL, "refits": 10})
    assert by_name(found)["settled tangent"].agrees
    assert by_name(found)["settled tangent"].spearman > 0.9999


# --- the verdict -----------------------------------------------------------------------------------------


def made_up(method, trusted, spearman):
    agrees = bool(spearman >= 0.99)
    return Comparison(method, 1.0, 1.0, 1.0, 1.0, spearman, 0.0, 1.0, 1, trusted, agrees, ())


@pytest.mark.parametrize(
    ("rows", "text"),
    [
        (
            [("a", True, 1.0), ("b", True, 0.995), ("c", False, 0.5)],
            "The certificate was right: 2 of 2 methods that it trusted agree with refits (Spearman >= 0.99). "
            "Of 1 that it did not trust, 0 agree.",
        ),
        (
            [("a", True, 1.0), ("b", True, 0.98), ("c", False, 0.5), ("d", False, 1.0)],
            "The certificate was wrong: 1 of 2 methods that it trusted agree with refits (Spearman >= 0.99), "
            "but not b (0.9800). Of 2 that it did not trust, 1 agree all the same: d.",
        ),
        (
            [("a", False, np.nan)],
            "The certificate trusted no method. Of 1 that it did not trust, 0 agree.",
        ),
        (
            [("a", True, 1.0)],
            "The certificate was right: 1 of 1 methods that it trusted agree with refits (Spearman >= 0.99).",
        ),
    ],
)
def test_verdict(rows, text):
    assert verdict([made_up(*row) for row in rows]) == text


def test_table(found):
    text = found.table()
    assert "90 candidates" in text
    assert "Network((3, 4, 1), 'tanh'), strength 0.02, 70 rows" in text
    lines = {
        method: next(line for line in text.splitlines() if line.startswith(method)) for method in METHODS
    }
    row = by_name(found)["Gauss-Newton solve"]
    assert re.split(r"  +", lines[row.method])[1:4] == [
        f"{row.pearson:.4f}", f"{row.spearman:.4f}", f"{100 * row.top:.0f}"
    ]  # fmt: skip
    assert lines["settled tangent"].endswith("yes     yes")
    assert text.endswith(found.verdict)
    assert "12 candidates added as whole rows" in text


def test_columns_and_summary(found):
    columns, summary = found.columns(), found.summary()
    assert columns["method"].tolist() == METHODS
    assert columns["trusted"].dtype == bool
    assert [method["spearman"] for method in summary["methods"]] == columns["spearman"].tolist()
    whole = found.whole_rows()
    measured = found.refits.complexity[:, 1]
    for one, name in ((whole.first, "first"), (whole.second, "second")):
        predicted = getattr(found.refits, f"complexity_{name}")[:, 1]
        assert one.pearson == pytest.approx(np.corrcoef(predicted, measured)[0, 1])
    assert summary["whole_rows"]["jumped"] == whole.jumped == 0


# --- what goes wrong --------------------------------------------------------------------------------------


def test_a_first_stage_that_runs_away_has_no_scores(rows, monkeypatch):
    monkeypatch.setitem(fidelity_methods.RATES, "sgd", 1e6)
    monkeypatch.setattr(fidelity_report, "warm_up", lambda threads: None)
    found = ft.fidelity(*rows, **{**SMALL, "activation": "softplus", "refits": 10})
    row = by_name(found)["SGD first stage"]
    assert np.isnan([row.pearson, row.refit_spearman, row.top, row.seconds]).all()
    assert not row.trusted
    assert not row.agrees
    assert "learning" in row.reasons[0]
    line = next(line for line in found.table().splitlines() if line.startswith(row.method))
    assert line.split()[3:] == ["-"] * 8 + ["no", "no"]
    assert by_name(found)["settled tangent"].agrees


# Two linear layers in a row: a continuum of minima, so no tangent and no refit.
FLAT = {**SMALL, "hidden": (3, 3), "activation": "identity"}


def test_without_a_minimum_there_is_nothing_to_compare_with(rows):
    with pytest.raises(IndefiniteError, match=r"did not settle at a minimum, .* with: smallest curvature"):
        ft.fidelity(*rows, **FLAT)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"rows": 155},
            "X must have at least 165 rows, 155 to train on and 10 candidates, got 160; ask for fewer",
        ),
        ({"rows": 1}, "rows must be a whole number >= 2, got 1"),
        ({"candidates": 5}, "candidates must be a whole number >= 10, got 5"),
        ({"refits": 2}, "refits must be a whole number >= 10, got 2"),
        ({"refits": 20.0}, "refits must be a whole number"),
        ({"hidden": (0,)}, "hidden"),
        ({"activation": "tahn"}, "activation"),
        ({"strength": -1}, "strength must be"),
        ({"epochs": -1}, "epochs"),
        ({"seed": -1}, "seed must be a whole number >= 0"),
        ({"threads": 0}, "threads must be a whole number >= 1"),
        ({"dtype": "float16"}, "dtype"),
        ({"sample_weight": np.ones(3)}, r"sample_weight must have shape \(160,\)"),
        ({"progress": 3}, "progress must be"),
    ],
)
def test_bad_arguments_are_refused_before_any_work(rows, arguments, message, monkeypatch):
    monkeypatch.setattr(fidelity_report, "warm_up", lambda threads: pytest.fail("worked first"))
    with pytest.raises((ValueError, TypeError), match=message):
        ft.fidelity(*rows, **{**SMALL, **arguments})


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda X, y: (X[:, 0], y), "X must have shape"),
        (lambda X, y: (X, y[:-1]), "y must have shape"),
        (lambda X, y: (np.where(X > 40, np.nan, X), y), "X must be finite"),
        (lambda X, y: (X, np.where(y > 50, np.inf, y)), "y must be finite"),
        (
            lambda X, y: (X[:15], y[:15]),
            "X must have at least 20 rows, 10 to train on and 10 candidates, got 15",
        ),
        (lambda X, y: (X.astype(str), y), "X must hold numbers"),
    ],
)
def test_bad_rows_are_refused_before_any_work(rows, spoil, message, monkeypatch):
    monkeypatch.setattr(fidelity_report, "warm_up", lambda threads: pytest.fail("worked first"))
    with pytest.raises((ValueError, TypeError), match=message):
        ft.fidelity(*spoil(*rows), **SMALL)


@pytest.mark.parametrize("stage", ["training", "settling", "solving", "refits"])
def test_ctrl_c_ends_it_in_any_stage(rows, stage, monkeypatch):
    monkeypatch.setattr(fidelity_report, "warm_up", lambda threads: None)
    seen = []

    def interrupt(name, *_, **__):
        seen.append(name)
        if name == stage:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ft.fidelity(*rows, **SMALL, progress=interrupt)
    assert stage in seen
    assert not tracemalloc.is_tracing()


# --- pictures --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", [".png", ".svg"])
def test_picture(found, tmp_path, ending):
    pytest.importorskip("matplotlib")
    path = tmp_path / f"f{ending}"
    plots.fidelity(found, path)
    assert path.stat().st_size > 10_000
    if ending == ".svg":
        assert len(re.findall(r'id="axes_\d+"', path.read_text())) == len(METHODS) - 1 + 2


def test_without_matplotlib_it_says_what_to_install(rows, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    monkeypatch.setattr(ft, "fidelity", lambda *args, **kwargs: pytest.fail("worked first"), raising=False)
    path = tmp_path / "d.npy"
    np.save(path, np.column_stack(rows))
    line = refused("fidelity", path, "--plot", tmp_path / "f.png", *OPTIONS)
    assert "pip install 'fasttangent[plots]'" in line


# --- the command line ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def table(rows, tmp_path_factory):
    X, y = rows
    path = tmp_path_factory.mktemp("fidelity") / "d.csv"
    write_table(path, {"y": y, "a": X[:, 0], "b": X[:, 1], "c": X[:, 2]})
    return path


def test_options_are_those_of_the_function():
    options = cli.commands["fidelity"].make_context("fidelity", [__file__]).params
    parameters = inspect.signature(ft.fidelity).parameters
    names = [name for name in parameters if name not in ("X", "y", "sample_weight", "progress")]
    assert {name: options[name] for name in names} == {name: parameters[name].default for name in names}


def untimed(text):
    """Its words, line by line, without seconds and memory, which differ between two runs."""
    lines = [line.split() for line in text.splitlines()]
    return [words[:-4] + words[-2:] if words and words[-1] in ("yes", "no") else words for words in lines]


def test_the_command_writes_what_the_function_says(table, found, tmp_path):
    out, picture = tmp_path / "f.csv", tmp_path / "f.png"
    result = run("fidelity", table, "--target", "y", "--rows", 70, *OPTIONS, "-o", out, "--plot", picture)
    assert result.stderr == ""
    assert untimed(result.stdout)[:-2] == untimed(found.table())
    assert result.stdout.endswith(f"\nsaved {out}\nsaved {picture}\n")
    assert picture.stat().st_size > 10_000
    assert out.read_text().splitlines()[0].startswith("method,pearson,spearman,top,refit_pearson")
    assert [line.split(",")[0].strip('"') for line in out.read_text().splitlines()[4:7]] == METHODS[3:6]


def test_json_and_parquet(table, tmp_path):
    out = tmp_path / "f.parquet"
    result = run("fidelity", table, "--target", "y", *OPTIONS, "-o", out, "--json")
    document = only_json(result.stdout)
    assert [method["method"] for method in document["methods"]] == METHODS
    assert document["rows"] == document["candidates"] == 80
    assert document["output"] == str(out)
    assert document["plot"] is None
    from pyarrow import parquet

    assert parquet.read_table(out)["spearman"].to_pylist() == [m["spearman"] for m in document["methods"]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--target", "z"], "no column 'z'"),
        (["-o", "f.npy"], "must end in .csv, .csv.gz or .parquet"),
        (["-o", "nowhere/f.csv"], "does not exist; create it first"),
        (["--plot", "f.gif"], "must end in .png, .pdf or .svg"),
        (["--rows", "158"], "X must have at least 168 rows"),
        (["--refits", "3"], "refits must be a whole number >= 10, got 3"),
        (["--hidden", "4,x"], "'4,x' is no list of widths"),
        (["--strength", "nan"], "strength"),
        (["--drop", "nothing"], "no column 'nothing'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_usage(table, tmp_path, arguments, message, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert message in refused("fidelity", table, *OPTIONS, *arguments)
    assert os.listdir(tmp_path) == []


def test_the_data_are_never_overwritten(table):
    before = table.read_bytes()
    assert "is the data itself" in refused("fidelity", table, "-o", table)
    assert table.read_bytes() == before


def test_no_minimum_is_a_failure(table, tmp_path):
    out = tmp_path / "f.csv"
    line = refused(
        "fidelity", table, *OPTIONS, "--hidden", "3,3", "--activation", "identity", "-o", out, code=1
    )
    assert "did not settle at a minimum" in line
    assert not out.exists()
