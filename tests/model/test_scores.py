"""What scores are made of, and that they do not depend on how rows are passed."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from helpers import naive, relative

import fasttangent as ft
from fasttangent.model.scores import expected_slope_squared
from fasttangent.problem import rows as rows_module
from fasttangent.problem.objective import Objective


def standard(model, X):
    return (X - model.scaling.x_mean) / model.scaling.x_scale


def about(model):
    return model.network.sizes, model.network.activation


# ---- definitions ----


@pytest.mark.parametrize("which", ["model", "model2"])
def test_definitions(which, data, request):
    model = request.getfixturevalue(which)
    X, _ = data
    Z, scale = standard(model, X), model.scaling.y_scale
    f = naive.predict(model.params, Z, *about(model))
    s = naive.output_tangent(model.params, model.tangents["strength"], Z, *about(model))
    shape = (len(X),) if which == "model" else (len(X), 2)
    assert relative(model.predict(X), (f * scale + model.scaling.y_mean).reshape(shape)) <= 1e-12
    assert relative(model.sensitivity(X), (s * scale).reshape(shape)) <= 1e-12

    labels = np.random.default_rng(0).normal(size=(len(X), f.shape[1])) * scale + model.scaling.y_mean
    slopes = f - (labels - model.scaling.y_mean) / scale
    assert relative(model.influence(X, labels.reshape(shape)), np.sum(slopes * s, axis=1)) <= 1e-12
    residual_variance = model.slope_squared
    assert relative(model.curiosity(X), s**2 @ residual_variance) <= 1e-12

    scores = model.score(X)
    np.testing.assert_array_equal(scores.prediction, model.predict(X))
    np.testing.assert_array_equal(scores.sensitivity, model.sensitivity(X))
    np.testing.assert_array_equal(scores.curiosity, model.curiosity(X))
    assert scores.prediction.shape == scores.sensitivity.shape == shape
    assert scores.curiosity.shape == (len(X),)
    assert scores.curiosity.dtype == np.float64


def test_influence_is_the_tangent_times_the_gradient_of_the_rows_loss(model, data):
    X, y = data
    Z, t = standard(model, X), ((y - model.scaling.y_mean) / model.scaling.y_scale)[:, None]
    tau = model.tangents["strength"]
    expected = [
        tau
        @ naive.gradient(model.params, Z[i : i + 1], t[i : i + 1], np.ones(1), *about(model), "squared", 1.0)
        for i in range(len(X))
    ]
    assert relative(model.influence(X, y), expected) <= 1e-11


def test_influences_of_the_training_rows_add_up(model, data):
    """Their mean is -strength tau . grad C, because the gradient of F is zero."""
    pull = model.objective.strength * model.tangents["strength"] @ model.params
    assert model.influence(*data).mean() == pytest.approx(-pull, rel=1e-8)


def test_default_variance_is_that_of_the_residuals(model, data):
    X, y = data
    variance = np.mean((model.predict(X) - y) ** 2)
    assert relative(model.curiosity(X, variance), model.curiosity(X)) <= 1e-12


def test_curiosity_with_a_variance(model, model2, data):
    X, _ = data
    n, s = len(X), model.sensitivity(X) / model.scaling.y_scale
    per_row = np.random.default_rng(0).uniform(0.1, 3, n)
    unit = model.scaling.y_scale[0] ** 2
    assert relative(model.curiosity(X, 2.0), 2 * s**2 / unit) <= 1e-12
    assert relative(model.curiosity(X, per_row), per_row * s**2 / unit) <= 1e-12
    assert relative(model.curiosity(X, per_row[:, None]), per_row * s**2 / unit) <= 1e-12
    assert (model.curiosity(X, 0) == 0).all()
    s2, units = model2.sensitivity(X) / model2.scaling.y_scale, model2.scaling.y_scale**2
    both = np.column_stack([per_row, per_row**2])
    assert relative(model2.curiosity(X, both), np.sum(both / units * s2**2, axis=1)) <= 1e-12
    assert relative(model2.curiosity(X, per_row), np.sum(per_row[:, None] / units * s2**2, axis=1)) <= 1e-12


@pytest.mark.parametrize(
    ("variance", "fragment"),
    [(-1.0, ">= 0"), (np.nan, "finite"), (np.ones(3), r"shape \(60,\)"), ("big", "one of 'posterior'")],
)
def test_curiosity_refuses_a_variance(model, data, variance, fragment):
    with pytest.raises((ValueError, TypeError), match=f"variance .*{fragment}"):
        model.curiosity(data[0], variance)


@pytest.mark.parametrize("deviation", [0.2, 1.0, 3.0])
@pytest.mark.parametrize("loss", ["squared", "huber", "log-cosh"])
def test_expected_slope_squared_is_an_expectation(loss, deviation):
    """By integrating loss'^2 over a fine grid of normal residuals."""
    r = np.linspace(-12, 12, 200_001)
    density = np.exp(-r * r / 2) / np.sqrt(2 * np.pi)
    slopes = naive.LOSSES[loss][1](deviation * r, 0.7)
    expected = np.sum(slopes**2 * density) * (r[1] - r[0])
    found = expected_slope_squared(Objective(loss, 0.7), [[deviation**2]])
    assert found.shape == (1, 1)
    assert found[0, 0] == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("loss", ["huber", "log-cosh"])
