"""Which columns of a table are features, targets and weights, and how a pool's columns meet a model's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from fasttangent.common.tables.arrow import arrow, is_text_type
from fasttangent.common.tables.matching import feature_columns
from fasttangent.common.tables.npy_file import NpyTable
from fasttangent.common.tables.table import Table
from fasttangent.common.tables.typed import is_numeric, is_numeric_type, typed_columns
from fasttangent.common.warning import warn

__all__ = ["columns_left", "feature_columns", "feature_rows", "numeric", "training_rows"]


def training_rows(
    table: Table,
    target: Sequence[str],
    weights: str | None,
    drop: Sequence[str],
    categorical: Sequence[str] = (),
    as_table: bool = False,
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
    values, m = _complete(table, [*targets, *weighing]), len(targets)
    return {
        "X": feature_rows(table, features, categorical, as_table=as_table),
        "y": values[:, 0] if m == 1 else values[:, :m],
        "sample_weight": values[:, -1] if weighing else None,
        "feature_names": [table.names[i] for i in features] if table.named else None,
    }


def feature_rows(
    table: Table,
    features: Sequence[int],
    categorical: Sequence[str] = (),
    *,
    as_table: bool = False,
) -> Any:
    """Numbers as an array, where all are and none is missing; else an Arrow table."""
    labels = [table.column(name) for name in categorical]
    for column in labels:
        if column not in features:
            raise ValueError(f"--categorical must name features, got column {table.label(column)}")
    if isinstance(table, NpyTable) and not labels and not as_table:
        return _complete(table, features)
    found = typed_columns(table, features, labels)
    if labels or as_table or not all(map(is_numeric, found.columns)):
        return found
    values = table.read(features)
    if np.isnan(values).any() and not np.isinf(values).any():
        return found
    return _complete(table, features, values)


def numeric(table: Table, features: Sequence[int]) -> bool:
    """Whether `feature_rows` makes an array of all of these columns; text is passed through for that."""
    kinds = dict.fromkeys(features, arrow().string())
    found = next((batch.schema.types for batch in table.batches(features, kinds)), None)
    if found is None:
        raise ValueError(f"{table.path} holds no rows")
    text = np.array([is_text_type(kind) for kind in found])
    if not all(words or is_numeric_type(kind) for words, kind in zip(text, found, strict=True)):
        return False
    filled = ~text
    if not filled.all():
        try:
            for block in table.blocks(features):
                filled |= ~np.isnan(block).all(axis=0)
        except ValueError:
            return False
    return bool(filled.all())


def _complete(table: Table, columns: Sequence[int], values: Any = None) -> Any:
    """Numbers, none of them missing."""
    values = table.read(columns) if values is None else values
    holes = ~np.isfinite(values)
    if len(places := np.flatnonzero(holes.any(axis=0))):
        bad = np.flatnonzero(holes[:, places[0]])
        raise ValueError(
            f"{table.path}: column {table.label(columns[places[0]])} is missing or infinite in {len(bad):,} of "
            f"{len(values):,} rows, first in row {bad[0]} (counted from 0); fill it in, remove the rows, "
            f"or leave the column out (--drop)"
        )
    return values


def columns_left(table: Table, drop: Sequence[str | int]) -> list[int]:
    """The columns that are neither dropped nor another program's row labels."""
    dropped = {table.column(name) for name in drop}
    left = [i for i in range(len(table.names)) if i not in dropped]
    index = [i for i in left if i in table.index]
    if index:
        message = f"{table.path}: column {index[0]} holds row labels (pandas' index?) and is no feature"
        warn(message)
    return [i for i in left if i not in table.index]
