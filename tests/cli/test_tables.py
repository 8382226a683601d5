"""Tables read in chunks and written all or not at all, in every format, and what is said about bad ones."""

import gzip
import os
import subprocess
import sys
import tracemalloc
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
from helpers import counting
from pyarrow import feather, parquet

from fasttangent.cli import columns
from fasttangent.cli.tables import writing as table_output
from fasttangent.cli.tables.writing import check_writable, replacing, write_table, writing
from fasttangent.common.tables import csv_file, feather_file, npy_file, parquet_file
from fasttangent.common.tables import table as table_module
from fasttangent.common.tables.arrow import arrow
from fasttangent.common.tables.reading import open_table
from fasttangent.common.tables.table import WRITTEN, Table

ROWS = 1000
FORMATS = [".csv", ".csv.gz", ".tsv", ".tsv.gz", ".parquet", ".feather", ".arrow", ".npy"]


@pytest.fixture
def X():
    rng = np.random.default_rng(3)
    return rng.normal(size=(ROWS, 3)) * 10.0 ** rng.integers(-12, 12, size=(ROWS, 3))


def saved(folder: Path, ending: str, X: np.ndarray, names=("a", "b", "c")) -> Path:
    path = folder / f"table{ending}"
    columns = {name: X[:, i] for i, name in enumerate(names)}
    if ending == ".npy":
        np.save(path, X)
    elif ending == ".feather":
        feather.write_feather(pa.table(columns), str(path), chunksize=333)
    elif ending == ".arrow":  # a stream
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, pa.table(columns).schema) as writer:
            writer.write_table(pa.table(columns), max_chunksize=333)
    elif ending in WRITTEN:
        write_table(path, columns)
    else:
        lines = [list(columns), *(map(repr, row) for row in X.tolist())]
        content = "".join("\t".join(line) + "\n" for line in lines).encode()
        path.write_bytes(gzip.compress(content) if ending.endswith(".gz") else content)
    return path


def text(folder: Path, content: str | bytes, name: str = "table.csv") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize("ending", FORMATS)
def test_numbers_come_back_exactly(tmp_path, X, ending):
    table = open_table(saved(tmp_path, ending, X))
    assert table.names == (["0", "1", "2"] if ending == ".npy" else ["a", "b", "c"])
    assert table.named == (ending != ".npy")
    assert table.read().tobytes() == X.tobytes()
    assert table.read([2, 0]).tobytes() == X[:, [2, 0]].tobytes()


@pytest.mark.parametrize("ending", FORMATS)
@pytest.mark.parametrize("rows", [1, 7, 333, ROWS, ROWS + 1])
def test_chunks_have_the_height_asked_for(tmp_path, X, ending, rows, monkeypatch):
    monkeypatch.setattr(csv_file, "BLOCK_BYTES", 2000)  # the reader's own blocks do not matter
    for kind in (npy_file, parquet_file, feather_file):
        monkeypatch.setattr(kind, "CHUNK_ROWS", 41)
    table = open_table(saved(tmp_path, ending, X))
    chunks = list(table.chunks(rows))
    assert [start for start, _ in chunks] == list(range(0, ROWS, rows))
    assert all(len(chunk) == rows for _, chunk in chunks[:-1])
    assert np.array_equal(np.concatenate([chunk for _, chunk in chunks]), X)
    assert np.array_equal(table.read(), X), "a table can be read again"


@pytest.mark.parametrize("ending", FORMATS)
def test_rows_are_taken_in_the_order_asked_for(tmp_path, X, ending, monkeypatch):
    monkeypatch.setattr(csv_file, "BLOCK_BYTES", 2000)
    picks = np.array([999, 0, 500, 3, 998], dtype=np.int64)
    taken = open_table(saved(tmp_path, ending, X)).take(picks)
    assert np.array_equal(np.column_stack([np.asarray(column) for column in taken.values()]), X[picks])


