"""Data frames of any library (pandas, polars, Arrow tables and batches) as arrays, their columns by name.

narwhals knows the libraries; without it plain numeric frames of pandas are arrays to NumPy, and others are refused.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fasttangent.common.cells import doubles, unreadable
from fasttangent.common.warning import warn

if TYPE_CHECKING:
    from numpy.typing import NDArray

INSTALL = "pip install 'fasttangent[frames]'"


def is_frame(X: Any) -> bool:
    """Whether its columns have names: a data frame, an Arrow table or batch."""
    return not isinstance(X, np.ndarray) and (hasattr(X, "columns") or hasattr(X, "column_names"))


def names_of(X: Any) -> tuple[str, ...]:
    """Names of a frame's columns, as text."""
    names = tuple(map(str, X.column_names if hasattr(X, "column_names") else X.columns))
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise ValueError(f"columns must have different names, got {twice[0]!r} twice; rename one")
    return names


def chosen(name: str, X: Any, wanted: Sequence[str], known: Collection[str] = ()) -> Any:
    """The frame's columns of these names, in their order, of which none must be missing.

    Of more a warning says so, unless they are `known`.
    """
    given = names_of(X)
    if given == tuple(wanted):
        return X
    asked = {*wanted, *known}
    if more := [one for one in given if one not in asked]:
        what = (
            "a column that the model does" if len(more) == 1 else f"{len(more)} columns that the model does"
        )
        warn(f"{name} has {what} not use, {more[0]!r}{', ...' if len(more) > 1 else ''}: ignored")
    place = {one: i for i, one in enumerate(given)}
    places = [place[one] for one in wanted]
    if hasattr(X, "iloc"):  # also where names are no text
        return X.iloc[:, places]
    return X.select([given[i] for i in places])


def numbers(name: str, X: Any) -> Any:
    """The values of a frame (n, columns), or of a column (n,), as floats: missing ones nan, False and True 0 and 1.

    Of a column that narwhals does not know, itself.
    """
    if is_frame(X):
        names_of(X)  # raises
    try:
        import narwhals.stable.v1 as nw
    except ImportError:
        return _by_numpy(name, X)
    native = _opened(name, X, nw)
    if native is X:
        return X
    if isinstance(native, nw.Series):
        return _column(name, native.name, native, nw)
    plain = {nw.Float32, nw.Float64}
    kinds = {type(kind) for kind in native.schema.values()}
    if len(kinds) == 1 and kinds <= plain and (values := native.to_numpy()).dtype.kind == "f":
        return values
    each = (native[:, i] for i in range(native.shape[1]))  # by place, as names may be numbers
    columns = [_column(name, one.name, one, nw) for one in each]
    return np.column_stack(columns) if columns else np.empty((len(native), 0))


def series_of(name: str, X: Any) -> list[Any]:
    """The columns of a frame as series of narwhals, by place, as names may be numbers."""
    try:
        import narwhals.stable.v1 as nw
    except ImportError:
        raise TypeError(
            f"{name} is a {type(X).__name__}, which needs narwhals unless all of it is plain numbers: {INSTALL}"
        ) from None
    native = _opened(name, X, nw)
    return [native[:, i] for i in range(native.shape[1])]


def height(X: Any) -> int:
    """Rows of a frame; 0 of a lazy one."""
    return int(X.num_rows) if hasattr(X, "num_rows") else len(X) if hasattr(X, "__len__") else 0


def eager(name: str, X: Any) -> Any:
    """The frame, unless it is lazy, or of no library that is known."""
    import narwhals.stable.v1 as nw

    _opened(name, X, nw)
    return X


def rows_of(X: Any, numbers: NDArray[np.int64]) -> Any:
    """Some rows of a frame, as a frame of the same kind, or of an array, as a copy."""
    if not is_frame(X):
        return np.array(X[numbers])
    if hasattr(X, "iloc"):
        return X.iloc[numbers]
    return X.take(numbers) if hasattr(X, "take") else X[numbers]


def like(X: Any, columns: Mapping[str, NDArray[Any]]) -> Any:
    """A frame of the kind of another one and, of pandas, with its index."""
    if hasattr(X, "to_native"):  # narwhals' own
        import narwhals.stable.v1 as nw

        found = like(X.to_native(), columns)
        if isinstance(X, nw.DataFrame):
            return nw.from_native(found)
        import narwhals

        return narwhals.from_native(found)
    if hasattr(X, "iloc"):
        return type(X)(dict(columns), index=X.index)
    if hasattr(X, "from_pydict"):
        return type(X).from_pydict(dict(columns))
    return type(X)(dict(columns))


def has_narwhals() -> bool:
    """Whether frames of any kind can be read."""
    try:
        import narwhals.stable.v1  # noqa: F401
    except ImportError:
        return False
    return True


def _opened(name: str, X: Any, nw: Any) -> Any:
    """The frame or the column as narwhals has it; of a column that it does not know, itself."""
    if type(X).__name__ == "RecordBatch":
        import pyarrow as pa

        X = pa.Table.from_batches([X])
    native = nw.from_native(X, eager_only=True, allow_series=True, pass_through=True)
    if native is X and is_frame(X) and not isinstance(X, nw.DataFrame):
        lazy = "; collect() it first" if type(X).__name__ == "LazyFrame" else ""
        raise TypeError(f"{name} must be an array or a data frame, got {type(X).__name__}{lazy}")
    return native


def _column(name: str, column: Any, values: Any, nw: Any) -> NDArray[Any]:
    kind = values.dtype
    if kind.is_numeric() or kind == nw.Boolean:
        found = doubles(values)
        return found.astype(np.float32) if kind == nw.Float32 else found
    place = name if column is None or str(column) == "" else f"{name}, column {str(column)!r},"
    if kind == nw.Object:
        return _of_objects(place, values.to_numpy())
    if kind in (nw.Datetime, nw.Date, nw.Duration):
        raise TypeError(f"{place} must hold numbers, got {kind}; give days, or seconds, since some moment")
    what = unreadable(values) if str(kind) == "Unknown" else f"{kind}; encode it as numbers"
    raise TypeError(f"{place} must hold numbers, got {what}, or leave it out")


def _of_objects(place: str, values: NDArray[Any]) -> NDArray[np.float64]:
    """Python's own numbers; what is neither that nor missing is named by its kind."""
    missing = np.array([one is None or one != one for one in values], bool)
    there = values[~missing]
    kinds = dict.fromkeys(type(one).__name__ for one in there)
    if not all(isinstance(one, (int, float, np.number, np.bool_)) for one in there):
        some = " and ".join(itertools.islice(kinds, 2))
        raise TypeError(f"{place} must hold numbers, got objects of {some}; encode them, or leave it out")
    found = np.full(len(values), np.nan)
    found[~missing] = there.astype(np.float64)
    return found


def _by_numpy(name: str, X: Any) -> Any:
    if not is_frame(X):
        return X
    found = np.asarray(X) if hasattr(X, "iloc") else np.empty(0, object)
    if found.dtype.kind not in "buif":
        raise TypeError(
            f"{name} is a {type(X).__name__}, which needs narwhals unless all of it is plain numbers: {INSTALL}"
        )
    return found
