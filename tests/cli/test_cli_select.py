"""``fasttangent select`` beyond scores: strategies, embeddings, weights, labelled rows, prefilters."""

import inspect

import numpy as np
import pytest
from helpers.command_line import NAMES, QUICK, cli, only_json, refused, rows_of, run

import fasttangent as ft
from fasttangent.active.strategies.record import WEIGHTS
from fasttangent.active.strategies.table import STRATEGIES
from fasttangent.cli.tables.writing import write_table
from fasttangent.common.tables.reading import open_table
from fasttangent.model import embeddings


def features(path):
    table = rows_of(path)
    return np.column_stack([table[name] for name in NAMES])


@pytest.fixture(scope="module")
def model(trained):
    return ft.load(trained / "m.npz")


def picked(trained, pool, out, *more, k=12):
    result = run("select", trained / "m.npz", pool, "-k", k, "-o", out, *more)
    return rows_of(out), result


def test_options_are_those_of_the_function():
    command = cli.commands["select"]
    options = {option.name: option for option in command.params}
    assert set(options["strategy"].type.choices) == set(STRATEGIES)
    assert set(options["embedding"].type.choices) == set(embeddings.EMBEDDINGS)
    assert set(options["weight"].type.choices) == set(WEIGHTS)
    given = command.make_context("select", [__file__, __file__, "-k", "3", "-o", "p.csv"]).params
    for name, parameter in inspect.signature(ft.select).parameters.items():
        if name not in ("model", "pool", "k", "targets"):
            assert given[name] == parameter.default, name


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_picks_are_those_of_the_function(strategy, trained, pool, tmp_path, model):
    options = ["--strategy", strategy, "--labeled", trained / "data.csv", "--seed", 3]
    table, result = picked(trained, pool, tmp_path / "p.csv", *options)
    X, known = features(pool), features(trained / "data.csv")
    direct = ft.select(model, X, 12, strategy=strategy, labeled=known, seed=3)
    assert list(table) == ["row", "score", *NAMES]
    assert table["row"].tolist() == direct.indices.tolist()
    np.testing.assert_array_equal(table["score"], direct.scores)
    np.testing.assert_array_equal(features(tmp_path / "p.csv"), X[direct.indices])
    assert "picked 12 of 500 rows in" in result.stdout
    assert result.stderr == ""


@pytest.mark.parametrize("labelled", [True, False])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_picks_are_those_of_the_function_with_gaps_and_copies(
    strategy, labelled, trained, pool, tmp_path, model, monkeypatch
):
    """Random, sample and top once drew other rows on the command line, copies among them."""
    monkeypatch.setattr("fasttangent.cli.table_pool.CHUNK_ROWS", 64)
    known = features(trained / "data.csv")
    if not labelled:
        model = model.with_posterior(known, samples=16)
    model.save(tmp_path / "m.npz")
    X = features(pool)
    X[100:200] = X[:100]  # copies
    X[300:310] = known[:10]  # rows that have a label
    X[[3, 250, 499], 1] = np.nan
    np.save(tmp_path / "pool.npy", X)
    np.save(tmp_path / "known.npy", known)
    more = ["--labeled", tmp_path / "known.npy"] if labelled else []
    run("select", tmp_path / "m.npz", tmp_path / "pool.npy", "-k", 40, "-o", tmp_path / "p.csv",
        "--strategy", strategy, "--seed", 5, *more)  # fmt: skip
    with pytest.warns(UserWarning, match="3 rows hold a value that is not finite"):
        direct = ft.select(model, X, 40, strategy=strategy, labeled=known if labelled else None, seed=5)
    picks = rows_of(tmp_path / "p.csv")["row"].astype(int)
    assert picks.tolist() == direct.indices.tolist()
    assert len(np.unique(X[picks], axis=0)) == 40


