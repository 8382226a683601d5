"""Every kind of output on a disk that is full: an error of one line, and no part of a file; then, with room, all of it.

The disk is a small file system in memory where this process may mount one.  Elsewhere the length of files is limited,
which the system reports in another word and at another moment.
"""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from bench.reliability.case import Ground, check
from bench.reliability.commands import (
    COMMANDS,
    compare,
    copy_of_ready,
    digests,
    ended_well,
    files_of,
    outside,
    ready,
    undisturbed,
)
from bench.reliability.files import scores_of_cache

ROOM = 4 * 2**20


def case(ground: Ground) -> str:
    rng = ground.rng
    disk = ground.place / "disk"
    disk.mkdir()
    with mounted(disk) as by_mounting:
        if by_mounting and ground.seed % 10 == 9:
            return _cache(rng, disk, ground.home)
        name = str(rng.choice(list(COMMANDS)))
        folder = copy_of_ready(ground.home, disk)
        if by_mounting:
            return _full(rng, name, folder, disk, ground.home)
        return _limited(rng, name, folder, ground.home)


def _full(rng: np.random.Generator, name: str, folder: Path, disk: Path, home: Path) -> str:
    """A disk with so many bytes left, mostly too few."""
    command, filler = COMMANDS[name], disk / "filler"
    before = files_of(folder), digests(folder, command)
    left = int(rng.choice([0, 4096, 8192, 4096 * int(rng.integers(0, 40))]))
    _fill(filler, disk, left)
    about = f"{name} with {left} bytes left"
    ended = outside(folder, command.arguments)
    ended_well(ended, about, codes=(0, 1))
    if ended.code:
        check(
            "space" in ended.err or "too large" in ended.err,
            "error that does not name the disk",
            f"{ended.err}; {about}",
        )
        _nothing_new(folder, before, about)
    filler.unlink()
    return _whole(name, folder, home, about, "full" if ended.code else "had room")


def _limited(rng: np.random.Generator, name: str, folder: Path, home: Path) -> str:
    command, most = COMMANDS[name], int(rng.choice([0, 100, 4096, 20_000]))
    before, about = (files_of(folder), digests(folder, command)), f"{name}, files of at most {most} bytes"

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, resource.RLIM_INFINITY))

    ended = outside(folder, command.arguments, limit)
    ended_well(ended, about, codes=(0, 1))
    if ended.code:
        _nothing_new(folder, before, about)
    return _whole(name, folder, home, about, "limited" if ended.code else "had room")


def _nothing_new(folder: Path, before: tuple, about: str) -> None:
    """But for folders of campaigns, which keep what was done before the disk was full."""
    new = [name for name in files_of(folder) if name not in before[0]]
    outside_of_campaigns = [name for name in new if "/" not in name and (folder / name).is_file()]
    check(not outside_of_campaigns, "an output after an error", f"{new}; {about}")
    check(not [name for name in new if name.endswith(".tmp")], "files left behind", f"{new}; {about}")


def _whole(name: str, folder: Path, home: Path, about: str, how: str) -> str:
    again = outside(folder, COMMANDS[name].arguments)
    ended_well(again, f"again, {about}", codes=(0,))
    compare(
        digests(folder, COMMANDS[name]), undisturbed(home, name), "another result after a full disk", about
    )
    return f"{name}: {how}"


def _cache(rng: np.random.Generator, disk: Path, home: Path) -> str:
    """A cache of kernels that does not fit: the work goes on without it."""
    cache = disk / "cache"
    cache.mkdir()
    left = 4096 * int(rng.integers(0, 60))
    _fill(disk / "filler", disk, left)
    found, expected = scores_of_cache(ready(home), cache), scores_of_cache(ready(home), None)
    check(found == expected, "other numbers with a full cache", f"{left} bytes left")
    return "cache: done without"


def _fill(filler: Path, disk: Path, left: int) -> None:
    with filler.open("wb", buffering=0) as stream:
        free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
        stream.write(bytes(max(free - left, 0)))


@contextmanager
def mounted(disk: Path) -> Iterator[bool]:
    """A disk of its own, if that may be; whether it is one."""
    words = ["mount", "-t", "tmpfs", "-o", f"size={ROOM}", "reliability", str(disk)]
    mount: Callable[..., subprocess.CompletedProcess] = subprocess.run
    good = shutil.which("mount") is not None and mount(words, capture_output=True).returncode == 0
    try:
        yield good
    finally:
        if good:
            subprocess.run(["umount", "-l", str(disk)], check=True, capture_output=True)
