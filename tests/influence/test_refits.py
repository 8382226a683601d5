"""Refits: experiments with the weights of rows, against closed forms, fresh fits and the derivative they define."""

import numpy as np
import pytest
from helpers import relative

import fasttangent as ft
from fasttangent.common.errors import IndefiniteError
from fasttangent.influence import following
from fasttangent.influence.agreement import agreement
from fasttangent.influence.changes import Change, experiment
from fasttangent.influence.refit_curves import refit_curves
from fasttangent.influence.refits import refit
from fasttangent.problem.curvature import System

ARRAYS = (
    "complexity",
    "complexity_first",
    "complexity_second",
    "predictions",
    "distance",
    "gradient_norm",
    "params",
)


@pytest.fixture(scope="module")
def linear(data):
    X, y = data
    w = np.random.default_rng(1).uniform(0.5, 2, len(X))
    return ft.fit(X, y, hidden=(), strength=0.05, dtype="float64", sample_weight=w), w


def ridge(model, X, y, w, total):
    """The minimum of (1/S) sum w (x theta - y)^2 / 2 + strength theta^2 / 2 in standard units."""
    s = model.scaling
    A = np.column_stack([(X - s.x_mean) / s.x_scale, np.ones(len(X))])
    t = (np.reshape(y, len(X)) - s.y_mean[0]) / s.y_scale[0]
    return np.linalg.solve((A.T * w) @ A / total + 0.05 * np.eye(A.shape[1]), (A.T * w) @ t / total)


def edited(kind, X, y, w):
    """(the change, rows X, y and weights after it)"""
    keep = np.delete(np.arange(len(X)), [3, 8])
    new = X[:2] + 0.5, y[:2] - 3.0
    if kind == "leave out":
        return Change.leave_out([3, 8]), X[keep], y[keep], w[keep]
    if kind == "add":
        all_rows = np.concatenate([X, new[0]]), np.concatenate([y, new[1]]), np.append(w, [0.7, 0.7])
        return Change.add(*new, weight=0.7), *all_rows
    w = w.copy()
    w[[3, 8]] += 0.01 * w.sum()
    return Change.up_weight([3, 8], 0.01), X, y, w


@pytest.mark.parametrize("solver", ["dense", "cg"])
@pytest.mark.parametrize("kind", ["leave out", "add", "up-weight"])
def test_a_linear_model_has_a_closed_form_which_the_second_order_predicts(linear, data, kind, solver):
    (model, w), (X, y) = linear, data
    change, *after = edited(kind, X, y, w)
    theta = ridge(model, *after, w.sum())
    old = ridge(model, X, y, w, w.sum())
    out = refit(model, X, y, [change], sample_weight=w, at=X, keep_params=True, solver=solver)
    assert relative(out.params[0], theta) < 1e-10
    assert out.complexity[0] == pytest.approx((theta @ theta - old @ old) / 2, rel=1e-9)
    assert out.distance[0] == pytest.approx(np.linalg.norm(theta - old), rel=1e-9)
    assert relative(out.predictions_second, out.predictions) < 1e-9
    assert relative(out.predictions_first, out.predictions) > 1e-3
    assert out.eps[0] == pytest.approx((after[2].sum() - w.sum()) / w.sum())
    assert out.settled[0]
    assert not out.jumped[0]


def test_predictions_are_in_the_units_of_y(linear, data):
    (model, w), (X, y) = linear, data
    out = refit(model, X, y, [Change.leave_out(3)], sample_weight=w, at=X, keep_params=True)
    A = np.column_stack([(X - model.scaling.x_mean) / model.scaling.x_scale, np.ones(len(X))])
    change = A @ (out.params[0] - model.params) * model.scaling.y_scale
    assert relative(out.predictions[0], change) < 1e-9


