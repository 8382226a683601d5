"""`to_onnx`: the graph gives what the model predicts, by ONNX's own reference, and by onnxruntime where it is."""

import sys

import numpy as np
import pandas as pd
import pytest
from scipy.special import erf

import fasttangent as ft
from fasttangent.common.words import ACTIVATIONS

onnx = pytest.importorskip("onnx")
from onnx.reference import ReferenceEvaluator  # noqa: E402
from onnx.reference.op_run import OpRun  # noqa: E402

RNG = np.random.default_rng(0)
X = RNG.normal(size=(80, 3)) * [1, 100, 1e-3] + [0, 2000, 0]
Y = np.sin(X[:, 0]) + (X[:, 1] - 2000) / 100
HOW = {"strength": 1e-2, "settle": False, "epochs": 20}
FAR = np.vstack([X, 30 * (X - [0, 2000, 0]) + [0, 2000, 0]])


class Erf(OpRun):
    """ONNX's own computes in float32, whatever it is given."""

    def _run(self, x):
        return (erf(x),)


def by_reference(graph, **inputs):
    return ReferenceEvaluator(graph, new_ops=[Erf]).run(None, inputs)[0]


def by_runtime(graph, **inputs):
    runtime = pytest.importorskip("onnxruntime")
    session = runtime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, inputs)[0]


def check(found, wanted, within):
    assert found.dtype == np.float64
    assert found.shape == wanted.shape
    np.testing.assert_allclose(found, wanted, rtol=0, atol=within * np.abs(wanted).max())


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("run", [by_reference, by_runtime])
def test_predicts_what_the_model_predicts(activation, run):
    Z = X.copy()
    Z[:, 2] = 0.1  # constant: ignored, whatever a row says
    with pytest.warns(UserWarning, match="constant"):
        model = ft.fit(Z, Y, hidden=(6, 5), activation=activation, dtype="float64", **HOW)
    if (activation, run) != ("gelu", by_runtime):  # which has an erf of float32 alone
        check(run(model.to_onnx(), X=FAR), model.predict(FAR), 1e-12)
    check(run(model.to_onnx(dtype="float32"), X=FAR), model.predict(FAR), 1e-5)


def test_several_outputs_and_no_hidden_layer():
    both = ft.fit(X, np.column_stack([Y, -(Y**2)]), hidden=(5,), dtype="float64", **HOW)
    check(by_reference(both.to_onnx(), X=X), both.predict(X), 1e-12)
    linear = ft.fit(X, Y[:, None], hidden=(), dtype="float64", **HOW)
    check(by_reference(linear.to_onnx(), X=X[:1]), linear.predict(X[:1]), 1e-12)


def test_rows_far_from_zero_keep_their_digits_in_float32():
    years = X + np.array([0, 1e6, 0])
    model = ft.fit(years, Y, hidden=(5,), **HOW)
    check(by_reference(model.to_onnx(dtype="float32"), X=years), model.predict(years).astype(float), 1e-5)


N = 120
FRAME = pd.DataFrame(
    {
        "size": RNG.normal(size=N),
        "price": np.exp(2 * RNG.normal(size=N)),
        "gaps": np.where(RNG.random(N) < 0.2, np.nan, RNG.normal(size=N)),
        "flag": RNG.random(N) < 0.5,
        "color": RNG.choice(np.array(["red", "blue", "été"], object), N),
        "shop": RNG.choice(np.array(["a", "b", None], object), N),
        "zip": [f"{i % 80:05}" for i in range(N)],  # so many that they are hashed
        "day": pd.Timestamp("2024-01-01") + pd.to_timedelta(RNG.integers(0, 300, N), unit="D"),
        "lasted": pd.to_timedelta(RNG.integers(0, 300, N), unit="h"),
        "/0": RNG.normal(size=N),
    }
)


def inputs_of(model, frame):
    """As the docstring of `to_onnx` has them."""
    found = {}
    for one in model.columns.used:
        cells = frame[one.name]
        if one.kind == "category":
            cells = cells.astype(object).where(cells.notna(), "")
        elif one.kind == "moment":
            cells = (cells - pd.Timestamp(0)) / pd.Timedelta(days=1)
        elif one.kind == "duration":
            cells = cells / pd.Timedelta(days=1)
        kind = object if one.kind == "category" else float
        found[one.name] = cells.to_numpy(kind)[:, None]
    return found


@pytest.mark.parametrize("run", [by_reference, by_runtime])
def test_columns_of_any_kind(run):
    y = FRAME["size"] + np.log(FRAME["price"]) + (FRAME["color"] == "red")
    model = ft.fit(FRAME, y, hidden=(5,), dtype="float64", transform="yeo-johnson", **HOW)
    kinds = {one.name: one.kind for one in model.columns}
    assert kinds["day"] == "moment"
    assert model.columns.used[1].power
    assert next(one for one in model.columns if one.name == "zip").hashed
    check(run(model.to_onnx(), **inputs_of(model, FRAME)), model.predict(FRAME), 1e-12)
    strange = FRAME.assign(color="green", size=np.nan, shop="new")  # levels and gaps that training had not
    with pytest.warns(UserWarning, match="like none in training"):
        wanted = model.predict(strange)
    check(run(model.to_onnx(), **inputs_of(model, strange)), wanted, 1e-12)


@pytest.mark.parametrize("power", [0.0, 2.0, 0.3, -1.5, 3.0])
def test_transforms_of_any_power(power):
    x = pd.DataFrame({"x": np.linspace(-30, 30, 80)})
    column = ft.Columns((ft.learn_columns(x)[0].__class__("x", "number", power=(power, 0.5, 2.0)),))
    model = ft.fit(x, Y, hidden=(3,), dtype="float64", columns=column, **HOW)
    found = by_reference(model.to_onnx(), x=x.to_numpy())
    check(found, model.predict(x), 1e-12)


def test_written_to_a_file(tmp_path):
    model = ft.fit(X, Y, hidden=(5,), **HOW)
    graph = model.to_onnx(tmp_path / "model.onnx")
    assert onnx.load(tmp_path / "model.onnx") == graph
    assert {one.domain: one.version for one in graph.opset_import}[""] == 17
    with pytest.raises(FileNotFoundError):
        model.to_onnx(tmp_path / "nowhere" / "model.onnx")


def test_what_cannot_be_exported_is_named(monkeypatch):
    users = ft.fit(X, Y, users=np.arange(80) % 2, hidden=(5,), **HOW)
    with pytest.raises(
        ValueError, match=r"to_onnx takes a model without users, got one with 2; .* model.shared"
    ):
        users.to_onnx()
    model = ft.fit(
        FRAME[["shop", "size"]].rename(columns={"size": "prediction"}), FRAME["size"], hidden=(3,), **HOW
    )
    with pytest.raises(
        ValueError, match=r"columns must have names that an ONNX graph .* got 'prediction'; rename"
    ):
        model.to_onnx()
    with pytest.raises(ValueError, match="dtype must be"):
        model.to_onnx(dtype="float16")
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ImportError, match=r"to_onnx needs onnx: pip install 'fasttangent\[onnx\]'"):
        model.to_onnx()
