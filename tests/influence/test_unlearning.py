"""Unlearning: against closed forms, Newton written out in NumPy, and refits."""

import warnings

import numpy as np
import pytest
from helpers import relative

import fasttangent as ft
from fasttangent.common.errors import IndefiniteError, UntrustedTangentWarning
from fasttangent.influence.unlearning import unlearn
from fasttangent.problem.curvature import System


@pytest.fixture(scope="module")
def linear(data):
    X, y = data
    w = np.random.default_rng(1).uniform(0.5, 2, len(X))
    return ft.fit(X, y, hidden=(), strength=0.05, dtype="float64", sample_weight=w), w


def ridge(model, X, y, w):
    s = model.scaling
    A = np.column_stack([(X - s.x_mean) / s.x_scale, np.ones(len(X))])
    t = (y - s.y_mean[0]) / s.y_scale[0]
    return np.linalg.solve((A.T * w) @ A / w.sum() + 0.05 * np.eye(A.shape[1]), (A.T * w) @ t / w.sum())


def corrected(X, y, w):
    """Without rows 3 and 8; rows 5 and 2 with other values."""
    X, y = X.copy(), y.copy()
    X[[5, 2]], y[[5, 2]] = X[[5, 2]] + 0.2, [30.0, 31.0]
    keep = np.delete(np.arange(len(X)), [3, 8])
    return X[keep], y[keep], w[keep]


ARGUMENTS = {"remove": [8, 3], "correct": [5, 2], "new_y": [30.0, 31.0]}


@pytest.mark.parametrize("solver", ["dense", "cg"])
def test_one_step_of_order_2_is_exact_for_a_linear_model(linear, data, solver):
    (model, w), (X, y) = linear, data
    theta = ridge(model, *corrected(X, y, w))
    out = unlearn(model, X, y, **ARGUMENTS, new_X=X[[5, 2]] + 0.2, sample_weight=w, solver=solver)
    assert relative(out.model.params, theta) < 1e-9
    assert out.gradient_before > 1e-3
    assert out.gradient_after < 1e-10
    assert out.update_norm == pytest.approx(np.linalg.norm(theta - model.params), rel=1e-8)
    assert out.model.certificate.trusted
    assert out.against_refit().missed < 1e-9


def test_order_1_is_a_step_with_the_old_hessian(model, data):
    X, y = data
    A = System(model.problem(X, y), model.params).dense()
    keep = np.delete(np.arange(len(X)), [3, 8])
    new = model.problem(X[keep], y[keep])
    theta = model.params - np.linalg.solve(A, new.value_and_gradient(model.params)[1])
    out = unlearn(model, X, y, remove=[3, 8], order=1)
    assert relative(out.model.params, theta) < 1e-12
    theta = theta - np.linalg.solve(A, new.value_and_gradient(theta)[1])
    assert relative(unlearn(model, X, y, remove=[3, 8], order=1, steps=2).model.params, theta) < 1e-12


def test_order_2_is_a_newton_step(model, data):
    X, y = data
    y_new = y.copy()
    y_new[[7, 1]] = y[[7, 1]] + [0.5, -0.5]
    new, theta = model.problem(X, y_new), model.params
    for steps in (1, 2):
        g = new.value_and_gradient(theta)[1]
        theta = theta - np.linalg.solve(System(new, theta).dense(), g)
        out = unlearn(model, X, y, correct=[7, 1], new_y=y_new[[7, 1]], steps=steps)
        assert relative(out.model.params, theta) < 1e-10
        assert len(out.by_step) == steps


def test_residuals_are_those_on_the_corrected_rows(model, data):
    X, y = data
    out = unlearn(model, X, y, remove=[3, 8], order=1, steps=3)
    new = model.problem(np.delete(X, [3, 8], 0), np.delete(y, [3, 8]))
    for theta, residual in ((model.params, out.gradient_before), (out.model.params, out.gradient_after)):
        pull = model.objective.strength * np.linalg.norm(theta)
        assert residual == pytest.approx(np.linalg.norm(new.value_and_gradient(theta)[1]) / pull, rel=1e-9)
    assert out.gradient_after == out.by_step[-1] < out.by_step[0] < out.gradient_before
    assert out.model.certificate.gradient_norm == pytest.approx(out.gradient_after)


def test_more_steps_arrive_at_the_refit_and_are_certified(model, data):
    X, y = data
    out = unlearn(model, X, y, remove=[3, 8], steps=5)
    assert out.gradient_after < 1e-12
    assert out.model.certificate.trusted
    refit = out.against_refit()
    assert refit.missed < 1e-10
    assert refit.prediction_error < 1e-10
    assert refit.complexity == pytest.approx(refit.complexity_refit, rel=1e-9)
    assert refit.settled
    assert not refit.jumped
    # and there the tangent is the implicit one, on the rows that are left
    new, theta = model.problem(np.delete(X, [3, 8], 0), np.delete(y, [3, 8])), out.model.params
    tau = -np.linalg.solve(System(new, theta).dense(), theta)
    assert relative(out.model.tangents["strength"], tau) < 1e-9
    residual = new.predictions(theta) - new.rows.Y
    assert relative(out.model.slope_squared, [np.mean(residual**2)]) < 1e-12
    assert out.model.training["rows"] == 58
    assert model.training["rows"] == 60  # the old one is as it was


def test_a_step_that_is_not_enough_is_not_trusted(model, data):
    X, y = data
    out = unlearn(model, X, y, remove=[3, 8], order=1)
    assert out.gradient_after > 1e-8
    assert not out.model.certificate.trusted
    assert "not stationary" in out.model.certificate.reasons[0]
    with pytest.warns(UntrustedTangentWarning):
        out.model.sensitivity(X[:3])
    assert 0 < out.against_refit().missed < 0.5


