"""What is refused, before any work is done, and in which words: argument, rule, value found, next step."""

import numpy as np
import pandas as pd
import pytest

import fasttangent as ft

X = np.random.default_rng(0).normal(size=(20, 3))
Y = X[:, 0] * X[:, 1]


def with_value(array, at, value):
    changed = np.array(array, float)
    changed[at] = value
    return changed


REFUSED = {
    # rows
    "X of one axis": ({"X": Y}, ValueError, "X must have shape (rows, columns), got shape (20,)"),
    "X of three axes": ({"X": X[None]}, ValueError, "X must have shape (rows, columns)"),
    "X a number": ({"X": 3.0}, ValueError, "X must have shape (rows, columns), got shape ()"),
    "X None": ({"X": None}, TypeError, "X must hold numbers"),
    "X ragged": ({"X": [[1.0], [1.0, 2.0]]}, ValueError, "X must be a rectangular array of numbers"),
    "X empty": ({"X": X[:0], "y": Y[:0]}, ValueError, "X must have at least 2 rows, got 0"),
    "X without columns": ({"X": X[:, :0]}, ValueError, "X must have at least one column"),
    "one row": ({"X": X[:1], "y": Y[:1]}, ValueError, "X must have at least 2 rows, got 1"),
    "nan in X": ({"X": with_value(X, (4, 2), np.nan)}, ValueError, "X must be finite, got nan in row 4, column 2"),
    "inf in X": ({"X": with_value(X, (0, 1), np.inf)}, ValueError, "X must be finite, got inf in row 0, column 1"),
    "strings": ({"X": X.astype(str)}, TypeError, "X must hold numbers"),
    "objects": ({"X": X.astype(object)}, TypeError, "X must hold numbers, got dtype object"),
    "complex": ({"X": X + 1j}, TypeError, "X must hold real numbers, got complex128"),
    "dates": ({"X": X.astype("datetime64[s]")}, TypeError, "X must hold numbers"),
    "a frame of two kinds": (
        {"X": pd.DataFrame(X).assign(c=[1, "text"] * 10)}, TypeError,
        "X, column 'c', must hold numbers, text, moments or True and False, got objects of int and str",
    ),
    "all constant": ({"X": np.ones((20, 3))}, ValueError, "X must vary, got the same values in every row"),
    # targets
    "too few y": ({"y": Y[:7]}, ValueError, "y must have shape (20,) or (20, outputs) to match X, got shape (7,)"),
    "y of three axes": ({"y": Y[:, None, None]}, ValueError, "y must have shape (20,)"),
    "y without outputs": ({"y": np.ones((20, 0))}, ValueError, "y must have shape (20,)"),
    "masked y": ({"y": np.ma.masked_equal(Y, Y[3])}, ValueError, "y must have no masked values, got 1"),
    "nan in y": ({"y": with_value(Y, 3, np.nan)}, ValueError, "y must be finite, got nan in row 3"),
    "inf in y": ({"y": with_value(Y, 19, -np.inf)}, ValueError, "y must be finite, got -inf in row 19"),
    "text in y": ({"y": ["a"] * 20}, TypeError, "y must hold numbers"),
    "complex y": ({"y": Y + 0j}, TypeError, "y must hold real numbers"),
    "object y": ({"y": Y.astype(object)}, TypeError, "y must hold numbers"),
    "constant y": ({"y": np.full(20, 3.5)}, ValueError, "y must vary, got 3.5 in every row"),
    "one constant output": (
        {"y": np.column_stack([Y, np.ones(20)])}, ValueError, "y must vary, got 1 in every row (output 1)",
    ),
    # weights
    "too few weights": ({"sample_weight": np.ones(3)}, ValueError, "sample_weight must have shape (20,)"),
    "a negative weight": (
        {"sample_weight": with_value(np.ones(20), 2, -1)}, ValueError, "sample_weight must be >= 0, got -1.0 in row 2",
    ),
    "nan in weights": (
        {"sample_weight": with_value(np.ones(20), 2, np.nan)}, ValueError, "sample_weight must be finite",
    ),
    "a strength of too many digits": ({"strength": 10**400}, ValueError, "strength must be a finite number >= 0"),
    "tangents a number": ({"tangents": 3}, TypeError, "tangents must be a word or a sequence of words"),
    "no weight": ({"sample_weight": np.zeros(20)}, ValueError, "sample_weight must be positive in at least 2 rows"),
    "text as weights": ({"sample_weight": ["a"] * 20}, TypeError, "sample_weight must hold numbers"),
    # numbers
    "negative strength": ({"strength": -0.1}, ValueError, "strength must be a finite number >= 0, got -0.1"),
    "nan strength": ({"strength": np.nan}, ValueError, "strength must be a finite number >= 0, got nan"),
    "infinite strength": ({"strength": np.inf}, ValueError, "strength must be a finite number"),
    "strength as text": ({"strength": "1e-3"}, TypeError, "strength must be a finite number >= 0, got '1e-3'"),
    "strength None": ({"strength": None}, TypeError, "strength must be a finite number"),
    "learning_rate 0": ({"learning_rate": 0}, ValueError, "learning_rate must be a finite number > 0, got 0"),
    "negative learning_rate": ({"learning_rate": -1}, ValueError, "learning_rate must be a finite number > 0"),
    "infinite learning_rate": ({"learning_rate": np.inf}, ValueError, "learning_rate must be a finite number > 0"),
    "momentum 1": ({"momentum": 1.0}, ValueError, "momentum must be a finite number >= 0 and < 1, got 1.0"),
    "delta 0": ({"delta": 0}, ValueError, "delta must be a finite number > 0"),
    "half an epoch": ({"epochs": 1.5}, TypeError, "epochs must be a whole number >= 0, got 1.5"),
    "negative epochs": ({"epochs": -1}, ValueError, "epochs must be a whole number >= 0, got -1"),
    "batch_size 0": ({"batch_size": 0}, ValueError, "batch_size must be a whole number >= 1, got 0"),
    "threads 0": ({"threads": 0}, ValueError, "threads must be a whole number >= 1, got 0"),
    "seed as text": ({"seed": "x"}, TypeError, "seed must be a whole number >= 0"),
    "negative seed": ({"seed": -1}, ValueError, "seed must be a whole number >= 0, got -1"),
    "negative settle": ({"settle": -1}, ValueError, "settle must be a finite number >= 0, got -1"),
    "settle as text": ({"settle": "yes"}, TypeError, "settle must be a finite number >= 0"),
    "standardize as text": ({"standardize": "no"}, TypeError, "standardize must be True or False, got 'no'"),
    "validation 1": ({"validation": 1.0}, ValueError, "validation must be a finite number > 0 and < 1"),
    "validation of no row": ({"validation": 0.01}, ValueError, "validation must leave at least 2"),
    "patience 0": ({"patience": 0}, ValueError, "patience must be a whole number >= 1"),
    # names
    "loss": ({"loss": "square"}, ValueError, "must be one of 'squared', 'huber', 'log-cosh', got 'square'; did you"),
    "Loss": ({"loss": "Huber"}, ValueError, "did you mean 'huber'?"),
    "activation": ({"activation": "sillu"}, ValueError, "did you mean 'silu'?"),
    "activation None": ({"activation": None}, ValueError, "activation must be one of"),
    "optimizer": ({"optimizer": "adamw"}, ValueError, "did you mean 'adam'?"),
    "complexity": ({"complexity": "l2-weight"}, ValueError, "did you mean 'l2-weights'?"),
    "curvature": ({"curvature": "hesse"}, ValueError, "did you mean 'hessian'?"),
    "tangents": ({"tangents": "strengths"}, ValueError, "did you mean 'strength'?"),
    "dtype": ({"dtype": "float16"}, ValueError, "dtype must be one of 'float32', 'float64', got 'float16'"),
    "nothing near": ({"loss": "xyz"}, ValueError, "got 'xyz'"),
    "unknown keyword": ({"hiden": (3,)}, TypeError, "unexpected keyword argument 'hiden'"),
    # architecture
    "hidden a number": ({"hidden": 64}, TypeError, "one layer is (64,), a linear model ()"),
    "hidden 0": ({"hidden": (3, 0)}, ValueError, "hidden must be a whole number >= 1, got 0"),
    "hidden 2.5": ({"hidden": (2.5,)}, TypeError, "hidden must be a whole number >= 1, got 2.5"),
    "hidden as text": ({"hidden": "64"}, TypeError, "hidden must be a whole number >= 1, got '6'"),
    "feature_names": ({"feature_names": ["a"]}, ValueError, "feature_names must have 3 names"),
    "names of one number": ({"feature_names": 3}, TypeError, "feature_names must be one name per column of X, got 3"),
    "names twice": ({"feature_names": ["a", "b", "a"]}, ValueError, "got 'a' more than once"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_fit_refuses(name, monkeypatch):
    changes, error, fragment = REFUSED[name]

    def work(*_, **__):
        raise AssertionError("work was done before the check")

    monkeypatch.setattr("fasttangent.model.stages.train", work)
    given = {"X": X, "y": Y, "hidden": (2,), "epochs": 1, **changes}
    with pytest.raises(error) as caught:
        ft.fit(given.pop("X"), given.pop("y"), **given)
    assert fragment in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("learning_rate", [1e3, 1e12, 1e300])
@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adam"])
def test_an_absurd_learning_rate(optimizer, learning_rate):
    options = {"optimizer": optimizer, "learning_rate": learning_rate, "settle": False}
    with pytest.raises(ft.DivergenceError, match="lower the learning_rate"):
        ft.fit(X, Y, hidden=(3,), epochs=20, **options)


POOLS = {
    "too narrow": (X[:, :2], ValueError, "X has 2 columns but the model was fitted on 3"),
    "too wide": (np.hstack([X, X]), ValueError, "X has 6 columns but the model was fitted on 3"),
    "one axis": (
        X[0],
        ValueError,
        "X must have shape (rows, columns), got shape (3,); one row is x[None, :]",
    ),
    "text": (X.astype(str), TypeError, "X must hold numbers"),
    "complex": (X * 1j, TypeError, "X must hold real numbers"),
    "objects": (X.astype(object), TypeError, "X must hold numbers"),
    "None": (None, TypeError, "X must hold numbers"),
    "nan": (with_value(X, (2, 1), np.nan), ValueError, "X must be finite, got nan in row 2, column 1"),
}


@pytest.mark.parametrize("name", POOLS)
def test_a_model_refuses(model, name):
    rows, error, fragment = POOLS[name]
    for method in (model.predict, model.sensitivity, model.curiosity, lambda r: model.influence(r, Y)):
        with pytest.raises(error) as caught:
            method(rows)
        assert fragment in str(caught.value)


@pytest.mark.parametrize("threads", [0, -1, 1.5, "two"])
def test_a_model_refuses_threads(model, threads):
    with pytest.raises((ValueError, TypeError), match="threads must be a whole number >= 1"):
        model.predict(X, threads=threads)


def test_a_model_has_no_other_attributes(model):
    with pytest.raises(AttributeError):
        model.parms  # noqa: B018
    with pytest.raises(AttributeError, match="has no attribute 'fitt'"):
        ft.fitt  # noqa: B018


@pytest.mark.parametrize("kind", ["list", "int", "bool", "float16", "read-only", "strided", "memmap"])
def test_what_is_accepted(kind, tmp_path):
    rows = (X * 10).round()
    given = {
        "list": rows.tolist(),
        "int": rows.astype(int),
        "bool": rows > 0,
        "float16": rows.astype("float16"),
        "strided": np.repeat(rows, 2, axis=0)[::2],
    }
    given["read-only"] = rows.copy()
    given["read-only"].flags.writeable = False
    np.save(tmp_path / "rows.npy", rows)
    given["memmap"] = np.load(tmp_path / "rows.npy", mmap_mode="r")
    options = {"hidden": (2,), "epochs": 2, "settle": False, "dtype": "float64"}
    model = ft.fit(given[kind], Y, **options)
    expected = ft.fit((rows > 0).astype(float) if kind == "bool" else rows, Y, **options)
    np.testing.assert_array_equal(model.params, expected.params)


def test_y_of_integers_and_as_a_column():
    counts = (Y * 10).round().astype(int)
    options = {"hidden": (2,), "epochs": 2, "settle": False}
    flat, column = ft.fit(X, counts, **options), ft.fit(X, counts[:, None], **options)
    np.testing.assert_array_equal(flat.params, column.params)
    assert flat.predict(X).shape == (20,)
    assert column.predict(X).shape == (20, 1)


def test_batches_larger_than_the_data():
    options = {"hidden": (2,), "epochs": 3, "settle": False}
    np.testing.assert_array_equal(
        ft.fit(X, Y, batch_size=10**9, **options).params, ft.fit(X, Y, batch_size=20, **options).params
    )


def test_two_rows_are_enough():
    model = ft.fit(X[:2], Y[:2], hidden=(2,), epochs=3, strength=0.1)
    assert np.isfinite(model.predict(X)).all()


def test_values_of_any_size():
    """Standardisation takes away units however large or small."""
    options = {"hidden": (2,), "epochs": 3, "dtype": "float64", "settle": False}
    plain = ft.fit(X, Y, **options)
    for scale in (1e-100, 1e100):
        other = ft.fit(X * scale, Y * scale, **options)
        np.testing.assert_allclose(other.params, plain.params, rtol=1e-9)
        np.testing.assert_allclose(other.predict(X * scale), plain.predict(X) * scale, rtol=1e-9)


@pytest.mark.filterwarnings("ignore::fasttangent.UntrustedTangentWarning")
def test_a_row_beyond_the_range_of_the_dtype_is_not_scored_as_infinite():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(30, 2))
    model = ft.fit(X, X[:, 0], hidden=(2,), epochs=1, settle=False)
    X[3, 1] = 1e300
    with pytest.raises(
        ValueError, match=r'range of float32, .* got 1e\+300 in row 3; fit with dtype="float64"'
    ):
        model.predict(X)
    with np.errstate(all="raise"), pytest.warns(UserWarning, match="first: row 3"):
        assert np.flatnonzero(np.isnan(model.score(X).prediction)).tolist() == [3]
