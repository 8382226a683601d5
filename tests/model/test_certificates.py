"""What a certificate says of the curvature: bounds that hold, flat directions that no score depends on, time kept."""

import time
from dataclasses import replace

import numpy as np
import pytest
from helpers import quiet, relative

import fasttangent as ft
from fasttangent.model.certificate import certify
from fasttangent.model.settling import settle
from fasttangent.problem.curvature import System
from fasttangent.problem.problem import Problem
from fasttangent.solvers import extremes
from fasttangent.solvers.by_factors import by_factors


def dead(hidden, activation, strength, n=10, seed=1, features=6):
    """A model with dead units, whose biases nothing holds; its problem."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, features))
    Y = np.sign(np.sin(3 * X[:, :1]) + rng.normal(size=(n, 2)))
    model = ft.fit(
        X, Y, hidden=hidden, activation=activation, strength=strength, complexity="l2-weights", epochs=5,
        seed=seed,
    )  # fmt: skip
    return model, model.problem(X, Y), X, Y


@pytest.fixture(
    scope="module",
    params=[
        ((40,), "tanh", 3e-3),
        ((8,), "silu", 1e-2),
        ((9, 9), "silu", 1e-2),
        ((14, 14), "tanh", 1e-2),
    ],
    ids=str,
)
def dead_units(request):
    return dead(*request.param)


def eigenvalues(problem, theta):
    return np.linalg.eigvalsh(System(problem, theta).dense())


def test_flat_directions_are_counted_and_left_out(dead_units):
    model, problem, *_ = dead_units
    found, values = model.certificate, eigenvalues(problem, model.params)
    flat = int(np.sum(abs(values) <= 1e-12))
    assert flat > 0
    assert found.trusted, found.reasons
    assert found.flat_directions == flat
    assert found.curvature_bound <= values[flat] <= found.smallest_curvature * (1 + 1e-9)
    assert found.smallest_curvature <= 1.1 * values[flat]
    assert found.condition == pytest.approx(values[-1] / values[flat], rel=0.1)


def test_no_score_depends_on_a_flat_direction(dead_units):
    model, problem, *_ = dead_units
    rng, flat = np.random.default_rng(0), System(problem, model.params).flat_biases
    tau = model.tangents["strength"].copy()
    tau[flat] += 10 * rng.normal(size=len(flat))
    other, candidates = replace(model, tangents={"strength": tau}), 3 * rng.normal(size=(200, 6))
    assert relative(other.sensitivity(candidates), model.sensitivity(candidates)) <= 1e-5
    found = certify(problem, model.params, tau[None])
    assert found.trusted, found.reasons


def test_refits_agree_where_directions_are_flat(dead_units):
    model, problem, *_ = dead_units
    h, candidates = 1e-3 * model.objective.strength, np.random.default_rng(0).normal(size=(50, 6))
    ends = []
    for strength in (model.objective.strength + h, model.objective.strength - h):
        there = Problem(model.network, replace(model.objective, strength=strength), *problem.rows, threads=1)
        refit = settle(there, model.params, np.empty((0, len(model.params))), np.inf, quiet)
        assert refit.stopped == "settled"
        ends.append(replace(model, params=refit.theta, dtype="float64").predict(candidates))
    assert relative((ends[0] - ends[1]) / (2 * h), model.sensitivity(candidates)) <= 1e-3


@pytest.mark.parametrize("solver", ["cholesky", "spectrum", "cg", "minres"])
def test_exact_influence_where_directions_are_flat(dead_units, solver):
    model, _, X, Y = dead_units
    truth = ft.exact(model, X, Y, solver=solver)
    assert relative(model.influence(X, Y), truth.influence(X, Y)) <= 1e-4
    assert truth.last.residuals.max() <= 1e-9


def test_units_that_something_holds_are_not_flat(dead_units):
    _, problem, *_ = dead_units
    held = Problem(problem.network, replace(problem.objective, complexity="l2"), *problem.rows, threads=1)
    assert len(System(held, np.zeros(held.network.layout.n_params)).flat_biases) == 0
    in_use = problem.network.initial_params(np.random.default_rng(0))
    assert len(System(problem, in_use).flat_biases) == 0
    one_way = np.zeros(len(in_use))
    problem.network.layout.weights(one_way, 0)[:] = 1
    assert not set(problem.network.layout.biases(np.arange(len(in_use)), 0)) & set(
        System(problem, one_way).flat_biases
    )


@pytest.mark.parametrize("complexity", ["l2", "l2-weights"])
def test_a_continuum_of_minima_is_not_trusted(complexity):
    X = np.random.default_rng(0).normal(size=(40, 5))
    model = ft.fit(
        X, X @ np.arange(5.0), hidden=(12, 12), activation="identity", complexity=complexity, epochs=5
    )
    assert not model.certificate.trusted
    assert any("hidden=()" in reason for reason in model.certificate.reasons)


def test_the_smallest_curvature_is_an_eigenvalue():
    """Not a quotient in the variables of a preconditioner, which was 190 times as large here."""
    rng = np.random.default_rng(1)
    X = rng.normal(size=(60, 4))
    y = np.sin(3 * X[:, 0]) + rng.normal(size=60)
    model = ft.fit(
        X, y, hidden=(16, 16), activation="softplus", loss="huber", delta=0.3, strength=1e-2, epochs=5, seed=1
    )
    values, found = eigenvalues(model.problem(X, y), model.params), model.certificate
    assert found.curvature_bound <= values[0]
    assert found.smallest_curvature == pytest.approx(values[0], rel=0.1)
    assert found.condition == pytest.approx(values[-1] / values[0], rel=0.1)


# ---- the two ways to bounds ----


@pytest.fixture(scope="module")
def wide():
    """A settled network of 1,321 parameters: problem, parameters, tangents, eigenvalues."""
    rng = np.random.default_rng(6)
    X = rng.normal(size=(150, 6))
    model = ft.fit(
        X, np.sin(2 * X[:, 0]) * X[:, 1] + 0.3 * X[:, 2], hidden=(30, 30), activation="silu", strength=1e-2
    )
    problem = model.problem(X, np.sin(2 * X[:, 0]) * X[:, 1] + 0.3 * X[:, 2])
    return problem, model.params, model.tangents["strength"][None]


@pytest.mark.parametrize("way", [extremes.factored, extremes.unfactored])
@pytest.mark.parametrize("noise", [0.0, 0.02, 0.3])
def test_bounds_hold(wide, way, noise):
    problem, settled, _ = wide
    theta = settled + noise * np.random.default_rng(2).normal(size=len(settled))
    smallest, bracket = eigenvalues(problem, theta)[0], way(System(problem, theta))
    assert bracket.lower <= smallest <= bracket.rayleigh
    assert bracket.positive == (smallest > 0)
    assert bracket.negative == (smallest < 0)
    x = bracket.direction
    assert np.linalg.norm(x) == pytest.approx(1)
    assert x @ problem.product(theta, x[None])[0] == pytest.approx(bracket.rayleigh, rel=1e-6)


@pytest.mark.parametrize("way", [extremes.factored, extremes.unfactored])
def test_nothing_is_known_of_parameters_that_are_not_finite(wide, way):
    problem, theta, _ = wide
    with np.errstate(all="ignore"):
        bracket = way(System(problem, np.where(np.arange(len(theta)) == 7, np.nan, theta)))
    assert not bracket.positive
    assert not bracket.negative


def test_a_matrix_of_zeros_has_the_curvature_zero():
    """The bounds are rounding of a size; that of nothing is nothing, which no number of doublings leaves."""
    A = np.zeros((5, 5))
    found = by_factors(A, lambda v: A @ v, 1, np.ones(5))
    assert -1e-280 < found.lower <= 0 <= found.rayleigh < 1e-280
    assert not found.positive
    assert not found.negative


def test_a_dense_matrix_that_is_known_is_used_and_left_as_it_is(wide, dead_units):
    for problem, theta in (wide[:2], (dead_units[1], dead_units[0].params)):
        system = System(problem, theta)
        A = system.dense()
        before = A.copy()
        known, anew = extremes.curvature_bracket(system, dense=A), extremes.factored(system)
        assert (known.lower, known.rayleigh) == (anew.lower, anew.rayleigh)
        assert np.array_equal(A, before)


def test_a_certificate_without_factors(wide, monkeypatch):
    problem, theta, tangents = wide
    with_factors = certify(problem, theta, tangents)
    monkeypatch.setattr(extremes, "AT_ONCE", 0)
    without = certify(problem, theta, tangents)
    for found in (with_factors, without):
        assert found.trusted, found.reasons
        assert found.curvature_bound <= found.smallest_curvature <= 2 * found.curvature_bound
    assert without.smallest_curvature == pytest.approx(with_factors.smallest_curvature, rel=0.5)


def test_factors_decide_what_few_products_do_not(wide, monkeypatch):
    problem, theta, _ = wide
    system = System(problem, theta)
    monkeypatch.setattr(extremes, "AT_ONCE", 0)
    monkeypatch.setattr(extremes, "FEW", 20)
    found, known = extremes.curvature_bracket(system), extremes.factored(system)
    assert found.positive
    assert (found.lower, found.rayleigh) == (known.lower, known.rayleigh)
    hint = extremes.curvature_bracket(system, most=10)
    assert not hint.positive
    assert hint.stopped == "iteration limit"
    monkeypatch.setattr(extremes, "MATRIX_RATE", 1e-9)
    late = extremes.curvature_bracket(system, deadline=time.perf_counter() + 60)
    assert not late.positive
    assert late.stopped == "out of time"


def test_a_certificate_keeps_to_its_time(wide, monkeypatch):
    """What needs no time is measured, and that the rest was not is said."""
    problem, theta, tangents = wide
    monkeypatch.setattr(extremes, "AT_ONCE", 0)
    found = certify(problem, theta, tangents, deadline=time.perf_counter())
    assert not found.trusted
    assert found.gradient_norm <= 1e-8
    assert found.tangent_residual <= 1e-6
    assert np.isnan(found.smallest_curvature)
    assert found.reasons == (
        "the smallest curvature was not measured, as the time allowed was up; settle longer (settle=seconds)",
    )


def test_the_bracket_of_settling_serves_the_certificate(wide, monkeypatch):
    problem, theta, tangents = wide
    run = settle(problem, theta, tangents, np.inf, quiet)
    assert run.stopped == "settled"
    measured = certify(problem, run.theta, run.tangents)
    monkeypatch.setattr("fasttangent.model.certificate.curvature_bracket", None)
    assert certify(problem, run.theta, run.tangents, bracket=run.bracket) == measured


def test_the_largest_eigenvalue(wide):
    problem, theta, _ = wide
    assert extremes.largest_curvature(System(problem, theta)) == pytest.approx(
        eigenvalues(problem, theta)[-1], rel=0.02
    )


def test_bounds_are_kept_in_files(tmp_path):
    model, *_ = dead((8,), "silu", 1e-2)
    model.save(tmp_path / "m.npz")
    assert ft.load(tmp_path / "m.npz").certificate == model.certificate
