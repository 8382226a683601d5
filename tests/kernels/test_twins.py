"""The building blocks of kernels against NumPy, and compiled code against the same code interpreted."""

import json

import numpy as np
import pytest
from helpers import python, random_problem, relative

from fasttangent.kernels import arithmetic, dense
from fasttangent.kernels import lbfgs as kernel_lbfgs
from fasttangent.model import lbfgs


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "shape", [(1, 1, 1), (2, 3, 4), (3, 4, 5), (5, 5, 1), (1, 9, 64), (7, 2, 3), (8, 8, 8)]
)
def test_add_product(shape, dtype):
    m, q, n = shape
    rng = np.random.default_rng(0)
    A, B, C = (rng.normal(size=s).astype(dtype) for s in ((m, q), (q, n), (m, n)))
    expected = C.astype(float) + A.astype(float) @ B.astype(float)
    for given in (A, np.asfortranarray(A)):
        found = C.copy()
        arithmetic.add_product(found, given, B)
        assert relative(found, expected) <= (1e-6 if dtype == "float32" else 1e-14)


def test_add_product_keeps_the_order_of_its_sums():
    """Every element is one chain of fused multiply-adds, whatever stands in other rows and columns."""
    rng = np.random.default_rng(1)
    A, B = rng.normal(size=(7, 13)), rng.normal(size=(13, 9))
    whole = np.zeros((7, 9))
    arithmetic.add_product(whole, A, B)
    for i in range(7):
        part = np.zeros((1, 4))
        arithmetic.add_product(part, A[i : i + 1], np.ascontiguousarray(B[:, 3:7]))
        np.testing.assert_array_equal(part[0], whole[i, 3:7])


def test_add_product_is_fused():
    """(1 + e) (1 - e) - 1 = -e^2 survives only when the product is not rounded first."""
    e = 2.0**-30
    C = np.full((1, 1), -1.0)
    arithmetic.add_product(C, np.array([[1 + e]]), np.array([[1 - e]]))
    assert C[0, 0] == -(e**2)


@pytest.mark.parametrize(("r", "p"), [(0, 5), (1, 1), (3, 8), (4, 20)])
def test_low_rank_change(r, p):
    rng = np.random.default_rng(0)
    B, S, v = rng.normal(size=(r, p)), rng.normal(size=(r, r)), rng.normal(size=(1, p))
    x, inner, changed = np.empty((1, p)), np.full((1, r), 7.0), np.full((1, r), 7.0)
    BT, ST = np.ascontiguousarray(B.T), np.ascontiguousarray(S.T)
    dense.low_rank_change(x, v, B, BT, ST, inner, changed)
    assert relative(x[0], v[0] - B.T @ (S @ (B @ v[0]))) <= 1e-14


