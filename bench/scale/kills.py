"""Commands on pools that are killed at random moments, and begun again until they are done.

    python -m bench kills [--kills 100] [--only score] [--seed 0]

A Markdown table.  After every kill each output that is there must be one of those of an undisturbed run, whole; at the
end all of them must be there and nothing else.  "midway": kills that left some outputs but not all, or a part of one
under a name of its own.  Of Dask a worker is killed, of two, while the others go on: see bench/scale/worker_kills.py.
"""

from __future__ import annotations

import csv
import random
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import fasttangent as ft
from bench.common import options
from bench.common.machine import processor
from bench.common.markdown import markdown
from bench.common.places import environment
from bench.reliability.commands import digest
from fasttangent.active.loop.journal import read
from fasttangent.cli.tables.writing import write_table

NAMES = [f"x{i}" for i in range(8)]
QUICK = ["--hidden", "8", "--epochs", "20", "--strength", "0.01", "--quiet"]
TRIES, PATIENCE = 9, 600  # of one command; seconds, never a measure of speed
OF_A_STEP = (
    4  # kills, before it is let go on: all steps are to be killed, also where a machine has become slower
)
EARLIEST, LATEST = 0.4, 1.1  # moments, in the time that a command takes; before lies the start of Python


class Work(NamedTuple):
    """A piece of work that can be begun again."""

    ready: Callable[[Path], None]  # makes what it reads, in a folder
    steps: Callable[[Path, Path], Iterator[list[str]]]  # (what it reads, its own folder): commands
    there: Callable[[Path], Mapping[str, Any]]  # outputs in its folder, each whole


class Report(NamedTuple):
    """What came of killing it; that results are right is what `killed` checks."""

    kills: int = 0
    midway: int = 0
    runs: int = 0


class WrongError(AssertionError):
    """An output that is not what it must be."""


def killed(
    work: Work,
    home: Path,
    most: int,
    *,
    number: int = signal.SIGKILL,
    seed: int = 0,
    earliest: float = EARLIEST,
) -> Report:
    """Kill the work so many times."""
    rng, found = random.Random(seed), Report()
    source = home / "source"
    source.mkdir()
    work.ready(source)
    allowed, seconds, expected = _undisturbed(work, source, home / "undisturbed")
    while found.kills < most:
        place = home / f"run{found.runs}"
        place.mkdir()
        found = found._replace(runs=found.runs + 1)
        for i, command in enumerate(work.steps(source, place)):
            for attempt in range(TRIES):
                strike = found.kills < most and attempt < OF_A_STEP
                moment = rng.uniform(earliest, LATEST) * seconds[i] if strike else PATIENCE
                if _struck(command, moment, number) == 0:
                    break
                there = work.there(place)
                _check(there, allowed, f"half an output of {command[0]}")
                partly = bool(_left(place)) or 0 < len(there) < len(expected)
                found = found._replace(kills=found.kills + 1, midway=found.midway + partly)
            else:
                raise WrongError(f"{command} was never done")
        if work.there(place) != expected or _left(place):
            raise WrongError(f"another result in {place}: {_left(place)}")
    return found


def _undisturbed(
    work: Work, source: Path, place: Path
) -> tuple[dict[str, Any], list[float], Mapping[str, Any]]:
    """All that may ever be there, how long each step takes, and what is there at the end."""
    place.mkdir()
    allowed, seconds = dict[str, Any](), list[float]()
    for command in work.steps(source, place):
        allowed |= work.there(place)
        began = time.monotonic()
        if _struck(command, PATIENCE, signal.SIGKILL) != 0:
            raise WrongError(f"{command} does not end well")
        seconds.append(time.monotonic() - began)
        allowed |= work.there(place)
    return allowed, seconds, work.there(place)


