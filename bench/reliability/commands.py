"""The commands of the package on small tables: what they read, what they write, and what must come of it."""

from __future__ import annotations

import contextlib
import functools
import gzip
import io
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bench.common.places import environment
from bench.reliability.case import Wrong, check
from fasttangent.active.loop.journal import read

QUICK = ["--hidden", "4", "--epochs", "20", "--strength", "0.01", "--quiet"]
MODEL, PICKS, CAMPAIGN = "m.npz", "picks.csv", "campaign"


class Command(NamedTuple):
    """A command and the files of its folder that it writes."""

    arguments: list[str]
    outputs: tuple[str, ...]


def _commands() -> dict[str, Command]:
    found = {"fit": Command(["fit", "data.csv", "-o", "out.npz", *QUICK], ("out.npz",))}
    for suffix in (".csv", ".csv.gz", ".parquet"):
        words = ["score", MODEL, "pool.csv", "-o", f"out{suffix}", "--quiet"]
        found[f"score {suffix}"] = Command(words, (f"out{suffix}",))
    words = [
        "select",
        MODEL,
        "pool.parquet",
        "-k",
        "5",
        "--labeled",
        "labeled.csv",
        "-o",
        "out.csv",
        "--quiet",
    ]
    found["select"] = Command(words, ("out.csv",))
    words = [
        "next",
        "pool.csv",
        "--folder",
        "new",
        "-k",
        "4",
        "-o",
        "out.csv",
        "--labeled",
        "data.csv",
        *QUICK,
    ]
    found["next, at first"] = Command(words, ("out.csv", "new"))
    words = ["next", "--folder", "told", "-k", "4", "-o", "out.csv", "--quiet"]
    found["next, again"] = Command(words, ("out.csv", "told"))
    found["tell"] = Command(["tell", PICKS, "--folder", CAMPAIGN], (CAMPAIGN,))
    words = ["fidelity", "data.csv", "--rows", "20", "--refits", "10", "--candidates", "12", "-o", "out.csv"]
    found["fidelity"] = Command([*words, "--hidden", "3", "--epochs", "5", "--quiet"], ("out.csv",))
    return found


COMMANDS = _commands()


@functools.cache
def ready(home: Path) -> Path:
    """A folder with all that the commands read, made once."""
    folder = home / "ready"
    folder.mkdir()
    rng = np.random.default_rng(0)
    X, pool = rng.normal(size=(60, 3)), rng.normal(size=(120, 3))
    y = np.sin(X[:, 0]) + X[:, 1] * X[:, 2] + 0.1 * rng.normal(size=60)
    from fasttangent.cli.tables.writing import write_table

    names = ("speed", "height", "mass")
    columns = dict(zip(names, X.T, strict=True))
    write_table(folder / "data.csv", {**columns, "y": y})
    write_table(folder / "labeled.csv", columns)
    np.save(folder / "pool.npy", pool)
    for suffix in (".csv", ".csv.gz", ".parquet"):
        write_table(folder / f"pool{suffix}", dict(zip(names, pool.T, strict=True)))
    must(folder, "fit", "data.csv", "-o", MODEL, *QUICK)
    begin = ["next", "pool.csv", "-k", "4", "--labeled", "data.csv", *QUICK]
    must(folder, *begin, "--folder", CAMPAIGN, "-o", PICKS)
    lines = (folder / PICKS).read_text().splitlines()
    filled = [lines[0], *(f"{line}{0.5 * i}" for i, line in enumerate(lines[1:]))]
    must(folder, *begin, "--folder", "told", "-o", "other.csv")
    (folder / PICKS).write_text("\n".join(filled) + "\n")
    must(folder, "tell", PICKS, "--folder", "told")
    (folder / "other.csv").unlink()
    return folder


def copy_of_ready(home: Path, place: Path) -> Path:
    """A folder of its own for a case."""
    folder = place / "folder"
    shutil.copytree(ready(home), folder)
    return folder


