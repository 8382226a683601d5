"""A table on disk whatever its format: columns by name or number, rows in chunks.

A `Table` numbers its columns from 0; names are looked up by `Table.column`. Numbers are handed out as
float64 with NaN for a missing cell.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fasttangent.common.checks import nearest
from fasttangent.common.tables.arrow import counted, gather
from fasttangent.common.tables.words import either, listed

if TYPE_CHECKING:
    pass

SUFFIXES = (".csv", ".csv.gz", ".tsv", ".tsv.gz", ".parquet", ".feather", ".arrow", ".npy")
WRITTEN = (".csv", ".csv.gz", ".parquet")
CHUNK_ROWS = 1 << 17
CHUNK_VALUES = 1 << 22  # 32 MB of numbers: some such blocks are there at a time


def height(rows: int, columns: int) -> int:
    """So many rows at a time, or fewer of very wide ones."""
    return max(1, min(rows, CHUNK_VALUES // max(1, columns)))


def suffix(path: str | os.PathLike[str], known: Sequence[str] = SUFFIXES, advice: str = "convert it") -> str:
    """The one of `known` that the file's name ends in.

    Raises
    ------
    ValueError
        If it ends in none of them.
    """
    name = Path(path).name.lower()
    for one in known:
        if name.endswith(one):
            return one
    raise ValueError(f"{path} must end in {either(known)}; {advice}")


class Table(ABC):
    """A table on disk, read as often as needed.

    Attributes
    ----------
    path : Path or Remote
        Or whatever says in messages where the table is.
    names : list of str
        Names of the columns; their numbers where the file has no names.
    named : bool
        Whether the names come from the file.
    index : frozenset of int
        Columns that hold another program's row labels (pandas' index): never features.
    rows : int or None
        Number of rows; None if only reading the file would tell (CSV).
    """

    def __init__(self, path: object, names: Sequence[str], named: bool, rows: int | None) -> None:
        self.path = path
        self.names = list(names)
        self.named = named
        self.index: frozenset[int] = frozenset()
        self.rows = rows
        twice = [name for name, count in Counter(self.names).items() if name and count > 1]
        if twice:
            raise ValueError(f"{path} has two columns named {twice[0]!r}; rename one of them")
        self._places = {name: i for i, name in reversed(list(enumerate(self.names)))} if named else {}

    @abstractmethod
    def parts(
        self, columns: Sequence[int], keep: Sequence[int] = ()
    ) -> Iterator[tuple[np.ndarray, dict[str, Any]]]:
        """Yield float64 blocks (any number of rows, len(columns)) in order, each with columns kept as they are."""

    @abstractmethod
    def batches(self, columns: Sequence[int], kinds: Mapping[int, Any] | None = None) -> Iterator[Any]:
        """Yield Arrow record batches of columns as they are, numbers as numbers and text as text, in order.

        Text, as of CSV, is made what the Arrow types in `kinds` say of a column; else what its first cells look like.
        """

    @abstractmethod
    def values(self, indices: np.ndarray, columns: Sequence[int]) -> np.ndarray:
        """float64 rows (len(indices), len(columns)) by their numbers, in the order given."""

    def picked(
        self, indices: np.ndarray, columns: Sequence[int], kinds: Mapping[int, Any] | None = None
    ) -> Any:
        """An Arrow table of columns as `batches` has them, of rows by their numbers, in the order given."""
        return gather(self.path, counted(self.batches(columns, kinds)), indices)

    def width(self, columns: Sequence[int]) -> int:
        """Columns of the blocks that are read for these."""
        return len(columns)

    def blocks(self, columns: Sequence[int]) -> Iterator[np.ndarray]:
        """Yield float64 blocks (any number of rows, len(columns)) in order."""
        for block, _ in self.parts(columns):
            yield block

    @abstractmethod
    def take(self, indices: np.ndarray) -> dict[str, Any]:
        """Return all columns of the given rows, in the given order, with their own types.

        Parameters
        ----------
        indices : ndarray of int64, shape (k,)
            Row numbers from 0.

        Returns
        -------
        dict of str to array
            NumPy or Arrow arrays of length k.
        """

    def chunks(
        self, rows: int | None = None, columns: Sequence[int] | None = None
    ) -> Iterator[tuple[int, np.ndarray]]:
        """Yield ``(start_row, block)``: float64 blocks of exactly `rows` rows, the last one perhaps fewer.

        By default as many rows as make a table of ordinary size.

        Raises
        ------
        ValueError
            If a cell is no number, the rows differ in length, or there is no row at all.
        """
        columns = range(len(self.names)) if columns is None else columns
        rows = height(CHUNK_ROWS, self.width(columns)) if rows is None else rows
        start, filled, waiting = 0, 0, list[np.ndarray]()
        for block in self.blocks(columns):
            while len(block):
                part, block = block[: rows - filled], block[rows - filled :]
                waiting.append(part)
                filled += len(part)
                if filled == rows:
                    yield start, np.concatenate(waiting)
                    start, filled, waiting = start + rows, 0, []
        if filled:
            yield start, np.concatenate(waiting)
        elif not start:
            raise ValueError(f"{self.path} holds no rows")

    def count(self) -> int:
        """Number of rows, read from the file where nothing else tells."""
        if self.rows is None:
            self.rows = sum(map(len, self.blocks([])))
        return self.rows

    def read(self, columns: Sequence[int] | None = None) -> np.ndarray:
        """Return the whole table, or some of its columns, as one float64 array (rows, columns)."""
        return np.concatenate([block for _, block in self.chunks(columns=columns)])

    def labels(self, column: int) -> np.ndarray:
        """A number for each row, equal where a column of any kind holds equal cells; NaN for an empty one."""
        return self.read([column])[:, 0]

    def column(self, wanted: str | int) -> int:
        """The number of a column given by its name or by its number (negative from the end).

        Raises
        ------
        ValueError
            If there is no such column; the message has the nearest name.
        """
        if wanted in self._places:
            return self._places[str(wanted)]
        try:
            number = int(wanted)
        except ValueError:
            raise ValueError(self._no_column(str(wanted))) from None
        if not -len(self.names) <= number < len(self.names):
            raise ValueError(f"{self.path} has no column {number}; it has {len(self.names)}, numbered from 0")
        return number % len(self.names)

    def label(self, column: int) -> str:
        """How to speak of a column in a message."""
        return repr(self.names[column]) if self.named and self.names[column] else str(column)

    def _no_column(self, wanted: str) -> str:
        if not self.named:
            return f"{self.path} has no column names to find {wanted!r} in; give the column's number (from 0)"
        near = nearest(wanted, self.names)
        hint = f"it has {listed(self.names)}" if near is None else f"the nearest is {near!r}"
        return f"{self.path} has no column {wanted!r}; {hint}"

    def not_a_number(self, column: int, value: Any, row: int, where: str = "") -> str:
        return (
            f"{self.path}: column {self.label(column)} holds {value!r} in row {row} (counted from 0{where}), "
            f"which is no number; correct it, leave the cell empty, or leave the column out (--drop)"
        )