@pytest.mark.parametrize("ending", [".parquet", ".npy"])
def test_other_kinds_of_tables(ending, trained, pool, tmp_path):
    """Of .npy, without names, the columns count by their place."""
    options = ["--strategy", "lcmd", "--json"]
    expected, _ = picked(trained, pool, tmp_path / "a.csv", *options, "--labeled", trained / "data.csv")
    for path, X in [("pool", features(pool)), ("known", features(trained / "data.csv"))]:
        if ending == ".npy":
            np.save(tmp_path / path, X)
        else:
            write_table(tmp_path / f"{path}{ending}", {name: X[:, i] for i, name in enumerate(NAMES)})
    table, _ = picked(
        trained, tmp_path / f"pool{ending}", tmp_path / "b.csv", *options, "--labeled", tmp_path / f"known{ending}"
    )  # fmt: skip
    assert table["row"].tolist() == expected["row"].tolist()


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_labelled_rows_are_not_picked_again(strategy, trained, pool, tmp_path):
    write_table(
        tmp_path / "had.csv", {"note": np.array(["x"] * 490)} | {n: v[:490] for n, v in rows_of(pool).items()}
    )
    options = ["--strategy", strategy, "--labeled", tmp_path / "had.csv"]
    table, result = picked(trained, pool, tmp_path / "p.csv", *options, k=10)
    assert sorted(table["row"]) == list(range(490, 500))
    assert "picked 10 of 500 rows (10 took part)" in result.stdout
    line = refused("select", trained / "m.npz", pool, "-k", 11, "-o", tmp_path / "p.csv", *options)
    assert "k must be at most the 10 rows of the pool that can be picked, got 11" in line


def test_embedding_weight_and_prefilter(trained, pool, tmp_path, model):
    options = ["--strategy", "kcenter", "--embedding", "input", "--weight", "sensitivity", "--prefilter"]
    table, result = picked(trained, pool, tmp_path / "p.csv", *options, "curiosity:40", "--json")
    given = {"strategy": "kcenter", "embedding": "input", "weight": "sensitivity"}
    direct = ft.select(model, features(pool), 12, prefilter=("curiosity", 40), **given)
    assert table["row"].tolist() == direct.indices.tolist()
    document = only_json(result.stdout)
    assert {
        "rows": 500,
        "candidates": 40,
        "embedding": "input",
        "weight": "sensitivity",
    }.items() <= document.items()
    assert document["missing_rows"] == 0
    assert document["first_missing_row"] is None
    for text, prefilter in [("none", None), ("40", 40), ("random:40", 40)]:
        table, _ = picked(trained, pool, tmp_path / "p.csv", *options, text)
        direct = ft.select(model, features(pool), 12, prefilter=prefilter, **given)
        assert table["row"].tolist() == direct.indices.tolist()


def test_excluded_rows(trained, pool, tmp_path, model):
    options = ["--strategy", "lcmd"]
    first, _ = picked(trained, pool, tmp_path / "first.csv", *options)
    rows = first["row"].astype(int)
    direct = ft.select(model, features(pool), 12, strategy="lcmd", exclude=rows)
    np.save(tmp_path / "first.npy", rows[:, None])
    for exclude in (tmp_path / "first.csv", tmp_path / "first.npy", ", ".join(map(str, rows))):
        table, _ = picked(trained, pool, tmp_path / "p.csv", *options, "--exclude", exclude)
        assert table["row"].tolist() == direct.indices.tolist()


