"""Processes that compile beside us: when they are started, what they see, and that they always end."""

import os
import signal
import sys
import time

import pytest
from helpers import python
from numba import config

from fasttangent.kernels import claims, helpers
from fasttangent.kernels.cache_folder import cache_folder

pytestmark = pytest.mark.skipif(
    bool(config.DISABLE_JIT) or sys.platform == "win32" or cache_folder() is None, reason="nobody can help"
)

# A rehearsal that says that it runs, and what it was told, and then waits.
REHEARSAL = """
import os, sys, time
from fasttangent.kernels import helpers

def help_out(call, number):
    helpers.end_with_parent()
    with open(os.environ["SEEN"], "a") as file:
        file.write(f"{call} {number} {os.getpid()}\\n")
    time.sleep(100)
"""
SETTING = """
import os, signal, sys, time
import numpy as np
from fasttangent.kernels import helpers, jit
helpers.REHEARSAL = "fake_rehearsal"

@jit.kernel
def new(x):
    return x + 1

def seen(n):
    '''What n helpers wrote; waits for them.'''
    end = time.monotonic() + 60
    while time.monotonic() < end:
        lines = open(os.environ["SEEN"]).read().splitlines() if os.path.exists(os.environ["SEEN"]) else []
        if len(lines) >= n:
            break
        time.sleep(0.02)
    return lines

def alive(line):
    try:
        os.kill(int(line.split()[-1]), 0)
    except ProcessLookupError:
        return False
    return True
"""


@pytest.fixture
def there(tmp_path):
    """The environment of a process with an empty cache, and of its helpers."""
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "fake_rehearsal.py").write_text(REHEARSAL)
    (tmp_path / "main.py").write_text(SETTING)
    return {
        "file": tmp_path / "modules" / "x",
        "FASTTANGENT_CACHE": str(tmp_path / "cache"),
        "SEEN": str(tmp_path / "seen"),
    }


def run(there, code):
    return python("-c", SETTING + code, **there).split()


def test_they_start_with_the_first_compilation_and_end_with_the_call(there):
    code = """
new(1j)
with helpers.beside("fit float32", 3):
    print(len(seen(0)))
    new(1)
    lines = seen(2)
    new(1.0)
    print(*sorted(line.rsplit(" ", 1)[0].replace(" ", "-") for line in lines), *map(alive, lines))
print(*map(alive, lines), len(seen(0)))
with helpers.beside("fit float32", 3):
    new(np.float32(1))
time.sleep(1)
print(len(seen(0)))
"""
    found = run(there, code)
    assert found == ["0", "fit-float32-0", "fit-float32-1", "True", "True", "False", "False", "2", "2"]


def test_they_start_with_the_call_where_nothing_is_kept(there):
    code = """
with helpers.beside("fit float32", 2):
    print(len(seen(1)))
"""
    assert run(there, code) == ["1"]


@pytest.mark.parametrize(
    "code",
    [
        "new(1)",
        "with helpers.beside('fit float32', 1): new(1)",
        "os.environ[helpers.MARK] = '1'\nwith helpers.beside('fit float32', 4): new(1)",
        "sys.executable = ''\nwith helpers.beside('fit float32', 4): new(1)",
        "sys.executable = '/usr/bin/blender'\nwith helpers.beside('fit float32', 4): new(1)",
        "sys.executable = '/nowhere/python'\nwith helpers.beside('fit float32', 4): new(1)",
        "sys.frozen = True\nwith helpers.beside('fit float32', 4): new(1)",
        "helpers.free_memory = lambda: 1e9\nwith helpers.beside('fit float32', 4): new(1)",
        "from fasttangent.kernels import claims\nclaims._ledger = lambda: None\n"
        "with helpers.beside('fit float32', 4): new(1)",
    ],
    ids=[
        "no call",
        "one processor",
        "a helper",
        "embedded",
        "another program",
        "gone",
        "frozen",
        "little memory",
        "read-only",
    ],
)
def test_without_them_everything_is_compiled_here(there, code):
    assert run(there, code + "\ntime.sleep(0.5)\nprint(len(seen(0)), new(1))") == ["0", "2"]


