"""What waits for the end of a block, and what does not."""

import signal
import sys
import threading

import pytest

from fasttangent.common.interrupts import held

pytestmark = pytest.mark.skipif(not hasattr(signal, "raise_signal"), reason="needs signals")
BOTH = [signal.SIGINT, signal.SIGTERM]


@pytest.fixture(autouse=True)
def handlers():
    """The one Python has for Ctrl-C, and one that ends a program; they are in place again after each test."""

    def leave(number, frame):
        raise SystemExit(number)

    before = {number: signal.getsignal(number) for number in BOTH}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, leave)
    yield
    after = {number: signal.getsignal(number) for number in BOTH}
    for number, handler in before.items():
        signal.signal(number, handler)
    assert after == {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: leave}


@pytest.mark.parametrize(
    ("number", "error"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)]
)
def test_what_a_handler_raises_comes_at_the_end(number, error):
    done = []

    def block():
        with held(lambda: done.append("told")) as waiting:
            assert waiting.error is None
            signal.raise_signal(number)
            assert isinstance(waiting.error, error)
            done.append("all")

    with pytest.raises(error):
        block()
    assert done == ["told", "all"]


def test_the_first_of_several_is_raised():
    def block():
        with held():
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(SystemExit):
        block()


def test_without_a_signal_nothing_happens():
    with held() as block:
        pass
    assert block.error is None


def test_an_error_of_the_block_gives_way_to_ctrl_c():
    def block():
        with held():
            signal.raise_signal(signal.SIGINT)
            raise ValueError("of the block")

    with pytest.raises(KeyboardInterrupt) as caught:
        block()
    assert str(caught.value.__context__) == "of the block"
    with pytest.raises(ValueError, match="of the block"), held():
        raise ValueError("of the block")


def test_a_handler_that_returns_has_done_its_work():
    heard = []
    before = signal.signal(signal.SIGINT, lambda *a: heard.append(a))
    try:
        with held(lambda: pytest.fail("nothing was raised")) as block:
            signal.raise_signal(signal.SIGINT)
            assert len(heard) == 1
            assert block.error is None
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("handler", [signal.SIG_IGN, signal.SIG_DFL])
def test_signals_without_a_handler_are_left_alone(handler):
    before = signal.signal(signal.SIGINT, handler)
    try:
        with held():
            assert signal.getsignal(signal.SIGINT) is handler
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_block_in_a_block():
    """Both are told; it comes at the end of the inner one, as an error like any other for the outer."""
    told, reached = [], []

    def block():
        with held(lambda: told.append("outer")):
            with held(lambda: told.append("inner")):
                signal.raise_signal(signal.SIGINT)
                reached.append("inner")
            reached.append("outer")

    with pytest.raises(KeyboardInterrupt):
        block()
    assert sorted(told) == ["inner", "outer"]
    assert reached == ["inner"]


def test_other_threads_hear_no_signals():
    found = []

    def work():
        with held() as block:
            found.append((signal.getsignal(signal.SIGINT), block.error))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [(signal.default_int_handler, None)]


@pytest.mark.parametrize("after", range(40))
def test_a_signal_at_any_line_is_not_lost(after):
    """Also while handlers are exchanged: raised once, with the handlers as they were in effect."""
    lines = 0

    def trace(frame, event, argument):
        nonlocal lines
        if not frame.f_code.co_filename.endswith("interrupts.py") or "tests" in frame.f_code.co_filename:
            return None
        lines += 1
        if lines == after:
            signal.raise_signal(signal.SIGINT)
        return trace

    caught = 0
    sys.settrace(trace)
    try:
        with held():
            pass
    except KeyboardInterrupt:
        caught = 1
    finally:
        sys.settrace(None)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt), held():
            signal.raise_signal(signal.SIGINT)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        with pytest.raises(SystemExit):
            signal.raise_signal(signal.SIGTERM)
        if isinstance(
            signal.getsignal(signal.SIGTERM), held
        ):  # it was about to be put back, and does as before
            signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGTERM)._before[signal.SIGTERM])
    assert caught == (0 < after <= lines)
    assert lines < 39  # all were tried
