"""Commands on pools that are killed at random moments, and begun again until they are done.

    python -m bench kills [--kills 100] [--only score] [--seed 0]

A Markdown table.  After every kill each output that is there must be one of those of an undisturbed run, whole; at the
end all of them must be there and nothing else.  "midway": kills that left some outputs but not all, or a part of one
under a name of its own.  Of Dask a worker is killed, of two, while the others go on: see bench/scale/worker_kills.py.
"""

from __future__ import annotations

import csv
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

import fasttangent as ft
from bench.common import options
from bench.common.machine import processor
from bench.common.markdown import markdown
from bench.reliability.commands import digest
from bench.scale import worker_kills
from bench.scale.killing import Work, killed
from bench.scale.worker_kills import NAMES, label
from fasttangent.active.loop.journal import read
from fasttangent.cli.tables.writing import write_table

QUICK = ["--hidden", "8", "--epochs", "20", "--strength", "0.01", "--quiet"]


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
        table += worker_kills.table(chosen.kills, chosen.seed)
    print(markdown(table))
