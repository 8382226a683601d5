"""What is made ahead of its use and consumed behind it: in order, bounded, with every error and no thread left."""

import threading
import time

import pytest

from fasttangent.common.handing import AbandonedError, ahead, behind


@pytest.fixture(autouse=True)
def no_thread_is_left():
    before = threading.active_count()
    yield
    assert threading.active_count() == before


def test_items_come_in_order_from_another_thread():
    def made():
        for i in range(100):
            yield i, threading.current_thread().name

    with ahead(made()) as items:
        assert list(items) == [(i, "reading") for i in range(100)]
    with ahead([]) as items:
        assert list(items) == []
        assert list(items) == []


def test_no_more_are_made_than_asked_for():
    made = []

    def make():
        for i in range(10):
            made.append(i)
            yield i

    with ahead(make(), most=2) as items:
        next(items)
        time.sleep(0.05)
        assert len(made) <= 3


def test_items_that_do_not_count_hold_nobody_up():
    made = []

    def make():
        for i in range(12):
            made.append(i)
            yield i

    def counts(i):
        return i % 3 == 1

    with ahead(make(), most=2, counts=counts) as items:
        assert [next(items), next(items)] == [0, 1]
        time.sleep(0.05)
        assert 4 in made
        assert len([i for i in made if counts(i)]) <= 3
        assert list(items) == list(range(2, 12))


def test_items_that_do_not_count_are_put_without_waiting():
    begin, consumed = threading.Event(), []

    def consume(items):
        begin.wait(10)
        consumed.extend(items)

    with behind(consume, most=1, counts=lambda item: item == "rows") as put:
        for item in ("begun", "rows", "ended", "begun"):
            put(item)
        begin.set()
        put("rows")
    assert consumed == ["begun", "rows", "ended", "begun", "rows"]


def test_an_error_comes_after_the_items_before_it():
    def make():
        yield 1
        raise OSError("cut short")

    with ahead(make()) as items:
        assert next(items) == 1
        with pytest.raises(OSError, match="cut short"):
            next(items)


@pytest.mark.parametrize("taken", [0, 1, 3])
def test_what_is_not_finished_is_closed(taken):
    closed = []

    def make():
        try:
            yield from range(1000)
        finally:
            closed.append(True)

    def leave():
        with ahead(make()) as items:
            for _ in range(taken):
                next(items)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        leave()
    assert closed == [True]


def test_items_are_consumed_in_order_and_all_at_the_end():
    got = []

    def consume(items):
        for item in items:
            time.sleep(0.001)
            got.append((item, threading.current_thread().name))

    with behind(consume) as put:
        for i in range(30):
            put(i)
    assert got == [(i, "writing") for i in range(30)]


@pytest.mark.parametrize("after", [0, 3, 29])
def test_what_a_writer_raises_is_raised(after):
    def consume(items):
        for item in items:
            if item == after:
                raise OSError(28, "No space left on device")

    def write():
        with behind(consume) as put:
            for i in range(30):
                put(i)

    with pytest.raises(OSError, match="No space left"):
        write()


def test_a_writer_hears_of_a_failure_before_it():
    met = []

    def consume(items):
        try:
            for _ in items:
                pass
        except AbandonedError:
            met.append("abandoned")
            raise

    def fail():
        with behind(consume) as put:
            put(1)
            raise ValueError("column 'b' holds 'x'")

    with pytest.raises(ValueError, match="holds 'x'"):
        fail()
    assert met == ["abandoned"]
