"""Files written all or not at all: what they replace, what they never replace, and what killed processes leave."""

import contextlib
import os
import signal
import socket
import stat
import subprocess
import sys
import time

import pytest
from helpers.interrupts import Aim

from fasttangent.common import files
from fasttangent.common.files import irregular, replacing, same_file, sweep

posix = pytest.mark.skipif(sys.platform == "win32", reason="needs links, pipes and locks")


def write(path, content="new"):
    with replacing(path) as temporary:
        temporary.write_text(content)


def make_special(kind, path):
    if kind == "a folder":
        path.mkdir()
    elif kind == "a pipe":
        os.mkfifo(path)
    elif kind == "a socket":
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(os.path.relpath(path))
    else:
        path.symlink_to(path)


@posix
@pytest.mark.parametrize("linked", [False, True])
@pytest.mark.parametrize("kind", ["a folder", "a pipe", "a socket", "a link that leads in a circle"])
def test_only_regular_files_are_replaced(tmp_path, kind, linked, monkeypatch):
    monkeypatch.chdir(tmp_path)
    special = tmp_path / "special"
    make_special(kind, special)
    path = tmp_path / "link" if linked else special
    if linked:
        path.symlink_to(special)
    before = os.lstat(special)
    assert irregular(path) == kind
    with pytest.raises(OSError, match=kind):
        write(path)
    assert os.path.samestat(before, os.lstat(special))
    assert before.st_mode == os.lstat(special).st_mode
    assert sorted(os.listdir(tmp_path)) == sorted({"special", path.name})


@posix
def test_devices_are_told(tmp_path):
    (tmp_path / "link").symlink_to(os.devnull)
    assert irregular(os.devnull) == irregular(tmp_path / "link") == "a device"
    assert irregular(tmp_path / "link", follow=False) == "a link"
    assert irregular(tmp_path / "nothing") is None


@posix
def test_a_pipe_that_comes_meanwhile_stays(tmp_path):
    path = tmp_path / "f"

    def overtaken():
        with replacing(path) as temporary:
            temporary.write_text("new")
            os.mkfifo(path)

    with pytest.raises(OSError, match="is a pipe"):
        overtaken()
    assert stat.S_ISFIFO(path.stat().st_mode)
    assert os.listdir(tmp_path) == ["f"]


@posix
def test_a_link_stays_and_what_it_leads_to_is_replaced(tmp_path):
    (tmp_path / "folder").mkdir()
    for target in ("there", "folder/not yet"):
        link, real = tmp_path / "link", tmp_path / target
        if target == "there":
            real.write_text("old")
        link.symlink_to(real)
        write(link)
        assert link.is_symlink()
        assert real.read_text() == "new"
        link.unlink()


@posix
def test_another_name_of_the_file_keeps_the_old_content(tmp_path):
    (tmp_path / "a").write_text("old")
    os.link(tmp_path / "a", tmp_path / "b")
    write(tmp_path / "b")
    assert (tmp_path / "a").read_text() == "old"


@posix
@pytest.mark.parametrize("mode", [0o600, 0o644, 0o640, 0o400])
def test_permissions_of_a_file_that_is_replaced_stay(tmp_path, mode):
    path = tmp_path / "private"
    path.write_text("old")
    path.chmod(mode)
    with replacing(path) as temporary:
        assert temporary.stat().st_mode & 0o077 == mode & 0o077, "nobody else reads what is half written"
        temporary.write_text("new")
    assert stat.S_IMODE(path.stat().st_mode) == mode
    assert path.read_text() == "new"


@posix
def test_long_names(tmp_path):
    path = tmp_path / ("ü" * 125 + ".csv")
    write(path)
    assert path.read_text() == "new"


@posix
def test_the_same_file(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "other").symlink_to(tmp_path / "folder")
    a = tmp_path / "folder" / "a"
    assert same_file(a, tmp_path / "other" / "a"), "it is not there yet"
    assert not same_file(a, tmp_path / "a")
    assert not same_file(a, tmp_path / "nowhere" / "a")
    assert same_file(tmp_path / "nowhere" / "a", tmp_path / "nowhere" / "a")
    a.write_text("")
    os.link(a, tmp_path / "hard")
    (tmp_path / "soft").symlink_to(a)
    for path in (tmp_path / "other" / "a", tmp_path / "hard", tmp_path / "soft"):
        assert same_file(path, a)
    (tmp_path / "b").write_text("")
    assert not same_file(a, tmp_path / "b")