@pytest.mark.parametrize("ending", [".csv", ".parquet", ".npy"])
def test_groups_of_a_column(ending, trained, pool, tmp_path, model):
    """It is no feature, unless the model was fitted on it."""
    X, options = features(pool), ["--strategy", "lcmd", "--per-group", 2]
    sites = np.array(["Graz", "Wien", "Linz", "Bern", "Basel", "Zug"])
    codes = np.arange(500) % 6
    direct = ft.select(model, X, 12, strategy="lcmd", groups=codes, per_group=2)
    path, column = tmp_path / f"pool{ending}", "site"
    if ending == ".npy":
        column = "3"
        np.save(path, np.column_stack([X, codes]))
    else:
        write_table(path, {"site": sites[codes]} | dict(zip(NAMES, X.T, strict=True)))
    out = tmp_path / "p.csv"
    run("select", trained / "m.npz", path, "-k", 12, "-o", out, *options, "--groups", column)
    assert open_table(out).read([0])[:, 0].tolist() == direct.indices.tolist()
    assert np.bincount(codes[direct.indices]).tolist() == [2] * 6
    rounded = X.copy()
    rounded[:, 1] = np.round(X[:, 1])
    write_table(path.with_suffix(".csv"), dict(zip(NAMES, rounded.T, strict=True)))
    table, _ = picked(
        trained, path.with_suffix(".csv"), tmp_path / "p.csv", *options, "--groups", NAMES[1], k=3
    )
    direct = ft.select(model, rounded, 3, strategy="lcmd", groups=rounded[:, 1], per_group=2)
    assert table["row"].tolist() == direct.indices.tolist()


def test_costs_of_a_column(trained, pool, tmp_path, model):
    X, cost = features(pool), np.random.default_rng(0).choice([1.0, 2.5, 20.0], 500)
    write_table(tmp_path / "pool.csv", {"price": cost, **dict(zip(NAMES, X.T, strict=True))})
    options = ["--strategy", "kcenter", "--cost", "price"]
    table, result = picked(
        trained, tmp_path / "pool.csv", tmp_path / "p.csv", *options, "--max-cost", 8, "--json"
    )
    direct = ft.select(model, X, 12, strategy="kcenter", cost=cost, max_cost=8)
    assert table["row"].tolist() == direct.indices.tolist()
    document = only_json(result.stdout)
    assert (document["picked"], document["cost"]) == (len(direct), direct.cost)
    assert len(direct) < 12
    _, result = picked(trained, tmp_path / "pool.csv", tmp_path / "p.csv", *options)
    assert (
        f" at a cost of {ft.select(model, X, 12, strategy='kcenter', cost=cost).cost:g} in" in result.stdout
    )


@pytest.mark.parametrize("ending", [".csv", ".npy", ".parquet"])
def test_noise_of_a_column(ending, trained, pool, tmp_path, model):
    X, noise = features(pool), np.random.default_rng(0).choice([1.0, 4.0, 20.0], 500)
    path, column = tmp_path / f"pool{ending}", "times"
    if ending == ".npy":
        column = "3"
        np.save(path, np.column_stack([X, noise]))
    else:
        write_table(path, {"times": noise, **dict(zip(NAMES, X.T, strict=True))})
    options = ["--strategy", "top", "--noise", column]
    run("select", trained / "m.npz", path, "-k", 12, "-o", tmp_path / "p.csv", *options)
    direct = ft.select(model, X, 12, strategy="top", noise=noise)
    assert rows_of(tmp_path / "p.csv")["row"].tolist() == direct.indices.tolist()
    assert (noise[direct.indices] == 1).all()
    assert direct.indices.tolist() != ft.select(model, X, 12, strategy="top").indices.tolist()


def test_categories_in_row_groups_are_one_label_each(tmp_path):
    from pyarrow import chunked_array, parquet, table

    words = chunked_array([["a", "b"], ["b", None], ["c", "a"]]).dictionary_encode()
    parquet.write_table(table({"site": words}), tmp_path / "t.parquet", row_group_size=2)
    codes = open_table(tmp_path / "t.parquet").labels(0)
    np.testing.assert_array_equal(codes, [0, 1, 1, np.nan, 2, 0])


def test_sampling_by_sensitivity(trained, pool, tmp_path, model):
    table, _ = picked(trained, pool, tmp_path / "p.csv", "--strategy", "sample", "--weight", "sensitivity")
    direct = ft.select(model, features(pool), 12, strategy="sample", weight="sensitivity")
    assert table["row"].tolist() == direct.indices.tolist()


