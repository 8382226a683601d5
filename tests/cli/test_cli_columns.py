"""Messy tables on the command line: names of rows, words, gaps, mixed yes and no, dates, numbers that are labels."""

import csv

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest
from helpers.command_line import only_json, refused, rows_of, run

import fasttangent as ft

QUICK = ["--hidden", "4", "--strength", "0.01", "--epochs", "20", "--quiet"]


def write(path, n, seed, label=True):
    rng = np.random.default_rng(seed)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(
            ["sample", "site", "temp", "dose", "treated", "seen", "batch", *(["y"] if label else [])]
        )
        for i in range(n):
            site, temp, dose = rng.choice(["north", "south", "East"]), rng.normal(20, 5), rng.lognormal()
            row = [f"S{seed}-{i:03}", "" if rng.random() < 0.1 else f" {site}", f"{temp:.2f}", f"{dose:.3f}"]
            if i and rng.random() < 0.1:
                row[2] = "NA"
            row += [
                rng.choice(["True", "False", "yes"]),
                f"2026-{rng.integers(1, 13):02}-{rng.integers(1, 29):02}",
            ]
            row.append(rng.choice(["101", "205", "307"]))
            writer.writerow(
                [*row, *([f"{np.sin(temp / 5) + (site == 'East') + 0.1 * dose:.4f}"] if label else [])]
            )


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    folder = tmp_path_factory.mktemp("messy")
    write(folder / "train.csv", 80, 1)
    write(folder / "pool.csv", 300, 2, label=False)
    frame = frame_of(folder / "pool.csv")
    pa.parquet.write_table(pa.Table.from_pandas(frame, preserve_index=False), folder / "pool.parquet")
    told = run("fit", folder / "train.csv", "-o", folder / "m.npz", "--categorical", "batch", *QUICK)
    (folder / "told.txt").write_text(told.stdout)
    (folder / "warned.txt").write_text(told.stderr)
    return folder


def frame_of(path):
    frame = pd.read_csv(path, skipinitialspace=True, parse_dates=["seen"])
    return frame.astype({"treated": "str"})


def test_a_messy_table_is_fitted_out_of_the_box_and_what_was_made_of_it_is_shown(tables):
    lines = (tables / "told.txt").read_text().splitlines()
    begin = next(i for i, line in enumerate(lines) if line.startswith("column "))
    shown = {line.split()[0]: line for line in lines[begin + 1 : begin + 8]}
    assert list(shown) == ["sample", "site", "temp", "dose", "treated", "seen", "batch"]
    words = {
        "sample": "left out", "site": "category", "temp": "missing; mean", "dose": "number", "treated": "bool",
        "seen": "moment", "batch": "101",
    }  # fmt: skip
    assert all(word in shown[name] for name, word in words.items())
    assert "1 of 7 columns that are left out: 'sample'" in (tables / "warned.txt").read_text()


def test_the_fit_is_that_of_the_frame(tables):
    frame = frame_of(tables / "train.csv")
    with pytest.warns(UserWarning, match="left out"):
        model = ft.fit(
            frame.drop(columns="y"), frame["y"], categorical=["batch"], hidden=(4,), strength=0.01, epochs=20
        )
    found = ft.load(tables / "m.npz")
    assert found.columns == model.columns
    np.testing.assert_array_equal(found.params, model.params)


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_pools_are_scored_as_frames_are(tables, tmp_path, kind):
    run("score", tables / "m.npz", tables / f"pool.{kind}", "-o", tmp_path / "s.csv", "--quiet")
    model, frame = ft.load(tables / "m.npz"), frame_of(tables / "pool.csv")
    np.testing.assert_allclose(rows_of(tmp_path / "s.csv")["curiosity"], model.curiosity(frame), rtol=1e-12)
    run(
        "select", tables / "m.npz", tables / f"pool.{kind}", "-k", 5, "-o", tmp_path / "p.csv", "--quiet",
        "--labeled", tables / "train.csv",
    )  # fmt: skip
    labeled = frame_of(tables / "train.csv").drop(columns="y")
    picks = ft.select(model, frame, 5, labeled=labeled).indices
    np.testing.assert_array_equal(pd.read_csv(tmp_path / "p.csv")["row"], picks)
    pool = ft.Pool(tables / f"pool.{kind}").of(model)
    np.testing.assert_array_equal(pool.take([7, 3]), model.matrix("X", frame)[[7, 3]])
    np.testing.assert_array_equal(
        ft.select(model, ft.Pool(tables / f"pool.{kind}"), 5, labeled=labeled).indices, picks
    )


def test_cells_like_none_in_training_are_told_of_once(tables, tmp_path):
    frame = pd.read_csv(tables / "pool.csv", dtype=str, keep_default_na=False)
    frame.loc[[1, 2], "site"] = "moon"
    frame.loc[4, "batch"] = "B"
    frame.loc[5, "seen"] = ""
    frame.to_csv(tmp_path / "pool.csv", index=False)
    told = run("score", tables / "m.npz", tmp_path / "pool.csv", "-o", tmp_path / "s.csv", "--quiet").stderr
    assert told.count("cells like none in training") == 1
    assert (
        "1 of a new level in column 'batch', 1 missing in column 'seen', 2 of a new level in column 'site'"
        in told
    )
    assert np.isfinite(rows_of(tmp_path / "s.csv")["curiosity"]).all()


