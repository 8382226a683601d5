"""What settling does to a tangent, and what carrying one costs.

    python -m bench settling DATA_FOLDER [--seeds 3] [-o FILE]

Three tables in Markdown, medians over seeds with their range.  The first stage is the default of `fit` (200
epochs, batches of 64) with the learning rates of `RATES`.

1. The certificate after the first stage (Adam) and after settling.
2. Spearman correlation of |sensitivity| on rows not trained on: a model after its first stage against the
   model that settled from there.
3. Training with the tangent against training without: time of each stage, taken turn by turn in one process,
   and memory, each figure in a process of its own: the highest resident size during the stage above the size
   before it, after a short run of the same stage (VmHWM and VmRSS of Linux, good to 0.1 MB; malloc is told to
   keep nothing back).

DATA_FOLDER holds kin8nm, concrete and energy as .csv.gz without header, the target in the last column.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import re
import subprocess
import sys
import time
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

import fasttangent as ft
from bench.common import options
from bench.common.data import LABELLED, THREE, parted
from bench.common.machine import forget_peak, resident
from bench.common.markdown import markdown
from bench.common.places import environment
from fasttangent.influence.fidelity.methods import RATES

COLUMNS = ("gradient_norm", "tangent_residual", "smallest_curvature", "condition")


def fit(X, y, case, seed, optimizer="adam", **options):
    """A model, or None where the minibatch steps ran away."""
    _, hidden, strength = case
    rate = RATES[optimizer]
    try:
        return ft.fit(
            X,
            y,
            hidden=hidden,
            strength=strength,
            seed=seed,
            optimizer=optimizer,
            learning_rate=rate,
            **options,
        )
    except ft.DivergenceError as error:
        print(f"{case} {optimizer} seed {seed}: {error}", file=sys.stderr)
        return None


def measure(folder: Path, case, seed: int) -> dict:
    """Certificates, seconds and scores of one case and seed, after either stage, for each optimizer."""
    X, y, candidates, _ = parted(folder, case[0], seed)
    found = {}
    for optimizer, settled in itertools.product(RATES, (False, True)):
        start = time.perf_counter()
        model = fit(X, y, case, seed, optimizer, settle=settled)
        if model is None:
            continue
        stage = "settling_seconds" if settled else "training_seconds"
        scores = np.abs(model.sensitivity(candidates)) if model.tangents else None
        found[optimizer, settled] = (model.certificate, model.training[stage], scores)
        seconds = time.perf_counter() - start
        print(
            f"{case} seed {seed} {optimizer} settle={settled}: {seconds:.1f} s", file=sys.stderr, flush=True
        )
    return found


def spread(values, form: str) -> str:
    """Median (smallest to largest)."""
    values = [v for v in values if not np.isnan(v)]
    if not values:
        return "-"
    low, middle, high = min(values), np.median(values), max(values)
    shown = format(middle, form)
    return shown if len(values) == 1 else f"{shown} ({format(low, form)} to {format(high, form)})"


def verdict(certificates) -> str:
    """How many are trusted, and why the others are not."""
    trusted = sum(c.trusted for c in certificates)
    why = Counter(
        re.split(r"[:;(]| -?[0-9.]+e", reason)[0].strip() for c in certificates for reason in c.reasons
    )
    reasons = "".join(f"; {reason} ({count})" for reason, count in why.most_common())
    return f"{trusted} of {len(certificates)}{reasons}"


def certificate_table(results) -> list[list[str]]:
    rows = [
        ["data", "hidden", "strength", "stage", *(c.replace("_", " ") for c in COLUMNS), "seconds", "trusted"]
    ]
    for (name, hidden, strength), runs in results.items():
        for settled in (False, True):
            kept = [run["adam", settled][:2] for run in runs if ("adam", settled) in run]
            certificates = [c for c, _ in kept]
            figures = [spread([getattr(c, column) for c in certificates], ".1e") for column in COLUMNS]
            seconds = spread([s for _, s in kept], ".2f")
            stage = "settled" if settled else "first"
            rows.append([name, str(hidden), f"{strength:g}", stage, *figures, seconds, verdict(certificates)])
    return rows


def rank_correlation(a, b) -> float:
    """Spearman of the scores of two runs; nan where one of them has none."""
    if a is None or b is None or a[2] is None or b[2] is None:
        return np.nan
    return float(spearmanr(a[2], b[2]).statistic)


def correlation_table(results) -> list[list[str]]:
    optimizers = [f"{o}, rate {r:g}" for o, r in RATES.items()]
    rows = [
        ["data", "hidden", "strength", *optimizers, "settled from sgd vs from adam", "settled ones trusted"]
    ]
    for (name, hidden, strength), runs in results.items():
        own = [
            spread([rank_correlation(run.get((o, False)), run.get((o, True))) for run in runs], ".2f")
            for o in RATES
        ]
        starts = [rank_correlation(run.get(("sgd", True)), run.get(("adam", True))) for run in runs]
        settled = [run[o, True][0].trusted for run in runs for o in RATES if (o, True) in run]
        trusted = f"{sum(settled)} of {len(settled)}"
        rows.append([name, str(hidden), f"{strength:g}", *own, spread(starts, ".2f"), trusted])
    return rows


def slow_down(folder: Path, case, seeds: int, optimizer: str, stage: str) -> str:
    """Seconds of a stage with the tangent over seconds without."""
    settled, repeats = (True, 1) if stage == "settling" else (False, 3)
    found = []
    for seed in range(seeds):
        X, y, _, _ = parted(folder, case[0], seed)
        seconds: dict = {"strength": [], None: []}
        for _, tangents in itertools.product(range(repeats), seconds):
            model = fit(X, y, case, seed, optimizer, settle=settled, tangents=tangents)
            seconds[tangents].append(model.training[f"{stage}_seconds"] if model else np.nan)
        found.append(np.median(seconds["strength"]) / np.median(seconds[None]))
    return spread(found, ".2f")


def cost_table(folder: Path, cases, seeds: int) -> list[list[str]]:
    rows = [["data", "hidden", "strength", "stage", "slow-down", "MB with", "MB without", "memory ratio"]]
    for case in cases:
        name, hidden, strength = case
        for optimizer, stage in [*((o, "training") for o in RATES), ("adam", "settling")]:
            slower = slow_down(folder, case, seeds, optimizer, stage)
            with_it, without = (stage_memory(folder, case, optimizer, stage, t) for t in ("strength", None))
            shown = f"first, {optimizer}" if stage == "training" else "settling"
            memory = [f"{with_it:.2f}", f"{without:.2f}", f"{with_it / without:.2f}"]
            rows.append([name, str(hidden), f"{strength:g}", shown, slower, *memory])
    return rows


def stage_memory(folder: Path, case, optimizer: str, stage: str, tangents: str | None) -> float:
    """MB that a stage needs at its height."""
    task = json.dumps([str(folder), case, optimizer, stage, tangents])
    frugal = {"MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "0"}
    command = [sys.executable, "-c", f"from bench.cost import settling; settling.print_memory({task!r})"]
    child = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment(**frugal))
    return float(child.stdout)


def print_memory(task: str) -> None:
    """The child's side of `stage_memory`: read the high-water mark each time the stage reports progress."""
    folder, case, optimizer, wanted, tangents = json.loads(task)
    X, y, _, _ = parted(Path(folder), case[0], 0)
    peaks = []

    def watch(stage: str, *figures, **more) -> None:
        if stage == wanted:
            peaks.append(resident("VmHWM"))

    settled = wanted == "settling"
    fit(
        X,
        y,
        case,
        0,
        optimizer,
        tangents=tangents,
        epochs=2,
        settle=0.5 if settled else False,
        progress=watch,
    )
    peaks.clear()
    before = resident("VmRSS")
    forget_peak()
    fit(X, y, case, 0, optimizer, tangents=tangents, settle=settled, progress=watch)
    print(peaks[-1] - before)