def test_influence_with_robust_losses(loss, data):
    X, y = data
    model = ft.fit(X, y, hidden=(3,), epochs=10, strength=0.05, loss=loss, delta=0.7, dtype="float64")
    far = y + 1000 * model.scaling.y_scale
    s = model.sensitivity(X) / model.scaling.y_scale
    assert relative(model.influence(X, far), -0.7 * s) <= 1e-12  # loss' is -delta far below
    r = (model.predict(X) - y) / model.scaling.y_scale
    assert model.slope_squared[0] == pytest.approx(np.mean(naive.LOSSES[loss][1](r, 0.7) ** 2), rel=1e-10)


# ---- how rows are passed ----


@pytest.fixture(scope="module")
def pool():
    return np.random.default_rng(9).integers(-50, 50, size=(300, 3))


@pytest.fixture(scope="module")
def reference(model, pool):
    return model.score(pool.astype(float))


def same(scores, reference):
    for found, expected in zip(scores, reference, strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("dtype", ["int64", "int8", "uint16", "float32", "float16", ">f8"])
def test_any_real_dtype(model, pool, reference, dtype):
    if dtype == "uint16":
        same(model.score(abs(pool).astype(dtype)), model.score(abs(pool).astype(float)))
    else:
        same(model.score(pool.astype(dtype)), reference)


def test_booleans_are_numbers(model, pool):
    same(model.score(pool > 0), model.score((pool > 0).astype(float)))


def test_any_memory_layout(model, pool, reference):
    rows = pool.astype(float)
    wide = np.full((600, 7), np.nan)
    wide[::2, 1:6:2] = rows
    backwards = np.ascontiguousarray(rows[::-1, ::-1])
    for view in (np.asfortranarray(rows), wide[::2, 1:6:2], backwards[::-1, ::-1], rows.tolist()):
        same(model.score(view), reference)


def test_a_read_only_memory_map(model, pool, reference, tmp_path):
    path = tmp_path / "pool.npy"
    np.save(path, pool.astype("float32"))
    mapped = np.load(path, mmap_mode="r")
    assert not mapped.flags.writeable
    same(model.score(mapped), reference)
    same(model.score(mapped[::-1]), [a[::-1] for a in reference])


@pytest.mark.parametrize("chunk", [1, 7, 64, 100, 299, 300, 5000])
def test_chunks_do_not_matter(model, pool, reference, monkeypatch, chunk):
    monkeypatch.setattr(rows_module, "CHUNK", chunk)
    same(model.score(pool), reference)


def test_a_large_pool_is_scored_as_its_parts(model, pool, reference):
    many = np.tile(pool, (60, 1))
    scores = model.score(many, threads=2)
    same(scores, [np.tile(a, 60) for a in reference])


def test_threads_do_not_matter(model, pool, reference, monkeypatch):
    monkeypatch.setattr(rows_module, "CHUNK", 16)
    for threads in (1, 2, 5):
        same(model.score(pool, threads=threads), reference)


def test_no_rows(model):
    empty = np.empty((0, 3))
    scores = model.score(empty)
    assert [a.shape for a in scores] == [(0,), (0,), (0,)]
    assert model.predict(empty).shape == (0,)
    assert model.influence(empty, []).shape == (0,)


def test_float32_models_score_in_float32(model, pool, reference):
    single = dataclasses.replace(model, dtype="float32")
    scores = single.score(pool)
    assert scores.prediction.dtype == scores.sensitivity.dtype == np.float32
    for found, expected in zip(scores, reference, strict=True):
        assert relative(found, expected) <= 1e-4


def test_columns_are_found_by_name(data):
    X, y = data
    frame = pd.DataFrame(X, columns=["a", "b", "c"])
    model = ft.fit(frame, y, hidden=(3,), epochs=5, strength=0.05)
    assert model.feature_names == ("a", "b", "c")
    expected = model.score(frame)
    same(model.score(frame[["c", "a", "b"]]), expected)
    with pytest.warns(UserWarning, match="a column that the model does not use, 'd': ignored"):
        same(model.score(frame.assign(d="text")[["d", "c", "b", "a"]]), expected)
    same(model.score(X), expected)  # bare arrays: by position
    same(
        ft.fit(X, y, hidden=(3,), epochs=5, strength=0.05, feature_names=["a", "b", "c"]).score(frame),
        expected,
    )
    with pytest.raises(ValueError, match=r"X lacks 1 of the 3 columns.*'b'"):
        model.score(frame[["a", "c"]])


def test_rows_that_are_not_finite(model, pool, reference):
    rows = pool.astype(float)
    rows[5, 1], rows[17, 0], rows[299, 2] = np.nan, np.inf, -np.inf
    with pytest.warns(
        UserWarning, match=r"3 rows hold a value that is not finite \(first: row 5\)"
    ) as caught:
        scores = model.score(rows)
    assert caught[0].filename == __file__
    bad = [5, 17, 299]
    for found, expected in zip(scores, reference, strict=True):
        assert np.isnan(found[bad]).all()
        np.testing.assert_array_equal(np.delete(found, bad), np.delete(expected, bad))
    for method in (model.predict, model.sensitivity, model.curiosity):
        with pytest.raises(ValueError, match="X must be finite, got nan in row 5, column 1"):
            method(rows)
    with pytest.raises(ValueError, match="y must be finite, got nan in row 2"):
        model.influence(pool, np.where(np.arange(300) == 2, np.nan, 1.0))


@pytest.mark.parametrize(
    ("labels", "fragment"),
    [
        (np.ones(3), r"shape \(300,\)"),
        (np.ones((300, 2)), "1 outputs per row"),
        (["a"] * 300, "hold numbers"),
    ],
)
def test_labels_that_do_not_fit(model, pool, labels, fragment):
    with pytest.raises((ValueError, TypeError), match=f"y must .*{fragment}"):
        model.influence(pool, labels)


def test_a_constant_column_is_ignored_in_training_and_scores(data):
    X, y = data
    with pytest.warns(UserWarning, match=r"X is constant in column 1 \(1 of 4\)") as caught:
        model = ft.fit(np.insert(X, 1, 7.0, axis=1), y, hidden=(3,), epochs=5, strength=0.05)
    assert caught[0].filename == __file__
    seven, nine = (np.insert(X, 1, value, axis=1) for value in (7.0, 9e9))
    same(model.score(nine), model.score(seven))
    assert model.certificate.trusted, model.certificate.reasons


@pytest.mark.parametrize("columns", [0, 1, 3, rows_module.NARROW - 1, rows_module.NARROW])
def test_the_largest_value_of_every_row(columns):
    """However many values rows have; nan where there is one."""
    values = np.random.default_rng(0).normal(size=(7, columns)).astype(np.float32)
    values[1:3, -1:], values[3, :1] = np.nan, -np.inf
    expected = [max((abs(float(x)) for x in row), default=0.0) for row in values]
    if columns:
        expected[1:3] = [np.nan] * 2
    np.testing.assert_array_equal(rows_module.sizes(values, 0.5 * values[:, None]), expected)
