"""Memory that notices: every array of NumPy ends, or begins, at a page that cannot be accessed.

NumPy lets its allocator be replaced (NEP 49).  This one gives each array pages of its own between two walls, the data
pushed against the one behind it or the one before it, and fills what is left of the pages with a pattern that must
still be there when the array is freed.  A read or write across a wall is a segmentation fault at the very instruction;
one that misses the wall, on the other side, is found by the pattern.  Rooms that kernels allocate themselves are not
NumPy's and are not guarded.
"""

from __future__ import annotations

import ctypes
import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

PAGE, PATTERN = mmap.PAGESIZE, 0xA5
SET_HANDLER = (
    304  # of PyDataMem_SetHandler in NumPy's table of functions, which is part of its binary interface
)
NOTHING, READ_WRITE, PRIVATE, ANONYMOUS = 0, 3, 2, 0x20
FAILED = ctypes.c_void_p(-1).value

MALLOC = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)
CALLOC = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t)
REALLOC = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)
FREE = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)


class Allocator(ctypes.Structure):
    _fields_ = (
        ("ctx", ctypes.c_void_p),
        ("malloc", MALLOC),
        ("calloc", CALLOC),
        ("realloc", REALLOC),
        ("free", FREE),
    )


class Handler(ctypes.Structure):
    _fields_ = (("name", ctypes.c_char * 127), ("version", ctypes.c_uint8), ("allocator", Allocator))


class Guard:
    """The allocator; `behind` says on which side of the data the wall stands close."""

    def __init__(self, behind: bool) -> None:
        self.behind = behind
        self.places: dict[int, tuple[int, int, int]] = {}  # of the data: (base, pages, bytes)
        self.damaged: list[str] = []
        self.made = 0
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._libc.mmap.restype = ctypes.c_void_p
        self._libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
        self._libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
        self._libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
        self._functions = (  # kept alive
            MALLOC(lambda _, size: self.new(size)),
            CALLOC(lambda _, n, size: self.new(n * size, clear=True)),
            REALLOC(lambda _, old, size: self.grown(old, size)),
            FREE(lambda _, address, __: self.free(address)),
        )
        self._handler = Handler(b"guard", 1, Allocator(None, *self._functions))
        self.capsule = _capsule(ctypes.addressof(self._handler))

    def new(self, size: int, clear: bool = False) -> int | None:
        pages = -(-max(size, 1) // PAGE)
        base = self._libc.mmap(None, (pages + 2) * PAGE, NOTHING, PRIVATE | ANONYMOUS, -1, 0)
        if base in (None, FAILED):
            return None
        first = base + PAGE
        assert self._libc.mprotect(first, pages * PAGE, READ_WRITE) == 0, os.strerror(ctypes.get_errno())
        ctypes.memset(first, PATTERN, pages * PAGE)  # as the content of new arrays: -2e-16 in float32
        address = first + (pages * PAGE - size if self.behind else 0)
        if clear:
            ctypes.memset(address, 0, size)
        self.places[address] = first, pages, size
        self.made += 1
        return address

    def free(self, address: int | None) -> None:
        if address is None:
            return
        first, pages, size = self.places.pop(address)
        before, after = address - first, first + pages * PAGE - address - size
        rest = ctypes.string_at(first, before) + ctypes.string_at(address + size, after)
        if rest.strip(bytes([PATTERN])):
            self.damaged.append(f"written {'before' if self.behind else 'behind'} an array of {size} bytes")
        self._libc.munmap(first - PAGE, (pages + 2) * PAGE)

    def grown(self, old: int | None, size: int) -> int | None:
        address = self.new(size)
        if old is not None and address is not None:
            ctypes.memmove(address, old, min(size, self.places[old][2]))
            self.free(old)
        return address


def _capsule(address: int) -> ctypes.py_object:
    new = ctypes.pythonapi.PyCapsule_New
    new.restype, new.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
    return new(address, b"mem_handler", None)


def _set_handler(capsule: object) -> object:
    """Make it that of this thread; returns the one before."""
    get = ctypes.pythonapi.PyCapsule_GetPointer
    get.restype, get.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    table = get(np._core._multiarray_umath._ARRAY_API, None)
    function = ctypes.cast(table, ctypes.POINTER(ctypes.c_void_p))[SET_HANDLER]
    return ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.py_object)(function)(capsule)


_kept: list[Guard] = []  # arrays may outlive the block, and need their allocator


@contextmanager
def guarded(behind: bool) -> Iterator[Guard]:
    """Arrays that this thread makes inside the block are guarded; `damaged` says what the patterns found so far."""
    guard = Guard(behind)
    _kept.append(guard)
    before = _set_handler(guard.capsule)
    try:
        yield guard
    finally:
        _set_handler(before)
