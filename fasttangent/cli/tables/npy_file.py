"""Arrays in .npy files as tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fasttangent.cli.tables.table import CHUNK_ROWS, Table, first_line, kind_of


class NpyTable(Table):
    """A two-dimensional .npy array, memory-mapped."""

    def __init__(self, path: Path) -> None:
        try:
            self.array = np.lib.format.open_memmap(path, mode="r")
        except (ValueError, EOFError) as error:
            if "object" in str(error).lower():
                message = "holds Python objects, which are never unpickled; save an array of numbers"
                raise ValueError(f"{path} {message}") from None
            raise OSError(f"{path} cannot be read as .npy: {first_line(error)}; is it cut short?") from None
        dtype, shape = self.array.dtype, self.array.shape
        if dtype.kind not in "biuf":
            raise ValueError(
                f"{path} holds {kind_of(dtype)}, not real numbers; save a float or integer array"
            )
        if len(shape) != 2 or shape[1] == 0:
            raise ValueError(
                f"{path} has shape {shape} and must be (rows, columns)"
                + ("; save array.reshape(-1, 1)" if len(shape) == 1 else "")
            )
        super().__init__(path, [str(i) for i in range(shape[1])], False, shape[0])

    def blocks(self, columns: Sequence[int]) -> Iterator[np.ndarray]:
        # Reading through a slice per block lets the system drop pages behind; a list of columns copies.
        for start in range(0, len(self.array), CHUNK_ROWS):
            block = self.array[start : start + CHUNK_ROWS]
            yield np.asarray(block[:, list(columns)], dtype=np.float64)

    def take(self, indices: np.ndarray) -> dict[str, Any]:
        picked = np.asarray(self.array[indices])
        return {name: picked[:, i] for i, name in enumerate(self.names)}