class Ended(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


def inside(folder: Path, *words: str) -> Ended:
    """Run a command in this process."""
    from fasttangent.cli.app import cli

    out, err = io.StringIO(), io.StringIO()
    before = os.getcwd()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            os.chdir(folder)
            cli.main(list(words))
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
        finally:
            os.chdir(before)
    return Ended(code, out.getvalue(), err.getvalue())


def must(folder: Path, *words: str) -> None:
    """Run a command that must end well."""
    ended = inside(folder, *words)
    if ended.code:
        raise RuntimeError(f"{' '.join(words)} ended with {ended.code}: {ended.err}")


def start(
    folder: Path, words: list[str], prepare: Callable[[], None] | None = None, **more: str
) -> subprocess.Popen:
    """A command in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "fasttangent", *words], cwd=folder, env=environment(**more), text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=prepare,
    )  # fmt: skip


def outside(folder: Path, words: list[str], prepare: Callable[[], None] | None = None, **more: str) -> Ended:
    """Run a command in a process of its own, to its end."""
    process = start(folder, words, prepare, **more)
    out, err = process.communicate()
    return Ended(process.returncode, out, err)


def ended_well(ended: Ended, about: object, codes: tuple[int, ...] = (0, 1, 2)) -> None:
    """Raise unless a command ended with one of the codes, said at most one error, and that in a line."""
    errors = [line for line in ended.err.splitlines() if "fasttangent: warning: " not in line]
    check("Traceback" not in ended.err, "traceback", f"{ended.err[-1500:]}; {about}")
    check(ended.code in codes, f"exit code {ended.code}", f"{ended.err[-500:]}; {about}")
    check("unexpected " not in ended.err, "unexpected error", f"{ended.err[-500:]}; {about}")
    if ended.code not in (0, 130):
        check(
            len(errors) == 1 and errors[0].startswith("fasttangent: error: "),
            "other words than one line of error",
            f"{ended.err[-500:]!r}; {about}",
        )


def digest(path: Path) -> Any:
    """What must be the same in two runs of a command: all but seconds."""
    if path.is_dir():
        journal, _ = read(path / "journal.jsonl")  # of a campaign that was killed, also none, or a torn line
        drop = ("seconds", "sha256")
        events = [{k: v for k, v in event.items() if not k.endswith(drop)} for event in journal]
        files = sorted(p.name for p in path.iterdir())
        return {"events": events, "files": files, "models": [digest(p) for p in sorted(path.glob("*.npz"))]}
    if path.suffix == ".npz":
        with np.load(path) as archive:
            kept = {
                name: archive[name]
                for name in archive.files
                if name.startswith(("params", "tangent", "x_", "y_"))
            }
        return {name: values.tobytes().hex() for name, values in kept.items()}
    if path.suffix == ".gz":
        return gzip.decompress(path.read_bytes()).decode()
    if path.suffix == ".parquet":
        from pyarrow import parquet

        return parquet.read_table(path).to_pydict()
    return _without_seconds(path.read_text())


def _without_seconds(text: str) -> str:
    lines = [line.split(",") for line in text.splitlines()]
    keep = [i for i, name in enumerate(lines[0]) if name not in ("seconds", "memory")]
    return "\n".join(",".join(line[i] for i in keep if i < len(line)) for line in lines)


def digests(folder: Path, command: Command) -> dict[str, Any]:
    """Of all its outputs; None for one that is not there."""
    return {name: digest(folder / name) if (folder / name).exists() else None for name in command.outputs}


@functools.cache
def undisturbed(home: Path, name: str) -> Mapping[str, Any]:
    """The outputs of a command that nobody disturbs, by this process."""
    folder = home / f"undisturbed {name}"
    shutil.copytree(ready(home), folder)
    must(folder, *COMMANDS[name].arguments)
    return digests(folder, COMMANDS[name])


def files_of(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def compare(found: Any, expected: Any, what: str, about: object) -> None:
    """Raise unless two digests are equal."""
    if found != expected:
        raise Wrong(what, f"{str(found)[:300]} is not {str(expected)[:300]}; {about}")
