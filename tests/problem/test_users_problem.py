"""One network for several users against plain NumPy, which builds the parameters of each row's user."""

import numpy as np
import pytest
from helpers import naive, relative
from helpers.users import RATIO, STRENGTH, of_row, users_problem

from fasttangent.problem.curvature import System
from fasttangent.problem.deviations import checked_layers
from fasttangent.problem.linearized_users import linearized
from fasttangent.solvers.dual_metric import DualMetric

DTYPES = [np.dtype("float32"), np.dtype("float64")]
CASES = [((3, 5, 1), (1,)), ((3, 6, 4, 2), (2,)), ((3, 6, 4, 2), (0, 2)), ((2, 3, 6), (0, 1)), ((3, 2), (0,))]


def twin_gradient(problem, vector):
    X, Y, w = problem.rows
    found, q = np.zeros(len(vector)), len(problem.deviations.chosen)
    for i in range(len(X)):
        args = X[i : i + 1], Y[i : i + 1], w[i : i + 1], problem.network.sizes, "tanh"
        g = naive.gradient(of_row(problem, vector, i), *args, problem.objective.loss, 0.7)
        found[: len(g)] += g
        at = len(g) + problem.of[i] * q
        found[at : at + q] += g[problem.deviations.chosen]
    return found


def twin_jacobian(problem, vector):
    """(n, n_outputs, size)."""
    X, sizes, q = problem.rows.X, problem.network.sizes, len(problem.deviations.chosen)
    J = np.zeros((len(X), sizes[-1], len(vector)))
    for i in range(len(X)):
        row = naive.row_jacobian(of_row(problem, vector, i), X[i : i + 1], sizes, "tanh")[0]
        at = row.shape[1] + problem.of[i] * q
        J[i, :, : row.shape[1]], J[i, :, at : at + q] = row, row[:, problem.deviations.chosen]
    return J


def ridge(problem):
    own = np.concatenate([np.append(np.ones(n * m), np.full(m, 1 / n)) for n, m in own_layers(problem)])
    return STRENGTH * np.append(np.ones(problem.deviations.n_params), RATIO * np.tile(own, 7))


def own_layers(problem):
    """Inputs and outputs of the layers that deviate."""
    sizes = problem.network.sizes
    return [sizes[l : l + 2] for l in problem.deviations.layers]


@pytest.mark.parametrize(("sizes", "layers"), CASES)
def test_sums_are_those_of_the_twin(sizes, layers):
    problem, vector, V = users_problem(sizes, layers)
    X, sizes = problem.rows.X, problem.network.sizes
    value, gradient = problem.value_and_gradient(vector)
    assert relative(gradient, twin_gradient(problem, vector) + ridge(problem) * vector) <= 1e-13
    for v in V:
        slope = naive.central_difference(lambda t: problem.value_and_gradient(t)[0], vector, v)
        assert abs(slope - gradient @ v) <= 1e-7 * abs(slope)
    expected = [naive.central_difference(lambda t: twin_gradient(problem, t), vector, v) for v in V]
    assert relative(problem.product(vector, V), expected + ridge(problem) * V) <= 1e-7

    predictions = [naive.predict(of_row(problem, vector, i), X[i], sizes, "tanh") for i in range(len(X))]
    assert relative(problem.predictions(vector), predictions) <= 1e-13
    assert value == pytest.approx(problem.value(vector, problem.predictions(vector)), rel=1e-13)


