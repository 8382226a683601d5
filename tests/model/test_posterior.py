"""Tangents of noise: their covariance, the deviations they give, and warm starts, which share the scaling."""

from dataclasses import replace

import numpy as np
import pytest
from helpers import relative

import fasttangent as ft
from fasttangent.model import posterior
from fasttangent.model import scores as influence
from fasttangent.problem.curvature import System

LOSSES = ("squared", "huber", "log-cosh")


class Unit:
    """In place of a random generator: draw k is 1 in the k-th of all variables, labels first, and 0 elsewhere."""

    def __init__(self, labels, params):
        self.variables = np.eye(labels + params)
        self.at = [0, labels]

    def normal(self, size):
        first = self.at.pop(0)
        return self.variables[:, first : first + int(np.prod(size[1:]))].reshape(size)


def rows(n=40, d=3, n_outputs=1, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.uniform(-1, 1, (n, d))
    Y = np.stack([np.sin(2 * X[:, 0] + o) + X[:, 1] * X[:, -1] for o in range(n_outputs)], axis=1)
    return X, Y + rng.normal(0, 0.1, Y.shape)


def early(X, y, **options):
    return ft.fit(X, y, **{"hidden": (5, 4), "epochs": 30, "settle": False, "dtype": "float64", **options})


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("n_outputs", [1, 2])
@pytest.mark.parametrize("complexity", ["l2", "l2-weights"])
def test_right_sides_have_the_covariance_of_the_gauss_newton_matrix(loss, n_outputs, complexity):
    X, Y = rows(n_outputs=n_outputs)
    w = np.random.default_rng(1).uniform(0.5, 2, len(X))
    model = early(X, Y, loss=loss, delta=0.3, complexity=complexity, sample_weight=w, strength=0.03)
    problem = model.problem(X, Y, w)
    p, m = len(model.params), Y.size
    u, b = posterior.right_sides(problem, m + p, Unit(m, p))
    rho = posterior.assembled(problem, model.params, u, b)
    A = System(problem, model.params, gauss_newton=True).dense()
    assert relative(rho.T @ rho, A / w.sum()) <= 1e-12


def test_both_ways_of_solving_give_the_same_draws(monkeypatch):
    X, Y = rows(30, n_outputs=2)
    w = np.random.default_rng(1).uniform(0.5, 2, len(X))
    model = early(X, Y, strength=0.03)
    dual = model.with_posterior(X, Y, w, samples=2000)
    monkeypatch.setattr(posterior, "DUAL_UP_TO", 0)
    direct = model.with_posterior(X, Y, w, samples=2000)
    assert relative(dual.tangents["posterior"], direct.tangents["posterior"]) <= 1e-10
    assert dual.noise == pytest.approx(direct.noise, rel=0.02)


@pytest.mark.parametrize(("n", "hidden"), [(20, (5, 4)), (300, (4,))])  # dual; Cholesky
def test_draws_have_the_covariance_of_the_linearised_laplace_posterior(n, hidden):
    X, Y = rows(n)
    model = early(X, Y[:, 0], hidden=hidden, strength=0.05).with_posterior(X, Y[:, 0], samples=20_000)
    A = System(model.problem(X, Y[:, 0]), model.params, gauss_newton=True).dense()
    tau = model.tangents["posterior"]
    found, exact = tau.T @ tau / len(tau), np.linalg.inv(A) / n
    assert relative(found, exact) <= 5 * np.sqrt(len(A) / len(tau))
    assert np.trace(found) == pytest.approx(np.trace(exact), rel=0.02)
    free = n - np.trace(exact @ (n * A - n * 0.05 * np.eye(len(A))))
    rss = np.sum((Y[:, 0] - model.predict(X)) ** 2) / model.scaling.y_scale[0] ** 2
    assert model.noise == pytest.approx(rss / free, rel=0.02)


def test_the_posterior_of_a_linear_model_is_that_of_bayesian_ridge_regression():
    X, Y = rows(60)
    y = Y[:, 0]
    model = ft.fit(X, y, hidden=(), strength=0.02, dtype="float64", tangents="posterior", samples=20_000)
    Z = np.column_stack([(X - X.mean(axis=0)) / X.std(axis=0), np.ones(60)])
    t = (y - y.mean()) / y.std()
    A = Z.T @ Z + 60 * 0.02 * np.eye(4)
    coefficients = np.linalg.solve(A, Z.T @ t)
    noise = np.sum((t - Z @ coefficients) ** 2) / (60 - np.trace(np.linalg.solve(A, Z.T @ Z)))
    variance = noise * (1 + np.einsum("ij,ij->i", Z, np.linalg.solve(A, Z.T).T))
    mean, deviation = model.predict(X, return_std=True)
    np.testing.assert_allclose(mean, y.mean() + y.std() * Z @ coefficients, rtol=1e-9)
    np.testing.assert_allclose(deviation, y.std() * np.sqrt(variance), rtol=0.02)


@pytest.mark.parametrize("n_outputs", [1, 2])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_deviations_draws_and_curiosity_follow_from_the_tangents(n_outputs, dtype):
    X, Y = rows(n_outputs=n_outputs)
    y = Y[:, 0] if n_outputs == 1 else Y
    model = ft.fit(
        X, y, hidden=(6,), strength=0.02, dtype=dtype, tangents=("strength", "posterior"), samples=32
    )
    new = rows(50, n_outputs=n_outputs, seed=2)[0]
    theta, close = model.params, 2e-4 if dtype == "float32" else 1e-10
    problem = model.problem(new, np.zeros_like(rows(50, n_outputs=n_outputs)[1]))
    J = problem.jacobian(theta)
    s = np.einsum("iop,kp->kio", J, model.tangents["posterior"])
    variance = model.noise * (1 + np.mean(s**2, axis=0))
    mean, deviation = model.predict(new, return_std=True)
    assert mean.dtype == deviation.dtype == dtype
    np.testing.assert_array_equal(mean, model.predict(new))
    scale = model.scaling.y_scale
    assert relative(deviation.reshape(50, -1), np.sqrt(variance) * scale) <= close
    draws = model.posterior(new)
    assert draws.shape == (32, *mean.shape)
    expected = problem.predictions(theta) + np.sqrt(model.noise) * s
    assert relative(draws.reshape(expected.shape), model.scaling.predictions(expected)) <= close
    assert relative(model.posterior(new[:7], 5), draws[:5, :7]) <= close
    by_hand = influence.curiosity(variance, J @ model.tangents["strength"])
    assert relative(model.curiosity(new, variance="posterior"), by_hand) <= close


def test_the_bias_is_what_a_smaller_strength_changes():
    X, Y = rows(60)
    lam, h = 0.02, 1e-6
    lower, model = (
        ft.fit(X, Y[:, 0], hidden=(), strength=s, dtype="float64", tangents="posterior", samples=2)
        for s in (lam - h, lam)
    )
    change = (lower.predict(X) - model.predict(X)) / h  # - d f / d strength; linear models have one matrix
    bias = model.embed(X, "error")[:, -1] * model.scaling.y_scale
    np.testing.assert_allclose(bias, lam * change, rtol=1e-5)


@pytest.mark.parametrize("settle", [False, True])
def test_labels_of_new_rows_lie_within_the_deviations_as_often_as_they_should(settle):
    rng = np.random.default_rng(3)
    X, new = rng.uniform(-1, 1, (200, 4)), rng.uniform(-1, 1, (2000, 4))

    def label(Z):
        return np.sin(3 * Z[:, 0]) + Z[:, 1] ** 2 + rng.normal(0, 0.1, len(Z))

    model = ft.fit(
        X, label(X), hidden=(24, 24), activation="silu", settle=settle, strength=1e-2, tangents="posterior"
    )
    mean, deviation = model.predict(new, return_std=True)
    off = abs(label(new) - mean) / deviation
    assert 0.60 <= np.mean(off <= 1) <= 0.76  # 0.68
    assert 0.91 <= np.mean(off <= 1.96) <= 0.98  # 0.95
    far = model.predict(4 + new, return_std=True)[1]
    assert np.median(far) > 3 * np.median(deviation)


def test_fit_and_with_posterior_agree_and_files_keep_the_draws(tmp_path):
    X, Y = rows()
    y = Y[:, 0]
    fitted = early(X, y, tangents=("posterior",), samples=8, seed=5)
    later = early(X, y, tangents=None, seed=5).with_posterior(X, y, samples=8, seed=5)
    np.testing.assert_array_equal(fitted.tangents["posterior"], later.tangents["posterior"])
    assert fitted.noise == later.noise
    without_labels = later.with_posterior(X, samples=8, seed=5)
    assert without_labels.noise == pytest.approx(later.noise, rel=1e-10)
    one, two = (later.with_posterior(X, y, samples=8, threads=n) for n in (1, 2))
    np.testing.assert_array_equal(one.tangents["posterior"], two.tangents["posterior"])
    fitted.save(tmp_path / "m.npz")
    again = ft.load(tmp_path / "m.npz")
    np.testing.assert_array_equal(again.predict(X, return_std=True)[1], fitted.predict(X, return_std=True)[1])
    assert np.isnan(early(X, y).noise)


def test_a_weight_of_two_is_a_row_twice():
    X, Y = rows()
    y, w = Y[:, 0], np.where(np.arange(40) < 10, 2.0, 1.0)
    model = early(X, y)
    weighted = model.with_posterior(X, y, w, samples=4000)
    doubled = model.with_posterior(np.vstack([X, X[:10]]), np.append(y, y[:10]), samples=4000)
    assert weighted.noise == pytest.approx(doubled.noise, rel=0.02)
    sd, other = (m.predict(X, return_std=True)[1] for m in (weighted, doubled))
    np.testing.assert_allclose(sd, other, rtol=0.05)


def test_what_cannot_be_asked_is_refused():
    X, Y = rows()
    y = Y[:, 0]
    model = early(X, y, tangents=None)
    for call in (
        lambda: model.predict(X, return_std=True),
        lambda: model.posterior(X),
    ):
        with pytest.raises(ValueError, match=r"no tangents of noise.*with_posterior"):
            call()
    drawn = model.with_posterior(X, samples=4)
    with pytest.raises(ValueError, match=r"samples must be at most 4.*samples=9"):
        drawn.posterior(X, 9)
    with pytest.raises(ValueError, match="samples must be"):
        model.with_posterior(X, samples=1)
    with pytest.raises(ValueError, match="columns"):
        model.with_posterior(X[:, :2])
    with pytest.raises(ValueError, match="tangents must be"):
        ft.fit(X, y, tangents=("strength", "magic"))
    with pytest.raises(ValueError, match="variance must be"):
        early(X, y).curiosity(X, variance="prior")


@pytest.mark.parametrize("hidden", [(), (6,), (6, 5)])
@pytest.mark.parametrize("n_outputs", [1, 2])
def test_a_warm_start_begins_with_the_same_function_in_other_units(hidden, n_outputs):
    X, Y = rows(n_outputs=n_outputs)
    model = ft.fit(X, Y, hidden=hidden, epochs=30, settle=False, dtype="float64")
    more, labels = np.vstack([X, 3 * X + 1]), np.vstack([Y, 5 * Y - 2])
    started = ft.fit(
        more, labels, hidden=hidden, start=model, epochs=0, settle=False, dtype="float64", tangents=None
    )
    assert not np.allclose(started.scaling.x_scale, model.scaling.x_scale)
    np.testing.assert_allclose(started.predict(more), model.predict(more), rtol=1e-9, atol=1e-12)
    trained = ft.fit(more, labels, hidden=hidden, start=model, strength=1e-2)
    assert trained.certificate.trusted


def test_a_warm_start_gives_no_weight_to_inputs_that_were_constant():
    X, Y = rows()
    frozen = X.copy()
    frozen[:, 1] = 2.0
    with pytest.warns(UserWarning, match="constant in column 1"):
        model = ft.fit(frozen, Y, hidden=(4,), epochs=20, settle=False, dtype="float64")
    started = ft.fit(X, Y, hidden=(4,), start=model, epochs=0, settle=False, dtype="float64", tangents=None)
    assert (started.network.layout.weights(started.params, 0)[1] == 0).all()
    np.testing.assert_allclose(started.predict(X), model.predict(frozen), rtol=1e-9, atol=1e-12)


def test_a_warm_start_needs_the_same_network():
    X, Y = rows()
    model = early(X, Y)
    with pytest.raises(ValueError, match="start must have the network to be fitted"):
        ft.fit(X, Y, hidden=(5,), start=model)
    with pytest.raises(TypeError, match="start must be a Model"):
        ft.fit(X, Y, start="m.npz")


def test_draws_at_no_rows():
    X = np.random.default_rng(0).normal(size=(20, 3))
    model = ft.fit(X, X[:, 0] ** 2, hidden=(4,), epochs=5, settle=False, tangents="posterior", samples=8)
    assert model.posterior(X[:0]).shape == (8, 0)


def test_the_noise_under_learned_strengths_is_that_of_rows_left_out():
    X, Y = rows(60)
    model = ft.fit(X, Y[:, 0], hidden=(6,), tangents=("strength", "posterior"), samples=64)
    left = ft.exact(model, X, Y[:, 0], curvature="gauss-newton").leave_one_out()
    by_leverage = np.mean((Y[:, 0] - model.predict(X)) ** 2) / (1 - left.leverage.mean()) ** 2
    assert model.noise * model.scaling.y_scale[0] ** 2 == pytest.approx(by_leverage, rel=0.05)
    assert model.with_posterior(X, Y[:, 0], samples=64).noise == model.noise
    given = replace(model, history={}).with_posterior(
        X, Y[:, 0], samples=64
    )  # as if the strengths had been given
    residual_variance = model.problem(X, Y[:, 0]).residual_variance(model.params)
    assert given.noise**2 == pytest.approx(residual_variance * model.noise)  # MacKay's: one factor less


def test_members_share_the_path_of_the_first_and_its_noise():
    X, Y = rows(60)
    found = ft.fit(X, Y[:, 0], hidden=(6,), tangents=("strength", "posterior"), samples=64, members=2)
    first, second = found.models
    assert second.path.strength.tolist() == first.path.strength.tolist()
    again = second.with_posterior(X, Y[:, 0], samples=32, seed=second.settings.seed)
    assert again.noise == second.noise
