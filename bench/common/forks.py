"""Work in a forked child.  Nothing else is imported: some forks are about what was imported before."""

from __future__ import annotations

import os
import signal
import sys
import warnings
from collections.abc import Callable


def in_fork(task: Callable[[], str], patience: int = 0) -> tuple[str, int]:
    """What a task in a child returns, and how the child ended: 0, an exit code, or minus a signal's number.

    `patience`: seconds after which the child is ended; 0 for never.
    """
    read, write = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python's, of forks beside threads
        child = os.fork()
    if child == 0:
        try:
            os.close(read)
            signal.alarm(patience)
            os.write(write, task().encode())
            os._exit(0)
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
        finally:
            os._exit(1)
    os.close(write)
    with os.fdopen(read) as stream:
        found = stream.read()
    return found, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
