"""Products at fixed parameters against the slow twins, in both precisions; parts and threads change no bit."""

import numpy as np
import pytest
from helpers import naive, random_problem, relative

from fasttangent.problem.linearized import Linearized
from fasttangent.problem.network import ACTIVATIONS
from fasttangent.problem.objective import LOSSES

SIZES = [(3, 2), (3, 5, 1), (3, 5, 4, 2), (2, 3, 6), (2, 7, 3, 6, 2), (1, 2, 3, 4, 3, 1)]
DTYPES = [np.dtype("float32"), np.dtype("float64")]


def rows_of(problem):
    """The arguments that twins take after the parameters."""
    X, Y, w = problem.rows
    return X, Y, w, problem.network.sizes, problem.network.activation, problem.objective.loss, 0.7


def scaled_jacobian(problem, theta):
    """The Jacobian with the roots of w loss'', (n_outputs, n, p)."""
    X, Y, w, sizes, activation, loss, delta = rows_of(problem)
    residual = naive.predict(theta, X, sizes, activation) - Y
    roots = np.sqrt(w[:, None] * naive.LOSSES[loss][2](residual, delta))
    return np.moveaxis(roots[:, :, None] * naive.row_jacobian(theta, X, sizes, activation), 1, 0)


def space(at, values):
    """Values (n_outputs, n) as a vector in the space of the Jacobian's rows."""
    u = np.zeros_like(at.kept.roots)
    u.reshape(len(u), -1)[:, : values.shape[1]] = values
    return u


def values(u, n):
    return u.reshape(len(u), -1)[:, :n]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("sizes", SIZES)
def test_products_are_those_of_the_twins(sizes, activation, loss, dtype):
    problem, theta, V = random_problem(sizes, 70, activation, loss, unequal=True, strength=0.3)
    at, single = Linearized(problem, theta, dtype), dtype == np.float32
    found = at.product(V[0].astype(dtype))
    expected = naive.central_difference(lambda t: naive.gradient(t, *rows_of(problem)), theta, V[0], 1e-5)
    assert found.dtype == dtype
    assert relative(found, expected + 0.3 * V[0]) <= (1e-5 if single else 1e-7)
    assert relative(found, problem.product(theta, V[:1])[0]) <= (1e-5 if single else 1e-14)

    J = scaled_jacobian(problem, theta)
    near = 1e-5 if single else 1e-13
    assert relative(values(at.times(V[0].astype(dtype)), 70), J @ V[0]) <= near
    u = np.random.default_rng(3).normal(size=(sizes[-1], 70))
    assert relative(at.transposed_times(space(at, u)), np.einsum("oi,oip->p", u, J)) <= near


@pytest.mark.parametrize("dtype", DTYPES)
def test_beyond_the_last_row_there_is_nothing(dtype):
    """Whatever stood in the room before, and whatever a vector holds there."""
    problem, theta, V = random_problem((3, 6, 2), 5, unequal=True)
    at, v = Linearized(problem, theta, dtype), V[0].astype(dtype)
    before = at.product(v), at.times(v), at.transposed_times(at.times(v))
    assert (at.times(v).reshape(2, -1)[:, 5:] == 0).all()
    beyond = at.times(v)
    beyond.reshape(2, -1)[:, 5:] = 1e30
    assert np.array_equal(at.transposed_times(beyond), before[2])
    more = np.random.default_rng(0).normal(size=(100, 3)), np.zeros((100, 2)), np.zeros(100)
    Linearized(problem.with_rows(*more, 1), theta, dtype)  # leaves numbers in memory that is taken again
    again = Linearized(problem, theta, dtype)
    for one, other in zip(
        before, (again.product(v), again.times(v), again.transposed_times(again.times(v))), strict=True
    ):
        assert np.array_equal(one, other)


@pytest.mark.parametrize("dtype", DTYPES)
def test_threads_change_no_bit(dtype, monkeypatch):
    problem, theta, V = random_problem((3, 6, 5, 2), 1000)
    monkeypatch.setattr(type(problem), "LEAST_PRODUCTS", 0)
    found, v = [], V[0].astype(dtype)
    for threads in (1, 3):
        problem.threads = threads
        at = Linearized(problem, theta, dtype)
        found.append((at.product(v), at.times(v), at.transposed_times(at.times(v))))
    for one, other in zip(*found, strict=True):
        assert np.array_equal(one, other)
    J = scaled_jacobian(problem, theta)
    assert relative(found[0][2], np.einsum("oip,oiq,q->p", J, J, V[0])) <= 1e-5


def test_changes_of_the_outputs_are_scaled_like_the_jacobian():
    problem, theta, V = random_problem((3, 5, 2), 70, "silu", "log-cosh", unequal=True)
    at = Linearized(problem, theta)
    change = problem.jacobian_product(theta, V[:1])[0]
    np.testing.assert_allclose(at.scaled(change), at.times(V[0]), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("loss", LOSSES)
def test_the_value_of_known_outputs(loss):
    problem, theta, _ = random_problem((3, 5, 2), 70, "silu", loss, unequal=True, strength=0.3)
    value, _ = problem.value_and_gradient(theta)
    assert problem.value(theta, problem.predictions(theta)) == pytest.approx(value, rel=1e-14)
