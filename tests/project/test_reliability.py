"""The campaign of hostile cases: a little of every part always, more among the slow tests."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import python
from helpers.processes import PACKAGE

import bench
from bench.reliability import campaign, tables
from bench.reliability.counts import Counts, of_document
from bench.reliability.drill import WAYS
from bench.reliability.parts import PARTS

ROOT = Path(bench.__file__).parents[1]
CASES = {
    "kernels": 20,
    "calls": 24,
    "files": 18,
    "kills": 2,
    "disks": 1,
    "shared": 1,
    "threads": 2,
    "certificates": 2,
}


@pytest.mark.parametrize("name", CASES)
def test_a_little_of_every_part(name):
    counts = campaign.part(name, 600, 0, print, cases=CASES[name], wide=False)
    assert not counts.failures, counts.failures
    assert counts.cases == CASES[name]


SEEDED = ("kernels", "calls", "files", "certificates")  # parts whose cases are the same at any moment


@pytest.mark.slow
def test_more_of_the_parts_that_depend_on_no_moment(tmp_path):
    words = [
        *SEEDED,
        "--cases",
        "120",
        "--seed",
        "1000000",
        "--own-width",
        "-o",
        str(tmp_path / "found.json"),
    ]
    done = subprocess.run(
        [sys.executable, "-m", "bench.reliability", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=1000,
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    (run,) = json.loads((tmp_path / "found.json").read_text())
    assert all(part["cases"] == 120 for part in run["parts"].values())


def test_every_part_is_there():
    assert set(CASES) == {name for name, part in PARTS.items() if part.share}
    assert sum(part.share for part in PARTS.values()) == pytest.approx(1)


def test_what_the_campaign_makes_of_cases_that_go_wrong():
    counts = campaign.part("drill", 600, 0, print, cases=len(WAYS))
    assert counts.cases == len(WAYS)
    assert dict(counts.kinds) == {"good": 1}
    found = {WAYS[failure.seed]: failure for failure in counts.failures}
    assert found["wrong"].kind == "wrong on purpose"
    assert found["error"].kind == "LookupError"
    assert found["crash"].kind == "crash (SIGSEGV)"
    assert found["end"].kind == "crash (exit code 3)"
    assert found["hang"].kind == "hang"
    assert found["memory"].kind == "MemoryError"
    assert found["before"].kind == found["behind"].kind == "outside of an array"
    assert all(
        failure.command == f"python -m bench.reliability drill --case {failure.seed}"
        for failure in found.values()
    )


@pytest.mark.parametrize(("way", "code"), [("good", 0), ("wrong", 1), ("error", 1)])
def test_a_line_repeats_a_case(way, code):
    words = ["-m", "bench.reliability", "drill", "--case", str(WAYS.index(way))]
    done = subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    assert json.loads(done.stdout)["seed"] == WAYS.index(way)


def kernels_called_from_outside():
    """Names that files beside the kernels import from modules of kernels."""
    found = set()
    for path in (PACKAGE / "fasttangent").rglob("*.py"):
        if path.parent.name == "kernels":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("fasttangent.kernels"):
                home = node.module.rpartition("fasttangent.kernels")[2].lstrip(".")
                found |= {f"{home}.{alias.name}".lstrip(".") for alias in node.names}
    return found


COVERED = """
import importlib, os, sys, numpy as np
from pathlib import Path
from bench.reliability.kernels.case import CASES, run
for name in CASES:
    for seed in range(6):
        run(name, np.random.default_rng(seed), np.dtype("float64"), behind=seed % 2 == 0)
import fasttangent.kernels
for path in sorted(Path(fasttangent.kernels.__file__).parent.glob("*.py")):
    module = importlib.import_module(f"fasttangent.kernels.{path.stem}")
    for name, thing in vars(module).items():
        if getattr(thing, "signatures", None):
            print(f"{path.stem}.{name}")
sys.stdout.flush()
os._exit(0)
"""


def test_every_kernel_that_is_called_has_a_case():
    """Called from outside of the kernels; others are parts of these."""
    called = {name for name in kernels_called_from_outside() if "." in name}
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{COVERED}"
    run = set(python("-c", code).split())
    dispatchers = {name for name in called if is_kernel(name)} - {"peak.spin"}  # which the doctor times
    # the same kernels in loops of Numba's, which are compiled where they are asked for: tests/project/test_launch.py
    dispatchers = {name for name in dispatchers if not name.startswith("drivers.")}
    assert dispatchers <= run, dispatchers - run
    assert len(dispatchers) > 25


def is_kernel(name):
    import importlib

    home, _, name = name.partition(".")
    return hasattr(getattr(importlib.import_module(f"fasttangent.kernels.{home}"), name, None), "py_func")


def test_the_report_is_made_of_the_results_that_are_kept():
    assert tables.everything() == (ROOT / "bench" / "RELIABILITY.md").read_text()


def test_counts_are_kept(tmp_path):
    counts = campaign.part("drill", 600, 0, print, cases=3)
    assert of_document(json.loads(json.dumps(counts.document()))).document() == counts.document()
    tables.keep(tmp_path / "runs.json", 5, {"drill": counts})
    tables.keep(tmp_path / "runs.json", 6, {"drill": Counts(missing="could not run")})
    first, second = json.loads((tmp_path / "runs.json").read_text())
    assert first["seed"] == 5
    assert len(first["parts"]["drill"]["failures"]) == 2
    assert second["parts"]["drill"]["missing"] == "could not run"
