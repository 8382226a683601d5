"""Campaigns on pools that are never held: what comes of them is what comes of the pool in memory, to the bit."""

import csv
import json
import shutil
import tracemalloc
import warnings
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from helpers.command_line import only_json, refused, run
from pyarrow import parquet

import fasttangent as ft
from fasttangent.active import pools
from fasttangent.active.loop import pooled
from fasttangent.cli.tables.writing import write_table
from fasttangent.common.learned_columns import learn_columns
from fasttangent.common.tables import learning
from fasttangent.common.tables.parquet_file import ParquetTable

pytestmark = pytest.mark.filterwarnings("ignore::fasttangent.UntrustedTangentWarning")
OLD = Path(__file__).parent / "files"  # campaigns as an earlier version left them
FIT = {"hidden": (3,), "epochs": 5, "settle": False, "strength": 0.01}
N = 700


def numbers(rng):
    return {"a": rng.normal(size=N), "b": rng.normal(size=N) * 100, "c": rng.integers(0, 9, N)}


def single(rng):
    return {name: rng.normal(size=N).astype(np.float32) for name in "abc"}


def gaps(rng):
    columns = numbers(rng)
    size = np.where(rng.random(N) < 0.1, np.nan, columns["a"])
    return columns | {"a": pa.array(size, from_pandas=True)}


def kinds(rng):
    color = [None if rng.random() < 0.1 else str(rng.choice(["red", "blue", "green"])) for _ in range(N)]
    when = (np.datetime64("2026-03-01") + rng.integers(0, 90, N)).astype("datetime64[us]")
    more = {
        "none": pa.nulls(N, pa.float64()),
        "color": color,
        "when": when,
        "on": rng.random(N) < 0.5,
        "name": [f"s{i}" for i in range(N)],
    }
    return gaps(rng) | more


def written(folder, table, cuts, ending=".parquet"):
    folder.mkdir()
    for i, (low, high) in enumerate(zip([0, *cuts], [*cuts, N], strict=True)):
        part = table.slice(low, high - low)
        if ending == ".parquet":
            parquet.write_table(part, folder / f"p{i}.parquet", row_group_size=90)
        else:
            write_table(folder / f"p{i}{ending}", {name: part[name] for name in part.schema.names})
    return folder