def _struck(command: list[str], seconds: float, number: int) -> int:
    words = [sys.executable, "-m", "fasttangent", *command]
    process = subprocess.Popen(
        words, env=environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(number)
        try:
            process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            raise WrongError(f"{command} hung after a signal") from None
    return process.returncode


def _check(there: Mapping[str, Any], allowed: Mapping[str, Any], what: str) -> None:
    for name, value in there.items():
        if name not in allowed or allowed[name] != value:
            raise WrongError(f"{what}: {name} is no output of a run that nobody disturbed")


def _left(place: Path) -> list[str]:
    """What is half written."""
    return [path.name for path in place.rglob("*") if path.name.endswith(".tmp")]


# ---- the works ----


def pool_and_model(files: int, rows: int) -> Callable[[Path], None]:
    """Parquet files and a model."""

    def ready(folder: Path) -> None:
        rng = np.random.default_rng(0)
        (folder / "pool").mkdir()
        for i in range(files):
            X = rng.normal(size=(rows, len(NAMES)))
            write_table(folder / "pool" / f"p{i:03}.parquet", dict(zip(NAMES, X.T, strict=True)))
        X = rng.normal(size=(80, len(NAMES)))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            fit = {"hidden": (8,), "epochs": 20, "strength": 0.01, "feature_names": NAMES}
            ft.fit(X, label(X[:, 0]), **fit).save(folder / "m.npz")

    return ready


def label(x: Any) -> Any:
    return np.sin(2 * x)


def _contents(folder: Path) -> dict[str, Any]:
    files = (path for path in folder.rglob("*") if path.is_file() and not path.name.endswith(".tmp"))
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def _score(source: Path, place: Path) -> Iterator[list[str]]:
    yield ["score", str(source / "m.npz"), str(source / "pool"), "-o", str(place), "--resume", "--quiet"]


def _select(source: Path, place: Path) -> Iterator[list[str]]:
    out, many = place / "out.csv", ["--strategy", "random", "-k", "20000", "--quiet"]
    if not out.exists():
        out.write_text("what was there before\n")
    yield ["select", str(source / "m.npz"), str(source / "pool"), "-o", str(out), *many]


def _select_there(place: Path) -> Mapping[str, Any]:
    """The file before and after are two outputs, either of which may be there."""
    return {f"{name} of {len(content)} bytes": content for name, content in _contents(place).items()}


def _rounds(source: Path, place: Path) -> Iterator[list[str]]:
    """Three rounds, in which a person fills in labels."""
    campaign, picks = str(place / "c"), place / "picks.csv"
    for i in range(3):
        pool = [str(source / "pool"), *QUICK] if i == 0 else []
        yield ["next", *pool, "--folder", campaign, "-k", "12", "-o", str(picks), "--quiet"]
        _fill(picks)
        yield ["tell", str(picks), "--folder", campaign]
        picks.unlink()


def _fill(path: Path) -> None:
    with path.open(newline="") as file:
        head, *lines = csv.reader(file)
    at = head.index(NAMES[0])
    for line in lines:
        line[-1] = repr(float(label(float(line[at]))))
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([head, *lines])


def _rounds_there(place: Path) -> Mapping[str, Any]:
    """Events, models and picks, all of which must be those of an undisturbed campaign at some time."""
    found = dict[str, Any]()
    if (place / "picks.csv").exists():
        text = (place / "picks.csv").read_text()
        found[f"picks {hash(text)}"] = text
    journal, _ = read(place / "c" / "journal.jsonl")
    for i, event in enumerate(journal):
        kept = {k: v for k, v in event.items() if not k.endswith(("seconds", "sha256"))}
        found[f"event {i}"] = _elsewhere(kept, place)
    return found | {path.name: digest(path) for path in sorted((place / "c").glob("model-*.npz"))}


def _elsewhere(value: Any, place: Path) -> str:
    return repr(value).replace(str(place), "")


WORKS = {
    "score of 60 files": Work(pool_and_model(60, 20_000), _score, _contents),
    "select -o": Work(pool_and_model(4, 30_000), _select, _select_there),
    "next and tell, three rounds": Work(pool_and_model(4, 10_000), _rounds, _rounds_there),
}


def main() -> None:
    parser = options.parser(__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--only", default="", help="works whose name begins so")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    print(f"{processor()}\n", flush=True)
    table = [["work", "killed", "midway", "runs", "half-written", "lost or another result"]]
    for name, work in WORKS.items():
        if name.startswith(chosen.only):
            with tempfile.TemporaryDirectory() as home:
                found = killed(work, Path(home), chosen.kills, seed=chosen.seed)
            table.append([name, *map(str, found), "0", "0"])
            print(table[-1], file=sys.stderr, flush=True)
    if "dask".startswith(chosen.only):
        from bench.scale import worker_kills

        table += worker_kills.table(chosen.kills, chosen.seed)
    print(markdown(table))
