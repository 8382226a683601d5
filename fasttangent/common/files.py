"""Files written all or not at all, and nothing but regular files.

What is half written lies beside its target as ``.NAME.HOST.XXXXXXXX.fasttangent.tmp`` and is locked for as long as the
process that writes it lives: one that nobody holds was left by a process that was killed, and `sweep` removes it.  Of
other machines, whose locks a network may hide, only what is a day old.
"""

from __future__ import annotations

import errno
import os
import platform
import re
import secrets
import stat
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from fasttangent.common.interrupts import held

try:
    import fcntl
except ImportError:  # Windows, where nothing is locked and nothing swept
    fcntl = None  # type: ignore[assignment]

OURS = re.compile(r"\..*\.([0-9a-f]{8})\.[0-9a-f]{8}\.fasttangent\.tmp", re.DOTALL)
DAY = 86_400.0  # seconds
KINDS: tuple[tuple[Callable[[int], bool], str], ...] = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISLNK, "a link"),
)


def irregular(path: str | os.PathLike[str], *, follow: bool = True) -> str | None:
    """What is at `path`, in words, if it is neither a regular file nor nothing; a link counts as what it leads to."""
    if not follow:
        return _kind(os.lstat, path)
    circle = _kind(os.lstat, os.path.realpath(path)) == "a link"
    return "a link that leads in a circle" if circle else _kind(os.stat, path)


def _kind(
    look: Callable[[str | os.PathLike[str]], os.stat_result], path: str | os.PathLike[str]
) -> str | None:
    try:
        mode = look(path).st_mode
    except OSError:  # nothing there, or nothing to be seen: opening it says why
        return None
    return None if stat.S_ISREG(mode) else next((word for test, word in KINDS if test(mode)), "no file")


def same_file(a: str | os.PathLike[str], b: str | os.PathLike[str]) -> bool:
    """Whether writing to one would change what is read from the other: by links, hard links, or a name to come."""
    with suppress(OSError):
        return os.path.samefile(a, b)
    return _place(a) == _place(b)


def _place(path: str | os.PathLike[str]) -> tuple[int, int, str] | str:
    """Where a file would be made: folder and name."""
    target = Path(os.path.realpath(path))
    try:
        folder = target.parent.stat()
    except OSError:
        return str(target)
    return folder.st_dev, folder.st_ino, os.path.normcase(target.name)


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield the path of a new temporary file that replaces `path` at the end, or is removed on failure.

    Of a symbolic link the file it leads to is replaced, and the link stays.  Another name of the file, a hard link,
    keeps the old content.  The permissions of a file that is replaced stay as they were.

    Raises
    ------
    OSError
        If there is anything but a regular file at `path`, or it cannot be written.
    """
    target = Path(os.path.realpath(path))
    temporary, handle = None, None
    try:
        _check_regular(path)
        permissions = stat.S_IMODE(target.stat().st_mode) if target.exists() else None
        with held():  # or Ctrl-C between the two leaves a file that nobody knows of
            temporary, handle = _begun(target)
        if permissions is not None:
            os.chmod(temporary, permissions | stat.S_IRUSR | stat.S_IWUSR)
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())  # some systems say only here that the disk is full
        if permissions is not None:
            os.chmod(temporary, permissions)
        _check_regular(path)
        os.replace(temporary, target)
    except BaseException as error:
        if temporary is not None:
            with suppress(OSError):
                temporary.unlink()
        if isinstance(error, OSError) and error.errno is not None and _is_temporary(error.filename):
            error.filename = str(path)
        raise
    finally:
        if handle is not None:
            os.close(handle)


def check_folder(path: str | os.PathLike[str]) -> None:
    """Raise the OSError with which `replacing` would begin."""
    with held():
        temporary, handle = _begun(Path(os.path.realpath(path)))
        temporary.unlink(missing_ok=True)
        if handle is not None:  # locked up to here, or a sweep of another process might come first
            os.close(handle)


def sweep(folder: str | os.PathLike[str]) -> None:
    """Remove what killed processes of this user left half written in a folder; what cannot be told is left alone."""
    if fcntl is None:
        return
    with suppress(OSError):
        for name in os.listdir(folder):
            if ours := OURS.fullmatch(name):
                with suppress(OSError):
                    _remove_if_left(os.path.join(folder, name), ours[1])


def _remove_if_left(path: str, host: str) -> None:
    status = os.lstat(path)
    if not (stat.S_ISREG(status.st_mode) and status.st_nlink == 1 and status.st_uid == os.geteuid()):
        return
    if host != _host() and status.st_mtime > time.time() - DAY:
        return
    handle = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)  # fails where a process is still at it
        if os.path.samestat(os.fstat(handle), os.lstat(path)):
            os.unlink(path)
    finally:
        os.close(handle)


def _begun(target: Path) -> tuple[Path, int | None]:
    """A new empty file beside `target`, and the handle that keeps it locked where files can be locked."""
    while True:
        name = f".{target.name[:40]}.{_host()}.{secrets.token_hex(4)}.fasttangent.tmp"
        temporary = target.with_name(name)
        handle = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666)
        if fcntl is None:
            os.close(handle)  # Windows renames no open file
            return temporary, None
        if _held(handle, temporary):
            return temporary, handle
        os.close(handle)


def _host() -> str:
    return f"{zlib.crc32(platform.node().encode()):08x}"


def _held(handle: int, path: Path) -> bool:
    """Lock a new file; False if another process swept it away before it was locked."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks, where nothing can be swept either
        return True
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


def _check_regular(path: str | os.PathLike[str]) -> None:
    what = irregular(path)
    if what == "a folder":
        raise IsADirectoryError(errno.EISDIR, "is a folder; give the name of a file in it", str(path))
    if what is not None:
        raise OSError(errno.EINVAL, f"is {what} and no regular file; give another name", str(path))


def _is_temporary(name: object) -> bool:
    return name is None or OURS.fullmatch(os.path.basename(os.fsdecode(name))) is not None  # type: ignore[arg-type]
