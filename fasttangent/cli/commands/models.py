"""What several commands do with models and pools."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from fasttangent.cli.output import FailedError, aligned
from fasttangent.cli.table_pool import no_features

if TYPE_CHECKING:
    from fasttangent.common.tables.table import Table
    from fasttangent.model.model import Model


def model_and_pool(
    model_path: str, table: Table, drop: Sequence[str], beside: Sequence[str] = ()
) -> tuple[Model, Table, list[int]]:
    """The model, the pool as it reads it, and where the pool has the columns of the model.

    Columns `beside` the features say something of the rows; the model may have been fitted on one all the same.
    """
    from fasttangent.cli.columns import feature_columns
    from fasttangent.common.tables.encoded_table import as_read_by

    model = scorable(model_path)
    others = no_features(table, beside, model.feature_names)
    columns = feature_columns(model, table, [*drop, *others])
    return model, as_read_by(model, table, columns), columns


def scorable(path: str) -> Model:
    """A model whose rows need no users."""
    model = loaded(path)
    if (users := getattr(model, "users", None)) is not None:  # several members have none
        raise FailedError(
            f"{path} is a model with {len(users.ids)} users, whose rows the command line cannot tell apart yet; "
            f"in Python, save model.shared or model.of_user(user), and pass that file"
        )
    return model


def loaded(path: str) -> Model:
    import fasttangent as ft

    try:
        return ft.load(path)
    except ValueError as error:
        raise FailedError(str(error)) from error


def described(model: Model) -> str:
    """The summary of a model for people: one block per part, one line per reason for mistrust."""
    rows: list[tuple[str, Any]] = []
    summary = model.summary()
    made = summary.pop("columns", None)
    for part, value in summary.items():
        if not isinstance(value, dict):
            rows.append((part.replace("_", " "), "without names" if value is None else value))
            continue
        rows.append((part, ""))
        for name, one in value.items():
            if name == "sizes":
                one = "-".join(map(str, one))
            several = one if isinstance(one, list) and one else [one]
            rows.append((f"  {name.replace('_', ' ')}", several[0]))
            rows += [("", more) for more in several[1:]]
    table = "" if made is None else f"\n\n{model.columns!r}\n"
    return aligned(rows) + table
