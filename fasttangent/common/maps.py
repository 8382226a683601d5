"""Memory maps whose file was cut short: reading past its end ends the process (SIGBUS), so it is looked at before."""

from __future__ import annotations

import mmap
from typing import Any

import numpy as np
from numpy.typing import NDArray


def check_map(a: NDArray) -> None:
    """Raise if the array lies in a map of a file that is shorter now; called before each piece of work on its rows.

    A file that is cut short between this and the reading still ends the process: no program can prevent that.

    Raises
    ------
    OSError
        Naming the file and its sizes.
    """
    below: Any = a
    offset, file = 0, "the file"
    while below is not None and not isinstance(below, mmap.mmap):
        if isinstance(below, np.memmap) and below.offset is not None:
            offset = below.offset - below.offset % mmap.ALLOCATIONGRANULARITY
            file = str(below.filename or file)
        below = below.obj if isinstance(below, memoryview) else getattr(below, "base", None)
    if below is None:
        return
    try:
        size, needed = below.size(), offset + len(below)
    except (OSError, ValueError):  # memory that is of no file
        return
    if size < needed:
        raise OSError(
            f"the rows are a memory map of {needed} bytes and {file} has {size} now: it was cut short meanwhile; map a "
            f"whole file"
        )
