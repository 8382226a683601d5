"""One model against five members: do two of them agree, how large are errors, what do batches gain.

    python -m bench members DATA_FOLDER [--parts agreement errors batches] [-o bench/results/members.jsonl]
    python -m bench members --table bench/results/members.jsonl > bench/MEMBERS.md

Rows are those of QUALITY_PROTOCOL.md, its splits for choosing (100 to 102).

agreement   320 labels of four sets, at strength 1e-3 and at "auto": two calls of fit(members=5) with different seeds;
            Spearman correlation of curiosity and of |sensitivity| over the test rows between the two fives, and between
            a member of one and a member of the other (mean of all 25 pairs).
errors      64 and 320 labels of ten sets at "auto": root mean square error and mean negative log likelihood in standard
            deviations of the test targets, of five single fits (mean over them), of their mean with the strengths that
            each learned, and of fit(members=5), where the first learns for all.
batches     64 labels of six sets at "auto", and 32 more by random choice (mean of three draws) or by a strategy with
            one model or five; the error then is that of fit(members=5) and of its members (mean over them).

With -o each result is a line of the file, and those that it has are not computed again.
"""

from __future__ import annotations

import json
import warnings
from argparse import Namespace
from collections.abc import Callable, Iterator
from typing import Any

from bench.common import options
from bench.common.results import add, measured_or_shown, read
from bench.members import tables
from bench.members.parts import agreement, batches, errors
from bench.quality.splits import CHOICE

PARTS: dict[str, tuple[Callable[..., dict[str, Any]], list[dict[str, Any]]]] = {
    "agreement": (
        agreement,
        [
            {"set": name, "strength": strength}
            for strength in (1e-3, "auto")
            for name in ("kin8nm", "concrete", "power_plant", "pol")
        ],
    ),
    "errors": (errors, [{"set": name, "labels": n} for n in (64, 320) for name in tables.SETS]),
    "batches": (
        batches,
        [{"set": name} for name in ("concrete", "energy", "kin8nm", "power_plant", "pol", "kin40k")],
    ),
}


def main() -> None:
    chosen = arguments()
    if chosen.table is not None:
        print(tables.everything(read(chosen.table)))
        return
    results = read(chosen.output)
    known = [key(one) for one in results]
    warnings.simplefilter("ignore", UserWarning)
    for part, case in wanted(chosen):
        if key({"part": part, **case}) in known:
            continue
        if (found := PARTS[part][0](chosen.folder, **case)) is None:
            continue
        results.append({"part": part, **case, **found})
        print(json.dumps(results[-1]), flush=True)
        add(chosen.output, results[-1])
    print(tables.everything(results))


def arguments() -> Namespace:
    parser = options.parser(__doc__)
    parser.add_argument("--parts", nargs="+", default=list(PARTS), choices=list(PARTS), metavar="PART")
    return measured_or_shown(parser)


def wanted(chosen: Namespace) -> Iterator[tuple[str, dict[str, Any]]]:
    for part in chosen.parts:
        for number in CHOICE:
            for case in PARTS[part][1]:
                yield part, {**case, "split": number}


def key(one: dict[str, Any]) -> tuple:
    return tuple(one.get(name) for name in ("part", "set", "strength", "labels", "split"))
