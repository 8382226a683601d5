"""Gradients and tangents against slow twins and central differences; independence of how rows are grouped."""

import functools
import itertools

import numpy as np
import pytest
from helpers import naive, outputs, random_problem, relative

from fasttangent.kernels import activations, losses, rows, steps
from fasttangent.problem.network import ACTIVATIONS, Network
from fasttangent.problem.objective import LOSSES, Objective
from fasttangent.problem.problem import Problem

TWIN = 1e-11  # relative norm: rounding only
DIFFERENCE = 1e-6
N_ROWS = 9
HIDDEN = ((), (5,), (4, 3, 5))
CASES = list(itertools.product(ACTIVATIONS, LOSSES, HIDDEN, (1, 3), (False, True)))


@functools.cache
def case(activation, loss, hidden, n_outputs, unequal):
    sizes = (3, *hidden, n_outputs)
    problem, theta, V = random_problem(sizes, N_ROWS, activation, loss, unequal=unequal)
    X, Y, w = problem.rows
    return problem, theta, V, (X, Y, w, sizes, activation, loss, problem.objective.delta)


def every_case(test):
    names = ("activation", "loss", "hidden", "n_outputs", "unequal")
    ids = [f"{a}-{l}-{len(h)}-{o}-{'unequal' if u else 'unit'}" for a, l, h, o, u in CASES]
    return pytest.mark.parametrize(names, CASES, ids=ids)(test)


def gradient_by_differences(function, theta):
    return np.array([naive.central_difference(function, theta, e) for e in np.eye(len(theta))])


@every_case
def test_value_and_gradient(activation, loss, hidden, n_outputs, unequal):
    problem, theta, _, about = case(activation, loss, hidden, n_outputs, unequal)
    value, gradient = problem.value_and_gradient(theta)
    assert value == pytest.approx(naive.data_loss(theta, *about), rel=TWIN)
    assert relative(gradient, naive.gradient(theta, *about)) <= TWIN
    assert (
        relative(gradient, gradient_by_differences(lambda t: naive.data_loss(t, *about), theta)) <= DIFFERENCE
    )


@every_case
def test_tangent_of_outputs(activation, loss, hidden, n_outputs, unequal):
    problem, theta, V, (X, _, _, sizes, _, _, _) = case(activation, loss, hidden, n_outputs, unequal)
    F, FT = outputs(problem.network, theta, V, X)
    assert relative(F, naive.predict(theta, X, sizes, activation)) <= TWIN
    for k in range(2):
        assert relative(FT[:, k], naive.output_tangent(theta, V[k], X, sizes, activation)) <= TWIN
        difference = naive.central_difference(lambda t: naive.predict(t, X, sizes, activation), theta, V[k])
        assert relative(FT[:, k], difference) <= DIFFERENCE


@every_case
def test_hessian_vector_product(activation, loss, hidden, n_outputs, unequal):
    problem, theta, V, about = case(activation, loss, hidden, n_outputs, unequal)
    for v, Hv in zip(V, problem.product(theta, V), strict=True):
        difference = naive.central_difference(lambda t: naive.gradient(t, *about), theta, v)
        assert relative(Hv, difference) <= DIFFERENCE


@every_case
def test_gauss_newton_product(activation, loss, hidden, n_outputs, unequal):
    problem, theta, V, about = case(activation, loss, hidden, n_outputs, unequal)
    X, Y, w, sizes, _, _, delta = about
    product = problem.product(theta, V, gauss_newton=True)
    assert relative(product, V @ naive.gauss_newton(theta, *about)) <= TWIN

    J = gradient_by_differences(lambda t: naive.predict(t, X, sizes, activation), theta)  # (p, n, n_outputs)
    residual = naive.predict(theta, X, sizes, activation) - Y
    curvature = w[:, None] * naive.LOSSES[loss][2](residual, delta)
    for v, Gv in zip(V, product, strict=True):
        difference = np.einsum("pio,io,qio,q->p", J, curvature, J, v)
        assert relative(Gv, difference) <= DIFFERENCE


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("hidden", HIDDEN)
def test_the_hessian_is_the_gauss_newton_matrix_only_where_the_network_is_linear(activation, hidden):
    problem, theta, V, _ = case(activation, "squared", hidden, 3, True)
    exact, approximate = problem.product(theta, V), problem.product(theta, V, gauss_newton=True)
    if hidden == ():
        assert relative(exact, approximate) <= TWIN
    else:
        assert relative(exact, approximate) > 0.01


