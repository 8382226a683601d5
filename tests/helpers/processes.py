"""Python in processes of its own, with the package under test and the helpers, and nothing of the folder it runs in."""

import os
import subprocess
import sys
from pathlib import Path

import fasttangent

TESTS, PACKAGE = Path(__file__).parents[1], Path(fasttangent.__file__).parents[1]


def environment(file=None, **more):
    """The environment of a process that imports this package and, of the tests, helpers and the folder of `file`."""
    folders = [TESTS, *([Path(file).parent] if file else []), PACKAGE]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, folders)), **more}


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
    texts = [child.communicate(timeout=900) for child in children]
    for child, (out, err) in zip(children, texts, strict=True):
        assert child.returncode == 0, out[-5000:] + err[-3000:]
    return [out for out, _ in texts]
