"""Tasks in forked children: results, errors, interrupts, deaths."""

import os
import signal
import sys
import threading
import time
import warnings

import numpy as np
import pytest

from fasttangent.common import forked, parallel

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="children are forked on Linux only")


@pytest.fixture(autouse=True)
def nothing_is_left():
    before = os.listdir("/proc/self/fd")
    yield
    assert os.listdir("/proc/self/fd") == before
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_results_are_in_order_and_told_as_they_come():
    told = []
    found = forked.map(lambda i, heed: (i, os.getpid()), 30, 3, lambda *args: told.append(args))
    assert [i for i, _ in found] == list(range(30))
    assert os.getpid() not in {pid for _, pid in found}
    assert len({pid for _, pid in found}) <= 3
    assert [done for done, _, _ in told] == list(range(31))
    assert told[0] == (0, 30, None)
    assert sorted(last for _, _, last in told[1:]) == found


def test_large_results():
    found = forked.map(lambda i, heed: np.full(300_000, i), 5, 2)
    assert all((a == i).all() for i, a in enumerate(found))


def test_the_first_error_ends_all():
    def task(i, heed):
        if i == 2:
            raise ValueError("no")
        return i if i < 2 else waiting(i, heed)

    with pytest.raises(ValueError, match="no") as caught:
        forked.map(task, 1000, 2)
    assert caught.value.results[2] is None
    assert 0 in caught.value.results
    assert caught.value.results[5:] == [None] * 995


def test_what_cannot_be_sent_is_an_error():
    with pytest.raises(RuntimeError, match="lambda"):
        forked.map(lambda i, heed: lambda: i, 2, 2)


class Picky(Exception):
    """Cannot be made from its message."""

    def __init__(self, a, b):
        super().__init__(f"{a} and {b}")


def test_an_error_that_cannot_be_sent_is_one_that_can():
    def task(i, heed):
        raise Picky(1, 2)

    # Once Dask was imported the error itself: tblib teaches pickle to send any.
    with pytest.raises((RuntimeError, Picky), match="1 and 2"):
        forked.map(task, 2, 2)


def test_warnings_are_heard():
    def task(i, heed):
        warnings.warn(f"of task {i}", UserWarning, stacklevel=1)

    with pytest.warns(UserWarning, match="of task [01]"):
        forked.map(task, 2, 2)


@pytest.fixture
def unheard():
    """Nobody is told how children end."""
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    yield
    signal.signal(signal.SIGCHLD, before)


def dying(i, heed):
    if i == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return i


def test_a_child_that_dies_is_told_of():
    with pytest.raises(RuntimeError, match="signal 9"):
        forked.map(dying, 4, 2)


def test_a_child_that_dies_unheard(unheard):
    assert forked.map(lambda i, heed: i, 4, 2) == [0, 1, 2, 3]
    with pytest.raises(RuntimeError, match="were ended"):
        forked.map(dying, 4, 2)


def waiting(i, heed):
    """Until told to end; then what there is."""
    try:
        while True:
            heed()
            time.sleep(0.005)
    except KeyboardInterrupt:
        return i


def test_ctrl_c_ends_tasks_that_heed_and_keeps_what_they_give():
    def report(done, n, last):
        threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()

    with pytest.raises(KeyboardInterrupt) as caught:
        forked.map(waiting, 5, 2, report)
    assert caught.value.results == [0, 1, None, None, None]


def test_a_second_ctrl_c_waits_for_nobody():
    def report(done, n, last):
        for seconds in (0.2, 0.5):
            threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGINT)).start()

    began = time.perf_counter()
    with pytest.raises(KeyboardInterrupt) as caught:
        forked.map(lambda i, heed: time.sleep(60), 2, 2, report)
    assert time.perf_counter() - began < 30
    assert caught.value.results == [None, None]


def test_an_error_in_report_ends_all():
    def report(done, n, last):
        if done == 1:
            raise LookupError("enough")

    with pytest.raises(LookupError) as caught:
        forked.map(lambda i, heed: i if i == 0 else waiting(i, heed), 4, 2, report)
    assert caught.value.results[0] == 0