def test_rows_with_missing_values_take_no_part(trained, pool, tmp_path):
    columns = rows_of(pool)
    columns["height"] = columns["height"].copy()
    columns["height"][[4, 9]] = np.nan
    write_table(tmp_path / "pool.csv", columns)
    table, result = picked(
        trained, tmp_path / "pool.csv", tmp_path / "p.csv", "--strategy", "greedy-x", "--json", k=498
    )
    assert not {4, 9} & set(table["row"].astype(int))
    assert (
        "2 rows hold a value that is not finite or too far from all training rows (first: row 4)"
        in result.stderr
    )
    document = only_json(result.stdout)
    assert (document["missing_rows"], document["first_missing_row"], document["candidates"]) == (2, 4, 498)


@pytest.mark.parametrize(
    ("options", "fragment"),
    [
        (["--strategy", "variances"], "is not one of"),
        (["--embedding", "pixels"], "is not one of"),
        (["--strategy", "sample", "--embedding", "input"], "--embedding is of no use to --strategy sample"),
        (["--strategy", "random", "--weight", "curiosity"], "--weight is of no use to --strategy random"),
        (["--strategy", "bait", "--weight", "curiosity", "--labeled", "{known}"], "weight must be None for"),
        (["--prefilter", "random"], "is neither 'none' nor like random:100000"),
        (["--prefilter", "best:10"], "is neither 'none' nor like random:100000"),
        (["--strategy", "lcmd", "--prefilter", "4"], "prefilter must be a whole number >= 5, got 4"),
        (["--labeled", "nowhere.csv"], "does not exist"),
        (["--labeled", "{lacking}"], "lacks columns the model was fitted on: 'mass'"),
        (["--labeled", "{wide}"], "give --labeled a table of the features alone"),
        (["--labeled", "{holes}"], "labeled must be finite"),
        (["--per-group", "3"], "per_group must be left out without groups, got 3"),
        (["--groups", "mass"], "per_group must be given with groups, got None"),
        (["--groups", "site", "--per-group", "3"], "has no column 'site'"),
        (["--max-cost", "3"], "max_cost must be left out without cost, got 3"),
        (["--cost", "mass"], "cost must be finite and > 0, got"),
        (["--noise", "mass"], "noise must be finite and > 0, got"),
        (["--noise", "site"], "has no column 'site'"),
        (["--strategy", "lcmd", "--noise", "mass"], "--noise is of no use to --strategy lcmd; leave it out"),
        (["--strategy", "random", "--noise", "mass"], "--noise is of no use to --strategy random; leave it"),
        (["--exclude", "500"], "exclude must hold row numbers from 0 to 499, got 500"),
        (["--exclude", "3,-1"], "--exclude must be a table or row numbers such as 3,17, got '3,-1'"),
        (["--exclude", "{lacking}"], "has no column 'row'; give --exclude a table with one"),
        (["--exclude", "{halves}"], "must hold row numbers (from 0), got 0.5 in row 1"),
        (["--exclude", "{out}"], "p.csv is the table of --exclude itself and would be overwritten"),
    ],
)
def test_refusals(options, fragment, trained, pool, tmp_path):
    X = np.ones((4, 3))
    write_table(tmp_path / "lacking.csv", dict.fromkeys(NAMES[:2], X[:, 0]))
    write_table(tmp_path / "holes.csv", dict.fromkeys(NAMES, X[:, 0] * np.nan))
    np.save(tmp_path / "wide.npy", np.ones((4, 4)))
    write_table(tmp_path / "halves.csv", {"row": np.array([1, 0.5])})
    files = {
        "known": trained / "data.csv",
        "lacking": tmp_path / "lacking.csv",
        "holes": tmp_path / "holes.csv",
        "wide": tmp_path / "wide.npy",
        "halves": tmp_path / "halves.csv",
        "out": tmp_path / "p.csv",
    }
    options = [option.format(**files) for option in options]
    line = refused("select", trained / "m.npz", pool, "-k", 5, "-o", tmp_path / "p.csv", *options)
    assert fragment in line
    assert not (tmp_path / "p.csv").exists()


