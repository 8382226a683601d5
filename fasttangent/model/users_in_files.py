"""Users, as the header of a model file has them: every field with a rule."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fasttangent.common.records import TEXT, Rule, check_fields, several, shown, whole
from fasttangent.model.users import Users

if TYPE_CHECKING:
    from collections.abc import Mapping

WHOLE = Rule("a whole number", lambda v: type(v) is int and abs(v) < 2**63)
TEXTS, NUMBERS = several(TEXT, least=1, distinct=True), several(WHOLE, least=1, distinct=True)
IDS = Rule(
    "a list of different whole numbers, or of different texts, 1 or more",
    lambda v: TEXTS.holds(v) or NUMBERS.holds(v),
)
FIELDS = {"ids": IDS, "layers": several(whole(0), least=1, distinct=True)}


def check_users(header: Mapping[str, Any]) -> None:
    """Raise unless the header has no users, or such as `Model.save` writes and its objective knows."""
    if ("users" in header) != ("users" in header["objective"]):
        raise ValueError("'users' must be in header and objective, or in neither")
    if "users" not in header:
        return
    check_fields("users", header["users"], FIELDS)
    layers, last = header["users"]["layers"], len(header["sizes"]) - 2
    if layers != sorted(layers) or layers[-1] > last:
        raise ValueError(f"'layers' of users must be numbers up to {last}, ascending, got {shown(layers)}")


def own_parameters(header: Mapping[str, Any]) -> int:
    """How many parameters users have of their own."""
    if "users" not in header:
        return 0
    sizes, users = header["sizes"], header["users"]
    return len(users["ids"]) * sum((sizes[l] + 1) * sizes[l + 1] for l in users["layers"])


def users_of(header: Mapping[str, Any]) -> Users | None:
    """From a header that was checked."""
    users = header.get("users")
    return None if users is None else Users(tuple(users["ids"]), tuple(users["layers"]))
