"""Exact influence against its definitions: dense algebra, refits of linear models, finite differences of refits."""

import numpy as np
import pytest
from helpers import naive, quiet, relative

import fasttangent as ft
from fasttangent.common.errors import IndefiniteError, UntrustedTangentWarning
from fasttangent.model.settling import settle

SOLVED = [("cholesky", {}), ("spectrum", {}), ("cg", {"tolerance": 1e-12}), ("minres", {"tolerance": 1e-12})]


def loss_gradients(model, X, y):
    """grad loss of every row (n, p), from the slow twin, and the problem of those rows."""
    problem, sizes = model.problem(X, y), model.network.sizes
    J = naive.row_jacobian(model.params, problem.rows.X, sizes, model.network.activation)
    residual = problem.predictions(model.params) - problem.rows.Y
    return np.einsum("io,iop->ip", residual, J), J


def refit(model, X, y, i, eps):
    """Parameters at the minimum of F + eps loss_i."""
    base = model.problem(X, y)
    w = np.ones(len(X))
    w[i] += eps * len(X)
    rows = base.rows
    problem = base.with_rows(rows.X, rows.Y, w / len(X), 1)
    found = settle(problem, model.params, np.empty((0, len(model.params))), np.inf, quiet)
    assert found.stopped == "settled"
    return found.theta


@pytest.mark.parametrize(("solver", "options"), SOLVED)
@pytest.mark.parametrize("outputs", [1, 2])
def test_formulas(request, data, outputs, solver, options):
    model = request.getfixturevalue("model" if outputs == 1 else "model2")
    X, y = data
    y = y if outputs == 1 else np.column_stack([y, np.cos(X[:, 0]) + 0.1 * X[:, 1]])
    truth = ft.exact(model, X, y, solver=solver, **options)
    G, J = loss_gradients(model, X, y)
    inverse, theta, scale = np.linalg.inv(truth.system.dense()), model.params, model.scaling.y_scale
    assert relative(truth.tangent, -inverse @ theta) <= 1e-8
    assert relative(truth.tangent, model.tangents["strength"]) <= 1e-8
    assert relative(truth.sensitivity(X), model.sensitivity(X)) <= 1e-7
    assert relative(truth.influence(X, y), -G @ inverse @ theta) <= 1e-8
    assert relative(truth.influence(X, y), model.influence(X, y)) <= 1e-7
    at = truth.influence_on_predictions(X, y, X[:7])
    expected = -np.einsum("ip,pq,moq->imo", G, inverse, J[:7]) * scale
    assert relative(at.reshape(expected.shape), expected) <= 1e-8
    on_loss = truth.influence_on_loss(X, y, X[20:], y[20:], np.arange(40.0))
    gradient = np.arange(40.0) @ G[20:] / np.arange(40.0).sum()
    assert relative(on_loss, -G @ inverse @ gradient) <= 1e-8
    assert relative(truth.self_influence(X, y), -np.einsum("ip,pq,iq->i", G, inverse, G)) <= 1e-8
    hat = np.einsum("iop,pq,iuq->iou", J, inverse, J) / len(X)
    assert relative(truth.leverage(), np.einsum("ioo->i", hat)) <= 1e-8


def test_influence_on_anything_with_a_gradient(model, data):
    truth = ft.exact(model, *data)
    gradients = np.random.default_rng(0).normal(size=(70, len(model.params)))
    found = truth.influence(*data, gradients)
    assert found.shape == (60, 70)
    assert np.allclose(found[:, 5], truth.influence(*data, lambda theta: gradients[5]), rtol=1e-12)
    assert np.allclose(truth.influence(*data, lambda theta: theta), truth.influence(*data), rtol=1e-12)


def test_groups_sum_their_rows(model, data):
    truth, groups = ft.exact(model, *data), np.array(["b", "a", "c"])[np.arange(60) % 3]
    single, together = truth.influence(*data), truth.influence(*data, groups=groups)
    assert np.allclose(together, [single[groups == name].sum() for name in "abc"], rtol=1e-12)
    at = truth.influence_on_predictions(*data, data[0][:4], groups=groups)
    assert at.shape == (3, 4)


def test_top_is_the_top_of_the_matrix(model2, data):
    X, y = data
    y = np.column_stack([y, np.cos(X[:, 0]) + 0.1 * X[:, 1]])
    truth = ft.exact(model2, X, y)
    whole = truth.influence_on_predictions(X, y, X[:40]).reshape(60, 80)
    top = truth.top(X, y, X[:40], k=5)
    assert np.array_equal(top.rows, np.argsort(-abs(whole), axis=0, kind="stable")[:5].T)
    assert np.allclose(top.influence, np.take_along_axis(whole.T, top.rows, axis=1), rtol=1e-12)


def test_out_may_be_a_memory_map(model, data, tmp_path):
    truth = ft.exact(model, *data)
    out = np.memmap(tmp_path / "influence", np.float64, "w+", shape=(60, 9))
    truth.influence_on_predictions(*data, data[0][:9], out=out)
    assert np.array_equal(out, truth.influence_on_predictions(*data, data[0][:9]))


def test_it_predicts_what_refitting_does(model, data):
    X, y = data
    truth, eps = ft.exact(model, X, y), 1e-6
    for i in (0, 17, 41):
        after, before = (refit(model, X, y, i, sign * eps) for sign in (1, -1))
        change = (after @ after - before @ before) / (4 * eps)
        assert np.isclose(truth.influence(X[[i]], y[[i]])[0], change, rtol=1e-5, atol=1e-7)


