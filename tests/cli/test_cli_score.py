"""``score`` of many files: one for each, whole or not at all; parts of the work, and going on after a stop."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from helpers.command_line import NAMES, QUICK, only_json, refused, run
from helpers.stores import FlakyFileSystem
from pyarrow import parquet

import fasttangent as ft
from fasttangent.cli import scoring
from fasttangent.cli.tables.writing import write_table
from fasttangent.common.tables import stores

FILES = 7
SCORES = ("prediction", "sensitivity", "curiosity")


@pytest.fixture
def many(tmp_path):
    """A folder with files of different kinds and sizes, and the rows of each."""
    folder, rng, rows = tmp_path / "pool", np.random.default_rng(4), {}
    (folder / "below").mkdir(parents=True)
    for i in range(FILES):
        X = rng.normal(size=(10 + 40 * i, 3))
        name = f"below/p{i}.parquet" if i == 3 else f"p{i}.csv" if i == 5 else f"p{i}.parquet"
        ids = np.array([f"0{i}{j}" for j in range(len(X))], object)
        columns = {"id": ids, **dict(zip(NAMES, X.T, strict=True)), "site": np.arange(len(X)) % 3}
        write_table(folder / name, {key: pa.array(value) for key, value in columns.items()})
        rows[name] = X
    return folder, rows


def outputs(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def of(name):
    return name if name.endswith(".parquet") else f"{name}.parquet"


def check(folder, rows, model):
    assert outputs(folder) == sorted(map(of, rows))
    for name, X in rows.items():
        table = parquet.read_table(folder / of(name))
        assert table["row"].to_pylist() == list(range(len(X)))
        for score in SCORES:
            assert table[score].to_numpy().tobytes() == getattr(model.score(X), score).tobytes(), (
                name,
                score,
            )


@pytest.mark.parametrize("way", ["folder", "glob", "files", "one"])
def test_every_file_gets_a_file_of_its_own(trained, many, tmp_path, way):
    (folder, rows), out = many, tmp_path / "deep" / "scores"
    given = {
        "folder": [folder],
        "glob": [f"{folder}/**/*.*"],
        "files": sorted(folder.glob("p*")),
        "one": [folder / "p1.parquet"],
    }[way]
    if way in ("files", "one"):
        rows = {Path(one).name: rows[Path(one).name] for one in given}
    result = run("score", trained / "m.npz", *given, "-o", f"{out}/")
    check(out, rows, ft.load(trained / "m.npz"))
    total = sum(map(len, rows.values()))
    assert result.stdout.startswith(f"scored {total:,} rows of {len(rows)} files in ")
    assert result.stderr == ""


def test_members_and_pieces(many, trained, tmp_path, monkeypatch):
    monkeypatch.setattr(scoring, "ROWS", 7)
    run("fit", trained / "data.csv", "--target", "y", "-o", tmp_path / "m.npz", *QUICK, "--members", 2)
    run("score", tmp_path / "m.npz", many[0], "-o", tmp_path / "scores")
    check(tmp_path / "scores", many[1], ft.load(tmp_path / "m.npz"))


def test_ids_and_columns_go_with_the_scores(trained, many, tmp_path):
    folder, rows = many
    run(
        "score",
        trained / "m.npz",
        folder,
        "-o",
        tmp_path / "s",
        "--id",
        "id",
        "--keep",
        "site",
        "--keep",
        "mass",
    )
    model = ft.load(trained / "m.npz")
    for name, X in rows.items():
        table = parquet.read_table(tmp_path / "s" / of(name)).to_pydict()
        assert list(table) == ["id", "site", "mass", *SCORES]
        assert table["id"] == [f"0{name.split('p', 1)[1][0]}{j}" for j in range(len(X))], "text stays text"
        assert [int(site) for site in table["site"]] == [j % 3 for j in range(len(X))]
        assert table["mass"] == X[:, 2].tolist()
        assert np.array(table["curiosity"]).tobytes() == model.curiosity(X).tobytes()


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_ids_of_a_single_file(trained, tmp_path, ending):
    X = np.random.default_rng(0).normal(size=(50, 3))
    ids = pa.array([f"s{i}" for i in range(50)])
    write_table(tmp_path / f"p{ending}", {"sample": ids, **dict(zip(NAMES, X.T, strict=True))})
    run("score", trained / "m.npz", tmp_path / f"p{ending}", "-o", tmp_path / "s.csv", "--id", "sample")
    lines = (tmp_path / "s.csv").read_text().splitlines()
    assert lines[0] == "sample,prediction,sensitivity,curiosity"
    assert [line.split(",")[0].strip('"') for line in lines[1:]] == ids.to_pylist()


def test_ids_where_columns_are_matched_by_position(plain_data, tmp_path):
    ft.fit(*plain_data, hidden=(4,), epochs=5, settle=False).save(tmp_path / "m.npz")
    np.savetxt(tmp_path / "p.csv", np.column_stack([np.arange(60), plain_data[0]]), delimiter=",")
    result = run("score", tmp_path / "m.npz", tmp_path / "p.csv", "-o", tmp_path / "s.parquet", code=2)
    assert "has 4 columns but the model was fitted on 3" in result.stderr
    run("score", tmp_path / "m.npz", tmp_path / "p.csv", "-o", tmp_path / "s.parquet", "--id", "0")
    assert parquet.read_table(tmp_path / "s.parquet").schema.names == ["0", *SCORES]


def test_shards_share_the_files(trained, many, tmp_path):
    folder, rows = many
    found = []
    for i in range(1, 5):
        run("score", trained / "m.npz", folder, "-o", tmp_path / f"s{i}", "--shard", f"{i}/4")
        found += outputs(tmp_path / f"s{i}")
        run("score", trained / "m.npz", folder, "-o", tmp_path / "all", "--shard", f"{i}/4")
    assert sorted(found) == sorted(map(of, rows))
    check(tmp_path / "all", rows, ft.load(trained / "m.npz"))
    more = run("score", trained / "m.npz", folder, "-o", tmp_path / "more", "--shard", "9/9")
    assert more.stdout.startswith("scored 0 rows of 0 files")


def times(folder):
    return {name: (folder / name).stat().st_mtime_ns for name in outputs(folder)}


def test_resumed_work_does_what_is_missing_and_no_more(trained, many, tmp_path):
    (folder, rows), out = many, tmp_path / "s"
    command = ["score", trained / "m.npz", folder, "-o", out, "--resume", "--json"]
    assert only_json(run(*command).stdout)["files"] == FILES
    before = times(out)
    document = only_json(run(*command).stdout)
    assert (document["files"], document["skipped_files"], document["rows"]) == (0, FILES, 0)
    assert times(out) == before
    (out / "p1.parquet").unlink()
    whole = (out / "p2.parquet").read_bytes()
    (out / "p2.parquet").write_bytes(whole[: len(whole) // 2])  # half of a copy
    (out / "p4.parquet").write_bytes(b"")
    write_table(out / "p6.parquet", {"row": np.arange(3)})  # somebody else's
    os.utime(folder / "p0.parquet", (1, 1))  # written again
    document = only_json(run(*command).stdout)
    assert (document["files"], document["skipped_files"]) == (5, FILES - 5)
    assert document["rows"] == sum(len(rows[f"p{i}.parquet"]) for i in (0, 1, 2, 4, 6))
    check(out, rows, ft.load(trained / "m.npz"))


def test_what_another_model_or_another_way_made_is_made_again(trained, many, tmp_path, plain_data):
    (folder, _), out = many, tmp_path / "s"
    ft.fit(*plain_data, hidden=(4,), epochs=5, feature_names=NAMES, settle=False).save(tmp_path / "n.npz")

    def done(*more, model=trained / "m.npz"):
        return only_json(run("score", model, folder, "-o", out, "--resume", "--json", *more).stdout)["files"]

    assert done() == FILES
    assert done("--threads", 1) == 0
    assert done(model=tmp_path / "n.npz") == FILES
    assert done("--keep", "site", model=tmp_path / "n.npz") == FILES
    assert done() == FILES
    run("score", trained / "m.npz", folder, "-o", out)
    assert done() == 0


def test_a_single_output_in_parquet_can_be_resumed(trained, pool, tmp_path):
    command = ["score", trained / "m.npz", pool, "-o", tmp_path / "s.parquet", "--resume"]
    assert run(*command).stdout.startswith("scored 500 rows of 1 files in ")
    assert "(1 were done before)" in run(*command).stdout
    command[4] = tmp_path / "s.csv"
    assert "--resume needs an output in Parquet" in refused(*command)


def test_files_that_cannot_be_read_are_told_and_left_out(trained, many, tmp_path):
    (folder, rows), out = many, tmp_path / "s"
    whole = (folder / "p1.parquet").read_bytes()
    (folder / "p1.parquet").write_bytes(whole[: len(whole) // 2])
    (folder / "p2.parquet").write_bytes(b"")
    write_table(folder / "p4.parquet", {"speed": np.ones(3), "mass": np.ones(3)})
    (folder / "p5.csv").write_text("id,speed,height,mass,site\na,1,2,3,4\nb,1,x,3,4\n")
    result = run("score", trained / "m.npz", folder, "-o", out, code=1)
    told = [line for line in result.stderr.splitlines() if "warning: no scores of" in line]
    for name, why in {
        "p1.parquet": "cannot be read",
        "p2.parquet": "is empty (0 bytes)",
        "p4.parquet": "lacks columns the model was fitted on: 'height'",
        "p5.csv": "column 'height' holds 'x' in row 1 (counted from 0, line 3)",
    }.items():
        assert any(name in line and why in line for line in told), name
        del rows[name]
    last = result.stderr.splitlines()[-1]
    assert last.startswith(
        f"fasttangent: error: 4 of {FILES} files could not be scored, first {folder}/p1.parquet: "
    )
    assert "run again with --resume, which leaves out the 3 that are done" in last
    check(out, rows, ft.load(trained / "m.npz"))
    (folder / "p1.parquet").write_bytes(whole)
    result = run("score", trained / "m.npz", folder, "-o", out, "--resume", "--json", code=1)
    assert only_json(result.stdout)["exit_code"] == 1
    assert "p1.parquet" in outputs(out)


def test_it_gives_up_where_nothing_can_be_read(trained, tmp_path):
    (tmp_path / "pool").mkdir()
    for i in range(30):
        write_table(tmp_path / "pool" / f"p{i:02}.parquet", {"speed": np.ones(3)})
    line = run(
        "score", trained / "m.npz", tmp_path / "pool", "-o", tmp_path / "s", code=2
    ).stderr.splitlines()[-1]
    assert "p09.parquet lacks columns the model was fitted on" in line
    assert outputs(tmp_path / "s") == []


def test_a_file_that_goes_or_changes_while_the_pool_is_read(trained, many, tmp_path, monkeypatch):
    folder, rows = many
    pieces = scoring._pieces

    def changing(table, *arguments):
        yield from pieces(table, *arguments)
        if table.path.name == "p0.parquet":
            os.remove(folder / "p2.parquet")
            write_table(folder / "p9.parquet", {name: np.ones(3) for name in NAMES})
            os.utime(folder / "p0.parquet", (1, 1))

    monkeypatch.setattr(scoring, "_pieces", changing)
    result = run("score", trained / "m.npz", folder, "-o", tmp_path / "s", code=1)
    assert "p0.parquet was changed while it was read; run the command again" in result.stderr
    assert "No such file" in result.stderr
    for name in ("p0.parquet", "p2.parquet"):
        del rows[name]
    check(tmp_path / "s", rows, ft.load(trained / "m.npz"))


def test_empty_parts_have_empty_scores(trained, many, tmp_path):
    folder, _rows = many
    schema = pa.schema([("id", pa.string()), *((name, pa.float64()) for name in NAMES)])
    parquet.write_table(schema.empty_table(), folder / "none.parquet")
    (folder / "head.csv").write_text("id,speed,height,mass\n")
    run("score", trained / "m.npz", folder, "-o", tmp_path / "s", "--id", "id")
    for name in ("none.parquet", "head.csv.parquet"):
        table = parquet.read_table(tmp_path / "s" / name)
        assert (table.num_rows, table.schema.names) == (0, ["id", *SCORES])
    line = refused("score", trained / "m.npz", folder / "none.parquet", "-o", tmp_path / "s.csv")
    assert "none.parquet holds no rows" in line


def test_missing_values_are_counted_through_all_files(trained, many, tmp_path):
    folder, _ = many
    X = np.ones((10, 3))
    X[[4, 6], 1] = np.nan
    for name in ("p2", "p6"):
        write_table(folder / f"{name}.parquet", dict(zip(NAMES, X.T, strict=True)))
    result = run("score", trained / "m.npz", folder, "-o", tmp_path / "s", "--json")
    assert only_json(result.stdout)["missing_rows"] == 4
    assert "4 of " in result.stderr
    assert "first row 4 (counted from 0) of " in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["pool", "-o", "s.parquet"], "--output must be a folder"),
        (["pool/*.parquet", "-o", "s.csv"], "--output must be a folder"),
        (["pool", "-o", "pool"], "is of the pool itself and would be overwritten"),
        (["pool/*.parquet", "-o", "./"], "lies in the folder ./ of the scores"),
        (["pool", "-o", "s", "--shard", "0/3"], "'0/3' is no part of a whole"),
        (["pool", "-o", "s", "--shard", "4/3"], "'4/3' is no part of a whole"),
        (["pool", "-o", "s", "--shard", "third"], "'third' is no part of a whole"),
        (["pool", "-o", "m.npz"], "--output must be a folder"),
        (["nothing/*.csv", "-o", "s"], "matches no file"),
        (["nothing", "-o", "s"], "nothing does not exist"),
        (["pool/p0.parquet", "pool/below/../p0.parquet", "-o", "s"], "would both become s/p0.parquet"),
        (["pool/p0.parquet", "-o", "s.csv", "--keep", "sit"], "no column 'sit'; the nearest is 'site'"),
        (["pool/p0.parquet", "-o", "s.csv", "--id", "sit"], "no column 'sit'; the nearest is 'site'"),
        (["-o", "s"], "Missing argument 'POOL...'"),
    ],
)
def test_what_is_refused(trained, many, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    before = outputs(tmp_path)
    (tmp_path / "m.npz").write_bytes((trained / "m.npz").read_bytes())
    assert message in refused("score", "m.npz", *arguments)
    assert outputs(tmp_path) == sorted([*before, "m.npz"])


def test_a_pool_in_a_store_that_fails_every_tenth_time(trained, many, tmp_path, monkeypatch):
    monkeypatch.setattr(stores, "FIRST_WAIT", 0.0001)
    folder, rows = many
    store = FlakyFileSystem()
    store.store.clear()
    monkeypatch.setattr(FlakyFileSystem, "every", 10**9)
    for name in rows:
        with store.open(f"/pool/{name}", "wb") as target:
            target.write((folder / name).read_bytes())
    monkeypatch.setattr(FlakyFileSystem, "every", 10)
    out = tmp_path / "s"
    run("score", trained / "m.npz", "flaky://pool/", "-o", out)
    check(out, rows, ft.load(trained / "m.npz"))
    monkeypatch.setattr(FlakyFileSystem, "created", None, raising=False)
    before = times(out)
    document = only_json(
        run("score", trained / "m.npz", "flaky://pool/", "-o", out, "--resume", "--json").stdout
    )
    assert (document["files"], document["skipped_files"]) == (0, FILES)
    assert times(out) == before


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on file sizes")
def test_a_full_disk_ends_it_and_leaves_whole_files(trained, tmp_path):
    (tmp_path / "pool").mkdir()
    for i in range(4):
        X = np.random.default_rng(i).normal(size=(1000 if i < 2 else 60_000, 3))
        write_table(tmp_path / "pool" / f"p{i}.parquet", dict(zip(NAMES, X.T, strict=True)))
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, 500_000))\n"
        "from fasttangent.cli.app import cli; cli(sys.argv[1:])"
    )
    command = ["score", trained / "m.npz", tmp_path / "pool", "-o", tmp_path / "s"]
    out = subprocess.run(
        [sys.executable, "-c", code, *map(str, command)], capture_output=True, text=True, timeout=120
    )
    assert out.returncode == 1
    assert out.stderr.splitlines()[-1] == (
        f"fasttangent: error: {tmp_path / 's' / 'p2.parquet'}: File too large; free some space or write elsewhere"
    )
    assert outputs(tmp_path / "s") == ["p0.parquet", "p1.parquet"]


def test_interrupted_between_files(trained, many, tmp_path, monkeypatch):
    calls = []
    scored = ft.model.scores.scored

    def interrupting(*arguments):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return scored(*arguments)

    monkeypatch.setattr("fasttangent.model.scores.scored", interrupting)
    result = run("score", trained / "m.npz", many[0], "-o", tmp_path / "s", code=130)
    assert result.stderr.splitlines()[-1] == "fasttangent: error: interrupted; no file is half written"
    assert all(name.endswith(".parquet") for name in outputs(tmp_path / "s"))
    document = json.loads(
        run("score", trained / "m.npz", many[0], "-o", tmp_path / "s", "--resume", "--json").stdout
    )
    assert document["files"] + document["skipped_files"] == FILES
    check(tmp_path / "s", many[1], ft.load(trained / "m.npz"))


@pytest.mark.parametrize("ending", [".parquet", ".csv"])
def test_columns_of_any_kind_are_read_as_the_model_learned_them(tmp_path, ending):
    rng = np.random.default_rng(0)

    def table(n):
        size = np.where(rng.random(n) < 0.1, None, rng.normal(size=n)).tolist()
        color = [None if rng.random() < 0.1 else rng.choice(["red", "blue"]) for _ in range(n)]
        return pa.table(
            {"size": pa.array(size, pa.float64()), "color": color, "sample": [f"s{i}" for i in range(n)]}
        )

    training, pool = table(100).drop_columns(["sample"]), table(500)
    model = ft.fit(training, rng.normal(size=100), hidden=(4,), epochs=10, strength=0.1)
    model.save(tmp_path / "m.npz")
    write_table(tmp_path / f"p{ending}", {name: pool[name] for name in pool.schema.names})
    run("score", tmp_path / "m.npz", tmp_path / f"p{ending}", "-o", tmp_path / "s.parquet", "--id", "sample")
    found = parquet.read_table(tmp_path / "s.parquet")
    assert found["sample"].to_pylist() == pool["sample"].to_pylist()
    assert found["curiosity"].to_numpy().tobytes() == model.curiosity(pool.drop_columns(["sample"])).tobytes()


def test_arrow_takes_no_more_threads_than_a_job_may(trained, many, tmp_path):
    before = pa.cpu_count()
    try:
        run("score", trained / "m.npz", many[0], "-o", tmp_path / "s", "--threads", 1)
        assert pa.cpu_count() == 1
    finally:
        pa.set_cpu_count(before)
    assert "threads" in refused("score", trained / "m.npz", many[0], "-o", tmp_path / "s", "--threads", 0)
