"""How fast files are scored beside what Arrow needs to decode them, and the memory by the number of files.

    python -m bench pools [--files 200] [--rows 100000] [--small 1000] [--repeats 3]

Two Markdown tables.  Rates: seconds of `fasttangent score` from the first file to the last (in one process after one
file, so without the start), of decoding the same columns by pyarrow alone, and of scoring the same rows in memory, for
two networks; turns are taken, medians.  CPU seconds are of all threads; "share" is the slower of decoding and scoring,
with as many threads, over the command, once by wall seconds and once by CPU seconds per processor.  Memory: the highest
resident size of the whole command for 1, some and all files, large and small.
"""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np

import fasttangent as ft
from bench.common import options
from bench.common.machine import processor
from bench.common.markdown import markdown
from bench.common.places import environment

FEATURES, NETWORKS, THREADS = 16, ((16,), (64, 64)), (1, 2)
NAMES = [f"x{i}" for i in range(FEATURES)]
SMALL_ROWS = 1000

PEAK = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024)
"""


def write_files(folder: Path, files: int, rows: int) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(files):
        columns = {name: rng.normal(size=rows) for name in NAMES}
        parquet.write_table(
            pa.table({"id": np.arange(i * rows, (i + 1) * rows), **columns}), folder / f"p{i:05}.parquet"
        )


def write_models(folder: Path) -> dict[tuple[int, ...], Path]:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(500, FEATURES))
    found = {}
    for hidden in NETWORKS:
        found[hidden] = folder / f"{'-'.join(map(str, hidden))}.npz"
        fitted = ft.fit(
            X, np.sin(X[:, 0]), hidden=hidden, epochs=5, settle=False, strength=0.1, feature_names=NAMES
        )
        fitted.save(found[hidden])
    return found


def decode(folder: Path, threads: int) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    pa.set_cpu_count(threads)
    for path in sorted(folder.iterdir()):
        with parquet.ParquetFile(path, pre_buffer=False) as file:
            for _ in file.iter_batches(1 << 17, columns=NAMES, use_threads=threads > 1):
                pass


def score(model: Path, folder: Path, threads: int, out: Path) -> None:
    from fasttangent.cli import scoring, shards

    shutil.rmtree(out, ignore_errors=True)
    jobs, _ = shards.jobs([str(folder)], str(out))
    asked = scoring.Asked(id="id", threads=threads)
    scoring.score_files(ft.load(model), jobs, asked, "bench", False, lambda *_, **__: None)


def in_memory(model: Path, rows: int, threads: int) -> None:
    X = np.random.default_rng(0).normal(size=(1 << 17, FEATURES))
    fitted = ft.load(model)
    for start in range(0, rows, len(X)):
        fitted.score(X[: rows - start], threads=threads)


def taken(work: Callable[[], None]) -> tuple[float, float]:
    """Wall and CPU seconds."""
    before, began = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    work()
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def rates(
    folder: Path, models: dict[tuple[int, ...], Path], out: Path, rows: int, repeats: int
) -> list[list[str]]:
    table = [
        ["network", "threads", "decode", "score in memory", "score files", "share (wall)", "share (CPU)"]
    ]
    processors = os.cpu_count() or 1
    for hidden, model in models.items():
        for threads in THREADS:
            works = {
                "decode": lambda threads=threads: decode(folder, threads),
                "memory": lambda model=model, threads=threads: in_memory(model, rows, threads),
                "files": lambda model=model, threads=threads: score(model, folder, threads, out),
            }
            figures: dict[str, list[tuple[float, float]]] = {name: [] for name in works}
            for _ in range(repeats + 1):
                for name, work in works.items():
                    figures[name].append(taken(work))
            wall, cpu = (
                {n: float(np.median([f[i] for f in all_[1:]])) for n, all_ in figures.items()} for i in (0, 1)
            )
            alone = max(wall["decode"], wall["memory"]) / wall["files"]
            by_cpu = max(cpu["decode"], cpu["memory"]) / min(threads, processors)
            shown = [f"{wall[n]:.2f} s, CPU {cpu[n]:.2f}" for n in works]
            share = by_cpu / max(cpu["files"] / processors, by_cpu)
            table.append(["-".join(map(str, hidden)), str(threads), *shown, f"{alone:.0%}", f"{share:.0%}"])
    return table


def peak(model: Path, folder: Path, out: Path) -> float:
    """MB of the command, of which it is the only child."""
    shutil.rmtree(out, ignore_errors=True)
    command = [
        sys.executable,
        "-m",
        "fasttangent.cli",
        "score",
        str(model),
        str(folder),
        "-o",
        str(out),
        "--quiet",
    ]
    done = subprocess.run(
        [sys.executable, "-c", PEAK, *command],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    return float(done.stdout)


def memory(large: Path, small: Path, model: Path, here: Path) -> list[list[str]]:
    """For folders of links to 1, a tenth and all of the files."""
    table = [["files", "rows of each", "highest resident size"]]
    for name, folder, rows in (("large", large, None), ("small", small, SMALL_ROWS)):
        files = sorted(folder.iterdir())
        for count in sorted({1, max(1, len(files) // 10), len(files)}):
            links = here / f"{name}{count}"
            links.mkdir()
            for path in files[:count]:
                (links / path.name).symlink_to(path)
            found = peak(model, links, here / "out")
            table.append([f"{count:,}", "as above" if rows is None else f"{rows:,}", f"{found:.0f} MB"])
    return table


def main() -> None:
    parser = options.parser(__doc__)
    parser.add_argument("--files", type=int, default=200)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--small", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=3)
    chosen = parser.parse_args()
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        models = write_models(here)
        write_files(here / "large", chosen.files, chosen.rows)
        write_files(here / "small", chosen.small, SMALL_ROWS)
        print(f"{processor()}; {chosen.files} files of {chosen.rows:,} x {FEATURES}\n")
        total = chosen.files * chosen.rows
        print(markdown(rates(here / "large", models, here / "out", total, chosen.repeats)), flush=True)
        print(f"\n{chosen.small} files of {SMALL_ROWS:,}\n")
        some = {NETWORKS[0]: models[NETWORKS[0]]}
        print(
            markdown(rates(here / "small", some, here / "out", chosen.small * SMALL_ROWS, chosen.repeats)),
            flush=True,
        )
        print()
        print(markdown(memory(here / "large", here / "small", models[NETWORKS[0]], here)))
