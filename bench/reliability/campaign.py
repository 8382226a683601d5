"""A part for some time: cases in processes of their own, one after another, and what becomes of them."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.common.places import ROOT, environment
from bench.reliability.counts import Counts, Failure
from bench.reliability.parts import PARTS, WIDTHS

MANY = 10**9  # cases, where only time counts
SHOWN = 5  # failures of one kind
STARTING = 180  # seconds that imports may take on a busy machine
Report = Callable[[str], None]


def part(
    name: str, seconds: float, seed: int, report: Report, cases: int = MANY, wide: bool = True
) -> Counts:
    """Cases number seed, seed + 1 ... of a part, until so many or so much time is over.

    `wide`: where kernels are compiled for a width of vectors, a third of them for each.
    """
    if not (PARTS[name].widths and wide):
        return _run(name, seconds, seed, cases, report, {})
    counts, each = Counts(), -(-cases // len(WIDTHS))
    for i, bits in enumerate(WIDTHS):
        first = seed + i * min(each, MANY // 10)
        more = {"FASTTANGENT_VECTOR_BITS": bits}
        counts.add(_run(name, seconds / len(WIDTHS), first, each, report, more))
    return counts


def command(name: str, seed: int, more: dict[str, str]) -> str:
    """The line that repeats a case."""
    set_first = "".join(f"{key}={value} " for key, value in more.items())
    return f"{set_first}python -m bench.reliability {name} --case {seed}"


def _run(name: str, seconds: float, first: int, cases: int, report: Report, more: dict[str, str]) -> Counts:
    counts, began, seed = Counts(), time.monotonic(), first
    while (left := seconds - (time.monotonic() - began)) > 0 or not counts.cases:
        if seed >= first + cases:
            break
        home = Path(tempfile.mkdtemp(prefix="reliability-"))
        try:
            seed = _worker(name, (seed, first + cases - seed, max(left, 0), home), counts, report, more)
        finally:
            _unmount(home)
            shutil.rmtree(home, ignore_errors=True)
        if seed < 0:  # it ended by itself
            break
    counts.seconds = time.monotonic() - began
    return counts


def _worker(
    name: str, task: tuple[int, int, float, Path], counts: Counts, report: Report, more: dict[str, str]
) -> int:
    """A process and all that it says; the seed to go on with where it died, -1 where it ended."""
    words = [sys.executable, "-m", "bench.reliability.worker", name, *map(str, task)]
    errors = (task[3] / "errors").open("wb+")
    process = subprocess.Popen(
        words, cwd=ROOT, env=environment(**more), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors,
        text=True, start_new_session=True,
    )  # fmt: skip
    lines: queue.Queue[str | None] = queue.Queue()
    reader = threading.Thread(target=_read, args=(process, lines), daemon=True)
    reader.start()
    seed, hang = None, float(STARTING)

    def failed(kind: str, text: str) -> None:
        assert seed is not None
        counts.failures.append(Failure(seed, kind, text[:2000], command(name, seed, more)))
        if sum(one.kind == kind for one in counts.failures) <= SHOWN:
            report(f"FAILED  {kind}: {text[:600]}\n        {counts.failures[-1].command}")

    try:
        while True:
            try:
                line = lines.get(timeout=hang)
            except queue.Empty:
                if seed is None:
                    raise RuntimeError(f"{name}: no case began within {hang:.0f} seconds") from None
                counts.cases += 1
                failed("hang", f"not ended after {hang:.0f} seconds")
                return seed + 1
            if line is None:
                code, last = process.wait(), _tail(errors)
                if seed is None:
                    if code:
                        raise RuntimeError(f"{name} ended with {code} before or after a case: {last}")
                    return -1
                counts.cases += 1
                failed(f"crash ({_how(code)})", last)
                return seed + 1
            said: dict[str, Any] = json.loads(line)
            if "seed" in said:
                seed, hang = said["seed"], PARTS[name].hang
                continue
            counts.cases += 1
            if "failure" in said:
                failed(said["failure"], said["text"])
            else:
                counts.kinds[said["kind"]] += 1
            seed, hang = None, PARTS[name].hang
    finally:
        _end(process)
        reader.join()
        errors.close()


def _unmount(home: Path) -> None:
    """What a process that was killed had mounted there."""
    mounts = Path("/proc/mounts").read_text().splitlines() if sys.platform == "linux" else []
    for place in (line.split()[1] for line in mounts):
        if place.startswith(f"{home}/"):
            subprocess.run(["umount", "-l", place], check=False, capture_output=True)


def _read(process: subprocess.Popen, lines: queue.Queue[str | None]) -> None:
    assert process.stdout is not None
    with process.stdout:
        for line in process.stdout:
            lines.put(line)
    lines.put(None)


def _end(process: subprocess.Popen) -> None:
    """It and all processes of its group, which it has alone."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _tail(errors: Any) -> str:
    errors.seek(0)
    return errors.read().decode(errors="replace")[-1500:]


def _how(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"