def test_the_table_that_is_read_is_the_one_of_the_labels(trained, pool):
    """Extra columns of named tables are ignored: the data a model was fitted on serves as it is."""
    assert open_table(trained / "data.csv").names == [*NAMES, "y"]


def test_a_model_of_fit_needs_no_labelled_rows(trained, pool, tmp_path):
    """The default strategy needs tangents of noise, which `fit` stores unless told not to."""
    alone, _ = picked(trained, pool, tmp_path / "a.csv")
    told, _ = picked(trained, pool, tmp_path / "b.csv", "--labeled", trained / "data.csv")
    assert len(alone["row"]) == len(told["row"]) == 12
    X, y = features(trained / "data.csv"), rows_of(trained / "data.csv")["y"]
    by_hand = ft.fit(X, y, hidden=(4,), epochs=30, strength=0.01, dtype="float64").with_posterior(
        X, y, samples=384
    )
    direct = ft.select(by_hand, features(pool), 12)
    assert alone["row"].tolist() == direct.indices.tolist()

    run("fit", trained / "data.csv", "--target", "y", "-o", tmp_path / "m.npz", *QUICK, "--no-posterior")
    line = refused("select", tmp_path / "m.npz", pool, "-k", 5, "-o", tmp_path / "p.csv")
    assert "pass the rows it was fitted on (labeled=, --labeled)" in line


@pytest.mark.parametrize("way", ["folder", "glob", "files"])
def test_a_pool_of_several_files_is_one_pool(trained, pool, tmp_path, way):
    table, folder = open_table(pool), tmp_path / "pool"
    folder.mkdir()
    sites = np.array(["north", "south", "east"] * 167)[:500]
    columns = {**table.take(np.arange(500)), "site": sites, "price": np.arange(500) % 7 + 1.0}
    for i, (low, high) in enumerate([(0, 3), (3, 200), (200, 500)]):
        write_table(
            folder / f"p{i}.{'csv' if i == 1 else 'parquet'}", {k: v[low:high] for k, v in columns.items()}
        )
    write_table(tmp_path / "whole.parquet", columns)
    given = {"folder": [folder], "glob": [f"{folder}/p*"], "files": sorted(folder.iterdir())}[way]
    more = [
        "-k",
        9,
        "--labeled",
        trained / "data.csv",
        "--groups",
        "site",
        "--per-group",
        3,
        "--cost",
        "price",
    ]
    run("select", trained / "m.npz", *given, *more, "--exclude", "201", "-o", tmp_path / "many.csv")
    run(
        "select",
        trained / "m.npz",
        tmp_path / "whole.parquet",
        *more,
        "--exclude",
        "201",
        "-o",
        tmp_path / "one.csv",
    )
    many, one = (open_table(tmp_path / f"{name}.csv").take(np.arange(9)) for name in ("many", "one"))
    assert list(many) == ["row", "score", "file", "row_in_file", *NAMES, "site", "price"]
    for name in one:
        assert many[name].to_pylist() == one[name].to_pylist(), name
    for row, file, within in zip(
        *(many[name].to_pylist() for name in ("row", "file", "row_in_file")), strict=True
    ):
        i = int(row >= 3) + int(row >= 200)
        assert file == str(folder / f"p{i}.{'csv' if i == 1 else 'parquet'}")
        assert within == row - [0, 3, 200][i]
    line = refused("select", trained / "m.npz", *given, "-k", 3, "-o", folder / "p0.parquet")
    assert "p0.parquet is the pool itself and would be overwritten" in line
