"""Python in processes of its own, with the package under test and the helpers, and nothing of the folder it runs in."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import fasttangent

PATIENCE = 900  # seconds; never a measure of speed
TESTS, PACKAGE = Path(__file__).parents[1], Path(fasttangent.__file__).parents[1]


def environment(file=None, **more):
    """The environment of a process that imports this package and, of the tests, helpers and the folder of `file`."""
    folders = [TESTS, *([Path(file).parent] if file else []), PACKAGE]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, folders)), "PYTHONFAULTHANDLER": "1", **more}


def python(*arguments, file=None, **more):
    """What ``python ARGUMENTS`` prints; it must end well."""
    return side_by_side([arguments], file=file, **more)[0]


def side_by_side(commands, file=None, **more):
    """What Python processes print that run side by side: all have ended when this returns or fails."""
    children = [
        subprocess.Popen(
            [sys.executable, *command],
            env=environment(file, **more),
            cwd=TESTS,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for command in commands
    ]
    texts = [ended(child) for child in children]
    for child, (out, err) in zip(children, texts, strict=True):
        assert child.returncode == 0, out[-5000:] + err[-3000:]
    return [out for out, _ in texts]


def ended(child):
    """What a process has printed, (stdout, stderr); one that hangs is ended, and says where in stderr."""
    try:
        return child.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        child.send_signal(signal.SIGABRT)
        return child.communicate(timeout=60)
