"""Conditions on rows of a pool: brute force, and which row groups are not read."""

import datetime
import itertools

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pytest
from pyarrow import feather, parquet

import fasttangent as ft
from fasttangent.cli.tables.writing import write_table
from fasttangent.common.tables.parquet_file import ParquetTable

N = 400
RNG = np.random.default_rng(0)
DAYS = np.datetime64("2026-01-01") + np.arange(N) // 4
SITES = [None if i % 19 == 0 else "abcd"[i % 4] for i in range(N)]
X = RNG.normal(size=(N, 2)).round(6)
X[::23, 1] = np.nan
TABLE = pa.table(
    {"a": X[:, 0], "b": pa.array(X[:, 1], from_pandas=True), "n": np.arange(N), "site": SITES, "day": DAYS}
)
GOOD = {
    "==": np.equal, "!=": np.not_equal, "<": np.less, "<=": np.less_equal, ">": np.greater, ">=": np.greater_equal,
}  # fmt: skip


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """The same rows in files of every kind."""
    found = {}
    for ending in (".parquet", ".csv", ".feather"):
        found[ending] = tmp_path_factory.mktemp("pool")
        for i, (low, high) in enumerate(itertools.pairwise([0, 150, 151, N])):
            part, path = TABLE.slice(low, high - low), found[ending] / f"p{i}{ending}"
            if ending == ".parquet":
                parquet.write_table(part, path, row_group_size=20)
            elif ending == ".csv":
                write_table(path, {name: part[name] for name in part.schema.names})
            else:
                feather.write_feather(part, path)
    return found


CASES = [
    *((("n", word, 170), GOOD[word](np.arange(N), 170)) for word in GOOD),
    *((("a", word, 0.25), GOOD[word](X[:, 0], 0.25)) for word in ("<", ">=")),
    (("b", ">", 0.0), X[:, 1] > 0),
    (("b", "!=", 0.5), (X[:, 1] != 0.5) & ~np.isnan(X[:, 1])),
    (("site", "==", "b"), np.array([one == "b" for one in SITES])),
    (("site", "!=", "b"), np.array([one not in ("b", None) for one in SITES])),
    (("site", "in", ["a", "d"]), np.array([one in ("a", "d") for one in SITES])),
    (("site", "not in", ["a", "d"]), np.array([one not in ("a", "d", None) for one in SITES])),
    (("n", "in", [3, 5, 399]), np.isin(np.arange(N), [3, 5, 399])),
    (("day", ">=", "2026-03-01"), np.datetime64("2026-03-01") <= DAYS),
    (("day", "<", datetime.date(2026, 1, 9)), np.datetime64("2026-01-09") > DAYS),
    ([("site", "==", "c"), ("n", ">", 100), ("n", "<=", 300)],
     np.array([one == "c" for one in SITES]) & (np.arange(N) > 100) & (np.arange(N) <= 300)),
]  # fmt: skip


@pytest.mark.parametrize("ending", [".parquet", ".csv", ".feather"])
@pytest.mark.parametrize(("where", "good"), CASES)
def test_rows_are_those_of_brute_force(folders, where, good, ending):
    pool = ft.Pool(folders[ending], columns=["a", "b"], where=where)
    rows = np.flatnonzero(good)
    assert len(pool) == len(rows) > 0
    found = np.concatenate([block for _, block in pool.chunks()])
    np.testing.assert_array_equal(found, X[rows])
    some = np.random.default_rng(1).permutation(len(rows))[:7]
    np.testing.assert_array_equal(pool.take(some), X[rows[some]])
    assert pool.rows(some)["n"].to_pylist() == rows[some].tolist()
    starts = np.array([0, 150, 151])
    file = np.searchsorted(starts, rows[some], side="right") - 1
    found = pool.identify(some)
    assert [name.rsplit("/", 1)[1] for name in found["file"]] == [f"p{i}{ending}" for i in file]
    assert found["row"].tolist() == (rows[some] - starts[file]).tolist()


@pytest.fixture
def groups(monkeypatch):
    """How many row groups are read."""
    seen, numbered = [], ParquetTable.numbered

    def counting(table, columns, wanted=None, groups=None):
        seen.append(len(table.starts) - 1 if groups is None else len(groups))
        return numbered(table, columns, wanted, groups)

    monkeypatch.setattr(ParquetTable, "numbered", counting)
    return seen


