"""Seconds and memory of one selection, in a process of its own that has selected from few candidates before.

The machine should have nothing else to do.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from bench.active.data import INITIAL, rows_of
from bench.active.loop import Task
from bench.common.machine import timed
from bench.common.places import environment, threads
from bench.peers.bmdal import Bmdal

SET, SEED, FEW = "kin40k", 0, 300
LABELS = 320  # at the last selection there are 288
TIMES = 5


def measure(folder: Path, methods: list[str], bmdal: str | None, output: Path) -> None:
    """Write {method: {seconds, mb}}; of bmdal_reg, whose work is done elsewhere, the seconds alone."""
    found = {}
    for method in methods:
        if method == "bmdal-lcmd" and bmdal is None:
            continue
        code = f"from bench.active import cost; cost.one({str(folder)!r}, {method!r}, {bmdal!r})"
        shown = subprocess.run(
            [sys.executable, "-c", code],
            check=True,
            stdout=subprocess.PIPE,
            text=True,
            env=environment(**threads(1)),
        )
        found[method] = json.loads(shown.stdout)
        print(method, found[method], flush=True)
    output.write_text(json.dumps(found, indent=1) + "\n")


def one(folder: str, method: str, bmdal: str | None) -> None:
    """Print the least seconds of a few calls, and the MB that one needs beyond what the process had."""
    rows = rows_of(Path(folder), SET, SEED)
    elsewhere = Bmdal(bmdal) if bmdal else None
    task = Task(SET, SEED, "first", 32, rows, elsewhere)
    few = replace(rows, X=rows.X[: INITIAL + FEW], y=rows.y[: INITIAL + FEW])
    warm = Task(SET, SEED, "first", 32, few, elsewhere)
    warm.choose(method, warm.initial.model, np.arange(INITIAL), 1)  # loads libraries and compiled code
    labeled = np.arange(LABELS)
    model = task.train(labeled, 1).model
    turns = [timed(lambda: task.choose(method, model, labeled, 1), 1) for _ in range(TIMES)]
    found = {"seconds": round(min(turn["seconds"] for turn in turns), 4)}
    if elsewhere is None or method != "bmdal-lcmd":
        found["mb"] = round(turns[0]["mb"], 1)
    if elsewhere is not None:
        elsewhere.end()
    print(json.dumps(found))
