"""Work that is killed at random moments, and begun again until it is done: nothing lost, nothing half-written."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from bench.common.places import environment

TRIES, PATIENCE = 9, 600  # of one command; seconds, never a measure of speed
OF_A_STEP = (
    4  # kills, before it is let go on: so all steps are killed, also where a machine has become slower
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
                began = time.monotonic()
                if (
                    _struck(command, moment, number) == 0
                ):  # faster than when it was timed: a busy machine went idle
                    seconds[i] = min(seconds[i], time.monotonic() - began)
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
