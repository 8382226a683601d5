"""Memory of one selection, in a process of its own that has selected once from few candidates before."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from active_data import INITIAL
from active_loop import Task
from exact_worker import timed

SET, SEED, FEW = "kin40k", 0, 300


def measure(folder: Path, methods: list[str], output: Path) -> None:
    """Write {method: MB}; a method of bmdal_reg, whose work is done elsewhere, is not measured."""
    found = {}
    for method in methods:
        if method == "bmdal-lcmd":
            continue
        code = f"import active_memory as m; m.one({str(folder)!r}, {method!r})"
        shown = subprocess.run(
            [sys.executable, "-c", code],
            check=True,
            capture_output=True,
            text=True,
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        found[method] = json.loads(shown.stdout)
        print(method, found[method], flush=True)
    output.write_text(json.dumps(found, indent=1) + "\n")


def one(folder: str, method: str) -> None:
    """Print the MB that the first selection needs at its height beyond what the process had."""
    from active import rows_of

    rows = rows_of(Path(folder), SET, SEED)
    task = Task(SET, SEED, "first", 32, rows)
    small = replace(rows, X=rows.X[: INITIAL + FEW], y=rows.y[: INITIAL + FEW])
    labeled = np.arange(INITIAL)
    warm = Task(SET, SEED, "first", 32, small)
    warm.choose(method, warm.initial.model, labeled, 1)  # loads libraries and compiled code
    model = task.initial.model
    print(json.dumps(round(timed(lambda: task.choose(method, model, labeled, 1), 1)["mb"], 1)))
