"""Frames of pandas, polars and Arrow: the bits of arrays, columns by name, and errors where there are no numbers."""

import sys

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.dataset
import pytest
import scipy.sparse

import fasttangent as ft

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 3))
X[:, 2] = X[:, 2] > 0
Y = X[:, 0] - X[:, 1] + 0.1 * RNG.normal(size=60)
POOL = RNG.normal(size=(200, 3))
POOL[:, 2] = POOL[:, 2] > 0
NAMES = ["a", "b", "flag"]
HOW = {"hidden": (4,), "strength": 1e-2}


def columns(rows):
    return {"a": rows[:, 0], "b": rows[:, 1], "flag": rows[:, 2] > 0}


FRAMES = {
    "pandas": lambda c: pd.DataFrame(c),
    "pandas nullable": lambda c: pd.DataFrame(
        {"a": pd.array(c["a"], dtype="Float64"), "b": c["b"], "flag": pd.array(c["flag"], dtype="boolean")}
    )[list(c)],
    "pandas arrow": lambda c: pd.DataFrame(c).convert_dtypes(dtype_backend="pyarrow"),
    "pandas objects": lambda c: pd.DataFrame(c).astype(object),
    "polars": lambda c: pl.DataFrame(c),
    "table": lambda c: pa.table(c),
    "batch": lambda c: pa.RecordBatch.from_pydict({name: pa.array(v) for name, v in c.items()}),
}


@pytest.fixture(scope="module")
def model():
    return ft.fit(X, Y, feature_names=NAMES, **HOW)


@pytest.mark.parametrize("kind", FRAMES)
def test_bits_are_those_of_arrays(model, kind):
    make = FRAMES[kind]
    there = ft.fit(make(columns(X)), Y, **HOW)
    np.testing.assert_array_equal(there.params, model.params)
    assert there.feature_names == tuple(NAMES)
    for order in (NAMES, NAMES[::-1]):
        pool = make({name: columns(POOL)[name] for name in order})
        np.testing.assert_array_equal(model.curiosity(pool), model.curiosity(POOL))
        picks = [ft.select(model, rows, 5, labeled=X).indices for rows in (pool, POOL)]
        np.testing.assert_array_equal(*picks)
    np.testing.assert_array_equal(
        ft.exact(there, make(columns(X)), Y).influence(X, Y), ft.exact(model, X, Y).influence(X, Y)
    )


@pytest.mark.parametrize("kind", FRAMES)
def test_more_columns_are_ignored_with_one_warning_and_missing_ones_named(model, kind):
    make = FRAMES[kind] if "nullable" not in kind else FRAMES["pandas"]
    more = make({"id": np.arange(200.0), **columns(POOL), "note": np.zeros(200)})
    with pytest.warns(
        UserWarning, match="X has 2 columns that the model does not use, 'id', ...: ignored"
    ) as told:
        found = model.predict(more)
    assert len(told) == 1
    np.testing.assert_array_equal(found, model.predict(POOL))
    with pytest.raises(ValueError, match=r"X lacks 1 of the 3 columns the model was fitted on: 'flag'"):
        model.predict(make({name: columns(POOL)[name] for name in "ab"}))


@pytest.mark.parametrize("kind", ["pandas", "polars", "table", "batch"])
def test_targets_and_weights_may_be_columns(model, kind):
    frame = FRAMES[kind]({"y": Y, "w": np.ones(60)})
    y, w = (frame[name] if kind != "batch" else frame.column(name) for name in "yw")
    np.testing.assert_array_equal(ft.fit(X, y, sample_weight=w, **HOW).params, model.params)


def test_names_that_are_numbers():
    frame = pd.DataFrame(POOL, columns=[3, 7, 11]).astype({11: bool})
    model = ft.fit(frame, POOL[:, 0], **HOW)
    assert model.feature_names == ("3", "7", "11")
    np.testing.assert_array_equal(model.predict(frame[[11, 3, 7]]), model.predict(POOL))


