"""What the system says of the processor, of the memory and of who else is at work."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path


def processor() -> str:
    """Its name (Linux), and the number of cores."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        name = "unknown processor"
    return f"{name}, {os.cpu_count()} cores"


def seconds_of_others() -> float:
    """Processor time since the start that went to other processes or to other machines (Linux; elsewhere 0)."""
    try:
        user, nice, system, _, _, *interrupts = Path("/proc/stat").read_text().splitlines()[0].split()[1:9]
    except OSError:
        return 0.0
    ticks = sum(map(int, (user, nice, system, *interrupts)))
    return ticks / os.sysconf("SC_CLK_TCK") - sum(os.times()[:4])


def resident(name: str) -> float:
    """A line of /proc/self/status in MB (Linux)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith(name + ":")) / 1024


def forget_peak() -> None:
    """The high-water mark of the resident size, VmHWM, starts again from here (Linux)."""
    Path("/proc/self/clear_refs").write_text("5")


def available() -> float:
    """MB that can be allocated without swapping (Linux)."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith("MemAvailable:")) / 1024


def timed(work: Callable[[], object], times: int) -> dict:
    """Seconds of a call, MB it needed at its height beyond what was there before, and MB of the process."""
    result = None
    before = resident("VmRSS")
    forget_peak()
    start = time.perf_counter()
    for _ in range(times):
        result = work()
    seconds = (time.perf_counter() - start) / times
    peak = resident("VmHWM")
    return {"seconds": seconds, "mb": peak - before, "process_mb": peak, "result": result}
