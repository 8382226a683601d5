"""Threads of our own: errors, nesting, other pools, forks, interrupts."""

import os
import random
import signal
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from helpers import python, random_problem

from fasttangent.common import parallel


def squares(n, n_threads):
    found = np.zeros(n)

    def task(i):
        found[i] = i * i

    parallel.run(task, n, n_threads)
    return found


@pytest.mark.parametrize("n_threads", [1, 2, 3, 16])
@pytest.mark.parametrize("n", [0, 1, 2, 5, 100])
def test_every_task_runs_once(n, n_threads):
    calls = []
    parallel.run(calls.append, n, n_threads)
    assert sorted(calls) == list(range(n))


def test_helpers_help():
    """Two tasks that wait for each other end only if two threads run them."""
    barrier = threading.Barrier(2, timeout=60)
    parallel.run(lambda i: barrier.wait(), 2, 2)


def test_no_more_threads_than_asked_for():
    squares(10, 5)  # a larger pool exists
    inside, most, lock = [0], [0], threading.Lock()
    release = threading.Event()

    def task(i):
        with lock:
            inside[0] += 1
            most[0] = max(most[0], inside[0])
        release.wait(0.005)
        with lock:
            inside[0] -= 1

    parallel.run(task, 20, 2)
    assert most[0] <= 2


@pytest.mark.parametrize("n_threads", [1, 2, 4])
@pytest.mark.parametrize("error", [ValueError("seven"), KeyboardInterrupt(), SystemExit(3)])
def test_errors_reach_the_caller_and_stop_the_rest(error, n_threads):
    calls = []

    def task(i):
        calls.append(i)
        if i == 7:
            raise error
        if i > 7:
            threading.Event().wait(0.001)  # or another thread does the rest before the error is seen

    with pytest.raises(type(error)):
        parallel.run(task, 10_000, n_threads)
    assert len(calls) < 10_000
    settled = len(calls)
    np.testing.assert_array_equal(squares(50, n_threads), np.arange(50.0) ** 2)  # the pool still works
    assert len(calls) == settled


def test_an_error_in_a_helper_reaches_the_caller():
    caller, barrier = threading.get_ident(), threading.Barrier(2, timeout=60)

    def task(i):
        barrier.wait()
        if threading.get_ident() != caller:
            raise ValueError("from a helper")

    with pytest.raises(ValueError, match="from a helper"):
        parallel.run(task, 2, 2)


def test_the_call_returns_only_when_running_tasks_have_ended():
    caller, started, ended = threading.get_ident(), threading.Event(), []

    def task(i):
        if threading.get_ident() == caller:
            started.wait()
            raise KeyboardInterrupt
        started.set()
        threading.Event().wait(0.05)
        ended.append(i)

    with pytest.raises(KeyboardInterrupt):
        parallel.run(task, 2, 2)
    assert len(ended) == 1


def test_nested_calls_do_not_wait_for_each_other():
    found = np.zeros((6, 20))

    def outer(i):
        def inner(j):
            found[i, j] = 100 * i + j

        parallel.run(inner, 20, 3)

    parallel.run(outer, 6, 3)
    np.testing.assert_array_equal(found, 100.0 * np.arange(6)[:, None] + np.arange(20))


def test_inside_other_threads():
    """Callers with ever larger demands at once: the pool is replaced under their feet."""
    sizes = [2, 3, 5, 8, 13, 4, 2, 21]
    random.Random(0).shuffle(sizes)

    def call(n_threads):
        return all((squares(30, n_threads) == np.arange(30.0) ** 2).all() for _ in range(30))

    parallel._forget_helpers()
    with ThreadPoolExecutor(len(sizes)) as pool:
        assert all(pool.map(call, sizes))


def kernel_sums():
    problem, theta, V = random_problem((3, 5, 2), 400, threads=2)
    return problem.product(theta, V)


def test_kernels_inside_other_threads():
    expected = kernel_sums()
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(lambda _: kernel_sums(), range(12)):
            np.testing.assert_array_equal(found, expected)


