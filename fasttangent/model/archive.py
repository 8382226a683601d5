"""Reading .npz files that anybody may have written: bounded in size, plain arrays only, each entry once."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Iterator, Sequence
from io import BytesIO
from typing import IO, TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

SMALL = 2**24  # bytes that any file may unpack to;
MOST = 8  # and otherwise so many times its own size.  `save` does not compress, and numbers hardly can be
MOST_BEFORE = 10_012  # bytes before the values of an array: the longest header that NumPy reads
PIECE = 2**18  # bytes read at a time


class Archive:
    """The entries of an .npz file; nothing is unpacked before its size was compared with what is wanted.

    Attributes
    ----------
    names : list of str
    """

    def __init__(self, content: bytes) -> None:
        self._zip = zipfile.ZipFile(BytesIO(content))
        self._entries: dict[str, zipfile.ZipInfo] = {}
        unpacked = 0
        for entry in self._zip.infolist():
            name = entry.filename.removesuffix(".npy")
            if name in self._entries:
                raise ValueError(f"it has the entry {name!r} twice")
            if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise ValueError(f"the entry {name!r} is packed by a method that save never used")
            self._entries[name], unpacked = entry, unpacked + entry.file_size
        self._most = max(SMALL, MOST * len(content))
        if unpacked > self._most:
            raise ValueError(
                f"it must unpack to at most {self._most:,} bytes, {MOST} times its size, got {unpacked:,}"
            )
        self.names = list(self._entries)

    def read(self, name: str, kinds: Sequence[str], shape: Sequence[int | None]) -> NDArray:
        """An array of one of these dtypes and of this shape, None for any length; nothing larger is unpacked."""
        entry = self._entries[name]
        lengths = [n for n in shape if n is not None]
        most = 8 * math.prod(lengths) + MOST_BEFORE if len(lengths) == len(shape) else self._most
        if entry.file_size > most:
            raise ValueError(
                f"{name!r} must have shape {_written(shape)}, got an entry of {entry.file_size:,} bytes"
            )
        with self._zip.open(entry) as file:
            found, fortran, dtype = _header(name, file)
            if dtype.str not in kinds or not _fits(found, shape):
                raise ValueError(
                    f"{name!r} must have shape {_written(shape)} and dtype {' or '.join(kinds)}, got shape {found} "
                    f"and dtype {dtype.str}"
                )
            if math.prod(found) * dtype.itemsize > entry.file_size:
                raise ValueError(f"{name!r} must hold values of shape {found}, got {entry.file_size:,} bytes")
            a = np.empty(found[::-1] if fortran else found, dtype)
            for part in _pieces(a):
                values = file.read(len(part))
                if len(values) < len(part):
                    raise ValueError(f"{name!r} must hold values of shape {found}, got fewer")
                part[:] = values
            if file.read(1):  # at the end, where the checksum is compared
                raise ValueError(f"{name!r} must hold values of shape {found}, got more")
        return a.T if fortran else a


class Part:
    """The entries whose names begin with a word, as an archive of their own."""

    def __init__(self, whole: Archive, begin: str) -> None:
        self._whole, self._begin = whole, begin
        self.names = [name.removeprefix(begin) for name in whole.names if name.startswith(begin)]

    def read(self, name: str, kinds: Sequence[str], shape: Sequence[int | None]) -> NDArray:
        """As `Archive.read`."""
        return self._whole.read(self._begin + name, kinds, shape)


def _pieces(a: NDArray) -> Iterator[memoryview]:
    """The memory of an array, some of it at a time."""
    whole = a.reshape(-1).view(np.uint8).data
    for start in range(0, len(whole), PIECE):
        yield whole[start : start + PIECE]


def _header(name: str, file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, whether in Fortran's order, and dtype."""
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        return np.lib.format.read_array_header_1_0(file)
    if version == (2, 0):
        return np.lib.format.read_array_header_2_0(file)
    raise ValueError(f"{name!r} has version {version} of the .npy format; save writes (1, 0)")


def _fits(found: tuple[int, ...], shape: Sequence[int | None]) -> bool:
    return len(found) == len(shape) and all(
        n >= 0 and n == (n if wanted is None else wanted) for n, wanted in zip(found, shape, strict=True)
    )


def _written(shape: Sequence[int | None]) -> str:
    lengths = ["any" if n is None else str(n) for n in shape]
    return f"({', '.join(lengths)}{',' if len(lengths) == 1 else ''})"
