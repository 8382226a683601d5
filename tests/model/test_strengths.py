"""Strengths by group and strengths that are learned."""

import numpy as np
import pytest
from helpers import random_problem, relative
from scipy.special import erf

import fasttangent as ft
from fasttangent.model import given_strengths, infinitely_wide, stages, strengths
from fasttangent.model.infinitely_wide import KERNELS, Variances, minus_log_evidence
from fasttangent.model.settling import settle
from fasttangent.problem import groups
from fasttangent.problem.network import Network
from fasttangent.problem.objective import Objective
from fasttangent.problem.problem import Problem


@pytest.fixture(scope="module")
def rows():
    """Three columns that matter, one that does not."""
    rng = np.random.default_rng(3)
    X = rng.normal(size=(80, 4)) * [1, 20, 0.1, 5]
    y = 30 + 5 * (
        np.sin(X[:, 0]) + 0.05 * X[:, 1] * np.cos(X[:, 0]) + np.sin(15 * X[:, 2]) + 0.1 * rng.normal(size=80)
    )
    return X, y


@pytest.fixture(scope="module")
def auto(rows):
    tangents = ("strength", "groups", "posterior")
    return ft.fit(*rows, hidden=(8, 6), strength="auto", tangents=tangents, samples=16, feature_names="abcd")


# ---- the infinitely wide network ----