FORK = """
import os, sys, warnings
import numpy as np
from test_parallel import kernel_sums, squares

expected = kernel_sums()  # helpers exist before the fork
child = os.fork()
if child == 0:
    right = (kernel_sums() == expected).all() and squares(100, 3)[9] == 81
    os._exit(0 if right else 1)
_, status = os.waitpid(child, 0)
assert (kernel_sums() == expected).all()
sys.exit(os.waitstatus_to_exitcode(status))
"""


def test_a_forked_child_computes_the_same():
    python("-c", FORK, file=__file__)


def test_sigint_during_tasks():
    caller, calls = threading.get_ident(), []

    def task(i):
        calls.append(i)
        if threading.get_ident() == caller:
            signal.raise_signal(signal.SIGINT)
        threading.Event().wait(0.001)

    with pytest.raises(KeyboardInterrupt):
        parallel.run(task, 10_000, 2)
    assert len(calls) < 10_000


AIMED = """
import concurrent.futures, faulthandler, signal, sys, threading
import numpy as np
from fasttangent.common import parallel
from fasttangent.common import interrupts
from helpers.interrupts import Aim
from test_parallel import squares

faulthandler.dump_traceback_later(100, exit=True)
MODULES = (parallel, interrupts, concurrent.futures.thread, concurrent.futures._base, threading)
FILES = [module.__file__ for module in MODULES]
ended = threading.Event()


def task(i, heed=None):
    inside.append(i)
    ended.wait(0.0005)
    inside.remove(i)


def quick(done, n, last):
    return None


missed, at, step = 0, 1, int(sys.argv[1])
while not missed:  # until an aim is past the end
    for call in (lambda: parallel.run(task, 6, 2), lambda: parallel.map(task, 3, 2, quick)):
        inside = []
        try:
            with Aim(FILES, at) as aim:
                call()
            assert not aim.hit, f"interrupt {at} was lost"
            missed += 1
        except KeyboardInterrupt:
            assert aim.hit
            assert not inside, "a task is still running"
        assert (squares(20, 2) == np.arange(20.0) ** 2).all()
    missed *= missed == 2
    at += step
print(at)
"""


@pytest.mark.parametrize("step", [5, pytest.param(1, marks=pytest.mark.slow)])
def test_sigint_at_any_moment_of_a_call(step):
    """At every line and return of `run` and `map` and of what they use: heard, no task left behind, no lock lost."""
    assert int(python("-c", AIMED, str(step), file=__file__)) > 100


def test_available():
    assert 1 <= parallel.available() <= (os.cpu_count() or 1)


def test_map_keeps_the_order_and_reports_in_the_callers_thread():
    seen, caller = [], threading.get_ident()

    def report(done, n, last):
        assert threading.get_ident() == caller
        seen.append((done, n))

    assert parallel.map(lambda i, heed: i * i, 20, 3, report) == [i * i for i in range(20)]
    assert seen == [(i, 20) for i in range(21)]
    assert parallel.map(lambda i, heed: i, 0, 3) == []


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_map_ends_all_tasks_at_an_error_and_keeps_what_is_done(threads):
    def task(i, heed):
        if i == 1:
            raise ValueError("one")
        if i > 1:
            while True:
                heed("anything")
                threading.Event().wait(0.001)
        return i

    with pytest.raises(ValueError, match=r"^one$") as caught:
        parallel.map(task, 6, threads)
    assert caught.value.results[1:] == [None] * 5
    assert caught.value.results[0] in (0, None)


def test_map_hears_ctrl_c_while_tasks_run():
    timer = threading.Timer(0.2, lambda: signal.pthread_kill(threading.main_thread().ident, signal.SIGINT))

    def task(i, heed):
        while i:
            heed()
            threading.Event().wait(0.001)
        return i

    timer.start()
    with pytest.raises(KeyboardInterrupt) as caught:
        parallel.map(task, 3, 2)
    assert caught.value.results == [0, None, None]
