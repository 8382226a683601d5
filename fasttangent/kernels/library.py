"""Machine code of our own vector functions, compiled once and called by name.

Numba links what a kernel calls into the kernel and optimises all of it again, at every level of calls.  Register
tiles and activations, linked into each of a dozen kernels, made most of the time of a first fit.  So they are
functions of a library of their own, which the kernels only declare.  The library is kept beside the compiled
kernels, and is loaded before any kernel that calls it can be.
"""

import pickle
from collections.abc import Callable, Iterable

from llvmlite import binding, ir
from numba.core.compiler_lock import global_compiler_lock
from numba.core.registry import cpu_target

from fasttangent.common.interrupts import held
from fasttangent.kernels import claims, helpers, kept

PREFIX, SUFFIX = "fasttangent.library.", ".library"
_loaded: list = []  # machine code lives as long as its library


def defines(module: ir.Module) -> bool:
    """Whether functions are to be defined in a module, not only declared."""
    return module.name.startswith(PREFIX)


def provide(name: str, emitters: Iterable[Callable[[ir.Module], ir.Function]]) -> None:
    """Compile the functions that the emitters add to a module, or load them, and make them known by their names."""
    with held(), global_compiler_lock:
        _provide(name, emitters)


def _provide(name: str, emitters: Iterable[Callable[[ir.Module], ir.Function]]) -> None:
    codegen = cpu_target.target_context.codegen()
    file = kept.file_name(name) + SUFFIX  # in a folder for these sources: nothing is emitted to find it
    found = _loaded_from(kept.find(name, suffix=SUFFIX), codegen)
    if found is None:
        helpers.start()
        claims.claim(file, lambda: None)
        found = _loaded_from(kept.read(file), codegen)  # another may have compiled it meanwhile
    if found is None:
        found = _compiled(name, emitters, codegen)
        kept.write(file, pickle.dumps((found[0], found[1].serialize_using_object_code())))
    claims.give_back()
    functions, library = found
    _loaded.append(library)
    for function in functions:
        binding.add_symbol(function, library.get_pointer_to_function(function))


def _compiled(name: str, emitters: Iterable[Callable[[ir.Module], ir.Function]], codegen) -> tuple:
    """(names of functions, the library that defines them)."""
    library = codegen.create_library(PREFIX + name)
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
