"""Who could put code among ours: every level of the way to the cache, and its files."""

import grp
import os
import pwd
import stat
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path
from types import SimpleNamespace

import pytest

from fasttangent.kernels import cache_folder, kept

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="owners and modes are POSIX")
ROOT = hasattr(os, "geteuid") and os.geteuid() == 0
STRANGER = 54321


@pytest.fixture
def closed():
    """A folder that only we can write to, below one that is everybody's, as in /tmp."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name).resolve()


@pytest.fixture(autouse=True)
def forget():
    yield
    cache_folder.cache_folder.cache_clear()


def give_away(place, monkeypatch):
    """Make it another user's; who is not root pretends to be another."""
    if ROOT:
        os.lchown(place, STRANGER, STRANGER)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: STRANGER)


def found(root, monkeypatch):
    monkeypatch.setenv("FASTTANGENT_CACHE", str(root))
    cache_folder.cache_folder.cache_clear()
    return cache_folder.cache_folder()


def refused(root, monkeypatch, why):
    with pytest.warns(UserWarning, match="compiled kernels are not kept") as caught:
        assert found(root, monkeypatch) is None
    assert why in str(caught[0].message)
    assert len(caught) == 1
    assert cache_folder.cache_folder() is None  # and says so once


def test_what_we_make_is_closed_to_others(closed, monkeypatch):
    before = os.umask(0)
    try:
        folder = found(closed / "a" / "b", monkeypatch)
        kept.write("some.kernel", b"code")
    finally:
        os.umask(before)
    assert folder.parent == closed / "a" / "b"
    made = [folder / "some.kernel", folder, folder.parent, folder.parent.parent]
    assert [stat.S_IMODE(os.lstat(place).st_mode) for place in made] == [0o600, 0o700, 0o700, 0o700]
    assert kept.read("some.kernel") == b"code"


@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o770, 0o720, 0o702])
@pytest.mark.parametrize("level", ["root", "folder"])
def test_others_may_not_write_to_the_folder_or_its_root(closed, monkeypatch, level, mode):
    folder = found(closed / "cache", monkeypatch)
    place = {"root": closed / "cache", "folder": folder}[level]
    place.chmod(mode)
    refused(closed / "cache", monkeypatch, f"{place} can be written to by others (mode {mode:o})")


@pytest.mark.parametrize("level", ["root", "folder"])
def test_a_link_is_not_followed(closed, monkeypatch, level):
    folder = found(closed / "cache", monkeypatch)
    place = {"root": closed / "cache", "folder": folder}[level]
    place.rename(closed / "elsewhere")
    place.symlink_to(closed / "elsewhere")
    refused(closed / "cache", monkeypatch, f"{place} is not a folder but a link or a file")


@pytest.mark.parametrize("level", ["root", "folder", "above"])
def test_nothing_belongs_to_another_user(closed, monkeypatch, level):
    folder = found(closed / "above" / "cache", monkeypatch)
    give_away({"root": folder.parent, "folder": folder, "above": folder.parent.parent}[level], monkeypatch)
    refused(
        closed / "above" / "cache", monkeypatch, f"belongs to another user (id {os.getuid() or STRANGER})"
    )


def test_nobody_can_move_a_folder_on_the_way(closed, monkeypatch):
    folder = found(closed / "above" / "cache", monkeypatch)
    (closed / "above").chmod(0o777)
    refused(closed / "above" / "cache", monkeypatch, f"{closed / 'above'} can be written to by others")
    (closed / "above").chmod(0o1777)  # where only owners move things, as in /tmp
    assert found(closed / "above" / "cache", monkeypatch) == folder


def test_a_link_on_the_way_is_as_good_as_its_owner(closed, monkeypatch):
    folder = found(closed / "above" / "cache", monkeypatch)
    (closed / "link").symlink_to("above")
    assert found(closed / "link" / "cache", monkeypatch).samefile(folder)
    assert found(closed / "link" / ".." / "above" / "cache", monkeypatch).samefile(folder)
    give_away(closed / "link", monkeypatch)
    refused(closed / "link" / "cache", monkeypatch, "belongs to another user")


def test_what_a_link_leads_through_is_looked_at_too(closed, monkeypatch):
    (closed / "open").mkdir()
    (closed / "open" / "inner").mkdir()
    (closed / "link").symlink_to(closed / "open" / "inner")
    (closed / "open").chmod(0o777)
    refused(closed / "link" / "cache", monkeypatch, f"{closed / 'open'} can be written to by others")
    assert not list((closed / "open" / "inner").iterdir())  # nor was anything made there


