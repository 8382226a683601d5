"""What is to be made of a table's columns, learned from its rows and from no label."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from fasttangent.common import cells, checks, frames
from fasttangent.common.columns import Column, Columns
from fasttangent.common.encoded import is_table
from fasttangent.common.inputs import WORDS
from fasttangent.common.levels import factored, text_of
from fasttangent.common.powers import likeliest, transformed
from fasttangent.common.vectors import power_of_two
from fasttangent.common.warning import warn
from fasttangent.common.words import TRANSFORMS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Float = NDArray[np.float64]

# Simulated, a hundred levels of unrelated effects, 200 and 600 rows: errors of an input each were 0.37 and 0.25, of
# codes of 32 0.59 and 0.28, of the 32 most frequent and one for the others 0.82 and 0.79, of frequencies 1.03 and 0.93.
MOST_LEVELS = 64  # of a category, an input each; beyond, every score would pay for them
CODE = 32  # inputs of more levels
MOST_KNOWN = 10_000  # levels, the most frequent ones
ID = "text that is another in every row, like a name of rows"
NEEDS_FRAME = "{} needs the columns of a data frame, got X without; pandas.DataFrame(X) has some"
EMPTY = "no value in any row"


def learn_columns(
    X: Any,
    *,
    categorical: Sequence[str] = (),
    transform: str | None = None,
    sample_weight: Any = None,
    feature_names: Sequence[str] | None = None,
) -> Columns:
    """Learn what numbers to make of a table's columns, as `fit` does of its rows.

    Of a larger table than that with labels, such as the pool, it knows more levels; then ``fit(..., columns=)``.

    Parameters
    ----------
    X : data frame or masked array of shape (n, columns)
        pandas, polars, Arrow: numbers, True and False, text, categories, dates, durations, and missing ones of each.
    categorical : sequence of str
        Columns whose numbers are labels.
    transform : {"yeo-johnson"}, optional
        Of numbers with heavy tails: brings each column near a normal distribution, where that makes its values at
        least e^4 times as likely.
    sample_weight : array_like of shape (n,), optional
    feature_names : sequence of str, optional
        Default: the columns' own.

    Returns
    -------
    Columns

    Raises
    ------
    TypeError
        If a column holds something else, or objects of several kinds.
    ValueError
        If two columns have one name, a number is infinite, or nothing is left to learn from.

    Examples
    --------
    >>> import pandas as pd, fasttangent as ft
    >>> table = pd.DataFrame({"price": [3.5, None, 2.0, 4.0], "shop": ["b", "a", "b", "b"], "zip": [17, 4, 17, 4]})
    >>> ft.learn_columns(table, categorical=["zip"])
    column  kind      inputs  of the training rows
    price   number         2  25.0% missing; mean 3.16667
    shop    category       2  a 25%, b 75%
    zip     category       2  4 50%, 17 50%
    """
    w = checks.row_weights("sample_weight", sample_weight, frames.height(X))
    named, names, each = opened("X", X, feature_names)
    _check_asked(names, named, categorical, transform)
    return _usable(Columns(tuple(_made(names, each, categorical, transform, w)), named))


def learned_in_parts(
    names: Sequence[str], parts: Iterable[Any], categorical: Sequence[str] = (), transform: str | None = None
) -> Columns:
    """The same of all columns of these names, which come as frames of some of them, or learned already."""
    _check_asked(names, True, categorical, transform)
    columns = list[Column]()
    for part in parts:
        if isinstance(part, Column):
            columns.append(part)
        else:
            _, own, each = opened("X", part, None)
            columns += _made(own, each, categorical, transform, np.ones(frames.height(part)))
    return _usable(Columns(tuple(columns)))


def _check_asked(
    names: Sequence[str], named: bool, categorical: Sequence[str], transform: str | None
) -> None:
    if transform is not None:
        checks.choice("transform", transform, TRANSFORMS)
        if not named:
            raise ValueError(NEEDS_FRAME.format("transform"))
    if isinstance(categorical, str):
        raise TypeError(f"categorical must be a sequence of names of columns, got {categorical!r}")
    for name in set(map(str, categorical)) - set(names):
        checks.choice("a column in categorical", name, names)


def _made(
    names: Sequence[str], each: Sequence[Any], categorical: Sequence[str], transform: str | None, w: Float
) -> list[Column]:
    there, labels = w > 0, set(map(str, categorical))
    columns = [_column(n, one, n in labels, there, w) for n, one in zip(names, each, strict=True)]
    if transform is not None:
        columns = [_reshaped(c, one, there, w) for c, one in zip(columns, each, strict=True)]
    return columns


def _usable(found: Columns) -> Columns:
    if not found.used:
        raise ValueError("X must have a column to learn from, got none:\n" + repr(found))
    left_out = [one for one in found if one.kind == "left out"]
    if left_out:
        told = ", ".join(f"{one.name!r} ({one.why})" for one in left_out[:5])
        warn(f"X has {len(left_out)} of {len(found)} columns that are left out: {told}")
    return found


def learned(
    X: Any,
    sample_weight: Any = None,
    feature_names: Any = None,
    categorical: Sequence[str] = (),
    transform: str | None = None,
) -> Columns | None:
    """What to make of the columns of a table; None for an array, and for a frame without narwhals."""
    if not is_table(X):
        for name, given in (("categorical", len(categorical)), ("transform", transform is not None)):
            if given:
                raise ValueError(NEEDS_FRAME.format(name))
        return None
    if frames.is_frame(X):
        n_features = len(frames.names_of(X))
        feature_names = (
            checked_names(feature_names, n_features, given=True) if feature_names is not None else None
        )
        if n_features == 0 or not frames.has_narwhals():
            return None  # `checks.matrix` says what is wrong, if anything is
        checks.enough_rows("X", frames.eager("X", X), 2)
    return learn_columns(
        X,
        sample_weight=sample_weight,
        feature_names=feature_names,
        categorical=categorical,
        transform=transform,
    )


def checked_names(source: Any, n_features: int, *, given: bool) -> tuple[str, ...] | None:
    if given and not isinstance(source, Iterable):
        raise TypeError(f"feature_names must be one name per column of X, got {source!r}")
    names = tuple(map(str, source)) if given else checks.column_names(source)
    if names is not None and len(names) != n_features:
        raise ValueError(f"feature_names must have {n_features} names, one per column of X, got {len(names)}")
    if names is not None and len(set(names)) != len(names):
        twice = next(c for c, count in Counter(names).items() if count > 1)
        raise ValueError(f"feature_names must differ, got {twice!r} more than once; rename the columns")
    return names


def opened(name: str, X: Any, given: Sequence[str] | None) -> tuple[bool, tuple[str, ...], list[Any]]:
    """Whether a table's columns have names, the names, and the columns: series of narwhals, or floats."""
    if frames.is_frame(X):
        own, each = frames.names_of(X), frames.series_of(name, X)
    else:
        filled = np.ma.filled(np.ma.asarray(X).astype(np.float64), np.nan)
        own, each = tuple(f"x{j}" for j in range(filled.shape[1])), list(filled.T)
    names = own if given is None else tuple(map(str, given))
    return frames.is_frame(X), names, each


