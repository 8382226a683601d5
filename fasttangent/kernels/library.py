"""Machine code of our own vector functions, compiled once and called by name.

Numba links what a kernel calls into the kernel and optimises all of it again, at every level of calls.  Register
tiles and activations, linked into each of a dozen kernels, made most of the time of a first fit.  So they are
functions of a library of their own, which the kernels only declare.  The library is kept beside the compiled
kernels, and is loaded before any kernel that calls it can be.
"""

import contextlib
import hashlib
import os
import pickle
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

import llvmlite
import numba
from llvmlite import binding, ir
from numba.core.compiler_lock import global_compiler_lock
from numba.core.registry import cpu_target

from fasttangent.kernels.jit import cache_folder, source_stamp

PREFIX = "fasttangent.library."
_loaded: list = []  # machine code lives as long as its library


def defines(module: ir.Module) -> bool:
    """Whether functions are to be defined in a module, not only declared."""
    return module.name.startswith(PREFIX)


@global_compiler_lock
def provide(name: str, emitters: Iterable[Callable[[ir.Module], ir.Function]]) -> None:
    """Compile the functions that the emitters add to a module, or load them, and make them known by their names."""
    codegen = cpu_target.target_context.codegen()
    module = codegen.create_library(PREFIX + name).create_ir_module(PREFIX + name)
    names = [emit(module).name for emit in emitters]
    file = _file(name)
    library = _read(file, codegen) if file else None
    if library is None:
        library = codegen.create_library(PREFIX + name)
        library.enable_object_caching()
        library.add_ir_module(module)
        library.finalize()
        if file:
            _write(file, library.serialize_using_object_code())
    _loaded.append(library)
    for function in names:
        binding.add_symbol(function, library.get_pointer_to_function(function))


def _file(name: str) -> Path | None:
    folder = cache_folder()
    if folder is None:
        return None
    target = repr(
        (cpu_target.target_context.codegen().magic_tuple(), numba.__version__, llvmlite.__version__)
    )
    return folder / f"{name}-{hashlib.sha256((source_stamp() + target).encode()).hexdigest()[:16]}.library"


def _read(file: Path, codegen):
    """The library in a file; None if there is none or it is damaged."""
    try:
        content = file.read_bytes()
        if hashlib.sha256(content[32:]).digest() != content[:32]:
            return None
        return codegen.unserialize_library(pickle.loads(content[32:]))
    except Exception:  # a file of another version, or unreadable: compile and overwrite it
        return None


def _write(file: Path, serialized) -> None:
    """Through another name, so that nobody reads half a file; without a word if there is no room."""
    content = pickle.dumps(serialized)
    with contextlib.suppress(OSError):
        handle, temporary = tempfile.mkstemp(dir=file.parent)
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(hashlib.sha256(content).digest() + content)
            os.replace(temporary, file)
        except OSError:
            os.unlink(temporary)
