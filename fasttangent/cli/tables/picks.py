"""Tables of picked rows: written with empty columns for the labels, read back when a person has filled them in."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fasttangent.cli.tables.reading import open_table
from fasttangent.cli.tables.table import Table
from fasttangent.cli.tables.writing import write_table

EMPTY = {"", "na", "n/a", "#n/a", "nan", "null", "none"}  # no label yet
FAILED = {"failed", "fail"}  # there will be none


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
    bad = np.flatnonzero(~np.isfinite(numbers) | (numbers != np.floor(numbers)))
    if len(bad):
        raise ValueError(
            f"{table.path}: column 'row' must hold row numbers, got {numbers[bad[0]]} in line {bad[0]}"
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
    try:
        return float(word)
    except ValueError:
        raise ValueError(
            f"{table.path}: the label of row {row} is {value!r}; write a number with a point, 'failed' if there is "
            f"none, or leave it empty"
        ) from None


def check_own_columns(picks: Table, pool: Table, names: Sequence[str], label_names: Sequence[str]) -> None:
    """Raise if a row's own columns are those of another row: only part of the table was sorted.

    Programs round numbers when they save them, so that a row must only be nearer to itself than to the others.
    """
    given = {name: f"pool_{name}" if name in ("row", *label_names) else name for name in names}
    there = [name for name in names if given[name] in picks.names]
    if not there:
        return
    rows = picks.read([picks.column("row")])[:, 0].astype(int)
    values = picks.read([picks.column(given[name]) for name in there])
    truth = np.full_like(values, np.nan)
    for start, block in pool.chunks(columns=[pool.column(name) for name in there]):
        inside = np.flatnonzero((rows >= start) & (rows < start + len(block)))
        truth[inside] = block[rows[inside] - start]
    scale = np.nanstd(truth, axis=0)
    scale[~(scale > 0)] = 1
    for i, row in enumerate(rows):
        distance = np.nansum(abs(truth - values[i]) / scale, axis=1)
        nearest = int(np.argmin(distance))
        if distance[nearest] < 0.5 * distance[i]:
            raise ValueError(
                f"{picks.path}: row {row} has the values of row {rows[nearest]}; was only part of the table sorted? "
                f"Put columns and row numbers together again"
            )


def untold(path: str, label_names: Sequence[str], open_rows: Mapping[int, Any]) -> list[int]:
    """Open rows for which the table at `path` holds labels that nobody told yet."""
    if not os.path.exists(path):
        return []
    try:
        labels, _ = read_labels(open_table(path), label_names)
    except (ValueError, OSError):
        return []
    return [row for row in labels if row in open_rows]
