"""Threads: `run` for kernels, a pool of our own around functions that release the GIL; `map` for larger tasks.

Work is split into tasks whose number and borders depend on the data alone; threads only decide who does
which, and every task writes to a place of its own.  So results are bit-identical for any number of threads.

Here the caller works through the tasks itself and idle helpers join in, so a call from a forked child, from inside
another thread pool or from one of our own helpers can neither abort nor deadlock.  A call costs about 10 microseconds.

Numba's ``parallel=True`` is there as well, where it was asked for (`kernels.launch`), for what settling launches most.
It is not the default: with the omp layer a forked child that launches is aborted, with the workqueue layer two threads
that launch at once are, every driver takes seconds to compile, and where others use the processors, too, a launch waits
for a thread that is not running: 8 milliseconds where here the caller does the work itself (bench/PARALLEL.md).
"""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue
from typing import Generic, TypeVar

from fasttangent.common.interrupts import held

T = TypeVar("T")

OURS = "fasttangent"  # how the names of our threads begin

_lock = threading.Lock()
_helpers: ThreadPoolExecutor | None = None
_helpers_size = 0


def available() -> int:
    """Cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def run(task: Callable[[int], object], n_tasks: int, threads: int) -> None:
    """Call task(0) ... task(n_tasks - 1), by at most `threads` threads at once; the first error is raised.

    On an error or an interrupt no new task is started, and the call returns only when running tasks have
    ended: nothing writes to the caller's arrays afterwards.
    """
    helpers = min(threads, n_tasks) - 1
    if helpers <= 0:
        for number in range(n_tasks):
            task(number)
        return
    numbers = _SharedNumbers(n_tasks)
    with held(numbers.stop):
        _share(task, numbers, helpers)


def _share(task: Callable[[int], object], numbers: _SharedNumbers, n_helpers: int) -> None:
    def work() -> None:
        try:
            for number in numbers:
                task(number)
        except BaseException:
            numbers.stop()
            raise

    with _lock:  # another caller may be about to replace the pool
        pool = _pool(n_helpers)
        helpers = [pool.submit(work) for _ in range(n_helpers)]
    try:
        work()
    finally:
        for helper in helpers:
            if not helper.cancel():
                helper.exception()  # waits
    for helper in helpers:
        if not helper.cancelled():
            helper.result()


def map(
    task: Callable[[int, Callable[..., None]], T],
    n: int,
    threads: int,
    report: Callable[[int, int, T | None], object] = lambda done, n, last: None,
) -> list[T]:
    """[task(0, heed), ..., task(n - 1, heed)], so many at once, in threads that are not those of `run`.

    For work in which a task is more than a kernel: a fit, a refit.  The caller's thread waits, and so hears Ctrl-C at
    any time; `heed`, which takes any arguments, is what a task calls now and then to hear of it too: it raises
    KeyboardInterrupt once the others are to end.  `report` is called in the caller's thread, with the number of tasks
    done, n, and the last result.

    Raises
    ------
    The first error of a task, of `report`, or KeyboardInterrupt, when running tasks have ended (a second Ctrl-C does
    not wait for them).  It has an attribute ``results``, a list of n, with None where there is no result.
    """
    if n == 0:
        return []
    tasks = _Tasks(task, n, threads)
    try:
        with held(tasks.wake), tasks:
            tasks.start()
            report(0, n, None)
            for done in range(1, n + 1):
                future = tasks.wait()
                if future is None:
                    break
                report(done, n, future.result())
    except BaseException as error:
        vars(error)["results"] = [*_results(tasks.futures), *[None] * (n - len(tasks.futures))]
        raise
    return [future.result() for future in tasks.futures]


class _Tasks(Generic[T]):
    """Tasks in a pool, and a way to wait for the next one to end, or for a signal.

    No handler of a signal wants a lock that is held here: `get` and `put` of a SimpleQueue are made for that.
    """

    def __init__(self, task: Callable[[int, Callable[..., None]], T], n: int, threads: int) -> None:
        self._task, self._n = task, n
        self._pool = ThreadPoolExecutor(min(n, threads), "fasttangent-task")
        self._ended: SimpleQueue[Future[T] | None] = SimpleQueue()
        self._left, self._woken, self._stopped = 0, 0, False
        self.futures: list[Future[T]] = []

    def __enter__(self) -> None:
        """Nothing; what is left at the end of the block is ended."""

    def start(self) -> None:
        for i in range(self._n):
            self.futures.append(self._pool.submit(self._one, i))
            self._left += 1
            self.futures[i].add_done_callback(self._ended.put)

    def _one(self, i: int) -> T:
        self._heed()
        return self._task(i, self._heed)

    def _heed(self, *_: object, **__: object) -> None:
        if self._stopped:
            raise KeyboardInterrupt

    def wake(self) -> None:
        """End the waiting of this moment, or the next."""
        self._woken += 1
        self._ended.put(None)

    def wait(self) -> Future[T] | None:
        """The next task that has ended; None when woken."""
        found = self._ended.get()
        self._left -= found is not None
        return found

    def __exit__(self, *_: object) -> None:
        """Start no more tasks, tell those that run, and wait for them, unless woken again."""
        self._stopped, woken = True, self._woken
        self._pool.shutdown(wait=False, cancel_futures=True)
        while self._left and self._woken == woken:
            self.wait()
        if not self._left:
            self._pool.shutdown()


def _results(futures: list[Future[T]]) -> list[T | None]:
    """What tasks ended with; None for one that failed, was never started or has not ended."""
    ended = (f.done() and not f.cancelled() and f.exception() is None for f in futures)
    return [future.result() if well else None for future, well in zip(futures, ended, strict=True)]


class _SharedNumbers:
    """0 ... n - 1, each handed out once; `next` of itertools.count is atomic under the GIL."""

    def __init__(self, n: int) -> None:
        self._n = n
        self._count = itertools.count()

    def __iter__(self) -> _SharedNumbers:
        return self

    def __next__(self) -> int:
        number = next(self._count)
        if number >= self._n:
            raise StopIteration
        return number

    def stop(self) -> None:
        """Hand out no more."""
        self._n = 0


def alone() -> bool:
    """Whether the main thread asks, and no other is there but ours, which are idle then."""
    here = threading.current_thread()
    others = (thread for thread in threading.enumerate() if thread is not here)
    return here is threading.main_thread() and all(thread.name.startswith(OURS) for thread in others)


def _pool(size: int) -> ThreadPoolExecutor:
    global _helpers, _helpers_size
    if _helpers is None or _helpers_size < size:
        # A pool that is too small is left to finish its work; its idle threads end with it.
        if _helpers is not None:
            _helpers.shutdown(wait=False)
        _helpers = ThreadPoolExecutor(size, thread_name_prefix=OURS)
        _helpers_size = size
    return _helpers


def _forget_helpers() -> None:
    """Threads do not survive a fork: the child makes its own, and a lock that nobody holds."""
    global _lock, _helpers, _helpers_size
    _lock, _helpers, _helpers_size = threading.Lock(), None, 0


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_helpers)
