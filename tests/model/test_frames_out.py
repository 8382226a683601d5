"""`output="frame"`: a table of the kind of the rows, with their index and the numbers that arrays have."""

import narwhals
import narwhals.stable.v1
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import fasttangent as ft

RNG = np.random.default_rng(0)
CELLS = {"size": RNG.normal(size=60), "kind": np.array(["a", "b", "c"] * 20)}
Y = CELLS["size"] ** 2 + (CELLS["kind"] == "b")
INDEX = pd.Index([f"sample {i % 50}" for i in range(60)], name="sample")  # some twice
HOW = {"hidden": (4,), "strength": 1e-2, "tangents": ("strength", "posterior"), "samples": 8}
KINDS = {
    "pandas": lambda c: pd.DataFrame(c, index=INDEX),
    "polars": pl.DataFrame,
    "table": pa.table,
    "batch": lambda c: pa.RecordBatch.from_pydict(
        {name: pa.array(values.tolist()) for name, values in c.items()}
    ),
}
MODELS = {
    "model": lambda: ft.fit(KINDS["pandas"](CELLS), Y, **HOW),
    "outputs": lambda: ft.fit(KINDS["pandas"](CELLS), np.column_stack([Y, -Y * Y]), **HOW),
    "members": lambda: ft.fit(KINDS["pandas"](CELLS), Y, members=2, **HOW),
}


@pytest.fixture(scope="module", params=MODELS)
def model(request):
    return MODELS[request.param]()


def named(what, values):
    return {what: values} if values.ndim == 1 else {f"{what}_{j}": one for j, one in enumerate(values.T)}


def check(found, X, wanted):
    assert type(found) is type(X)
    assert list(found.schema.names if hasattr(found, "schema") and callable(getattr(found, "to_pydict", None))
                else found.columns) == list(wanted)  # fmt: skip
    if isinstance(X, pd.DataFrame):
        pd.testing.assert_index_equal(found.index, X.index)
    for name, values in wanted.items():
        column = np.asarray(found[name])
        assert column.dtype == values.dtype
        np.testing.assert_array_equal(column, values)


@pytest.mark.parametrize("kind", KINDS)
def test_a_table_of_the_kind_of_the_rows(model, kind):
    X = KINDS[kind](CELLS)
    mean, deviation = model.predict(X, return_std=True)
    check(model.predict(X, output="frame"), X, named("prediction", mean))
    both = model.predict(X, return_std=True, output="frame")
    check(both, X, named("prediction", mean) | named("deviation", deviation))
    scores = model.score(X)
    wanted = named("prediction", mean) | named("sensitivity", scores.sensitivity)
    check(model.score(X, output="frame"), X, wanted | {"curiosity": scores.curiosity})
    for what in ("posterior", "hidden"):
        check(model.embed(X, what, output="frame"), X, named(what, model.embed(X, what)))


@pytest.mark.parametrize(
    "columns", [pd.MultiIndex.from_tuples([("a", "x"), ("a", "y")]), pd.CategoricalIndex(["x", "y"]), [3, 7]]
)
def test_names_of_any_kind(columns):
    """The results' names are plain text, whatever the names of X are."""
    X = pd.DataFrame(RNG.normal(size=(60, 2)), columns=columns, index=INDEX)
    found = ft.fit(X, Y, **HOW).score(X, output="frame")
    assert found.columns.tolist() == ["prediction", "sensitivity", "curiosity"]
    assert found["curiosity"].index is not None


def test_a_frame_of_narwhals():
    for library in (narwhals, narwhals.stable.v1):
        X = library.from_native(KINDS["pandas"](CELLS))
        found = ft.fit(X, Y, **HOW).predict(X, output="frame")
        assert type(found) is type(X)
        pd.testing.assert_index_equal(found.to_native().index, INDEX)


def test_users():
    who = np.array(["anna", "ben"] * 30)
    X = KINDS["pandas"](CELLS)
    model = ft.fit(X, Y, users=who, hidden=(4,), strength=1e-2)
    check(model.predict(X, users=who, output="frame"), X, {"prediction": model.predict(X, users=who)})
    check(model.score(X, users=who, output="frame"), X, model.score(X, users=who).columns)


@pytest.mark.parametrize("call", ["predict", "score", "embed"])
def test_what_is_no_table_is_refused(model, call):
    rows = model.matrix("X", KINDS["pandas"](CELLS))
    with pytest.raises(TypeError, match="output='frame' needs X to be a data frame, got ndarray; pass one"):
        getattr(model, call)(rows, output="frame")
    with pytest.raises(ValueError, match=r"output must be .*, got 'pandas'"):
        getattr(model, call)(rows, output="pandas")