@pytest.mark.parametrize("complexity", ["l2", "l2-weights"])
def test_strength_adds_its_share(complexity):
    free, theta, V = random_problem((3, 5, 2), 9, unequal=True)
    held, _, _ = random_problem((3, 5, 2), 9, unequal=True, strength=0.3, complexity=complexity)
    mask = np.ones(len(theta))
    if complexity == "l2-weights":
        for l in range(2):
            held.network.layout.biases(mask, l)[:] = 0
    assert held.complexity(theta) == pytest.approx(np.sum(mask * theta**2) / 2, rel=1e-14)
    np.testing.assert_array_equal(held.complexity_gradient(theta), mask * theta)
    (value, gradient), (free_value, free_gradient) = (
        held.value_and_gradient(theta),
        free.value_and_gradient(theta),
    )
    assert value == pytest.approx(free_value + 0.3 * held.complexity(theta), rel=1e-14)
    np.testing.assert_allclose(gradient, free_gradient + 0.3 * mask * theta, rtol=1e-13, atol=1e-15)
    np.testing.assert_allclose(
        held.product(theta, V), free.product(theta, V) + 0.3 * mask * V, rtol=1e-12, atol=1e-14
    )


@pytest.mark.parametrize("n_rows", range(1, 131))
def test_any_number_of_rows(n_rows):
    sizes = (3, 5, 2)
    problem, theta, V = random_problem(sizes, n_rows, "silu", "log-cosh", unequal=True, seed=n_rows)
    X, Y, w = problem.rows
    about = (X, Y, w, sizes, "silu", "log-cosh", problem.objective.delta)
    value, gradient = problem.value_and_gradient(theta)
    assert value == pytest.approx(naive.data_loss(theta, *about), rel=TWIN)
    assert relative(gradient, naive.gradient(theta, *about)) <= TWIN
    difference = naive.central_difference(lambda t: naive.gradient(t, *about), theta, V[1])
    assert relative(problem.product(theta, V)[1], difference) <= DIFFERENCE
    J = np.empty((n_rows, 2, len(theta)))
    rows.output_jacobian(J, theta, X, problem.every, problem.network.kernel_view)
    for row in {0, n_rows // 2, n_rows - 1}:
        expected = naive.row_jacobian(theta, X[row : row + 1], sizes, "silu")[0]
        assert relative(J[row], expected) <= TWIN


@pytest.mark.parametrize(
    "sizes", [(1, 1), (1, 1, 1), (7, 9, 1), (6, 2, 11, 3), (13, 8, 4), (2, 17, 6, 5), (5, 65, 3)]
)
def test_odd_widths(sizes):
    problem, theta, V = random_problem(sizes, 70, "gelu", "huber", unequal=True)
    about = (*problem.rows, sizes, "gelu", "huber", problem.objective.delta)
    assert relative(problem.value_and_gradient(theta)[1], naive.gradient(theta, *about)) <= TWIN
    difference = naive.central_difference(lambda t: naive.gradient(t, *about), theta, V[0])
    assert relative(problem.product(theta, V)[0], difference) <= DIFFERENCE


def test_chunks_of_more_than_one_block():
    n_rows = Problem.CHUNK_ROWS * Problem.MOST_CHUNKS + 5
    problem, theta, _ = random_problem((2, 3, 1), n_rows)
    about = (*problem.rows, (2, 3, 1), "tanh", "squared", 1.0)
    assert relative(problem.value_and_gradient(theta)[1], naive.gradient(theta, *about)) <= TWIN


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_a_row_has_the_same_outputs_whatever_stands_around_it(activation, dtype):
    problem, theta, V = random_problem((3, 5, 4, 2), 200, activation)
    X = problem.rows.X.astype(dtype)
    F, FT = outputs(problem.network, theta, V, X, dtype)
    order = np.random.default_rng(1).permutation(200)
    for part in (order, order[:65], order[::3], *([i] for i in order[:5])):
        F_part, FT_part = outputs(problem.network, theta, V, X[part], dtype)
        np.testing.assert_array_equal(F_part, F[part])
        np.testing.assert_array_equal(FT_part, FT[part])


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_directions_do_not_disturb_each_other(activation):
    problem, theta, V = random_problem((3, 5, 4, 2), 150, activation, "huber")
    both = problem.product(theta, V)
    for k in range(2):
        np.testing.assert_array_equal(both[k], problem.product(theta, V[k : k + 1])[0])
    F, FT = outputs(problem.network, theta, V, problem.rows.X)
    F_only, _ = outputs(problem.network, theta, V[:0], problem.rows.X)
    _, FT_second = outputs(problem.network, theta, V[1:], problem.rows.X)
    np.testing.assert_array_equal(F, F_only)
    np.testing.assert_array_equal(FT[:, 1:], FT_second)


def test_sums_are_bit_identical_for_any_number_of_threads():
    def results(threads):
        problem, theta, V = random_problem(
            (3, 5, 4, 2), 700, "tanh", "log-cosh", unequal=True, threads=threads
        )
        value, gradient = problem.value_and_gradient(theta)
        return np.concatenate([[value], gradient, problem.product(theta, V).ravel()]).tobytes()

    assert results(1) == results(2) == results(5)


@pytest.mark.parametrize("hidden", HIDDEN)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_float32_outputs(activation, hidden):
    problem, theta, V = random_problem((3, *hidden, 3), 70, activation)
    X = problem.rows.X.astype("float32").astype(float)
    F, FT = outputs(problem.network, theta, V, X, "float32")
    assert F.dtype == FT.dtype == np.float32
    theta, V = theta.astype("float32").astype(float), V.astype("float32").astype(float)
    assert relative(F, naive.predict(theta, X, problem.network.sizes, activation)) <= 2e-6
    for k in range(2):
        assert (
            relative(FT[:, k], naive.output_tangent(theta, V[k], X, problem.network.sizes, activation))
            <= 2e-6
        )


@pytest.mark.parametrize("gauss_newton", [False, True])
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_float32_gradient_and_products(activation, loss, gauss_newton):
    """One step of sgd at rate 1 with nothing to penalise subtracts the gradient and the product."""
    sizes = (3, 4, 3, 2)
    problem, theta, V = random_problem(sizes, 70, activation, loss, unequal=True)
    X, Y, w = problem.rows
    single = [a.astype("float32") for a in (theta, V[:1], X, Y)]
    theta, V, X, Y = (a.astype(float) for a in single)
    p = len(theta)
    none = np.zeros(p, "float32")
    state = steps.State(single[0].copy(), none, none.copy(), single[1].copy(), np.zeros((1, p), "float32"))
    G, GT = np.empty((2, p), "float32"), np.empty((2, 1, p), "float32")
    slabs = steps.Slabs(40, 7, G, GT, np.empty((1, 2)), np.zeros(2, np.int64))
    penalty = steps.Penalty(np.zeros(p, "float32"), 0.0)
    descent = steps.Descent(state, penalty, steps.Optimizer(steps.SGD, 0.9, 0.999, 1e-7), slabs)
    network, loss = problem.network.kernel_view, problem.objective.kernel_loss
    data = rows.DataTerm(rows.Rows(single[2], single[3], w), network, loss, gauss_newton)
    steps.train_steps(descent, data, steps.Minibatches(np.arange(70), 70, 0, np.ones(1), 0))
    exact = Problem(problem.network, problem.objective, X, Y, w, 1)
    assert relative(theta - state.theta, exact.value_and_gradient(theta)[1]) <= 2e-5
    assert relative(V - state.tangents, exact.product(theta, V, gauss_newton=gauss_newton)) <= 2e-5


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activations_and_their_derivatives(activation):
    z = np.concatenate([np.linspace(-6, 6, 121), [1e-9, -1e-9, 0.0]]).reshape(4, 31)
    phi, slope, curvature = naive.ACTIVATIONS[activation]
    for value, expected in zip(activate(activation, z), (phi(z), slope(z), curvature(z)), strict=True):
        np.testing.assert_allclose(value, expected, rtol=1e-12, atol=1e-14)
    smooth = z[abs(z) > 1e-4]  # away from the kink of relu
    step = 1e-6
    for f, derivative in ((phi, slope), (slope, curvature)):
        difference = (f(smooth + step) - f(smooth - step)) / (2 * step)
        np.testing.assert_allclose(derivative(smooth), difference, atol=1e-8)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activations_far_out(activation, dtype):
    """No overflow and no cancellation: the limits are reached exactly, in both precisions."""
    far = np.array([[-1000.0, 1000.0]], dtype)
    h, p, q = activate(activation, far)
    low, high = {"identity": (-1000, 1000), "tanh": (-1, 1)}.get(activation, (0, 1000))
    np.testing.assert_array_equal(h, [[low, high]])
    slopes = {"identity": (1, 1), "tanh": (0, 0)}.get(activation, (0, 1))
    np.testing.assert_array_equal(p, [slopes])
    np.testing.assert_array_equal(q, [[0, 0]])
    assert h.dtype == p.dtype == q.dtype == np.dtype(dtype)

    endless = np.array([[-np.inf, np.inf, np.nan]], dtype)
    h, _, _ = activate(activation, endless)
    low, high = {"identity": (-np.inf, np.inf), "tanh": (-1, 1)}.get(activation, (0, np.inf))
    np.testing.assert_array_equal(h, [[low, high, np.nan]])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_exponentials_of_our_own_are_right_to_the_last_digits(dtype):
    """Over forty decades: tanh against the C library in float64, silu where its exponential is smallest."""
    z = np.concatenate([np.geomspace(1e-30, 1e10, 2000), np.linspace(0, 20, 2000)])
    z = np.concatenate([z, -z]).astype(dtype)[None]
    eps = np.finfo(dtype).eps
    h, p, _ = activate("tanh", z)
    exact = np.tanh(z.astype(float))
    np.testing.assert_allclose(h, exact, rtol=4 * eps)
    np.testing.assert_allclose(p, 1 - exact**2, atol=4 * eps)
    near = z[:, abs(z[0]) < 80]
    h, _, _ = activate("silu", near)
    exact = near.astype(float)
    np.testing.assert_allclose(h, exact / (1 + np.exp(-exact)), rtol=6 * eps)
    with np.errstate(over="ignore"):
        far = np.linspace(-800, 800, 4001, dtype=dtype)[None]
        exact = far.astype(float) / (1 + np.exp(-far.astype(float)))
    np.testing.assert_allclose(activate("silu", far)[0], exact, rtol=6 * eps, atol=1e3 * np.finfo(dtype).tiny)


def test_small_tails_keep_their_digits():
    """phi(-30) of silu, softplus and gelu, where 1 + erf or log(1 + exp) would give 0 or noise."""
    z = np.array([[-30.0]])
    for activation in ("silu", "softplus"):
        h, p, _ = activate(activation, z)
        scale = {"silu": -30.0, "softplus": 1.0}[activation]
        assert h[0, 0] == pytest.approx(scale * np.exp(-30), rel=1e-12)
        assert p[0, 0] == pytest.approx((1 + scale if activation == "silu" else 1) * np.exp(-30), rel=1e-12)
    h, _, _ = activate("gelu", z)
    density = np.exp(-450) / np.sqrt(2 * np.pi)
    assert h[0, 0] == pytest.approx(-density * (1 - 1 / 900 + 3 / 900**2), rel=1e-6)


@pytest.mark.parametrize("delta", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("loss", LOSSES)
def test_losses_and_their_derivatives(loss, delta):
    r = np.linspace(-9, 9, 181) + 0.003  # not on a kink
    found = np.array([losses.loss_terms(x, losses.CODES[loss], delta) for x in r]).T
    value, slope, curvature = naive.LOSSES[loss]
    expected = np.array([value(r, delta), slope(r, delta), curvature(r, delta)])
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-13)
    step = 1e-6
    for f, derivative in ((value, slope), (slope, curvature)):
        difference = (f(r + step, delta) - f(r - step, delta)) / (2 * step)
        np.testing.assert_allclose(derivative(r, delta), difference, atol=1e-7)


def test_losses_at_the_ends_of_their_range():
    for code in (losses.SQUARED, losses.HUBER, losses.LOG_COSH):
        assert losses.loss_terms(0.0, code, 0.7) == (0.0, 0.0, 1.0)
        value, slope, _ = losses.loss_terms(1e-6, code, 0.7)
        assert value == pytest.approx(5e-13, rel=1e-9)
        assert slope == pytest.approx(1e-6, rel=1e-9)
    for code in (losses.HUBER, losses.LOG_COSH):
        value, slope, curvature = losses.loss_terms(-1e4, code, 0.7)
        assert value == pytest.approx(7e3, rel=1e-3)
        assert (slope, curvature) == (-0.7, 0.0)


def activate(activation, z):
    """phi, phi' and phi'' of a 2-d array, in arrays whose rows have room for whole vectors."""
    m, n = z.shape
    given, h, p, q = (np.full((m, n + 64), -7, z.dtype)[:, :n] for _ in range(4))
    given[:] = z
    activations.activate(h, p, q, given, activations.CODES[activation])
    return h, p, q


def test_the_slow_twin_is_right_about_a_network_worked_out_by_hand():
    """2 inputs, 1 tanh unit: f = 0.5 tanh(0.3 x1 - 0.2 x2 + 0.1) - 0.4."""
    network = Network((2, 1, 1), "tanh")
    theta = np.array([0.3, -0.2, 0.1, 0.5, -0.4])
    X, Y, w = np.array([[1.0, 2.0]]), np.array([[0.6]]), np.ones(1)
    z = 0.3 * 1 - 0.2 * 2 + 0.1
    f = 0.5 * np.tanh(z) - 0.4
    inner = 0.5 * (1 - np.tanh(z) ** 2)
    by_hand = (f - 0.6) * np.array([inner * 1, inner * 2, inner, np.tanh(z), 1])
    problem = Problem(network, Objective(strength=0), X, Y, w, 1)
    for gradient in (
        naive.gradient(theta, X, Y, w, (2, 1, 1), "tanh", "squared", 1.0),
        problem.value_and_gradient(theta)[1],
    ):
        np.testing.assert_allclose(gradient, by_hand, rtol=1e-13, atol=1e-15)
