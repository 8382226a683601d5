"""Machine code of our own vector functions, compiled once and called by name.

Numba links what a kernel calls into the kernel and optimises all of it again, at every level of calls.  Register
tiles and activations, linked into each of a dozen kernels, made most of the time of a first fit.  So they are
functions of libraries of their own, which the kernels only declare.  A library is compiled, or loaded from its file
beside the compiled kernels, when the first kernel that calls one of its functions is about to be made machine code.
"""

import pickle
from collections.abc import Callable, Iterable
from typing import Any

from llvmlite import binding, ir
from numba.core.compiler_lock import global_compiler_lock
from numba.core.registry import cpu_target

from fasttangent.common.interrupts import held
from fasttangent.kernels import claims, helpers, kept, pipeline

PREFIX, SUFFIX = "fasttangent.library.", ".library"
Emitter = Callable[[ir.Module], ir.Function]

_waiting: dict[str, list[Emitter]] = {}  # libraries by name, until they are needed
_of: dict[str, str] = {}  # the library of each function
_loaded: list = []  # machine code lives as long as its library


def defines(module: ir.Module) -> bool:
    """Whether functions are to be defined in a module, not only declared."""
    return module.name.startswith(PREFIX)


def announce(name: str, emitters: Iterable[Emitter]) -> None:
    """A library of the functions that the emitters add to a module."""
    _waiting[name] = list(emitters)
    declared = ir.Module("declared")
    _of.update((emit(declared).name, name) for emit in _waiting[name])


def provide(functions: Iterable[str]) -> None:
    """Make known, by their names, those of the functions that are ours, and the rest of their libraries."""
    wanted = dict.fromkeys(_of[name] for name in functions if name in _of)
    with held(), global_compiler_lock:
        for name in wanted:
            if name in _waiting:
                _provide(name, _waiting[name])
                del _waiting[name]


def provide_all() -> None:
    """All of them: for code that others make of kernels."""
    provide(list(_of))


def called(library: Any) -> list[str]:
    """Our own functions that the code of a kernel calls."""
    functions = library._final_module.functions
    return [one.name for one in functions if one.is_declaration and one.name in _of]


pipeline.before_finalizing.append(lambda library: provide(called(library)))


def _provide(name: str, emitters: list[Emitter]) -> None:
    codegen = cpu_target.target_context.codegen()
    file = kept.file_name(name) + SUFFIX  # in a folder for these sources: nothing is emitted to find it
    found = _loaded_from(kept.find(name, suffix=SUFFIX), codegen)
    if found is None:
        helpers.start()
        with claims.claimed(file):
            found = _loaded_from(kept.read(file), codegen)  # another may have compiled it meanwhile
            if found is None:
                found = _compiled(name, emitters, codegen)
                kept.write(file, pickle.dumps((found[0], found[1].serialize_using_object_code())))
    functions, library = found
    _loaded.append(library)
    for function in functions:
        binding.add_symbol(function, library.get_pointer_to_function(function))


def _compiled(name: str, emitters: list[Emitter], codegen) -> tuple:
    """(names of functions, the library that defines them)."""
    library = pipeline.Library(codegen, PREFIX + name)
    module = library.create_ir_module(PREFIX + name)
    functions = [emit(module).name for emit in emitters]
    library.enable_object_caching()
    library.add_ir_module(module)
    library.finalize()
    return functions, library


def _loaded_from(content: bytes | None, codegen) -> tuple | None:
    """What was compiled, from a file; None if there is none."""
    if content is None:
        return None
    try:
        functions, code = pickle.loads(content)
        return functions, codegen.unserialize_library(code)
    except Exception:  # written by other means: compile and overwrite it
        return None
