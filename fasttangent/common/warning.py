"""Warnings that point at the caller: the first line outside this package, wherever in it they arise."""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path

PACKAGE = str(Path(__file__).parents[1]) + os.sep


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn the user's own line, found by walking up the stack and not by counting calls.

    (Python 3.12 has ``skip_file_prefixes`` for this; a warning from a thread of ours points at the thread.)
    """
    frame, level = sys._getframe(1), 2
    while frame.f_code.co_filename.startswith(PACKAGE) and frame.f_back is not None:
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)
