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
from fasttangent.kernels.cache_folder import cache_folder

JIT = not numba.config.DISABLE_JIT
FILES = sorted(Path(jit.__file__).parent.glob("*.py"))

# Module, name in it, arguments that we pass or take (None: not called by us).
NAMES = [
    ("numba.core.caching", "NullCache", ()),
    ("numba.core.caching", "NullCache.load_overload", ("self", "sig", "target_context")),
    ("numba.core.caching", "NullCache.save_overload", ("self", "sig", "cres")),
    ("numba.core.cgutils", "alloca_once", ("builder", "ty")),
    ("numba.core.cgutils", "alloca_once_value", ("builder", "value")),
    ("numba.core.cgutils", "for_range", ("builder", "count")),
    ("numba.core.cgutils", "get_or_insert_function", ("module", "fnty", "name")),
    ("numba.core.codegen", "JITCodeLibrary", ("codegen", "name")),
    ("numba.core.codegen", "JITCodeLibrary._finalize_dynamic_globals", ("self",)),
    ("numba.core.codegen", "JITCodeLibrary._finalize_final_module", ("self",)),
    ("numba.core.codegen", "JITCodeLibrary._optimize_final_module", ("self",)),
    ("numba.core.codegen", "JITCodeLibrary._optimize_functions", ("self", "ll_module")),
    ("numba.core.compiler", "CompileResult", None),
    ("numba.core.compiler", "CompileResult._reduce", ("self",)),
    ("numba.core.compiler", "CompileResult._rebuild", ("target_context",)),
    (
        "numba.core.compiler",
        "compile_extra",
        (
            "typingctx",
            "targetctx",
            "func",
            "args",
            "return_type",
            "flags",
            "locals",
            "library",
            "pipeline_class",
        ),
    ),
    ("numba.core.compiler", "CompilerBase.define_pipelines", ("self",)),
    ("numba.core.compiler", "DefaultPassBuilder.define_nopython_pipeline", ("state",)),
    ("numba.core.compiler", "PassManager", ("pipeline_name",)),
    ("numba.core.compiler", "PassManager.finalize", ("self",)),
    ("numba.core.compiler", "Flags", None),
    ("numba.core.compiler", "Flags.no_compile", None),
    ("numba.core.compiler", "Flags.no_cpython_wrapper", None),
    ("numba.core.compiler", "Flags.no_cfunc_wrapper", None),
    ("numba.core.compiler_lock", "global_compiler_lock", None),
    ("numba.core.errors", "ForceLiteralArg.bind_fold_arguments", ("self", "fold_arguments")),
    ("numba.core.errors", "TypingError", None),
    ("numba.core.registry", "cpu_target", None),
    ("numba.core.serialize", "dumps", ("obj",)),
    ("numba.core.sigutils", "normalize_signature", ("sig",)),
    ("numba.core.typing", "make_concrete_template", ("name", "key", "signatures")),
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


@pytest.mark.skipif(not JIT, reason="nothing is compiled")
def test_a_dispatcher_compiles_through_the_method_that_we_hold_signals_around():
    """Of the object, not of its class; and only when it has no code for the arguments."""

    def one(x):
        return x

    dispatcher = numba.njit(one)
    compile_for, asked = dispatcher._compile_for_args, []
    dispatcher._compile_for_args = lambda *a, **k: (asked.append(a), compile_for(*a, **k))[1]
    assert [dispatcher(1), dispatcher(2), dispatcher(1.5)] == [1, 2, 1.5]
    assert asked == [(1,), (1.5,)], moved("Dispatcher._compile_for_args")


@pytest.mark.skipif(not JIT or cache_folder() is None, reason="nothing is kept")
def test_a_kernel_is_kept_in_our_folder():
    """What `jit` asks of a compiled function: can it be kept, and what is it made of."""

    def one_of_ours():
        return 1

    dispatcher = jit.kernel(one_of_ours)
    assert dispatcher() == 1
    (file,) = cache_folder().glob("test_numba_api*one_of_ours*.kernel")
    again = jit.kernel(one_of_ours)
    assert again() == 1
    assert sum(again.stats.cache_hits.values()) == 1
    (found,) = again.overloads.values()
    assert found.library.has_dynamic_globals is False, moved("CompileResult.library.has_dynamic_globals")
    file.unlink()


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