def test_children_go_when_their_parent_has_gone(tmp_path):
    def task(i, heed):
        (tmp_path / f"{i} began").touch()
        waiting(i, heed)
        (tmp_path / f"{i} ended").touch()

    def wait_for(n):
        deadline = time.perf_counter() + 60
        while len(list(tmp_path.iterdir())) < n and time.perf_counter() < deadline:
            time.sleep(0.01)

    pid = os.fork()
    if pid == 0:
        try:
            forked.map(task, 2, 2)
        finally:
            os._exit(0)
    wait_for(2)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    wait_for(4)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0 began", "0 ended", "1 began", "1 ended"]


def runs(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_children_with_large_results_go_when_their_parent_has_gone(tmp_path):
    """They would wait for ever for somebody to read, if one of them could still do so itself."""

    def task(i, heed):
        (tmp_path / str(os.getpid())).touch()
        waiting(i, heed)
        return bytes(1 << 20)

    pid = os.fork()
    if pid == 0:
        try:
            forked.map(task, 3, 3)
        finally:
            os._exit(0)
    deadline = time.perf_counter() + 60
    while len(list(tmp_path.iterdir())) < 3 and time.perf_counter() < deadline:
        time.sleep(0.01)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    children = [int(path.name) for path in tmp_path.iterdir()]
    while any(map(runs, children)) and time.perf_counter() < deadline:
        time.sleep(0.01)
    left = [child for child in children if runs(child)]
    for child in left:
        os.kill(child, signal.SIGKILL)
    assert len(children) == 3
    assert not left


@pytest.fixture
def possible(monkeypatch):
    monkeypatch.setattr(forked, "possible", lambda n: True)
    monkeypatch.setattr(forked, "_loaded", set())


def test_small_tasks_go_to_children_and_others_to_threads(possible, monkeypatch):
    assert forked.mapping(2, 2, forked.SMALL, "a") is not parallel.map
    assert forked.mapping(2, 2, forked.SMALL, "a") is forked.map
    for n, threads, multiplications in ((2, 2, 2 * forked.SMALL), (1, 2, 0), (2, 1, 0)):
        assert forked.mapping(n, threads, multiplications, "a") is parallel.map
    monkeypatch.setattr(forked, "possible", lambda n: False)
    assert forked.mapping(2, 2, 0, "a") is parallel.map


def test_the_first_task_of_a_kind_runs_here(possible):
    told = []
    for here in (1, 0):
        found = forked.mapping(5, 2, 0, "a")(
            lambda i, heed: (i, os.getpid()), 5, 2, lambda *a: told.append(a)
        )
        assert [i for i, _ in found] == [0, 1, 2, 3, 4]
        assert [pid for _, pid in found].count(os.getpid()) == here
        assert [done for done, _, _ in told] == [0, 1, 2, 3, 4, 5]
        assert {n for _, n, _ in told} == {5}
        told.clear()


@pytest.mark.parametrize("bad", [0, 3])
def test_errors_beside_the_first_task(possible, bad):
    def task(i, heed):
        if i == bad:
            raise ValueError("no")
        return i if i < bad else waiting(i, heed)

    with pytest.raises(ValueError, match="no") as caught:
        forked.mapping(9, 2, 0, "a")(task, 9, 2)
    results = caught.value.results
    assert len(results) == 9
    assert results[bad:] == [None] * (9 - bad) or results[4] == 4
    assert results[:1] == ([0] if bad else [None])


def test_only_while_no_other_thread_is_there():
    assert not forked.possible(forked.MOST + 1)
    leave = threading.Event()
    thread = threading.Thread(target=leave.wait)
    thread.start()
    asked = forked.possible(2)
    leave.set()
    thread.join()
    assert not asked
    answers = []
    thread = threading.Thread(target=lambda: answers.append(forked.possible(2)))
    thread.start()
    thread.join()
    assert answers == [False]
