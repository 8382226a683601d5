"""Scores, batches and fits on Dask: a laptop's processes or a cluster, with the results of one machine to the bit.

    import fasttangent as ft

    scores = ft.dask.score(frame, model)
    picks = ft.dask.select(frame, model, 100, labeled=X)
    models = ft.dask.fit_many([dict(X=X, y=y, seed=seed) for seed in range(8)])

Rows stay where their partitions are; the model goes to every worker once; what is found out about partitions is put
together as a tree.  Work that a worker was at when it ended is done again by another.  Needs Dask, which the package
itself does not: pip install 'fasttangent[dask]'.
"""

from __future__ import annotations

import io
import pickle
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from fasttangent.active.asked import PASSES, Asked
from fasttangent.active.pool import ArrayPool, Passage
from fasttangent.active.selection import Selection, selected
from fasttangent.active.strategies.table import DEFAULT_STRATEGY, STRATEGIES
from fasttangent.common import checks
from fasttangent.model.fit import fit
from fasttangent.model.members import Members
from fasttangent.model.model import Model
from fasttangent.model.scores import Scores, scored

try:
    import cloudpickle
    import dask
    from dask.delayed import Delayed, delayed
except ImportError as error:
    raise ImportError("fasttangent.dask needs Dask: pip install 'fasttangent[dask]'", name="dask") from error

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Rows = NDArray[np.int64]

__all__ = ["fit_many", "score", "select"]

T = TypeVar("T")

BRANCHES = 8  # results that are put together at once


def score(rows: Any, model: Model | Members) -> Any:
    """Prediction, sensitivity and curiosity of the rows of a Dask collection, as `Model.score` gives them; lazy.

    Parameters
    ----------
    rows : dask.dataframe.DataFrame or dask.array.Array
    model : Model or Members

    Returns
    -------
    dask.dataframe.DataFrame or Scores
        Of a frame a frame with its index and partitions, and columns "prediction", "sensitivity" and "curiosity"; of
        several outputs "prediction_0" and so on.  Of an array `Scores` of arrays with its chunks.  Rows that hold a
        value that is not finite have nan.

    Examples
    --------
    >>> import numpy as np, dask.array as da
    >>> import fasttangent as ft
    >>> rng = np.random.default_rng(0)
    >>> X = rng.uniform(-1, 1, (60, 1))
    >>> model = ft.fit(X, np.sin(3 * X[:, 0]), hidden=(8,), epochs=50)
    >>> scores = ft.dask.score(da.from_array(X, chunks=(20, 1)), model)
    >>> bool((scores.curiosity.compute() == model.curiosity(X)).all())
    True
    """
    shared = _shared(model)
    usual = scored(model, model.scaling.x_mean[None]).scores
    if hasattr(rows, "map_partitions"):
        import dask.dataframe

        parts = [_task(_score_frame, part, shared) for part in rows.to_delayed()]
        return dask.dataframe.from_delayed(parts, meta=_frame(usual, None).iloc[:0], verify_meta=False)
    import dask.array

    whole = rows.rechunk({1: -1})
    parts = [_task(_score_array, part, shared) for part in whole.to_delayed().ravel()]
    found = []
    for i, one in enumerate(usual):
        blocks = [
            dask.array.from_delayed(_task(_field, part, i), (n, *one.shape[1:]), one.dtype)
            for part, n in zip(parts, whole.chunks[0], strict=True)
        ]
        found.append(dask.array.concatenate(blocks))
    return Scores(*found)