WRONG = {
    "bytes": (lambda: pl.DataFrame({"b": [b"u"] * 60}), "X, column 'b', must hold numbers, .*, got Binary"),
    "lists": (lambda: pa.table({"b": [[1.0]] * 60}), "X, column 'b', must hold numbers, .*, got List"),
    "mixed": (lambda: pd.DataFrame({"b": [1.0, "u", None] * 20}), "column 'b', must hold .* objects of float and str"),
    "infinite": (lambda: pd.DataFrame({"t": [np.inf] + [0.0] * 59}), "finite, got inf in row 0, column 't'"),
    "twice": (lambda: pd.DataFrame(X, columns=["a", "b", "a"]), "columns must have different names, got 'a' twice"),
    "lazy": (lambda: pl.DataFrame({"a": X[:, 0]}).lazy(), r"got LazyFrame; collect\(\) it first"),
    "sparse": (lambda: scipy.sparse.csr_array(X), "X must be dense, got a sparse csr_array"),
    "path": (lambda: "rows.csv", "X must be an array or a data frame, got 'rows.csv'; read the file first"),
    "generator": (lambda: (row for row in X), "X must be an array or a data frame, got a generator"),
    "empty": (lambda: pd.DataFrame({"a": []}), "X must have at least 2 rows"),
    "empty, with text": (lambda: pl.DataFrame({"a": [1.0], "b": ["u"]})[:0], "X must have at least 2 rows, got 0"),
    "one row, with text": (lambda: pd.DataFrame({"a": [1.0], "b": ["u"]}), "X must have at least 2 rows, got 1"),
    "no columns": (lambda: pd.DataFrame(index=range(60)), "X must have at least one column"),
}  # fmt: skip


