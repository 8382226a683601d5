"""Pools beyond memory: the same rows whatever the files, the picks of the array, and every fault by name."""

import gzip
import os
import subprocess
import sys
import tracemalloc
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pytest
from helpers.stores import FlakyFileSystem
from pyarrow import csv, feather, parquet

import fasttangent as ft
from fasttangent.active import pools
from fasttangent.common.tables import stores

NAMES = ("speed", "height", "mass")
ENDINGS = (".parquet", ".csv", ".csv.gz", ".tsv", ".feather", ".arrow", ".npy")
ROWS = 1003


@pytest.fixture(scope="module")
def named(plain_data):
    return ft.fit(*plain_data, hidden=(4,), epochs=30, strength=0.01, feature_names=NAMES)


@pytest.fixture(scope="module")
def rows():
    return np.random.default_rng(2).normal(size=(ROWS, 3))


def table(rows, first=0):
    ids = [f"r{first + i:05}" for i in range(len(rows))]
    return pa.table(
        {"id": ids, **{name: rows[:, i] for i, name in enumerate(NAMES)}, "note": ["x"] * len(rows)}
    )


def write(path, whole):
    ending = next(one for one in ENDINGS if str(path).endswith(one))
    if ending == ".parquet":
        parquet.write_table(whole, path, row_group_size=100)
    elif ending == ".feather":
        feather.write_feather(whole, str(path), chunksize=64)
    elif ending == ".arrow":
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, whole.schema) as writer:
            writer.write_table(whole, max_chunksize=64)
    elif ending == ".npy":
        np.save(path, np.column_stack([whole[name] for name in NAMES]))
    else:
        options = csv.WriteOptions(delimiter="\t" if ".tsv" in ending else ",")
        with gzip.open(path, "wb") if ending.endswith(".gz") else open(path, "wb") as sink:
            csv.write_csv(whole, sink, options)


def split(folder, rows, cuts, endings=(".parquet",)):
    """The rows in files in the order of their names, which are not all of one kind."""
    bounds = [0, *cuts, len(rows)]
    for i, (low, high) in enumerate(pairwise(bounds)):
        write(folder / f"part-{i:03}{endings[i % len(endings)]}", table(rows[low:high], low))
    return folder


def all_of(pool):
    starts, blocks = zip(*pool.chunks(), strict=True)
    assert list(starts) == np.cumsum([0, *map(len, blocks)])[:-1].tolist()
    return np.concatenate(blocks)


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_file_of_every_kind(tmp_path, rows, named, ending):
    write(tmp_path / f"p{ending}", table(rows))
    pool = ft.Pool(tmp_path / f"p{ending}", id=None if ending == ".npy" else "id").of(named)
    assert len(pool) == ROWS
    assert all_of(pool).tobytes() == rows.tobytes()
    numbers = np.array([1002, 0, 7, 7, 500])
    assert pool.take(numbers).tobytes() == rows[numbers].tobytes()
    assert pool.take([]).shape == (0, 3)
    expected = {"row": [7, 2]} if ending == ".npy" else {"id": ["r00007", "r00002"]}
    found = pool.identify([7, 2])
    assert {key: found[key].tolist() for key in expected} == expected


@pytest.mark.parametrize("cuts", [(), (1, 2, 500), tuple(range(10, 1000, 10))])
def test_rows_are_numbered_through_all_files(tmp_path, rows, cuts, monkeypatch):
    monkeypatch.setattr(pools, "CHUNK_ROWS", 128)
    pool = ft.Pool(split(tmp_path, rows, cuts, ENDINGS[:6]), columns=NAMES, id="id")
    assert len(pool.files) == len(cuts) + 1
    assert list(pool.files) == sorted(pool.files)
    assert len(pool) == ROWS
    assert all_of(pool).tobytes() == rows.tobytes()
    numbers = np.random.default_rng(0).permutation(ROWS)[:200]
    assert pool.take(numbers).tobytes() == rows[numbers].tobytes()
    assert pool.identify(numbers)["id"].tolist() == [f"r{i:05}" for i in numbers]
    where = ft.Pool(tmp_path, columns=NAMES).identify([0, ROWS - 1])
    assert where["file"].tolist() == [pool.files[0], pool.files[-1]]
    assert where["row"].tolist() == [0, ROWS - 1 - (cuts[-1] if cuts else 0)]


