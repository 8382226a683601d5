"""Arrays in .npy files as tables."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, BinaryIO

import numpy as np

from fasttangent.common.tables.arrow import arrow
from fasttangent.common.tables.stores import Place, Remote, size_of
from fasttangent.common.tables.table import CHUNK_ROWS, Table, height
from fasttangent.common.tables.words import first_line, kind_of


class NpyTable(Table):
    """A two-dimensional .npy array, read piece by piece.

    It is not mapped into memory: where a mapped file is cut short meanwhile, the system ends the process (SIGBUS).
    """

    path: Place

    def __init__(self, path: Place) -> None:
        with path.open("rb") as file:
            shape, self._by_columns, self._dtype = _head(file, path)
            self._data = file.tell()
            self._status = None if isinstance(path, Remote) else os.fstat(file.fileno())
        if self._dtype.kind not in "biuf":
            raise ValueError(
                f"{path} holds {kind_of(self._dtype)}, not real numbers; save a float or integer array"
            )
        if len(shape) != 2 or shape[1] == 0:
            raise ValueError(
                f"{path} has shape {shape} and must be (rows, columns)"
                + ("; save array.reshape(-1, 1)" if len(shape) == 1 else "")
            )
        if shape[0] == 0:
            raise ValueError(f"{path} holds no rows")
        self.path, self._shape = path, shape
        self._check_size(size_of(path))  # before there are as many names as the head says
        super().__init__(path, [str(i) for i in range(shape[1])], False, shape[0])

    def parts(
        self, columns: Sequence[int], keep: Sequence[int] = ()
    ) -> Iterator[tuple[np.ndarray, dict[str, Any]]]:
        n = len(columns)
        for block in self._blocks([*columns, *keep]):
            yield block[:, :n], {self.names[i]: block[:, n + j] for j, i in enumerate(keep)}

    def batches(self, columns: Sequence[int], kinds: Mapping[int, Any] | None = None) -> Iterator[Any]:
        names = [self.names[i] for i in columns]
        for block in self._blocks(columns):
            yield arrow().record_batch(list(block.T), names)

    def values(self, indices: np.ndarray, columns: Sequence[int]) -> np.ndarray:
        taken = self.take(indices)
        return np.array([taken[self.names[i]] for i in columns], np.float64).reshape(-1, len(indices)).T

    def picked(
        self, indices: np.ndarray, columns: Sequence[int], kinds: Mapping[int, Any] | None = None
    ) -> Any:
        taken = self.take(indices)
        return arrow().table({self.names[i]: taken[self.names[i]] for i in columns})

    def _blocks(self, columns: Sequence[int]) -> Iterator[np.ndarray]:
        rows, n = self._shape
        wanted = list(columns)
        step = height(CHUNK_ROWS, len(wanted) if self._by_columns else n)
        with self._opened() as file:
            for start in range(0, rows, step):
                count = min(step, rows - start)
                if self._by_columns:
                    block = np.empty((count, len(wanted)))
                    for place, column in enumerate(wanted):
                        block[:, place] = self._values(file, column * rows + start, count)
                else:
                    lines = self._values(file, start * n, count * n).reshape(count, n)
                    block = np.asarray(lines[:, wanted], dtype=np.float64)
                yield block

    def take(self, indices: np.ndarray) -> dict[str, Any]:
        rows, n = self._shape
        picked = np.empty((len(indices), n), self._dtype)
        with self._opened() as file:
            for place, row in enumerate(indices.tolist()):
                if not 0 <= row < rows:
                    raise ValueError(f"{self.path} has no row {row}; it has {rows}")
                if self._by_columns:
                    picked[place] = [self._values(file, column * rows + row, 1)[0] for column in range(n)]
                else:
                    picked[place] = self._values(file, row * n, n)
        return {name: picked[:, i] for i, name in enumerate(self.names)}

    @contextmanager
    def _opened(self) -> Iterator[BinaryIO]:
        with self.path.open("rb") as file:
            if self._status is not None:
                status = os.fstat(file.fileno())
                if not os.path.samestat(status, self._status):
                    raise OSError(
                        f"{self.path} was replaced by another file meanwhile; run the command again"
                    )
                self._check_size(status.st_size)
            yield file

    def _check_size(self, size: int) -> None:
        needed = self._data + math.prod(self._shape) * self._dtype.itemsize
        if size < needed:
            raise OSError(
                f"{self.path} cannot be read as .npy: shape {self._shape} of {self._dtype} takes {needed} bytes and "
                f"the file has {size}; is it cut short?"
            )

    def _values(self, file: BinaryIO, first: int, count: int) -> np.ndarray:
        """Values `first`, `first` + 1, ... of the file, in its order."""
        values = np.empty(count, self._dtype)
        file.seek(self._data + first * self._dtype.itemsize)
        if file.readinto(values.view(np.uint8)) < values.nbytes:  # type: ignore[attr-defined]
            raise OSError(
                f"{self.path} was cut short while it was read; run the command again on a whole file"
            )
        return values


def _head(file: BinaryIO, path: Place) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, whether the values of a column lie together, and dtype; the file is then at its data."""
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    try:
        version = np.lib.format.read_magic(file)
        if version not in readers:
            raise ValueError(f"version {version[0]}.{version[1]} is for records, or unknown")
        shape, by_columns, dtype = readers[version](file)
        if any(length < 0 for length in shape):
            raise ValueError(f"no array has the shape {shape}")
    except Exception as error:  # a damaged head can fail anywhere in tokenize, ast and NumPy
        raise OSError(f"{path} cannot be read as .npy: {first_line(error)}; is it cut short?") from None
    if dtype.hasobject:
        message = "holds Python objects, which are never unpickled; save an array of numbers"
        raise ValueError(f"{path} {message}")
    return shape, by_columns, dtype
