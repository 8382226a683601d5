"""What the tests of the command line share: ways to run it; the trained model is a fixture."""

import json
import subprocess
import sys

import pytest
from click.testing import CliRunner

from fasttangent.cli.app import cli
from fasttangent.common.tables.reading import open_table

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


def only_json(text):
    def refuse(word):
        pytest.fail(f"{word} is no JSON")

    return json.loads(text, parse_constant=refuse)
