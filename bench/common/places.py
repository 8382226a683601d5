"""Where results are kept, and what the bench's other processes need to find it."""

from __future__ import annotations

import os
from pathlib import Path

REPORTS = Path(__file__).resolve().parents[1]  # texts and pictures
RESULTS = REPORTS / "results"  # what they are made of
ROOT = REPORTS.parent
LIBRARIES = ("OPENBLAS", "OMP", "MKL", "NUMBA")


def threads(n: int, libraries: tuple[str, ...] = LIBRARIES) -> dict[str, str]:
    """The environment variables that give each library so many threads."""
    return {f"{library}_NUM_THREADS": str(n) for library in libraries}


def environment(**more: str) -> dict[str, str]:
    """That of a process that imports `bench` with the same Python."""
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), **more}


def environment_elsewhere(**more: str) -> dict[str, str]:
    """That of a process of another Python, which sees `bench` and none of this one's packages."""
    return {**os.environ, "PYTHONPATH": str(ROOT), **more}
