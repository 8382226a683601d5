"""Ctrl-C at a chosen moment of Python's own."""

import signal
import sys


class Aim:
    """In a block: SIGINT at the n-th event (call, line, return) of the main thread in some files."""

    def __init__(self, files, n):
        self._files, self._left, self.hit, self.where = set(files), n, False, ""

    def __enter__(self):
        self._before = sys.gettrace()
        sys.settrace(self._trace)
        return self

    def __exit__(self, *_):
        sys.settrace(self._before)

    def _trace(self, frame, event, argument):
        if frame.f_code.co_filename not in self._files:
            return None
        self._left -= 1
        if self._left == 0:
            self.hit, self.where = True, f"{frame.f_code.co_filename}:{frame.f_lineno} {event}"
            signal.raise_signal(signal.SIGINT)
        return self._trace
