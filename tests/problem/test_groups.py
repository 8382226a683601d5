"""Groups of parameters, and that all solvers know a strength for each."""

from dataclasses import replace

import numpy as np
import pytest
from helpers import random_problem, relative

from fasttangent.model.posterior import draw
from fasttangent.problem import groups
from fasttangent.problem.curvature import System
from fasttangent.problem.layout import Layout
from fasttangent.problem.linearized import Linearized
from fasttangent.problem.objective import Objective
from fasttangent.problem.problem import Problem
from fasttangent.solvers import prepare
from fasttangent.solvers.dual_metric import DualMetric

SIZES = (3, 4, 5, 2)
LAYOUT = Layout(SIZES)


def grouped(kind, complexity="l2", seed=0):
    """A problem with a ratio of its own for each group."""
    problem, theta, V = random_problem(SIZES, 40, strength=0.05, unequal=True, complexity=complexity)
    count = groups.numbers(kind, LAYOUT).max() + 1
    ratios = tuple(np.exp(np.random.default_rng(seed).normal(0, 1.5, count)))
    objective = replace(problem.objective, groups=kind, ratios=ratios)
    X, Y, w = problem.rows
    return Problem(problem.network, objective, X, Y, w, 1), theta, V


def any_groups():
    return tuple(int(i) for i in np.random.default_rng(1).permutation(np.arange(LAYOUT.n_params) % 4))


KINDS = ["inputs", "layers", any_groups()]


def test_numbers_and_names():
    inputs, layers = groups.numbers("inputs", LAYOUT), groups.numbers("layers", LAYOUT)
    assert (LAYOUT.weights(inputs, 0) == [[0] * 4, [1] * 4, [2] * 4]).all()
    for l in range(3):
        assert set(LAYOUT.biases(inputs, l)) == {3 + 2 * l}
        assert set(LAYOUT.weights(layers, l).ravel()) == {2 * l}
        assert set(LAYOUT.biases(layers, l)) == {2 * l + 1}
    assert groups.names("layers", LAYOUT)[:3] == ("weights 1", "biases 1", "weights 2")
    assert groups.names("inputs", LAYOUT, ("a", "b", "c"))[:5] == ("a", "b", "c", "biases 1", "weights 2")
    for kind in ("one", *KINDS):
        assert len(groups.names(kind, LAYOUT)) == groups.numbers(kind, LAYOUT).max() + 1


@pytest.mark.parametrize("kind", ["inputs", "layers"])
def test_values_by_inputs_lose_nothing_of_groups_of_whole_inputs(kind):
    problem, _, _ = grouped(kind)
    each = problem.objective.ratio_of_each(problem.network)
    np.testing.assert_array_equal(groups.spread(groups.by_inputs(each, LAYOUT), LAYOUT), each)


def test_values_by_inputs_are_geometric_means():
    values = np.exp(np.random.default_rng(0).normal(size=LAYOUT.n_params))
    found = groups.by_inputs(values, LAYOUT)
    assert found.shape == (4 + 5 + 6,)
    assert found[1] == pytest.approx(np.prod(LAYOUT.weights(values, 0)[1]) ** 0.25)
    assert found[3] == pytest.approx(np.prod(LAYOUT.biases(values, 0)) ** 0.25)


@pytest.mark.parametrize(
    ("given", "fragment"),
    [
        ("rows", "groups must be one of 'inputs', 'layers', 'one'"),
        ([0, 2], "without 1; np.unique"),
        ([1, 2], "without 0"),
        ([0.5, 1], "whole numbers"),
        ([[0, 1]], r"got shape \(1, 2\)"),
        ([], "got shape"),
    ],
)
def test_groups_that_are_none(given, fragment):
    with pytest.raises(ValueError, match=fragment):
        groups.checked(given)


def test_ratios_are_those_of_the_groups():
    network = grouped("layers")[0].network
    with pytest.raises(ValueError, match="ratios must be one for each of 6 groups, got 2"):
        Objective(groups="layers", ratios=(1.0, 2.0)).mask(network)
    with pytest.raises(ValueError, match="ratios must be a finite number > 0, got 0"):
        Objective(groups="layers", ratios=(0.0,) * 6)
    with pytest.raises(ValueError, match=f"a number for each of the {LAYOUT.n_params} parameters, got 2"):
        Objective(groups=(0, 1)).mask(network)


@pytest.mark.parametrize("kind", KINDS, ids=["inputs", "layers", "any"])
def test_value_and_gradient(kind):
    problem, theta, _ = grouped(kind)
    plain = Problem(problem.network, replace(problem.objective, groups="one", ratios=()), *problem.rows, 1)
    of, ratios = groups.numbers(kind, LAYOUT), np.array(problem.objective.ratios)
    value, gradient = problem.value_and_gradient(theta)
    before, gradient_before = plain.value_and_gradient(theta)
    more = sum(0.05 * (r - 1) * np.sum(theta[of == g] ** 2) / 2 for g, r in enumerate(ratios))
    assert value == pytest.approx(before + more)
    np.testing.assert_allclose(gradient, gradient_before + 0.05 * (ratios[of] - 1) * theta, atol=1e-13)


@pytest.mark.parametrize("kind", KINDS, ids=["inputs", "layers", "any"])
@pytest.mark.parametrize("name", ["cholesky", "spectrum", "dual", "cg", "block-cg", "minres"])
def test_every_solver(kind, name):
    problem, theta, V = grouped(kind)
    system = System(problem, theta, gauss_newton=True)
    if name == "dual" and kind == KINDS[2]:
        with pytest.raises(
            ValueError, match="solver 'dual' needs groups that hold all parameters from an input"
        ):
            prepare(system, name)
        return
    found = prepare(system, name).solve(V).x
    assert relative(found, np.linalg.solve(system.dense(), V.T).T) < 1e-7


def test_the_spectrum_serves_other_strengths():
    for complexity in ("l2", "l2-weights"):
        problem, theta, V = grouped("inputs", complexity)
        system = System(problem, theta, gauss_newton=True)
        A = system.dense() + np.diag(0.3 * problem.mask)
        assert (
            relative(prepare(system, "spectrum").solve(V, strength=0.35).x, np.linalg.solve(A, V.T).T) < 1e-9
        )


@pytest.mark.parametrize("kind", KINDS, ids=["inputs", "layers", "any"])
def test_the_metric(kind):
    """Exact where groups hold whole inputs, near the matrix otherwise; its determinant, too."""
    problem, theta, V = grouped(kind)
    metric = DualMetric(Linearized(problem, theta), 0.05)
    M = System(problem, theta, gauss_newton=True).dense() + np.diag(0.05 * (problem.metric - problem.mask))
    assert relative(metric.solve(V[0]), np.linalg.solve(M, V[0])) < 1e-10
    ratio = np.linalg.slogdet(M)[1] - np.sum(np.log(0.05 * problem.metric))
    assert metric.log_determinant == pytest.approx(ratio)
    draws = np.array([metric.sample(seed) for seed in range(4000)])
    assert relative(draws.T @ draws / 4000, M) < 0.1


@pytest.mark.parametrize("kind", KINDS, ids=["inputs", "layers", "any"])
def test_draws_of_the_posterior(kind):
    problem, theta, _ = grouped(kind)
    A = System(problem, theta, gauss_newton=True).dense()
    drawn = draw(problem, theta, 1.0, 6000, 0)
    covariance = drawn.tangents.T @ drawn.tangents / 6000
    assert relative(covariance, np.linalg.inv(A) / problem.total) < 0.1
    assert relative(drawn.bias, np.linalg.solve(A, 0.05 * problem.mask * theta)) < 1e-6
