"""Files of compiled code, each with a checksum over its name and its content.

Who may write them is the business of `cache_folder`.  A checksum keeps out what a crash, a bad disk or a copy under
another name leaves: such a file reads as if there were none, and is then compiled anew and replaced.
"""

import contextlib
import hashlib
import os
import sys
import tempfile
import time
from pathlib import Path

import llvmlite
import numba
from numba.core.registry import cpu_target

from fasttangent.kernels import kinds
from fasttangent.kernels.cache_folder import UnsafeError, cache_folder, look_at_file, source_stamp

DAY = 86_400.0  # seconds
DIGEST = hashlib.sha256().digest_size
# Nothing but a plain file is opened, and for its own sake: no link, and no pipe to wait for.
FLAGS = sum(
    getattr(os, name, 0) for name in ("O_RDONLY", "O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY")
)


def file_name(words: str, *more: object, kind: str | None = None) -> str:
    """A name for code for this processor, compiler and Python, that depends on the words and on what else is given.

    For a kind of processor (`kinds`), if one is named, in place of this one.
    """
    target = cpu_target.target_context.codegen().magic_tuple()
    if kind is not None:
        target = (target[0], kind, kinds.flags(kind))
    versions = numba.__version__, llvmlite.__version__, sys.implementation.cache_tag
    key = repr((target, versions, more))
    return f"{words}-{hashlib.sha256(key.encode()).hexdigest()[:24]}"


def find(words: str, *more: object, suffix: str) -> bytes | None:
    """The content of the file of that name, or of that for a kind whose code runs here; or None."""
    for kind in (None, *kinds.fitting()):
        content = read(file_name(words, *more, kind=kind) + suffix)
        if content is not None:
            return content
    return None


def read(name: str) -> bytes | None:
    """The content of a file, or None if there is none that is safe and whole."""
    folder = cache_folder()
    if folder is None:
        return None
    try:
        whole = _whole(folder / name)
    except (OSError, UnsafeError):
        return None
    content = whole[DIGEST:]
    return content if whole[:DIGEST] == _digest(name, content) else None


def write(name: str, content: bytes) -> None:
    """Through another name, so that nobody reads half a file; without a word if there is no room."""
    folder = cache_folder()
    if folder is None:
        return
    with contextlib.suppress(OSError):
        _sweep(folder, name)
        handle, temporary = tempfile.mkstemp(".tmp", name, folder)  # which others cannot read or write
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(_digest(name, content) + content)
            os.replace(temporary, folder / name)
        except BaseException:
            os.unlink(temporary)
            raise


def _sweep(folder: Path, name: str) -> None:
    """Remove what killed processes left half written of a file."""
    for left in folder.glob(f"{name}*.tmp"):
        if left.lstat().st_mtime < time.time() - DAY:
            left.unlink()


def _whole(file: Path) -> bytes:
    with os.fdopen(os.open(file, FLAGS), "rb") as stream:
        look_at_file(file, os.fstat(stream.fileno()))
        return stream.read()


def _digest(name: str, content: bytes) -> bytes:
    """Also over the name and the sources, or two good files could be exchanged."""
    return hashlib.sha256(f"{source_stamp()}/{name}/".encode() + content).digest()