def test_row_groups_without_a_pick_are_not_read(tmp_path, X, monkeypatch):
    path = tmp_path / "groups.parquet"
    parquet.write_table(pa.table({"a": X[:, 0]}), path, row_group_size=100)
    table, read = open_table(path), []
    batches = parquet.ParquetFile.iter_batches

    def counted(file, rows, row_groups, **how):
        read.extend(row_groups)
        return batches(file, rows, row_groups=row_groups, **how)

    monkeypatch.setattr(parquet.ParquetFile, "iter_batches", counted)
    wanted = np.array([950, 120, 199])
    assert np.array_equal(table.take(wanted)["a"], X[wanted, 0])
    assert np.array_equal(table.values(wanted, [0])[:, 0], X[wanted, 0])
    assert read == [1, 9, 1, 9]


@pytest.mark.parametrize("ending", FORMATS)
def test_a_row_that_is_not_there(tmp_path, X, ending):
    with pytest.raises((ValueError, IndexError), match="1000"):
        open_table(saved(tmp_path, ending, X)).take(np.array([3, 1000]))


@pytest.mark.parametrize(
    ("content", "header", "names", "values"),
    [
        ("x,y\n1,2\n", None, ["x", "y"], [[1, 2]]),
        ("1,2\n3,4\n", None, None, [[1, 2], [3, 4]]),
        ("1,NA\n3,4\n", None, None, [[1, np.nan], [3, 4]]),
        ("1,2\n3,4\n", True, ["1", "2"], [[3, 4]]),
        ("x,1e3\n3,4\n", None, ["x", "1e3"], [[3, 4]]),
        ("0,1,2\n3,4,5\n", None, ["0", "1", "2"], [[3, 4, 5]]),
        (",0,1,2\n9,3,4,5\n", None, ["", "0", "1", "2"], [[9, 3, 4, 5]]),
        ("0,1,2\n3,4,5\n", False, None, [[0, 1, 2], [3, 4, 5]]),
        ("0,1\n3,4\n", None, None, [[0, 1], [3, 4]]),
        ("nan,1\n3,4\n", False, None, [[np.nan, 1], [3, 4]]),
        ("\n\nx,y\n\n1,2\n\n", None, ["x", "y"], [[1, 2]]),
        ("\ufeffx,y\r\n1,2\r\n", None, ["x", "y"], [[1, 2]]),
        ("\ufeff1,2\n", None, None, [[1, 2]]),
        ('"a\nb"," y "\n1,2', None, ["a\nb", "y"], [[1, 2]]),
        (" 1 , +2.5e-3\n,-inf\n", None, None, [[1, 2.5e-3], [np.nan, -np.inf]]),
    ],
)
def test_heads_of_csv_files(tmp_path, content, header, names, values):
    table = open_table(text(tmp_path, content), header)
    assert table.named == (names is not None)
    assert table.names == (names or [str(i) for i in range(len(values[0]))])
    assert np.array_equal(table.read(), values, equal_nan=True)


def test_gzip_is_told_by_its_bytes(tmp_path):
    packed = gzip.compress(b"1,2\n") + gzip.compress(b"3,4\n")
    for name in ["table.csv", "table.csv.gz"]:
        assert open_table(text(tmp_path, packed, name)).read().tolist() == [[1, 2], [3, 4]]
    assert open_table(text(tmp_path, "1,2\n", "plain.csv.gz")).read().tolist() == [[1, 2]]


def test_columns_by_name_and_number(tmp_path):
    table = open_table(text(tmp_path, "speed,2,height\n1,2,3\n"))
    assert [table.column(c) for c in ("height", "2", "-1", 0, -3)] == [2, 1, 2, 0, 0]
    with pytest.raises(ValueError, match="no column 'hight'; the nearest is 'height'"):
        table.column("hight")
    with pytest.raises(ValueError, match="no column 3; it has 3, numbered from 0"):
        table.column("3")
    with pytest.raises(ValueError, match="no column names"):
        open_table(text(tmp_path, "1,2\n")).column("x")


