"""The infinitesimal jackknife against its definition by minima settled anew, and against a bootstrap."""

import numpy as np
import pytest
from helpers import quiet, relative

import fasttangent as ft
from fasttangent.model.settling import settle

H = 1e-4


def settled(problem, theta):
    found = settle(problem, theta, np.zeros((1, len(theta))), np.inf, quiet)
    assert found.stopped == "settled"
    return found.theta, found.tangents[0]


def rows(n, outputs=1):
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, (n, 2)) * [3, 0.1]
    y = 40 + 7 * np.sin(X[:, 0]) + 30 * X[:, 1] + 0.5 * rng.normal(size=n)
    return X, y if outputs == 1 else np.column_stack([y, X[:, 0] ** 2])


@pytest.mark.parametrize(
    ("outputs", "options"), [(1, {}), (2, {"activation": "silu"}), (1, {"loss": "huber", "groups": "layers"})]
)
def test_definition(outputs, options):
    X, y = rows(30, outputs)
    weights = np.linspace(0.5, 2, len(X))
    model = ft.fit(X, y, hidden=(4,), strength=1e-2, dtype="float64", sample_weight=weights, **options)
    truth = ft.exact(model, X, y, sample_weight=weights)
    problem, at, found = truth.system.problem, X[:6] + 0.1, ft.jackknife(truth, X[:6] + 0.1)
    rows_at, (Xs, Ys, w) = truth._unlabelled(at), problem.rows
    squares = np.zeros((2, 6, outputs))
    for i in range(len(X)):
        towards = w[i] * (np.eye(len(w))[i] - w)
        ends = []
        for h in (H, -H):
            theta, tau = settled(problem.with_rows(Xs, Ys, w + h * towards, 1), model.params)
            ends.append([rows_at.predictions(theta), rows_at.jacobian_product(theta, tau[None])[0]])
        squares += ((np.array(ends[0]) - np.array(ends[1])) / (2 * H)) ** 2
    expected = np.sqrt(squares) * model.scaling.y_scale
    for one, of in zip(found, expected, strict=True):
        assert one.shape == ((6,) if outputs == 1 else (6, 2))
        assert relative(one.reshape(of.shape), of) <= 1e-4


def test_of_a_linear_model_it_is_near_a_bootstrap():
    """hidden=(): theta = (Z^T Z / n + strength)^-1 Z^T y / n, so that a thousand samples are nothing."""
    X, y = rows(300)
    model = ft.fit(X, y, hidden=(), strength=1e-2, dtype="float64")
    truth = ft.exact(model, X, y)
    problem, rng, drawn = truth.system.problem, np.random.default_rng(1), []
    Z = np.column_stack([problem.rows.X, np.ones(len(X))])
    p, mask = Z.shape[1], problem.mask
    for _ in range(2000):
        w = rng.multinomial(len(X), np.full(len(X), 1 / len(X))) / len(X)
        A = Z.T @ (w[:, None] * Z) + 1e-2 * np.diag(mask)
        theta = np.linalg.solve(A, Z.T @ (w * problem.rows.Y[:, 0]))
        drawn.append([Z[:5] @ theta, Z[:5] @ -np.linalg.solve(A, mask * theta)])
    assert len(model.params) == p
    expected = np.std(drawn, axis=0) * model.scaling.y_scale[0]
    for found, of in zip(ft.jackknife(truth, X[:5]), expected, strict=True):
        np.testing.assert_allclose(found, of, rtol=0.1)


def test_bad_input():
    X, y = rows(30)
    model = ft.fit(X, y, hidden=(4,), strength=1e-2)
    with pytest.raises(ValueError, match="curvature of truth must be 'hessian'"):
        ft.jackknife(ft.exact(model, X, y, curvature="gauss-newton"), X)
    with pytest.raises(ValueError, match="X must have at least 1 row"):
        ft.jackknife(ft.exact(model, X, y), X[:0])
    with pytest.warns(ft.UntrustedTangentWarning):
        kinks = ft.exact(
            ft.fit(X, y, hidden=(4,), strength=1e-2, activation="relu", settle=False),
            X,
            y,
            curvature="gauss-newton",
        )
    with pytest.raises(ValueError, match="activation must be smooth"):
        ft.jackknife(kinks, X)