@pytest.mark.parametrize("solver", ["dense", "cg"])
@pytest.mark.parametrize("loss", ["squared", "huber", "log-cosh"])
def test_an_infinitesimal_change_is_minus_inverse_curvature_times_gradient(data, loss, solver):
    X, y = data
    model = ft.fit(X, y, hidden=(5,), epochs=20, strength=0.02, dtype="float64", loss=loss, delta=0.9)
    problem = model.problem(X, y)
    A = System(problem, model.params).dense()
    eps = 1e-6
    changes = [Change.up_weight(i, e) for i in range(6) for e in (eps, -eps)]
    out = refit(model, X, y, changes, keep_params=True, at=X[:9], solver=solver)
    for i in range(6):
        row = model.problem(X[i : i + 2], y[i : i + 2], [1.0, 1e-300])  # a problem takes two rows
        g = row.value_and_gradient(model.params)[1] - model.objective.strength * model.params
        exact = -np.linalg.solve(A, g)
        assert relative((out.params[2 * i] - out.params[2 * i + 1]) / (2 * eps), exact) < 1e-6
        measured = (out.complexity[2 * i] - out.complexity[2 * i + 1]) / (2 * eps)
        assert measured == pytest.approx(model.params @ exact, rel=1e-6, abs=1e-8)
        assert out.complexity_first[2 * i] == pytest.approx(eps * (model.params @ exact), rel=1e-7, abs=1e-14)
    assert relative(out.predictions_first, out.predictions) < 1e-4
    assert out.agreement(1).pearson > 0.999999


def test_curves_begin_at_the_influence_that_the_model_tells(model, data):
    X, y = data
    curves = refit_curves(model, X, y, [Change.leave_out(i) for i in range(10)], (1e-5, 0.3, 1))
    assert relative(curves.derivative, model.influence(X, y)[:10]) < 1e-6
    assert curves.complexity.shape == (10, 3)
    assert curves.eps == pytest.approx(-1 / len(X))
    whole = refit(model, X, y, [Change.leave_out(i) for i in range(10)])
    np.testing.assert_array_equal(curves.complexity[:, -1], whole.complexity)
    # nearer to the derivative, better predicted
    errors = [relative(curves.complexity_first[:, k], curves.complexity[:, k]) for k in range(3)]
    assert errors[0] < 1e-4 < errors[1] < errors[2]


@pytest.mark.parametrize("outputs", [1, 2])
def test_adding_and_leaving_out_are_the_minima_that_settling_finds(model, model2, data, outputs):
    X, y = data
    if outputs == 2:
        model, y = model2, np.column_stack([y, np.cos(X[:, 0]) + 0.1 * X[:, 1]])
    changes = [Change.leave_out(4), Change.add(X[0] + 0.1, y[0]), Change.leave_out([1, 2, 5])]
    out = refit(model, X, y, changes, keep_params=True, at=X[:5])
    problem = model.problem(X, y)
    for k, change in enumerate(changes):
        target = experiment(model, problem, k, change).problem(1.0)
        A = System(target, out.params[k]).dense()
        assert np.linalg.eigvalsh(A)[0] > 0
        _, g = target.value_and_gradient(out.params[k])
        assert np.linalg.norm(g) < 1e-13
        near = following.settle(
            target, model.params, np.empty((0, A.shape[0])), np.inf, lambda *_, **__: None
        )
        assert relative(out.params[k], near.theta) < 1e-8
    shape = (3, 5) if outputs == 1 else (3, 5, 2)
    assert out.predictions.shape == out.predictions_first.shape == out.predictions_second.shape == shape
    assert relative(out.predictions_second, out.predictions) < relative(
        out.predictions_first, out.predictions
    )


def test_the_second_order_is_a_newton_step_with_the_rows_gauss_newton_matrix(model2, data):
    X, y = data
    Y = np.column_stack([y, np.cos(X[:, 0]) + 0.1 * X[:, 1]])
    problem, theta = model2.problem(X, Y), model2.params
    one = experiment(model2, problem, 0, Change.leave_out([3, 7, 9]))
    first, second = one.predicted(theta, following.prepared(problem, theta, "dense"))
    A = System(problem, theta).dense()
    rows = System(one.alone(), theta, gauss_newton=True, regularized=False).product(np.eye(len(theta)))
    g = one.alone().value_and_gradient(theta)[1] - model2.objective.strength * theta
    assert relative(first, -np.linalg.solve(A, g)) < 1e-9
    assert relative(second, -np.linalg.solve(A + rows, g)) < 1e-9


def test_leaving_out_one_row_after_another_agrees_with_the_prediction(model, data):
    X, y = data
    out = refit(model, X, y, [Change.leave_out(i) for i in range(len(X))])
    assert out.settled.all()
    for order in (1, 2):
        found = out.agreement(order)
        assert found.pearson > 0.97
        assert found.spearman > 0.95
        assert 0.75 < found.slope < 1.35
        assert found.n == len(X)
    np.testing.assert_array_equal(out.complexity_per_eps, out.complexity / out.eps)


