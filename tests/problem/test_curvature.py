"""Dense curvature matrices, the dual matrix and operators against twins; chunks and threads change no bit."""

import numpy as np
import pytest
from helpers import naive, random_problem, relative
from scipy.sparse.linalg import eigsh, lsmr

from fasttangent.problem import dense_curvature
from fasttangent.problem.curvature import System
from fasttangent.problem.network import ACTIVATIONS
from fasttangent.problem.objective import LOSSES

SIZES = [(3, 2), (3, 5, 1), (3, 5, 4, 2), (2, 7, 3, 6, 2), (1, 2, 3, 4, 3, 1)]


def twin(problem, theta, gauss_newton):
    """From the slow twins: J^T D J, or central differences of the gradient."""
    network, loss = problem.network, problem.objective
    rows = (
        problem.rows.X,
        problem.rows.Y,
        problem.rows.w,
        network.sizes,
        network.activation,
        loss.loss,
        loss.delta,
    )
    if gauss_newton:
        return naive.gauss_newton(theta, *rows)
    columns = [
        naive.central_difference(lambda t: naive.gradient(t, *rows), theta, e, 1e-5)
        for e in np.eye(len(theta))
    ]
    return np.array(columns)


@pytest.mark.parametrize("gauss_newton", [False, True])
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("sizes", SIZES)
def test_dense_is_the_product_with_every_unit_vector(sizes, activation, loss, gauss_newton):
    problem, theta, _ = random_problem(sizes, 70, activation, loss, unequal=True)
    system = System(problem, theta, gauss_newton)
    A = system.dense()
    assert relative(A, system.product(np.eye(len(theta)))) <= 1e-13
    assert np.array_equal(A, A.T)


@pytest.mark.parametrize("loss", ["squared", "log-cosh"])
@pytest.mark.parametrize("activation", ["tanh", "silu", "gelu", "softplus"])
def test_dense_against_slow_twins(activation, loss):
    problem, theta, _ = random_problem((3, 5, 4, 2), 40, activation, loss, unequal=True)
    assert relative(System(problem, theta, True).dense(), twin(problem, theta, True)) <= 1e-13
    assert relative(System(problem, theta).dense(), twin(problem, theta, False)) <= 1e-8


@pytest.mark.parametrize("n_rows", [1, 5, 31, 32, 33, 300])
def test_any_number_of_rows(n_rows):
    problem, theta, _ = random_problem((3, 5, 4, 1), n_rows)
    system = System(problem, theta)
    assert relative(system.dense(), system.product(np.eye(len(theta)))) <= 1e-13


@pytest.mark.parametrize("gauss_newton", [False, True])
def test_threads_and_chunks_change_no_bit(gauss_newton, monkeypatch):
    sizes = (4, 12, 9, 8, 2)
    problem, theta, _ = random_problem(sizes, 500, threads=1)
    A = System(problem, theta, gauss_newton).dense()
    for threads, rows, panel in ((2, 256, 64), (3, 32, 8), (1, 512, 32)):
        monkeypatch.setattr(dense_curvature, "CHUNK_ROWS", rows)
        monkeypatch.setattr(dense_curvature, "PANEL", panel)
        problem.threads = threads
        assert np.array_equal(System(problem, theta, gauss_newton).dense(), A)


