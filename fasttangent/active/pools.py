"""Pools that need not fit into memory: rows in files, stores, data sets of Arrow, or made anew by a function."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fasttangent.common import frames
from fasttangent.common.handing import ahead
from fasttangent.common.tables.encoded_table import as_read_by
from fasttangent.common.tables.finding import places
from fasttangent.common.tables.matching import Model, feature_columns, table_width
from fasttangent.common.tables.memory import ArrayTable, DatasetTable, StreamTable
from fasttangent.common.tables.reading import open_table
from fasttangent.common.tables.stores import Place, stamp
from fasttangent.common.tables.table import CHUNK_ROWS, Table, height

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Float = NDArray[np.float64]
    Rows = NDArray[np.int64]


class Pool:
    """Rows that are read as often as needed, a piece at a time: a pool of any size, for `select` and its like.

    Rows are numbered from 0 through all files, in the order of these.  Of Parquet and Feather only the columns that
    are needed are read.

    Parameters
    ----------
    source : path, URL, list of those, pyarrow.dataset.Dataset, array or callable
        A file (.csv, .tsv, also with .gz; .parquet, .feather, .arrow or .npy), a folder with all tables below it, a
        glob (``"pool/*.parquet"``), or several of them; of a folder and a glob files come in the order of their names.
        A URL, also with a glob, is of a store that fsspec knows (``s3://``, ``gs://``, ``memory://``).  A memory map is
        an array.  A function without arguments returns an iterator of arrays, record batches or frames, the same rows
        each time that it is called.
    columns : sequence of str or int, optional
        The features, in their order.  Default: those that the model knows by name, or where there are no names all but
        `id`, in their order.
    id : str or int, optional
        A column that says which row is which, of any kind; never a feature unless `columns` names it.  Default: a row
        is known by its file and its number in it.
    header : bool, optional
        Whether the first line of a CSV file names the columns.  By default it does unless its cells are all numbers.
    storage_options : mapping, optional
        For the stores of URLs, as fsspec takes them.

    Attributes
    ----------
    files : tuple of str
        Names of the files in their order; of what is no file one that says so.

    Raises
    ------
    FileNotFoundError
        If there is no file.
    ValueError, TypeError
        If a file is no table, named twice, or a source is of another kind.
    ImportError
        Without pyarrow (but for .npy and arrays); for a URL without fsspec.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np, fasttangent as ft
    >>> rng = np.random.default_rng(0)
    >>> folder = tempfile.mkdtemp()
    >>> for i in range(3):
    ...     np.save(os.path.join(folder, f"part-{i}.npy"), rng.uniform(-2, 2, (1000, 1)))
    >>> pool = ft.Pool(folder)
    >>> len(pool)
    3000
    >>> X = rng.uniform(-1, 1, (60, 1))
    >>> model = ft.fit(X, np.sin(3 * X[:, 0]), hidden=(8,), epochs=50)
    >>> picks = ft.select(model, pool, 5, strategy="variance", labeled=X)
    >>> pool.take(picks.indices).shape
    (5, 1)
    >>> [os.path.basename(one) for one in pool.identify(range(999, 1001))["file"]]
    ['part-0.npy', 'part-1.npy']
    """

    def __init__(
        self,
        source: Any,
        *,
        columns: Sequence[str | int] | None = None,
        id: str | int | None = None,
        header: bool | None = None,
        storage_options: Mapping[str, Any] | None = None,
    ) -> None:
        if isinstance(columns, (str, int)):
            raise TypeError(f"columns must be a sequence of names or numbers, got {columns!r}")
        self.columns = None if columns is None else list(columns)
        self.id, self._header = id, header
        self._model: Model | None = None
        self._places, self._kept = _opened(source, storage_options)
        self.files = tuple(map(str, self._places)) or (str(self._kept.path),)  # type: ignore[union-attr]
        self._known: list[_Known] = [_Known() for _ in self.files]

    def __len__(self) -> int:
        return int(self._starts()[-1])

    def __repr__(self) -> str:
        return f"Pool({self.files[0]!r}{f' and {len(self.files) - 1} more' if len(self.files) > 1 else ''})"

    def of(self, model: Model) -> Pool:
        """This pool with the columns that a model takes, found by name where both have names.

        Parameters
        ----------
        model : Model or Members

        Returns
        -------
        Pool
            Which shares what this one knows of its files.

        Raises
        ------
        ValueError
            If the first file lacks a column, or has another number of them.
        """
        found = copy.copy(self)
        found._model = model
        found._features(found._table(0))
        return found

    def chunks(self) -> Iterator[tuple[int, Float]]:
        """All rows, some at a time; while they are used the next ones are read.

        Yields
        ------
        start : int
            Number of the first row.
        rows : ndarray of float64
            With nan for what is missing.

        Raises
        ------
        ValueError
            If a cell is no number, a file lacks a column, or there is no row at all.
        OSError
            If a file is gone, damaged, or another than it was before.
        """
        waiting: list[Float] = []
        start = filled = 0
        with ahead(self._blocks()) as blocks:
            for block in blocks:
                waiting.append(block)
                filled += len(block)
                if filled >= height(CHUNK_ROWS, block.shape[1]):
                    yield start, _joined(waiting)
                    start, waiting, filled = start + filled, [], 0
        if filled:
            yield start, _joined(waiting)
        if start + filled == 0:
            raise ValueError(f"{self} holds no rows")

    def take(self, numbers: Any) -> Float:
        """Rows by their numbers; of Parquet only the row groups that hold one are read.

        Parameters
        ----------
        numbers : array_like of int

        Returns
        -------
        ndarray of float64, shape (len(numbers), n_features)
            In the order of the numbers.

        Raises
        ------
        ValueError, OSError
            As for `chunks`; or if there is no such row.
        """
        found: Float | None = None
        for where, local, table in self._holding(wanted := self._numbers(numbers)):
            features = self._features(table)
            rows = self._as_read(table, features).values(local, features)
            found = np.empty((len(wanted), rows.shape[1])) if found is None else found
            found[where] = rows
        if found is not None:
            return found
        features = self._features(table := self._table(0))
        return np.empty((0, self._as_read(table, features).width(features)))

    def identify(self, numbers: Any) -> dict[str, NDArray]:
        """Which rows they are: their ids, or their files and numbers in these.

        Parameters
        ----------
        numbers : array_like of int

        Returns
        -------
        dict of str to ndarray
            The column of `id` by its name; without one "file" and "row", from 0.
        """
        wanted = self._numbers(numbers)
        if self.id is None:
            starts = self._starts()
            file = np.searchsorted(starts[1:], wanted, side="right")
            return {"file": np.array(self.files, object)[file], "row": wanted - starts[file]}
        found = np.empty(len(wanted), object)
        name = str(self.id)
        for where, local, table in self._holding(wanted):
            name = table.names[table.column(self.id)]
            values = table.take(local)[name]
            found[where] = values.to_pylist() if hasattr(values, "to_pylist") else values.tolist()
        return {name: np.array(found.tolist()) if len(found) else found}

    def to_batches(self, columns: Sequence[str] | None = None) -> Iterator[Any]:
        """Arrow record batches of columns as they are: what `Model.score_batches` takes.

        Parameters
        ----------
        columns : sequence of str, optional
            Default: all of them.

        Yields
        ------
        pyarrow.RecordBatch
            Each of rows of one file.
        """
        for i in range(len(self.files)):
            table = self._table(i)
            wanted = range(len(table.names)) if columns is None else [table.column(one) for one in columns]
            yield from table.batches(list(wanted))

    def _table(self, i: int) -> Table:
        if self._kept is not None:
            return self._kept
        place = self._places[i]
        self._known[i].check(place)
        return open_table(place, self._header)

    def _as_read(self, table: Table, features: list[int]) -> Table:
        """With rows as the model takes them."""
        return table if self._model is None else as_read_by(self._model, table, features)

    def _features(self, table: Table) -> list[int]:
        """Numbers of the columns that are features."""
        if self.columns is not None:
            found = [table.column(one) for one in self.columns]
            count = None if self._model is None else table_width(self._model)
            if count is not None and len(found) != count:
                raise ValueError(
                    f"columns must be the {count} that the model was fitted on, got {len(found)}"
                )
            names = [table.names[i] for i in found]
            wanted = None if self._model is None else self._model.feature_names
            if wanted is not None and table.named and set(wanted) == set(names):
                return [found[names.index(name)] for name in wanted]
            return found
        without = [] if self.id is None else [self.id]
        if self._model is not None:
            return feature_columns(self._model, table, without, quiet=True)
        left_out = {table.column(one) for one in without} | table.index
        return [i for i in range(len(table.names)) if i not in left_out]

    def _blocks(self) -> Iterator[Float]:
        for i in range(len(self.files)):
            table = self._table(i)
            rows = 0
            features = self._features(table)
            for block in self._as_read(table, features).blocks(features):
                rows += len(block)
                yield block
            self._known[i].found(rows, self.files[i])

    def _starts(self) -> Rows:
        """Number of the first row of every file, and of all rows."""
        for i, known in enumerate(self._known):
            if known.rows is None:
                known.found(self._table(i).count(), self.files[i])
        return np.cumsum([0, *(known.rows or 0 for known in self._known)], dtype=np.int64)

    def _numbers(self, numbers: Any) -> Rows:
        found = np.asarray(numbers if hasattr(numbers, "__len__") else list(numbers))
        n = len(self)
        if found.ndim != 1 or (found.size and found.dtype.kind not in "iu"):
            raise ValueError(f"numbers must be row numbers, got {found.dtype} of shape {found.shape}")
        if found.size and not 0 <= found.min() <= found.max() < n:
            raise ValueError(f"numbers must be from 0 to {n - 1}, got {found[(found < 0) | (found >= n)][0]}")
        return found.astype(np.int64)

    def _holding(self, wanted: Rows) -> Iterator[tuple[Rows, Rows, Table]]:
        """Of every file that holds wanted rows: where they are wanted, their numbers in it, the file opened."""
        starts = self._starts()
        file = np.searchsorted(starts[1:], wanted, side="right")
        for i in np.unique(file).tolist():
            where = np.flatnonzero(file == i)
            yield where, wanted[where] - starts[i], self._table(i)


class _Known:
    """What is known of a file since it was first read."""

    def __init__(self) -> None:
        self.rows: int | None = None
        self._stamp: str | None = None

    def check(self, place: Place) -> None:
        now = stamp(place)
        if self._stamp not in (None, now):
            raise OSError(f"{place} is another file than it was before; make the pool again")
        self._stamp = now

    def found(self, rows: int, called: str) -> None:
        if self.rows not in (None, rows):
            raise OSError(f"{called} has {rows:,} rows and had {self.rows:,}; a pool must stay the same")
        self.rows = rows


def _opened(source: Any, options: Mapping[str, Any] | None) -> tuple[list[Place], Table | None]:
    """The files of a source, or the one table that it is."""
    if hasattr(source, "get_fragments"):
        return [], DatasetTable(source)
    if callable(source):
        return [], StreamTable(source, "the function")
    several = source if isinstance(source, (list, tuple)) else [source]
    if all(isinstance(one, (str, os.PathLike)) for one in several):
        return places(source, options), None
    if frames.is_frame(source):
        return [], StreamTable(lambda: [source], "the frame")
    return [], ArrayTable(source)


def _joined(blocks: Sequence[Float]) -> Float:
    return blocks[0] if len(blocks) == 1 else np.concatenate(blocks)
