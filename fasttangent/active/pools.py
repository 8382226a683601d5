"""Pools that need not fit into memory: rows in files, stores, data sets of Arrow, or made anew by a function."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fasttangent.common import frames
from fasttangent.common.columns import Columns
from fasttangent.common.handing import ahead
from fasttangent.common.learned_columns import learned
from fasttangent.common.tables.arrow import arrow
from fasttangent.common.tables.encoded_table import EncodedTable, as_read_by
from fasttangent.common.tables.finding import places
from fasttangent.common.tables.framed_table import FramedTable
from fasttangent.common.tables.joined import JoinedTable
from fasttangent.common.tables.learning import learned_from
from fasttangent.common.tables.matching import Model, feature_columns, table_width
from fasttangent.common.tables.memory import ArrayTable, DatasetTable, StreamTable
from fasttangent.common.tables.table import CHUNK_ROWS, Table, height
from fasttangent.common.tables.where import Condition, conditions

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
    drop : sequence of str or int
        Further columns that are no features, where these are found by their order.
    header : bool, optional
        Whether the first line of a CSV file names the columns.  By default it does unless its cells are all numbers.
    storage_options : mapping, optional
        For the stores of URLs, as fsspec takes them.
    where : tuple or list of tuples, optional
        Conditions on columns of files, such as ``("site", "==", "A")``, all of which must hold; operators are ==, !=,
        <, <=, >, >=, "in" and "not in".  Other rows are as if they were not there, but `identify` counts them in a
        file.  Row groups of Parquet whose statistics rule them out are not read.  A data set has its own `filter`.

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
        drop: Sequence[str | int] = (),
        header: bool | None = None,
        storage_options: Mapping[str, Any] | None = None,
        where: Any = None,
    ) -> None:
        if isinstance(columns, (str, int)):
            raise TypeError(f"columns must be a sequence of names or numbers, got {columns!r}")
        self.columns = None if columns is None else list(columns)
        self.id, self._drop = id, list(drop)
        self._table = _opened(source, header, storage_options, () if where is None else conditions(where))
        self._model: Model | None = None
        self._features: list[int] | None = None
        joined = self._table if isinstance(self._table, JoinedTable) else None
        self.files = tuple(map(str, joined.places)) if joined else (str(self._table.path),)

    def __len__(self) -> int:
        return self._table.count()

    def __repr__(self) -> str:
        return f"Pool({str(self._table.path)!r})"

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
            If there is a column too few, or where there are no names another number of them.
        """
        found = copy.copy(self)
        found._model = model
        found._features = features = _matched(self._table, model, self.columns, self._left_out())
        found._table = as_read_by(model, self._table, features)
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
        with ahead(self._table.blocks(self._wanted())) as blocks:
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
        found = self._numbers(numbers)
        if not len(found):
            return np.empty((0, self._table.width(self._wanted())))
        return self._table.values(found, self._wanted())

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
        wanted, table = self._numbers(numbers), _inner(self._table)
        if self.id is not None:
            column = table.column(self.id)
            values = table.picked(wanted, [column]).column(0).to_pylist() if len(wanted) else []
            return {table.names[column]: np.array(values)}
        if isinstance(table, JoinedTable):
            file, row = table.origin(wanted)
            return {"file": np.array(self.files, object)[file], "row": row}
        return {"file": np.full(len(wanted), self.files[0], object), "row": wanted}

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
        names = range(len(self._table.names)) if columns is None else map(self._table.column, columns)
        yield from self._table.batches(list(names))

    def rows(self, numbers: Any) -> Any:
        """Rows by their numbers as a table, with all columns as they are.

        Parameters
        ----------
        numbers : array_like of int

        Returns
        -------
        pyarrow.Table
            In the order of the numbers.

        Raises
        ------
        ValueError, OSError
            As for `take`.
        """
        table, wanted = _inner(self._table), self._numbers(numbers)
        return table.picked(wanted, range(len(table.names)))

    def whole(self) -> Any:
        """The features of all rows, in memory: as a table where they have names, else as an array.

        Returns
        -------
        pyarrow.Table or ndarray of float64
        """
        if not self._table.named:
            return np.concatenate([rows for _, rows in self.chunks()])
        wanted = [self._table.names[i] for i in self._wanted()]
        return arrow().Table.from_batches(list(self.to_batches(wanted)))

    def labelled(self, label: str | int | None = None) -> tuple[list[str] | None, int, Iterator[Float]]:
        """The features, and behind them the labels, of all rows: what `fit` reads.

        Parameters
        ----------
        label : str or int, optional
            The column of the labels, which is no feature.

        Returns
        -------
        names : list of str or None
            Of the features; None where the columns have no names.
        width : int
            How many features.
        blocks : iterator of ndarray of float64, shape (rows, width) or (rows, width + 1)
        """
        table, last = _inner(self._table), [] if label is None else [self._table.column(label)]
        wanted = [i for i in _matched(table, None, self.columns, self._left_out()) if i not in last]
        names = [table.names[i] for i in wanted] if table.named else None
        return names, len(wanted), table.blocks([*wanted, *last])

    def _left_out(self) -> list[str | int]:
        return [*self._drop, *([] if self.id is None else [self.id])]

    def _wanted(self) -> list[int]:
        """Numbers of the columns that are features."""
        if self._features is None:
            self._features = _matched(self._table, None, self.columns, self._left_out())
        return self._features

    def _numbers(self, numbers: Any) -> Rows:
        found = np.asarray(numbers if hasattr(numbers, "__len__") else list(numbers))
        n = len(self)
        if found.ndim != 1 or (found.size and found.dtype.kind not in "iu"):
            raise ValueError(f"numbers must be row numbers, got {found.dtype} of shape {found.shape}")
        if found.size and not 0 <= found.min() <= found.max() < n:
            raise ValueError(f"numbers must be from 0 to {n - 1}, got {found[(found < 0) | (found >= n)][0]}")
        return found.astype(np.int64)


