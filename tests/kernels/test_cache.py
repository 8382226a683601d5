"""Compiled code on disk: never stale, never in the way."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import fasttangent
from fasttangent.kernels import cache_folder, processor

PACKAGE = Path(fasttangent.__file__).parent

# The smallest compilation in which a callee stands in another file; it in turn calls an instruction of `scalar`.
# Sums of no rows need a library.
CALLER = """
from fasttangent.kernels.arithmetic import add_multiple
from fasttangent.kernels.jit import kernel
from fasttangent.kernels.sums import add_row_sums
from fasttangent.kernels.views import stretch, window


@kernel
def twice(c, b):
    add_multiple(c, 2.0, b)
    add_row_sums(stretch(c, 0, 0), window(b, 0, 0, 1, 0), stretch(b, 0, 0))
"""
RUN = """
import numpy as np
from fasttangent.kernels import cache_folder
from fasttangent.kernels.caller import twice

c = np.zeros(1)
twice(c, np.ones(1))
(kind,) = twice.stats.cache_hits or twice.stats.cache_misses or [None]
print(c[0], "hit" if twice.stats.cache_hits else "miss", cache_folder.cache_folder())
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
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    value, state, folder = done.stdout.split(maxsplit=2)
    return float(value), state, folder.strip()


@pytest.mark.parametrize(
    ("file", "before", "after", "expected"),
    [
        ("arithmetic.py", "c[j] = fma(a, b[j], c[j])", "c[j] = fma(a, b[j], c[j]) + 40", 42.0),
        ("scalar.py", "return emit_fma(builder, *args)", "return builder.fsub(args[2], args[0])", -2.0),
    ],
    ids=["called", "emitted"],
)
def test_a_change_in_another_file_is_noticed(copy, tmp_path, file, before, after, expected):
    cache = str(tmp_path / "cache")
    value, state, folder = run(copy, FASTTANGENT_CACHE=cache)
    assert (value, state) == (2.0, "miss")
    assert Path(folder).parent == tmp_path / "cache"
    assert list(Path(folder).glob("*.kernel"))
    assert run(copy, FASTTANGENT_CACHE=cache) == (2.0, "hit", folder)

    source = copy / "kernels" / file
    text = source.read_text()
    assert before in text
    source.write_text(text.replace(before, after))
    value, state, other = run(copy, FASTTANGENT_CACHE=cache)
    assert (value, state) == (expected, "miss")
    assert other != folder

    source.write_text(text)
    assert run(copy, FASTTANGENT_CACHE=cache) == (2.0, "hit", folder)


def test_another_width_of_vectors_is_compiled_apart(copy, tmp_path):
    cache = str(tmp_path / "cache")
    folders = set()
    for bits in map(str, processor.WIDTHS):
        value, state, folder = run(copy, FASTTANGENT_CACHE=cache, FASTTANGENT_VECTOR_BITS=bits)
        assert (value, state) == (2.0, "miss")
        folders.add(folder)
    assert len(folders) == len(processor.WIDTHS)


def test_the_stamp_is_of_every_kernel_file_and_the_width(copy, monkeypatch):
    kernels = copy / "kernels"
    monkeypatch.setattr(cache_folder, "__file__", str(kernels / "cache_folder.py"))
    monkeypatch.delenv("FASTTANGENT_VECTOR_BITS", raising=False)
    stamp, sources = cache_folder.source_stamp.__wrapped__, list(kernels.glob("*.py"))
    assert {path.name for path in (PACKAGE / "kernels").glob("*.py")} < {path.name for path in sources}
    stamps = [stamp()]
    assert stamps == [stamp()]
    for source in sources:
        source.write_text(source.read_text() + "\n")
        stamps.append(stamp())
    sources[0].rename(kernels / "renamed.py")
    stamps.append(stamp())
    (kernels / "renamed.py").unlink()
    stamps.append(stamp())
    for bits in map(str, processor.WIDTHS):
        monkeypatch.setenv("FASTTANGENT_VECTOR_BITS", bits)
        stamps.append(stamp())
    assert len(set(stamps)) == len(stamps)


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
    assert not list(copy.rglob("*.kernel"))


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


@pytest.mark.parametrize("share", [0, 0.5], ids=["empty", "half"])
def test_a_damaged_cache_is_no_obstacle(copy, tmp_path, share):
    cache = str(tmp_path / "cache")
    folder = Path(run(copy, FASTTANGENT_CACHE=cache)[2])
    files = list(folder.iterdir())
    assert {file.suffix for file in files} == {".kernel", ".library"}
    for file in files:
        content = file.read_bytes()
        file.write_bytes(content[: int(share * len(content))])
    assert run(copy, FASTTANGENT_CACHE=cache)[0] == 2.0
    assert run(copy, FASTTANGENT_CACHE=cache)[:2] == (2.0, "hit")
    assert set(folder.iterdir()) == set(files)


