"""The table of faults: every situation with every threading layer, in a new process that may abort or hang."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
from pathlib import Path

from bench.parallel import layers
from bench.parallel.situations import PACKAGES, SITUATIONS

LAYERS = ("omp", "tbb", "workqueue")
PATIENCE = 150.0  # seconds
BARE_PATIENCE = 60.0
BARE = (  # where something goes wrong without the switch
    "forked",
    "forked_before_the_import",
    "multiprocessing_fork",
    "threads_at_once",
    "beside_users_code",
    "inside_users_prange",
)


def missing(situation: str) -> str:
    """A package that a situation needs and that is not installed."""
    package = PACKAGES.get(situation, "")
    return package if package and importlib.util.find_spec(package) is None else ""


def outcome(
    situation: str, layer: str, *, bare: bool = False, tbb: Path | None = None, expected: str = ""
) -> str:
    """How the process of a situation ended, in words; `expected` is the digest that all its lines should have."""
    if package := missing(situation):
        return f"{package} is not installed"
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.parallel.situations", situation, *(["bare"] if bare else [])],
        env=layers.layer({"NUMBA_THREADING_LAYER": layer}, tbb),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        out, err = process.communicate(timeout=BARE_PATIENCE if bare else PATIENCE)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        out, err = process.communicate()
        return "HUNG"
    if process.returncode:
        return _how_it_ended(process.returncode, err)
    return _of_lines(out.splitlines(), expected)


def _how_it_ended(code: int, err: str) -> str:
    if code < 0:
        return f"ABORTED ({signal.Signals(-code).name})"
    last = (err.strip().splitlines() or [""])[-1]
    return "HUNG" if "Timeout" in err else f"FAILED ({last[:80]})"


def _of_lines(lines: list[str], expected: str) -> str:
    if ended := [line for line in lines if "ended with status" in line]:
        return f"ABORTED ({ended[0]})"
    if not lines or not all(expected in line for line in lines):
        return "OTHER BITS"
    by_prange = sum(line.endswith(" prange") for line in lines)
    by = {len(lines): "prange", 0: "pool"}.get(
        by_prange, f"prange {by_prange}, pool {len(lines) - by_prange}"
    )
    return f"same bits ({by})"


def reference() -> str:
    """The digest by one thread of the pool, in this process."""
    from bench.parallel.work import digest

    return digest(1)


def table(tbb: Path | None, say=print) -> list[dict[str, str]]:
    """A record for every situation: outcomes by layer, and those of `BARE` without the switch."""
    expected, rows = reference(), []
    for situation in SITUATIONS:
        row = {"situation": situation.replace("_", " ")}
        for layer in LAYERS:
            row[layer] = outcome(situation, layer, tbb=tbb, expected=expected)
            if situation in BARE:
                row[f"{layer}, bare"] = outcome(situation, layer, bare=True, tbb=tbb, expected=expected)
        rows.append(row)
        say(row, flush=True)
    return rows
