"""Rows of a table as the numbers that a network takes: all at once, or a part when it is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fasttangent.common import checks, frames
from fasttangent.common.columns import Columns
from fasttangent.common.inputs import Source, Strange, write_category, write_numbers

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Float = NDArray[np.float64]

NUMBERS = ("number", "bool", "left out")


def is_table(X: Any) -> bool:
    """Whether its columns may be of any kind, with missing values: a frame, or an array with masked values."""
    return frames.is_frame(X) or (isinstance(X, np.ma.MaskedArray) and np.ma.is_masked(X))


class Encoded:
    """Rows of a table, made numbers where they are asked for; the same for any parts.

    Attributes
    ----------
    shape : tuple of int
        Rows, inputs.
    dtype : numpy.dtype
        float64.
    strange : Strange
        What was met on the way; `matrix` warns of it.
    """

    dtype, ndim = np.dtype(np.float64), 2

    def __init__(self, columns: Columns, strange: Strange, values: Sequence[Any], n: int) -> None:
        self.columns, self.strange, self.shape = columns, strange, (n, len(columns.inputs))
        pairs = zip(columns.used, values, strict=True)
        self._sources = [Source.of(strange.name, one, cells) for one, cells in pairs]

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> Any:
        if isinstance(rows, tuple):
            return self[rows[0]][rows[1:]]
        if isinstance(rows, (int, np.integer)):
            return self[rows : rows + 1][0]
        return self.less(np.zeros(self.shape[1]), rows, self.dtype)

    def less(self, centre: Float, rows: Any, dtype: np.dtype) -> NDArray:
        """Some rows less a centre, which is subtracted in float64, C-contiguous."""
        if isinstance(rows, slice) and rows.step in (None, 1):  # narwhals 1.40 takes no slice(None)
            begin, end, _ = (int(i) for i in rows.indices(len(self)))
            n, rows = max(0, end - begin), slice(begin, max(begin, end))
        else:
            rows = np.arange(len(self))[rows]
            n = len(rows)
        out, at = np.empty((n, self.shape[1]), dtype), 0
        for one in self._sources:
            width = len(one.column.inputs)
            part, c = out[:, at : at + width], centre[at : at + width]
            if one.column.kind == "category":
                write_category(part, one.column, one.codes(rows), c, self.strange)
            else:
                values = one.floats(self.strange.name, rows, self.strange)
                write_numbers(part, one.column, values, c, self.strange)
            at += width
        return out


def encoded(name: str, X: Any, columns: Columns, strange: Strange | None = None) -> NDArray | Encoded:
    """Rows as `columns` have them: a table's to be encoded, an array's as they are.

    An array holds the inputs, or, where they are others and all columns are numbers, the columns with nan for what is
    missing.  What is `strange` is counted, and for None told by `told` and `whole`.
    """
    if isinstance(X, Encoded):
        return X
    strange, tell = (strange or Strange(name)), strange is None
    if not is_table(X):
        return _of_array(name, X, columns, strange)
    rows = (
        _of_frame(name, X, columns, strange) if frames.is_frame(X) else _of_masked(name, X, columns, strange)
    )
    if tell and isinstance(rows, np.ndarray):
        strange.warn()
    return rows


def _of_array(name: str, X: Any, columns: Columns, strange: Strange) -> NDArray | Encoded:
    rows = checks.matrix(name, np.ma.getdata(X) if isinstance(X, np.ma.MaskedArray) else X)
    if rows.shape[1] == len(columns.inputs):
        return rows
    if rows.shape[1] == len(columns) and all(one.kind in NUMBERS for one in columns):
        return _by_place(rows, columns, strange)
    kinds = sorted({one.kind for one in columns.used} - set(NUMBERS))
    made = f", made of {len(columns)} columns{' with ' if kinds else ''}{', '.join(kinds)}"
    raise ValueError(
        f"{name} has {rows.shape[1]} columns but the model was fitted on {len(columns.inputs)} inputs{made}; pass a "
        f"data frame with those columns, or what model.matrix makes of one"
    )


def _of_masked(name: str, X: Any, columns: Columns, strange: Strange) -> Encoded:
    if X.ndim != 2 or X.shape[1] != len(columns):
        raise ValueError(
            f"{name} has shape {X.shape} but the model was fitted on {len(columns)} columns; pass the same"
        )
    return _by_place(np.ma.filled(X.astype(np.float64), np.nan), columns, strange)


def _of_frame(name: str, X: Any, columns: Columns, strange: Strange) -> NDArray | Encoded:
    if not columns.named:
        if (count := len(frames.names_of(X))) != len(columns):
            raise ValueError(
                f"{name} has {count} columns but the model was fitted on {len(columns)}; pass the same"
            )
        return _by_place(checks.matrix(name, X), columns, strange)
    X = checks.by_name(name, X, columns.names, [one.name for one in columns])
    if columns.plain:
        try:
            return _filled(checks.matrix(name, X), columns, strange)
        except TypeError:  # text, perhaps, of numbers
            if not frames.has_narwhals():
                raise
    return Encoded(columns, strange, frames.series_of(name, X), frames.height(X))


def _by_place(rows: NDArray, columns: Columns, strange: Strange) -> Encoded:
    used = [j for j, one in enumerate(columns) if one.kind != "left out"]
    return Encoded(columns, strange, [rows[:, j].astype(np.float64) for j in used], len(rows))


def _filled(rows: NDArray, columns: Columns, strange: Strange) -> NDArray:
    """Numbers, what is missing replaced by the mean."""
    missing = np.isnan(rows) if rows.dtype.kind == "f" else np.zeros(rows.shape, bool)
    if not missing.any():
        return rows
    rows = rows.copy()
    for j, one in enumerate(columns.used):
        strange.count(one, "missing", missing[:, j])
        rows[missing[:, j], j] = one.mean
    return rows


def told(rows: NDArray | Encoded) -> None:
    """Warn of what was met in rows that training had not, once."""
    if isinstance(rows, Encoded):
        rows.strange.warn()


def whole(rows: NDArray | Encoded, tell: bool = True) -> NDArray:
    """All of them, with a warning of what training had not."""
    if isinstance(rows, np.ndarray):
        return rows
    found = rows[:]
    if tell:
        told(rows)
    return found