def test_dense_and_cg_agree(model, data):
    X, y = data
    changes = [Change.leave_out(i) for i in range(5)]
    dense, cg = (refit(model, X, y, changes, keep_params=True, solver=s) for s in ("dense", "cg"))
    assert relative(cg.params, dense.params) < 1e-9
    assert relative(cg.complexity_second, dense.complexity_second) < 1e-7
    assert cg.settled.all()


def test_results_do_not_depend_on_threads_nor_on_the_company(model, data):
    X, y = data
    changes = [Change.leave_out(i) for i in range(8)] + [
        Change.add(X[0] + 1, 40.0),
        Change.leave_out(range(48)),
    ]
    runs = [refit(model, X, y, changes, at=X[:4], keep_params=True, threads=t) for t in (1, 2, 5)]
    alone = refit(model, X, y, changes[3:4], at=X[:4], keep_params=True)
    for name in ARRAYS:
        for other in runs[1:]:
            np.testing.assert_array_equal(getattr(runs[0], name), getattr(other, name))
        np.testing.assert_array_equal(getattr(runs[0], name)[3], getattr(alone, name)[0])


def test_a_way_that_ends_at_a_fold_is_a_jump(model, data):
    X, y = data
    change = Change.leave_out(range(52))
    out = refit(model, X, y, [change])
    assert out.jumped[0]
    assert out.settled[0]  # there is another minimum
    left = refit(model, X, y, [change], settle_jumps=False)
    assert left.jumped[0]
    assert not left.settled[0]
    assert np.isnan(left.complexity[0])
    low, high = 0.0, 1.0
    for _ in range(14):
        middle = (low + high) / 2
        found = refit(model, X, y, [change.times(middle)], keep_params=True)
        low, high = (low, middle) if found.jumped[0] else (middle, high)
    last = refit(model, X, y, [change.times(low)], keep_params=True)
    target = experiment(model, model.problem(X, y), 0, change.times(low)).problem(1.0)
    smallest = np.linalg.eigvalsh(System(target, last.params[0]).dense())[0]
    assert 0 < smallest < 0.1 * model.certificate.smallest_curvature


def test_what_does_not_settle_is_nan_and_says_so(model, data, monkeypatch):
    X, y = data
    monkeypatch.setattr(following, "_newton", lambda problem, theta, curvature, heed: None)
    problem = model.problem(X, y)
    curvature = following.prepared(problem, model.params, "dense")
    monkeypatch.setattr("fasttangent.influence.refits.starting_point", lambda *_: (model.params, curvature))
    out = refit(model, X, y, [Change.up_weight(3, -0.5), Change.leave_out(3)], at=X[:2], keep_params=True)
    assert not out.settled.any()
    assert out.jumped.all()
    for name in ("complexity", "predictions", "distance", "params"):
        assert np.isnan(getattr(out, name)).all()
    assert np.isfinite(out.complexity_first).all()
    assert out.agreement().n == 0


@pytest.mark.parametrize("threads", [1, 2])
def test_an_interrupt_keeps_what_was_finished(model, data, threads):
    X, y = data

    def interrupt(stage, done, total):
        assert (stage, total) == ("refits", len(X))
        if done >= 5:
            raise KeyboardInterrupt

    changes = [Change.leave_out(i) for i in range(len(X))]
    out = refit(model, X, y, changes, keep_params=True, threads=threads, progress=interrupt)
    whole = refit(model, X, y, changes)
    done = out.steps >= 0
    assert out.interrupted
    assert 5 <= done.sum() < len(X)
    np.testing.assert_array_equal(out.complexity[done], whole.complexity[done])
    assert np.isnan(out.complexity[~done]).all()
    assert np.isnan(out.params[~done]).all()
    assert not out.settled[~done].any()
    assert "interrupted" in repr(out)


def test_other_errors_from_progress_are_raised(model, data):
    def fail(*_, **__):
        raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        refit(model, *data, [Change.leave_out(0)], progress=fail)


def test_no_changes_are_no_work(model, data):
    out = refit(model, *data, [], at=data[0][:3])
    assert out.complexity.shape == (0,)
    assert out.predictions.shape == (0, 3)


