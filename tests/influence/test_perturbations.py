"""Tangents of labels, weights, input scales, strengths and what users add, against minima that were settled anew."""

import numpy as np
import pytest
from helpers import quiet, relative

import fasttangent as ft
from fasttangent.model.settling import settle

H = 1e-4


def minimum(problem, theta):
    found = settle(problem, theta, np.empty((0, len(theta))), np.inf, quiet)
    assert found.stopped == "settled"
    return found.theta


def differences(problem_at, theta, predicted):
    """(predicted(minimum at h, h) - predicted(minimum at -h, -h)) / 2h."""
    ahead, behind = (predicted(minimum(problem_at(h), theta), h) for h in (H, -H))
    return (ahead - behind) / (2 * H)


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(3)
    X = rng.uniform(-1, 1, (50, 2)) * [3, 0.1] + [5, 0]
    y = 40 + 7 * np.sin(X[:, 0]) + 30 * X[:, 1] + rng.standard_t(2, 50)
    return X, y


@pytest.fixture(scope="module")
def truth(rows):
    options = {"hidden": (5,), "strength": 1e-2, "dtype": "float64", "loss": "huber", "delta": 0.5}
    model = ft.fit(*rows, groups="inputs", **options)
    return ft.exact(model, *rows)


@pytest.fixture(scope="module")
def truth2(rows):
    X, y = rows
    model = ft.fit(X, np.column_stack([y, X[:, 0] ** 2]), hidden=(5,), strength=1e-2, dtype="float64")
    return ft.exact(model, X, np.column_stack([y, X[:, 0] ** 2]))


def test_a_label(truth, rows):
    problem, theta, scale = truth.system.problem, truth.model.params, truth.model.scaling.y_scale[0]

    def with_label(h):
        X, Y, w = problem.rows
        Y = Y.copy()
        Y[7] += h / scale
        return problem.with_rows(X, Y, w, 1)

    expected = differences(with_label, theta, lambda t, h: problem.predictions(t)[:, 0] * scale)
    found = ft.Perturbation.labels(7).of_predictions(truth, rows[0])
    assert relative(found[0], expected) <= 1e-5
    assert np.allclose(ft.Perturbation.labels().of_predictions(truth, rows[0])[7], found[0], rtol=1e-12)


def test_labels_of_several_outputs(truth2, rows):
    problem, theta, scale = truth2.system.problem, truth2.model.params, truth2.model.scaling.y_scale

    def with_label(h):
        X, Y, w = problem.rows
        Y = Y.copy()
        Y[7, 1] += h / scale[1]
        return problem.with_rows(X, Y, w, 1)

    expected = differences(with_label, theta, lambda t, h: problem.predictions(t) * scale)
    found = ft.Perturbation.labels([3, 7]).of_predictions(truth2, rows[0])
    assert found.shape == (4, 50, 2)  # rows 3 and 7, outputs 0 and 1 of each
    assert relative(found[3], expected) <= 1e-5


def test_a_weight(truth, rows):
    problem, theta, scale = truth.system.problem, truth.model.params, truth.model.scaling.y_scale[0]

    def with_weight(h):
        X, Y, w = problem.rows
        w = w.copy()
        w[4] *= 1 + h
        return problem.with_rows(X, Y, w, 1)

    expected = differences(with_weight, theta, lambda t, h: problem.predictions(t)[:, 0] * scale)
    found = ft.Perturbation.weights([4]).of_predictions(truth, rows[0])
    assert relative(found[0], expected) <= 1e-5
    by_influence = truth.influence_on_predictions(*rows, rows[0]) / len(rows[0])
    assert relative(ft.Perturbation.weights().of_predictions(truth, rows[0]), by_influence) <= 1e-9


def test_the_scale_of_an_input(truth, rows):
    problem, theta, scale = truth.system.problem, truth.model.params, truth.model.scaling.y_scale[0]

    def stretched(h):
        X, Y, w = problem.rows
        return problem.with_rows(X * [1, 1 + h], Y, w, 1)

    expected = differences(stretched, theta, lambda t, h: stretched(h).predictions(t)[:, 0] * scale)
    found = ft.Perturbation.input_scales().of_predictions(truth, rows[0])
    assert found.shape == (2, 50)
    assert relative(found[1], expected) <= 1e-5


def test_strengths_are_the_tangents_of_groups(truth, rows):
    model = ft.fit(
        *rows,
        hidden=(5,),
        strength=1e-2,
        dtype="float64",
        loss="huber",
        delta=0.5,
        groups="inputs",
        tangents=("strength", "groups"),
    )
    assert relative(ft.Perturbation.strengths().tangents(truth), model.tangents["groups"]) <= 1e-7
    found = ft.Perturbation.strengths().of_predictions(truth, rows[0])
    assert relative(found.sum(axis=0), truth.sensitivity(rows[0])) <= 1e-9


def test_one_of_a_users_own(truth, rows):
    """delta of the Huber loss."""
    problem, theta, scale = truth.system.problem, truth.model.params, truth.model.scaling.y_scale[0]

    def of_delta(truth):
        residual = problem.predictions(theta) - problem.rows.Y
        beyond = np.where(abs(residual) > truth.model.objective.delta, np.sign(residual), 0.0)
        return problem.jacobian_transposed_product(theta, (problem.rows.w[:, None] * beyond)[None])

    def with_delta(h):
        model = ft.fit(*rows, hidden=(5,), strength=1e-2, loss="huber", delta=0.5 + h, settle=False, epochs=1)
        return model.problem(*rows)

    expected = differences(with_delta, theta, lambda t, h: problem.predictions(t)[:, 0] * scale)
    found = ft.Perturbation("delta", of_delta).of_predictions(truth, rows[0])
    assert relative(found[0], expected) <= 1e-5
    assert np.linalg.norm(expected) > 0


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: ft.Perturbation.labels(50), ValueError, "rows must be from 0 to 49, got 50 to 50"),
        (lambda: ft.Perturbation.labels(-1), ValueError, "rows must be from 0 to 49"),
        (lambda: ft.Perturbation.weights([]), TypeError, "rows must be a number or a sequence"),
        (lambda: ft.Perturbation.weights([0.5]), TypeError, "rows must be a number or a sequence"),
        (lambda: ft.Perturbation.input_scales("x"), TypeError, "columns must be a number or a sequence"),
        (lambda: ft.Perturbation.input_scales(2), ValueError, "columns must be from 0 to 1"),
        (
            lambda: ft.Perturbation("mine", lambda t: np.ones(3)),
            ValueError,
            r"'mine' must return .* shape \(K, 21\)",
        ),
        (
            lambda: ft.Perturbation("mine", lambda t: np.full((1, 21), np.nan)),
            ValueError,
            "must return finite",
        ),
    ],
)
def test_bad_input(truth, make, error, words):
    with pytest.raises(error, match=words):
        make().tangents(truth)