def test_every_way_to_name_files(tmp_path, rows):
    split(tmp_path, rows, (300, 600))
    (tmp_path / "below").mkdir()
    write(tmp_path / "below" / "more.parquet", table(rows))
    for name in ("_SUCCESS", ".hidden.parquet", "_metadata", "notes.txt"):
        (tmp_path / name).write_text("not a table")
    files = sorted(map(str, tmp_path.glob("part-*")))
    assert list(ft.Pool(str(tmp_path / "part-*.parquet")).files) == files
    assert list(ft.Pool(files[::-1]).files) == files[::-1]
    assert list(ft.Pool([files[2], tmp_path / "part-00[01].parquet"]).files) == [files[2], *files[:2]]
    below = str(tmp_path / "below" / "more.parquet")
    assert list(ft.Pool(tmp_path).files) == sorted([*files, below])
    assert list(ft.Pool(str(tmp_path / "**" / "*.parquet")).files) == sorted([*files, below])


def test_sources_that_are_no_files(tmp_path, rows, named):
    split(tmp_path, rows, (300, 600))
    np.save(tmp_path / "m.npy", rows)
    whole = table(rows)
    sources = {
        "array": rows,
        "memory map": np.load(tmp_path / "m.npy", mmap_mode="r"),
        "table": whole,
        "pandas": whole.to_pandas(),
        "data set": ds.dataset(sorted(map(str, tmp_path.glob("*.parquet")))),
        "a filtered one": ds.dataset(whole.append_column("part", pa.array([1] * ROWS))).filter(
            ds.field("part") == 1
        ),
        "batches": lambda: iter(whole.to_batches(max_chunksize=100)),
        "tables": lambda: [whole.slice(0, 10), whole.slice(10)],
        "arrays": lambda: (rows[i : i + 100] for i in range(0, ROWS, 100)),
    }
    for name, source in sources.items():
        pool = ft.Pool(source).of(named)
        assert all_of(pool).tobytes() == rows.tobytes(), name
        assert len(pool) == ROWS
        assert pool.take([1000, 3]).tobytes() == rows[[1000, 3]].tobytes(), name
        assert pool.identify([4])["row"].tolist() == [4]


def test_a_data_set_with_partitions(tmp_path, rows):
    whole = table(rows).append_column("site", pa.array([i % 3 for i in range(ROWS)]))
    parquet.write_to_dataset(whole, tmp_path / "d", partition_cols=["site"])
    dataset = ds.dataset(tmp_path / "d", partitioning="hive")
    pool = ft.Pool(dataset, columns=["site", *NAMES])
    assert np.array_equal(np.unique(all_of(pool)[:, 0]), [0, 1, 2])
    assert np.array_equal(np.sort(all_of(pool)[:, 1]), np.sort(rows[:, 0]))


@pytest.mark.parametrize("strategy", ["error", "top", "sample", "random", "lcmd"])
@pytest.mark.parametrize("cuts", [(), (1, 400)])
def test_picks_are_those_of_the_array(tmp_path, rows, named, plain_data, strategy, cuts):
    pool = ft.Pool(split(tmp_path, rows, cuts, (".parquet", ".csv")), id="id")
    asked = {"strategy": strategy, "labeled": plain_data[0], "exclude": [3], "seed": 4}
    expected = ft.select(named, rows, 12, **asked)
    found = ft.select(named, pool, 12, **asked)
    assert found.indices.tolist() == expected.indices.tolist()
    assert found.scores.tobytes() == expected.scores.tobytes()
    assert found.candidates == expected.candidates


def test_members_pick_from_a_pool(tmp_path, rows, plain_data):
    members = ft.fit(*plain_data, hidden=(4,), epochs=20, strength=0.01, feature_names=NAMES, members=2)
    pool = ft.Pool(split(tmp_path, rows, (500,)))
    found = ft.select(members, pool, 5, labeled=plain_data[0])
    assert found.indices.tolist() == ft.select(members, rows, 5, labeled=plain_data[0]).indices.tolist()


