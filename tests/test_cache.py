"""Compiled code on disk: never stale, never in the way."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import fasttangent

PACKAGE = Path(fasttangent.__file__).parent

# The smallest compilation in which a callee stands in another file: add_product calls nothing of ours but
# add_multiple, so a kernel of our own calls that from a file of its own.
CALLER = """
from fasttangent.kernels.arithmetic import add_multiple
from fasttangent.kernels.jit import kernel


@kernel
def twice(c, b):
    add_multiple(c, 2.0, b)
"""
RUN = """
import numpy as np
from fasttangent.kernels import jit
from fasttangent.kernels.caller import twice

c = np.zeros(1)
twice(c, np.ones(1))
(kind,) = twice.stats.cache_hits or twice.stats.cache_misses or [None]
print(c[0], "hit" if twice.stats.cache_hits else "miss", jit.cache_folder())
"""


@pytest.fixture
def copy(tmp_path):
    """The package elsewhere, with a kernel that calls another file's."""
    target = tmp_path / "site" / "fasttangent"
    shutil.copytree(PACKAGE, target, ignore=shutil.ignore_patterns("__pycache__"))
    (target / "kernels" / "caller.py").write_text(CALLER)
    return target


def run(package, **environment):
    """(value, "hit" or "miss", folder) of a fresh process."""
    kept = {
        k: v for k, v in os.environ.items() if k not in ("FASTTANGENT_CACHE", "XDG_CACHE_HOME", "PYTHONPATH")
    }
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", RUN],
        env={**kept, "PYTHONPATH": str(package.parent), "PYTHONDONTWRITEBYTECODE": "1", **environment},
        cwd=package.parent,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    value, state, folder = done.stdout.split(maxsplit=2)
    return float(value), state, folder.strip()


def test_a_changed_callee_in_another_file_is_noticed(copy, tmp_path):
    cache = str(tmp_path / "cache")
    value, state, folder = run(copy, FASTTANGENT_CACHE=cache)
    assert (value, state) == (2.0, "miss")
    assert Path(folder).parent == tmp_path / "cache"
    assert list(Path(folder).glob("*.nbi"))
    assert run(copy, FASTTANGENT_CACHE=cache) == (2.0, "hit", folder)

    source = copy / "kernels" / "arithmetic.py"
    text = source.read_text()
    changed = text.replace("c[j] = fma(a, b[j], c[j])", "c[j] = fma(a, b[j], c[j]) + 40")
    assert changed != text
    source.write_text(changed)
    value, state, other = run(copy, FASTTANGENT_CACHE=cache)
    assert (value, state) == (42.0, "miss")
    assert other != folder

    source.write_text(text)
    assert run(copy, FASTTANGENT_CACHE=cache) == (2.0, "hit", folder)


def test_the_cache_does_not_depend_on_where_the_package_is_or_when_it_was_written(copy, tmp_path):
    cache = str(tmp_path / "cache")
    run(copy, FASTTANGENT_CACHE=cache)
    elsewhere = tmp_path / "other" / "fasttangent"
    shutil.copytree(copy, elsewhere)
    for source in elsewhere.rglob("*.py"):
        os.utime(source, (1e9, 1e9))
    assert run(elsewhere, FASTTANGENT_CACHE=cache)[:2] == (2.0, "hit")


@pytest.mark.parametrize("word", ["off", "OFF", "0", "no"])
def test_the_cache_can_be_switched_off(copy, tmp_path, word):
    home = tmp_path / "home"
    home.mkdir()
    value, state, folder = run(copy, FASTTANGENT_CACHE=word, HOME=str(home))
    assert (value, state, folder) == (2.0, "miss", "None")
    assert not list(home.iterdir())
    assert not list(copy.rglob("*.nbi"))


def test_where_the_cache_is(copy, tmp_path):
    home, xdg, temporary = (tmp_path / name for name in ("home", "xdg", "tmp"))
    for folder in (home, temporary):
        folder.mkdir()
    assert Path(run(copy, HOME=str(home))[2]).parent == home / ".cache" / "fasttangent"
    assert Path(run(copy, HOME=str(home), XDG_CACHE_HOME=str(xdg))[2]).parent == xdg / "fasttangent"
    # a home that is a file: neither readable nor writable as a folder, whoever asks
    (tmp_path / "file").write_text("")
    folder = run(copy, HOME=str(tmp_path / "file"), TMPDIR=str(temporary))[2]
    assert Path(folder).parent == temporary / f"fasttangent-{os.getuid()}"
    assert Path(folder).parent.stat().st_mode & 0o077 == 0


def test_an_unwritable_cache_folder_is_done_without(copy, tmp_path):
    (tmp_path / "file").write_text("")
    chosen = str(tmp_path / "file" / "cache")
    assert run(copy, FASTTANGENT_CACHE=chosen) == (2.0, "miss", "None")


def test_a_damaged_cache_is_no_obstacle(copy, tmp_path):
    cache = str(tmp_path / "cache")
    folder = Path(run(copy, FASTTANGENT_CACHE=cache)[2])
    for file in folder.glob("*.nb?"):
        file.write_bytes(b"")
    assert run(copy, FASTTANGENT_CACHE=cache)[0] == 2.0