def test_leave_one_out_of_a_linear_model_is_exact(data):
    X, y = data
    model = ft.fit(X, y, hidden=(), strength=0.1, dtype="float64")
    left_out = ft.exact(model, X, y).leave_one_out()
    for i in (0, 30):
        theta = refit(model, X, y, i, -1 / len(X))
        expected = ft.fit(X, y, hidden=(), strength=0.1, dtype="float64")
        object.__setattr__(expected, "params", theta)
        assert np.isclose(left_out.prediction[i], expected.predict(X[[i]])[0], rtol=1e-9)
        assert np.isclose(
            left_out.residual[i], (y[i] - model.predict(X[[i]])[0]) / (1 - left_out.leverage[i]), rtol=1e-9
        )


def test_gauss_newton_leverages_sum_to_the_effective_number_of_parameters(model, data):
    truth = ft.exact(model, *data, curvature="gauss-newton", solver="dual")
    eigenvalues = np.linalg.eigvalsh(truth.system.dense()) - model.objective.strength
    assert np.isclose(truth.leverage().sum(), np.sum(eigenvalues / (eigenvalues + model.objective.strength)))


def test_progress_counts_targets(model, data):
    seen = []
    truth = ft.exact(model, *data, progress=lambda *what: seen.append(what))
    truth.influence_on_predictions(*data, np.tile(data[0], (2, 1)))
    assert seen == [("influence", 64, 120), ("influence", 120, 120)]


def test_an_interrupt_ends_the_work(model, data):
    def interrupt(*_):
        raise KeyboardInterrupt

    truth = ft.exact(model, *data, progress=interrupt)
    with pytest.raises(KeyboardInterrupt):
        truth.influence(*data)


def test_threads_change_nothing(model, data):
    one, two = (ft.exact(model, *data, solver="cg", threads=t).influence(*data) for t in (1, 2))
    assert np.array_equal(one, two)


def test_a_model_far_from_a_minimum_is_refused_or_warned_about(data):
    model = ft.fit(*data, hidden=(5,), epochs=2, settle=False, strength=1e-4, dtype="float64")
    with pytest.warns(UntrustedTangentWarning, match="not stationary on these rows"):
        truth = ft.exact(model, *data, solver="minres")
    assert truth.influence(*data).shape == (60,)
    for solver in ("cholesky", "cg", "block-cg"):
        with (
            pytest.warns(UntrustedTangentWarning),
            pytest.raises(IndefiniteError, match="raise the strength"),
        ):
            ft.exact(model, *data, solver=solver).influence(*data)


def test_a_solve_that_ends_early_is_warned_about(model, data):
    truth = ft.exact(model, *data, solver="cg", preconditioner="none", most=2)
    with pytest.warns(UntrustedTangentWarning, match=r"cg ended with 'iteration limit'.*most="):
        truth.influence(*data)


@pytest.mark.parametrize(
    "work",
    [
        lambda truth, X, y: truth.influence(X, y),
        lambda truth, X, y: truth.self_influence(X, y),
        lambda truth, X, y: truth.tangent,
        lambda truth, X, y: truth.sensitivity(X),
    ],
)
def test_warnings_point_at_the_line_that_asked(model, data, work):
    truth = ft.exact(model, *data, solver="cg", preconditioner="none", most=2)
    with pytest.warns(UntrustedTangentWarning) as found:
        work(truth, *data)
    assert (found[0].filename, found[0].lineno) == (__file__, work.__code__.co_firstlineno)


def test_other_rows_than_trained_on_are_noticed(model, data):
    X, y = data
    with pytest.warns(UntrustedTangentWarning, match="the rows and weights it was trained on"):
        ft.exact(model, X[:50], y[:50])


def test_duplicated_rows_share_their_influence(data):
    X, y = (np.concatenate([a, a]) for a in data)
    model = ft.fit(X, y, hidden=(5,), epochs=20, strength=0.02, dtype="float64")
    found = ft.exact(model, X, y).influence(X, y)
    assert np.allclose(found[:60], found[60:], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda t, X, y: t.influence(X, y[:5]), "y must"),
        (lambda t, X, y: t.influence(X[:, :2], y), "3"),
        (lambda t, X, y: t.influence(X, y, "complexty"), "did you mean 'complexity'"),
        (lambda t, X, y: t.influence(X, y, np.ones(4)), "on must be"),
        (lambda t, X, y: t.influence(X, y, np.full(len(t.tangent), np.nan)), "on must"),
        (lambda t, X, y: t.influence(X, y, groups=[1, 2]), "one label per row"),
        (lambda t, X, y: t.influence_on_predictions(X, y, X[:0]), "at must have at least 1 row"),
        (lambda t, X, y: t.influence_on_predictions(X, y, np.full((1, 3), np.inf)), "at must"),
        (lambda t, X, y: t.influence_on_predictions(X, y, X, out=np.empty((2, 2))), "out must have shape"),
        (lambda t, X, y: t.top(X, y, X, k=61), "k must be at most"),
        (lambda t, X, y: t.influence_on_loss(X, y, X, y, -np.ones(60)), "sample_weight"),
        (lambda t, X, y: ft.exact(t.model, X, y, curvature="fisher"), "curvature"),
        (lambda t, X, y: ft.exact(t.model, X, y, solver="cholsky"), "did you mean 'cholesky'"),
        (lambda t, X, y: ft.exact(t.model, X, y, solver="cg", depth=3), "no option 'depth'"),
        (lambda t, X, y: ft.exact(t.model, X[:0], y[:0]), "at least 1 row"),
    ],
)
def test_bad_input(model, data, call, message):
    truth = ft.exact(model, *data)
    with pytest.raises(ValueError, match=message):
        call(truth, *data)