def test_links_in_a_circle_are_done_without(closed, monkeypatch):
    (closed / "a").symlink_to(closed / "b")
    (closed / "b").symlink_to(closed / "a")
    assert found(closed / "a" / "cache", monkeypatch) is None


@pytest.mark.parametrize(("members", "safe"), [([], True), (["me"], True), (["me", "other"], False)])
def test_the_group_of_one_user_alone_may_write_above(closed, monkeypatch, members, safe):
    """Some systems give every user a group of the same name, and let it write to what its user makes."""
    folder = found(closed / "above" / "cache", monkeypatch)
    (closed / "above").chmod(0o775)
    group = SimpleNamespace(gr_name="me", gr_gid=7, gr_mem=members)
    monkeypatch.setattr(pwd, "getpwuid", lambda uid: SimpleNamespace(pw_name="me", pw_gid=7))
    monkeypatch.setattr(grp, "getgrgid", lambda gid: group)
    if safe:
        assert found(closed / "above" / "cache", monkeypatch) == folder
    else:
        refused(closed / "above" / "cache", monkeypatch, "can be written to by others")


def test_the_next_place_is_taken_without_a_word(closed, monkeypatch):
    home = closed / "home"
    monkeypatch.delenv("FASTTANGENT_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(home))
    monkeypatch.setattr(tempfile, "tempdir", str(closed))
    home.mkdir()
    (home / "fasttangent").mkdir(mode=0o777)
    (home / "fasttangent").chmod(0o777)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cache_folder.cache_folder.cache_clear()
        assert cache_folder.cache_folder().parent == closed / f"fasttangent-{os.getuid()}"


def test_without_owners_of_files_nothing_is_asked(closed, monkeypatch):
    """As on Windows."""
    folder = found(closed / "cache", monkeypatch)
    (closed / "cache").chmod(0o777)
    monkeypatch.delattr(os, "geteuid")
    assert found(closed / "cache", monkeypatch) == folder
    kept.write("some.kernel", b"code")
    assert kept.read("some.kernel") == b"code"


@pytest.mark.parametrize("what", ["link", "hard link of another", "open to others", "pipe", "folder"])
def test_a_file_that_is_not_ours_is_not_read(closed, monkeypatch, what):
    file = found(closed / "cache", monkeypatch) / "some.kernel"
    kept.write("some.kernel", b"code")
    if what == "link":
        file.rename(closed / "elsewhere")
        file.symlink_to(closed / "elsewhere")
    elif what == "open to others":
        file.chmod(0o620)
    elif what == "hard link of another":
        give_away(file, monkeypatch)
    else:
        file.unlink()
        {"pipe": os.mkfifo, "folder": os.mkdir}[what](file)
    assert kept.read("some.kernel") is None
    monkeypatch.undo()
    monkeypatch.setenv("FASTTANGENT_CACHE", str(closed / "cache"))
    kept.write("some.kernel", b"code of ours")  # replaces it, or is not kept
    assert kept.read("some.kernel") == (None if what == "folder" else b"code of ours")


# Kernels that somebody compiled before are read where they cannot be written: in an image of a container.
READ_ONLY = """
import os, sys, warnings
from fasttangent.kernels import cache_folder, kept

cache_folder.source_stamp()  # of an installation that only we may read, perhaps
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid(54321)
    os.setuid(54321)
warnings.simplefilter("error")
folder = cache_folder.cache_folder()
print(folder is not None, folder is not None and kept.read("some.kernel") == b"code")
kept.write("other.kernel", b"more")
print(folder is not None and kept.read("other.kernel"))
"""


@pytest.mark.parametrize("filled", [True, False])
def test_a_cache_that_cannot_be_written_is_read(closed, monkeypatch, filled):
    folder = found(closed / "cache", monkeypatch)
    if filled:
        kept.write("some.kernel", b"code")
        (folder / "some.kernel").chmod(0o644)
    try:
        folder.chmod(0o555)
        for place in (closed, closed / "cache"):
            place.chmod(0o755)
        out = subprocess.run([sys.executable, "-c", READ_ONLY], capture_output=True, text=True)
        assert out.returncode == 0, out.stderr
        assert out.stdout.split() == [str(filled)] * 2 + (["None"] if filled else ["False"])
    finally:
        folder.chmod(0o755)


def test_looking_costs_next_to_nothing(closed, monkeypatch):
    """A few calls for each level of the way, once in a process."""
    calls, lstat = [], os.lstat
    root = closed / "cache"
    found(root, monkeypatch)
    monkeypatch.setattr(os, "lstat", lambda *a, **k: (calls.append(a), lstat(*a, **k))[1])
    assert found(root, monkeypatch)
    cache_folder.cache_folder()
    assert len(calls) <= 3 * len(root.parts) + 10
