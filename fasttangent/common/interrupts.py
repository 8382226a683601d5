"""Ctrl-C held back where an exception at any moment would do harm.

Python runs the handlers of signals in the main thread, between any two instructions: also between those that take a
lock and those that promise to give it back.  The locks of LLVM, of ``concurrent.futures`` and of ``threading`` can be
lost in this way, and whoever wants such a lock next waits for ever.
"""

from __future__ import annotations

import threading

# Those of the module `signal` take six microseconds more.
from _signal import SIGINT, SIGTERM, getsignal, signal  # type: ignore[import-not-found]
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any


class held:
    """In a block, what handlers of Ctrl-C and SIGTERM raise waits for its end; a handler runs when its signal comes.

    Attributes
    ----------
    error : BaseException or None
        What waits; the first, of several.

    Parameters
    ----------
    stop : callable
        Called at once when a handler has raised.  Other threads never run handlers: there, a block is as without this.
    """

    def __init__(self, stop: Callable[[], object] = lambda: None) -> None:
        self._stop = stop
        self._before: dict[int, Any] = {}
        self._holding = False
        self.error: BaseException | None = None

    def __enter__(self) -> held:
        if threading.current_thread() is threading.main_thread():
            for number in (SIGINT, SIGTERM):
                handler = getsignal(number)
                if callable(handler):  # others end the process or do nothing
                    self._before[number] = handler
                    signal(number, self)
            self._holding = True
        return self

    def __call__(self, number: int, frame: FrameType | None) -> None:
        before = self._before[number]
        if not self._holding:  # it came while handlers were exchanged
            before(number, frame)
            return
        try:
            before(number, frame)
        except BaseException as error:
            self._keep(error)
        else:
            if isinstance(before, held) and before.error is not None:  # a block in a block
                self._keep(before.error)

    def _keep(self, error: BaseException) -> None:
        self.error = self.error or error
        self._stop()

    def __exit__(self, kind: Any, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._holding = False
        for number, handler in self._before.items():
            signal(number, handler)
        if self.error is not None and self.error is not error:
            raise self.error