@pytest.mark.parametrize(
    ("where", "most"),
    [
        (("n", "<", 40), 2), (("n", "==", 77), 1), (("n", "in", [5, 399]), 2), (("day", ">=", "2026-04-01"), 3),
        (("site", "==", "zz"), 0), (("n", "!=", 3), 22), (("a", ">", 1e9), 0),
    ],
)  # fmt: skip
def test_row_groups_that_cannot_matter_are_not_read(folders, groups, where, most):
    assert len(ft.Pool(folders[".parquet"], columns=["a"], where=where)) >= 0
    assert sum(groups) <= most


def test_statistics_that_are_missing_or_say_nothing(tmp_path):
    parquet.write_table(TABLE, tmp_path / "p.parquet", row_group_size=20, write_statistics=False)
    assert len(ft.Pool(tmp_path / "p.parquet", where=("n", "<", 40))) == 40
    nan = pa.table({"x": [np.nan, np.nan, 1.0], "y": [1.0, 2.0, 3.0]})
    parquet.write_table(nan, tmp_path / "q.parquet", row_group_size=1)
    assert len(ft.Pool(tmp_path / "q.parquet", where=("x", ">", 0.0))) == 1


@pytest.mark.parametrize("ending", [".parquet", ".csv"])
def test_picks_and_campaigns_are_those_of_the_rows_alone(folders, ending):
    where, good = CASES[-1]
    pool = ft.Pool(folders[ending], columns=["a", "site"], where=where)
    table = TABLE.select(["a", "site"]).filter(pa.array(good))
    first = TABLE.select(["a", "site"]).slice(0, 60)
    y = np.sin(X[:60, 0])
    model = ft.fit(first, y, hidden=(4,), epochs=20, strength=0.01)
    for strategy in ("error", "sample"):
        picks = ft.select(model, pool, 5, strategy=strategy, labeled=first).indices
        assert picks.tolist() == ft.select(model, table, 5, strategy=strategy, labeled=first).indices.tolist()
    fit = {"hidden": (4,), "epochs": 5, "strength": 0.01}
    asked = (ft.ActiveLearner(one, fit=fit, batch=5, seed=1).ask().tolist() for one in (pool, table))
    assert next(asked) == next(asked)


def test_a_data_set_has_its_own_filter(folders):
    data = ds.dataset(folders[".parquet"]).filter(pc.field("n") < 40)
    assert ft.Pool(data, columns=["n"]).take(range(40))[:, 0].tolist() == list(range(40))


@pytest.mark.parametrize(
    ("where", "error", "message"),
    [
        ("n < 3", TypeError, "where must be .column, operator, value."),
        ([], ValueError, "where must hold a condition, got none"),
        (("n", "=", 3), ValueError, "with an operator of ==, !=, <"),
        ([("n", "<")], ValueError, "where must hold"),
        (("m", "<", 3), ValueError, "has no column 'm'"),
        (("n", "in", "abc"), ValueError, "'in' needs a list of values, got 'abc'"),
        (("n", "<", "soon"), ValueError, "column 'n' holds int64, which cannot be compared with 'soon'"),
        (("site", "<", 3), ValueError, "column 'site' holds string, which cannot be compared with 3"),
    ],
)
def test_conditions_that_are_none(folders, where, error, message):
    with pytest.raises(error, match=message):
        len(ft.Pool(folders[".parquet"], where=where))


def test_sources_without_names_or_files(tmp_path):
    np.save(tmp_path / "p.npy", X)
    with pytest.raises(ValueError, match="where needs columns with names"):
        ft.Pool(tmp_path / "p.npy", where=("0", "<", 3))
    with pytest.raises(ValueError, match="where is for files, got a ndarray"):
        ft.Pool(X, where=("0", "<", 3))
    none = tmp_path / "p.parquet"
    parquet.write_table(TABLE, none)
    pool = ft.Pool(none, columns=["a"], where=("n", ">", N))
    assert len(pool) == 0
    with pytest.raises(ValueError, match="holds no rows"):
        next(pool.chunks())