def columns_of(pool: Pool, categorical: Sequence[str] = (), transform: str | None = None) -> Columns | None:
    """What `learn_columns` makes of the whole pool; None where its columns have no names."""
    table, wanted = pool._table, pool._wanted()
    if not table.named or not frames.has_narwhals():
        return learned(np.empty((0, 0)), categorical=categorical, transform=transform)
    kinds: list[Any] = next((batch.schema.types for batch in table.batches(wanted)), [])
    if not kinds:
        raise ValueError(f"{pool} holds no rows")

    def cells(some: list[int]) -> Any:
        return arrow().Table.from_batches(list(table.batches(some)))

    return learned_from(table, wanted, table.batches, cells, kinds, categorical, transform)


def inputs_of(pool: Pool, columns: Columns | None) -> tuple[Pool, int]:
    """The pool whose rows are the inputs made of them, and how many inputs."""
    found, wanted = copy.copy(pool), pool._wanted()
    if columns is not None:
        names = set(columns.names)
        found._features = wanted = [i for i in wanted if pool._table.names[i] in names]
        found._table = FramedTable("X_pool", pool._table, columns, wanted)
    return found, found._table.width(wanted)


def frame_of(pool: Pool, numbers: Rows) -> Any:
    """The features of some rows as an Arrow table."""
    return _inner(pool._table).picked(numbers, pool._wanted())


def _matched(
    table: Table, model: Model | None, columns: Sequence[str | int] | None, left_out: Sequence[str | int]
) -> list[int]:
    """Numbers of the columns that are features, in the order of the model where both have names."""
    if columns is None:
        if model is not None:
            return feature_columns(model, table, left_out, quiet=True)
        others = {table.column(one) for one in left_out} | table.index
        return [i for i in range(len(table.names)) if i not in others]
    found = [table.column(one) for one in columns]
    if model is None:
        return found
    if len(found) != (count := table_width(model)):
        raise ValueError(f"columns must be the {count} that the model was fitted on, got {len(found)}")
    names, wanted = [table.names[i] for i in found], model.feature_names
    if wanted is not None and table.named and set(wanted) == set(names):
        return [found[names.index(name)] for name in wanted]
    return found


def _inner(table: Table) -> Table:
    return table.table if isinstance(table, EncodedTable) else table


def _opened(
    source: Any, header: bool | None, options: Mapping[str, Any] | None, where: Sequence[Condition]
) -> Table:
    """The table that a source is."""
    several = source if isinstance(source, (list, tuple)) else [source]
    if all(isinstance(one, (str, os.PathLike)) for one in several):
        return JoinedTable(places(source, options), header, where=where)
    if where:
        raise ValueError(
            f"where is for files, got a {type(source).__name__}; of a data set pass dataset.filter(...), of others the "
            f"rows that are meant"
        )
    if hasattr(source, "get_fragments"):
        return DatasetTable(source)
    if callable(source):
        return StreamTable(source, "the function")
    if frames.is_frame(source):
        return StreamTable(lambda: [source], "the frame")
    return ArrayTable(source)


def _joined(blocks: Sequence[Float]) -> Float:
    return blocks[0] if len(blocks) == 1 else np.concatenate(blocks)
