"""The building blocks of kernels against NumPy, and compiled code against the same code interpreted."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from conftest import random_problem, relative

from fasttangent.kernels import arithmetic


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


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (64, 7)])
def test_transpose(shape):
    A = np.random.default_rng(0).normal(size=shape)
    T = np.empty(shape[::-1])
    arithmetic.transpose(T, A)
    np.testing.assert_array_equal(T, A.T)


@pytest.mark.parametrize(("r", "p"), [(0, 5), (1, 1), (3, 8), (4, 20)])
def test_low_rank_plus_identity(r, p):
    rng = np.random.default_rng(0)
    U, c, v = rng.normal(size=(r, p)), rng.normal(size=r), rng.normal(size=(1, p))
    x = np.empty((1, p))
    arithmetic.low_rank_plus_identity(x, v, U, np.ascontiguousarray(U.T), c)
    assert relative(x[0], v[0] + U.T @ (c * (U @ v[0]))) <= 1e-14


def small_results():
    """Sums, outputs and a few steps of training, as nested lists."""
    from fasttangent.training import Schedule, train

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
    here = os.path.dirname(os.path.abspath(__file__))
    path = os.pathsep.join([here, os.path.dirname(here)])
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env={**os.environ, "NUMBA_DISABLE_JIT": "1", "PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    interpreted, compiled = json.loads(done.stdout), small_results()
    assert interpreted.keys() == compiled.keys()
    for name, values in compiled.items():
        for slow, fast in zip(interpreted[name], values, strict=True):
            assert relative(np.array(fast), np.array(slow)) <= 1e-12, name
