"""What several test files share: problems in standard units, small data, small models.

Compiled kernels are kept where ``FASTTANGENT_CACHE`` says, as for any other use of the package.
"""

import signal

import naive
import numpy as np
import pytest
from cli_helpers import NAMES, QUICK, run

import fasttangent as ft
from fasttangent.kernels import scoring
from fasttangent.network import Network
from fasttangent.objective import Objective, Problem
from fasttangent.table_output import write_table

# Jobs in the background may be started with Ctrl-C ignored, and tests of interrupts would wait for ever.
signal.signal(signal.SIGINT, signal.default_int_handler)


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


@pytest.fixture(scope="session")
def data():
    """60 rows of a smooth function of three inputs in odd units, with noise."""
    rng = np.random.default_rng(5)
    X = rng.normal(size=(60, 3)) * [1.0, 20.0, 0.03] + [0.0, 5.0, -1.0]
    Z = (X - [0.0, 5.0, -1.0]) / [1.0, 20.0, 0.03]
    return X, 40 + 10 * (np.sin(Z[:, 0]) + 0.5 * Z[:, 1] * Z[:, 2] + 0.2 * rng.normal(size=60))


@pytest.fixture(scope="session")
def model(data):
    """A settled float64 model of `data`."""
    return ft.fit(*data, hidden=(5,), epochs=20, strength=0.02, dtype="float64")


@pytest.fixture(scope="session")
def model2(data):
    """A settled float64 model with two outputs."""
    X, y = data
    Y = np.column_stack([y, np.cos(X[:, 0]) + 0.1 * X[:, 1]])
    return ft.fit(X, Y, hidden=(5,), epochs=20, strength=0.02, dtype="float64")


@pytest.fixture(scope="session")
def plain_data():
    """60 rows of a smooth function of three inputs in standard units."""
    rng = np.random.default_rng(5)
    X = rng.normal(size=(60, 3))
    return X, np.sin(X[:, 0]) + X[:, 1] * X[:, 2] + 0.1 * rng.normal(size=60)


@pytest.fixture(scope="session")
def trained(plain_data, tmp_path_factory):
    """A CSV file with a header, and the model that ``fit`` made of it."""
    folder = tmp_path_factory.mktemp("trained")
    X, y = plain_data
    columns = {name: X[:, i] for i, name in enumerate(NAMES)} | {"y": y}
    write_table(folder / "data.csv", columns)
    result = run("fit", folder / "data.csv", "--target", "y", "-o", folder / "m.npz", *QUICK)
    assert result.stderr == ""
    assert "saved to" in result.stdout
    return folder


@pytest.fixture(scope="session")
def pool(tmp_path_factory):
    path = tmp_path_factory.mktemp("pool") / "pool.csv"
    X = np.random.default_rng(6).normal(size=(500, 3))
    write_table(path, {name: X[:, i] for i, name in enumerate(NAMES)})
    return path
