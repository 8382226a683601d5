"""The folder that compiled kernels are kept in: one into which nobody but us, or root, can put code; or none.

It is ``kernels-<stamp>`` in ``$FASTTANGENT_CACHE``, else in ``$XDG_CACHE_HOME/fasttangent``, else in
``~/.cache/fasttangent``, else in ``fasttangent-<user id>`` in the folder for temporary files;
``FASTTANGENT_CACHE=off`` compiles anew in every process.  The stamp is over the sources of all kernels: a cache that
looks at one file runs stale machine code after a change in a *callee* in another.

What is read from there is run.  So every folder and link on the way must belong to us or to root, and nobody else may
be able to put another in its place; the last two must not be writable by others at all.  Seen from the root of the
file system downwards, what was looked at can then not change any more.  A folder that cannot be written, but holds
something, is read: so a container brings its kernels along, compiled by root.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from fasttangent.common.warning import warn

MOST_LINKS = 40  # on one way, as for Linux
OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


class UnsafeError(Exception):
    """Others could put code there; the message says why."""


@functools.lru_cache(maxsize=1)
def source_stamp() -> str:
    """A hash over the sources of all kernels and the chosen vector width: another one whenever any changes."""
    digest = hashlib.sha256()
    for source in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(source.name.encode() + b"\0" + source.read_bytes() + b"\0")
    digest.update(os.environ.get("FASTTANGENT_VECTOR_BITS", "").encode())  # compiled in
    return digest.hexdigest()[:16]


@functools.lru_cache(maxsize=1)
def cache_folder() -> Path | None:
    """Where compiled kernels are kept, or None when caching is off or no folder is safe and of use."""
    if os.environ.get("FASTTANGENT_CACHE", "").lower() in ("off", "0", "no", "false"):
        return None
    unsafe: list[str] = []
    for root in _candidate_roots():
        try:
            return _safe_folder(root)
        except UnsafeError as error:
            unsafe.append(str(error))
        except OSError:  # cannot be made, or neither written nor read
            pass
    if unsafe:
        warn(
            f"compiled kernels are not kept, as others than you and root could put code among them: "
            f"{'; '.join(unsafe)}; set FASTTANGENT_CACHE to a folder that only you can write to, or to off"
        )
    return None


def nothing_kept() -> bool:
    """Whether there is a folder, and not one kernel in it."""
    folder = cache_folder()
    return folder is not None and not any(name.endswith(".kernel") for name in os.listdir(folder))


def _candidate_roots() -> Iterator[Path]:
    if chosen := os.environ.get("FASTTANGENT_CACHE"):
        yield Path(chosen).absolute()
        return
    with contextlib.suppress(RuntimeError):  # no home folder
        home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        yield Path(home).absolute() / "fasttangent"
    user = os.getuid() if hasattr(os, "getuid") else "cache"
    yield Path(tempfile.gettempdir()).absolute() / f"fasttangent-{user}"


def _safe_folder(root: Path) -> Path:
    """The folder in a root, made if need be; raises UnsafeError, or OSError where it is of no use."""
    for step in (*reversed(root.parents), root):
        if not os.path.lexists(step):
            _look_at_way(step.parent)
            _make(step)
    _look_at_way(root.parent)
    look_at(root)
    folder = root / f"kernels-{source_stamp()}"
    _make(folder)
    look_at(folder)
    try:
        tempfile.TemporaryFile(dir=folder).close()
    except OSError:
        if not os.listdir(folder):
            raise
    return folder


def _make(folder: Path) -> None:
    with contextlib.suppress(FileExistsError):
        os.mkdir(folder, 0o700)


def _look_at_way(folder: Path) -> None:
    """Raise UnsafeError if others could put something else in the place of a folder, or of one above it."""
    top = os.lstat(folder.anchor).st_uid  # root, by whatever number: who owns the top could change all below
    for place in _way(folder):
        found = os.lstat(place)
        _belongs(place, found, top)
        movable = stat.S_ISDIR(found.st_mode) and not found.st_mode & stat.S_ISVTX
        if movable and not (_own_group(found) and not found.st_mode & stat.S_IWOTH):
            _closed(place, found)


def _way(folder: Path) -> Iterator[Path]:
    """The folders and links that the system passes on the way to a folder, from the top, itself included."""
    here, parts, links = Path(folder.anchor), list(reversed(folder.parts[1:])), 0
    yield here
    while parts:
        here = here.parent if (part := parts.pop()) == ".." else here / part
        yield here
        if here.is_symlink():
            if (links := links + 1) > MOST_LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(folder))
            target = here.parent / os.readlink(here)
            here = Path(target.anchor)
            parts.extend(reversed(target.parts[1:]))


def look_at(place: Path) -> None:
    """Raise UnsafeError unless this is a folder, no link, of ours or root's, that nobody else may write to."""
    found = os.lstat(place)
    if not stat.S_ISDIR(found.st_mode):
        raise UnsafeError(f"{place} is not a folder but a link or a file")
    _belongs(place, found)
    _closed(place, found)


def look_at_file(place: Path, found: os.stat_result) -> None:
    """The same of an open file."""
    if not stat.S_ISREG(found.st_mode):
        raise UnsafeError(f"{place} is no file")
    _belongs(place, found)
    _closed(place, found)


def _belongs(place: Path, found: os.stat_result, *others: int) -> None:
    """Raise UnsafeError unless it is ours, root's, or one of some others'.

    Windows has no such numbers; there the folders of a user are closed to others by their access lists.
    """
    if hasattr(os, "geteuid") and found.st_uid not in (os.geteuid(), 0, *others):
        raise UnsafeError(f"{place} belongs to another user (id {found.st_uid})")


def _closed(place: Path, found: os.stat_result) -> None:
    """Raise UnsafeError if others may write to it."""
    if hasattr(os, "geteuid") and found.st_mode & OTHERS_WRITE:
        raise UnsafeError(f"{place} can be written to by others (mode {stat.S_IMODE(found.st_mode):o})")


def _own_group(found: os.stat_result) -> bool:
    """Whether the group of a folder is that of its owner alone: some systems give every user such a group."""
    try:
        import grp
        import pwd

        owner, group = pwd.getpwuid(found.st_uid), grp.getgrgid(found.st_gid)
    except (ImportError, KeyError):  # Windows; a user without a name
        return False
    private = owner.pw_gid == group.gr_gid and owner.pw_name == group.gr_name
    return private and set(group.gr_mem) <= {owner.pw_name}
