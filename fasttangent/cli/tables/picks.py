"""Tables of picked rows: written with empty columns for the labels, read back when a person has filled them in."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from statistics import median
from typing import Any

import numpy as np

from fasttangent.cli.table_pool import where
from fasttangent.cli.tables.writing import write_table
from fasttangent.common.tables.arrow import arrow, numbers
from fasttangent.common.tables.cells import MISSING, is_number
from fasttangent.common.tables.joined import JoinedTable
from fasttangent.common.tables.reading import open_table
from fasttangent.common.tables.table import Table
from fasttangent.common.tables.typed import is_text, words_of

EMPTY = {"", "na", "n/a", "#n/a", "nan", "null", "none"}  # no label yet
FAILED = {"failed", "fail"}  # there will be none
DATE = re.compile(r"\d{4}-\d\d-\d\d")


def write_picks(path: str, table: JoinedTable, rows: np.ndarray, label_names: Sequence[str]) -> None:
    """Row numbers, of several files also file and row in it, the pool's own columns and empty columns for labels."""
    found = {"row": rows, **where(table, rows)}
    own = {_called(name, label_names, table): column for name, column in table.take(rows).items()}
    write_table(path, {**found, **own, **{name: np.full(len(rows), np.nan) for name in label_names}})


def _called(name: str, label_names: Sequence[str], pool: JoinedTable) -> str:
    """A column of the pool as the table of picks has it."""
    taken = ("row", *label_names, *(("file", "row_in_file") if len(pool.places) > 1 else ()))
    return f"pool_{name}" if name in taken else name


def read_labels(table: Table, label_names: Sequence[str]) -> tuple[dict[int, Any], list[int]]:
    """Labels by row number (None: failed), and the rows without one yet.

    Raises
    ------
    ValueError
        If a column is missing, a cell is neither a number nor empty nor "failed", or a row has two labels.
    """
    for name in ("row", *label_names):
        if name not in table.names:
            raise ValueError(f"{table.path} has no column {name!r}; keep the columns that `next` wrote")
    numbers = table.read([table.column("row")])[:, 0]
    bad = np.flatnonzero(~((numbers == np.floor(numbers)) & (numbers >= 0) & (numbers < 2**53)))
    if len(bad):
        raise ValueError(
            f"{table.path}: column 'row' must hold the row numbers that `next` wrote, got {numbers[bad[0]]:g} in row "
            f"{bad[0]} (counted from 0)"
        )
    columns = table.take(np.arange(len(numbers)))
    cells = list(zip(*(_plain(columns[name]) for name in label_names), strict=True))
    labels: dict[int, Any] = {}
    waiting: list[int] = []
    for row, values in zip(numbers.astype(int).tolist(), cells, strict=True):
        label = _label(table, row, values)
        if label == "waiting":
            waiting.append(row)
        elif row in labels and labels[row] != label:
            raise ValueError(
                f"{table.path} has two labels for row {row}: {labels[row]} and {label}; keep one"
            )
        else:
            labels[row] = label
    return labels, [row for row in waiting if row not in labels]


def _plain(column: Any) -> list[Any]:
    return column.to_pylist() if hasattr(column, "to_pylist") else column.tolist()


def _label(table: Table, row: int, values: Sequence[Any]) -> Any:
    """A number or a list of them, None for a row that failed, "waiting" if a cell is empty."""
    found = [_cell(table, row, value) for value in values]
    if None in found:
        return None
    return "waiting" if "waiting" in found else found[0] if len(found) == 1 else found


def _cell(table: Table, row: int, value: Any) -> Any:
    word = "" if value is None else str(value).strip().lower()
    if word in EMPTY:
        return "waiting"
    if word in FAILED:
        return None
    if not is_number(word):  # float() also takes 1_000, which may have been meant as a list or a fraction
        raise ValueError(
            f"{table.path}: the label of row {row} is {value!r}; write a number with a point, 'failed' if there is "
            f"none, or leave it empty"
        )
    return float(word)


