"""Files of strangers: a model, a table, a campaign or a cache that is damaged or forged.

Read back, or an error of one line; never a crash, other numbers without a word, memory without bound, or their code.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np

import fasttangent as ft
from bench.common.places import environment
from bench.reliability.case import Ground, Wrong, check
from bench.reliability.commands import (
    CAMPAIGN,
    MODEL,
    copy_of_ready,
    ended_well,
    inside,
    must,
    ready,
)
from bench.reliability.damage import Planted, damaged, forged
from fasttangent.kernels.jit import cache_folder

ROWS = np.random.default_rng(1).normal(size=(7, 3))
TABLES = ("pool.csv", "pool.csv.gz", "pool.parquet", "pool.npy", "data.csv", "labeled.csv")
SHARES = {"model": 0.4, "table": 0.35, "campaign": 0.25}
CACHES = 20  # one case of so many is of a cache, which takes processes of its own


def prepare(home: Path) -> None:
    folder = ready(home)
    for suffix, written in ((".parquet", ".parquet"), (".csv.gz", ".csv.gz"), (".npy", ".csv")):
        must(folder, "score", MODEL, f"pool{suffix}", "-o", str(home / f"scores{written}"))
    must(
        folder,
        "select",
        MODEL,
        "pool.csv",
        "-k",
        "2",
        "--labeled",
        "labeled.csv",
        "-o",
        str(home / "picks.csv"),
    )


def case(ground: Ground) -> str:
    rng = ground.rng
    kind = str(rng.choice(list(SHARES), p=list(SHARES.values())))
    kind = "cache" if ground.seed % CACHES == CACHES - 1 else kind
    marker = ground.place / "marker"
    folder = copy_of_ready(ground.home, ground.place)
    ended = {"model": model, "table": table, "campaign": campaign, "cache": cache}[kind](
        rng, folder, marker, ground
    )
    check(not marker.exists(), "code of a file ran", kind)
    return f"{kind}: {ended}"


def model(rng: np.random.Generator, folder: Path, marker: Path, ground: Ground) -> str:
    path = folder / MODEL
    original, damage = ft.load(path), rng.random() < 0.4
    what = damaged(rng, path) if damage else forged(rng, path, marker)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        warnings.simplefilter("error", RuntimeWarning)
        try:
            found = ft.load(path)
        except ft.ModelFileError as error:
            check("\n" not in str(error), "error of several lines", f"{error}; {what}")
            return "refused"
        if damage or what.endswith("2 GB"):
            for name in ("predict", "sensitivity", "curiosity"):
                one, other = getattr(found, name)(ROWS), getattr(original, name)(ROWS)
                check((one == other).all(), f"other numbers of a damaged model ({name})", what)
            return "damaged where it does not matter"
        _works(found, folder, what)
    return "forged, works"


def _works(found: ft.Model, folder: Path, what: str) -> None:
    """A model that was let in does all that a model does."""
    try:
        rows = np.ones((5, found.n_features)) + np.arange(5)[:, None]
        check(np.isfinite(found.predict(rows)).all(), "nan of a forged model", what)
        scores = [found.score(rows)] if "strength" in found.tangents else []
        check(all(np.isfinite(a).all() for s in scores for a in s), "nan of a forged model", what)
        if "posterior" in found.tangents:
            check(np.isfinite(found.predict(rows, return_std=True)).all(), "nan of a forged model", what)
        check(
            isinstance(found.certificate.trusted, bool),
            "a forged model with a certificate that is no bool",
            what,
        )
        repr(found), json.dumps(found.summary())
        found.save(folder / "again.npz")
        check(
            (ft.load(folder / "again.npz").predict(rows) == found.predict(rows)).all(),
            "another model again",
            what,
        )
    except Wrong:
        raise
    except Exception as error:
        raise Wrong(
            "a forged model was let in and failed later", f"{type(error).__name__}: {error}; {what}"
        ) from error


def table(rng: np.random.Generator, folder: Path, marker: Path, ground: Ground) -> str:
    name = str(rng.choice(TABLES))
    if name == "pool.npy" and rng.random() < 0.2:
        objects = np.empty((3, 3), object)
        objects[...] = Planted(marker)
        np.save(folder / name, objects, allow_pickle=True)
        what = "pickled"
    else:
        what = damaged(rng, folder / name)
    words = {
        "data.csv": ["fit", name, "-o", "out.npz", "--hidden", "2", "--epochs", "1", "--settle", "no"],
        "labeled.csv": ["select", MODEL, "pool.csv", "-k", "2", "--labeled", name, "-o", "out.csv"],
    }.get(name, ["score", MODEL, name, "-o", "out.csv"])
    ended = inside(folder, *words)
    about = f"{name} {what}"
    ended_well(ended, about)
    out = folder / words[words.index("-o") + 1]
    check(out.exists() == (ended.code == 0), "an output after an error, or none", about)
    left = [p.name for p in folder.iterdir() if p.name.startswith(".")]
    check(not left, "files left behind", f"{left}; {about}")
    if out.name == "out.npz" and out.exists():
        check(np.isfinite(ft.load(out).params).all(), "a model of nan", about)
    return "refused" if ended.code else "read"


def campaign(rng: np.random.Generator, folder: Path, marker: Path, ground: Ground) -> str:
    """`next` writes the rows that are open once more, or says what is wrong with the folder."""
    folders = str(rng.choice([CAMPAIGN, "told"]))
    files = sorted(p for p in (folder / folders).iterdir() if p.is_file() and p.name != "lock")
    path = files[int(rng.integers(len(files)))]
    what = forged(rng, path, marker) if path.suffix == ".npz" and rng.random() < 0.5 else damaged(rng, path)
    before, about = path.read_bytes(), f"{path.parent.name}/{path.name} {what}"
    ended_well(inside(folder, "next", "--folder", folders, "--status"), f"--status, {about}")
    ended = inside(folder, "next", "--folder", folders, "-k", "4", "-o", "out.csv", "--quiet")
    ended_well(ended, about)
    if ended.code:
        check(path.suffix != ".jsonl" or path.read_bytes() == before, "a damaged journal was changed", about)
        check(not (folder / "out.csv").exists(), "an output after an error", about)
        return "refused"
    expected = _picks(ground.home, folders)
    found = [line.split(",")[:4] for line in (folder / "out.csv").read_text().splitlines()]
    command = path.name == "command.json"  # says what is asked; what it says is believed where it makes sense
    whole = (ready(ground.home) / folders / path.name).read_bytes()
    # A last line without its end was confirmed to nobody, and is dropped.
    torn = path.suffix == ".jsonl" and (len(before) < len(whole) or not before.endswith(b"\n"))
    if not (command or torn):
        check(found == expected, "other picks of a damaged campaign", f"{found}; {about}")
    return "read"


def _picks(home: Path, name: str) -> list[list[str]]:
    path = home / f"picks of {name}.csv"
    if not path.exists():
        copy = home / f"next in {name}"
        shutil.copytree(ready(home), copy)
        ended = inside(copy, "next", "--folder", name, "-k", "4", "-o", str(path), "--quiet")
        if ended.code:
            raise RuntimeError(ended.err)
    return [line.split(",")[:4] for line in path.read_text().splitlines()]


CACHED_PROGRAM = f"""
import sys, json, fasttangent as ft, numpy as np
model, rows = ft.load({MODEL!r}), np.ones((7, 3)) * np.arange(7)[:, None]
print(json.dumps([getattr(model, name)(rows).astype(float).tolist() for name in ("predict", "curiosity", "embed")]))
"""


def cache(rng: np.random.Generator, folder: Path, marker: Path, ground: Ground) -> str:
    """Kernels in a cache that was damaged: compiled anew, with the same numbers."""
    warm = warm_cache(ground.home)
    chosen = folder / "cache"
    shutil.copytree(warm, chosen)
    files = sorted(p for p in chosen.rglob("*") if p.is_file())
    done = []
    for i in rng.choice(len(files), min(len(files), int(rng.choice([1, 3, 20]))), replace=False):
        if rng.random() < 0.2:
            files[i].write_bytes(files[int(rng.integers(len(files)))].read_bytes())
            done.append(f"{files[i].name} another's")
        else:
            done.append(f"{files[i].name} {damaged(rng, files[i])}")
    found, about = scores_of_cache(folder, chosen, "; ".join(done)[:500]), "; ".join(done)[:500]
    check(found == scores_of_cache(folder, warm), "other numbers from a damaged cache", about)
    return "compiled anew or read"


def program(folder: Path, code: str, chosen: Path | None) -> subprocess.Popen:
    """Python in a folder, with a cache."""
    more = {} if chosen is None else {"FASTTANGENT_CACHE": str(chosen)}
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", code], cwd=folder, env=environment(**more), text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def scores_of_cache(folder: Path, chosen: Path | None, about: str = "") -> str:
    """What the model of a folder says of some rows."""
    process = program(folder, CACHED_PROGRAM, chosen)
    out, err = process.communicate()
    how = f"signal {-process.returncode}" if process.returncode < 0 else f"exit code {process.returncode}"
    check(process.returncode == 0, f"cache: {how}", f"{err[-800:]}; {about}")
    return out


def warm_cache(home: Path) -> Path:
    """A cache that holds what the program needs."""
    chosen, own = home / "warm cache", cache_folder()
    if not chosen.exists():
        if own is not None:
            shutil.copytree(own, chosen / own.name)
        scores_of_cache(ready(home), chosen)
    return chosen
