"""What the kernels use of Numba beyond its documented interface, by name: a release that moves one of these fails here.

Documented are `numba.njit`, `numba.types`, `numba.config` and `numba.extending`.
"""

import ast
import inspect
from importlib import import_module
from pathlib import Path

import llvmlite.binding
import numba
import pytest
from numba.core import caching
from numba.core.registry import cpu_target

from fasttangent.kernels import jit

JIT = not numba.config.DISABLE_JIT
FILES = sorted(Path(jit.__file__).parent.glob("*.py"))

# Module, name in it, arguments that we pass or take (None: not called by us).
NAMES = [
    ("numba.core.caching", "_CacheLocator", None),
    ("numba.core.caching", "_CacheLocator.from_function", ("py_func", "py_file")),
    ("numba.core.caching", "_CacheLocator.get_cache_path", ("self",)),
    ("numba.core.caching", "_CacheLocator.get_source_stamp", ("self",)),
    ("numba.core.caching", "_CacheLocator.get_disambiguator", ("self",)),
    ("numba.core.caching", "CompileResultCacheImpl", None),
    ("numba.core.caching", "CompileResultCacheImpl._locator_classes", None),
    ("numba.core.caching", "FunctionCache", ("py_func",)),
    ("numba.core.caching", "FunctionCache._impl_class", None),
    ("numba.core.caching", "FunctionCache.load_overload", ("self", "sig", "target_context")),
    ("numba.core.caching", "FunctionCache.save_overload", ("self", "sig", "data")),
    ("numba.core.caching", "FunctionCache.flush", ("self",)),
    ("numba.core.cgutils", "alloca_once", ("builder", "ty")),
    ("numba.core.cgutils", "alloca_once_value", ("builder", "value")),
    ("numba.core.cgutils", "for_range", ("builder", "count")),
    ("numba.core.cgutils", "get_or_insert_function", ("module", "fnty", "name")),
    ("numba.core.compiler_lock", "global_compiler_lock", None),
    ("numba.core.errors", "TypingError", None),
    ("numba.core.registry", "cpu_target", None),
    (
        "numba.np.arrayobj",
        "populate_array",
        ("array", "data", "shape", "strides", "itemsize", "meminfo"),
    ),
]
TARGET = ("codegen", "make_array", "get_abi_sizeof", "get_data_type", "get_dummy_value")
CODEGEN = ("create_library", "magic_tuple", "unserialize_library")
LIBRARY = (
    "add_ir_module",
    "create_ir_module",
    "enable_object_caching",
    "finalize",
    "get_pointer_to_function",
    "serialize_using_object_code",
)


def moved(what):
    return f"Numba {numba.__version__} has no {what} as the kernels use it: find what took its place"


@pytest.mark.parametrize(("module", "name", "arguments"), NAMES, ids=[f"{m}.{n}" for m, n, _ in NAMES])
def test_a_name_is_where_it_was(module, name, arguments):
    try:
        found = import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError):
        pytest.fail(moved(f"{module}.{name}"))
    if arguments is not None:
        taken = tuple(inspect.signature(found).parameters)
        assert taken[: len(arguments)] == arguments, moved(f"{module}.{name}{arguments}") + f", not {taken}"


def test_code_is_generated_and_kept_as_before():
    """What `library` and the instructions call on Numba's objects."""
    context = cpu_target.target_context
    codegen = context.codegen()
    library = codegen.create_library("fasttangent.test")
    for owner, names in ((context, TARGET), (codegen, CODEGEN), (library, LIBRARY)):
        for name in names:
            assert callable(getattr(owner, name, None)), moved(f"{type(owner).__name__}.{name}")
    assert callable(getattr(llvmlite.binding, "add_symbol", None)), moved("llvmlite.binding.add_symbol")
    array = context.make_array(numba.types.Array(numba.types.float32, 2, "C"))
    assert callable(getattr(array, "_getvalue", None)), moved(f"{array.__name__}._getvalue")


def test_a_locator_has_no_other_duties():
    """`jit` implements all that Numba asks of a locator."""
    known = {name.split(".")[1] for _, name, _ in NAMES if name.startswith("_CacheLocator.")}
    more = set(caching._CacheLocator.__abstractmethods__) - known
    assert not more, f"Numba {numba.__version__} asks more of a cache's locator: {sorted(more)}"


@pytest.mark.skipif(not JIT, reason="nothing is compiled")
def test_a_dispatcher_asks_its_cache():
    """The attribute that `jit.kernel` sets is the one that Numba reads and writes compiled code through."""

    def one():
        return 1

    dispatcher = numba.njit(one)
    assert isinstance(getattr(dispatcher, "_cache", None), caching.NullCache), moved("Dispatcher._cache")
    asked = []

    class Recorder(caching.NullCache):
        def load_overload(self, *args):
            asked.append(("load", len(args)))

        def save_overload(self, *args):
            asked.append(("save", len(args)))

    dispatcher._cache = Recorder()
    assert dispatcher() == 1
    assert asked == [("load", 2), ("save", 2)], moved("Dispatcher._cache with load_overload, save_overload")


@pytest.mark.skipif(not JIT or jit.cache_folder() is None, reason="nothing is kept")
def test_a_kernel_is_kept_in_our_folder():
    """Numba takes our locator from `_locator_classes` and our implementation from `_impl_class`."""

    def one():
        return 1

    path = jit.kernel(one)._cache.cache_path
    assert path == str(jit.cache_folder()), (
        moved("CompileResultCacheImpl._locator_classes") + f"; it keeps in {path}"
    )


def used(source):
    """(module, name) of what a file takes from inside Numba."""
    tree, modules = ast.parse(source), {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[:2] in (
            ["numba", "core"],
            ["numba", "np"],
        ):
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                try:
                    import_module(whole)
                    modules[alias.asname or alias.name] = whole
                except ImportError:
                    yield node.module, alias.name
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in modules:
            yield modules[node.value.id], node.attr


def test_the_list_is_complete():
    listed = {(module, name.split(".")[0]) for module, name, _ in NAMES}
    found = {one for file in FILES for one in used(file.read_text())}
    assert found == listed, f"not listed here: {found - listed}; no longer used: {listed - found}"
