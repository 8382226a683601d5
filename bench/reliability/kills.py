"""SIGKILL and SIGINT at random moments: of every command in a process of its own, and of calls of the library here.

What is written is whole or not there; after SIGINT the exit code is 130, nothing is left behind and nobody sees a
traceback; and the next run gives what it would have given anyway.
"""

from __future__ import annotations

import functools
import re
import subprocess
import time
from pathlib import Path
from signal import SIGINT, SIGKILL

import fasttangent as ft
from bench.reliability import interrupts
from bench.reliability.case import Ground, Wrong, check
from bench.reliability.commands import (
    COMMANDS,
    Command,
    Ended,
    compare,
    copy_of_ready,
    digests,
    ended_well,
    files_of,
    outside,
    start,
    undisturbed,
)

PATIENCE = 120  # seconds for a command to end after SIGINT on a busy machine: it takes one
COLD = 50  # one case of so many has an empty cache
CALLS = 0.4  # share of cases in this process
IN_MAIN = re.compile(r'fasttangent.cli.__init__\.py", line \d+, in main$', re.MULTILINE)
COMPILING = 30.0  # seconds in which a cold command is struck


def case(ground: Ground) -> str:
    rng = ground.rng
    cold = ground.seed % COLD == COLD - 1
    if rng.random() < CALLS and not cold:
        return interrupts.case(ground)
    name = str(rng.choice(list(COMMANDS)))
    signal = SIGINT if rng.random() < 0.5 else SIGKILL
    folder = copy_of_ready(ground.home, ground.place)
    more = {"FASTTANGENT_CACHE": str(folder / "cache")} if cold else {}
    seconds = COMPILING if cold else _seconds(ground.home, name)
    moment = float(rng.uniform(0, 1.1 * seconds))
    about = (
        f"{name}, {signal.name} after {moment:.2f} of about {seconds:.2f} s{', cold cache' if cold else ''}"
    )
    struck = _struck(folder, COMMANDS[name], signal, moment, more, about)
    how = _after(struck, signal, about)
    expected = undisturbed(ground.home, name)
    found = digests(folder, COMMANDS[name])
    for output, value in found.items():
        partly = "." not in output or (signal == SIGINT and _says_interrupted(folder / output))
        if value is not None and not partly:  # folders of campaigns may stand anywhere between
            compare(value, expected[output], "half an output", about)
    if signal == SIGINT:
        check(not _left(folder), "files left behind after SIGINT", f"{_left(folder)}; {about}")
    again = outside(folder, COMMANDS[name].arguments, **more)
    ended_well(again, f"again, {about}", codes=(0,))
    compare(digests(folder, COMMANDS[name]), expected, "another result after a kill", about)
    check(not _left(folder), "files left behind by the next run", f"{_left(folder)}; {about}")
    return f"{signal.name} {name}{' (cold)' if cold else ''}: {how}"


@functools.cache
def _seconds(home: Path, name: str) -> float:
    """About how long a command takes."""
    place = home / f"timed {name}"
    place.mkdir()
    folder = copy_of_ready(home, place)
    began = time.monotonic()
    ended = outside(folder, COMMANDS[name].arguments)
    ended_well(ended, name, codes=(0,))
    return time.monotonic() - began


def _struck(
    folder: Path, command: Command, signal: int, moment: float, more: dict[str, str], about: str
) -> Ended:
    process = start(folder, command.arguments, **more)
    try:
        out, err = process.communicate(timeout=moment)
    except subprocess.TimeoutExpired:
        process.send_signal(signal)
        try:
            out, err = process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            raise Wrong("hang after SIGINT", about) from None
    return Ended(process.returncode, out, err)


def _after(struck: Ended, signal: int, about: str) -> str:
    """How it ended, which must be one of the ways in which it may."""
    if struck.code == 0:
        return "was done"
    if signal == SIGKILL:
        check(struck.code == -SIGKILL, f"exit code {struck.code} before SIGKILL", f"{struck.err}; {about}")
        return "struck"
    if struck.code in (-SIGINT, 1) and "Traceback" in struck.err and not IN_MAIN.search(struck.err):
        return "struck before the program began"
    if struck.code == -SIGINT and not struck.err:
        return "struck before the program began"
    check("Traceback" not in struck.err, "traceback after SIGINT", f"{struck.err[-1500:]}; {about}")
    check(struck.code == 130, f"exit code {struck.code} after SIGINT", f"{struck.err[-300:]!r}; {about}")
    return "struck"


def _says_interrupted(path: Path) -> bool:
    """Whether it is a model of the moment in which Ctrl-C was pressed."""
    return path.suffix == ".npz" and path.exists() and ft.load(path).interrupted


def _left(folder: Path) -> list[str]:
    """Files that nobody asked for; a cache may hold what a killed process wrote, for a day, and its ledger."""
    own = (name for name in files_of(folder) if not name.startswith("cache/"))
    return [name for name in own if name.rpartition("/")[2].startswith(".") or name.endswith(".tmp")]
