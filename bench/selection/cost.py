"""Seconds and memory to embed candidates and select 256 of them, and bmdal_reg's on the same network.

    python -m bench selection --python BMDAL/bin/python --output bench/results/selection.json

32 normal features, a silu network 32-128-128-1 in its first stage on 500 rows, float32, two threads for both sides.
Every cell is a process of its own, started once per round; in each the work is done once with few rows, which loads
libraries and compiled code, and then timed.  Memory: what the process needs at its height beyond what it had before,
candidates not counted.  Seconds are the median over the rounds, ratios are formed within a round.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np

import fasttangent as ft
from bench.common import options
from bench.common.machine import timed
from bench.common.places import environment, environment_elsewhere, threads

SIZES, BATCH, LABELLED, THREADS = (10_000, 100_000, 1_000_000), 256, 500, 2
FEW = 2000
STRATEGIES = {
    "error (default), posterior 384 and bias": "error",
    "lcmd, gradient 512": "lcmd",
    "kmeans++, gradient 512": "kmeans++",
    "maxdet, posterior 384": "maxdet",
}
PEER = "bmdal_reg: lcmd, gradient 512"

WORKER = """
import json, resource, sys, time, warnings
warnings.simplefilter("ignore")
import numpy as np, torch
from bmdal_reg.bmdal.algorithms import select_batch
from bmdal_reg.bmdal.feature_data import TensorFeatureData
from bench.peers.bmdal_worker import network
folder, threads, k, few = sys.argv[1], *map(int, sys.argv[2:])
torch.set_num_threads(threads)
given = np.load(folder + "/model.npz")
model = network([int(s) for s in given["sizes"]], given["theta"].astype(np.float32))
train, pool = torch.from_numpy(given["train"]), torch.from_numpy(np.load(folder + "/pool.npy"))
def run(rows, k):
    data = {"train": TensorFeatureData(train), "pool": TensorFeatureData(rows)}
    select_batch(batch_size=k, models=[model], data=data, y_train=None, selection_method="lcmd", sel_with_train=True,
                 base_kernel="grad", kernel_transforms=[("rp", [512])])
run(pool[:few], 4)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
start = time.perf_counter(), time.process_time()
run(pool, k)
took = time.perf_counter() - start[0], time.process_time() - start[1]
mb = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
print(json.dumps({"seconds": took[0], "cpu_seconds": took[1], "mb": mb}), file=sys.stderr)
"""


def prepare(folder: Path) -> None:
    """The model of both sides, with tangents of noise, and the labelled rows."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(LABELLED, 32))
    y = np.sin(X[:, 0]) + X[:, 1] * X[:, 2] + 0.3 * X[:, 3] ** 2 + 0.1 * rng.normal(size=LABELLED)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        model = ft.fit(X, y, hidden=(128, 128), activation="silu", epochs=50, settle=False, tangents=None)
    model.with_posterior(X, y, samples=384).save(folder / "ours.npz")
    np.save(folder / "labelled.npy", X)
    train = model.scaling.inputs(X, np.dtype(np.float32))
    np.savez(folder / "model.npz", sizes=np.array(model.network.sizes), theta=model.params, train=train)


def pool_of(folder: Path, n: int) -> None:
    """The candidates, as they are for us and standardised for bmdal_reg."""
    model = ft.load(folder / "ours.npz")
    rows = np.random.default_rng(1).standard_normal((n, 32), np.float32)
    np.save(folder / "rows.npy", rows)
    np.save(folder / "pool.npy", model.scaling.inputs(rows, np.dtype(np.float32)))


def ours(folder: str, strategy: str) -> None:
    """Print the figures of one selection in this process."""
    model, X = ft.load(f"{folder}/ours.npz"), np.load(f"{folder}/labelled.npy")
    rows = np.load(f"{folder}/rows.npy")
    given = {"strategy": strategy, "labeled": X, "threads": THREADS}
    ft.select(model, rows[:FEW], 4, **given)
    cpu = time.process_time()
    found = timed(lambda: ft.select(model, rows, BATCH, **given), 1)
    cpu = time.process_time() - cpu
    print(json.dumps({"seconds": found["seconds"], "cpu_seconds": cpu, "mb": found["mb"]}), file=sys.stderr)


def asked(command: list[str], limit: float) -> dict[str, float] | None:
    """The figures that a process prints last, None if it needs more time or memory than there is."""
    mine = command[0] == sys.executable
    env = (environment if mine else environment_elsewhere)(**threads(THREADS, ("OMP", "MKL", "OPENBLAS")))
    try:
        shown = subprocess.run(command, env=env, check=True, capture_output=True, text=True, timeout=limit)
    except subprocess.TimeoutExpired:
        return None
    except subprocess.CalledProcessError as error:
        if error.returncode < 0 or "alloc" in error.stderr or "MemoryError" in error.stderr:
            return None
        raise RuntimeError(error.stderr) from error
    return json.loads(shown.stderr.splitlines()[-1])


def measure(arguments: argparse.Namespace) -> dict:
    results = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder)
        for n in arguments.sizes:
            pool_of(folder, n)
            rounds = arguments.rounds if n < 1_000_000 else 1
            contenders = {
                title: [
                    sys.executable,
                    "-c",
                    f"from bench.selection import cost; cost.ours({name!r}, {strategy!r})",
                ]
                for title, strategy in STRATEGIES.items()
            }
            if arguments.python:
                work = [name, str(THREADS), str(BATCH), str(FEW)]
                contenders[PEER] = [arguments.python, "-c", WORKER, *work]
            contenders = {title: contenders[title] for title in contenders if title in arguments.methods}
            figures: dict[str, list] = {title: [] for title in contenders}
            for _ in range(rounds):
                for title, command in contenders.items():
                    figures[title].append(asked(command, arguments.limit))
                    print(n, title, figures[title][-1], file=sys.stderr, flush=True)
            results[str(n)] = figures
    return results


def shown(results: dict) -> str:
    """The table in Markdown."""
    lines = [
        f"Embed and select {BATCH} of n candidates, {THREADS} threads; of 1,000,000 the default prefilter leaves "
        f"100,000 random ones to ours, bmdal_reg sees all.",
        "",
        "| n | method | seconds | CPU seconds | MB | bmdal_reg / this, seconds | CPU seconds |",
        "|---|---|---|---|---|---|---|",
    ]
    for n, figures in results.items():
        for title, rounds in figures.items():
            if None in rounds:
                lines.append(f"| {int(n):,} | {title} | beyond the limit | | | | |")
                continue
            cells = [f"{np.median([r[key] for r in rounds]):.2f}" for key in ("seconds", "cpu_seconds")]
            cells.append(f"{np.median([r['mb'] for r in rounds]):.0f}")
            theirs = figures.get(PEER, [None])
            for key in ("seconds", "cpu_seconds"):
                if title == PEER or None in theirs:
                    cells.append("")
                else:
                    ratios = [t[key] / r[key] for t, r in zip(theirs, rounds, strict=True)]
                    cells.append(f"{np.median(ratios):.1f}")
            lines.append(f"| {int(n):,} | {title} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = options.parser(__doc__)
    parser.add_argument("--python", help="interpreter that has bmdal_reg; without it ours alone is measured")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--methods", nargs="+", default=[*STRATEGIES, PEER], help="titles to measure")
    parser.add_argument("--rounds", type=int, default=3, help="of 1,000,000 one")
    parser.add_argument("--limit", type=float, default=180, help="seconds for one process")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    results = measure(arguments)
    if arguments.output:
        arguments.output.write_text(json.dumps(results, indent=1) + "\n")
    print(shown(results))
