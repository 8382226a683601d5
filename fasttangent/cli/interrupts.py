"""Ctrl-C and SIGTERM on the command line: a line and exit code 130, whatever was being done, also in imports."""

from __future__ import annotations

import signal
import sys
import time
from _thread import interrupt_main, start_new_thread
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

INTERRUPTED = 130  # what shells call the end by Ctrl-C
SOON = 0.02  # seconds
heard: list[int] = []  # signals that came since the command began


def interrupt(number: int, frame: FrameType | None) -> None:
    """The handler of a signal: raise KeyboardInterrupt, but after an import that is under way.

    Inside an import it would not always come out as what it is: callbacks print it and go on, libraries catch it.
    """
    heard.append(number)
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            start_new_thread(_again, (number,))
            return
        frame = frame.f_back
    raise KeyboardInterrupt


def heed() -> None:
    """Raise KeyboardInterrupt if a signal has come: called before the work, and before something is written.

    What a handler raises can get lost: compiled code may call Python and ignore how that ends.
    """
    if heard:
        raise KeyboardInterrupt


def _again(number: int) -> None:
    time.sleep(SOON)
    if heard:  # and not ended by `heed` meanwhile
        interrupt_main(signal.Signals(number))


@contextmanager
def whole_process() -> Iterator[None]:
    """What a process does, imports included; a signal that comes after it changes nothing any more."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # it is ignored in the background
        signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    except KeyboardInterrupt:
        print("fasttangent: error: interrupted", file=sys.stderr)
        raise SystemExit(INTERRUPTED) from None
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
