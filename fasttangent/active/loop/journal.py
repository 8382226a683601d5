"""A file of records that only grows: one JSON object per line, on disk before `append` returns."""

from __future__ import annotations

import json
import os
import signal
import threading
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from fasttangent.common.errors import CampaignError


class Journal:
    """The records of a file, and the means to add to them.

    Each line carries its number and a checksum.  A last line without its end was never confirmed to anyone and is
    dropped; any other damage is an error, and the file is left as it is.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.records, whole = read(path)
        self._file: int | None = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
        try:
            if os.fstat(self._file).st_size > whole:
                os.ftruncate(self._file, whole)
            os.fsync(self._file)
            sync_folder(path.parent)
        except BaseException:
            self.close()
            raise
        self._size = whole

    def append(self, record: Mapping[str, Any]) -> None:
        """Write one record; when this returns, it is on disk.

        Raises
        ------
        OSError
            If it could not be written; then the file is as before.
        """
        if self._file is None:
            raise CampaignError(f"{self.path} is closed; open the folder again")
        line = _line(len(self.records), record)
        try:
            os.lseek(self._file, self._size, os.SEEK_SET)
            rest = line
            while rest:
                rest = rest[os.write(self._file, rest) :]
            os.fsync(self._file)
        except BaseException as error:
            try:
                os.ftruncate(self._file, self._size)
            except BaseException:  # what is on disk is unknown; opening the file finds out
                self.close()
            if isinstance(error, OSError):
                error.filename = str(self.path)
            raise
        self._size += len(line)
        self.records.append(dict(record))

    def close(self) -> None:
        if self._file is not None:
            file, self._file = self._file, None
            with suppress(OSError):
                os.close(file)


def read(path: Path) -> tuple[list[dict[str, Any]], int]:
    """The records of a file and the number of bytes they take; ([], 0) if there is no file.

    Raises
    ------
    CampaignError
        If a line that was once written whole is damaged, or one is missing.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return [], 0
    records: list[dict[str, Any]] = []
    whole = 0
    while (end := content.find(b"\n", whole)) >= 0:
        if not content[whole:].strip(b"\0"):
            break  # what some file systems leave of an unfinished write when the power fails
        record = _record(content[whole : end + 1], len(records))
        if record is None:
            raise CampaignError(
                f"{path} is damaged in line {len(records) + 1}, which was not written so by fasttangent; put back a "
                f"copy of the file, or undo the change (all other lines are as they were)"
            )
        records.append(record)
        whole = end + 1
    return records, whole


def _line(number: int, record: Mapping[str, Any]) -> bytes:
    text = json.dumps({"n": number, **record}, allow_nan=False)
    return f'{text[:-1]}, "crc": {zlib.crc32(text.encode())}}}\n'.encode()


def _record(line: bytes, number: int) -> dict[str, Any] | None:
    """The record of a line that is whole and has this number; else None."""
    try:
        record = json.loads(line)
        found = record.pop("n")
        del record["crc"]
        return record if found == number and _line(number, record) == line else None
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError):
        return None


def sync_folder(folder: Path) -> None:
    """Make the names of new files last through a loss of power, where the system can."""
    if hasattr(os, "O_DIRECTORY"):
        with suppress(OSError):
            handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Hold Ctrl-C and SIGTERM back until the end of the block."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    held: list[tuple[Any, ...]] = []
    numbers = [
        n for n in (signal.SIGINT, signal.SIGTERM) if callable(signal.getsignal(n))
    ]  # others end the process or do nothing
    before = {n: signal.signal(n, lambda *arguments: held.append(arguments)) for n in numbers}
    try:
        yield
    finally:
        for n, handler in before.items():
            signal.signal(n, handler)
        for arguments in held[:1]:
            before[arguments[0]](*arguments)  # type: ignore[operator, misc]