def test_files_under_each_others_names_are_no_obstacle(copy, tmp_path):
    cache = str(tmp_path / "cache")
    folder = Path(run(copy, FASTTANGENT_CACHE=cache)[2])
    files = sorted(folder.iterdir())
    contents = [file.read_bytes() for file in files]
    for file, content in zip(files, [*contents[1:], contents[0]], strict=True):
        file.write_bytes(content)
    assert run(copy, FASTTANGENT_CACHE=cache)[:2] == (2.0, "miss")
    assert run(copy, FASTTANGENT_CACHE=cache)[:2] == (2.0, "hit")
    assert [len(file.read_bytes()) for file in files] == list(map(len, contents))


def test_what_killed_processes_left_is_swept(copy, tmp_path):
    """When the same kernel is written again; of today it may be another process's that is writing just now."""
    cache = str(tmp_path / "cache")
    folder = Path(run(copy, FASTTANGENT_CACHE=cache)[2])
    (kept,) = folder.glob("*.kernel")
    old, new = (folder / f"{kept.name}{word}.tmp" for word in ("old", "new"))
    for left in (old, new):
        left.write_bytes(b"half")
    os.utime(old, (1e9, 1e9))
    kept.unlink()
    assert run(copy, FASTTANGENT_CACHE=cache)[:2] == (2.0, "miss")
    assert kept.exists()
    assert new.exists()
    assert not old.exists()


def test_files_of_other_sources_are_no_obstacle(copy, tmp_path):
    """Put where those of these sources belong: the checksum is over the sources as well."""
    cache, other = str(tmp_path / "cache"), str(tmp_path / "other")
    folder = Path(run(copy, FASTTANGENT_CACHE=cache)[2])
    (copy / "kernels" / "more.py").write_text("")
    there = Path(run(copy, FASTTANGENT_CACHE=other)[2])
    assert sorted(file.name for file in there.iterdir()) == sorted(file.name for file in folder.iterdir())
    for file in there.iterdir():
        shutil.copy(folder / file.name, file)
    assert run(copy, FASTTANGENT_CACHE=other)[:2] == (2.0, "miss")
    assert run(copy, FASTTANGENT_CACHE=other)[:2] == (2.0, "hit")


FLIPS = """
import os, random, sys
import numpy as np
from fasttangent.kernels import cache_folder, caller, jit, kept

twice, c = caller.twice, np.zeros(1)
twice(c, np.ones(1))
folder, rng = cache_folder.cache_folder(), random.Random(0)
read = flips = 0
for name in sorted(os.listdir(folder)):
    good = (folder / name).read_bytes()
    assert kept.read(name) == good[kept.DIGEST:]
    places = {*range(80), len(good) - 1, *rng.sample(range(len(good)), 300)}
    for place in places:
        bad = bytearray(good)
        bad[place] ^= 1 << rng.randrange(8)
        (folder / name).write_bytes(bad)
        flips += 1
        read += kept.read(name) is not None
    (folder / name).write_bytes(good[:-1])
    read += kept.read(name) is not None
    (folder / name).write_bytes(good + b"0")
    read += kept.read(name) is not None
    (folder / name).write_bytes(good)

calls = int(sys.argv[1])
(name,) = (n for n in os.listdir(folder) if n.startswith("caller.twice"))
for call in range(calls):  # what a dispatcher makes of it
    bad = bytearray((folder / name).read_bytes())
    bad[rng.randrange(len(bad))] ^= 1 << rng.randrange(8)
    (folder / name).write_bytes(bad)
    again, c[0] = jit.kernel(twice.py_func), 0
    again(c, np.ones(1))
    assert c[0] == 2.0 and again.stats.cache_misses and not again.stats.cache_hits
    again, c[0] = jit.kernel(twice.py_func), 0
    again(c, np.ones(1))
    assert c[0] == 2.0 and again.stats.cache_hits and not again.stats.cache_misses
print(flips, read)
"""


def flipped(copy, tmp_path, calls):
    """(flips, how many of them were not noticed)."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", FLIPS, str(calls)],
        env={**os.environ, "PYTHONPATH": str(copy.parent), "FASTTANGENT_CACHE": str(tmp_path / "cache")},
        cwd=copy.parent,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    return tuple(map(int, done.stdout.split()))


def test_no_flipped_bit_is_read(copy, tmp_path):
    flips, read = flipped(copy, tmp_path, calls=3)
    assert flips > 500
    assert read == 0


@pytest.mark.slow
def test_no_flipped_bit_is_run(copy, tmp_path):
    assert flipped(copy, tmp_path, calls=100)[1] == 0