def campaign(pool, folder, oracle=None, **more):
    """Three rounds; all that comes of them but seconds."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        asked = {"oracle": oracle, "batch": 6, "fit": FIT, "seed": 3, "threads": 1, "folder": folder, **more}
        learner = ft.ActiveLearner(pool, **asked)
        learner.run(rounds=3).close()
    history = [{k: v for k, v in h.items() if not k.endswith("_seconds")} for h in learner.history]
    manifest = json.loads((folder / "manifest.json").read_text())
    return history, manifest, learner.model.params.tobytes(), learner.model.columns


LABELS = np.random.default_rng(1).normal(size=N)


@pytest.mark.parametrize("strategy", ["error", "sample", "random"])
@pytest.mark.parametrize("ending", [".parquet", ".csv"])
@pytest.mark.parametrize("what", [numbers, single, gaps, kinds])
def test_what_comes_of_a_pool_is_what_comes_of_it_in_memory(tmp_path, what, ending, strategy, monkeypatch):
    table = pa.table(what(np.random.default_rng(0)))
    pool = ft.Pool(written(tmp_path / "pool", table, (1, 350), ending))
    expected = campaign(pool.whole(), tmp_path / "a", LABELS, strategy=strategy)
    monkeypatch.setattr(pools.Pool, "whole", None)
    monkeypatch.setattr(learning, "HELD", N)  # a column at a time
    monkeypatch.setattr(learning, "LEAF", 128)
    assert campaign(pool, tmp_path / "b", LABELS, strategy=strategy) == expected


@pytest.mark.parametrize("fit", [{"categorical": ["c"]}, {"transform": "yeo-johnson"}])
def test_columns_that_fit_is_told_of(tmp_path, fit):
    pool = ft.Pool(written(tmp_path / "pool", pa.table(gaps(np.random.default_rng(0))), (350,)))
    asked = {"oracle": LABELS, "fit": FIT | fit}
    assert campaign(pool, tmp_path / "a", **asked) == campaign(pool.whole(), tmp_path / "b", **asked)


def test_arrays_maps_and_functions(tmp_path, monkeypatch):
    rows = np.random.default_rng(0).normal(size=(N, 3))
    rows[7, 1] = np.nan
    np.save(tmp_path / "p.npy", rows)
    known = {"X": rows[20:30] + 1, "y": np.arange(10.0)}
    expected = campaign(rows, tmp_path / "a", LABELS, **known)
    monkeypatch.setattr(pooled, "BLOCK", 64)
    mapped = np.load(tmp_path / "p.npy", mmap_mode="r")
    for i, one in enumerate((ft.Pool(tmp_path / "p.npy"), mapped, ft.Pool(lambda: [rows[:90], rows[90:]]))):
        found = campaign(one, tmp_path / str(i), LABELS, **known)
        if i < 2:  # pieces of a function have names
            assert found == expected
        else:
            assert found[0][1]["rows"] == expected[0][1]["rows"] or found[3] is not None


def test_a_function_is_shown_what_it_was_shown_of_the_table(tmp_path):
    for what in (numbers, kinds):
        pool = ft.Pool(written(tmp_path / what.__name__, pa.table(what(np.random.default_rng(0))), (350,)))
        shown = {name: [] for name in ("pool", "whole")}
        for name, one in (("pool", pool), ("whole", pool.whole())):

            def oracle(X, rows, seen=shown[name]):
                seen.append(X)
                return LABELS[rows]

            campaign(one, tmp_path / f"{what.__name__}-{name}", oracle, at_once=3)
        assert len(shown["pool"]) == len(shown["whole"])
        for a, b in zip(shown["pool"], shown["whole"], strict=True):
            assert (
                a.equals(b) if hasattr(a, "equals") else (a.tobytes() == b.tobytes() and a.dtype == b.dtype)
            )


def test_a_strategy_of_ones_own_gets_the_rows(tmp_path):
    def largest(model, pool, k, *, labeled, seed):
        assert isinstance(pool, np.ndarray)
        return np.argsort(-pool[:, 0])[:k]

    pool = ft.Pool(written(tmp_path / "pool", pa.table(numbers(np.random.default_rng(0))), (350,)))
    found = campaign(pool, tmp_path / "a", LABELS, strategy=largest)
    assert found == campaign(pool.whole(), tmp_path / "b", LABELS, strategy=largest)


def test_few_different_rows_and_limits(tmp_path):
    rows = np.repeat(np.random.default_rng(0).normal(size=(14, 2)), N // 14, axis=0)
    parquet.write_table(pa.table({"a": rows[:, 0], "b": rows[:, 1]}), tmp_path / "p.parquet")
    pool = ft.Pool(tmp_path / "p.parquet")
    for i, select in enumerate(({}, {"groups": np.arange(N) % 2, "per_group": 2})):
        first = campaign(pool, tmp_path / f"a{i}", LABELS, select=select)
        assert first == campaign(pool.whole(), tmp_path / f"b{i}", LABELS, select=select)
        assert len(first[0][2]["rows"]) < 6


def test_what_is_learned_of_columns_of_any_size(tmp_path, monkeypatch):
    """Means are added up as NumPy adds them, of any number of values in any portions."""
    monkeypatch.setattr(learning, "LEAF", 256)
    rng = np.random.default_rng(0)
    for n in (2, 5, 8, 127, 129, 1000, 5003, 40_001):
        values = rng.normal(size=n) * rng.lognormal(0, 5, n)
        missing = rng.random(n) < 0.2
        missing[:2] = False
        table = pa.table({"x": values, "gaps": pa.array(np.where(missing, np.nan, values), from_pandas=True)})
        parquet.write_table(table, tmp_path / "p.parquet", row_group_size=77)
        assert pools.columns_of(ft.Pool(tmp_path / "p.parquet")) == learn_columns(table)


def test_infinite_numbers_and_pools_of_one_row(tmp_path):
    parquet.write_table(pa.table({"x": [1.0, np.inf, 2.0]}), tmp_path / "p.parquet")
    with pytest.raises(ValueError, match="X must be finite, got inf in row 1, column 'x'"):
        ft.ActiveLearner(ft.Pool(tmp_path / "p.parquet"))
    parquet.write_table(pa.table({"x": [1.0]}), tmp_path / "p.parquet")
    with pytest.raises(ValueError, match="X_pool must have at least 2 rows, got 1"):
        ft.ActiveLearner(ft.Pool(tmp_path / "p.parquet"))


def test_memory_is_that_of_some_chunks(tmp_path, monkeypatch):
    """Not of the pool, of 67 MB."""
    n, rng = 1 << 19, np.random.default_rng(0)
    for i in range(4):
        columns = {f"x{j}": rng.normal(size=n // 4) for j in range(16)}
        parquet.write_table(pa.table(columns), tmp_path / f"p{i}.parquet", row_group_size=1 << 13)
    monkeypatch.setattr("fasttangent.active.pools.CHUNK_ROWS", 1 << 13)
    monkeypatch.setattr("fasttangent.active.candidates.HELD", 1 << 12)

    def begun():
        asked = {"oracle": lambda X: X[:, 0], "batch": 5, "fit": FIT, "strategy": "random"}
        return ft.ActiveLearner(ft.Pool(tmp_path), **asked)

    begun().run(rounds=1)
    tracemalloc.start()
    begun().run(rounds=2)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 30e6


def test_a_pool_that_changed_is_named(tmp_path):
    table = pa.table(numbers(np.random.default_rng(0)))
    folder = written(tmp_path / "pool", table, (350,))
    campaign(ft.Pool(folder), tmp_path / "c", LABELS)
    parquet.write_table(table.slice(1, 350), folder / "p0.parquet")
    with pytest.raises(ValueError, match="the values of pool are not the same"):
        campaign(ft.Pool(folder), tmp_path / "c", LABELS)
    parquet.write_table(table.slice(0, 20), folder / "p2.parquet")
    with pytest.raises(ValueError, match="pool rows was 700 and is 720"):
        ft.ActiveLearner(
            ft.Pool(folder), oracle=np.zeros(720), batch=6, fit=FIT, seed=3, folder=tmp_path / "c"
        )


# --- the command line ------------------------------------------------------------------------------------


@pytest.fixture(params=["numbers", "kinds"])
def old(request, tmp_path, monkeypatch):
    """A campaign of an earlier version, with a round told and another asked."""
    shutil.copytree(OLD / request.param, tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    record = Path("c/command.json")
    record.write_text(
        record.read_text().replace('"pool.csv"', json.dumps(str(tmp_path / "here" / "pool.csv")))
    )
    return request.param


def test_campaigns_of_an_earlier_version_go_on(old):
    asked = label("p.csv")
    shutil.copy(OLD / old / "p.csv", "p.csv")
    found = only_json(run("next", "--folder", "c", "-k", 5, "-o", "q.csv", "--quiet", "--json").stdout)
    assert (found["again"], found["picked"], found["got"]) == (True, 5, 5)
    assert Path("q.csv").read_bytes() == Path("p.csv").read_bytes()
    run("next", "pool.csv", "--folder", "c", "-k", 5, "-o", "q.csv", "--quiet")
    label("q.csv")
    assert only_json(run("tell", "q.csv", "--folder", "c", "--json").stdout)["told"] == 5
    more = only_json(run("next", "--folder", "c", "-k", 4, "-o", "r.csv", "--quiet", "--json").stdout)
    assert (more["picked"], more["rounds"], more["got"]) == (4, 3, 10)
    assert not set(label("r.csv")) & set(asked)
    content = Path("pool.csv").read_text()
    Path("pool.csv").write_text(content.replace(content.splitlines()[5], content.splitlines()[6]))
    line = run("next", "--folder", "c", "-k", 4, "-o", "s.csv", code=2).stderr
    assert "the values of pool are not the same" in line


QUICK = ["--hidden", "3", "--epochs", "5", "--settle", "no", "--strength", "0.01", "--quiet"]


def cells_of(path):
    with open(path, newline="") as file:
        head, *lines = csv.reader(file)
    return head, lines


def label(path, drop=()):
    """Fill in all labels; the rows."""
    head, lines = cells_of(path)
    rows = [int(line[0]) for line in lines]
    for row, line in zip(rows, lines, strict=True):
        line[-1] = f"{LABELS[row]:.6f}"
    kept = [i for i, name in enumerate(head) if name not in drop]
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows([line[i] for i in kept] for line in (head, *lines))
    return rows


def rounds_of(folder):
    """Rows asked and figures of a campaign."""
    found = only_json(run("next", "--folder", folder, "--status", "--json").stdout)["history"]
    return [(h["rows"], h["batch_rmse"], h["redundancy"], h["expected_change"]) for h in found]


@pytest.mark.parametrize("labelled", [False, True])
@pytest.mark.parametrize("what", [numbers, gaps, kinds])
def test_next_on_many_files_picks_what_it_picks_of_one(tmp_path, monkeypatch, what, labelled):
    monkeypatch.chdir(tmp_path)
    table = pa.table(what(np.random.default_rng(0)))
    written(tmp_path / "one", table, ())
    written(tmp_path / "three", table, (1, 350))
    written(tmp_path / "csv", table, (350,), ".csv")
    first = table.slice(600, 40).append_column("label", [LABELS[600:640]])
    parquet.write_table(first, "first.parquet")
    more = ["--labeled", "first.parquet"] if labelled else []
    found = []
    for pool in (
        ["one/p0.parquet"],
        ["three"],
        ["three/*.parquet"],
        [*sorted(Path("three").iterdir())],
        ["csv"],
    ):
        c = f"c{len(found)}"
        run("next", *pool, "--folder", c, "-k", 5, "-o", "p.csv", *more, *QUICK)
        label("p.csv")
        run("tell", "p.csv", "--folder", c)
        run("next", "--folder", c, "-k", 5, "-o", "p.csv", "--quiet")
        found.append(rounds_of(c))
    assert found[0][1][0]
    assert all(one == found[0] for one in found[1:4])
    assert found[4][0][0] == found[0][0][0] or what is kinds  # moments and numbers are written as text


def test_picks_of_several_files_say_where_they_are(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    table = pa.table(numbers(np.random.default_rng(0)) | {"file": np.arange(N)})
    written(tmp_path / "pool", table, (1, 350))
    run("next", "pool", "--folder", "c", "-k", 8, "-o", "p.csv", *QUICK)
    head, lines = cells_of("p.csv")
    assert head == ["row", "file", "row_in_file", "a", "b", "c", "pool_file", "label"]
    for line in lines:
        assert line[6] == line[0]
        assert (line[1], int(line[2])) == (
            str(tmp_path / "pool" / f"p{(int(line[0]) > 0) + (int(line[0]) >= 350)}.parquet"),
            int(line[0]) - (350 if int(line[0]) >= 350 else int(line[0]) > 0),
        )
    changed = [[*line[:6], "3", "1.0"] for line in lines]
    Path("p.csv").write_text("\n".join(map(",".join, [head, *changed])) + "\n")
    assert "in column 'pool_file'" in refused("tell", "p.csv", "--folder", "c")
    good = [[*line[:-1], "1.0"] for line in lines]
    Path("p.csv").write_text("\n".join(map(",".join, [head, *good])) + "\n")
    assert only_json(run("tell", "p.csv", "--folder", "c", "--json").stdout)["told"] == 8


def test_tell_reads_only_rows_that_are_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    table = pa.table(numbers(np.random.default_rng(0)))
    written(tmp_path / "pool", table, tuple(range(10, N, 10)))
    run("next", "pool", "--folder", "c", "-k", 3, "-o", "p.csv", *QUICK)
    rows = label("p.csv", drop=("file",))
    opened = []
    numbered = ParquetTable.numbered
    monkeypatch.setattr(ParquetTable, "numbered", lambda t, *a: opened.append(t.path.name) or numbered(t, *a))
    monkeypatch.setattr("fasttangent.common.tables.joined.JoinedTable.blocks", None)
    run("tell", "p.csv", "--folder", "c")
    names = sorted(path.name for path in Path("pool").iterdir())
    assert set(opened) == {names[row // 10] for row in rows}
    opened.clear()
    for name in set(names) - {names[row // 10] for row in rows} - {names[0]}:
        Path("pool", name).unlink()
    assert only_json(run("tell", "p.csv", "--folder", "c", "--json").stdout)["known_before"] == 3


def test_files_that_come_and_go(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    table = pa.table(numbers(np.random.default_rng(0)))
    written(tmp_path / "pool", table, (350,))
    run("next", "pool", "--folder", "c", "-k", 3, "-o", "p.csv", *QUICK)
    label("p.csv", drop=("file",))
    new = tmp_path / "pool" / "new.parquet"
    shutil.copy("pool/p1.parquet", new)  # in front of the others
    line = refused("next", "--folder", "c", "-k", 3, "-o", "q.csv")
    assert f"the pool has 3 files and had 2 when the campaign began: {new} was not in it" in line
    assert only_json(run("tell", "p.csv", "--folder", "c", "--json").stdout)["told"] == 3
    new.unlink()
    shutil.move("pool/p1.parquet", "elsewhere.parquet")
    assert f"{tmp_path / 'pool' / 'p1.parquet'} is gone" in refused(
        "next", "--folder", "c", "-k", 3, "-o", "q.csv"
    )
    shutil.move("elsewhere.parquet", "pool/p1.parquet")
    run("next", "--folder", "c", "-k", 3, "-o", "q.csv")
    shutil.move("pool", "moved")
    run("next", "moved", "--folder", "c", "-k", 3, "-o", "q.csv")
    run("next", "--folder", "c", "-k", 3, "-o", "q.csv")
    label("q.csv")
    run("tell", "q.csv", "--folder", "c")
    assert "no*.parquet matches no file" in refused(
        "next", "no*.parquet", "--folder", "d", "-k", 3, "-o", "q.csv"
    )
