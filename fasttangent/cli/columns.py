"""Which columns of a table are features, targets and weights, and how a pool's columns meet a model's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fasttangent.common.checks import nearest
from fasttangent.common.tables.table import Table
from fasttangent.common.warning import warn

if TYPE_CHECKING:
    from fasttangent.model.model import Model


def training_rows(
    table: Table, target: Sequence[str], weights: str | None, drop: Sequence[str]
) -> dict[str, Any]:
    """Features, targets, weights and names, as fasttangent.fit takes them."""
    weighing = [] if weights is None else [table.column(weights)]
    left = columns_left(table, [*drop, *weighing])
    targets = [table.column(name) for name in target] or left[-1:]
    for column, count in Counter([*targets, *weighing]).items():
        if count > 1:
            raise ValueError(
                f"column {table.label(column)} is named twice by --target and --weights; once will do"
            )
    taken = set(targets)
    features = [column for column in left if column not in taken]
    if not features:
        raise ValueError(
            f"{table.path} has no column left for the features; it has {len(table.names)} in all"
        )
    wanted = [*features, *targets, *weighing]
    values = table.read(wanted)
    holes = ~np.isfinite(values)
    if len(places := np.flatnonzero(holes.any(axis=0))):
        bad = np.flatnonzero(holes[:, places[0]])
        raise ValueError(
            f"{table.path}: column {table.label(wanted[places[0]])} is missing or infinite in {len(bad):,} of "
            f"{len(values):,} rows, first in row {bad[0]} (counted from 0); fill it in, remove the rows, "
            f"or leave the column out (--drop)"
        )
    d, m = len(features), len(targets)
    return {
        "X": values[:, :d],
        "y": values[:, d] if m == 1 else values[:, d : d + m],
        "sample_weight": values[:, -1] if weighing else None,
        "feature_names": [table.names[i] for i in features] if table.named else None,
    }


def columns_left(table: Table, drop: Sequence[str | int]) -> list[int]:
    """The columns that are neither dropped nor another program's row labels."""
    dropped = {table.column(name) for name in drop}
    left = [i for i in range(len(table.names)) if i not in dropped]
    index = [i for i in left if i in table.index]
    if index:
        message = f"{table.path}: column {index[0]} holds row labels (pandas' index?) and is no feature"
        warn(message)
    return [i for i in left if i not in table.index]


def feature_columns(model: Model, table: Table, drop: Sequence[str]) -> list[int]:
    """The columns of the pool that the model takes: by name where both have names, else by position."""
    dropped = {table.column(name) for name in drop}
    left = [i for i in range(len(table.names)) if i not in dropped and i not in table.index]
    if model.feature_names is not None and table.named:
        place = {table.names[i]: i for i in left}
        missing = [name for name in model.feature_names if name not in place]
        if missing:
            raise ValueError(_missing_columns(table, missing, list(place)))
        return [place[name] for name in model.feature_names]
    if len(left) != model.n_features:
        hint = "pass the same columns in the same order"
        if len(left) == model.n_features + 1:
            hint = "if one of them is the target, leave it out with --drop COLUMN (the last one: --drop -1)"
        raise ValueError(
            f"{table.path} has {len(left)} columns but the model was fitted on {model.n_features}, "
            f"and without names on both sides they are matched by position; {hint}"
        )
    if table.named or model.feature_names is not None:
        nameless = "the model" if table.named else table.path
        message = f"{nameless} has no column names, so the columns of {table.path} were matched by position"
        warn(message)
    return left


def _missing_columns(table: Table, missing: Sequence[str], present: Sequence[str]) -> str:
    def described(name: str) -> str:
        near = nearest(name, present)
        return repr(name) if near is None else f"{name!r} (the nearest is {near!r})"

    more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
    names = ", ".join(described(name) for name in missing[:5]) + more
    return f"{table.path} lacks columns the model was fitted on: {names}; add or rename them"
