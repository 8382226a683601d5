"""`map` in forked children, for small tasks that are mostly Python: threads would only take turns in it.

A child has what its parent had, compiled code above all, and computes the same to the bit.  It must find no lock taken
that nobody is left to give back; so a fork is `possible` only while no thread but ours is there.
"""

from __future__ import annotations

import gc
import mmap
import os
import pickle
import selectors
import signal
import struct
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

from fasttangent.common import parallel
from fasttangent.common.interrupts import held

T = TypeVar("T")

NUMBER, LENGTH = struct.Struct("I"), struct.Struct("Q")
SMALL = 3e6  # multiplications of a pass over the rows of a task, up to where it is mostly Python
MOST = 8192  # tasks: a pipe holds the numbers of twice as many
BYTES = 1 << 20  # read at once
_loaded: set[object] = set()  # kinds of tasks that have run here


def possible(n: int) -> bool:
    """Whether n tasks can be done by children: on Linux, asked for by the main thread, beside idle threads of ours."""
    return sys.platform == "linux" and n <= MOST and parallel.alone()


def mapping(n: int, threads: int, multiplications: float, kind: object) -> Callable[..., list[Any]]:
    """`map` for n tasks: in children if they are small, by the multiplications of a pass over rows, else in threads.

    Tasks of one kind run the same compiled code.
    """
    if min(n, threads) == 1 or multiplications > SMALL or not possible(n):
        return parallel.map
    if kind in _loaded:
        return map
    _loaded.add(kind)
    return _map_after_the_first


def _map_after_the_first(
    task: Callable[[int, Callable[..., None]], T],
    n: int,
    processes: int,
    report: Callable[[int, int, T | None], object] = lambda done, n, last: None,
) -> list[T]:
    """As `map`, but the first task here: the code that it loads or compiles, every child would else, every time."""
    found: list[Any] = []
    try:
        found += parallel.map(
            lambda _, heed: task(0, heed), 1, 1, lambda done, _, last: report(done, n, last)
        )
        found += map(
            lambda i, heed: task(i + 1, heed),
            n - 1,
            processes,
            lambda done, _, last: report(done + 1, n, last) if done else None,
        )
    except BaseException as error:
        found += vars(error).get("results", [])
        vars(error)["results"] = found + [None] * (n - len(found))
        raise
    return found


def map(
    task: Callable[[int, Callable[..., None]], T],
    n: int,
    processes: int,
    report: Callable[[int, int, T | None], object] = lambda done, n, last: None,
) -> list[T]:
    """As `parallel.map`, every task in a child; what tasks change elsewhere than in their result is lost."""
    children = _Children(task, n)
    try:
        with held(children.stop), children:
            children.start(min(n, processes))
            report(0, n, None)
            for done, result in enumerate(children.results(), 1):
                report(done, n, result)
                if done == n:
                    break
    except BaseException as error:
        vars(error)["results"] = children.found
        raise
    return children.found  # type: ignore[return-value]


