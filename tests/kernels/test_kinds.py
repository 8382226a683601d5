"""Code for named kinds of processor: made anywhere, shipped, read where it fits and compiled anew where it does not."""

import os
import shutil
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from helpers.processes import environment
from numba import config

from fasttangent.kernels import kinds, processor

pytestmark = [
    pytest.mark.skipif(bool(config.DISABLE_JIT), reason="nothing is compiled"),
    pytest.mark.skipif(not processor.is_x86(), reason="kinds are those of x86-64"),
    pytest.mark.skipif("FASTTANGENT_VECTOR_BITS" in os.environ, reason="a width of its own"),
]

MAKE = """
import sys
from pathlib import Path
import numpy as np
from fasttangent.kernels import arithmetic, elsewhere
arithmetic.add_product(np.zeros((1, 1)), np.ones((1, 9)), np.ones((9, 1)))
wanted = elsewhere.signatures()
assert [w[:2] for w in wanted] == [("fasttangent.kernels.arithmetic", "add_product")], wanted
heard = []
for kind in sys.argv[2:]:
    elsewhere.compile_for(kind, Path(sys.argv[1]), wanted, lambda *a: heard.append(a))
assert heard == [(1, 1)] * len(sys.argv[2:])
elsewhere.open_to_read(Path(sys.argv[1]))
"""
USE = """
import numpy as np
from fasttangent.kernels.arithmetic import add_product
C = np.zeros((1, 1))
add_product(C, np.arange(9.0)[None], np.ones((9, 1)))
print(C[0, 0], "hit" if add_product.stats.cache_hits else "miss")
"""
BASE = {"NUMBA_CPU_NAME": "generic"}  # SSE2 only: less than any kind


def child(code, *arguments, **more):
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *map(str, arguments)],
        env=environment(**more),
        cwd="/",
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.fixture(scope="module")
def shipped(tmp_path_factory):
    """A cache for what this machine is, if it is anything."""
    folder = tmp_path_factory.mktemp("cache")
    child(MAKE, folder, (kinds.fitting() or kinds.names())[0])
    return folder


def files(folder):
    return {path.name for path in folder.rglob("*.*") if path.suffix in (".kernel", ".library")}


def use(folder, **more):
    """(what the process printed, how many files it added)."""
    before = files(folder)
    found = child(USE, FASTTANGENT_CACHE=str(folder), **more)
    return found, len(files(folder) - before)


@pytest.fixture
def copy(shipped, tmp_path):
    return shutil.copytree(shipped, tmp_path / "copy")


@pytest.mark.skipif(not kinds.fitting(), reason="this machine is none of the kinds")
def test_a_processor_of_a_kind_reads_its_code(copy):
    assert use(copy) == (["36.0", "hit"], 0)


def test_a_processor_without_the_instructions_compiles_anew(copy):
    """And does not abort in LLVM, which met vectors and instructions of the machine at hand."""
    assert use(copy, **BASE) == (["36.0", "miss"], 2)  # a library, a kernel
    assert use(copy, **BASE) == (["36.0", "hit"], 0)


@pytest.mark.slow
def test_kinds_that_this_machine_is_not_are_made_and_not_read(tmp_path):
    """Code for instructions that it may not have, or vectors of another width."""
    others = [name for name in kinds.names() if name not in kinds.fitting()]
    child(MAKE, tmp_path, *others)
    assert len(files(tmp_path)) == 2 * len(others)
    assert use(tmp_path) == (["36.0", "miss"], 2)


def test_what_is_shipped_can_be_read_and_not_written(shipped):
    for path in (shipped, *shipped.rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) == (0o755 if path.is_dir() else 0o644)


@pytest.mark.skipif(not kinds.fitting(), reason="this machine is none of the kinds")
@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can be another user")
def test_another_user_reads_what_belongs_to_root(shipped):
    """As in a container: a folder of root's, and a process that is not root's and can write nowhere."""
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        folder = shutil.copytree(shipped, os.path.join(name, "copy"))
        # what a stranger cannot read here is Python itself, so that is loaded before
        become = (
            "import os\nimport numpy as np\nfrom fasttangent.kernels import arithmetic, cache_folder\n"
            "arithmetic.add_product(*(np.zeros((1, 1), 'f') for _ in range(3)))\nos.setgid(12345)\nos.setuid(12345)\n"
            "cache_folder.cache_folder.cache_clear()\nassert not os.access(cache_folder.cache_folder(), os.W_OK)\n"
        )
        before = files(Path(folder))
        assert child(become + USE, FASTTANGENT_CACHE=folder, HOME="/nowhere") == ["36.0", "hit"]
        assert len(files(Path(folder)) - before) == 2  # of root: other types of arguments


def test_a_kind_is_only_taken_with_all_its_instructions(monkeypatch):
    names, has = (
        kinds.names(),
        dict.fromkeys(kinds.flags(kinds.names()[-1]).replace("+", "").split(","), True),
    )
    for i, name in enumerate(names):
        own = dict.fromkeys(kinds.flags(name).replace("+", "").split(","), True)
        monkeypatch.setattr(kinds, "target", lambda own=own: own)
        monkeypatch.setattr(kinds, "vector_bits", lambda i=i: 128 << i)
        assert kinds.fitting() == [name]
        for missing in own:
            monkeypatch.setattr(kinds, "target", lambda own=own, missing=missing: {**own, missing: False})
            assert name not in kinds.fitting()
    assert len(has) > 10
