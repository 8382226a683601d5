"""The one place that sets Numba's options and says how compiled code is kept.

Every compiled function of the package is decorated with `kernel`, `making_arrays` or `row_parallel`, and nothing else.

Numba's own cache unpickles what it finds in a folder that it does not examine, and machine code with a flipped bit is
run; so ours has files of its own (`kept`), one for each function and types of arguments.
"""

import contextlib
import gc
import hashlib
import pickle
import threading

import numba
from numba.core import caching, compiler, serialize

from fasttangent.common.interrupts import held
from fasttangent.kernels import claims, helpers, kept, library
from fasttangent.kernels.cache_folder import cache_folder
from fasttangent.kernels.callee import Callee
from fasttangent.kernels.pipeline import Pipeline

# No fastmath: it licenses the compiler to ignore NaN and to reorder sums, and training code needs neither.
# Where a fused multiply-add pays it is written as such (`scalar.fma`), so results do not depend on
# what the compiler finds.  nogil lets the threads of `threads` run kernels side by side.
OPTIONS = {"nogil": True, "error_model": "numpy", "no_cfunc_wrapper": True}
# Loops over `prange` alone: what else Numba finds to run in parallel costs a launch for a few values.
OTHERS = ("comprehension", "fusion", "inplace_binop", "numpy", "reduction", "setitem", "stencil")
PARALLEL = {"parallel": {"prange": True, **dict.fromkeys(OTHERS, False)}}
SUFFIX = ".kernel"


def kernel(function):
    """Compile `function` on first call and keep the result on disk.

    It makes no array, and is given none that a kernel below it made: nobody counts references, which was a tenth of
    a first call.  Numba refuses `np.empty` and its like here, but not `ravel` and `reshape`, whose results would
    never be given back: take `window` or `stretch`.
    """
    return _kept(function, OPTIONS | {"pipeline_class": Pipeline, "_nrt": False})


def making_arrays(function):
    """The same of one that makes arrays, calls another for one that was made, or returns a view."""
    return _kept(function, OPTIONS | {"pipeline_class": Pipeline, "_nrt": True})


def row_parallel(function):
    """The same of a loop over `prange`; called by `launch` alone, which knows where that is safe."""
    return _kept(function, OPTIONS | PARALLEL)


def _kept(function, options):
    dispatcher = numba.njit(**options)(function)
    if numba.config.DISABLE_JIT:
        return dispatcher
    if cache_folder() is not None:
        dispatcher._cache = _Cache(function)
    callee = Callee(dispatcher)
    dispatcher.get_call_template, dispatcher.get_overload = callee.get_call_template, callee.get_overload
    compile_for = dispatcher._compile_for_args

    def compile_undisturbed(*arguments, **named):
        with held() as _of_thread.hold, _no_collection():
            try:
                if "parallel" in options:  # Numba makes the tasks' code by itself
                    library.provide_all()
                return compile_for(*arguments, **named)
            finally:
                claims.give_back()

    dispatcher._compile_for_args = (
        compile_undisturbed  # asked for only where there is no code for the arguments
    )
    return dispatcher


_of_thread = threading.local()


@contextlib.contextmanager
def _no_collection():
    """Garbage waits: a compiler makes hundreds of thousands of objects, and going through all took a fifth of it."""
    collected = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collected:
            gc.enable()


def _heed_interrupt():
    if _of_thread.hold.error is not None:
        raise _of_thread.hold.error


class _Cache(caching.NullCache):
    """Of one function, as a dispatcher asks for it."""

    def __init__(self, function) -> None:
        self._function = function

    def load_overload(self, sig, target_context):
        key = self._key(sig)
        content = kept.find(*key, suffix=SUFFIX)
        if content is None:
            helpers.start()
            file = kept.file_name(*key) + SUFFIX
            helpers.tell(1)
            claims.claim(file, _heed_interrupt)
            content = kept.read(file)  # another may have compiled it meanwhile
        if content is None:
            return None
        target_context.refresh()  # knows what the code calls
        try:
            called, reduced = pickle.loads(content)
            library.provide(called)
            return compiler.CompileResult._rebuild(target_context, *reduced)
        except Exception:  # written by other means: compile and overwrite it
            return None

    def save_overload(self, sig, data):
        helpers.tell(0)
        if not data.library.has_dynamic_globals:  # addresses of this process
            kept.write(
                kept.file_name(*self._key(sig)) + SUFFIX,
                serialize.dumps((library.called(data.library), data._reduce())),
            )

    def _key(self, sig) -> tuple:
        function, code = self._function, self._function.__code__
        cells = tuple(cell.cell_contents for cell in function.__closure__ or ())
        body = hashlib.sha256(code.co_code + serialize.dumps(cells)).hexdigest()
        module = function.__module__.rpartition(".")[2]
        words = f"{module}.{function.__qualname__}-{code.co_firstlineno}".replace("<", "").replace(">", "")
        return words, sig, body
