"""Tables that are no files: arrays, data sets of Arrow, and functions that begin an iterator anew."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from fasttangent.common import checks, frames
from fasttangent.common.maps import check_map
from fasttangent.common.tables.arrow import arrow
from fasttangent.common.tables.arrow_table import ArrowTable
from fasttangent.common.tables.table import CHUNK_ROWS, Table, height


class ArrayTable(Table):
    """An array, or a memory map, of which only some rows at a time are made float64."""

    def __init__(self, array: Any) -> None:
        self.array = checks.matrix("source", array, min_rows=1)
        names = [str(i) for i in range(self.array.shape[1])]
        super().__init__("the array", names, False, len(self.array))

    def parts(
        self, columns: Sequence[int], keep: Sequence[int] = ()
    ) -> Iterator[tuple[np.ndarray, dict[str, Any]]]:
        step, wanted = height(CHUNK_ROWS, len(self.names)), list(columns)
        for start in range(0, len(self.array), step):
            check_map(self.array)
            rows = self.array[start : start + step]
            yield rows[:, wanted].astype(np.float64), {self.names[i]: np.array(rows[:, i]) for i in keep}

    def batches(self, columns: Sequence[int], kinds: Mapping[int, Any] | None = None) -> Iterator[Any]:
        names = [self.names[i] for i in columns]
        for _, kept in self.parts((), columns):
            yield arrow().record_batch(list(kept.values()), names)

    def values(self, indices: np.ndarray, columns: Sequence[int]) -> np.ndarray:
        check_map(self.array)
        return self.array[indices][:, list(columns)].astype(np.float64)

    def take(self, indices: np.ndarray) -> dict[str, Any]:
        check_map(self.array)
        rows = self.array[indices]
        return {name: rows[:, i] for i, name in enumerate(self.names)}


class StreamTable(ArrowTable):
    """What a function yields each time it is called: arrays, record batches, tables or frames, all alike.

    Parameters
    ----------
    begin : callable
        Without arguments; returns an iterable of pieces, the same ones each time.
    called : str
        In messages.
    """

    def __init__(self, begin: Callable[[], Iterable[Any]], called: str) -> None:
        self.begin, self.called = begin, called
        first = next(iter(self._pieces()), None)
        if first is None:
            raise ValueError(f"{called} holds no rows")
        super().__init__(called, first.schema.names, not _nameless(first), None)

    def numbered(self, columns: Sequence[int], wanted: np.ndarray | None = None) -> Iterator[tuple[int, Any]]:
        start, names = 0, [self.names[i] for i in columns]
        rows = height(CHUNK_ROWS, len(names))
        for piece in self._pieces():
            if lacking := set(names) - set(piece.schema.names):
                raise ValueError(
                    f"{self.called} has pieces without a column {min(lacking)!r}; give all the same columns"
                )
            piece = piece.select(names)
            for at in range(0, piece.num_rows, rows):
                yield start + at, piece.slice(at, rows)
            start += piece.num_rows
        if self.rows not in (None, start):
            raise OSError(
                f"{self.called} has {start:,} rows and had {self.rows:,}; a pool must stay the same"
            )
        self.rows = start

    def _pieces(self) -> Iterator[Any]:
        pa, given = arrow(), self.begin()
        if not isinstance(given, Iterable):
            raise TypeError(
                f"{self.called} must return an iterator of arrays or record batches, got {type(given).__name__}"
            )
        for piece in given:
            if isinstance(piece, pa.RecordBatch):
                yield piece
            elif isinstance(piece, pa.Table):
                yield from piece.to_batches()
            elif hasattr(piece, "__arrow_c_stream__"):
                yield from pa.table(piece).to_batches()
            else:
                rows = checks.matrix(f"a piece of {self.called}", piece)
                names = frames.names_of(piece) if frames.is_frame(piece) else map(str, range(rows.shape[1]))
                yield pa.record_batch([np.ascontiguousarray(column) for column in rows.T], list(names))


class DatasetTable(ArrowTable):
    """A pyarrow.dataset.Dataset, whose order of files is its own."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset
        super().__init__("the data set", dataset.schema.names, True, dataset.count_rows())

    def numbered(self, columns: Sequence[int], wanted: np.ndarray | None = None) -> Iterator[tuple[int, Any]]:
        start, names = 0, [self.names[i] for i in columns]
        options = {"fragment_readahead": 1, "batch_readahead": 2}
        for batch in self.dataset.to_batches(
            columns=names, batch_size=height(CHUNK_ROWS, len(names)), **options
        ):
            yield start, batch
            start += batch.num_rows


def _nameless(batch: Any) -> bool:
    return batch.schema.names == [str(i) for i in range(batch.num_columns)]
