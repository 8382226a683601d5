"""Ctrl-C on the command line: one line, exit code 130, whole files or none; in imports, in work and at the end."""

import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from helpers.command_line import QUICK
from helpers.processes import environment

import fasttangent as ft

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
LINES = {"fasttangent: error: interrupted", "fasttangent: error: interrupted; no file is half written"}

# Ctrl-C in the n-th import of a command.
IN_IMPORTS = """
import signal, sys
from fasttangent.cli import main

left = int(sys.argv.pop(1))

def count(event, arguments):
    global left
    if event == "import":
        left -= 1
        if left == 0:
            signal.raise_signal(signal.SIGINT)

sys.addaudithook(count)
main()
"""

SWALLOWED = """
import signal
from fasttangent.cli import main
from fasttangent.common.tables import reading

def swallowing(*arguments):
    try:
        signal.raise_signal(signal.SIGINT)
    except KeyboardInterrupt:
        pass
    return open_table(*arguments)

open_table, reading.open_table = reading.open_table, swallowing
main()
"""

AT_EXIT = """
import atexit, signal, threading
from fasttangent.cli import main

atexit.register(signal.raise_signal, signal.SIGINT)
threading._register_atexit(signal.raise_signal, signal.SIGINT)  # while helpers are waited for
main()
"""

# Python has begun: what comes before is not ours.
ANNOUNCED = """
from fasttangent.cli import main

print("begun", flush=True)
main()
"""


def script(code, *args):
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, args)],
        capture_output=True, text=True, timeout=300, env=environment(),
    )  # fmt: skip


@pytest.fixture(scope="module")
def select(trained, pool):
    """Arguments of a command that loads a model, a kernel and a table."""
    return ["select", trained / "m.npz", pool, "-k", 3, "--threads", 2]


def test_in_imports(select, tmp_path):
    for n in (1, 30, 200, 600):
        done = script(IN_IMPORTS, n, *select, "-o", tmp_path / "s.csv")
        assert done.returncode == 130, (n, done.stderr)
        assert len(set(done.stderr.splitlines()) & LINES) == 1, (n, done.stderr)
        assert "Traceback" not in done.stderr, (n, done.stderr)
        assert os.listdir(tmp_path) == []


def test_one_that_others_swallow(select, trained, tmp_path):
    """Compiled code calls Python now and then and ignores how that ends."""
    fit = ["fit", trained / "data.csv", *QUICK, "--threads", 2]
    for command, out in ((select, "s.csv"), (fit, "m.npz")):
        done = script(SWALLOWED, *command, "-o", tmp_path / out)
        assert (done.returncode, done.stdout) == (130, "")
        assert len(set(done.stderr.splitlines()) & LINES) == 1, done.stderr
        assert os.listdir(tmp_path) == []


def test_at_the_end_it_changes_nothing(trained):
    done = script(AT_EXIT, "info", trained / "m.npz")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout


def test_ignored_in_the_background(trained):
    """A shell starts jobs in the background with Ctrl-C ignored; it stays so."""
    code = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\n" + IN_IMPORTS
    done = script(code, 40, "info", trained / "m.npz")
    assert (done.returncode, done.stderr) == (0, "")


def pressed(after, *args, **environ):
    """What a command does when Ctrl-C is pressed so many seconds after it began."""
    process = subprocess.Popen(
        [sys.executable, "-c", ANNOUNCED, *map(str, args)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(**environ),
    )  # fmt: skip
    assert process.stdout.readline() == "begun\n"
    time.sleep(after)
    process.send_signal(signal.SIGINT)
    try:
        out, err = process.communicate(timeout=200)
    except subprocess.TimeoutExpired:
        process.kill()
        pytest.fail(f"hangs after Ctrl-C at {after} s: {process.communicate()}")
    assert process.returncode in (0, 130), (after, process.returncode, err)
    assert "Traceback" not in out + err, (after, err)
    return process.returncode


def seconds(*args, **environ):
    began = time.perf_counter()
    assert subprocess.run(
        [sys.executable, "-c", ANNOUNCED, *map(str, args)],
        capture_output=True, timeout=300, env=environment(**environ),
    ).returncode == 0  # fmt: skip
    return time.perf_counter() - began


@pytest.mark.slow
@pytest.mark.parametrize("cache", ["cold", "warm"])
def test_select_at_any_moment(select, tmp_path, cache):
    rng, out, codes = random.Random(1), tmp_path / "s.csv", []
    whole = seconds(*select, "-o", out)
    for i in range(40 if cache == "warm" else 8):
        more = {} if cache == "warm" else {"FASTTANGENT_CACHE": str(tmp_path / f"cache{i}")}
        out.unlink(missing_ok=True)
        after = rng.uniform(0, whole if cache == "warm" else 10 * whole)
        codes.append(pressed(after, *select, "-o", out, **more))
        if out.exists() or codes[-1] == 0:
            assert len(out.read_text().splitlines()) == 4
        assert not list(tmp_path.glob(".*")), after
    assert 130 in codes


@pytest.mark.slow
def test_fit_at_any_moment(trained, tmp_path):
    rng, out, codes = random.Random(2), tmp_path / "m.npz", []
    args = ["fit", trained / "data.csv", "-o", out, *QUICK, "--threads", 2]
    whole = seconds(*args)
    for _ in range(40):
        out.unlink(missing_ok=True)
        codes.append(pressed(rng.uniform(0, whole), *args))
        if out.exists():
            model = ft.load(out)
            assert np.isfinite(model.params).all()
            assert model.interrupted or model.certificate.trusted
        assert not list(tmp_path.glob(".*"))
    assert 130 in codes
