"""The house: rooms on floors, imports that run down, optional dependencies at the edges, nothing too large.

The order of the rooms is not written down here: it is what the imports of the folders say, and must be an order.
"""

import ast
import inspect
import subprocess
import sys
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import fasttangent
from fasttangent.sklearn import TangentRegressor

PACKAGE = Path(fasttangent.__file__).parent
EDGE = "cli"  # the room that may need more than the core's dependencies
ENTRIES = {
    "sklearn": {"sklearn"},
    "dask": {"dask", "distributed", "cloudpickle", "pandas"},
}  # files, what they need
OPTIONAL = {
    *("click", "rich", "pyarrow", "matplotlib", "pandas", "fsspec"),
    *("dask", "distributed", "cloudpickle"),
}
CORE = {"numpy", "scipy", "numba", "llvmlite", "threadpoolctl"}


@cache
def modules():
    """{dotted name below the package: path}."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        found[".".join(parts).removesuffix(".__init__")] = path
    return found


@cache
def tree_of(name):
    return ast.parse(modules()[name].read_text())


def imports(name, *, at_run_time=False):
    """Dotted names that a module imports, also inside functions; without those for type checkers alone."""
    skipped = set()
    if at_run_time:
        for node in ast.walk(tree_of(name)):
            if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
                skipped |= {id(inner) for inner in ast.walk(node)}
    for node in ast.walk(tree_of(name)):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}: relative import"
            inside = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from inside
            if not all(n.removeprefix("fasttangent.") in modules() for n in inside):
                yield node.module


def siblings(name):
    """Modules of the package that a module imports, for type checkers too."""
    below = {n.removeprefix("fasttangent.") for n in imports(name) if n.startswith("fasttangent.")}
    return {n for n in below if n in modules()} - {name}


def room(name):
    return name.split(".")[0]


def rooms():
    """{room: rooms that it imports from}; the top level itself, which may see all, left out."""
    found = {room(name): set() for name in modules() if (PACKAGE / room(name)).is_dir()}
    for name in modules():
        if room(name) in found:
            found[room(name)] |= {room(n) for n in siblings(name)} & found.keys() - {room(name)}
    return found


def files():
    """{file: files that it imports}, a package's own ``__init__`` counted as a file above those it imports."""
    return {name: siblings(name) for name in modules() if (PACKAGE / room(name)).is_dir()}


def test_there_are_at_most_eight_rooms():
    assert len(rooms()) <= 8
    assert {path.name for path in PACKAGE.glob("*.py")} == {
        "__init__.py", "__main__.py", "_version.py", *(f"{name}.py" for name in ENTRIES)
    }  # fmt: skip


@pytest.mark.parametrize("graph", [rooms, files])
def test_imports_run_down_only(graph):
    """Between rooms and between files; an import inside a function or for a type checker counts like any other."""
    order = list(TopologicalSorter(graph()).static_order())  # raises CycleError, which names the circle
    assert len(order) >= len(graph())


def test_the_table_of_rooms_is_that_of_the_code():
    text = (Path(__file__).parents[2] / "ARCHITECTURE.md").read_text()
    table = text.split("<!-- rooms -->")[1].split("<!-- end of rooms -->")[0]
    rows = [line.strip("| \n").split("|") for line in table.splitlines() if line.startswith("| ")][1:]
    written = {
        name.strip(): set(filter(None, map(str.strip, "".join(rest).split(",")))) for name, *rest in rows
    }
    assert written == rooms()
    above = list(written)
    assert all(below in above[: above.index(name)] for name, belows in written.items() for below in belows)


def test_only_the_entry_knows_the_command_line():
    above = {name for name in modules() if room(name) != EDGE and EDGE in {room(n) for n in siblings(name)}}
    assert above == {"__main__"}


def test_nothing_knows_the_entries():
    assert not {name for name in modules() if ENTRIES.keys() & siblings(name)}


@pytest.mark.parametrize("name", [n for n in modules() if n.startswith("kernels.")])
def test_kernels_import_kernels_and_numba_only(name):
    """And what is told and held when code is compiled."""
    for imported in imports(name):
        top = imported.split(".")[0]
        if top == "fasttangent":
            assert imported.startswith(
                ("fasttangent.kernels", "fasttangent.common.interrupts", "fasttangent.common.warning")
            )
        else:
            assert top in {"numpy", "numba", "llvmlite", "scipy"} or top in sys.stdlib_module_names


@pytest.mark.parametrize("name", modules())
def test_optional_dependencies_stay_at_the_edges(name):
    top = {imported.split(".")[0] for imported in imports(name)}
    own = {
        "common.progress": {"rich"},
        "common.frames": {"narwhals", "pyarrow"},
        "common.cells": {"narwhals"},
        "common.levels": {"narwhals", "polars", "pyarrow"},
        "common.tables.stores": {"fsspec"},
        "model.batches": {"pyarrow"},
        "model.exports": {"torch", "sklearn"},
        "model.onnx_graph": {"onnx"},
        **ENTRIES,
    }
    allowed = CORE | (OPTIONAL if room(name) == EDGE else own.get(name, set()))
    assert {t for t in top if t != "fasttangent" and t not in sys.stdlib_module_names} <= allowed