@pytest.mark.parametrize("kernel", KERNELS)
def test_the_derivatives_of_its_evidence(kernel):
    rng = np.random.default_rng(0)
    X, Y, w, at = (
        rng.normal(size=(12, 3)),
        rng.normal(size=(12, 2)),
        rng.uniform(0.5, 2, 12),
        rng.normal(size=6),
    )

    def value(logs):
        return minus_log_evidence(Variances(logs[:3], *logs[3:]), X, Y, w, kernel)

    h = 1e-6
    numeric = [(value(at + h * e)[0] - value(at - h * e)[0]) / (2 * h) for e in np.eye(6)]
    np.testing.assert_allclose(value(at)[1], numeric, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(
    ("kernel", "unit", "scale"),
    [("error function", erf, 1), ("rectifier", lambda z: np.maximum(z, 0), 2), ("linear", lambda z: z, 1)],
)
def test_its_covariance_is_that_of_many_units(kernel, unit, scale):
    X = np.random.default_rng(1).normal(size=(5, 3))
    h = unit(X @ np.random.default_rng(2).normal(size=(3, 400_000)))
    cross = X @ X.T
    np.testing.assert_allclose(
        KERNELS[kernel](cross, np.diag(cross).copy())[0], scale * h @ h.T / h.shape[1], atol=0.05
    )


def test_columns_that_explain_nothing_get_the_largest_strength(rows):
    X, y = rows
    standard = (X - X.mean(0)) / X.std(0), ((y - y.mean()) / y.std())[:, None], np.ones(80)
    found = infinitely_wide.strengths(Network((4, 8, 1), "tanh"), Objective(groups="inputs"), *standard)
    assert np.argmax(found[:4]) == 3
    assert found[3] > 10 * found[:3].max()
    layers = infinitely_wide.strengths(Network((4, 8, 1), "tanh"), Objective(groups="layers"), *standard)
    assert layers.shape == (4,)


@pytest.mark.parametrize("activation", ["silu", "relu", "identity"])
@pytest.mark.parametrize("hidden", [(), (5,)])
def test_any_network_has_one(rows, activation, hidden):
    model = ft.fit(*rows, hidden=hidden, activation=activation, strength="auto", epochs=5, settle=False)
    assert (np.array(list(model.strengths.values())) > 0).all()


# ---- evidence ----


@pytest.mark.parametrize("loss", ["squared", "log-cosh"])
@pytest.mark.parametrize("kind", ["one", "inputs"])
def test_the_evidence_is_that_of_the_dense_matrix(kind, loss):
    problem, theta, _ = random_problem((3, 4, 2), 30, loss=loss, strength=0.02, unequal=True)
    count = groups.numbers(kind, problem.network.layout).max() + 1
    ratios = tuple(np.linspace(0.5, 2, count)) if count > 1 else ()
    objective = Objective(loss, 0.7, strength=0.02, groups=kind, ratios=ratios)
    problem = Problem(problem.network, objective, problem.rows.X, problem.rows.Y, 60 * problem.rows.w, 1)
    value, determined = strengths.evidence(problem, theta)

    J = problem.jacobian(theta).reshape(60, -1)
    D, residual = problem.output_weights(theta).ravel(), problem.predictions(theta) - problem.rows.Y
    slope = residual if loss == "squared" else 0.7 * np.tanh(residual / 0.7)
    slope = (problem.rows.w[:, None] * slope).ravel()
    y, K = J @ theta - slope / D, (np.sqrt(D)[:, None] * J / problem.mask) @ (J.T * np.sqrt(D))
    C = np.eye(60) + K / 0.02
    q = (np.sqrt(D) * y) @ np.linalg.solve(C, np.sqrt(D) * y)
    assert value == pytest.approx(0.5 * np.log(q) + np.linalg.slogdet(C)[1] / (2 * problem.total * 2))
    assert determined == pytest.approx(np.trace(np.eye(60) - np.linalg.inv(C)), rel=0.1)


def test_its_derivative_is_one_step_along_the_tangent(auto, rows):
    """Against fits that settle anew at strengths beside."""
    problem, tau, strength = auto.problem(*rows), auto.tangents["strength"], auto.objective.strength
    h = 1e-3

    def moved(step):
        return strengths.evidence(
            problem.at_strength(strength * np.exp(step)), auto.params + strength * np.expm1(step) * tau
        )[0]

    def settled(step):
        there = problem.at_strength(strength * np.exp(step))
        theta = settle(there, auto.params, np.zeros((0, len(tau))), np.inf, lambda *a, **k: None).theta
        return strengths.evidence(there, theta)[0]

    by_tangent, by_fits = ((8 * (f(h) - f(-h)) - (f(2 * h) - f(-2 * h))) / (12 * h) for f in (moved, settled))
    assert by_tangent == pytest.approx(by_fits, rel=1e-6, abs=1e-9)


# ---- the fit ----


def test_a_learned_strength(auto, rows):
    assert auto.certificate.trusted
    assert auto.objective.groups == "inputs"
    assert list(auto.strengths) == [*"abcd", "biases 1", "weights 2", "biases 2", "weights 3", "biases 3"]
    assert np.prod(list(auto.strengths.values())) ** (1 / 9) == pytest.approx(auto.objective.strength)
    path = auto.path
    assert path.chosen == pytest.approx(auto.objective.strength)
    assert (np.diff(path.strength) > 0).all()
    assert (np.diff(path.parameters) < 0).all()
    assert 0 < path.error < 2
    assert auto.certificate.strength_error == path.error
    assert auto.strengths["d"] == max(auto.strengths[name] for name in "abcd")
    assert auto.summary()["hardly_used"] == ["d"]
    error = auto.predict(rows[0]) - rows[1]
    assert error.std() < 0.3 * rows[1].std()


def test_it_is_the_same_for_any_threads(auto, rows):
    again = ft.fit(*rows, hidden=(8, 6), strength="auto", threads=1)
    np.testing.assert_array_equal(again.params, auto.params)
    assert again.path.criterion.tolist() == auto.path.criterion.tolist()


def test_it_is_kept_in_a_file(auto, rows, tmp_path):
    auto.save(tmp_path / "m.npz")
    again = ft.load(tmp_path / "m.npz")
    assert again.strengths == auto.strengths
    assert again.certificate == auto.certificate
    assert again.path.error == auto.path.error
    np.testing.assert_array_equal(again.path.parameters, auto.path.parameters)
    np.testing.assert_array_equal(again.sensitivity(rows[0], group="b"), auto.sensitivity(rows[0], group="b"))
    assert again.settings == auto.settings


def test_no_point_of_the_path_begins_at_a_constant_network():
    """From theta = 0, which is stationary under every strength, no way leads on; the first stage's end is better."""
    problem, theta, _ = random_problem((2, 4, 1), 40, strength=0.01)
    search, other = (strengths.Search(problem, theta, np.inf, lambda *a, **k: None) for _ in range(2))
    at, above = np.log(0.01), np.log(0.03)
    other._thetas[above], other._found[above] = np.zeros_like(theta), (5.0, 1.0)
    assert other._look(at) == search._look(at)
    assert other.path.parameters[0] > strengths.CONSTANT


def test_a_search_that_ends_before_an_optimum_says_so(rows, monkeypatch):
    monkeypatch.setattr(given_strengths, "FACTOR", 5e-4)
    monkeypatch.setattr(strengths, "FACTOR_ERROR", 10.0)
    monkeypatch.setattr(strengths, "MOST_STEPS", 1)
    model = ft.fit(*rows, hidden=(4,))
    assert model.path.chosen == model.path.strength[-1]
    assert model.path.error == model.certificate.strength_error == np.inf
    assert model.certificate.trusted


def test_a_strength_that_was_given_has_no_error(rows):
    assert ft.fit(*rows, hidden=(4,), strength=1e-2).certificate.strength_error is None


def test_not_the_constant_network():
    """Where the evidence alone falls all the way to it: kin8nm is like this at 64 labels."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(64, 8))
    y = np.sin(X[:, 0]) * X[:, 1] + 0.5 * X[:, 2] + 0.7 * rng.normal(size=64)
    model = ft.fit(X, y, hidden=(16,), strength="auto")
    assert model.predict(X).std() > 0.2 * y.std()


def test_a_number_is_the_same_for_all_groups(rows):
    one, inputs = (ft.fit(*rows, hidden=(4,), strength=1e-2, groups=kind) for kind in ("one", "inputs"))
    np.testing.assert_array_equal(one.params, inputs.params)
    np.testing.assert_array_equal(one.tangents["strength"], inputs.tangents["strength"])
    assert set(inputs.strengths.values()) == {1e-2}


def test_strengths_as_a_dict_are_kept(auto, rows):
    again = ft.fit(*rows, hidden=(8, 6), strength=auto.strengths, feature_names="abcd", start=auto)
    assert again.strengths == pytest.approx(auto.strengths)
    assert relative(again.predict(rows[0]), auto.predict(rows[0])) < 1e-5


def test_of_many_labels_nothing_is_learned(monkeypatch, rows):
    monkeypatch.setattr(given_strengths, "MOST_LABELS", 79)
    monkeypatch.setattr(stages, "MOST_LABELS", 79)
    model = ft.fit(*rows, hidden=(4,), epochs=2)
    assert set(model.strengths.values()) == {given_strengths.beyond(80)}
    assert model.path is None


def test_the_strength_of_many_labels_falls_with_their_number():
    assert given_strengths.beyond(3000) == 1e-3
    assert given_strengths.beyond(30_000) == 1e-4
    assert given_strengths.beyond(10**7) == 1e-4


def test_time_is_a_bound_for_the_search(rows):
    model = ft.fit(*rows, hidden=(8, 6), strength="auto", settle=1e-6)
    assert model.training["stopped"] == "out of time"
    assert any("out of time" in reason for reason in model.certificate.reasons)
    assert len(model.path.strength) == 0
    assert set(np.isfinite(list(model.strengths.values()))) == {True}


# ---- tangents of groups ----


def test_tangents_of_groups_add_up(auto):
    total = np.array(auto.objective.ratios) @ auto.tangents["groups"]
    assert relative(total, auto.tangents["strength"]) < 1e-8


@pytest.mark.parametrize("group", ["a", "d", "weights 2", "biases 3"])
def test_sensitivity_to_a_group_is_a_difference_of_fits(auto, rows, group):
    h = 1e-3 * auto.strengths[group]

    def predictions(step):
        changed = {**auto.strengths, group: auto.strengths[group] + step}
        options = {"hidden": (8, 6), "feature_names": "abcd", "dtype": "float64", "start": auto, "epochs": 1}
        return ft.fit(*rows, strength=changed, learning_rate=1e-9, **options).predict(rows[0])

    slopes = (predictions(h) - predictions(-h)) / (2 * h)
    assert relative(auto.sensitivity(rows[0], group=group), slopes) < 1e-3


def test_influence_on_the_complexity_of_a_group(auto, rows):
    """d C_g / d eps = -grad loss . A^-1 grad C_g, and the parts add up."""
    X, y = rows
    parts = [auto.influence(X, y, group=name) for name in auto.strengths]
    whole = auto.influence(X, y)
    np.testing.assert_allclose(
        np.array(auto.objective.ratios) @ parts, whole, rtol=1e-3, atol=1e-5 * abs(whole).max()
    )


# ---- what is refused ----


@pytest.mark.parametrize(
    ("options", "fragment"),
    [
        (
            {"strength": {"a": 1.0}},
            "strength must have a number for each group and no more, 'x0', 'x1'.*none for 'x0'",
        ),
        ({"strength": {}}, "got {}"),
        (
            {"groups": "one", "strength": {"all": 0.0}},
            "strength of group 'all' must be a finite number > 0, got 0",
        ),
        (
            {"groups": "one", "strength": {"all": np.inf}},
            "strength of group 'all' must be a finite number > 0",
        ),
        ({"groups": "one", "strength": {"all": 1.0, "b": 1.0}}, "got one for 'b'"),
        ({"groups": [0, 1]}, "groups must have a number for each of the"),
        ({"groups": "columns"}, "groups must be one of"),
    ],
)
def test_strengths_that_are_refused(rows, options, fragment):
    with pytest.raises(ValueError, match=fragment):
        ft.fit(*rows, hidden=(4,), **options)


def test_groups_that_a_model_does_not_have(auto, rows):
    with pytest.raises(ValueError, match="group must be one of 'a', 'b'"):
        auto.sensitivity(rows[0], group="z")
    plain = ft.fit(*rows, hidden=(4,), epochs=2, settle=False)
    with pytest.raises(ValueError, match="the model has no tangents of groups"):
        plain.sensitivity(rows[0], group="x0")
