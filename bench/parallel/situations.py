"""Situations in which a launch of Numba's threads aborts, hangs or leaves something behind, each for a new process.

    python -m bench.parallel.situations NAME [bare]

prints a line for every time that `work` was done: its digest and by what.  With `bare` nothing is asked before a
launch: what would happen without the switch.  The layer is that of $NUMBA_THREADING_LAYER.
"""

from __future__ import annotations

import ctypes
import faulthandler
import gc
import multiprocessing
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib import import_module

import numba

from bench.common import forks

PATIENCE = 120.0  # seconds, then all stacks are printed and the process ends
AT_ONCE = 32


def report(before: str = "") -> str:
    """Of `work`, which is imported when it is first asked for: some situations are about that moment."""
    from bench.parallel import work
    from fasttangent.kernels import launch

    if "bare" in sys.argv:
        launch.obstacle = lambda threads: ""
    return work.report(before)


@numba.njit(parallel=True)
def users_sum(n: int) -> float:
    """Somebody's own parallel code."""
    total = 0.0
    for i in numba.prange(n):
        total += i
    return total


def in_fork(task: Callable[[], str]) -> str:
    """What a task in a forked child returns, or how the child ended."""
    found, status = forks.in_fork(task, int(PATIENCE / 3))
    return found if status == 0 else f"child ended with status {status}"


def alone() -> list[str]:
    return [report(), report()]


def forked() -> list[str]:
    return [report("parent "), in_fork(lambda: report("child ")), report("parent ")]


def forked_twice() -> list[str]:
    """A child of a child."""
    return [report("parent "), in_fork(lambda: in_fork(lambda: report("grandchild ")))]


def forked_from_a_thread() -> list[str]:
    found = [report("parent ")]
    thread = threading.Thread(target=lambda: found.append(in_fork(lambda: report("child "))))
    thread.start()
    thread.join()
    return [*found, report("parent ")]


def forked_before_the_import() -> list[str]:
    """Somebody's own parallel code, a fork, and only then we."""
    users_sum(1000)
    return [in_fork(lambda: report("child "))]


def users_code_before() -> list[str]:
    users_sum(1000)
    return [report()]


def multiprocessing_fork() -> list[str]:
    found = [report("parent ")]
    with multiprocessing.get_context("fork").Pool(2) as pool:
        return found + pool.map_async(report, ["child "] * 4).get(PATIENCE / 3)


def multiprocessing_spawn() -> list[str]:
    found = [report("parent ")]
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        return found + pool.map_async(report, ["child "] * 2).get(PATIENCE)


def fits_in_forks() -> list[str]:
    """`fit_many`, whose small fits run in forked children of ours."""
    import numpy as np

    import fasttangent as ft

    found = [report()]
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(40, 2)), rng.normal(size=40)
    tasks = [{"X": X, "y": y, "hidden": (3,), "epochs": 2, "seed": s} for s in range(4)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        one, two = (ft.fit_many(tasks, threads=threads) for threads in (1, 2))
    assert all((a.params == b.params).all() for a, b in zip(one, two, strict=True))
    return [*found, report()]


def threads_at_once() -> list[str]:
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(lambda _: report(), range(AT_ONCE)))


def beside_users_code() -> list[str]:
    """Another thread launches somebody's own parallel code all the time."""
    users_sum(10)
    ended, sums = threading.Event(), []

    def others() -> None:
        while not ended.is_set():
            sums.append(users_sum(1000))

    thread = threading.Thread(target=others)
    thread.start()
    try:
        return [report() for _ in range(5)]
    finally:
        ended.set()
        thread.join()
        assert set(sums) == {499500.0}


def inside_users_prange() -> list[str]:
    """Somebody's own parallel loop, whose body calls Python and so us."""
    found = [report("before ")]

    @ctypes.CFUNCTYPE(ctypes.c_double, ctypes.c_double)
    def callback(i: float) -> float:
        found.append(report("inside "))
        return i

    @numba.njit(parallel=True)
    def loop(n: int) -> float:
        total = 0.0
        for i in numba.prange(n):
            total += callback(float(i))
        return total

    assert loop(4) == 6
    return [*found, report("after ")]


def inside_users_objmode() -> list[str]:
    """The same by Numba's own way back to Python."""
    found = []

    @numba.njit(parallel=True)
    def loop(n: int) -> float:
        total = 0.0
        for i in numba.prange(n):
            with numba.objmode(one="float64"):
                found.append(report("inside "))
                one = 1.0
            total += one + i
        return total

    assert loop(4) == 10
    return [*found, report("after ")]


