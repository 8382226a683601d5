"""The benchmarks: imports that run down, one command, peers that are asked for only when they are needed."""

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from importlib import import_module
from pathlib import Path

import pytest

import bench
from bench import render
from bench.__main__ import COMMANDS, listing
from bench.fidelity import tables

HOME = Path(bench.__file__).parent
PEERS = {
    "jax",
    "torch",
    "sklearn",
    "bmdal_reg",
    "jaxopt",
    "curvlinops",
    "captum",
    "pydvl",
    "skactiveml",
    "modAL",
    "lightgbm",
}
ASK = """
import sys

class Missing:
    def find_spec(self, name, *_):
        if name.split(".")[0] in {missing!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Missing())
sys.path.insert(0, {root!r})
{code}
"""


def names():
    """{dotted name: path} of all files."""
    paths = {
        ".".join(path.relative_to(HOME.parent).with_suffix("").parts): path for path in HOME.rglob("*.py")
    }
    return {name.removesuffix(".__init__"): path for name, path in paths.items()}


def imported(name):
    """Files of the bench that a file imports, also inside functions."""
    found = set()
    for node in ast.walk(ast.parse(names()[name].read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}: relative import"
            inside = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= inside & names().keys() or {node.module}
    return found & names().keys()


def without_peers(code):
    text = ASK.format(missing=PEERS, root=str(HOME.parent), code=code)
    return subprocess.run([sys.executable, "-c", text], capture_output=True, text=True)


def test_imports_run_down_only():
    graph = {name: imported(name) for name in names()}
    order = list(TopologicalSorter(graph).static_order())  # raises CycleError, which names the circle
    assert {"bench.active.cost", "bench.fidelity.solvers"} <= set(order)
    assert "bench.active.cost" in graph["bench.active.command"]
    assert "bench.fidelity.tables" in graph["bench.fidelity.scores"]


@pytest.mark.parametrize("name", sorted(names()))
def test_no_file_changes_the_path(name):
    assert "sys.path" not in names()[name].read_text()


def test_the_command_lists_everything():
    done = subprocess.run([sys.executable, "-m", "bench"], cwd=HOME.parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.rstrip() == listing()
    assert all(f"\n  {name} " in done.stdout for name in COMMANDS)
    done = subprocess.run(
        [sys.executable, "-m", "bench", "x"], cwd=HOME.parent, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert done.stderr.startswith("x is no benchmark")


def test_every_command_has_help_without_peers():
    """The docstring, which says how it is run with the one command."""
    code = """
import runpy
for name in NAMES:
    print("###", name)
    sys.argv = ["bench", name, "--help"]
    try:
        runpy.run_module("bench", run_name="__main__")
    except SystemExit as end:
        assert not end.code, end.code
"""
    done = without_peers(code.replace("NAMES", repr(list(COMMANDS))))
    assert done.returncode == 0, done.stderr
    for part in done.stdout.split("### ")[1:]:
        assert f"python -m bench {part.split()[0]}" in part.split("\n\n", 1)[1]


@pytest.mark.parametrize(
    ("peer", "package"), [("with_jax", "jax"), ("with_torch", "torch"), ("with_sklearn", "scikit-learn")]
)
def test_a_missing_peer_is_named_in_one_line(peer, package):
    done = without_peers(f"from bench.peers import lazy\nlazy.{peer}.scorer")
    assert done.returncode == 1
    assert done.stderr.endswith(f" is missing: python -m pip install {package}\n")
    assert done.stderr.count("\n") == 1


def test_render_finds_its_places_in_the_readme():
    readme = (render.ROOT / "README.md").read_text()
    pairs = [
        ("START", "END"),
        *((f"{n}_START", f"{n}_END") for n in ("SPEED", "EXACT", "ACTIVE", "SELECTION")),
    ]
    for start, end in pairs:
        assert readme.count(getattr(render, start)) == 1, start
        assert readme.count(getattr(render, end)) == 1, end
    assert set(render.sections(render.RESULTS.read_text())) == set(render.TITLES.values())


def test_the_report_of_fidelity_is_made_of_the_results_that_are_kept():
    def rows(text):
        return [line for line in text.splitlines() if line.startswith("|")]

    assert rows(tables.everything()) == rows((HOME / "FIDELITY.md").read_text())


def test_every_file_can_be_imported_without_its_peers():
    apart = {f"bench.exact.with_{peer}" for peer in ("jax", "torch", "pydvl")} | {"bench.__main__"}
    apart |= {f"bench.peers.{peer}" for peer in ("with_jax", "with_torch", "with_sklearn", "bmdal_worker")}
    for name in set(names()) - apart - {"bench.speed.test_speed"}:
        import_module(name)
