"""Another user plants code in the cache: it never runs.  Two users are played by a process that root starts."""

import os
import sys
import tempfile
from pathlib import Path

import pytest
from helpers import python

from fasttangent.kernels.cache_folder import source_stamp

TWO_USERS = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0,
    reason="only root can be two users; test_cache_folder pretends",
)
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="owners and modes are POSIX")

PLAY = """
import os, pickle, sys, tempfile, warnings
from pathlib import Path
from fasttangent.kernels import cache_folder, jit, kept

ATTACKER, VICTIM = (54321, 54322) if os.geteuid() == 0 else (os.geteuid(),) * 2
case, stage = sys.argv[1], Path(sys.argv[2])
private, marker = stage / "tmp" / f"fasttangent-{VICTIM}", stage / "marker"
stamp = f"kernels-{cache_folder.source_stamp()}"


def plus_one(x):
    return x + 1


class Planted:
    def __reduce__(self):
        return os.mkdir, (str(marker),)


def use(folder):
    os.environ.update(HOME=os.devnull, TMPDIR=str(stage / "tmp"))
    os.environ.pop("FASTTANGENT_CACHE", None)
    os.environ.pop("XDG_CACHE_HOME", None)
    if folder:
        os.environ["FASTTANGENT_CACHE"] = str(folder)
    tempfile.tempdir = None
    cache_folder.cache_folder.cache_clear()


def play(user, act, *arguments):
    child = os.fork()
    if child:
        assert os.waitpid(child, 0)[1] == 0, act
        return
    try:
        if user != os.geteuid():
            os.setgroups([])
            os.setresgid(user, user, user)
            os.setresuid(user, user, user)
        act(*arguments)
        sys.stdout.flush()
        os._exit(0)
    except BaseException:
        import traceback
        traceback.print_exc()
        os._exit(1)


def make(folder, mode):
    folder.mkdir()
    folder.chmod(mode)


def plant(root, *, folder=True):
    if folder:
        make(root / stamp, 0o777)
    file = root / stamp / name
    file.write_bytes(kept._digest(name, evil) + evil)
    file.chmod(0o644)


def plant_link(target):
    plant(target)
    private.symlink_to(target)


def plant_folder():
    make(private, 0o777)
    plant(private)


def call(folder):
    use(folder)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert jit.kernel(plus_one)(1) == 2
        assert jit.kernel(plus_one)(1) == 2
    print(marker.exists(), len(caught), cache_folder.cache_folder())


for folder in (stage, stage / "tmp"):
    folder.chmod(0o1777)

# What a file of this kernel is called, and one that holds something else.
use(stage / "own")
assert jit.kernel(plus_one)(1) == 2
(name,) = os.listdir(cache_folder.cache_folder())
evil = pickle.dumps(Planted())

shared = stage / "shared"
chosen = None
if case == "control":  # the file would be believed if it came from the victim
    chosen = shared
    play(VICTIM, make, shared, 0o700)
    play(VICTIM, plant, shared)
    play(VICTIM, os.chmod, shared / stamp, 0o700)
elif case == "link":  # to a folder of the victim's that is everybody's
    play(VICTIM, make, shared, 0o777)
    play(ATTACKER, plant_link, shared)
elif case == "folder":
    play(ATTACKER, plant_folder)
elif case == "stamp":  # put there before the victim closed the folder
    play(VICTIM, make, private, 0o777)
    play(ATTACKER, plant, private)
    play(VICTIM, os.chmod, private, 0o700)
elif case == "file":
    play(VICTIM, make, private, 0o777)
    play(VICTIM, make, private / stamp, 0o777)
    play(ATTACKER, lambda: plant(private, folder=False))
    play(VICTIM, os.chmod, private / stamp, 0o700)
    play(VICTIM, os.chmod, private, 0o700)
elif case == "chosen":
    chosen = shared
    play(VICTIM, make, shared, 0o777)
    play(ATTACKER, plant, shared)
elif case == "moved":  # in the place of the victim's own
    chosen = shared / "cache"
    play(VICTIM, make, shared, 0o777)
    play(VICTIM, make, chosen, 0o700)
    play(ATTACKER, os.rename, chosen, shared / "old")
    play(ATTACKER, make, chosen, 0o777)
    play(ATTACKER, plant, chosen)
play(VICTIM, call, chosen)
"""


@pytest.fixture
def stage():
    """A folder that other users can reach."""
    with tempfile.TemporaryDirectory() as name:
        stage = Path(name).resolve()
        (stage / "tmp").mkdir()
        yield stage


def played(case, stage):
    ran, warned, folder = python("-c", PLAY, case, str(stage)).split(maxsplit=2)
    return ran == "True", int(warned), folder.strip()


def test_the_play_is_a_fair_one(stage):
    """The same file in a folder of the victim's own is believed."""
    assert played("control", stage)[0]


@TWO_USERS
@pytest.mark.parametrize("case", ["link", "folder", "stamp", "chosen", "moved"])
def test_planted_code_does_not_run(stage, case):
    ran, warned, folder = played(case, stage)
    assert not ran
    assert (warned, folder) == (1, "None")


@TWO_USERS
def test_a_planted_file_is_replaced(stage):
    ran, warned, folder = played("file", stage)
    assert not ran
    assert (warned, folder) == (0, str(stage / "tmp" / "fasttangent-54322" / f"kernels-{source_stamp()}"))
