"""What a campaign's files may hold: a rule for every field of the manifest and of each kind of event.

Files are read as if anybody had written them; what was not written by a campaign is refused before it counts.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from fasttangent.active.loop.state import State
from fasttangent.common.records import (
    ANYTHING,
    FLAG,
    TEXT,
    Rule,
    check,
    check_fields,
    number,
    one_of,
    or_null,
    several,
    whole,
)

FORMAT = 1  # raise it when a version writes what an older one cannot read

ROWS = several(whole(0), least=1, distinct=True)
SECONDS = number(0)
FIGURE = or_null(number())
DIGEST = Rule("64 hexadecimal digits", lambda v: isinstance(v, str) and bool(re.fullmatch("[0-9a-f]{64}", v)))
MODEL_FILE = Rule(
    "model-NNNN.npz, a file of the folder itself",
    lambda v: isinstance(v, str) and bool(re.fullmatch(r"model-[0-9]{4,9}\.npz", v)),
)
LABEL = Rule(
    "a finite number, a list of them, or null",
    lambda v: FIGURE.holds(v) or several(number(), least=1).holds(v),
)
TABLE = Rule(
    "a record of rows, columns and sha256",
    lambda v: (
        isinstance(v, dict)
        and v.keys() == {"rows", "columns", "sha256"}
        and whole(0).holds(v["rows"])
        and whole(1).holds(v["columns"])
        and DIGEST.holds(v["sha256"])
    ),
)

MANIFEST = {
    "format": whole(1, FORMAT),
    "version": TEXT,
    "pool": TABLE,
    "labeled": or_null(TABLE),
    "test": or_null(TABLE),
    "outputs": or_null(several(whole(1))),
    "settings": Rule("a record of settings", lambda v: isinstance(v, dict)),
}

EVENTS: dict[str, dict[str, Rule]] = {  # fields beside those listed are figures for people
    "fit": {"file": MODEL_FILE, "sha256": or_null(DIGEST), "round": whole(0), "labels": whole(0)},
    "asked": {"rows": ROWS, "round": whole(0)},
    "asking": {"rows": ROWS},
    "told": {
        "rows": ROWS,
        "labels": several(LABEL, least=1),
        "seconds": SECONDS,
        "why": TEXT,
        "borrowed": FLAG,
    },
    "retry": {"rows": ROWS},
    "outlook": {"rmse": FIGURE, "mae": FIGURE, "ratio": FIGURE},
    "compared": {"round": whole(0)},
}
OPTIONAL = {"seconds", "why", "borrowed", "rmse", "mae", "ratio"}


def check_manifest(manifest: Any) -> None:
    """Raise unless it is a manifest of a campaign."""
    check_fields("the manifest", manifest, MANIFEST, others=ANYTHING)


def check_event(event: dict[str, Any], state: State, pool_rows: int) -> None:
    """Raise unless this event can follow those that led to the state, in a pool of so many rows."""
    kind = event.get("event")
    check("'event'", kind, one_of(tuple(EVENTS)))
    assert isinstance(kind, str)
    fields = EVENTS[kind] | {"event": TEXT}
    check_fields(f"a {kind!r} event", event, fields, optional=OPTIONAL, others=ANYTHING)
    rows = event.get("rows", []) if "rows" in fields else []
    if rows and max(rows) >= pool_rows:
        raise ValueError(f"'rows' must be of the pool, which has {pool_rows:,} rows, got {max(rows)}")
    if kind == "asked":
        for name in ("scores", "predictions"):
            values = event.get(name)
            if values is not None and (not isinstance(values, list) or len(values) != len(rows)):
                raise ValueError(f"{name!r} must have a value for each of {len(rows)} rows")
    if kind == "told" and len(event["labels"]) != len(rows):
        raise ValueError(f"'labels' must have a label for each of {len(rows)} rows")
    known: dict[str, Callable[[int], bool]] = {
        "asking": state.open.__contains__,
        "told": state.place.__contains__,
        "retry": state.failed.__contains__,
    }
    if kind in known and not all(map(known[kind], rows)):
        what = "failed before" if kind == "retry" else "been asked before"
        raise ValueError(f"'rows' of a {kind!r} event must have {what}")
