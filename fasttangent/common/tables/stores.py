"""Where a table lies: a file on a disk, or one in a store that fsspec knows (s3://, gs://, memory://).

A store that fails now and then is asked again, a little later each time; one that goes on failing ends in an error that
names the file.
"""

from __future__ import annotations

import io
import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from fasttangent.common.tables.words import first_line

T = TypeVar("T")

TRIES, FIRST_WAIT = 6, 0.1  # seconds, twice as long each time: three in all
BUFFER = 1 << 20  # bytes that are asked for at once, at the least
WHEN = ("ETag", "etag", "md5Hash", "mtime", "LastModified", "created")  # of stores, the surest first
FINAL = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError)


class StoreError(OSError):
    """A store that could not be read, after several tries."""


class Remote:
    """A file in a store, with as much of `pathlib.Path` as readers need.

    Parameters
    ----------
    store : fsspec.AbstractFileSystem
    path : str
        As the store calls it.
    """

    def __init__(self, store: Any, path: str) -> None:
        self.store, self.path = store, path
        self._url = str(store.unstrip_protocol(path))

    def __str__(self) -> str:
        return self._url

    def __fspath__(self) -> str:
        return self._url

    def open(self, mode: str = "rb") -> BinaryIO:
        return io.BufferedReader(_Patient(self), BUFFER)

    def about(self) -> Mapping[str, Any]:
        """What the store knows of the file."""
        found: Mapping[str, Any] = self.ask(lambda: self.store.info(self.path))
        return found

    def ask(self, question: Callable[[], T]) -> T:
        """The answer of a store, which may fail a few times."""
        for wait in [FIRST_WAIT * 2**i for i in range(TRIES - 1)]:
            try:
                return question()
            except FINAL:
                raise
            except Exception:
                time.sleep(wait)
        try:
            return question()
        except FINAL:
            raise
        except Exception as error:
            raise StoreError(
                f"{self} could not be read in {TRIES} tries ({first_line(error)}); is the store reachable?"
            ) from error


Place = Path | Remote


def stamp(path: Place) -> str:
    """What changes when a file is written again: its size, and when that was or what the store says in place of it."""
    if isinstance(path, Remote):
        about = path.about()
        when = next((about[key] for key in WHEN if about.get(key)), "")
        return f"{about.get('size')} {when}"
    status = path.stat()
    return f"{status.st_size} {status.st_mtime_ns}"


def size_of(path: Place) -> int:
    return int(path.about()["size"] or 0) if isinstance(path, Remote) else path.stat().st_size


def is_url(place: object) -> bool:
    """Whether it is text such as s3://bucket/key; C:\\ is none."""
    return isinstance(place, str) and "://" in place


def store_of(url: str, options: Mapping[str, Any] | None = None) -> tuple[Any, str]:
    """The store of a URL, and what the store calls it.

    Raises
    ------
    ImportError
        Without fsspec, or what it needs for this kind of store.
    """
    try:
        import fsspec
    except ImportError:
        raise ImportError(f"{url} needs fsspec: pip install 'fasttangent[stores]'") from None
    try:
        return fsspec.core.url_to_fs(url, **(options or {}))
    except ImportError as error:
        raise ImportError(f"{url}: {first_line(error)}") from None
    except ValueError as error:
        raise ValueError(f"{url}: {first_line(error)}") from None


class _Patient(io.RawIOBase):
    """A file of a store that is opened again, and read on, where it fails."""

    def __init__(self, remote: Remote) -> None:
        self._remote, self._at = remote, 0
        self._file: Any = None
        self._size = size_of(remote)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def readinto(self, buffer: Any) -> int:
        data = self._remote.ask(lambda: self._read(len(buffer)))
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)

    def _read(self, count: int) -> bytes:
        try:
            if self._file is None:
                self._file = self._remote.store.open(self._remote.path, "rb")
            self._file.seek(self._at)
            return bytes(self._file.read(count))
        except Exception:
            self._forget()
            raise

    def _forget(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            with suppress(Exception):  # it has failed before
                file.close()

    def close(self) -> None:
        self._forget()
        super().close()