class _Children(Generic[T]):
    """Processes that take numbers of tasks from a pipe, each with a pipe for its results."""

    def __init__(self, task: Callable[[int, Callable[..., None]], T], n: int) -> None:
        self.found: list[T | None] = [None] * n
        self._task, self._parent, self._stopped, self._woken = task, os.getpid(), mmap.mmap(-1, 1), 0
        self._numbers, into = os.pipe()
        os.write(into, b"".join(NUMBER.pack(i) for i in range(n)))
        os.close(into)
        self._bell = os.pipe()
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._bell[0], selectors.EVENT_READ)
        self._pids: dict[int, int] = {}  # by the pipe of its results
        self._read: dict[int, bytearray] = {}

    def __enter__(self) -> None:
        """Nothing; what is left at the end of the block is ended."""

    def start(self, processes: int) -> None:
        for _ in range(processes):
            results, into = os.pipe()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # of Python 3.12 on, about other threads
                pid = os.fork()
            if pid == 0:
                self._work(into, [*self._pids, results])
            os.close(into)
            self._pids[results], self._read[results] = pid, bytearray()
            self._selector.register(results, selectors.EVENT_READ)

    def _work(self, into: int, read_by_the_parent: list[int]) -> None:
        """All that a child does; never returns."""
        try:
            for results in read_by_the_parent:
                os.close(results)  # so that writing to it fails once the parent has gone
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears it, and tells
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            gc.freeze()  # a collection would write to all that is there, and so copy it
            while number := os.read(self._numbers, NUMBER.size):
                _write(into, self._message(NUMBER.unpack(number)[0]))
        finally:
            os._exit(0)

    def _message(self, i: int) -> bytes:
        with warnings.catch_warnings(record=True) as heard:
            try:
                self._heed()
                said: tuple[bool, Any] = True, self._task(i, self._heed)
            except BaseException as error:
                said = False, error
        told = [(w.message, w.category, w.filename, w.lineno) for w in heard]
        try:
            sent = pickle.dumps((i, *said, told), protocol=5)
            if not said[0]:
                pickle.loads(sent)  # which not every error allows
            return sent
        except Exception as error:
            return pickle.dumps((i, False, RuntimeError(f"{said[1]!r}: {error}"), []), protocol=5)

    def _heed(self, *_: object, **__: object) -> None:
        if self._stopped[0] or os.getppid() != self._parent:
            raise KeyboardInterrupt

    def stop(self) -> None:
        """Let children end, and end the waiting of this moment, or the next."""
        self._stopped[0], self._woken = 1, self._woken + 1
        os.write(self._bell[1], b"!")

    def results(self) -> Iterator[T]:
        """As they come, until woken; the first error is raised."""
        done = 0
        for i, well, value, heard in self._messages():
            for message, category, filename, line in heard:
                warnings.warn_explicit(message, category, filename, line)
            if not well:
                raise value
            self.found[i] = value
            done += 1
            yield value
        if done < len(self.found) and not self._woken:
            raise RuntimeError("the processes that ran tasks were ended; was there enough memory?")

    def _messages(self) -> Iterator[tuple[int, bool, Any, list[Any]]]:
        woken = self._woken
        while self._pids and self._woken == woken:
            for key, _ in self._selector.select():
                if key.fd != self._bell[0]:
                    yield from self._from(key.fd)
                else:
                    os.read(key.fd, 1)

    def _from(self, results: int) -> Iterator[tuple[int, bool, Any, list[Any]]]:
        more, read = os.read(results, BYTES), self._read[results]
        if not more:
            self._selector.unregister(results)
            os.close(results)
            if status := _ended(self._pids.pop(results)):
                raise RuntimeError(
                    f"a process that ran tasks was ended by signal {os.WTERMSIG(status)}; was there enough memory?"
                )
        read += more
        while len(read) >= LENGTH.size and len(read) >= (end := LENGTH.size + LENGTH.unpack_from(read)[0]):
            message = pickle.loads(read[LENGTH.size : end])
            del read[:end]
            yield message

    def __exit__(self, *_: object) -> None:
        """Start no more tasks, tell those that run, and wait for them, unless woken again."""
        self._stopped[0] = 1
        try:
            for i, well, value, _heard in self._messages():
                self.found[i] = value if well else None
        finally:
            for results, pid in self._pids.items():
                os.kill(pid, signal.SIGKILL)
                _ended(pid)
                os.close(results)
            self._selector.close()
            for end in (self._numbers, *self._bell):
                os.close(end)


def _ended(pid: int) -> int:
    """The status of a child that ends; 0 where the program ignores SIGCHLD, and so nobody is told."""
    try:
        return os.waitpid(pid, 0)[1]
    except ChildProcessError:
        return 0


def _write(into: int, message: bytes) -> None:
    data = memoryview(LENGTH.pack(len(message)) + message)
    while data:
        data = data[os.write(into, data) :]
