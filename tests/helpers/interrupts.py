"""Ctrl-C at a chosen moment of Python's own."""

import signal
import sys


class Aim:
    """In a block: SIGINT at the n-th event (call, line, return) of this thread in some files.

    Attributes
    ----------
    seen : int
        Events so far.
    hit : bool
        Whether there were as many.
    where : str
        What was aimed at.
    """

    def __init__(self, files, n):
        self._files, self._n = set(files), n
        self.seen, self.hit, self.where = 0, False, ""

    def __enter__(self):
        self._before = sys.gettrace()
        sys.settrace(self._trace)
        return self

    def __exit__(self, *_):
        sys.settrace(self._before)

    def _trace(self, frame, event, argument):
        if frame.f_code.co_filename not in self._files:
            return None
        if (
            frame.f_code.co_name == "<genexpr>"
        ):  # what is raised while `all` or `next` closes one, Python itself drops
            return None
        self.seen += 1
        if self.seen == self._n:
            self.hit, self.where = True, f"{frame.f_code.co_filename}:{frame.f_lineno} {event}"
            signal.raise_signal(signal.SIGINT)
        return self._trace