def test_scores_of_a_pool_are_those_of_the_array(tmp_path, rows, named):
    pool = ft.Pool(split(tmp_path, rows, (1, 400), ENDINGS[:6]))
    found = pa.Table.from_batches(named.score_batches(pool, keep=["id"])).to_pydict()
    assert np.array(found["curiosity"]).tobytes() == named.curiosity(rows).tobytes()
    assert found["id"] == [f"r{i:05}" for i in range(ROWS)]


def test_scores_of_a_pool_read_what_they_need(tmp_path, rows, named, monkeypatch):
    split(tmp_path, rows, (400,))
    read, batches = [], parquet.ParquetFile.iter_batches

    def counted(file, size, columns, **how):
        read.append(tuple(columns))
        return batches(file, size, columns=columns, **how)

    monkeypatch.setattr(parquet.ParquetFile, "iter_batches", counted)
    expected = named.curiosity(rows).tobytes()
    for source in (ft.Pool(tmp_path), ds.dataset(tmp_path)):
        found = pa.Table.from_batches(named.score_batches(source, keep=["id"]))
        assert found["curiosity"].to_numpy().tobytes() == expected
    assert set(read) == {(*NAMES, "id")}


def test_a_column_of_csv_that_begins_with_gaps(tmp_path, named, monkeypatch):
    monkeypatch.setattr("fasttangent.common.tables.csv_file.BLOCK_BYTES", 100)
    lines = ["speed,height,mass", *["1,,3"] * 50, *["1,2.5,3"] * 50]
    (tmp_path / "p.csv").write_text("\n".join(lines) + "\n")
    with pytest.warns(UserWarning, match="50 of 100 rows hold a value that is missing"):
        found = pa.Table.from_batches(named.score_batches(ft.Pool(tmp_path / "p.csv")))
    assert found["curiosity"].to_numpy()[99] == named.curiosity([[1, 2.5, 3]])[0]


def test_columns_by_name_in_any_order_and_number(tmp_path, rows, named):
    whole = table(rows)
    write(tmp_path / "a.parquet", whole.slice(0, 500))
    write(tmp_path / "b.parquet", whole.slice(500).select(["mass", "note", "speed", "id", "height"]))
    assert all_of(ft.Pool(tmp_path).of(named)).tobytes() == rows.tobytes()
    assert (
        all_of(ft.Pool(tmp_path, columns=["mass", "speed", "height"]).of(named)).tobytes() == rows.tobytes()
    )
    assert all_of(ft.Pool(tmp_path, columns=["mass", "speed"])).tobytes() == rows[:, [2, 0]].tobytes()
    assert all_of(ft.Pool(tmp_path / "a.parquet", columns=[3, -4])).tobytes() == rows[:500, [2, 0]].tobytes()
    with pytest.raises(ValueError, match="columns must be the 3 that the model was fitted on, got 2"):
        ft.Pool(tmp_path, columns=["mass", "speed"]).of(named)


def test_types_may_differ_from_file_to_file(tmp_path, named):
    parquet.write_table(pa.table({"speed": [1], "height": [2.5], "mass": [3]}), tmp_path / "a.parquet")
    kinds = {
        "speed": pa.array([4], pa.int8()),
        "height": pa.array([5], pa.float32()),
        "mass": pa.array(["6"]),
    }
    parquet.write_table(pa.table(kinds), tmp_path / "b.parquet")
    assert all_of(ft.Pool(tmp_path).of(named)).tolist() == [[1, 2.5, 3], [4, 5, 6]]


def test_memory_is_that_of_some_chunks(tmp_path, monkeypatch):
    monkeypatch.setattr(pools, "CHUNK_ROWS", 1000)
    big = np.random.default_rng(0).normal(size=(200_000, 4))
    np.save(tmp_path / "big.npy", big)
    pool = ft.Pool(tmp_path / "big.npy")
    pool.take([0])
    tracemalloc.start()
    total = sum(float(rows.sum()) for _, rows in pool.chunks())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert np.isclose(total, big.sum())
    assert peak < big.nbytes * 5 // 2, "the reader is some blocks ahead"