@pytest.mark.parametrize(("sizes", "layers"), CASES)
def test_jacobians_are_those_of_the_twin(sizes, layers):
    problem, vector, V = users_problem(sizes, layers)
    J = twin_jacobian(problem, vector)
    D = problem.output_weights(vector)
    assert relative(problem.jacobian(vector), J) <= 1e-13
    assert relative(problem.jacobian(vector, np.array([3, 80, 4])), J[[3, 80, 4]]) <= 1e-13
    assert relative(problem.jacobian_product(vector, V), np.einsum("iop,kp->kio", J, V)) <= 1e-13
    U = np.random.default_rng(4).normal(size=(3, *D.shape))
    assert relative(problem.jacobian_transposed_product(vector, U), np.einsum("iop,kio->kp", J, U)) <= 1e-13
    G = np.einsum("iop,io,ioq->pq", J, D, J)
    assert relative(problem.data_product(vector, V, gauss_newton=True), V @ G) <= 1e-13
    dense = System(problem, vector, gauss_newton=True).dense()
    assert relative(dense, G + np.diag(ridge(problem))) <= 1e-13
    A = System(problem, vector).dense()
    assert relative(V @ A, problem.product(vector, V)) <= 1e-13
    R = (np.sqrt(D)[:, :, None] * J).reshape(-1, len(vector))
    K = R / problem.metric @ R.T
    assert relative(System(problem, vector).dual_matrix(), K) <= 1e-13


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("sizes", "layers"), CASES)
def test_products_at_fixed_parameters(sizes, layers, dtype):
    problem, vector, V = users_problem(sizes, layers)
    at, near = linearized(problem, vector, dtype), 1e-5 if dtype == np.float32 else 1e-13
    v = V[0].astype(dtype)
    assert relative(at.product(v), problem.product(vector, V[:1])[0]) <= near
    J, D = twin_jacobian(problem, vector), problem.output_weights(vector)
    R = np.sqrt(D)[:, :, None] * J
    u = at.scaled(problem.jacobian_product(vector, V[:1])[0])
    assert relative(at.times(v), u) <= near
    back = np.einsum("iop,io->p", R, np.sqrt(D) * problem.jacobian_product(vector, V[:1])[0])
    assert relative(at.transposed_times(u), back) <= near
    assert np.array_equal(at.from_dual(at.to_dual(u)), u)

    M = np.einsum("iop,ioq->pq", R, R) + 0.5 * np.diag(problem.metric)
    metric = DualMetric(at, 0.5)
    assert relative(metric.solve(v), np.linalg.solve(M, V[0])) <= 100 * near
    dense = R.reshape(-1, len(vector))
    expected = np.linalg.slogdet(np.eye(len(dense)) + dense / problem.metric @ dense.T / 0.5)[1]
    assert metric.log_determinant == pytest.approx(expected, rel=1e-4 if dtype == np.float32 else 1e-12)


@pytest.mark.parametrize("dtype", DTYPES)
def test_threads_change_no_bit(dtype):
    found = []
    for threads in (1, 2, 3):
        problem, vector, V = users_problem((3, 6, 4, 2), (0, 2), n_rows=900, n_users=300, threads=threads)
        at = linearized(problem, vector, dtype)
        v = V[0].astype(dtype)
        u, metric = at.times(v), DualMetric(at, 0.5)
        sums = *problem.value_and_gradient(vector), problem.product(vector, V), problem.predictions(vector)
        found.append([*sums, at.product(v), u, at.transposed_times(u), metric.solve(v)])
    for other in found[1:]:
        assert all(np.array_equal(a, b) for a, b in zip(found[0], other, strict=True))


def test_some_rows_and_other_ratios():
    problem, vector, _ = users_problem((3, 6, 4, 2), (2,))
    rows = np.arange(0, 90, 3)
    part = problem.some(rows, 2.0)
    U = np.zeros((1, *problem.rows.Y.shape))
    U[:, rows] = 2 * (problem.rows.w[:, None] * np.ones(2))[rows]
    assert (
        relative(
            part.jacobian_transposed_product(vector, part.rows.w[None, :, None] * np.ones(2)),
            problem.jacobian_transposed_product(vector, U),
        )
        <= 1e-13
    )
    p, twice = problem.deviations.n_params, problem.with_users_ratio(2.0)
    assert np.array_equal(twice.mask[:p], problem.mask[:p])
    assert np.array_equal(twice.mask[p:], 2 * problem.mask[p:])
    with pytest.raises(ValueError, match="whose users are known"):
        problem.with_rows(*(a[:5] for a in problem.rows), 1)
    with pytest.raises(ValueError, match="users"):
        problem.unlabelled(problem.rows.X, 1)


def test_layers_of_an_argument():
    assert checked_layers("user_layers", (-1,), 3) == (2,)
    assert checked_layers("user_layers", [2, 0, -3], 3) == (0, 2)
    for wrong in ("last", (), 1, (3,), (-4,), (0.5,)):
        with pytest.raises((ValueError, TypeError), match="user_layers"):
            checked_layers("user_layers", wrong, 3)