def select(
    rows: Any,
    model: Model | Members,
    k: int,
    *,
    labeled: Any = None,
    verify: bool = True,
    strategy: str = DEFAULT_STRATEGY,
    **options: Any,
) -> Selection:
    """Pick k rows of a Dask collection to label next: those that `fasttangent.select` picks of the same rows.

    Parameters
    ----------
    rows : dask.dataframe.DataFrame or dask.array.Array
        Candidates.  They are passed through a few times: `rows.persist()` keeps them in the workers' memory.
    model : Model or Members
    k : int
        Number of rows.
    labeled : array_like of shape (m, n_features), optional
        Rows that have a label.
    verify : bool
        Whether to pass through the rows until the picks are those of comparing all; else twice.
    strategy : str
        As for `fasttangent.select`.
    **options : dict
        Others of `fasttangent.select`; `prefilter` is None by default.  Arrays for all rows, such as `cost`, are in
        memory.

    Returns
    -------
    Selection
        Its `indices` number the rows from 0 in the order of the partitions.

    Examples
    --------
    >>> import numpy as np, dask.array as da
    >>> import fasttangent as ft
    >>> rng = np.random.default_rng(0)
    >>> X = rng.uniform(-1, 1, (60, 1))
    >>> model = ft.fit(X, np.sin(3 * X[:, 0]), hidden=(8,), epochs=50)
    >>> pool = rng.uniform(-2, 2, (1000, 1))
    >>> picks = ft.dask.select(da.from_array(pool, chunks=(300, 1)), model, 5, labeled=X)
    >>> bool((picks.indices == ft.select(model, pool, 5, labeled=X, prefilter=None).indices).all())
    True
    """
    checks.choice("strategy", strategy, STRATEGIES)
    options = {
        "prefilter": None,
        "passes": PASSES if verify else 2,
        "threads": 1,
        **options,
    }
    return selected(model, _Pool(rows, model), Asked(k, strategy, labeled=labeled, **options))[0]


def fit_many(fits: Iterable[Mapping[str, Any]]) -> list[Model]:
    """Fit independent models, each as a task: seeds, folds, refits; the same as `fasttangent.fit_many`, to the bit.

    Parameters
    ----------
    fits : iterable of dict
        Arguments of `fit` by name.  Arrays that several fits share go to every worker once.

    Returns
    -------
    list of Model
        In the order of `fits`.

    Raises
    ------
    Exception
        The first error of a fit when all are done; its attribute ``models`` has what was fitted, None elsewhere.

    Examples
    --------
    >>> import numpy as np
    >>> import fasttangent as ft
    >>> X = np.linspace(-1, 1, 60)[:, None]
    >>> models = ft.dask.fit_many([dict(X=X, y=X[:, 0] ** 2, hidden=(4,), seed=seed) for seed in (0, 1)])
    >>> len(models)
    2
    """
    held: dict[int, Any] = {}
    kept = [dict(arguments) for arguments in fits]  # an id is that of one array as long as that is there

    def once(value: Any) -> Any:
        if not isinstance(value, np.ndarray):
            return value
        if id(value) not in held:
            held[id(value)] = _shared(value)
        return held[id(value)]

    tasks = [_task(_fitted, list(given), [once(value) for value in given.values()]) for given in kept]
    found = list(dask.compute(*tasks))
    models = [None if isinstance(one, Exception) else one for one in found]
    for one in found:
        if isinstance(one, Exception):
            vars(one)["models"] = models
            raise one
    return found