def _column(name: str, values: Any, labels: bool, there: NDArray[np.bool_], w: Float) -> Column:
    place, kind = f"X, column {name!r},", "number"
    if not isinstance(values, np.ndarray):
        kind = cells.kind_of(place, values)
        if kind == "text":
            codes, levels = factored(values)
            codes = codes[there]
            words = {levels[i] for i in np.unique(codes[codes >= 0])}
            if not words:
                return Column(name, "left out", why=EMPTY)
            if words <= set(WORDS) and not labels:
                of = np.array([*(float(level.lower()[0] in "ty") for level in levels), np.nan])
                return _of_numbers(name, "bool", of[codes], w[there])
            return _category(name, codes, levels, w[there], text=not labels)
        values = cells.floats(place, kind, values)
    values, w = values[there], w[there]
    if (infinite := np.isinf(values)).any():
        i = int(np.flatnonzero(there)[np.argmax(infinite)])
        raise ValueError(f"X must be finite, got {values[infinite][0]} in row {i}, column {name!r}; mend it")
    if np.isnan(values).all() and kind != "number":
        return Column(name, "left out", why=EMPTY)
    if labels:
        distinct, codes = np.unique(np.where(np.isnan(values), np.inf, values), return_inverse=True)
        codes = np.where(np.isnan(values), -1, codes)
        return _category(name, codes, [text_of(one) for one in distinct], w, text=False)
    return _of_numbers(name, kind, values, w)


def _of_numbers(name: str, kind: str, values: Float, w: Float) -> Column:
    missing = np.isnan(values)
    if missing.all():
        return Column(name, "left out", why=EMPTY)
    there, v = values[~missing], w[~missing] / w[~missing].sum()
    exact = float(power_of_two(np.array([abs(there).max()]))[0])
    mean = float(np.sum(v * (there / exact)) * exact)
    return Column(name, kind, mean, _share(missing, w))


def _reshaped(column: Column, values: Any, there: NDArray[np.bool_], w: Float) -> Column:
    """The column with a transform, if it has numbers whose tails want one."""
    if column.kind != "number":
        return column
    numbers = cells.floats(f"X, column {column.name!r},", "number", values)[there]
    given = ~np.isnan(numbers)
    numbers, weights = numbers[given], w[there][given]
    power = likeliest(numbers, weights)
    if power is None:
        return column
    mean = float(np.sum(weights * transformed(numbers, power)) / weights.sum())
    return replace(column, mean=mean, power=tuple(power))


def _share(which: NDArray[np.bool_], w: Float) -> float:
    """Above 0 where there is one."""
    return float(w[which].sum() / w.sum())


def _category(name: str, codes: NDArray[np.int64], levels: Sequence[str], w: Float, *, text: bool) -> Column:
    there = codes >= 0
    rows = np.bincount(codes[there], minlength=len(levels))
    weight = np.bincount(codes[there], w[there], minlength=len(levels))
    present = [i for i in range(len(levels)) if rows[i]]
    if text and len(present) == np.count_nonzero(there) > 2:
        return Column(name, "left out", why=ID)
    frequent = sorted(present, key=lambda i: (-weight[i], levels[i]))[:MOST_KNOWN]
    kept = sorted(frequent, key=lambda i: _order(levels[i]))
    return Column(
        name, "category", missing=_share(~there, w), levels=tuple(levels[i] for i in kept),
        shares=tuple(float(weight[i] / weight.sum()) for i in kept), hashed=CODE if len(kept) > MOST_LEVELS else 0,
    )  # fmt: skip


def _order(level: str) -> tuple[int, float, str]:
    """Numbers by their size, then text."""
    try:
        return 0, float(level), level
    except ValueError:
        return 1, 0.0, level