@pytest.mark.parametrize("complexity", ["l2", "l2-weights"])
def test_the_regulariser_is_inside_unless_told_otherwise(complexity):
    problem, theta, V = random_problem((3, 5, 1), 40, strength=0.3, complexity=complexity)
    inside, alone = System(problem, theta), System(problem, theta, regularized=False)
    expected = 0.3 * problem.objective.mask(problem.network)
    assert np.allclose(np.diag(inside.dense() - alone.dense()), expected, rtol=1e-12, atol=1e-14)
    assert np.allclose(inside.product(V) - alone.product(V), expected * V, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("gauss_newton", [False, True])
def test_operator_serves_scipy(gauss_newton):
    problem, theta, V = random_problem((3, 6, 1), 50, strength=2.0)
    system = System(problem, theta, gauss_newton)
    operator, A = system.operator(), system.dense()
    assert operator.shape == A.shape
    assert operator.dtype == np.float64
    assert relative(operator @ V.T, A @ V.T) <= 1e-13
    assert relative(operator.T @ V[0], A @ V[0]) <= 1e-13
    wide = np.random.default_rng(0).normal(size=(len(theta), 40))  # more than one panel of directions
    assert relative(operator @ wide, A @ wide) <= 1e-13
    largest = eigsh(operator, k=1, which="LA", return_eigenvectors=False)[0]
    assert np.isclose(largest, np.linalg.eigvalsh(A)[-1], rtol=1e-10)
    if gauss_newton:  # positive definite
        x = lsmr(operator, V[0], atol=1e-14, btol=1e-14)[0]
        assert relative(A @ x, V[0]) <= 1e-9


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("loss", LOSSES)
def test_dual_matrix_and_jacobian_products(sizes, loss):
    problem, theta, V = random_problem(sizes, 70, "silu", loss, unequal=True)
    J = naive.row_jacobian(theta, problem.rows.X, sizes, "silu").reshape(-1, len(theta))
    residual = problem.predictions(theta) - problem.rows.Y
    D = problem.rows.w[:, None] * naive.LOSSES[loss][2](residual, 0.7)
    root = np.sqrt(D).reshape(-1, 1)
    assert np.allclose(problem.output_weights(theta), D, rtol=1e-12, atol=1e-300)
    K = System(problem, theta).dual_matrix()
    assert relative(K, (root * J) @ (root * J).T) <= 1e-13
    assert np.array_equal(K, K.T)
    assert relative(problem.jacobian_product(theta, V).reshape(2, -1), V @ J.T) <= 1e-13
    U = np.random.default_rng(3).normal(size=(3, 70, sizes[-1]))
    assert relative(problem.jacobian_transposed_product(theta, U), U.reshape(3, -1) @ J) <= 1e-13


def test_dual_products_do_not_depend_on_threads():
    problem, theta, V = random_problem((3, 6, 5, 2), 600)
    U, found = np.random.default_rng(3).normal(size=(2, 600, 2)), []
    for threads in (1, 3):
        problem.threads = threads
        K = System(problem, theta).dual_matrix()
        found.append((K, problem.jacobian_product(theta, V), problem.jacobian_transposed_product(theta, U)))
    for one, other in zip(*found, strict=True):
        assert np.array_equal(one, other)


def test_rows_of_weight_zero_are_as_good_as_absent():
    problem, theta, _ = random_problem((3, 5, 1), 60, strength=0.1)
    network, objective, (X, Y, _) = problem.network, problem.objective, problem.rows
    w = np.arange(60) % 3 * 1.0
    kept = w > 0
    some = type(problem)(network, objective, X, Y, w, 1)
    fewer = type(problem)(network, objective, X[kept], Y[kept], w[kept], 1)
    assert relative(System(some, theta).dense(), System(fewer, theta).dense()) <= 1e-14


def test_problems_at_other_rows_take_weights_as_they_are():
    problem, theta, *_ = random_problem((3, 4, 2), 30, strength=0.1)
    X, Y, w = problem.rows
    same, beside = problem.with_rows(X, Y, w, 1), problem.alone()
    for other in (same, beside):
        assert other.total == 1
        assert other.rows is not problem.rows
        assert np.array_equal(other.value_and_gradient(theta)[1], problem.value_and_gradient(theta)[1])
    assert problem.total != 1
    assert beside.threads == 1
    halved = problem.with_rows(X, Y, w / 2, 1)
    twice = 2 * (halved.value_and_gradient(theta)[1] - problem.objective.strength * problem.mask * theta)
    whole = problem.value_and_gradient(theta)[1] - problem.objective.strength * problem.mask * theta
    np.testing.assert_allclose(twice, whole, rtol=1e-12, atol=1e-15)
    assert np.array_equal(problem.unlabelled(X, 1).predictions(theta), problem.predictions(theta))