@pytest.mark.parametrize("r", [0, 1, 2, 5, 40])
def test_cholesky_and_its_inverse(r):
    A = np.random.default_rng(r).normal(size=(r, r + 3))
    A = A @ A.T
    U, inverse = np.full((r, r), 7.0), np.full((r, r), 7.0)
    dense.cholesky(U, A)
    dense.invert_upper(inverse, U)
    np.testing.assert_allclose(U, np.linalg.cholesky(A).T, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(inverse @ U, np.eye(r), atol=1e-9)
    assert (np.tril(inverse, -1) == 0).all()


@pytest.mark.parametrize("depth", [1, 3, 16, 100])
def test_products_by_panels(depth):
    rng = np.random.default_rng(0)
    A, B, C = rng.normal(size=(9, 20)), rng.normal(size=(20, 5)), rng.normal(size=(9, 5))
    found = C.copy()
    for start, stop in ((0, 4), (4, 8), (8, 9)):
        dense.product_of_panel(found, A, B, start, stop, depth)
    assert relative(found, C + A @ B) <= 1e-14


@pytest.mark.parametrize("size", [0, 1, 7, 8, 9, 64, 101])
def test_dot(size):
    a, b = np.random.default_rng(0).normal(size=(2, size))
    assert kernel_lbfgs.dot(a, b) == pytest.approx(a @ b, rel=1e-12, abs=1e-14)


def test_the_direction_of_bfgs():
    """Against the dense BFGS matrix built by its update formula; the ring has gone round."""
    rng = np.random.default_rng(0)
    p, m, H = 6, 4, np.diag(np.arange(1.0, 7.0))
    before = rng.uniform(0.1, 1, p)  # what is known of the inverse
    S, Y, inverse = np.zeros((m, p)), np.zeros((m, p)), None
    steps = rng.normal(size=(6, p))
    for t, s in enumerate(steps):
        S[t % m], Y[t % m] = s, H @ s
    for t in (2, 3, 4, 5):
        s, y = steps[t], H @ steps[t]
        if inverse is None:
            inverse = np.diag(before)
        V = np.eye(p) - np.outer(y, s) / (s @ y)
        inverse = V.T @ inverse @ V + np.outer(s, s) / (s @ y)
    g, d, alpha = rng.normal(size=p), np.empty(p), np.empty(m)
    kernel_lbfgs.first_loop(d, g, S, Y, alpha, 5 % m, 4)
    d *= before
    kernel_lbfgs.second_loop(d, S, Y, alpha, 5 % m, 4)
    assert relative(d, -inverse @ g) <= 1e-12
    kernel_lbfgs.first_loop(d, g, S, Y, alpha, 0, 0)
    np.testing.assert_array_equal(d, -g)


def minimum(function, x, most=500):
    """The best point `lbfgs.minimize` finds, and the values of the points it tried."""
    seen = []

    def remember(x):
        value, gradient = function(x)
        seen.append((value, x.copy()))
        return value, gradient

    lbfgs.minimize(remember, np.array(x, float), lambda v: v.copy(), most, lambda: False)
    return min(seen, key=lambda pair: pair[0])[1], len(seen)


def test_lbfgs_on_functions_with_known_minima():
    def rosenbrock(x):
        a, b = x
        slope = np.array([-2 * (1 - a) - 400 * a * (b - a * a), 200 * (b - a * a)])
        return (1 - a) ** 2 + 100 * (b - a * a) ** 2, slope

    H = np.diag(10.0 ** np.arange(5))
    found, _ = minimum(rosenbrock, [-1.2, 1.0])
    np.testing.assert_allclose(found, [1, 1], atol=1e-6)
    found, _ = minimum(lambda x: (x @ H @ x / 2 - x.sum(), H @ x - 1), np.zeros(5))
    np.testing.assert_allclose(found, 1 / np.diag(H), rtol=1e-5)


def test_lbfgs_ends_at_a_kink_and_where_it_starts_when_that_is_the_minimum():
    found, evaluations = minimum(lambda x: (float(abs(x).sum()), np.sign(x)), [3.0, -2.0])
    np.testing.assert_allclose(found, 0, atol=1e-4)
    found, evaluations = minimum(lambda x: (float(x @ x), 2 * x), np.zeros(3))
    assert (found == 0).all()
    assert evaluations == 1


def test_lbfgs_steps_back_from_where_there_is_no_value():
    """The logarithm is not defined below 0, where the first full step leads."""

    def function(x):
        with np.errstate(invalid="ignore", divide="ignore"):
            return float((1e3 * x - np.log(x)).sum()), 1e3 - 1 / x

    found, _ = minimum(function, [1.0])
    assert found[0] == pytest.approx(1e-3, rel=1e-4)


def small_results():
    """Sums, outputs and a few steps of training, as nested lists."""
    from fasttangent.model.minibatch import Schedule, train

    found = {}
    for activation, loss in (
        ("tanh", "squared"),
        ("gelu", "huber"),
        ("silu", "log-cosh"),
        ("softplus", "squared"),
    ):
        problem, theta, V = random_problem((2, 3, 2), 5, activation, loss, unequal=True, strength=0.1)
        value, gradient = problem.value_and_gradient(theta)
        found[activation] = [
            [value],
            gradient.tolist(),
            problem.product(theta, V).ravel().tolist(),
            problem.product(theta, V, gauss_newton=True).ravel().tolist(),
            problem.predictions(theta).ravel().tolist(),
        ]
    for optimizer in ("sgd", "momentum", "adam"):
        schedule = Schedule(optimizer, 0.05, epochs=2, batch_size=3)
        start = theta, np.zeros((1, len(theta)))
        run = train(
            problem, schedule, start, np.dtype(float), np.random.default_rng(0), lambda *_, **__: None
        )
        found[optimizer] = [run.theta.tolist(), run.tangents[0].tolist()]
    return found


def test_interpreted_kernels_give_what_compiled_ones_do():
    """NUMBA_DISABLE_JIT=1 runs the plain Python that defines every kernel; only fusing differs."""
    code = (
        "import json, test_twins; assert not hasattr(test_twins.arithmetic.add_product, 'py_func');"
        "print(json.dumps(test_twins.small_results()))"
    )
    printed = python("-W", "error", "-c", code, file=__file__, NUMBA_DISABLE_JIT="1")
    interpreted, compiled = json.loads(printed), small_results()
    assert interpreted.keys() == compiled.keys()
    for name, values in compiled.items():
        for slow, fast in zip(interpreted[name], values, strict=True):
            assert relative(np.array(fast), np.array(slow)) <= 1e-12, name