def users_number_of_threads() -> list[str]:
    """Somebody's number of threads is the same after a call, after an error and after Ctrl-C."""
    from bench.parallel import work
    from fasttangent.kernels import launch

    found = []
    for number in (1, numba.config.NUMBA_NUM_THREADS):
        numba.set_num_threads(number)
        found.append(report(f"{number} "))
        assert numba.get_num_threads() == number

        def failing() -> bool:
            raise ValueError("of a driver")

        for threads in (1, 2):
            for error, driver in (
                (ValueError, failing),
                (MemoryError, lambda: False),
                (KeyboardInterrupt, lambda: signal.raise_signal(signal.SIGINT) is None),
            ):
                try:
                    launch.launched(driver, threads)
                    assert launch.obstacle(threads), "no error"
                except error:
                    pass
                assert numba.get_num_threads() == number
    return [*found, work.report()]


def interrupted() -> list[str]:
    """Ctrl-C at any moment of many calls."""
    found, heard = [report()], 0
    main = threading.main_thread().ident
    gc.collect()  # what loading left: Python drops what is raised in a destructor
    for i in range(200):
        timer = threading.Timer(1e-4 * (i % 40), partial(signal.pthread_kill, main, signal.SIGINT))
        try:
            timer.start()
            for _ in range(1000):
                report()
        except KeyboardInterrupt:
            heard += 1
        timer.join()
    assert heard == 200, heard
    assert numba.get_num_threads() == numba.config.NUMBA_NUM_THREADS
    return [*found, report()]


def within_our_threads() -> list[str]:
    """From tasks of our own pools."""
    from fasttangent.common import parallel

    found = [report()]
    parallel.run(lambda i: found.append(report()), 6, 2)
    return found + parallel.map(lambda i, heed: report(), 6, 3)


def one_thread_of_numba() -> list[str]:
    """$NUMBA_NUM_THREADS is 1, as in workers of loky."""
    import subprocess

    command = [sys.executable, "-m", "bench.parallel.situations", "alone", *sys.argv[2:]]
    done = subprocess.run(
        command, env={**os.environ, "NUMBA_NUM_THREADS": "1"}, check=True, capture_output=True, text=True
    )
    return done.stdout.splitlines()


def joblib_loky() -> list[str]:
    return _joblib("loky")


def joblib_threading() -> list[str]:
    return _joblib("threading")


def joblib_multiprocessing() -> list[str]:
    return _joblib("multiprocessing")


def _joblib(backend: str) -> list[str]:
    from joblib import Parallel, delayed

    found = [report("parent ")]
    return found + Parallel(n_jobs=4, backend=backend)(delayed(report)("worker ") for _ in range(8))


def dask_threads() -> list[str]:
    """Workers of Dask that are threads of this process."""
    return _dask(False)


def dask_processes() -> list[str]:
    """Workers of Dask that are processes with two threads each."""
    return _dask(True)


def _dask(processes: bool) -> list[str]:
    from dask.distributed import Client, LocalCluster

    found = [report("parent ")]
    with (
        LocalCluster(
            n_workers=2, threads_per_worker=2, processes=processes, dashboard_address=None
        ) as cluster,
        Client(cluster) as client,
    ):
        futures = [client.submit(report, f"worker {i} ", pure=False) for i in range(8)]
        return found + [future.result(timeout=PATIENCE) for future in futures]


SITUATIONS: dict[str, Callable[[], list[str]]] = {
    function.__name__: function
    for function in (
        alone,
        users_code_before,
        forked,
        forked_twice,
        forked_from_a_thread,
        forked_before_the_import,
        multiprocessing_fork,
        multiprocessing_spawn,
        fits_in_forks,
        threads_at_once,
        beside_users_code,
        within_our_threads,
        inside_users_prange,
        inside_users_objmode,
        users_number_of_threads,
        interrupted,
        one_thread_of_numba,
        joblib_loky,
        joblib_threading,
        joblib_multiprocessing,
        dask_threads,
        dask_processes,
    )
}
PACKAGES = {name: name.split("_")[0] for name in SITUATIONS if name.startswith(("joblib", "dask"))}


def main() -> None:
    faulthandler.enable()
    faulthandler.dump_traceback_later(PATIENCE, exit=True)
    for line in SITUATIONS[sys.argv[1]]():
        print(line, flush=True)


if __name__ == "__main__":
    import_module("bench.parallel.situations").main()  # whose functions other processes can find
