"""What the tests of the command line share: ways to run it, and one trained model."""

import json
import subprocess
import sys

import numpy as np
import pytest
from click.testing import CliRunner

from fasttangent.cli import cli
from fasttangent.table_output import write_table
from fasttangent.tables import open_table

NAMES = ["speed", "height", "mass"]
QUICK = ["--hidden", "4", "--epochs", "30", "--strength", "0.01", "--dtype", "float64"]


def run(*args, code=0):
    """Run a command in this process; return its result after comparing the exit code."""
    result = CliRunner().invoke(cli, [str(arg) for arg in args])
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.stderr
    return result


def refused(*args, code=2):
    """The one line that a command says when it refuses."""
    result = run(*args, code=code)
    assert result.stdout == ""
    lines = result.stderr.splitlines()
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("fasttangent: error: ")
    return lines[0]


def shell(*args, **options):
    """Run a command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "fasttangent.cli", *map(str, args)],
        capture_output=True, text=True, timeout=120, **options,
    )  # fmt: skip


def rows_of(path):
    table = open_table(path)
    return dict(zip(table.names, table.read().T, strict=True))


@pytest.fixture(scope="session")
def data():
    rng = np.random.default_rng(5)
    X = rng.normal(size=(60, 3))
    return X, np.sin(X[:, 0]) + X[:, 1] * X[:, 2] + 0.1 * rng.normal(size=60)


@pytest.fixture(scope="session")
def trained(data, tmp_path_factory):
    """A CSV file with a header, and the model that ``fit`` made of it."""
    folder = tmp_path_factory.mktemp("trained")
    X, y = data
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


def only_json(text):
    def refuse(word):
        pytest.fail(f"{word} is no JSON")

    return json.loads(text, parse_constant=refuse)