def test_nothing_is_imported_from_the_current_folder(there, tmp_path):
    """Where an interpreter looks first by itself."""
    for name in ("json", "signal", "fasttangent", "fake_rehearsal"):
        (tmp_path / f"{name}.py").write_text("raise RuntimeError")
    code = f"""
import fasttangent.kernels
os.chdir({str(tmp_path)!r})
with helpers.beside("fit float32", 2):
    new(1)
    print(len(seen(1)))
"""
    python("-c", "import fasttangent", **there)
    assert run(there, "sys.path[:] = [p for p in sys.path if p]\n" + code) == ["1"]


def test_they_end_when_we_are_killed(there):
    code = """
child = os.fork()
if child == 0:
    with helpers.beside("fit float32", 2):
        new(1)
        seen(1)
        os.kill(os.getpid(), signal.SIGKILL)
os.waitpid(child, 0)
(line,) = seen(1)
end = time.monotonic() + 30
while alive(line) and time.monotonic() < end:
    time.sleep(0.05)
    try:
        os.waitpid(int(line.split()[-1]), os.WNOHANG)
    except ChildProcessError:
        pass
    try:
        dead = open(f"/proc/{line.split()[-1]}/stat").read().split()[2] == "Z"
    except OSError:
        dead = not os.path.isdir("/proc/self")
    if dead:
        break
else:
    dead = not alive(line)
print(dead)
"""
    assert run(there, code) == ["True"]


def test_they_end_at_ctrl_c(there):
    code = """
try:
    with helpers.beside("fit float32", 2):
        new(1)
        lines = seen(1)
        signal.raise_signal(signal.SIGINT)
except KeyboardInterrupt:
    print(*map(alive, lines))
"""
    assert run(there, code) == ["False"]


def test_who_listens_hears_that_something_is_compiled(there):
    code = """
heard = []
with helpers.beside("fit float32", 1), helpers.telling(lambda *a: heard.append(a)):
    new(1), new(2), new(1.0)
assert heard == [("compiling fit, once", n, 0) for n in (1, 1, 2, 2)], heard
"""
    run(there, code)


CLAIM = """
import sys
from fasttangent.kernels import claims
print(claims.take("name"), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def rival():
    """Another process, which has claimed "name"."""
    import subprocess

    from helpers.processes import environment

    process = subprocess.Popen(
        [sys.executable, "-c", CLAIM],
        env=environment(),
        cwd="/",
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "True\n"
    yield process
    process.kill()
    process.communicate()


def test_a_claim_ends_with_its_process(rival):
    assert claims.take("another")
    claims.give("another")
    assert not claims.take("name")
    os.kill(rival.pid, signal.SIGKILL)
    rival.wait()
    claims.claim("name", lambda: None)
    claims.give_back()


def test_who_waits_for_another_hears_ctrl_c_and_is_not_kept_for_ever(rival, monkeypatch):
    def heed():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        claims.claim("name", heed)
    monkeypatch.setattr(claims, "PATIENCE", 0.05)
    started = time.monotonic()
    claims.claim("name", lambda: None)
    assert time.monotonic() > started
    assert not claims.take("name")


@pytest.mark.parametrize(
    "name", ["python", "python3", "python3.13t", "/usr/bin/python3.11", "Python.exe", "pythonw.exe"]
)
def test_an_interpreter_is_known_by_its_name(name):
    assert helpers.is_python(name)


@pytest.mark.parametrize(
    "name", [None, "", "uwsgi", "/usr/bin/blender", "python-app", "ipython-like", "my_python"]
)
def test_another_program_is_not_taken_for_one(name):
    assert not helpers.is_python(name)


def test_free_memory_is_a_number_of_bytes():
    assert helpers.free_memory() > 1e6