def test_a_campaign(tables, tmp_path):
    run(
        "next", tables / "pool.csv", "--folder", tmp_path / "c", "-k", 4, "-o", tmp_path / "todo.csv", "--labeled",
        tables / "train.csv", "--categorical", "batch", *QUICK,
    )  # fmt: skip
    todo = pd.read_csv(tmp_path / "todo.csv")
    assert len(todo) == 4
    todo["y"] = np.arange(4.0)
    todo.assign(sample=todo["sample"][::-1].to_numpy()).to_csv(tmp_path / "todo.csv", index=False)
    told = refused("tell", tmp_path / "todo.csv", "--folder", tmp_path / "c")
    assert "in column 'sample' and 'S2-" in told
    todo.assign(seen="1/2/2026", treated=todo["treated"].astype(str).str.upper()).to_csv(
        tmp_path / "todo.csv", index=False
    )
    run("tell", tmp_path / "todo.csv", "--folder", tmp_path / "c")
    document = run(
        "next", "--folder", tmp_path / "c", "-k", 4, "-o", tmp_path / "more.csv", "--quiet", "--json"
    )
    assert only_json(document.stdout)["picked"] == 4


def test_fidelity(tables):
    found = run(
        "fidelity", tables / "train.csv", "--json", "--rows", 40, "--candidates", 20, "--refits", 10, "--hidden", "2",
        "--epochs", 5, "--quiet", "--id", "sample",
    )  # fmt: skip
    assert only_json(found.stdout)["data"].endswith("train.csv")


def test_an_id_is_no_feature_whatever_it_holds(tables, tmp_path):
    frame = pd.read_csv(tables / "train.csv").assign(sample=np.arange(80))
    frame.to_csv(tmp_path / "t.csv", index=False)
    run("fit", tmp_path / "t.csv", "-o", tmp_path / "m.npz", "--id", "sample", *QUICK)
    assert "sample" not in ft.load(tmp_path / "m.npz").feature_names


@pytest.mark.parametrize("more", [[], ["--categorical", "batch"]])
def test_a_table_of_numbers_is_what_it_was(tables, tmp_path, more):
    frame = pd.read_csv(tables / "train.csv")[["dose", "batch", "y"]]
    frame.to_csv(tmp_path / "t.csv", index=False)
    run("fit", tmp_path / "t.csv", "-o", tmp_path / "m.npz", *QUICK, *more)
    assert (ft.load(tmp_path / "m.npz").columns is None) == (not more)


REFUSED = {
    "a mistake in a number": ("a,y\n" + "".join(f"{i}.5,{i}\n" for i in range(40)) + "4o.5,3\n", [],
                              "column 'a' holds '4o.5' in row 40"),
    "a hole in the target": ("a,y\n1,2\n2,\nx,4\n", [], "column 'y' is missing or infinite in 1 of 3 rows"),
    "a category that is no feature": ("a,y\n1,2\n2,3\nx,4\n", ["--categorical", "y"], "must name features, got"),
    "a category that is none": ("a,y\n1,2\n2,3\nx,4\n", ["--categorical", "b"], "no column 'b'"),
    "names of rows alone": ("a,y\nu,2\nv,3\nx,4\n", [], "X must have a column to learn from"),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_refusals(tmp_path, what):
    content, more, words = REFUSED[what]
    (tmp_path / "t.csv").write_text(content)
    assert words in refused("fit", tmp_path / "t.csv", "-o", tmp_path / "m.npz", *more)


def test_text_that_is_no_date_is_refused_by_its_column(tables, tmp_path):
    frame = pd.read_csv(tables / "pool.csv").assign(seen="soon")
    frame.to_csv(tmp_path / "pool.csv", index=False)
    told = refused("score", tables / "m.npz", tmp_path / "pool.csv", "-o", tmp_path / "s.csv", "--quiet")
    assert "column 'seen' must hold moments such as 2026-03-01 12:30, as in training" in told


def test_heavy_tails(tables, tmp_path):
    frame = pd.read_csv(tables / "train.csv")[["dose", "temp", "y"]].assign(dose=lambda f: f["dose"] ** 3)
    frame.fillna(20.0).to_csv(tmp_path / "t.csv", index=False)
    told = run(
        "fit", tmp_path / "t.csv", "-o", tmp_path / "m.npz", "--transform", "yeo-johnson", *QUICK
    ).stdout
    assert "power -" in told or "power 0" in told
    run("score", tmp_path / "m.npz", tmp_path / "t.csv", "-o", tmp_path / "s.csv", "--drop", "y", "--quiet")
    model = ft.load(tmp_path / "m.npz")
    assert model.columns[0].power
    wanted = model.predict(pd.read_csv(tmp_path / "t.csv")[["dose", "temp"]])
    np.testing.assert_allclose(rows_of(tmp_path / "s.csv")["prediction"], wanted, rtol=1e-6)