def test_order_2_comes_nearer_than_order_1(model, data):
    X, y = data
    missed = [unlearn(model, X, y, remove=[3, 8], order=o).against_refit().missed for o in (1, 2)]
    assert missed[1] < missed[0] < 1


def test_masks_are_row_numbers(model, data):
    X, y = data
    gone, fixed = np.zeros((2, len(X)), bool)
    gone[[3, 8]], fixed[[2, 5]] = True, True
    a = unlearn(model, X, y, remove=gone, correct=fixed, new_y=y[[2, 5]] + [0.1, 0.2])
    b = unlearn(model, X, y, remove=[8, 3], correct=[5, 2], new_y=y[[5, 2]] + [0.2, 0.1])
    np.testing.assert_array_equal(a.model.params, b.model.params)


def test_removing_and_correcting_are_a_problem_of_the_corrected_rows(model2, data):
    X, y = data
    Y = np.column_stack([y, np.cos(X[:, 0]) + 0.1 * X[:, 1]])
    out = unlearn(model2, X, Y, correct=[4], new_X=X[[4]] * 1.01, remove=[9], steps=4)
    X_new = X.copy()
    X_new[4] *= 1.01
    new = model2.problem(np.delete(X_new, 9, 0), np.delete(Y, 9, 0))
    assert np.linalg.norm(new.value_and_gradient(out.model.params)[1]) < 1e-12


def test_results_do_not_depend_on_threads(model, data):
    a, b = (unlearn(model, *data, remove=[3], threads=t).model for t in (1, 3))
    np.testing.assert_array_equal(a.params, b.params)
    np.testing.assert_array_equal(a.tangents["strength"], b.tangents["strength"])


def test_an_unlearned_model_can_be_saved(model, data, tmp_path):
    out = unlearn(model, *data, remove=[3], steps=4).model
    out.save(tmp_path / "m.npz")
    loaded = ft.load(tmp_path / "m.npz")
    np.testing.assert_array_equal(loaded.influence(*data), out.influence(*data))
    assert loaded.training["unlearned"]


def test_a_model_without_tangent_stays_without(data):
    model = ft.fit(*data, hidden=(4,), epochs=20, strength=0.02, dtype="float64", tangents=None)
    out = unlearn(model, *data, remove=[3], steps=4)
    assert out.gradient_after < 1e-10
    assert out.model.tangents == {}


def test_a_model_that_is_not_settled_is_warned_of(data):
    model = ft.fit(*data, hidden=(), epochs=3, strength=0.02, dtype="float64", settle=False)
    with pytest.warns(UntrustedTangentWarning, match="not stationary on X, y and sample_weight"):
        unlearn(model, *data, remove=[3])


def test_an_indefinite_hessian_is_an_error_that_names_a_way_out(model, data):
    X, y = data
    with pytest.raises(IndefiniteError, match="not positive definite on the corrected rows; use order=1"):
        unlearn(model, X, y, correct=range(30), new_y=80 - y[:30])


def test_parameters_at_an_indefinite_hessian_lose_their_tangent(model, data):
    X, y = data
    out = unlearn(model, X, y, correct=range(30), new_y=80 - y[:30], order=1)
    assert out.model.tangents == {}
    assert not out.model.certificate.trusted
    assert any("not positive" in reason for reason in out.model.certificate.reasons)


BAD = [
    ({}, "remove or correct must name at least 1 row"),
    ({"remove": []}, "remove or correct must name at least 1 row"),
    ({"remove": [60]}, "remove must hold row numbers from 0 to 59, got 60"),
    ({"remove": [-1]}, "remove must hold row numbers from 0 to 59, got -1"),
    ({"remove": [3, 3]}, "remove must hold each row number once, got 3"),
    ({"remove": [0.5]}, "remove must hold row numbers"),
    ({"remove": [[1, 2]]}, "remove must hold row numbers"),
    ({"remove": np.ones(59, bool)}, r"remove must have shape \(60,\)"),
    ({"remove": range(60)}, "remove must leave at least 2 rows"),
    ({"remove": [3], "correct": [3], "new_y": [1.0]}, "got row 3 in both"),
    ({"correct": [3]}, "correct needs new_X or new_y"),
    ({"remove": [3], "new_y": [1.0]}, "new_X and new_y need correct"),
    ({"correct": [3], "new_y": [1.0, 2.0]}, r"new_y must have shape \(1,\) or \(1, 1\)"),
    ({"correct": [3], "new_y": [np.nan]}, "new_y must be finite"),
    ({"correct": [3], "new_X": np.zeros((2, 3))}, "new_X must have 1 rows"),
    ({"correct": [3], "new_X": np.zeros((1, 2))}, "new_X has 2 columns"),
    ({"correct": [3], "new_X": np.full((1, 3), np.inf)}, "new_X must be finite"),
    ({"remove": [3], "order": 3}, "order must be 1 or 2, got 3"),
    ({"remove": [3], "steps": 0}, "steps must be a whole number >= 1"),
    ({"remove": [3], "solver": "lu"}, "solver must be one of"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD)
def test_bad_input(model, data, arguments, message):
    with pytest.raises((ValueError, TypeError), match=message):
        unlearn(model, *data, **arguments)


def test_weights_of_zero_do_not_count_as_rows(data):
    X, y = data
    w = np.zeros(len(X))
    w[:10] = 1
    model = ft.fit(X, y, hidden=(), strength=0.05, dtype="float64", sample_weight=w)
    with pytest.raises(ValueError, match="at least 2 rows of positive weight"):
        unlearn(model, X, y, remove=range(9), sample_weight=w)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        out = unlearn(model, X, y, remove=[20], sample_weight=w)  # it had no weight
    assert out.update_norm < 1e-8
