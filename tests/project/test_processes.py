"""Processes that tests start run the package under test, wherever pytest was started and whatever lies there."""

import subprocess
import sys
from pathlib import Path

import pytest
from helpers import python
from helpers.command_line import shell
from helpers.processes import PACKAGE

import fasttangent

CODE = "import fasttangent; print(fasttangent.__file__)"


@pytest.mark.parametrize(
    "start",
    [
        lambda: python("-c", CODE),
        lambda: subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True).stdout,
    ],
    ids=["helper", "plain"],
)
def test_children_import_what_we_import(start):
    assert Path(start().strip()).samefile(fasttangent.__file__)


def test_no_child_starts_in_a_folder_with_a_package():
    """``python -c`` and ``-m`` look there first."""
    assert not Path("fasttangent").exists()
    assert shell("--version").stdout.split()[-1] == fasttangent.__version__


def test_a_checkout_is_not_taken_for_the_package(tmp_path, monkeypatch):
    """A folder `fasttangent` in the working directory of a script of the tests is not imported."""
    (tmp_path / "fasttangent").mkdir()
    (tmp_path / "fasttangent" / "__init__.py").write_text("raise RuntimeError('the checkout')")
    monkeypatch.chdir(tmp_path)
    assert Path(python("-c", CODE).strip()).parents[1] == PACKAGE
