"""A hierarchy of users against one model for all and one for each, and how long 1,000 users take.

    python -m bench users DATA_FOLDER [--parts errors many] [-o bench/results/users.jsonl]
    python -m bench users --table bench/results/users.jsonl > bench/USERS.md

`bench/users/tables.py` says what is measured, and did so before it was.  With -o each result is a line of the file, and
those that it has are not computed again.
"""

from __future__ import annotations

import json
import warnings
from argparse import Namespace
from collections.abc import Iterator
from typing import Any

from bench.common import options
from bench.common.results import add, measured_or_shown, read
from bench.users import tables
from bench.users.cases import SPLIT_ON, SPREADS, rows_of
from bench.users.contenders import compared
from bench.users.many import SIZES, timed

EACH, SEEDS = (5, 10, 20), range(5)
CASES: dict[str, list[dict[str, Any]]] = {
    "errors": [
        {"case": case, "each": each, "seed": seed}
        for seed in SEEDS
        for case in (*SPREADS, *SPLIT_ON)
        for each in EACH
    ],
    "many": SIZES,
}


def main() -> None:
    chosen = arguments()
    if chosen.table is not None:
        print(tables.everything(read(chosen.table)))
        return
    known = [key(one) for one in read(chosen.output)]
    warnings.simplefilter("ignore", UserWarning)
    for part, case in wanted(chosen):
        if key({"part": part, **case}) in known:
            continue
        found = timed(**case) if part == "many" else compared(rows_of(chosen.folder, **case))
        result = {"part": part, **case, "found": found}
        print(json.dumps(result), flush=True)
        add(chosen.output, result)


def wanted(chosen: Namespace) -> Iterator[tuple[str, dict[str, Any]]]:
    for part in chosen.parts:
        for case in CASES[part]:
            yield part, case


def key(result: dict[str, Any]) -> str:
    return json.dumps({name: value for name, value in result.items() if name != "found"}, sort_keys=True)


def arguments() -> Namespace:
    parser = options.parser(__doc__)
    parser.add_argument("--parts", nargs="+", default=list(CASES), choices=list(CASES), metavar="PART")
    return measured_or_shown(parser)