def test_no_column_is_read_that_is_not_needed(tmp_path, rows, named, monkeypatch):
    split(tmp_path, rows, (400,))
    read, batches = [], parquet.ParquetFile.iter_batches

    def counted(file, size, columns, **how):
        read.append(tuple(columns))
        return batches(file, size, columns=columns, **how)

    monkeypatch.setattr(parquet.ParquetFile, "iter_batches", counted)
    all_of(ft.Pool(tmp_path).of(named))
    assert set(read) == {NAMES}


# --- stores ----------------------------------------------------------------------------------------------------


@pytest.fixture
def flaky(tmp_path, rows, monkeypatch):
    """A store with the rows in files of every kind."""
    monkeypatch.setattr(stores, "FIRST_WAIT", 0.0001)
    store = FlakyFileSystem()
    store.store.clear()
    monkeypatch.setattr(FlakyFileSystem, "every", 10**9)
    split(tmp_path, rows, (100, 200, 300, 400, 500, 600, 700), ENDINGS[:6])
    for path in sorted(tmp_path.iterdir()):
        with store.open(f"/pool/{path.name}", "wb") as target:
            target.write(path.read_bytes())
    monkeypatch.setattr(FlakyFileSystem, "failures", 0)
    return store


@pytest.mark.parametrize("url", ["flaky://pool/*", "flaky://pool", "flaky://pool/"])
def test_urls_of_a_store_that_fails_every_tenth_time(flaky, rows, url, monkeypatch):
    monkeypatch.setattr(FlakyFileSystem, "every", 10)
    pool = ft.Pool(url, columns=NAMES, id="id")
    assert pool.files[0] == "flaky://pool/part-000.parquet"
    assert all_of(pool).tobytes() == rows.tobytes()
    assert pool.take([1000, 4]).tobytes() == rows[[1000, 4]].tobytes()
    assert pool.identify([1000])["id"].tolist() == ["r01000"]
    assert FlakyFileSystem.failures > 5


def test_a_store_that_fails_always_is_named(flaky, monkeypatch):
    pool = ft.Pool("flaky://pool", columns=NAMES)
    len(pool)
    monkeypatch.setattr(FlakyFileSystem, "every", 1)
    with pytest.raises(
        OSError, match=r"flaky://pool/part-000.parquet could not be read in 6 tries \(the peer went away\)"
    ):
        all_of(pool)


def test_what_a_store_does_not_have_is_not_asked_for_again(flaky):
    with pytest.raises(FileNotFoundError):
        len(ft.Pool("flaky://pool/nothing.parquet"))
    with pytest.raises(FileNotFoundError, match=r"flaky://pool/x\* holds no table"):
        ft.Pool("flaky://pool/x*")


def test_urls_without_fsspec_or_of_no_store(monkeypatch):
    with pytest.raises(ValueError, match=r"nowhere://x/y.csv: Protocol not known: nowhere"):
        ft.Pool("nowhere://x/y.csv")
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(ImportError, match=r"s3://a/b.csv needs fsspec: pip install 'fasttangent\[stores\]'"):
        ft.Pool("s3://a/b.csv")


