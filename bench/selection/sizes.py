"""Seconds and memory of `select` by the size of the pool, which is generated while it is read.

    python -m bench selection-sizes [--sizes N ...] [--hidden 16 16] [--output bench/results/selection_sizes.json]

32 normal features, a silu network 64-64 in its first stage on 500 rows, float32, 64 picks, one thread.  Every cell is a
process of its own; what reading (generating) the pool takes once is told beside.  Memory: the process at its height,
and twice a second what is its own alone (RssAnon), of which the table has the most in each tenth of the time.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np

import fasttangent as ft
from bench.common import options
from bench.common.memory import watched
from fasttangent.active.asked import Asked
from fasttangent.active.selection import selected

SIZES, FEATURES, BATCH, CHUNK = (100_000, 1_000_000, 10_000_000), 32, 64, 1 << 17
CALLS = {
    "random": {"strategy": "random"},
    "top": {"strategy": "top"},
    "sample": {"strategy": "sample"},
    "error, thinned to 100,000": {"strategy": "error"},
    "error, every row": {"strategy": "error", "prefilter": None},
    "maxdet, every row": {"strategy": "maxdet", "prefilter": None},
    "kcenter, every row": {"strategy": "kcenter", "prefilter": None},
    "lcmd, every row": {"strategy": "lcmd", "prefilter": None},
    "kmeans++, every row": {"strategy": "kmeans++", "prefilter": None},
}
TENTHS = 10


class Generated:
    """Rows that are made when they are read: a block of normal ones, each time a little further along one axis."""

    def __init__(self, n: int) -> None:
        self.n = n
        self.block = np.random.default_rng(1).standard_normal((1 << 16, FEATURES), np.float32)

    def __len__(self) -> int:
        return self.n

    def take(self, numbers: np.ndarray) -> np.ndarray:
        again, place = np.divmod(numbers, len(self.block))
        rows = self.block[place]
        rows[:, 0] += again.astype(np.float32) * np.float32(1e-3)
        return rows

    def chunks(self) -> Iterator[tuple[int, np.ndarray]]:
        for start in range(0, self.n, CHUNK):
            yield start, self.take(np.arange(start, min(start + CHUNK, self.n)))


def tenths(curve: list[tuple[float, float]]) -> list[float]:
    """The most of its own, in MB, in each tenth of the time."""
    own = [mb for _, mb in curve]
    return [round(float(part.max())) for part in np.array_split(own, TENTHS) if len(part)]


def one(title: str, n: int, hidden: tuple[int, ...]) -> None:
    """Print the figures of one call in this process."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(500, FEATURES))
    y = np.sin(X[:, 0]) + X[:, 1] * X[:, 2] + 0.1 * rng.normal(size=500)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        model = ft.fit(X, y, hidden=hidden, activation="silu", epochs=30, settle=False, threads=1)
        model = model.with_posterior(X, y, samples=384)
        asked = Asked(BATCH, labeled=X, threads=1, **CALLS[title])
        selected(model, Generated(5000), asked)
        pool, clock = Generated(n), time.process_time()
        for _ in pool.chunks():
            pass
        reading, clock = time.process_time() - clock, time.process_time()
        with watched(0.5) as curve:
            found, _ = selected(model, pool, asked)
    figures = {
        "cpu_seconds": time.process_time() - clock,
        "reading": reading,
        "mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "own": tenths(curve),
        "passes": found.passes,
        "verified": found.verified,
        "shortfall": found.shortfall,
    }
    print(json.dumps(figures))


def measure(arguments: argparse.Namespace) -> dict:
    results: dict = {}
    if arguments.output and arguments.output.exists():
        results = json.loads(arguments.output.read_text())
    hidden = tuple(arguments.hidden)
    for n in arguments.sizes:
        for title in arguments.calls or CALLS:
            code = f"from bench.selection import sizes; sizes.one({title!r}, {n}, {hidden})"
            command = [sys.executable, "-c", code]
            shown = subprocess.run(command, env=os.environ, check=True, capture_output=True, text=True)
            name = title if hidden == (64, 64) else f"{title}, {'-'.join(map(str, hidden))}"
            results.setdefault(name, {})[str(n)] = json.loads(shown.stdout.splitlines()[-1])
            print(n, name, results[name][str(n)], file=sys.stderr, flush=True)
            if arguments.output:
                arguments.output.write_text(json.dumps(results, indent=1) + "\n")
    return results


def shown(results: dict) -> str:
    """The table in Markdown."""
    lines = [
        "| call | rows | CPU seconds | reading once | MB | of its own, by tenths of the time | passes | verified |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for title, figures in results.items():
        for n, f in figures.items():
            verified = {True: "yes", False: "no", None: ""}[f["verified"]]
            passes = f"{f['passes']} | {verified}"
            own = " ".join(f"{mb:.0f}" for mb in f.get("own", []))
            cells = [f"{f['cpu_seconds']:.1f}", f"{f['reading']:.1f}", f"{f['mb']:.0f}", own, passes]
            lines.append(f"| {title} | {int(n):,} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = options.parser(__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--calls", nargs="+", help="of them alone")
    parser.add_argument("--hidden", type=int, nargs="+", default=(64, 64))
    parser.add_argument("--output", type=Path)
    print(shown(measure(parser.parse_args())))