def given() -> argparse.Namespace:
    """What the command line says."""
    parser = options.parser(__doc__)
    parser.add_argument("folder", type=Path, metavar="DATA_FOLDER")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--data", nargs="+", default=THREE, metavar="NAME")
    parser.add_argument("--widths", nargs="+", type=int, default=[32, 64], help="of the two hidden layers")
    parser.add_argument("--strengths", nargs="+", type=float, default=[1e-2, 1e-3])
    parser.add_argument("-o", "--output", type=Path, help="also write the tables to this file")
    return parser.parse_args()


def tables(folder: Path, cases, seeds: int) -> dict[str, list[list[str]]]:
    """Title and rows of each table; cost is measured at the first strength of each data set and width."""
    results = {case: [measure(folder, case, seed) for seed in range(seeds)] for case in cases}
    dear = [case for case in cases if case[2] == cases[0][2]]
    return {
        "Certificates": certificate_table(results),
        "Spearman of abs(sensitivity), first stage against settled": correlation_table(results),
        "With the tangent against without": cost_table(folder, dear, seeds),
    }


def main() -> None:
    chosen = given()
    warnings.simplefilter("ignore", ft.UntrustedTangentWarning)  # what the tables are about
    cases = [
        (name, (width, width), strength)
        for name, width, strength in itertools.product(chosen.data, chosen.widths, chosen.strengths)
    ]
    X, y, _, _ = parted(chosen.folder, cases[0][0], 0)
    for optimizer, tangents in itertools.product(RATES, ("strength", None)):  # compile
        fit(X[:100], y[:100], ("", (4,), 1e-1), 0, optimizer, epochs=2, tangents=tangents)
    head = (
        f"{LABELLED} labelled rows; {chosen.seeds} seeds: median (smallest to largest); "
        f"{os.cpu_count()} cores; fasttangent {ft.__version__}"
    )
    found = tables(chosen.folder, cases, chosen.seeds)
    text = "\n\n".join([head, *(f"### {title}\n\n{markdown(rows)}" for title, rows in found.items())])
    print(text)
    if chosen.output:
        chosen.output.write_text(text + "\n", encoding="utf-8")
