"""What thinning a large pool costs in the error after labelling: bench/THINNING_PROTOCOL.md.

    python -m bench selection-thinning [DATA] [--seeds N] [--output bench/results/thinning.json]

DATA is a folder with kin40k.csv.gz; without it that set is left out.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np

import fasttangent as ft
from bench.common import options
from bench.common.data import load

ROWS, INITIAL, BATCH, BATCHES = 1_000_000, 100, 64, 2
SETS = {"plain": 0.0, "rare 1e-2": 1e-2, "rare 1e-3": 1e-3, "rare 1e-4": 1e-4}
SHARES = {"every row": None, "a tenth": 10, "a hundredth": 100, "random": 0}
FIT = {
    "hidden": (64, 64),
    "activation": "silu",
    "strength": 1e-3,
    "epochs": 200,
    "batch_size": 32,
    "learning_rate": 1e-2,
}


class Problem(NamedTuple):
    """Candidates with their labels, and rows to test on, by name."""

    X: np.ndarray
    y: np.ndarray
    tests: dict[str, tuple[np.ndarray, np.ndarray]]


def rows_of(n: int, share: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """n rows of which a share lies in a region of its own."""
    X, rare = rng.normal(size=(n, 8)).astype(np.float32), rng.uniform(size=n) < share
    X[rare, 0] += 6
    y = np.sin(2 * X[:, 0]) + X[:, 1] * X[:, 2] + X[:, 3] ** 2 / 2
    return X, y + rare * (3 * np.cos(2 * X[:, 1]) + 2 * X[:, 2])


def generated(share: float, seed: int, n: int) -> Problem:
    rng = np.random.default_rng([seed, round(1e6 * share)])
    X, y = rows_of(n, share, rng)
    tests = {"all": rows_of(20_000, share, rng)}
    if share:
        tests["region"] = rows_of(4_000, 1.0, rng)
    return Problem(X, y + 0.05 * y.std() * rng.normal(size=n), tests)


def kin40k(folder: Path, seed: int) -> Problem:
    X, y = load(folder, "kin40k")
    order = np.random.default_rng(seed).permutation(len(X))
    X, y = X[order].astype(np.float32), y[order]
    return Problem(X[2000:], y[2000:], {"all": (X[:2000], y[:2000])})


def run(problem: Problem, share: int | None, seed: int) -> list[dict]:
    """Errors after each batch, and what the selection took."""
    n, rng = len(problem.X), np.random.default_rng(seed)
    rows, found = rng.choice(n, INITIAL, replace=False), []
    for batch in range(BATCHES + 1):
        model = ft.fit(problem.X[rows], problem.y[rows], **FIT, settle=False, tangents=None, seed=seed)
        errors = {
            name: float(np.sqrt(np.mean((model.predict(X) - y) ** 2)))
            for name, (X, y) in problem.tests.items()
        }
        found.append({"labels": len(rows), "rmse": errors})
        if batch == BATCHES:
            return found
        if share == 0:
            more = np.random.default_rng([seed, batch]).choice(n, BATCH, replace=False)
        else:
            model = model.with_posterior(problem.X[rows], problem.y[rows], samples=64)
            prefilter = None if share is None else n // share
            started = time.process_time()
            picks = ft.select(
                model, problem.X, BATCH, labeled=problem.X[rows], prefilter=prefilter, seed=seed + batch
            )
            took = time.process_time() - started
            found[-1] |= {"cpu_seconds": took, "passes": picks.passes, "verified": picks.verified}
            more = picks.indices
        rows = np.concatenate([rows, more])
    raise AssertionError


def measure(arguments: argparse.Namespace) -> dict:
    results: dict = {}
    for seed in range(arguments.seeds):
        for name in [*SETS, *(["kin40k"] if arguments.data else [])]:
            if arguments.sets and name not in arguments.sets:
                continue
            problem = (
                kin40k(arguments.data, seed)
                if name == "kin40k"
                else generated(SETS[name], seed, arguments.rows)
            )
            for title, share in SHARES.items():
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", UserWarning)
                    found = run(problem, share, seed)
                results.setdefault(name, {}).setdefault(title, []).append(found)
                print(
                    seed,
                    name,
                    title,
                    found[-1],
                    found[0].get("cpu_seconds"),
                    found[0].get("passes"),
                    flush=True,
                )
            if arguments.output:
                arguments.output.write_text(json.dumps(results, indent=1) + "\n")
    return results


def shown(results: dict) -> str:
    """The table in Markdown."""
    lines = [
        f"RMSE after {BATCHES} batches of {BATCH} over that of comparing every row: geometric mean over seeds "
        f"(least to largest).",
        "",
        "| set | test rows | RMSE, every row | a tenth | a hundredth | random | CPU s: every row, a tenth |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, contenders in results.items():
        least = min(len(runs) for runs in contenders.values())
        for test in contenders["every row"][0][-1]["rmse"]:
            errors = {
                t: np.array([r[-1]["rmse"][test] for r in runs[:least]]) for t, runs in contenders.items()
            }
            best = errors.pop("every row")
            cells = [f"{np.exp(np.log(best).mean()):.4f}"]
            for error in errors.values():
                ratio = error / best
                cells.append(f"{np.exp(np.log(ratio).mean()):.3f} ({ratio.min():.2f} to {ratio.max():.2f})")
            took = [
                np.median([r[0]["cpu_seconds"] for r in contenders[title][:least]])
                for title in ("every row", "a tenth")
            ]
            lines.append(f"| {name} | {test} | {' | '.join(cells)} | {took[0]:.1f}, {took[1]:.1f} |")
    return "\n".join(lines)


def main() -> None:
    parser = options.parser(__doc__)
    parser.add_argument("data", nargs="?", type=Path)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--sets", nargs="+", help="of them alone")
    parser.add_argument("--output", type=Path)
    print(shown(measure(parser.parse_args())))
