"""Small problems in standard units, and how far a value is from another."""

import numpy as np

from fasttangent.kernels import scoring
from fasttangent.problem.network import Network
from fasttangent.problem.objective import Objective
from fasttangent.problem.problem import Problem
from helpers import naive


def random_problem(
    sizes,
    n_rows,
    activation="tanh",
    loss="squared",
    *,
    delta=0.7,
    strength=0.0,
    complexity="l2",
    unequal=False,
    threads=1,
    seed=0,
):
    """(problem, theta (p,), V (2, p)) with normal data, parameters and directions.

    The residuals at theta are spread evenly over -2 ... 2, on both sides of `delta`.
    """
    rng = np.random.default_rng(seed)
    network = Network(sizes, activation)
    X = rng.normal(size=(n_rows, sizes[0]))
    theta = 0.6 * rng.normal(size=network.layout.n_params)
    residuals = rng.permutation(np.linspace(-2, 2, n_rows * sizes[-1])).reshape(n_rows, -1)
    Y = naive.predict(theta, X, sizes, activation) - residuals
    w = rng.uniform(0.1, 3, n_rows) if unequal else np.ones(n_rows)
    V = rng.normal(size=(2, network.layout.n_params))
    return Problem(network, Objective(loss, delta, complexity, strength), X, Y, w, threads), theta, V


def outputs(network, theta, V, X, dtype="float64"):
    """Predictions (n, n_outputs) and their tangents (n, K, n_outputs) from the kernel, in `dtype`."""
    F = np.empty((len(X), network.sizes[-1]), dtype)
    FT = np.empty((len(X), len(V), F.shape[1]), dtype)
    X, theta, V = (np.ascontiguousarray(a, dtype) for a in (X, theta, V))
    turned, centre = network.layout.transposed, np.zeros(X.shape[1], dtype)
    scoring.outputs(F, FT, turned(theta), turned(V), X.ravel(), X.shape[1], centre, network.kernel_view)
    return F, FT


def relative(value, reference):
    """||value - reference|| / ||reference||."""
    return float(np.linalg.norm(np.asarray(value) - reference) / np.linalg.norm(reference))


def quiet(*_args, **_figures):
    """A report that nobody reads."""
