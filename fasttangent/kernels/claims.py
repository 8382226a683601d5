"""Who compiles what: of several processes that want one kernel at once, one compiles it and the others wait.

A claim is a lock on one byte of a file beside the cache folder, at a place that is a hash of the kernel's name.  The
system gives it back when its process ends, however that ends.  Without such locks, or a folder to write to, everybody
compiles for himself.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from functools import cache

from fasttangent.kernels.cache_folder import UnsafeError, cache_folder, look_at_file, source_stamp

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

NAME = ".claims"
PATIENCE = 120.0  # seconds to wait for another, who may have been stopped
NAP = 0.01
FLAGS = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)

_of_thread = threading.local()


def place(name: str) -> int:
    """The byte that stands for a name."""
    return int.from_bytes(hashlib.sha256(f"{source_stamp()}/{name}".encode()).digest()[:7], "big")


def claim(name: str, heed: Callable[[], object]) -> None:
    """Return when nobody else compiles `name`: it is ours, or has just been done by another.

    `heed` is called now and then, and may raise.
    """
    deadline = time.monotonic() + PATIENCE
    while not take(name):
        if time.monotonic() > deadline:
            return
        heed()
        time.sleep(NAP)
    _ours().append(name)


def take(name: str) -> bool:
    """Whether `name` is this process's from here on; also where there is nobody to ask."""
    ledger = _ledger()
    if ledger is None:
        return True
    try:
        fcntl.lockf(ledger, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, place(name))
    except (BlockingIOError, PermissionError):  # another's
        return False
    except OSError:  # a file system without locks
        pass
    return True


def give(name: str) -> None:
    """The end of `take`."""
    ledger = _ledger()
    if ledger is not None:
        with contextlib.suppress(OSError):
            fcntl.lockf(ledger, fcntl.LOCK_UN, 1, place(name))


@contextlib.contextmanager
def claimed(name: str) -> Iterator[None]:
    """`claim` for a block."""
    claim(name, lambda: None)
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):  # waited for too long
            _ours().remove(name)
            give(name)


def give_back() -> None:
    """Everything that this thread has claimed."""
    ours = _ours()
    while ours:
        give(ours.pop())


def possible() -> bool:
    """Whether claims are seen by other processes."""
    return _ledger() is not None


def _ours() -> list[str]:
    if not hasattr(_of_thread, "names"):
        _of_thread.names = []
    return _of_thread.names


@cache
def _ledger() -> int | None:
    """The open file; open to the end of the process, as closing it anywhere would give back every claim."""
    folder = cache_folder()
    if folder is None or fcntl is None:
        return None
    file = folder.parent / NAME
    try:
        ledger = os.open(file, FLAGS, 0o600)
    except OSError:
        return None
    try:
        look_at_file(file, os.fstat(ledger))
    except UnsafeError:
        os.close(ledger)
        return None
    return ledger
