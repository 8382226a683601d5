"""The kernels against numbers from JAX's automatic differentiation, stored by `make_oracle.py`."""

from pathlib import Path

import numpy as np
import pytest
from helpers import outputs, quiet, relative

from fasttangent.model.group_tangents import group_tangents
from fasttangent.model.settling import settle
from fasttangent.problem.curvature import System
from fasttangent.problem.deviations import Deviations
from fasttangent.problem.network import ACTIVATIONS, Network
from fasttangent.problem.objective import LOSSES, Objective
from fasttangent.problem.problem import Problem
from fasttangent.problem.users_problem import UsersProblem

CLOSE = 1e-10
SIZES = ("3-1", "2-5-1", "3-4-3-5-3")


@pytest.fixture(scope="module")
def oracle():
    with np.load(Path(__file__).with_name("oracle.npz"), allow_pickle=False) as archive:
        return dict(archive)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("name", SIZES)
def test_every_derivative(oracle, name, activation, loss):
    X, Y, w, theta, v = (oracle[f"{name}/{key}"] for key in ("X", "Y", "w", "theta", "v"))
    network = Network(tuple(map(int, name.split("-"))), activation)
    problem = Problem(network, Objective(loss, delta=0.7, strength=0), X, Y, w, 1)
    _, FT = outputs(network, theta, v[None], X)
    value, gradient = problem.value_and_gradient(theta)
    found = {
        "loss": value,
        "gradient": gradient,
        "hessian": problem.product(theta, v[None])[0],
        "gauss_newton": problem.product(theta, v[None], gauss_newton=True)[0],
        "output_tangent": FT[:, 0],
    }
    errors = {key: relative(x, oracle[f"{name}/{activation}/{loss}/{key}"]) for key, x in found.items()}
    assert max(errors.values()) <= CLOSE, errors


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_dense_matrices(oracle, activation, loss):
    name = "2-3-2-3-2"
    X, Y, w, theta = (oracle[f"{name}/{key}"] for key in ("X", "Y", "w", "theta"))
    network = Network(tuple(map(int, name.split("-"))), activation)
    problem = Problem(network, Objective(loss, delta=0.7, strength=0), X, Y, w, 1)
    for kind in ("hessian", "gauss_newton"):
        found = System(problem, theta, kind == "gauss_newton").dense()[np.triu_indices(len(theta))]
        assert relative(found, oracle[f"{name}/{activation}/{loss}/dense_{kind}"]) <= 1e-13


def test_minimum_and_implicit_tangent(oracle):
    X, Y, theta, tangent = (oracle[f"settled/{key}"] for key in ("X", "Y", "theta", "tangent"))
    problem = Problem(Network((2, 3, 1), "tanh"), Objective(strength=0.05), X, Y, np.ones(len(X)), 1)
    assert np.linalg.norm(problem.value_and_gradient(theta)[1]) <= 1e-14
    assert relative(problem.tangent_residual(theta, tangent[None])[0] + theta, theta) <= CLOSE

    nearby = theta * (1 + 1e-3 * np.random.default_rng(0).normal(size=len(theta)))
    found = settle(problem, nearby, np.zeros((1, len(theta))), np.inf, quiet)
    assert found.stopped == "settled"
    assert relative(found.theta, theta) <= CLOSE
    assert relative(found.tangents[0], tangent) <= 1e-8  # TANGENT_GOAL times the condition of a tiny net


def test_minimum_and_tangents_of_users(oracle):
    X, Y, of, vector = (oracle[f"users/{key}"] for key in ("X", "Y", "of", "vector"))
    network, (shared, own) = Network((2, 3, 1), "tanh"), (0.02, 0.05)
    deviations = Deviations(network.layout, (1,), 4)
    objective, rows = Objective(strength=shared, users=own / shared), (X, Y, np.ones(len(X)))
    problem = UsersProblem(network, objective, rows, 1, deviations, of.astype(np.int64))
    assert np.linalg.norm(problem.value_and_gradient(vector)[1]) <= 1e-14
    assert relative(System(problem, vector).dense(), oracle["users/hessian"]) <= 1e-13
    assert relative(group_tangents(problem, vector), oracle["users/tangents"]) <= 1e-8
    nearby = vector * (1 + 1e-3 * np.random.default_rng(0).normal(size=len(vector)))
    found = settle(problem, nearby, np.zeros((1, len(vector))), np.inf, quiet)
    assert relative(found.theta, vector) <= CLOSE
    ratios = np.array([1, own / shared])
    assert relative(found.tangents[0], ratios @ oracle["users/tangents"]) <= 1e-8
