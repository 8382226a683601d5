"""Rows of a table as the numbers that a network takes: all at once, or a part when it is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fasttangent.common import checks, frames
from fasttangent.common.cells import Known
from fasttangent.common.columns import Columns, Strange

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

    def __init__(self, name: str, columns: Columns, values: Sequence[Any], n: int) -> None:
        self.columns, self.strange, self.shape = columns, Strange(name), (n, len(columns.inputs))
        self._name, self._values = name, values
        self._known: Known = {}

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> Float:
        if isinstance(rows, tuple):
            return self[rows[0]][rows[1:]]
        if isinstance(rows, (int, np.integer)):
            return self[rows : rows + 1][0]
        return self.columns._encode(
            self._name, [one[rows] for one in self._values], self.strange, self._known
        )


def encoded(name: str, X: Any, columns: Columns) -> NDArray | Encoded:
    """Rows as `columns` have them: a table's to be encoded, an array's as they are.

    An array holds the inputs, or, where they are others and all columns are numbers, the columns with nan for what is
    missing.
    """
    if isinstance(X, Encoded):
        return X
    if is_table(X):
        return _of_table(name, X, columns)
    rows = checks.matrix(name, np.ma.getdata(X) if isinstance(X, np.ma.MaskedArray) else X)
    if rows.shape[1] == len(columns.inputs):
        return rows
    if rows.shape[1] == len(columns) and all(one.kind in NUMBERS for one in columns):
        return _by_place(name, rows, columns)
    kinds = sorted({one.kind for one in columns.used} - set(NUMBERS))
    made = f", made of {len(columns)} columns{' with ' if kinds else ''}{', '.join(kinds)}"
    raise ValueError(
        f"{name} has {rows.shape[1]} columns but the model was fitted on {len(columns.inputs)} inputs{made}; pass a "
        f"data frame with those columns, or what model.matrix makes of one"
    )


def _of_table(name: str, X: Any, columns: Columns) -> NDArray | Encoded:
    if not frames.is_frame(X):
        if X.ndim != 2 or X.shape[1] != len(columns):
            raise ValueError(
                f"{name} has shape {X.shape} but the model was fitted on {len(columns)} columns; pass the same"
            )
        return _by_place(name, np.ma.filled(X.astype(np.float64), np.nan), columns)
    if columns.named:
        X = checks.by_name(name, X, columns.names, [one.name for one in columns])
        if columns.plain:
            return _filled(name, checks.matrix(name, X), columns)
        return Encoded(name, columns, frames.series_of(name, X), frames.height(X))
    if len(frames.names_of(X)) != len(columns):
        raise ValueError(
            f"{name} has {len(frames.names_of(X))} columns but the model was fitted on {len(columns)}; pass the same"
        )
    return _by_place(name, checks.matrix(name, X).astype(np.float64), columns)


def _by_place(name: str, rows: NDArray, columns: Columns) -> Encoded:
    used = [j for j, one in enumerate(columns) if one.kind != "left out"]
    return Encoded(name, columns, [rows[:, j].astype(np.float64) for j in used], len(rows))


def _filled(name: str, rows: NDArray, columns: Columns) -> NDArray:
    """Numbers, what is missing replaced by the mean."""
    missing = np.isnan(rows) if rows.dtype.kind == "f" else np.zeros(rows.shape, bool)
    if not missing.any():
        return rows
    strange, rows = Strange(name), rows.copy()
    for j, one in enumerate(columns.used):
        strange.count(one, "missing", missing[:, j])
        rows[missing[:, j], j] = one.mean
    strange.warn()
    return rows


def told(rows: NDArray | Encoded) -> None:
    """Warn of what was met in rows that training had not, once."""
    if isinstance(rows, Encoded):
        rows.strange.warn()


def whole(rows: NDArray | Encoded) -> NDArray:
    """All of them, with a warning of what training had not."""
    if isinstance(rows, np.ndarray):
        return rows
    found = rows[:]
    told(rows)
    return found
