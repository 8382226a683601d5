"""Compiling for kinds of processor that are not this one: what was compiled here, again, and never run.

The types of arguments of every kernel that has been called in this process go to new ones, each told that its
processor is another; they compile into a folder that can then be copied to wherever such processors are.
"""

from __future__ import annotations

import base64
import os
import pickle
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from fasttangent.kernels import kinds
from fasttangent.kernels.helpers import MARK, interpreter

PACKAGE = __name__.rpartition(".")[0]
Signature = tuple[str, str, tuple]  # module, kernel, types of arguments


def signatures() -> list[Signature]:
    """Of every kernel that was called from Python."""
    found = []
    for module, contents in sorted(sys.modules.items()):
        if module.startswith(f"{PACKAGE}."):
            for name, value in vars(contents).items():
                if getattr(getattr(value, "py_func", None), "__module__", None) == module:
                    found += [(module, name, types) for types in value.signatures]
    return found


def compile_for(
    kind: str, folder: Path, wanted: list[Signature], report: Callable[[int, int], object]
) -> None:
    """Compile kernels for a kind into a folder, to be the value of $FASTTANGENT_CACHE elsewhere."""
    environment = {**kinds.environment(kind), MARK: "1", "FASTTANGENT_CACHE": str(folder)}
    job = {"wanted": base64.b64encode(pickle.dumps(wanted)).decode()}
    process = interpreter(__name__, "serve", job, environment, listen=True)
    assert process.stdout is not None
    try:
        for line in process.stdout:
            done, total = map(int, line.split())
            report(done, total)
        if process.wait() != 0:
            raise RuntimeError(f"compiling for {kind} ended with status {process.returncode}")
    finally:
        process.kill()
        process.wait()


def serve(wanted: str) -> None:
    """In the new process."""
    todo: list[Signature] = pickle.loads(base64.b64decode(wanted))  # from our parent's pipe
    for done, (module, name, types) in enumerate(todo, 1):
        getattr(import_module(module), name).compile(types)
        print(done, len(todo), flush=True)


def open_to_read(folder: Path) -> None:
    """Modes with which whoever gets a copy can read it and, but for its owner, not write."""
    for place, _, files in os.walk(folder):
        os.chmod(place, 0o755)
        for file in files:
            os.chmod(Path(place) / file, 0o644)
