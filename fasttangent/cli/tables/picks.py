"""Tables of picked rows: written with empty columns for the labels, read back when a person has filled them in."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from statistics import median
from typing import Any

import numpy as np

from fasttangent.cli.tables.writing import write_table
from fasttangent.common.tables.cells import MISSING, is_number
from fasttangent.common.tables.reading import open_table
from fasttangent.common.tables.table import Table

EMPTY = {"", "na", "n/a", "#n/a", "nan", "null", "none"}  # no label yet
FAILED = {"failed", "fail"}  # there will be none
DATE = re.compile(r"\d{4}-\d\d-\d\d")


def write_picks(path: str, table: Table, rows: np.ndarray, label_names: Sequence[str]) -> None:
    """Row numbers, the pool's own columns and empty columns for labels."""
    taken = {"row", *label_names}
    own = {f"pool_{name}" if name in taken else name: column for name, column in table.take(rows).items()}
    write_table(path, {"row": rows, **own, **{name: np.full(len(rows), np.nan) for name in label_names}})


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


def check_own_columns(picks: Table, pool: Table, names: Sequence[str], label_names: Sequence[str]) -> None:
    """Raise if a row's own columns are not those of the pool: edited, or of another row, as if a part was sorted.

    Programs round numbers when they save them; that much they may differ.
    """
    given = {name: f"pool_{name}" if name in ("row", *label_names) else name for name in names}
    kept = set(picks.names)
    there = [name for name in names if given[name] in kept]
    if not there:
        return
    rows = picks.read([picks.column("row")])[:, 0].astype(int)
    words = [name for name in there if not _is_numeric(pool, pool.column(name))]
    _check_words(picks, pool, rows, {name: given[name] for name in words})
    there = [name for name in there if name not in words]
    if not there:
        return
    values = picks.read([picks.column(given[name]) for name in there])
    truth = np.full_like(values, np.nan)
    for start, block in pool.chunks(columns=[pool.column(name) for name in there]):
        inside = np.flatnonzero((rows >= start) & (rows < start + len(block)))
        truth[inside] = block[rows[inside] - start]
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
        f"{picks.path}: row {rows[i]} has {float(values[i, j])!r} in column {given[there[j]]!r} and "
        f"{float(truth[i, j])!r} in the pool, to which its label will belong; put the value back, or remove the column"
    )


def _is_numeric(pool: Table, column: int) -> bool:
    try:
        return all(True for _ in pool.blocks([column]))
    except ValueError:
        return False


def _check_words(picks: Table, pool: Table, rows: np.ndarray, given: Mapping[str, str]) -> None:
    """The same of text, but for dates, which programs write in their own ways, as they do TRUE."""
    if not given:
        return
    truth, mine = pool.take(rows), picks.take(np.arange(len(rows)))
    for name, own in given.items():
        for row, a, b in zip(rows, mine[own].to_pylist(), truth[name].to_pylist(), strict=True):
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