NAN = [1.0, np.nan, 0.0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ([Change.leave_out(60)], r"changes\[0\] must hold row numbers from 0 to 59, got 60"),
        ([Change.leave_out(1), Change.up_weight(-1, 0.1)], r"changes\[1\] must hold row numbers from 0"),
        ([Change.leave_out([2, 2])], "each row number once, got 2"),
        ([Change.leave_out(range(60))], "leaves out all 60 rows"),
        ([Change.add([1.0, 2.0], 1.0)], r"changes\[0\]: X has 2 columns but the model was fitted on 3"),
        ([Change.add(np.zeros((2, 3)), [1.0])], r"changes\[0\]: y must have shape \(2,\)"),
        ([Change.add(NAN, 1.0)], r"changes\[0\]: X must be finite"),
        ([Change.add([1.0, 2.0, 3.0], np.inf)], r"changes\[0\]: y must be finite"),
        ([Change.add(np.zeros((0, 3)), [])], r"changes\[0\] must add at least 1 row"),
        (Change.leave_out(3), r"pass \[change\]"),
        ([3], r"changes\[0\] must be a Change, got int"),
    ],
)
def test_bad_changes_are_refused_before_any_work(model, data, changes, message):
    with pytest.raises((ValueError, TypeError), match=message):
        refit(model, *data, changes, progress=lambda *_, **__: pytest.fail("work has begun"))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Change.leave_out([]), "rows must be a row number"),
        (lambda: Change.leave_out(0.5), "rows must be a row number"),
        (lambda: Change.leave_out([True, False]), "rows must be a row number"),
        (lambda: Change.up_weight(3, np.nan), "eps must be a finite number"),
        (lambda: Change.add([1.0], 1.0, weight="a"), "weight must be a finite number"),
        (lambda: Change.leave_out(3).times(np.inf), "fraction must be a finite number"),
        (lambda: agreement([1.0, 2.0], [1.0]), r"same shape, got \(2,\) and \(1,\)"),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises((ValueError, TypeError), match=message):
        make()


def test_bad_arguments_of_refit(model, data):
    changes = [Change.leave_out(3)]
    with pytest.raises(ValueError, match="solver must be one of"):
        refit(model, *data, changes, solver="lu")
    with pytest.raises(ValueError, match="at has 2 columns"):
        refit(model, *data, changes, at=np.zeros((4, 2)))
    with pytest.raises(TypeError, match="keep_params must be True or False"):
        refit(model, *data, changes, keep_params="yes")
    with pytest.raises(ValueError, match="fractions must be a finite number > 0"):
        refit_curves(model, *data, changes, [0.0])
    with pytest.raises(ValueError, match="at least 1 number"):
        refit_curves(model, *data, changes, [])
    out = refit(model, *data, changes)
    with pytest.raises(ValueError, match="order must be 1 or 2"):
        out.agreement(3)
    with pytest.raises(ValueError, match="pass the points as at="):
        out.agreement(2, "predictions")


def test_other_rows_than_those_of_training_are_refused(model, data):
    X, y = data
    with pytest.raises(ValueError, match="must be stationary on X, y and sample_weight"):
        refit(model, X[:50], y[:50], [Change.leave_out(3)])


def test_a_flat_minimum_is_refused(data):
    y = data[1][:6]
    flat = np.column_stack([data[0][:6, 0], np.ones(6), 2 * np.ones(6)])
    model = ft.fit(flat, y, hidden=(), strength=0.0, dtype="float64", standardize=False)
    with pytest.raises(IndefiniteError, match="not positive definite at the model"):
        refit(model, flat, y, [Change.leave_out(3)])


def test_agreement():
    rng = np.random.default_rng(0)
    a = rng.normal(size=50)
    b = 2 * a + 0.3 * rng.normal(size=50)
    found = agreement(a, b)
    assert found.pearson == pytest.approx(np.corrcoef(a, b)[0, 1])
    assert found.spearman == pytest.approx(
        np.corrcoef(np.argsort(np.argsort(a)), np.argsort(np.argsort(b)))[0, 1]
    )
    assert found.slope == pytest.approx(a @ b / (a @ a))
    assert agreement([1.0, np.nan, 2.0], [1.0, 5.0, np.nan]).n == 1
    assert np.isnan(agreement([1.0, 1.0], [1.0, 2.0]).pearson)
    assert np.isnan(agreement([], []).slope)
