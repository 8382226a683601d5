"""One thread for BLAS: bounded inside, given back outside, whatever happens in between."""

import _thread
import contextlib
import os
import sys
import threading
import time
from collections import Counter, defaultdict

import pytest
import scipy.linalg  # noqa: F401  its BLAS is loaded
from threadpoolctl import ThreadpoolController, threadpool_limits

from fasttangent.common import blas
from fasttangent.common.blas import one_thread

LOADED = ThreadpoolController().select(user_api="blas")
MINE = 3  # threads that the user of these tests has set


def limits():
    return {one.num_threads for one in LOADED.lib_controllers}


@pytest.fixture(autouse=True)
def user():
    """Somebody who wants so many threads, from the main thread and for good."""
    before = threadpool_limits(MINE, user_api="blas")
    assert limits() == {MINE}
    yield
    after = limits()
    before.restore_original_limits()
    assert after == {MINE}


def in_thread(function):
    """What a function returns in a thread of its own."""
    found = []
    thread = threading.Thread(target=lambda: found.append(function()))
    thread.start()
    thread.join(60)
    return found[0]


class Inside:
    """A thread that stays in `one_thread` until it is told to leave."""

    def __init__(self):
        self.entered, self.told = threading.Event(), threading.Event()
        self.thread = threading.Thread(target=self.stay)
        self.thread.start()
        assert self.entered.wait(60)

    def stay(self):
        with one_thread():
            self.entered.set()
            assert self.told.wait(60)

    def leave(self):
        self.told.set()
        self.thread.join(60)


def test_one_inside_and_given_back():
    with one_thread():
        assert limits() == {1}
        with one_thread():
            assert limits() == {1}
        assert limits() == {1}
    assert limits() == {MINE}


def test_a_limit_of_one_stays():
    with threadpool_limits(1, user_api="blas"):
        with one_thread():
            assert limits() == {1}
        assert limits() == {1}


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit, GeneratorExit])
def test_errors(error):
    with pytest.raises(error), one_thread():
        raise error
    assert limits() == {MINE}


def test_any_thread_may_enter():
    """threadpoolctl heeds, of OpenBLAS, the first thread alone that sets a limit: here the main thread."""

    def other():
        with one_thread():
            return limits()

    assert in_thread(other) == {1}
    assert limits() == {MINE}


def test_the_last_to_leave_gives_back():
    first, second = Inside(), Inside()
    first.leave()
    assert limits() == {1}
    third = Inside()
    second.leave()
    assert limits() == {1}
    with one_thread():
        pass
    assert limits() == {1}
    third.leave()
    assert limits() == {MINE}


def test_many_threads():
    wrong = []

    def work():
        for _ in range(300):
            with one_thread():
                if {library.get() for library in blas.libraries(True)} != {1}:
                    wrong.append(1)

    threads = [threading.Thread(target=work) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not wrong


def set_by_user(number):
    """In the main thread, which threadpoolctl heeds."""
    threadpool_limits(number, user_api="blas")


def test_a_limit_set_meanwhile_stays():
    inside = Inside()
    set_by_user(2)
    inside.leave()
    assert limits() == {2}
    set_by_user(MINE)


def test_a_limit_set_meanwhile_is_lowered_by_the_next_and_given_back():
    inside = Inside()
    set_by_user(2)
    with one_thread():
        assert limits() == {1}
    inside.leave()
    assert limits() == {2}
    set_by_user(MINE)


def test_limits_of_a_thread_are_given_back_by_that_thread(monkeypatch):
    """As those of an OpenBLAS made with OpenMP."""
    limit = threading.local()
    library = blas.Library(
        "x", lambda: getattr(limit, "n", 5), lambda n: setattr(limit, "n", n), by_thread=True
    )
    monkeypatch.setattr(blas, "libraries", lambda scipy_too: (library,))

    def other():
        with one_thread():
            inside = library.get()
        return inside, library.get()

    with one_thread():
        assert in_thread(other) == (1, 5)
        assert library.get() == 1
    assert library.get() == 5


def test_libraries_loaded_later_are_found():
    """SciPy brings a BLAS of its own."""
    blas.libraries.cache_clear()
    with one_thread():
        assert limits() == {1}
    assert len(blas.libraries(True)) >= len(blas.libraries(False))


# ---- interrupts ----


def interrupted_at(moment):
    """Enter and leave, with a SIGINT before instruction number `moment` of both; False once there are not so many.

    The interpreter heeds a signal at some instructions only, so the trace that raises it must not have any of these
    afterwards: it looks up a missing key.
    """
    left, files = [moment], {blas.__file__, contextlib.__file__}
    arrives = defaultdict(_thread.interrupt_main)

    def trace(frame, event, argument):
        if frame.f_code.co_filename not in files:
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            left[0] -= 1
            if left[0] == 0:
                sys.settrace(None)
                frame.f_trace = None
                arrives[0]
        return trace

    before = sys.gettrace()
    try:
        sys.settrace(trace)
        with one_thread():
            pass
        sys.settrace(before)
        time.sleep(0)
    except KeyboardInterrupt:
        pass
    finally:
        sys.settrace(before)
    return left[0] <= 0


def test_an_interrupt_at_any_moment():
    with one_thread():
        pass
    moment, found = 1, Counter()
    while interrupted_at(moment):
        found[frozenset(limits())] += 1
        moment += 1
    assert moment > 100
    assert found.keys() == {frozenset({MINE})}


# ---- forks ----


def in_child(function):
    """What a function returns (a small number) in a forked child."""
    child = os.fork()
    if child == 0:
        code = 99
        try:
            code = function()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_forked_inside():
    def leave_in_child():
        with one_thread():
            return in_child(lambda: max(limits()))

    assert leave_in_child() == 1
    context = one_thread()
    context.__enter__()

    def leave():
        context.__exit__(None, None, None)
        return max(limits())

    assert in_child(leave) == MINE
    assert limits() == {1}
    context.__exit__(None, None, None)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_forked_while_another_thread_is_inside():
    inside = Inside()
    assert in_child(lambda: max(limits())) == MINE

    def again():
        with one_thread():
            within = max(limits())
        return 10 * within + max(limits())

    assert in_child(again) == 10 + MINE
    assert limits() == {1}
    inside.leave()