@pytest.mark.parametrize("name", modules())
def test_numba_and_jit_options_belong_to_the_kernels(name):
    if room(name) != "kernels":
        assert "numba" not in {imported.split(".")[0] for imported in imports(name)}
    if name != "kernels.jit":
        assert "njit" not in modules()[name].read_text()


def private(name):
    return name.startswith("_") and not name.startswith("__")


@cache
def private_names():
    """{room: private names that its files define}: functions, classes, variables, attributes."""
    found = {}
    for name in modules():
        for node in ast.walk(tree_of(name)):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                defined = node.name
            elif isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Store):
                defined = node.id if isinstance(node, ast.Name) else node.attr
            else:
                continue
            if private(defined):
                found.setdefault(room(name), set()).add(defined)
    return found


def foreign_private_names(name):
    """Private names of other rooms that a module imports or takes from an object."""
    own = private_names().get(room(name), set())
    foreign = set().union(*private_names().values()) - own
    for node in ast.walk(tree_of(name)):
        if isinstance(node, ast.ImportFrom) and node.module.startswith("fasttangent."):
            if node.module.split(".")[1] != room(name):
                yield from (alias.name for alias in node.names if private(alias.name))
        elif isinstance(node, ast.Attribute) and node.attr in foreign:
            own_object = isinstance(node.value, ast.Name) and node.value.id in {"self", "cls"}
            yield from () if own_object else (node.attr,)


@pytest.mark.parametrize("name", modules())
def test_private_names_stay_in_their_room(name):
    assert not set(foreign_private_names(name))


@pytest.mark.parametrize("name", modules())
def test_files_are_short_or_say_why_not(name):
    lines = len(modules()[name].read_text().splitlines())
    assert lines <= 400 or "Longer than 400 lines" in (ast.get_docstring(tree_of(name)) or "")


def public_functions():
    """(file, line) of the functions and methods that users call."""
    for thing in [TangentRegressor, *(getattr(fasttangent, name) for name in fasttangent.__all__)]:
        members = [thing, *vars(thing).values()] if inspect.isclass(thing) else [thing]
        for member in filter(inspect.isfunction, members):
            code = inspect.unwrap(member).__code__
            yield Path(code.co_filename), code.co_name


@pytest.mark.parametrize("name", [n for n in modules() if not n.startswith("kernels.")])
def test_functions_take_at_most_eight_arguments(name):
    """But for the public ones, whose names are promised; what belongs together is a record."""
    public = set(public_functions())
    for node in ast.walk(tree_of(name)):
        if isinstance(node, ast.FunctionDef) and (modules()[name], node.name) not in public:
            every = [
                *node.args.posonlyargs,
                *node.args.args,
                *node.args.kwonlyargs,
                node.args.vararg,
                node.args.kwarg,
            ]
            assert len([a for a in every if a and a.arg not in ("self", "cls")]) <= 8, node.name


def fresh(code):
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_importing_the_package_loads_next_to_nothing():
    loaded = fresh("import sys, fasttangent; print(*sys.modules)")
    heavy = {"numpy", "scipy", "numba", "llvmlite", "concurrent.futures", *OPTIONAL}
    assert not heavy & set(loaded)
    assert [name for name in loaded if name.startswith("fasttangent.")] == ["fasttangent._version"]


def test_errors_and_types_need_neither_numba_nor_scipy():
    loaded = fresh(
        "import sys, fasttangent as ft;"
        "ft.DivergenceError, ft.load, ft.Model, ft.Network((2, 3, 1), 'tanh').layout, ft.Objective();"
        "print(*sys.modules)"
    )
    assert not {"scipy", "numba", "llvmlite", *OPTIONAL} & set(loaded)


def test_every_public_name_is_there_and_listed():
    names = fresh("import fasttangent as ft; [getattr(ft, n) for n in ft.__all__]; print(*ft.__all__)")
    assert names == sorted(fasttangent.__all__)
    assert set(dir(fasttangent)) == set(fasttangent.__all__)
    assert set(fasttangent._HOME) | {"__version__"} == set(fasttangent.__all__)


def test_the_core_needs_no_optional_dependency():
    core = [name for name in modules() if room(name) != EDGE and name not in ("__main__", *ENTRIES)]
    loaded = fresh(f"import sys, {', '.join('fasttangent.' + name for name in core)}; print(*sys.modules)".replace(
        "fasttangent.,", "fasttangent,"
    ))  # fmt: skip
    assert not {*OPTIONAL, "sklearn"} & set(loaded)
    assert {f"fasttangent.{name}" for name in core if name} <= set(loaded)