class _Pool:
    """The rows of a collection, which stay in their partitions: see `fasttangent.active.pool`."""

    def __init__(self, rows: Any, model: Model | Members) -> None:
        if not hasattr(rows, "to_delayed"):
            raise TypeError(
                f"rows must be a Dask DataFrame or Array, got {type(rows).__name__}; fasttangent.select takes others"
            )
        shared = _shared(model)
        if not hasattr(rows, "map_partitions"):
            rows = rows.rechunk({1: -1})
        self._parts = [_task(_matrix, part, shared) for part in np.ravel(rows.to_delayed())]
        sizes = dask.compute(*(_task(len, part) for part in self._parts))
        self._starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)

    def __getstate__(self) -> dict[str, Any]:
        return {"_starts": self._starts, "_parts": []}  # where rows are looked at, they are at hand

    def __len__(self) -> int:
        return int(self._starts[-1])

    def chunks(self) -> Iterator[tuple[int, NDArray]]:
        for start, part in zip(self._starts.tolist(), self._parts, strict=False):
            yield start, dask.compute(part)[0]

    def take(self, numbers: Rows) -> NDArray:
        where = np.searchsorted(self._starts, numbers, side="right") - 1
        order = np.argsort(where, kind="stable")
        parts, first = np.unique(where[order], return_index=True)
        of_parts = zip(parts.tolist(), np.split(numbers[order], first[1:]), strict=True)
        wanted = [_task(_rows_at, self._parts[p], mine - self._starts[p]) for p, mine in of_parts]
        found = np.concatenate(dask.compute(*wanted))
        rows = np.empty_like(found)
        rows[order] = found
        return rows

    def fold(self, passage: Passage[T]) -> T:
        """What `active.pool.passed` finds, found where the rows are."""
        data, models = _packed(passage)
        shared = [_shared(data), *(_shared(model) for model in models)]
        tasks = [_task(_through, start, rows, *shared) for start, rows in self._lots(passage.size)]
        if not tasks:
            return passage.begin()
        while len(tasks) > 1:
            groups = [tasks[at : at + BRANCHES] for at in range(0, len(tasks), BRANCHES)]
            tasks = [_task(_merged, group, *shared) for group in groups]
        found: T = dask.compute(tasks[0])[0]
        return found

    def _lots(self, size: int | None) -> Iterator[tuple[int, list[Delayed]]]:
        """(first row, rows): those of a partition, or the parts of `size` rows that begin in it."""
        starts = self._starts.tolist()
        for p, (start, stop) in enumerate(pairwise(starts)):
            if size is not None:
                start, stop = -(-start // size) * size, min(-(-stop // size) * size, len(self))
            if start >= stop:
                continue
            rows = []
            for q in range(p, len(self._parts)):
                if starts[q] >= stop:
                    break  # else a pass through many partitions looks at all pairs of them
                low, high = max(start, starts[q]), min(stop, starts[q + 1])
                if low < high:
                    rows.append(_task(_some, self._parts[q], low - starts[q], high - starts[q]))
            yield start, rows


class _Packer(cloudpickle.Pickler):
    """Pickles all but models, of which it takes the places."""

    def __init__(self, file: Any) -> None:
        super().__init__(file)
        self.models: list[Model] = []

    def persistent_id(self, thing: Any) -> int | None:
        if not isinstance(thing, Model):
            return None
        for i, model in enumerate(self.models):
            if model is thing:
                return i
        self.models.append(thing)
        return len(self.models) - 1


class _Unpacker(pickle.Unpickler):
    def __init__(self, file: Any, models: Sequence[Model]) -> None:
        super().__init__(file)
        self._models = models

    def persistent_load(self, place: Any) -> Model:
        return self._models[place]


def _packed(passage: Passage[Any]) -> tuple[bytes, list[Model]]:
    """A pass without its models, which are sent once and not for every pass."""
    packer = _Packer(file := io.BytesIO())
    packer.dump(passage)
    return file.getvalue(), packer.models


def _shared(value: Any) -> Any:
    """Something that goes to a worker once, when it needs it first; the scheduler has it for those that come later."""
    try:
        from distributed import get_client

        client = get_client()
    except (ImportError, ValueError):  # Dask alone, or no cluster
        return delayed(value, traverse=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of its size
        shared: Any = client.submit(pickle.loads, pickle.dumps(value), pure=False)
    return shared


def _task(function: Callable[..., Any], *given: Any) -> Any:
    return delayed(function, pure=False)(*given)


# ---- what workers do ----


def _through(start: int, rows: Sequence[NDArray], data: bytes, *models: Model) -> Any:
    passage = _Unpacker(io.BytesIO(data), models).load()
    whole = rows[0] if len(rows) == 1 else np.concatenate(rows)
    return passage.through(ArrayPool(whole), passage.begin(), start)


def _merged(found: Sequence[Any], data: bytes, *models: Model) -> Any:
    passage = _Unpacker(io.BytesIO(data), models).load()
    total = passage.begin()
    for one in found:
        total = passage.merge(total, one)
    return total


def _matrix(part: Any, model: Model | Members) -> NDArray:
    return model.matrix("rows", part)


def _some(rows: NDArray, start: int, stop: int) -> NDArray:
    return rows[start:stop]


def _rows_at(rows: NDArray, numbers: Rows) -> NDArray:
    return rows[numbers]


def _score_array(part: Any, model: Model | Members) -> Scores:
    return scored(model, model.matrix("rows", part), 1).scores


def _score_frame(part: Any, model: Model | Members) -> Any:
    return _frame(_score_array(part, model), part.index)


def _field(scores: Scores, i: int) -> NDArray:
    return scores[i]


def _frame(scores: Scores, index: Any) -> Any:
    """Scores as a frame of pandas."""
    import pandas

    return pandas.DataFrame(scores.columns, index=index)


def _fitted(names: Sequence[str], values: Sequence[Any]) -> Model | Exception:
    try:
        return fit(**dict(zip(names, values, strict=True)), threads=1)
    except Exception as error:
        return error