def check_own_columns(
    picks: Table, pool: JoinedTable, names: Sequence[str], label_names: Sequence[str], n: int
) -> None:
    """Raise if a row's own columns are not those of the pool: edited, or of another row, as if a part was sorted.

    Of the pool, which has n rows, only those in the picks are read.  Programs round numbers when they save them; that
    much they may differ.
    """
    kept = set(picks.names)
    given = {name: own for name in names if (own := _called(name, label_names, pool)) in kept}
    rows = picks.read([picks.column("row")])[:, 0].astype(int)
    inside = np.flatnonzero(rows < n)
    if not given or not len(inside):
        return
    columns = [pool.column(name) for name in given]
    cells = pool.picked(rows[inside], columns, dict.fromkeys(columns, arrow().string()))
    truth: dict[str, np.ndarray] = {}
    words: dict[str, list[Any]] = {}
    for name, values in zip(given, cells.columns, strict=True):
        if arrow("types").is_boolean(values.type):
            words[name] = values.to_pylist()
            continue
        try:
            truth[name] = numbers(words_of(values) if is_text(values) else values)
        except (ValueError, NotImplementedError):
            words[name] = values.to_pylist()
    _check_words(picks, rows[inside], inside, {given[name]: cells for name, cells in words.items()})
    if truth:
        called = [given[name] for name in truth]
        values = picks.read([picks.column(name) for name in called])[inside]
        _check_numbers(picks, rows[inside], called, values, np.column_stack(list(truth.values())))


def _check_numbers(
    picks: Table, rows: np.ndarray, names: Sequence[str], values: np.ndarray, truth: np.ndarray
) -> None:
    changed = abs(values - truth) > rounding(values, truth)
    if not changed.any():
        return
    i, j = (int(n) for n in np.argwhere(changed)[0])
    scale = np.nanstd(truth, axis=0)
    scale[~(scale > 0)] = 1
    distance = np.nansum(abs(truth - values[i]) / scale, axis=1)
    nearest = int(np.argmin(distance))
    if distance[nearest] < 0.5 * distance[i]:
        raise ValueError(
            f"{picks.path}: row {rows[i]} has the values of row {rows[nearest]}; was only part of the table sorted? "
            f"Put columns and row numbers together again"
        )
    raise ValueError(
        f"{picks.path}: row {rows[i]} has {float(values[i, j])!r} in column {names[j]!r} and "
        f"{float(truth[i, j])!r} in the pool, to which its label will belong; put the value back, or remove the column"
    )


def _check_words(
    picks: Table, rows: np.ndarray, inside: np.ndarray, truth: Mapping[str, Sequence[Any]]
) -> None:
    """The same of text, but for dates, which programs write in their own ways, as they do TRUE."""
    if not truth:
        return
    mine = picks.take(inside)
    for own, cells in truth.items():
        for row, a, b in zip(rows, mine[own].to_pylist(), cells, strict=True):
            words = ["" if one is None or str(one).strip() in MISSING else str(one).strip() for one in (a, b)]
            if words[0].casefold() != words[1].casefold() and not DATE.match(words[1]):
                raise ValueError(
                    f"{picks.path}: row {row} has {words[0]!r} in column {own!r} and {words[1]!r} in the pool, to "
                    f"which its label will belong; put the value back, or remove the column"
                )


def rounding(values: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """How far values may be from the truth if each column was saved with as many digits as it mostly shows."""
    allowed = 1e-6 * abs(truth)
    for j in np.flatnonzero((abs(values - truth) > allowed).any(axis=0)):
        column = values[np.isfinite(values[:, j]), j]
        digits = [Decimal(repr(value)).normalize().as_tuple() for value in column.tolist()]
        decimals = median(max(0, -int(d.exponent)) for d in digits)
        unit = np.full(len(values), 10.0**-decimals)
        if not np.array_equal(column, np.rint(column)):  # whole numbers end in zeros that say nothing
            significant = median(len(d.digits) for d in digits)
            with np.errstate(divide="ignore"):
                magnitude = np.floor(np.log10(abs(values[:, j])))
            unit = np.fmax(unit, 10.0 ** (magnitude - significant + 1))
        allowed[:, j] = np.fmax(allowed[:, j], 0.5000001 * unit)
    return allowed


def untold(path: str, label_names: Sequence[str], open_rows: Mapping[int, Any]) -> list[int]:
    """Open rows for which the table at `path` holds labels that nobody told yet.

    Raises
    ------
    ValueError
        If the table has labels, and one that cannot be read.
    """
    if not os.path.exists(path):
        return []
    try:
        table = open_table(path)
    except (ValueError, OSError):
        return []
    if not {"row", *label_names} <= set(table.names):
        return []
    try:
        labels, _ = read_labels(table, label_names)
    except (ValueError, OSError) as error:
        raise ValueError(
            f"{path} may hold labels that were not told yet ({error}); correct and tell it, or give another --output"
        ) from None
    return [row for row in labels if row in open_rows]
