"""Imports: quick ones, in one direction, with optional dependencies at the edges only."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import fasttangent

PACKAGE = Path(fasttangent.__file__).parent

# Each may import from its own line only what stands to its left, and everything in the lines above.
CORE = """
    _version errors atomic
    kernels
    checks layout dense
    network objective scaling
    dense_curvature curvature
    solvers.vectors solvers.metric solvers.preconditioners
    solvers.krylov solvers.block_cg solvers.minres solvers.lissa
    solvers.base solvers.factor solvers.memory solvers.direct solvers.iterative solvers
    certificate lbfgs training settling
    influence posterior embeddings
    model
    distances covariances duplicates selection files progress
    fitting fitting_many
    following changes exact_influence refits unlearning fidelity_methods fidelity_comparison fidelity_report
    learning_loss_head learning_loss_training learning_loss_folds
    learning_loss_fit learning_loss_joint learning_loss_measures
    journal campaign active_diagnostics campaign_history oracles
    active_settings active_choosing active_learning
"""
UPWARDS = {"model": {"files"}}  # inside a function: Model.save
EDGES = {"click", "rich", "pyarrow", "matplotlib", "pandas"}  # optional dependencies
CORE_DEPENDENCIES = {"numpy", "scipy", "numba", "llvmlite"}


def order():
    return [name for line in CORE.split("\n") for name in line.split()]


def modules():
    """{dotted name below the package: path}."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        found[".".join(parts).removesuffix(".__init__")] = path
    return found


def imports(path, *, at_run_time=False, at_top=False):
    """Dotted names that a module imports; without those for type checkers, or those inside functions."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if at_run_time and isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            node.body = []
        if at_top and isinstance(node, ast.FunctionDef):
            node.body = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def siblings(path, **how):
    """Modules of the package that a module imports, kernels as one."""
    known, names = set(modules()), set()
    for name in imports(path, **how):
        below = name.removeprefix("fasttangent.")
        if name == below:
            continue
        if below.split(".")[0] == "kernels":
            names.add("kernels")
        elif below in known:
            names.add(below)
    return names


@pytest.mark.parametrize("name", [n for n in order() if n != "kernels"])
def test_imports_run_in_one_direction(name):
    allowed = set(order()[: order().index(name)])
    assert siblings(modules()[name]) <= allowed | UPWARDS.get(name, set())
    assert siblings(modules()[name], at_top=True) <= allowed


def test_the_order_names_real_modules_and_the_rest_are_edges():
    core = set(order())
    assert core - {"kernels"} <= set(modules())
    for name, path in modules().items():
        if name in core or name.startswith("kernels."):
            assert siblings(path) <= core


@pytest.mark.parametrize("name", [n for n in modules() if n.startswith("kernels.")])
def test_kernels_import_kernels_and_numba_only(name):
    for imported in imports(modules()[name]):
        top = imported.split(".")[0]
        if top == "fasttangent":
            assert imported.startswith("fasttangent.kernels")
        else:
            assert top in {"numpy", "numba", "llvmlite", "scipy"} or top in sys.stdlib_module_names


@pytest.mark.parametrize("name", modules())
def test_optional_dependencies_stay_at_the_edges(name):
    top = {imported.split(".")[0] for imported in imports(modules()[name])}
    if name in order() or name.startswith("kernels."):
        allowed = CORE_DEPENDENCIES | ({"rich"} if name == "progress" else set())
    else:
        allowed = CORE_DEPENDENCIES | EDGES
    foreign = {t for t in top if t != "fasttangent" and t not in sys.stdlib_module_names}
    assert foreign <= allowed


@pytest.mark.parametrize("name", modules())
def test_numba_and_jit_options_belong_to_the_kernels(name):
    path = modules()[name]
    uses = {imported.split(".")[0] for imported in imports(path, at_run_time=True)}
    if not name.startswith("kernels.") and name != "doctor":
        assert "numba" not in uses
    if name != "kernels.jit":
        assert "njit" not in path.read_text()


def fresh(code):
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_importing_the_package_loads_next_to_nothing():
    loaded = fresh("import sys, fasttangent; print(*sys.modules)")
    heavy = {"numpy", "scipy", "numba", "llvmlite", "concurrent.futures", *EDGES}
    assert not heavy & set(loaded)
    assert [name for name in loaded if name.startswith("fasttangent.")] == ["fasttangent._version"]


def test_errors_and_types_need_neither_numba_nor_scipy():
    loaded = fresh(
        "import sys, fasttangent as ft;"
        "ft.DivergenceError, ft.load, ft.Model, ft.Network((2, 3, 1), 'tanh').layout, ft.Objective();"
        "print(*sys.modules)"
    )
    assert not {"scipy", "numba", "llvmlite", *EDGES} & set(loaded)


def test_every_public_name_is_there_and_listed():
    names = fresh("import fasttangent as ft; [getattr(ft, n) for n in ft.__all__]; print(*ft.__all__)")
    assert names == sorted(fasttangent.__all__)
    assert set(dir(fasttangent)) == set(fasttangent.__all__)
    assert set(fasttangent._HOME) | {"__version__"} == set(fasttangent.__all__)


def test_fitting_and_scoring_need_no_optional_dependency():
    loaded = fresh(
        "import sys, fasttangent.fitting, fasttangent.selection, fasttangent.files, fasttangent.settling;"
        "import fasttangent.kernels.steps, fasttangent.kernels.rows; print(*sys.modules)"
    )
    assert not EDGES & set(loaded)
