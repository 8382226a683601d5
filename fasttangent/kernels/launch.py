"""The one switch between Numba's `prange` and our own pool of threads, and where `prange` is safe.

``FASTTANGENT_LAUNCH`` chooses: ``pool`` (the default) or ``prange``, the drivers of `drivers` wherever none of the
following is so; there, and for all other work, the pool does the same tasks and the bits are the same.

- This process was forked.  GNU OpenMP aborts a child that launches after its parent did, and a lock of Numba's that
  another thread held at the fork is never given back.
- The threads of the omp layer were there before this module: whether this is a forked child can then not be told.
- The layer is workqueue, which aborts when two threads launch at once, and this is not the only thread.
- The call comes from inside a parallel region: workqueue aborts, the others would start threads for every thread.
- More threads are asked for than Numba has.

Asked for it pays a little with the layer tbb, and with omp under ``OMP_WAIT_POLICY=passive``.  Threads of omp that wait
otherwise spin, and where others use the processors, too, a launch then waits for a whole time slice.

Numba's number of threads belongs to the user; one that is changed for a call is set back, whatever happens.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from collections.abc import Callable
from typing import Any

import numba

from fasttangent.common.interrupts import held

VARIABLE = "FASTTANGENT_LAUNCH"
CHOICES = ("pool", "prange")
OURS = "fasttangent"  # how the names of our own threads begin; they launch when this one says so


def _chosen() -> str:
    choice = os.environ.get(VARIABLE) or CHOICES[0]
    if choice not in CHOICES:
        raise ValueError(f"{VARIABLE} must be pool or prange, got {choice!r}; or unset it")
    return choice


def _layer() -> str | None:
    """Numba's threading layer, if it is there already."""
    try:
        return numba.threading_layer()
    except ValueError:
        return None


choice = _chosen()
_forked = False
_omp_before = _layer() == "omp"  # whoever launched it may have been another process


def launched(driver: Callable[..., bool], threads: int, *arguments: Any) -> bool:
    """Whether driver(*arguments) was called, by so many threads; if not, the pool is to do its tasks."""
    if choice != "prange" or obstacle(threads):
        return False
    before = numba.get_num_threads()
    if before == threads:
        _call(driver, arguments)
    else:
        with held():  # or an interrupt could come before the last line
            try:
                numba.set_num_threads(threads)
                _call(driver, arguments)
            finally:
                numba.set_num_threads(before)
    return True


def _call(driver: Callable[..., bool], arguments: tuple[Any, ...]) -> None:
    """An error in a task ends it, and is lost but in the thread that launches, where Python finds it too late."""
    cause = None
    try:
        whole = driver(*arguments)
    except SystemError as error:
        whole, cause = False, error
    if not whole:
        text = "a task of a parallel loop did not end; most likely there was no memory for it"
        raise MemoryError(text) from cause


def obstacle(threads: int) -> str:
    """Why so many threads cannot be launched from here and now; empty where they can."""
    if numba.config.DISABLE_JIT:
        return "nothing is compiled"
    if _forked:
        return "this process was forked"
    if _omp_before:
        return "Numba's omp threads were started before fasttangent was used, maybe by a process that forked"
    if threads > numba.config.NUMBA_NUM_THREADS:
        return f"Numba has {numba.config.NUMBA_NUM_THREADS} threads (NUMBA_NUM_THREADS)"
    try:
        numba.get_num_threads()  # starts the layer
    except (ValueError, ImportError) as error:
        return "no threading layer of Numba can be loaded: " + " ".join(str(error).split())
    layer, here = _layer(), threading.current_thread()
    if isinstance(here, threading._DummyThread) or (layer == "omp" and _in_parallel()):
        return "the call comes from inside a parallel region, or from a thread that Python did not start"
    if layer == "workqueue" and not _alone(here):
        return "the workqueue layer aborts when two threads launch at once, and there are others"
    return ""


def _alone(here: threading.Thread) -> bool:
    others = (thread for thread in threading.enumerate() if thread is not here)
    return here is threading.main_thread() and all(thread.name.startswith(OURS) for thread in others)


def _in_parallel() -> bool:
    """Whether this is the first thread of a team of OpenMP, which is a thread of Python."""
    global _omp_in_parallel
    if _omp_in_parallel is None:
        try:
            library = sys.modules["numba.np.ufunc.omppool"].__file__
            _omp_in_parallel = ctypes.PyDLL(library).omp_in_parallel
        except (KeyError, AttributeError, OSError):  # out of sight; a launch in a launch is safe with omp
            _omp_in_parallel = bool
    return bool(_omp_in_parallel())


_omp_in_parallel: Callable[[], int] | None = None


def described(threads: int) -> str:
    """What row-parallel work is done by from here, and why."""
    pool = f"own pool of up to {threads} threads around nogil kernels"
    if choice == "pool":
        return f"{pool} ({VARIABLE}=prange would take Numba's; see bench/PARALLEL.md)"
    why = obstacle(threads)
    if why:
        return f"{pool}, not prange: {why}"
    layer, waits = _layer(), os.environ.get("OMP_WAIT_POLICY", "active").lower()
    slow = (
        "; slow beside other work unless OMP_WAIT_POLICY=passive"
        if layer == "omp" and waits == "active"
        else ""
    )
    return f"prange by up to {threads} threads of Numba's {layer} layer in settling{slow}, {pool} elsewhere"


def _after_fork_in_child() -> None:
    global _forked
    _forked = True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
