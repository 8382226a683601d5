"""Records in files that anybody may have written: tables of fields, each with a rule in words and as a test."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

SHOWN = 60  # letters of a value that an error repeats


class Rule(NamedTuple):
    """What a value must be: "{name} must be {words}"."""

    words: str
    holds: Callable[[Any], bool]


FLAG = Rule("true or false", lambda v: isinstance(v, bool))
TEXT = Rule("text", lambda v: isinstance(v, str))
ANYTHING = Rule("anything", lambda v: True)


def one_of(words: Collection[str]) -> Rule:
    return Rule(f"one of {', '.join(map(repr, words))}", lambda v: isinstance(v, str) and v in words)


def whole(at_least: int, at_most: float = math.inf) -> Rule:
    """A whole number; neither true nor 1.0 is one."""
    words = f"a whole number >= {at_least}" + (f" and <= {at_most}" if at_most < math.inf else "")
    return Rule(words, lambda v: type(v) is int and at_least <= v <= at_most)


def number(at_least: float = -math.inf, *, above: float = -math.inf, infinite: bool = False) -> Rule:
    """A number within bounds; `infinite`: it may also be inf."""
    bound = f" > {above:g}" if above > -math.inf else f" >= {at_least:g}" if at_least > -math.inf else ""
    words = ("a number" if infinite else "a finite number") + bound

    def holds(v: Any) -> bool:
        if type(v) not in (int, float) or not at_least <= v or not above < v:  # nan is within no bounds
            return False
        return abs(v) <= sys.float_info.max or (infinite and abs(v) == math.inf)

    return Rule(words, holds)


def or_nan(rule: Rule) -> Rule:
    return Rule(f"{rule.words}, or nan", lambda v: rule.holds(v) or (type(v) is float and math.isnan(v)))


def or_null(rule: Rule) -> Rule:
    return Rule(f"{rule.words}, or null", lambda v: v is None or rule.holds(v))


def several(rule: Rule, *, least: int = 0, distinct: bool = False) -> Rule:
    """A list, every item of which keeps the rule."""
    words = f"a list of {'different values, each ' if distinct else ''}{rule.words}"
    if least:
        words += f", {least} or more"

    def holds(v: Any) -> bool:
        items = isinstance(v, list) and len(v) >= least and all(map(rule.holds, v))
        return items and not (distinct and len(set(v)) < len(v))

    return Rule(words, holds)


def check(name: str, value: Any, rule: Rule) -> None:
    """Raise unless the value keeps the rule."""
    if not rule.holds(value):
        raise ValueError(f"{name} must be {rule.words}, got {shown(value)}")


def check_fields(
    name: str,
    record: Any,
    fields: Mapping[str, Rule],
    *,
    optional: Collection[str] = (),
    others: Rule | None = None,
) -> None:
    """Raise unless the record has these fields, the optional ones perhaps, and each keeps its rule.

    `others` is the rule of fields that are not in the table; None: there must be none.
    """
    if not isinstance(record, dict):
        raise ValueError(f"{name} must be a record of fields by name, got {shown(record)}")
    missing = [field for field in fields if field not in record and field not in optional]
    if missing:
        raise ValueError(f"{name} lacks {', '.join(map(repr, missing))}")
    for field, value in record.items():
        rule = fields.get(field, others)
        if rule is None:
            raise ValueError(f"{name} must have no field but {', '.join(fields)}, got {shown(field)}")
        check(f"{field!r} of {name}", value, rule)


def parsed(text: str) -> Any:
    """What JSON says, each name once in a record."""
    return json.loads(text, object_pairs_hook=_once)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record: dict[str, Any] = {}
    for name, value in pairs:
        if name in record:
            raise ValueError(f"a record must have each name once, got {shown(name)} twice")
        record[name] = value
    return record


def shown(value: Any) -> str:
    """A value in one line, cut off where it is long."""
    text = repr(value)
    return text if len(text) <= SHOWN else text[:SHOWN] + "..."