FOR_ALL = {
    "sparse": (lambda: scipy.sparse.coo_matrix(X), r"dense, got a sparse coo_matrix; pass (X|pool).toarray\(\)"),
    "sparse column": (
        lambda: pd.DataFrame(X, columns=NAMES).assign(b=pd.arrays.SparseArray(X[:, 1])),
        r"column 'b', must hold numbers.* got Sparse\[float64, nan\]; make it dense with .sparse.to_dense\(\)",
    ),
    "complex column": (
        lambda: pd.DataFrame(X, columns=NAMES).assign(b=1j),
        "column 'b', must hold numbers.* got complex128; give the real and imaginary parts as columns, or leave it out",
    ),
    "periods": (
        lambda: pd.DataFrame(X, columns=NAMES).assign(b=pd.period_range("2020", periods=60, freq="D")),
        r"column 'b', must hold numbers.* got period\[D\]; convert it with .dt.to_timestamp\(\), or leave it out",
    ),
    "nothing": (lambda: None, "must hold numbers, got NoneType; pass an array or a data frame"),
    "a set": (lambda: {1.0, 2.0}, "must hold numbers, got set; pass an array or a data frame"),
    "columns in a dict": (lambda: columns(X), r"array or a data frame, got a dict; pass pandas.DataFrame\((X|pool)\)"),
    "records": (
        lambda: pd.DataFrame(X, columns=NAMES).to_dict("records"),
        r"must be an array or a data frame, got a list; pass pandas.DataFrame\((X|pool)\)",
    ),
    "structured": (
        lambda: pd.DataFrame(X, columns=NAMES).to_records(index=False),
        r"must hold numbers, got records of a, b, flag; pass pandas.DataFrame\((X|pool)\)",
    ),
    "moments": (lambda: np.zeros((60, 3), "datetime64[s]"), "got dtype datetime64.*; give days, or seconds, since"),
    "text": (lambda: X.astype(str), "got dtype <U.*; convert it with .* or pass a data frame, whose columns may"),
    "batches": (lambda: pa.table(columns(X)).to_reader(), r"got a RecordBatchReader; pass (X|pool).read_all\(\)"),
    "a data set": (lambda: pa.dataset.dataset(pa.table(columns(X))), r"Dataset; pass (X|pool).to_table\(\)"),
    "lazy": (lambda: pl.DataFrame(columns(X)).lazy(), r"got LazyFrame; collect\(\) it first"),
    "path": (lambda: "rows.csv", "must be an array or a data frame, got 'rows.csv'; read the file first"),
    "generator": (lambda: (row for row in X), r"got a generator; pass list\((X|pool)\)"),
    "mixed": (
        lambda: pd.DataFrame(X, columns=NAMES).astype({"b": object}).assign(b=[*["u"] * 59, 3.5]),
        "column 'b', must hold numbers.* got objects of str and float",
    ),
    "twice": (lambda: pd.DataFrame(X, columns=["a", "b", "a"]), "columns must have different names, got 'a' twice"),
}  # fmt: skip
CALLS = {
    "fit": lambda model, rows: ft.fit(rows, Y, **HOW),
    "predict": lambda model, rows: model.predict(rows),
    "score": lambda model, rows: model.score(rows),
    "embed": lambda model, rows: model.embed(rows, "hidden"),
    "select": lambda model, rows: ft.select(model, rows, 5, strategy="top"),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("what", FOR_ALL)
@pytest.mark.filterwarnings("ignore:Determining the column names of a LazyFrame")
def test_what_is_no_table_is_named_wherever_rows_go(model, what, call):
    make, words = FOR_ALL[what]
    with pytest.raises((TypeError, ValueError), match=words):
        CALLS[call](model, make())


def test_an_archive_of_numpy_is_none(tmp_path):
    np.savez(tmp_path / "rows.npz", X=X, y=Y)
    with (
        np.load(tmp_path / "rows.npz") as file,
        pytest.raises(TypeError, match="NpzFile; pass one of its arrays: X"),
    ):
        ft.fit(file, Y, **HOW)


@pytest.mark.parametrize("what", WRONG)
@pytest.mark.filterwarnings("ignore:Determining the column names of a LazyFrame")
def test_what_holds_no_numbers_is_named(what):
    make, words = WRONG[what]
    with pytest.raises((TypeError, ValueError), match=words):
        ft.fit(make(), Y, **HOW)


def test_without_narwhals_plain_numbers_of_pandas_are_arrays(monkeypatch, model):
    monkeypatch.setitem(sys.modules, "narwhals.stable.v1", None)
    np.testing.assert_array_equal(model.predict(pd.DataFrame(POOL, columns=NAMES)), model.predict(POOL))
    for frame in (pl.DataFrame(columns(POOL)), pd.DataFrame({**columns(POOL), "b": "u"})):
        with pytest.raises(TypeError, match=r"needs narwhals .*pip install 'fasttangent\[frames\]'"):
            model.predict(frame)


def test_a_generator_draws_the_seed():
    found = [ft.fit(X, Y, seed=np.random.default_rng(s), **HOW) for s in (0, 0, 1)]
    np.testing.assert_array_equal(found[0].params, found[1].params)
    assert found[0].settings.seed == found[1].settings.seed != found[2].settings.seed
    assert type(found[0].settings.seed) is int
    rng = np.random.default_rng(0)
    picks = [ft.select(found[0], POOL, 20, strategy="random", seed=rng).indices for _ in range(2)]
    assert set(picks[0]) != set(picks[1])


@pytest.mark.parametrize("outputs", [1, 2])
def test_scores_as_a_table_of_the_kind_of_the_rows(outputs):
    y = Y if outputs == 1 else np.column_stack([Y, Y**2])
    model = ft.fit(X, y, feature_names=NAMES, **HOW)
    frame = pd.DataFrame(columns(POOL), index=[f"r{i}" for i in range(200)])
    scores = model.score(frame)
    found = scores.to_frame(frame)
    assert found.index.equals(frame.index)
    names = (
        ["prediction", "sensitivity"]
        if outputs == 1
        else [f"{n}_{j}" for n in ("prediction", "sensitivity") for j in "01"]
    )
    assert list(found.columns) == [*names, "curiosity"]
    for make in (FRAMES["polars"], FRAMES["table"], FRAMES["batch"]):
        pool = make(columns(POOL))
        other = scores.to_frame(pool)
        assert type(other) is type(pool)
        for name in found.columns:
            np.testing.assert_array_equal(other[name], found[name])
    with pytest.raises(
        TypeError, match="X must be a data frame, got ndarray; pass the rows that were scored"
    ):
        scores.to_frame(POOL)
    with pytest.raises(ValueError, match="X must have the 200 rows that were scored, got 3"):
        scores.to_frame(frame[:3])


@pytest.mark.parametrize("kind", FRAMES)
def test_whole_numbers_of_any_size(model, kind):
    """Arrow refuses to round those above 2^53 by itself."""
    make = FRAMES[kind] if "nullable" not in kind else lambda c: pd.DataFrame(c).convert_dtypes()
    large = {"a": np.arange(200) + 2**53 + 1, "b": POOL[:, 1], "flag": POOL[:, 2] > 0}
    np.testing.assert_array_equal(
        model.predict(make(large)),
        model.predict(np.column_stack([one.astype(float) for one in large.values()])),
    )
