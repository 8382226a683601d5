"""The process in which the cases of a part run: ``python -m bench.reliability.worker PART FIRST CASES SECONDS HOME``.

On standard output, a line of JSON before each case and one after it.  Whatever else is printed goes to standard error.
"""

from __future__ import annotations

import faulthandler
import json
import os
import resource
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, TextIO

from bench.reliability.case import Ground, Wrong
from bench.reliability.parts import PARTS, module_of


def main() -> None:
    name, (first, cases), seconds = sys.argv[1], map(int, sys.argv[2:4]), float(sys.argv[4])
    home = Path(sys.argv[5])
    signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs start with it ignored
    out = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    faulthandler.enable()
    case = case_of(name)
    prepare(name, home)
    if (memory := PARTS[name].memory) is not None:
        _bound_memory(memory)
    end = time.monotonic() + seconds
    for seed in range(first, first + cases):
        if time.monotonic() > end and seed > first:
            break
        say(out, seed=seed)
        say(out, **ended(case, Ground(seed, home / str(seed), home)))
    os._exit(0)  # arrays of guarded memory cannot be freed once Python is being taken down


def case_of(name: str) -> Callable[[Ground], str]:
    """The function of a part."""
    return import_module(module_of(name)).case


def prepare(name: str, home: Path) -> None:
    """What a part does before its first case: loads and compiles, makes what cases read."""
    getattr(import_module(module_of(name)), "prepare", lambda home: None)(home)


def ended(case: Callable[[Ground], str], ground: Ground) -> dict[str, Any]:
    """How a case ended."""
    ground.place.mkdir()
    try:
        kind = case(ground)
    except Wrong as wrong:
        return {"failure": wrong.kind, "text": wrong.text}
    except BaseException as error:
        traceback.print_exc()
        frames = traceback.extract_tb(error.__traceback__)[-3:]
        where = "; ".join(f"{Path(f.filename).name}:{f.lineno} {f.name}" for f in frames)
        return {"failure": f"{type(error).__name__}", "text": f"{error} ({where})"}
    finally:
        shutil.rmtree(ground.place, ignore_errors=True)
    return {"kind": kind}


def say(out: TextIO, **line: Any) -> None:
    out.write(json.dumps(line) + "\n")


def _bound_memory(megabytes: int) -> None:
    """More than the process has by now."""
    pages = int(Path("/proc/self/statm").read_text().split()[0]) if sys.platform == "linux" else 0
    if pages:
        most = pages * resource.getpagesize() + megabytes * 2**20
        resource.setrlimit(resource.RLIMIT_AS, (most, most))


if __name__ == "__main__":
    main()