class Wide(Table):
    """A table of one row of zeros."""

    def parts(self, columns, keep=()):
        yield np.zeros((1, len(columns))), {}

    def take(self, indices):
        return {name: np.zeros(len(indices)) for name in self.names}

    def batches(self, columns, kinds=None):
        yield pa.record_batch([pa.array([0.0]) for _ in columns], [str(self.names[i]) for i in columns])

    values = None


def test_work_grows_with_the_number_of_columns_and_not_with_its_square():
    n = 3000
    wanted = counting.names(n)
    table = Wide(Path("wide"), wanted, True, 1)
    model = SimpleNamespace(feature_names=tuple(reversed(wanted)), n_features=n)
    assert columns.feature_columns(model, table, wanted[n:]) == list(range(n))[::-1]
    assert columns.columns_left(table, wanted[: n // 2]) == list(range(n // 2, n))
    rows = columns.training_rows(table, wanted[n // 2 :], None, ())
    assert rows["feature_names"] == wanted[: n // 2]
    assert rows["y"].shape == (1, n // 2)
    assert counting.Name.compared < 10 * n


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_twenty_thousand_columns(tmp_path, ending):
    """Opening twice as many took half a minute once."""
    n = 20_000
    values = np.arange(2.0 * n).reshape(2, n)
    path, names = tmp_path / f"wide{ending}", [f"x{i}" for i in range(n)]
    if ending == ".csv":
        path.write_text("\n".join(",".join(map(str, line)) for line in [names, *values.tolist()]))
    else:
        parquet.write_table(pa.table({name: values[:, i] for i, name in enumerate(names)}), path)
    table = open_table(path)
    assert np.array_equal(table.read([19_999, 5]), values[:, [19_999, 5]])
    assert table.column("x19999") == table.column("-1") == 19_999


def test_rows_longer_than_a_block(tmp_path):
    values = np.full((3, 230_000), 1 / 3)
    path = text(tmp_path, "\n".join(",".join(map(repr, line)) for line in values.tolist()))
    assert np.array_equal(open_table(path).read([0, 229_999]), values[:, :2])


@pytest.mark.parametrize("ending", [".parquet", ".feather", ".arrow", ".npy"])
def test_fewer_rows_at_a_time_where_they_are_wide(tmp_path, X, ending, monkeypatch):
    monkeypatch.setattr(table_module, "CHUNK_VALUES", 100)
    table = open_table(saved(tmp_path, ending, X))
    blocks = list(table.blocks([0, 1, 2]))
    assert max(map(len, blocks)) == 33
    assert np.array_equal(np.concatenate(blocks), X)


def test_taken_columns_keep_their_own_types(tmp_path):
    content = 'id,code,n,x,who,when,gap\nA,007,1,0.5,"Doe, J.",2020-01-01,\nNA,008,,NA,"""x""",2020-01-02,\n'
    table = open_table(text(tmp_path, content))
    taken = {name: column.to_pylist() for name, column in table.take(np.array([1, 0])).items()}
    assert taken == {
        "id": ["NA", "A"],
        "code": ["008", "007"],
        "n": [None, 1],
        "x": [None, 0.5],
        "who": ['"x"', "Doe, J."],
        "when": ["2020-01-02", "2020-01-01"],
        "gap": ["", ""],
    }
    write_table(tmp_path / "again.csv", table.take(np.array([0, 1])))
    again = open_table(tmp_path / "again.csv")
    assert {k: v.to_pylist()[::-1] for k, v in again.take(np.array([0, 1])).items()} == taken


def test_pandas_index_is_no_feature(tmp_path):
    import pandas as pd

    frame = pd.DataFrame({"a": [1.0, 2.0]}, index=pd.Index([5, 7], name=None))
    frame.to_csv(tmp_path / "t.csv")
    frame.to_parquet(tmp_path / "t.parquet")
    for name in ["t.csv", "t.parquet"]:
        table = open_table(tmp_path / name)
        assert {table.column("a")} | table.index == {0, 1}


def test_numbers_of_many_kinds_in_parquet(tmp_path):
    columns = {
        "int": pa.array([1, None, 3], pa.int32()),
        "bool": pa.array([True, None, False]),
        "half": pa.array(np.array([1, np.nan, 2], np.float16)),
        "decimal": pa.array([1, None, 2]).cast(pa.decimal128(30, 2)),
        "text": pa.array([" 1.5", None, "2e3"]),
        "category": pa.array(["1", None, "2"]).dictionary_encode(),
        "none": pa.nulls(3),
    }
    parquet.write_table(pa.table(columns), tmp_path / "kinds.parquet")
    nan = np.nan
    expected = [[1, 1, 1, 1, 1.5, 1, nan], [nan] * 7, [3, 0, 2, 2, 2000, 2, nan]]
    assert np.array_equal(open_table(tmp_path / "kinds.parquet").read(), expected, equal_nan=True)


@pytest.mark.parametrize("ending", WRITTEN)
def test_written_in_pieces(tmp_path, ending):
    path = tmp_path / f"out{ending}"
    row = np.arange(2**53 - 4, 2**53 + 4, dtype=np.int64)  # floats would not hold these
    value = np.array([0.1, 1e-320, -0.0, np.nan, 1e22, 1 / 3, np.pi, 5e300])
    with writing(path) as write:
        for part in (slice(0, 3), slice(3, 3), slice(3, 8)):
            write({"row": row[part], "value, x": value[part]})
    taken = open_table(path).take(np.arange(8))
    rows, values = (c.to_numpy() for c in taken.values())
    assert list(taken) == ["row", "value, x"]
    assert rows.dtype == np.int64
    assert rows.tolist() == row.tolist()
    assert values.tobytes() == value.tobytes()


def test_csv_shows_a_missing_number_as_an_empty_cell(tmp_path):
    write_table(tmp_path / "t.csv", {"row": np.arange(2), "x": np.array([np.nan, 0.1])})
    assert (tmp_path / "t.csv").read_text() == "row,x\n0,\n1,0.1\n"


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("ending", WRITTEN)
def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path, ending, error):
    path = text(tmp_path, "the old one", f"out{ending}")

    def fail():
        with writing(path) as write:
            write({"row": np.arange(10)})
            raise error

    with pytest.raises(type(error)):
        fail()
    assert path.read_text() == "the old one"
    assert os.listdir(tmp_path) == [path.name]


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on file sizes")
@pytest.mark.parametrize("ending", WRITTEN)
def test_a_full_disk(tmp_path, ending):
    code = (
        "import resource, sys, numpy as np; from fasttangent.cli.tables.writing import write_table\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))\n"
        "try:\n    write_table(sys.argv[1], {'x': np.random.default_rng(0).normal(size=100_000)})\n"
        "except OSError as error:\n    print('OSError', error.errno)\n"
    )
    out = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / f"out{ending}")],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert out.stdout.startswith("OSError 27")
    assert out.stderr == ""
    assert os.listdir(tmp_path) == []


def test_the_new_file_has_ordinary_permissions(tmp_path):
    plain = text(tmp_path, "x", "plain")
    write_table(tmp_path / "t.csv", {"x": np.arange(2)})
    assert (tmp_path / "t.csv").stat().st_mode == plain.stat().st_mode


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "link.csv").symlink_to(tmp_path / "real.csv")
    write_table(tmp_path / "link.csv", {"x": np.arange(2)})
    assert (tmp_path / "link.csv").is_symlink()
    assert (tmp_path / "real.csv").exists()


def test_folders_are_checked_before(tmp_path, monkeypatch):
    check_writable(tmp_path / "t.csv")
    assert os.listdir(tmp_path) == []
    for name in ("t.xlsx", "t.npy", "t.tsv"):
        with pytest.raises(
            ValueError, match=r"must end in \.csv, \.csv\.gz or \.parquet; choose another name"
        ):
            check_writable(tmp_path / name)
    with pytest.raises(ValueError, match="does not exist; create it first"):
        check_writable(tmp_path / "nowhere" / "t.csv")
    (tmp_path / "d.csv").mkdir()
    with pytest.raises(ValueError, match="is a folder"):
        check_writable(tmp_path / "d.csv")

    def refuse(*args):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(table_output.os, "open", refuse)
    with pytest.raises(OSError, match=r"is not writable \(Permission denied\)"):
        check_writable(tmp_path / "t.csv")


def test_replacing_removes_its_file(tmp_path):
    def fail():
        with replacing(tmp_path / "t") as temporary:
            assert temporary.parent == tmp_path
            raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        fail()
    assert os.listdir(tmp_path) == []


BAD_CSV = [
    ("", ValueError, "is empty"),
    ("\n\n", ValueError, "nothing but empty lines"),
    ("a,b\n", ValueError, "holds no rows"),
    ("a,b\n1,2\n3\n", ValueError, r"row 1 \(line 3\) has 1 cells where the first line has 2"),
    ("1,2\n3,4,5\n", ValueError, r"row 1 \(line 2\) has 3 cells where"),
    ("a,b\n1,2\n\n3,x\n", ValueError, r"column 'b' holds 'x' in row 1 \(counted from 0, line 4\)"),
    ("1,2\n3,1_000\n", ValueError, "column 1 holds '1_000' in row 1"),
    ("a,a\n1,2\n", ValueError, "two columns named 'a'"),
    ("a;b\n1;2\n", ValueError, "write it with commas"),
    (b"a,b\n1,\xff\n", ValueError, r"row 0|UTF-8"),
    ("a,b\n1,2\n".encode("utf-16"), ValueError, "is not UTF-8 text"),
    (gzip.compress(b"1,2\n" * 9999, mtime=0)[:60], OSError, "is it cut short"),
]


@pytest.mark.parametrize(("content", "error", "message"), BAD_CSV)
def test_bad_csv(tmp_path, content, error, message):
    path = text(tmp_path, content)
    with pytest.raises(error, match=message) as caught:
        open_table(path).read()
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_bad_cell_far_down(tmp_path):
    path = text(tmp_path, "a,b\n" + "1,2\n" * 500_000 + "1,oops\n")
    assert len(open_table(path).read([0])) == 500_001, "other columns can be read"
    with pytest.raises(ValueError, match=r"'oops' in row 500000 \(counted from 0, line 500002\)"):
        open_table(path).read()


def test_long_gzip_cut_short(tmp_path):
    X = np.random.default_rng(0).normal(size=(20_000, 2))
    whole = saved(tmp_path, ".csv.gz", X, "ab").read_bytes()
    with pytest.raises(OSError, match=r"cannot be read.*is it cut short"):
        open_table(text(tmp_path, whole[: len(whole) // 2], "half.csv.gz")).read()


@pytest.mark.parametrize("part", [0.003, 0.3, 0.99])
@pytest.mark.parametrize("ending", [".parquet", ".feather", ".arrow"])
def test_files_of_arrow_cut_short(tmp_path, X, part, ending):
    whole = saved(tmp_path, ending, X).read_bytes()
    with pytest.raises(OSError, match="cannot be read"):
        open_table(text(tmp_path, whole[: int(part * len(whole))], f"half{ending}")).read()


def test_parquet_damaged_inside(tmp_path, X):
    whole = bytearray(saved(tmp_path, ".parquet", X).read_bytes())
    whole[4:2000] = bytes(1996)
    with pytest.raises(OSError, match="cannot be read"):
        open_table(text(tmp_path, bytes(whole), "bad.parquet")).read()


@pytest.mark.parametrize(
    ("column", "shown"),
    [
        (pa.array([None, "1", "blue"]), "'blue' in row 2"),
        (pa.array([None, "1", "blue"]).dictionary_encode(), "'blue' in row 2"),
        (pa.array([None, 5, 7], pa.date32()), r"datetime.date\(1970, 1, 6\) in row 1"),
        (pa.array([None, 5, 7], pa.timestamp("s")), "datetime.* in row 1"),
        (pa.array([None, [1, 2], []]), r"\[1, 2\] in row 1"),
    ],
)
def test_parquet_columns_that_are_no_numbers(tmp_path, column, shown):
    parquet.write_table(pa.table({"x": [1, 2, 3], "y": column}), tmp_path / "t.parquet")
    assert open_table(tmp_path / "t.parquet").read([0]).tolist() == [[1], [2], [3]]
    with pytest.raises(ValueError, match=f"column 'y' holds {shown}"):
        open_table(tmp_path / "t.parquet").read()


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.array([[1, "a"]], dtype=object), "Python objects, which are never unpickled"),
        (np.ones((2, 3, 4)), r"shape \(2, 3, 4\) and must be \(rows, columns\)"),
        (np.ones(3), r"save array.reshape\(-1, 1\)"),
        (np.ones((3, 0)), r"shape \(3, 0\)"),
        (np.ones((2, 2), complex), "complex numbers"),
        (np.array([["a"]]), "holds text"),
        (np.zeros(3, [("a", "f8")]), "records"),
        (np.zeros((2, 2), "M8[s]"), "dates"),
        (np.ones((0, 3)), "holds no rows"),
    ],
)
def test_bad_npy(tmp_path, array, message):
    np.save(tmp_path / "t.npy", array, allow_pickle=True)
    with pytest.raises(ValueError, match=message):
        open_table(tmp_path / "t.npy").read()


@pytest.mark.parametrize("length", [3, 50, 200])
def test_npy_cut_short(tmp_path, X, length):
    whole = saved(tmp_path, ".npy", X).read_bytes()
    with pytest.raises(OSError, match=r"cannot be read as \.npy"):
        open_table(text(tmp_path, whole[:length], "half.npy"))


@pytest.mark.parametrize("arranged", [np.ascontiguousarray, np.asfortranarray])
def test_npy_is_never_copied_whole(tmp_path, arranged, monkeypatch):
    monkeypatch.setattr(npy_file, "CHUNK_ROWS", 1000)
    X = np.random.default_rng(0).normal(size=(50_000, 4))
    np.save(tmp_path / "t.npy", arranged(X))
    table = open_table(tmp_path / "t.npy")
    tracemalloc.start()
    assert np.array_equal(table.take(np.array([49_999, 3]))["2"], X[[49_999, 3], 2])
    for start, rows in table.chunks(1000, [3, 1]):
        assert np.array_equal(rows, X[start : start + 1000, [3, 1]])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < X.nbytes / 4


@pytest.mark.parametrize("dtype", ["<f4", ">f8", "<f2", "?", "<i8", ">u2", "g"])
@pytest.mark.parametrize("arranged", [np.ascontiguousarray, np.asfortranarray])
def test_npy_of_many_kinds(tmp_path, arranged, dtype):
    X = arranged((np.arange(21).reshape(7, 3) % 5).astype(dtype))
    np.save(tmp_path / "t.npy", X)
    table = open_table(tmp_path / "t.npy")
    assert np.array_equal(table.read(), X.astype(float))
    assert np.array_equal(table.read([2, 0]), X[:, [2, 0]].astype(float))
    taken = table.take(np.array([6, 0, 2]))["1"]
    assert taken.dtype == X.dtype
    assert np.array_equal(taken, X[[6, 0, 2], 1])


def npy(head, data=b"", version=(1, 0)):
    """The bytes of a .npy file with this head, whatever it says."""
    text = head.encode()
    return (
        b"\x93NUMPY"
        + bytes(version)
        + len(text).to_bytes(2 if version == (1, 0) else 4, "little")
        + text
        + data
    )


def shape(text):
    return f"{{'descr': '<f8', 'fortran_order': False, 'shape': {text}}}\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (npy(shape("(-1, 3)"), bytes(240)), r"no array has the shape \(-1, 3\)"),
        (npy(shape("(2, -3)"), bytes(48)), r"no array has the shape \(2, -3\)"),
        (npy(shape("(-2, -3)"), bytes(48)), r"no array has the shape \(-2, -3\)"),
        (
            npy(shape(f"(2, {2**62})"), bytes(48)),
            r"takes \d{20} bytes and the file has \d{3}; is it cut short",
        ),
        (npy(shape(f"({10**30}, 3)"), bytes(48)), r"takes \d{32} bytes"),
        (npy(shape(f"(0, {2**62})"), bytes(48)), "holds no rows"),
        (
            npy(shape("(3, 2)"), bytes(47)),
            "takes 1[0-9]{2} bytes and the file has 1[0-9]{2}; is it cut short",
        ),
        (npy(shape("(3, 'a')"), bytes(48)), "shape is not valid"),
        (npy(shape("3"), bytes(48)), "shape is not valid"),
        (npy("[" * 9000), "cannot be read as .npy"),
        (npy("{'a': (((\n"), "cannot be read as .npy"),
        (npy("{[]: 1}"), "cannot be read as .npy"),
        (npy("\\"), "cannot be read as .npy"),
        (npy(shape("(3, 2)"), bytes(48), (3, 0)), "version 3.0 is for records, or unknown"),
        (npy(shape("(3, 2)"), bytes(48), (9, 1)), "version 9.1 is for records, or unknown"),
    ],
    ids=range(15),
)
def test_npy_with_a_head_that_makes_no_sense(tmp_path, content, message):
    with pytest.raises((OSError, ValueError), match=message) as caught:
        open_table(text(tmp_path, content, "t.npy"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("version", [(1, 0), (2, 0)])
def test_npy_of_both_versions_and_longer_than_its_head_says(tmp_path, version):
    values = np.arange(6.0).reshape(3, 2)
    path = text(tmp_path, npy(shape("(3, 2)"), values.tobytes() + b"more", version), "t.npy")
    assert np.array_equal(open_table(path).read(), values)


@pytest.mark.parametrize("arranged", [np.ascontiguousarray, np.asfortranarray])
def test_npy_that_changes_while_it_is_read(tmp_path, X, arranged, monkeypatch):
    monkeypatch.setattr(npy_file, "CHUNK_ROWS", 100)
    path = tmp_path / "t.npy"
    np.save(path, arranged(X))
    table = open_table(path)
    blocks = table.blocks([0, 1, 2])
    next(blocks)
    os.truncate(path, 5000)
    with pytest.raises(OSError, match="was cut short while it was read"):
        list(blocks)
    for read in (table.read, lambda: table.take(np.array([3]))):
        with pytest.raises(OSError, match="the file has 5000; is it cut short"):
            read()
    np.save(tmp_path / "other.npy", X)
    os.replace(tmp_path / "other.npy", path)
    with pytest.raises(OSError, match="was replaced by another file meanwhile"):
        table.read()


def test_files_that_are_none(tmp_path):
    with pytest.raises(FileNotFoundError, match="does not exist"):
        open_table(tmp_path / "t.csv")
    with pytest.raises(IsADirectoryError, match="is a folder"):
        open_table(tmp_path)
    with pytest.raises(
        ValueError, match=r"must end in \.csv, .*, \.parquet, \.feather, \.arrow or \.npy; convert it"
    ):
        open_table(text(tmp_path, "1", "t.xlsx"))


def test_without_pyarrow(tmp_path, monkeypatch, X):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    arrow.cache_clear()
    with pytest.raises(ImportError, match=r"pip install 'fasttangent\[cli\]'"):
        open_table(text(tmp_path, "1,2\n"))
    assert len(open_table(saved(tmp_path, ".npy", X)).read()) == ROWS
