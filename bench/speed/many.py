"""Many small fits side by side: `fit_many` with one thread and with two.

    python -m bench many [--quick]

16 fits of 200 rows, 8 features, hidden (16, 16), settled, which differ in data and seed.
"""

from __future__ import annotations

import numpy as np

import fasttangent as ft
from bench.common.turns import Contender, race, summary
from bench.speed.section import print_section

FITS, QUICK_FITS, ROWS, FEATURES = 16, 6, 200, 8
LOOP, MANY = "loop over fit, 1 thread", {1: "fit_many, 1 thread", 2: "fit_many, 2 threads"}


def tasks(n: int) -> list[dict]:
    found = []
    for seed in range(n):
        rng = np.random.default_rng(seed)
        X = rng.normal(size=(ROWS, FEATURES))
        y = np.sin(X[:, 0]) + X[:, 1] * X[:, 2] + 0.1 * rng.normal(size=ROWS)
        found.append({"X": X, "y": y, "hidden": (16, 16), "strength": 1e-2, "seed": seed})
    return found


def measure_all(quick: bool = False) -> dict | None:
    """Seconds of all fits; None where the library has no `fit_many`."""
    if not hasattr(ft, "fit_many"):
        return None
    work = tasks(QUICK_FITS if quick else FITS)
    run = {
        LOOP: lambda: [ft.fit(**task, threads=1) for task in work],
        MANY[1]: lambda: ft.fit_many(work, threads=1),
        MANY[2]: lambda: ft.fit_many(work, threads=2),
    }
    results = [[model.params.tobytes() for model in function()] for function in run.values()]
    assert results[0] == results[1] == results[2], "fit_many and fit must give the same models"
    figures = race({name: Contender(function) for name, function in run.items()}, 30.0, (2, 5))
    return {
        "fits": len(work),
        "seconds": {name: summary(taken) for name, taken in figures.items()},
        "speedup": summary(figures[MANY[1]] / figures[MANY[2]]),
        "speedup_over_loop": summary(figures[LOOP] / figures[MANY[2]]),
    }


def main() -> None:
    print_section(measure_all)
