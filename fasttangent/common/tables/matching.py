"""How the columns of a table meet those of a model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from fasttangent.common.checks import nearest
from fasttangent.common.tables.table import Table
from fasttangent.common.warning import warn


class Model(Protocol):
    """What is asked of a model."""

    @property
    def n_features(self) -> int: ...
    @property
    def feature_names(self) -> tuple[str, ...] | None: ...


def table_width(model: Model) -> int:
    """How many columns of a table a model takes, of which it may make more inputs."""
    return len(model.feature_names or ()) or model.n_features


def feature_columns(model: Model, table: Table, drop: Sequence[str | int], quiet: bool = False) -> list[int]:
    """The columns of the pool that the model takes: by name where both have names, else by position."""
    dropped = {table.column(name) for name in drop}
    left = [i for i in range(len(table.names)) if i not in dropped and i not in table.index]
    if model.feature_names is not None and table.named:
        place = {table.names[i]: i for i in left}
        missing = [name for name in model.feature_names if name not in place]
        if missing:
            raise ValueError(_missing_columns(table, missing, list(place)))
        return [place[name] for name in model.feature_names]
    count = table_width(model)
    if len(left) != count:
        hint = "pass the same columns in the same order"
        if len(left) == count + 1:
            hint = "if one of them is the target, leave it out with --drop COLUMN (the last one: --drop -1)"
        raise ValueError(
            f"{table.path} has {len(left)} columns but the model was fitted on {count}, "
            f"and without names on both sides they are matched by position; {hint}"
        )
    if not quiet and (table.named or model.feature_names is not None):
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