# --- faults ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", [".parquet", ".csv.gz", ".feather", ".arrow", ".npy"])
def test_a_file_that_is_cut_short(tmp_path, rows, ending):
    split(tmp_path, rows, (500,), (".parquet", ending))
    bad = tmp_path / f"part-001{ending}"
    bad.write_bytes(bad.read_bytes()[: bad.stat().st_size // 2])
    with pytest.raises(OSError, match=rf"part-001{ending} cannot be read"):
        all_of(ft.Pool(tmp_path, columns=NAMES if ending != ".npy" else [1, 2, 3]))


def test_empty_files(tmp_path, rows, named):
    split(tmp_path, rows, (500,))
    write(tmp_path / "part-0005.parquet", table(rows[:0]))
    (tmp_path / "part-0006.csv").write_text("speed,height,mass\n")
    pool = ft.Pool(tmp_path).of(named)
    assert len(pool) == ROWS
    assert all_of(pool).tobytes() == rows.tobytes()
    (tmp_path / "part-0007.parquet").touch()
    with pytest.raises(ValueError, match=r"part-0007.parquet is empty \(0 bytes\)"):
        len(ft.Pool(tmp_path))
    with pytest.raises(ValueError, match="holds no rows"):
        all_of(ft.Pool(tmp_path / "part-0005.parquet"))


def test_files_whose_columns_changed(tmp_path, rows, named):
    split(tmp_path, rows, (500,))
    write(tmp_path / "part-002.parquet", table(rows).rename_columns(["id", "speed", "hight", "mass", "note"]))
    with pytest.raises(ValueError, match=r"part-002.parquet has no column 'height'; the nearest is 'hight'"):
        all_of(ft.Pool(tmp_path).of(named))
    whole = table(rows).set_column(3, "mass", pa.array(["heavy"] * ROWS))
    write(tmp_path / "part-002.parquet", whole)
    with pytest.raises(ValueError, match=r"part-002.parquet: column 'mass' holds 'heavy' in row 0"):
        all_of(ft.Pool(tmp_path).of(named))


def test_files_that_change_between_two_readings(tmp_path, rows, named):
    split(tmp_path, rows, (500,))
    pool = ft.Pool(tmp_path).of(named)
    assert len(pool) == ROWS
    write(tmp_path / "part-002.parquet", table(rows))  # a file that comes later is not of this pool
    assert len(all_of(pool)) == ROWS
    write(tmp_path / "part-001.parquet", table(rows[:400]))
    with pytest.raises(OSError, match=r"part-001.parquet is another file than it was before; begin again"):
        all_of(pool)
    os.remove(tmp_path / "part-001.parquet")
    with pytest.raises(FileNotFoundError, match=r"part-001\.parquet"):
        all_of(pool)


def test_a_function_that_gives_other_rows(rows):
    given = [rows, rows[:10], rows[:, :2]]
    pool = ft.Pool(lambda: [given[0]])
    assert len(pool) == ROWS
    given.pop(0)
    with pytest.raises(OSError, match="the function has 10 rows and had 1,003; a pool must stay the same"):
        all_of(pool)
    given.pop(0)
    with pytest.raises(ValueError, match="the function has pieces without a column '2'"):
        all_of(pool)


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(tmp_path, rows):
    split(tmp_path, rows, (500,))
    (tmp_path / "part-001.parquet").chmod(0)
    with pytest.raises(PermissionError, match=r"part-001\.parquet"):
        all_of(ft.Pool(tmp_path, columns=NAMES))


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        ("nothing.parquet", FileNotFoundError, "nothing.parquet does not exist"),
        ("no*.parquet", FileNotFoundError, r"no\*.parquet matches no file"),
        (".", FileNotFoundError, "holds no table"),
        ([], FileNotFoundError, "source names no files"),
        (["a.txt"], ValueError, "must end in .csv"),
        (["a.csv", "./a.csv", "a.csv"], ValueError, "a.csv is named twice"),
        (5, ValueError, "shape"),
        ({"a": 1}, TypeError, "source must be an array or a data frame, got a dict"),
        (lambda: 5, TypeError, "the function must return an iterator"),
        (lambda: [], ValueError, "the function holds no rows"),
        (np.zeros((0, 3)), ValueError, "source must have at least 1 row"),
    ],
)
def test_sources_that_are_none(tmp_path, monkeypatch, source, error, message):
    monkeypatch.chdir(tmp_path)
    if not isinstance(source, str) or source != ".":
        for name in ("a.txt", "a.csv"):
            (tmp_path / name).write_text("1,2\n")
    with pytest.raises(error, match=message):
        ft.Pool(source)


def test_bad_columns_and_numbers(tmp_path, rows):
    pool = ft.Pool(split(tmp_path, rows, ()), columns=NAMES)
    with pytest.raises(ValueError, match="numbers must be from 0 to 1002, got 1003"):
        pool.take([0, 1003])
    with pytest.raises(ValueError, match="numbers must be row numbers, got float64"):
        pool.take([0.5])
    with pytest.raises(TypeError, match="columns must be a sequence"):
        ft.Pool(tmp_path, columns="mass")
    with pytest.raises(ValueError, match="no column 'hight'; the nearest is 'height'"):
        all_of(ft.Pool(tmp_path, columns=["hight"]))


