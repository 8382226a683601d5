"""One thread for the BLAS and LAPACK of NumPy and SciPy.

They start threads of their own, as many as there are cores, whatever `threads=` says: their number changes last bits,
and on a busy machine they wait for one another (an eigendecomposition of 384 rows took 2 s in place of 20 ms).  What
is simple we do ourselves (`solvers.dense`; `np.einsum` calls no BLAS); the rest stands in `with one_thread():`.

A limit belongs to the process, not to the thread that sets it.  So the first to enter sets it and the last to leave
takes it back, whatever happens in between: an error, an interrupt, a fork.  Both together take 5 microseconds.
"""

from __future__ import annotations

import os
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, NamedTuple


class Library(NamedTuple):
    """A BLAS that is loaded."""

    path: str
    get: Callable[[], int | None]
    set: Callable[[int], object]
    by_thread: bool  # the limit belongs to a thread: OpenBLAS made with OpenMP


class _Visit(NamedTuple):
    """Of a thread; `ends` ends it when the token is forgotten, if an interrupt has kept the thread from leaving."""

    thread: int
    owed: dict[str, tuple[Library, int]]  # limits of the thread to take back
    ends: weakref.ref[_Token]


class _Token:
    """What only the frame of `one_thread` refers to."""


_lock = threading.RLock()  # also held across a fork
_inside: dict[int, _Visit] = {}  # by the id of the token
_owed: dict[str, tuple[Library, int]] = {}  # limits of the process to take back


@contextmanager
def one_thread() -> Iterator[None]:
    """Inside, BLAS and LAPACK use one thread: no result depends on how many they may use.

    For the shortest stretch of code that calls them, SciPy's functions imported before: other threads of the process
    have one thread as well meanwhile.  May be nested, and entered by many threads at once.  Accelerate, of macOS, has
    no limit that could be set.

    Examples
    --------
    >>> import numpy as np
    >>> from fasttangent.common.blas import one_thread
    >>> with one_thread():
    ...     eigenvalues = np.linalg.eigvalsh(np.diag([2.0, 1.0]))
    >>> eigenvalues
    array([1., 2.])
    """
    token = _Token()
    try:
        _enter(token)
        yield
    finally:
        _leave(id(token))


def _enter(token: _Token) -> None:
    found, number = libraries("scipy.linalg" in sys.modules), id(token)
    with _lock:
        visit = _Visit(threading.get_ident(), {}, weakref.ref(token, lambda _: _leave(number)))
        _inside[number] = visit
        for library in found:
            limit = library.get()
            if limit not in (None, 1):
                (visit.owed if library.by_thread else _owed)[library.path] = library, limit
                library.set(1)


def _leave(number: int) -> None:
    with _lock:
        if number in _inside:
            _restore(_inside[number].owed)
            if len(_inside) == 1:
                _restore(_owed)
            del _inside[number]


def _restore(owed: dict[str, tuple[Library, int]]) -> None:
    for path, (library, number) in list(owed.items()):
        if library.get() == 1:  # otherwise somebody else has set another limit meanwhile
            library.set(number)
        del owed[path]


@cache
def libraries(scipy_too: bool) -> tuple[Library, ...]:
    """What is loaded: looked for, which takes 3 ms, once for NumPy and once more with SciPy."""
    from threadpoolctl import ThreadpoolController

    found = ThreadpoolController().select(user_api="blas").lib_controllers
    return tuple(
        Library(one.filepath, one.get_num_threads, _setter(one), _is_openmp_openblas(one)) for one in found
    )


def _is_openmp_openblas(one: Any) -> bool:
    return one.internal_api == "openblas" and one.threading_layer == "openmp"


def _setter(one: Any) -> Callable[[int], object]:
    """Newer versions of threadpoolctl heed only the first thread that sets OpenBLAS's limit, and we are in many."""
    if one.internal_api == "openblas" and not _is_openmp_openblas(one):
        for prefix in ("", "scipy_"):
            for suffix in ("", "64_", "_64"):
                function = getattr(one.dynlib, f"{prefix}openblas_set_num_threads{suffix}", None)
                if function is not None:
                    return function
    return one.set_num_threads


def _after_fork_in_child() -> None:
    """Only the thread that forked is still there."""
    global _lock
    _lock = threading.RLock()
    for number, visit in list(_inside.items()):
        if visit.thread != threading.get_ident():
            del _inside[number]
    if not _inside:
        _restore(_owed)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=lambda: _lock.acquire(),
        after_in_parent=lambda: _lock.release(),
        after_in_child=_after_fork_in_child,
    )
