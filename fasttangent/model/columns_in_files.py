"""What is made of a table's columns, as the header of a model file has it: every field with a rule."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fasttangent.common.columns import KINDS, Column, Columns
from fasttangent.common.records import (
    FLAG,
    TEXT,
    Rule,
    check,
    check_fields,
    number,
    one_of,
    several,
    whole,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

SHARE = Rule("a number from 0 to 1", lambda v: number(0).holds(v) and v < 1 + 1e-9)
FIELDS = {
    "name": TEXT,
    "kind": one_of(KINDS),
    "mean": number(),
    "missing": SHARE,
    "levels": several(TEXT, distinct=True),
    "shares": several(SHARE),
    "hashed": whole(0, 64),
    "why": TEXT,
    "power": several(number()),
}
TABLE = {"named": FLAG, "each": several(Rule("a record", lambda v: isinstance(v, dict)), least=1)}


def columns_of(header: Mapping[str, Any]) -> Columns | None:
    """From the header; None where it has none.

    Raises
    ------
    ValueError
        If anything in it is not what `fit` makes.
    """
    if "columns" not in header:
        return None
    table = header["columns"]
    check_fields("columns", table, TABLE)
    for i, record in enumerate(table["each"]):
        check_fields(f"columns[{i}]", record, FIELDS)
        _check_levels(f"columns[{i}]", record)
    found = Columns(tuple(Column(**record) for record in table["each"]), table["named"])
    check("the names of columns", [one.name for one in found], several(TEXT, distinct=True))
    return found


def _check_levels(name: str, record: dict[str, Any]) -> None:
    kind, levels, shares = record["kind"], record["levels"], record["shares"]
    if (power := record["power"]) and (kind != "number" or len(power) != 3 or power[2] <= 0):
        raise ValueError(
            f"{name} must have a power, a centre and a unit > 0, as numbers may, got {power} of a {kind}"
        )
    if kind == "category":
        if not levels or len(shares) != len(levels):
            raise ValueError(
                f"{name} must have levels and a share for each, got {len(levels)} and {len(shares)}"
            )
    elif levels or shares or record["hashed"]:
        raise ValueError(f"{name} must have no levels, as it is no category, got {len(levels)}")
