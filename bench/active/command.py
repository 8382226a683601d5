"""Active learning from 64 labels: does a strategy beat random labelling, and the best that is published?

    python -m bench active run DATA --out active.jsonl [--processes 2] [--bmdal BMDAL/bin/python] [filters]
    python -m bench active choose DATA --out choice.jsonl      # run on the seeds of the choice, then name the default
    python -m bench active cost DATA [--bmdal BMDAL/bin/python]
    python -m bench active collect LINES.jsonl ...
    python -m bench active table > bench/ACTIVE.md
    python -m bench active plot

What is compared, on which rows, and how it is tested was written down first: bench/ACTIVE_PROTOCOL.md.  DATA is a
folder of NAME.csv.gz without header, the target in the last column.  A run appends one line of JSON for each set,
seed and method; lines that are there are not run again, so that it can be killed and started anew.  Seeds are
finished one after another.  Methods of bmdal_reg need the Python of an environment that has it (peers/bmdal_worker.py);
without, they are left out.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import fasttangent as ft
from bench.active import cost as one_selection
from bench.active import methods as known
from bench.active import plots, tables
from bench.active.data import MOST_BATCHES, SETS, n_batches, rows_of
from bench.active.loop import STAGES, Task, run
from bench.active.methods import METHODS
from bench.common import options
from bench.common.places import REPORTS, RESULTS, threads
from bench.peers.bmdal import Bmdal

CHOICE_SEEDS, TEST_SEEDS = range(2), range(10, 20)
LARGE_SEEDS, SETTLED_SEEDS = range(10, 15), range(10, 13)
DESIGNS = {  # (stage, batch): methods and seeds of the protocol
    ("first", 32): (tuple(METHODS), TEST_SEEDS),
    ("first", 128): (known.LARGE_BATCHES, LARGE_SEEDS),
    ("settled", 32): (known.SETTLED, SETTLED_SEEDS),
}
Key = tuple[str, int, str, str, int]  # set, seed, method, stage, batch


def main(arguments: Sequence[str] | None = None) -> None:
    given = understood().parse_args(arguments)
    given.action(given)


def run_all(given: argparse.Namespace) -> None:
    """Work off what is missing, seed by seed."""
    os.environ.update(threads(1))  # before workers import NumPy
    planned, planned_seeds = DESIGNS.get((given.stage, given.batch), ((), ()))
    methods, wanted = given.methods or planned, given.seeds or planned_seeds
    if not methods or not wanted:
        sys.exit(f"nothing is planned for {given.stage} models and batches of {given.batch}")
    if given.bmdal is None:
        methods = [m for m in methods if METHODS[m].group != "bmdal"]
    done = {key_of(line) for line in read(given.out)}
    end_last_line(given.out)
    jobs = [
        (name, seed, missing)
        for seed, names, group in ordered(wanted, given.sets or SETS, methods)
        for name in names
        if (missing := [m for m in group if (name, seed, m, given.stage, given.batch) not in done])
    ]
    work = partial(
        run_job,
        folder=given.folder,
        stage=given.stage,
        batch=given.batch,
        out=given.out,
        bmdal=given.bmdal,
    )
    n_runs, start, n_done = sum(len(job[2]) for job in jobs), time.perf_counter(), 0
    print(f"{n_runs} runs to do, {len(done)} there", flush=True)
    with get_context("spawn").Pool(given.processes) as pool:
        for name, seed, n, messages in pool.imap_unordered(work, jobs):
            n_done += n
            spent = (time.perf_counter() - start) / 60
            left = spent * (n_runs / n_done - 1)
            print(
                f"{name} seed {seed}: {n} runs; {n_done} of {n_runs}, {spent:.1f} min, {left:.0f} to go",
                flush=True,
            )
            for message in messages:
                print(f"    {message}", flush=True)


def ordered(wanted: Sequence[int], names: Sequence[str], methods: Sequence[str]) -> Iterator[tuple]:
    """(seed, sets, methods): the learned losses come last, of the sets the slow ones first."""
    late = [m for m in methods if METHODS[m].group == "learned losses"]
    early = [m for m in methods if m not in late]
    for group in (early, late):
        for seed in wanted:
            yield seed, names[::-1], group


_bmdal: Bmdal | None = None  # of this process; ends with its input


def run_job(job: tuple, folder: Path, stage: str, batch: int, out: Path, bmdal: str | None) -> tuple:
    """All missing methods of a set and a seed; each line is written at once."""
    global _bmdal
    name, seed, methods = job
    if bmdal is not None and _bmdal is None:
        _bmdal = Bmdal(bmdal)
    messages: list[str] = []
    rows = rows_of(folder, name, seed)
    if batch != 32 and n_batches(len(rows.X), batch) < MOST_BATCHES[batch]:
        return name, seed, len(methods), ["too few rows for batches of this size"]
    task = Task(name, seed, stage, batch, rows, _bmdal)
    try:
        _ = task.initial
    except ft.DivergenceError as error:
        return name, seed, len(methods), [f"left out, the initial training failed: {error}"]
    for method in methods:
        line = run(task, method, lambda message, m=method: messages.append(f"{m}: {message}"))
        append(out, line)
    return name, seed, len(methods), messages


# Lines ------------------------------------------------------------------------------------------------------------


def append(path: Path, line: dict) -> None:
    """One write to the end of the file: lines of several processes do not mix."""
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(file, (json.dumps(line) + "\n").encode())
    finally:
        os.close(file)


def end_last_line(path: Path) -> None:
    """After a kill in the middle of a line, the next one must begin anew."""
    if path.exists() and (said := path.read_bytes()) and not said.endswith(b"\n"):
        with path.open("ab") as file:
            file.write(b"\n")


def read(*paths: Path) -> list[dict]:
    """Lines of the files without those cut off by a kill; of two of the same run, the first."""
    found: dict[Key, dict] = {}
    for path in paths:
        for text in path.read_text().splitlines() if path.exists() else []:
            try:
                line = json.loads(text)
            except ValueError:
                continue
            found.setdefault(key_of(line), line)
    return list(found.values())


def key_of(line: dict) -> Key:
    return line["set"], line["seed"], line["method"], line["stage"], line["batch"]


# ------------------------------------------------------------------------------------------------------------------


def choose(given: argparse.Namespace) -> None:
    """Run the candidates on the seeds of the choice, and write down the default."""
    given.methods = given.methods or known.CANDIDATES
    given.seeds, given.stage, given.batch, given.bmdal = CHOICE_SEEDS, "first", 32, None
    run_all(given)
    found = tables.choice(read(given.out))
    (RESULTS / "active_choice.json").write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))


def collect(given: argparse.Namespace) -> None:
    """Write active.json, which tables and pictures are made of."""
    lines = [line for line in read(*given.lines) if line["seed"] not in CHOICE_SEEDS]
    given.output.write_text(json.dumps(tables.collect(lines)) + "\n")


def table(given: argparse.Namespace) -> None:
    """Print bench/ACTIVE.md."""
    print(tables.markdown(RESULTS))


def plot(given: argparse.Namespace) -> None:
    """Write the pictures."""
    plots.write(RESULTS, REPORTS)


def cost(given: argparse.Namespace) -> None:
    """Measure one selection of each method in a process of its own."""
    one_selection.measure(given.folder, given.methods or list(METHODS), given.bmdal, given.output)


def understood() -> argparse.ArgumentParser:
    """What the command line can say."""
    parser = options.parser(__doc__)
    commands = parser.add_subparsers(required=True)

    def command(name: str, action, *, data: bool) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=action.__doc__)
        made.set_defaults(action=action)
        if data:
            made.add_argument("folder", type=Path, help="folder of the data sets")
            made.add_argument("--methods", nargs="+", choices=METHODS, metavar="METHOD")
            made.add_argument("--bmdal", help="Python of an environment with bmdal_reg")
        return made

    for name, action in (("run", run_all), ("choose", choose)):
        runs = command(name, action, data=True)
        runs.add_argument("--out", type=Path, required=True, help="file of lines")
        runs.add_argument("--processes", type=int, default=2)
        runs.add_argument("--sets", nargs="+", choices=SETS, metavar="SET")
        if name == "run":
            runs.add_argument("--seeds", nargs="+", type=int)
            runs.add_argument("--batch", type=int, choices=MOST_BATCHES, default=32)
            runs.add_argument("--stage", choices=STAGES, default="first")
    lines = command("collect", collect, data=False)
    lines.add_argument("lines", type=Path, nargs="+")
    lines.add_argument("-o", "--output", type=Path, default=RESULTS / "active.json")
    command("table", table, data=False)
    command("plot", plot, data=False)
    costs = command("cost", cost, data=True)
    costs.add_argument("-o", "--output", type=Path, default=RESULTS / "active_cost.json")
    return parser
