"""The versions that pyproject.toml allows are those that were tried."""

import re
from pathlib import Path

import numba

ROOT = Path(__file__).parents[2]
LOWEST, ABOVE = re.search(r'"numba>=([\d.]+),<([\d.]+)"', (ROOT / "pyproject.toml").read_text()).groups()


def numbers(text):
    major, minor = [int(n) for n in re.findall(r"\d+", text + ".0")[:2]]
    return major, minor


def test_numba_is_one_that_was_tried():
    installed = numbers(numba.__version__)
    assert numbers(LOWEST) <= installed < numbers(ABOVE), (
        f"Numba {numba.__version__} is outside {LOWEST} to below {ABOVE}.  Kernels use names of Numba "
        "that are not public (caching, typing of intrinsics, code libraries), and another version may have "
        "moved them: run tests/kernels on it, follow the names, then move the bound in pyproject.toml."
    )


def test_the_lowest_versions_are_those_that_are_declared():
    """.ci/lowest.txt pins the lower bounds of pyproject.toml; CI installs them."""
    declared = dict(re.findall(r'"([a-z-]+)>=([\d.]+)', (ROOT / "pyproject.toml").read_text()))
    pinned = dict(
        re.findall(r"^([a-z-]+)==([\d.]+)", (ROOT / ".ci" / "lowest.txt").read_text(), re.MULTILINE)
    )
    assert {"numpy", "numba", "scipy", "threadpoolctl", "click", "rich", "pyarrow"} <= pinned.keys()
    for name, lowest in pinned.items():
        assert numbers(lowest) == numbers(declared[name]), name
