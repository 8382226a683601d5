"""Scores of a table that stays on disk: its rate against the same table in memory, and what memory it takes.

    python -m bench mapped [--quick]

10,000,000 x 32 float32 rows in a memory map, in the page cache, at 32-128-128-1 with two threads.  Memory is
sampled during the call: RssAnon of Linux, which leaves out the pages of the file, less what it was before; in a
process of its own, after a call on a few rows.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from bench.common import networks
from bench.common.memory import watched
from bench.common.places import environment
from bench.common.turns import Contender, race, summary
from bench.speed.section import print_section

SIZES, ROWS, QUICK_ROWS, PART = (32, 128, 128, 1), 10_000_000, 400_000, 200_000
SAMPLE_SECONDS = 0.002


def write_rows(path: Path, n: int) -> None:
    rng = np.random.default_rng(0)
    with path.open("wb") as file:
        for start in range(0, n, PART):
            rng.standard_normal((min(PART, n - start), SIZES[0]), dtype=np.float32).tofile(file)


def megabytes_during(function) -> float:
    """The most that `function` needed above what was resident before."""
    with watched(SAMPLE_SECONDS) as seen:
        function()
    return max(mb for _, mb in seen) - seen[0][1]


def measure_here(n: int, budget: float) -> dict:
    """All figures, in this process."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.bin"
        write_rows(path, n)
        mapped = np.memmap(path, np.float32, "r", shape=(n, SIZES[0]))
        model = networks.make_case(SIZES, 1).model()
        model.sensitivity(mapped[:50_000], threads=2)
        memory = megabytes_during(lambda: model.sensitivity(mapped, threads=2))
        held = np.array(mapped)
        first, second = (model.sensitivity(X, threads=2) for X in (mapped[: 10 * PART], held[: 10 * PART]))
        assert first.tobytes() == second.tobytes()
        run = {
            "memory map": Contender(
                lambda: model.sensitivity(mapped, threads=2),
                prepare=mapped[:, 0].sum,  # reads every page, if the system has dropped it meanwhile
            ),
            "in memory": Contender(lambda: model.sensitivity(held, threads=2)),
        }
        figures = race(run, budget, (3, 7))
    return {
        "rows": n,
        "network": networks.name_of(SIZES),
        "rows_per_second": {name: summary(n / taken) for name, taken in figures.items()},
        "map_over_memory": summary(figures["in memory"] / figures["memory map"]),
        "megabytes_of_rows": n * SIZES[0] * 4 / 2**20,
        "megabytes_of_result": n * 4 / 2**20,
        "megabytes_above_model": memory,
    }


def print_here(n: int, budget: float) -> None:
    """The child's side of `measure_all`."""
    print(json.dumps(measure_here(n, budget)))


def measure_all(quick: bool = False) -> dict:
    n, budget = (QUICK_ROWS, 4) if quick else (ROWS, 30)
    command = [sys.executable, "-c", f"from bench.speed import mapped; mapped.print_here({n}, {budget})"]
    return json.loads(
        subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment()).stdout
    )


def main() -> None:
    print_section(measure_all)
