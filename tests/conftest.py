"""What several test files share: problems in standard units, small data, small models.

Compiled kernels are kept where ``FASTTANGENT_CACHE`` says, as for any other use of the package.
"""

import os
import signal

for library in (
    "OPENBLAS",
    "MKL",
    "OMP",
):  # before NumPy: one thread each, or workers fight for the processors
    os.environ.setdefault(f"{library}_NUM_THREADS", "1")

import numpy as np
import pytest
from helpers.command_line import NAMES, QUICK, run
from helpers.processes import environment

import fasttangent as ft
from fasttangent.cli.tables.writing import write_table

# Jobs in the background may be started with Ctrl-C ignored, and tests of interrupts would wait for ever.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def children(tmp_path_factory):
    """Processes that tests start import the package under test, and never the checkout: no folder here holds one.

    Those that are pytest again do not start workers of their own.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("nothing"))
        for name, value in environment(PYTEST_ADDOPTS="-n0").items():
            patch.setenv(name, value)
        yield


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
