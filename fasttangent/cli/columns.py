"""Which columns of a table are features, targets and weights, and how a pool's columns meet a model's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from fasttangent.common.tables.matching import feature_columns
from fasttangent.common.tables.table import Table
from fasttangent.common.warning import warn

__all__ = ["columns_left", "feature_columns", "training_rows"]


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
