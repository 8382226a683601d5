"""Processes that compile beside us, the first time that a call needs kernels which are not in the cache.

Numba compiles one kernel at a time in a process.  So where nothing is cached, and the call may use more than one
processor, other interpreters compile what it will need into the cache folder, from the other end (`rehearsal` says
what), while it goes on; whoever comes to a kernel first compiles it (`claims`).  They hold no result: without them,
or if one fails, everything is compiled here.

An interpreter is started anew, from the same executable and the same import path: no thread and no lock is copied,
and the script of the user is not run again.  It ends with the call, with us, or when it is done.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from pathlib import Path

from fasttangent.common.interrupts import held
from fasttangent.kernels import claims
from fasttangent.kernels.cache_folder import cache_folder, nothing_kept

MARK = "FASTTANGENT_HELPER"  # in the environment of a helper, which has none itself
CLAIM = (
    "helpers"  # one process has them: many that start together, as joblib's do, wait for one another as it is
)
ROOM = 2e9  # bytes that must be free: a helper takes 400 MB
MOST = 2  # more would wait for one another, too
# The import path is ours; an interpreter's own begins with the current folder, whatever lies there.
CODE = """
import sys
if sys.path[:1] == [""]: del sys.path[0]
import json, signal
signal.signal(signal.SIGINT, signal.SIG_IGN)
job = json.loads(sys.stdin.readline())
sys.path[:] = job["path"]
from importlib import import_module
getattr(import_module(job["module"]), job["function"])(**job["arguments"])
"""
REHEARSAL = "fasttangent.active.rehearsal"  # above us: named, not imported

# Only taken where Ctrl-C is held back: between the last line of a block and its end it would stay locked for ever.
_lock = threading.Lock()
_calls: list[tuple[str, int]] = []  # that run now, the outermost first: name, and processors
_helped: set[str] = set()  # names of calls that were
_running: list[subprocess.Popen] = []
told: list[Callable[..., None]] = []  # who listens, the outermost first
_compiled = 0


@contextlib.contextmanager
def beside(call: str, processors: int) -> Iterator[None]:
    """In a block, the first kernel that is not in the cache starts the helpers of a call; they end with the block."""
    begun = False
    try:
        with held(), _lock:
            _calls.append((call, processors))
            begun = True
        if nothing_kept():
            start()  # a second before a kernel is asked for
        yield
    finally:
        with held():
            if begun:
                _over((call, processors))


def _over(call: tuple[str, int]) -> None:
    """A call has ended; after the last one so do the helpers."""
    with _lock:
        _calls.remove(call)
        ended = [] if _calls else _running[:]
        del _running[: len(ended)]
    for process in ended:
        _end(process)
    if ended:
        claims.give(CLAIM)


@contextlib.contextmanager
def telling(report: Callable[..., None]) -> Iterator[None]:
    """In a block, report("compiling fit, once", kernels, 0) when one is about to be compiled, and when it is done."""
    told.append(report)
    try:
        yield
    finally:
        told.remove(report)


def tell(begun: int) -> None:
    """One more kernel is being compiled, or, with 0, is done."""
    global _compiled
    with held(), _lock:
        _compiled += begun
        call = _calls[0][0].split()[0] if _calls else "kernels"
    for report in told[:1]:
        report(f"compiling {call}, once", _compiled, 0)


def start() -> None:
    """Called when a kernel is about to be compiled."""
    with held(), _lock:
        if not _calls or not _possible():
            return
        call, processors = _calls[0]
        if call in _helped or processors < 2 or free_memory() < ROOM:
            return
        _helped.add(call)
        if not claims.take(CLAIM):
            return
        for number in range(min(MOST, processors - 1)):
            with contextlib.suppress(OSError):
                _running.append(_started(call, number))


def take_part() -> None:
    """Called where a call would wait for what helpers are at: compile what it needs later."""
    with held(), _lock:
        call = _calls[0][0] if _calls and _running else None
    if call is not None:
        import_module(REHEARSAL).take_part(call)


def _possible() -> bool:
    if os.environ.get("NUMBA_DISABLE_JIT", "0") not in ("", "0"):
        return False
    return MARK not in os.environ and claims.possible() and is_python(sys.executable)


def free_memory() -> float:
    """Bytes that this machine, or container, has left; infinity where it does not say."""
    left = [float("inf")]
    with contextlib.suppress(OSError, ValueError, IndexError):
        text = Path("/proc/meminfo").read_text()
        left.append(1024.0 * int(text.partition("MemAvailable:")[2].split()[0]))
    with contextlib.suppress(OSError, ValueError):
        group = Path("/sys/fs/cgroup")
        limit, used = ((group / f"memory.{name}").read_text() for name in ("max", "current"))
        left.append(float(int(limit) - int(used)))
    return min(left)


def is_python(executable: str | None) -> bool:
    """Whether it is an interpreter, not a program with Python inside, which would be run a second time."""
    name = os.path.basename(executable or "")
    return not getattr(sys, "frozen", False) and bool(
        re.fullmatch(r"python[\d.]*[dmtuw]*(\.exe)?", name, re.I)
    )


def _started(call: str, number: int) -> subprocess.Popen:
    folder = cache_folder()
    assert folder is not None  # else nothing could be claimed
    environment = {MARK: "1", "FASTTANGENT_CACHE": str(folder.parent)}
    return interpreter(REHEARSAL, "help_out", {"call": call, "number": number}, environment)


def interpreter(
    module: str,
    function: str,
    arguments: Mapping[str, object],
    environment: Mapping[str, str],
    *,
    listen: bool = False,
) -> subprocess.Popen:
    """A new one that calls a function; its end is ours, and with `listen` what it prints is for us to read."""
    process = subprocess.Popen(
        [sys.executable, *_flags(), "-c", CODE],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE if listen else subprocess.DEVNULL,
        stderr=None if listen else subprocess.DEVNULL,
        env={**os.environ, **environment},
    )
    job = {
        "path": list(map(str, sys.path)),
        "module": module,
        "function": function,
        "arguments": dict(arguments),
    }
    assert process.stdin is not None
    with contextlib.suppress(OSError):  # it has ended already
        process.stdin.write(json.dumps(job).encode() + b"\n")
        process.stdin.flush()  # and stays open
    return process


def _flags() -> list[str]:
    """How we were told to be careful, if we were."""
    return ["-I"] if sys.flags.isolated else ["-E"] if sys.flags.ignore_environment else []


def _end(process: subprocess.Popen) -> None:
    process.kill()
    process.wait()
    with contextlib.suppress(OSError):
        process.stdin.close()  # type: ignore[union-attr]


def end_with_parent() -> None:
    """In a helper: end at once when the process that started it does, and leave no half-written file."""

    def watch() -> None:
        sys.stdin.buffer.read()
        os._exit(0)

    threading.Thread(target=watch, daemon=True).start()


def _forget() -> None:
    """After a fork: another's helpers are none of ours."""
    global _lock
    _lock = threading.Lock()
    _running.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
