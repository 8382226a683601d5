"""Feather and other files of Arrow's own format as tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from fasttangent.common.tables.arrow import arrow, opened, readable
from fasttangent.common.tables.arrow_table import ArrowTable
from fasttangent.common.tables.stores import Place
from fasttangent.common.tables.table import CHUNK_ROWS, height

MAGIC = b"ARROW1"


class FeatherTable(ArrowTable):
    """A file or a stream of Arrow's format (Feather is the former), told by its first bytes."""

    path: Place

    def __init__(self, path: Place) -> None:
        with path.open("rb") as handle:
            self.is_stream = handle.read(len(MAGIC)) != MAGIC
        with self._reading(path, None) as reader:
            schema = reader.schema
        if not len(schema.names):
            raise ValueError(f"{path} has no columns")
        super().__init__(path, schema.names, True, None)
        index = (schema.pandas_metadata or {}).get("index_columns", [])
        self.index = frozenset(i for i, name in enumerate(self.names) if name in index)

    def numbered(self, columns: Sequence[int], wanted: np.ndarray | None = None) -> Iterator[tuple[int, Any]]:
        names, start = [self.names[i] for i in columns], 0
        rows = height(CHUNK_ROWS, len(names))
        with self._reading(self.path, sorted(set(columns))) as reader:
            several = reader if self.is_stream else map(reader.get_batch, range(reader.num_record_batches))
            for batch in several:
                batch = batch.select(names)
                for at in range(0, batch.num_rows, rows):
                    yield start + at, batch.slice(at, rows)
                start += batch.num_rows

    def count(self) -> int:
        if self.rows is None:
            self.rows = sum(batch.num_rows for _, batch in self.numbered([0]))
        return self.rows

    @contextmanager
    def _reading(self, path: Place, columns: Sequence[int] | None) -> Iterator[Any]:
        ipc = arrow("ipc")
        options = ipc.IpcReadOptions(included_fields=columns)
        with readable(path), opened(path) as source:
            start = ipc.open_stream if self.is_stream else ipc.open_file
            with start(source, options=options) as reader:
                yield reader