def test_plain_arrays_need_no_pyarrow():
    code = (
        "import sys; sys.modules['pyarrow'] = None; import numpy as np, fasttangent as ft\n"
        "np.save('p.npy', np.ones((10, 2)))\n"
        "for source in ('p.npy', np.ones((10, 2))): print(len(ft.Pool(source)), ft.Pool(source).take([3]).sum())"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert out.stdout == "10 2.0\n10 2.0\n", out.stderr


# --- columns of any kind ---------------------------------------------------------------------------------------


def messy(n, seed):
    """A table with text, gaps, days, a flag and an id."""
    rng = np.random.default_rng(seed)
    size = np.where(rng.random(n) < 0.1, None, rng.normal(size=n)).tolist()
    days = np.datetime64("2020-01-01") + rng.integers(0, 900, n)
    return pa.table(
        {
            "id": [f"r{seed}-{i}" for i in range(n)],
            "size": pa.array(size, pa.float64()),
            "color": pa.array(
                [None if rng.random() < 0.1 else rng.choice(["red", "blue", "3"]) for _ in range(n)]
            ),
            "open": [bool(one) for one in rng.integers(0, 2, n)],
            "when": pa.array(days),
            "count": rng.integers(0, 9, n),
        }
    )


@pytest.fixture(scope="module")
def of_kinds():
    frame = messy(300, 0).to_pandas().drop(columns="id").astype({"when": "datetime64[ns]"})
    y = frame["size"].fillna(0) + (frame["color"] == "red") + 0.1 * frame["count"]
    return ft.fit(frame, y, hidden=(6,), epochs=30, strength=0.01)


@pytest.mark.parametrize("ending", [".parquet", ".csv", ".feather"])
def test_columns_of_any_kind(tmp_path, of_kinds, ending, monkeypatch):
    monkeypatch.setattr(pools, "CHUNK_ROWS", 100)
    monkeypatch.setattr("fasttangent.common.tables.csv_file.BLOCK_BYTES", 4000)
    parts = [messy(150, seed) for seed in (1, 2, 3)]
    for i, part in enumerate(parts):
        write(tmp_path / f"p{i}{ending}", part)
    whole, labeled = pa.concat_tables(parts).drop_columns(["id"]), messy(300, 0).drop_columns(["id"])
    expected = of_kinds.matrix("pool", whole)
    pool = ft.Pool(tmp_path, id="id").of(of_kinds)
    assert all_of(pool).tobytes() == expected.astype(float).tobytes()
    numbers = np.array([449, 0, 151, 151])
    assert pool.take(numbers).tobytes() == expected[numbers].astype(float).tobytes()
    found = ft.select(of_kinds, pool, 7, labeled=labeled)
    assert found.indices.tolist() == ft.select(of_kinds, whole, 7, labeled=labeled).indices.tolist()


def test_picks_as_a_table_and_the_loop_on_a_pool(tmp_path, rows, named, plain_data):
    pool = ft.Pool(split(tmp_path, rows, (1, 400), (".parquet", ".csv")), columns=NAMES, id="id")
    picks = ft.select(named, pool, 6, labeled=plain_data[0])
    frame = picks.to_frame(pool)
    assert frame.schema.names == ["id", *NAMES, "note"]
    assert frame["id"].to_pylist() == pool.identify(picks.indices)["id"].tolist()
    assert np.column_stack([frame[name] for name in NAMES]).tobytes() == rows[picks.indices].tobytes()
    asked = {"batch": 10, "fit": {"hidden": (4,), "epochs": 10, "strength": 0.01}, "seed": 1}
    frame = pa.table({name: rows[:, i] for i, name in enumerate(NAMES)})
    of_pool, of_frame = (ft.ActiveLearner(one, *plain_data, **asked).ask() for one in (pool, frame))
    assert of_pool.tolist() == of_frame.tolist()
    np.save(tmp_path / "p.npy", rows)
    assert ft.Pool(tmp_path / "p.npy").whole().tobytes() == rows.tobytes()