WRITES = """
import sys, time
from fasttangent.common.files import replacing
with replacing(sys.argv[1]) as temporary:
    temporary.write_text("half")
    print(temporary.name, flush=True)
    time.sleep(600)
"""


@posix
def test_what_a_killed_process_leaves_is_swept_and_nothing_else(tmp_path):
    child = subprocess.Popen(
        [sys.executable, "-c", WRITES, str(tmp_path / "f")], stdout=subprocess.PIPE, text=True
    )
    try:
        left = child.stdout.readline().strip()
        sweep(tmp_path)
        assert os.listdir(tmp_path) == [left], "its process is still at it"
    finally:
        child.send_signal(signal.SIGKILL)
        child.communicate(timeout=60)
    users = [".notes.tmp", ".f.deadbeef.tmp", "f.tmp", left[1:], left + "x", ".vimrc", "f"]
    for name in users:
        (tmp_path / name).write_text("mine")
    link, pipe, hard, folder = (
        left.replace(".f.", f".{name}.") for name in ("link", "pipe", "hard", "folder")
    )
    (tmp_path / link).symlink_to(tmp_path / "f")
    os.mkfifo(tmp_path / pipe)
    os.link(tmp_path / "f", tmp_path / hard)
    (tmp_path / folder).mkdir()
    sweep(tmp_path)
    assert sorted(os.listdir(tmp_path)) == sorted([*users, link, pipe, hard, folder])
    sweep(tmp_path / "nowhere")


@posix
def test_another_machine_s_are_swept_after_a_day(tmp_path, monkeypatch):
    path = tmp_path / ".f.00000000.0123abcd.fasttangent.tmp"
    path.write_text("half")
    sweep(tmp_path)
    assert path.exists()
    os.utime(path, (time.time() - 2 * files.DAY,) * 2)
    sweep(tmp_path)
    assert not path.exists()


@posix
def test_another_user_s_are_left(tmp_path, monkeypatch):
    path = tmp_path / f".f.{files._host()}.0123abcd.fasttangent.tmp"
    path.write_text("half")
    with monkeypatch.context() as patched:
        patched.setattr(os, "geteuid", lambda: path.stat().st_uid + 1)
        sweep(tmp_path)
    assert path.exists()
    sweep(tmp_path)
    assert not path.exists()


@posix
def test_a_sweep_while_a_folder_is_tried(tmp_path, monkeypatch):
    """Of another process, at each call of the system by which the trial ends."""
    close, unlink = os.close, files.Path.unlink

    def swept_and(call):
        def both(*args, **more):
            found = call(*args, **more)
            sweep(tmp_path)
            return found

        return both

    monkeypatch.setattr(files.os, "close", swept_and(close))
    monkeypatch.setattr(files.Path, "unlink", swept_and(unlink))
    files.check_folder(tmp_path / "f")
    monkeypatch.undo()
    assert os.listdir(tmp_path) == []


@posix
@pytest.mark.parametrize("still_held", [False, True])
def test_a_sweep_between_making_and_locking(tmp_path, monkeypatch, still_held):
    """The writer's first call of flock comes after a sweep has removed its file, or while that holds it."""
    real, calls = files.fcntl.flock, []

    def flock(handle, how):
        calls.append(handle)
        if len(calls) == 1:
            sweep(tmp_path)
            assert os.listdir(tmp_path) == []
            if still_held:
                raise BlockingIOError
        real(handle, how)

    monkeypatch.setattr(files.fcntl, "flock", flock)
    write(tmp_path / "f")
    assert len(calls) == 3
    assert os.listdir(tmp_path) == ["f"]


@posix
def test_a_file_system_without_locks(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(files.fcntl, "flock", refuse)
    with replacing(tmp_path / "f") as temporary:
        temporary.write_text("new")
        sweep(tmp_path)
        assert temporary.exists()
    assert os.listdir(tmp_path) == ["f"]


@posix
def test_ctrl_c_at_any_moment_of_a_trial_leaves_nothing(tmp_path):
    """At every line and return, also between making a file and knowing of it."""
    at, heard = 1, 0
    while True:
        with Aim([files.__file__], at) as aim, contextlib.suppress(KeyboardInterrupt):
            files.check_folder(tmp_path / "f")
            assert not aim.hit, f"Ctrl-C was lost at {aim.where}"
        assert os.listdir(tmp_path) == [], aim.where
        if not aim.hit:
            break
        heard, at = heard + 1, at + 1
    assert heard > 10
