"""Root mean square errors of `fasttangent.fit` beside what one would use instead; see QUALITY_PROTOCOL.md.

    python -m bench quality DATA_FOLDER                            the splits that choose
    python -m bench quality DATA_FOLDER --test -o results/quality.jsonl
    python -m bench quality DATA_FOLDER --methods ours gp --ours stronger='{"strength": 0.01}'
    python -m bench quality --table results/quality.jsonl

With -o each result is a line of the file, and those that it has are not computed again.
"""

from __future__ import annotations

import json
import time
from argparse import Namespace
from collections.abc import Iterator
from typing import Any

import numpy as np

from bench.active.data import SETS
from bench.common import options
from bench.common.results import add, measured_or_shown, read
from bench.quality import tables
from bench.quality.methods import METHODS, MOST_GP, Method, ours, quietly
from bench.quality.splits import CHOICE, LABELS, TEST, Split, split


def main() -> None:
    chosen = arguments()
    if chosen.table is not None:
        print(tables.everything(read(chosen.table)))
        return
    results = read(chosen.output)
    known = {key(one) for one in results}
    for one in wanted(chosen):
        if key(one) not in known and (found := result(chosen, one)) is not None:
            results.append(found)
            print(" ".join(f"{name}={value}" for name, value in found.items()), flush=True)
            add(chosen.output, found)
    print(tables.everything(results))


def arguments() -> Namespace:
    parser = options.parser(__doc__)
    parser.add_argument("--test", action="store_true", help="the splits of the report")
    parser.add_argument("--sets", nargs="+", default=SETS, choices=SETS, metavar="SET")
    parser.add_argument("--labels", nargs="+", type=int, default=LABELS, metavar="N")
    parser.add_argument("--splits", type=int, help="only so many")
    parser.add_argument(
        "--methods", nargs="*", default=list(METHODS), choices=list(METHODS), metavar="METHOD"
    )
    parser.add_argument("--ours", nargs="*", default=[], metavar="NAME=JSON", help="fit with these options")
    chosen = measured_or_shown(parser)
    named = (one.partition("=") for one in chosen.ours)
    variants = {name: ours(**json.loads(text)) for name, _, text in named}
    chosen.run = {**{name: METHODS[name] for name in chosen.methods}, **variants}
    return chosen


def key(one: dict[str, Any]) -> tuple:
    return one["set"], one["labels"], one["split"], one["method"]


def wanted(chosen: Namespace) -> Iterator[dict[str, Any]]:
    for number in (TEST if chosen.test else CHOICE)[: chosen.splits]:
        for name in chosen.sets:
            for labels in chosen.labels:
                for method in chosen.run:
                    if not (method == "gp" and labels > MOST_GP):
                        yield {"set": name, "labels": labels, "split": number, "method": method}


def result(chosen: Namespace, one: dict[str, Any]) -> dict[str, Any] | None:
    rows = split(chosen.folder, one["set"], one["split"], one["labels"])
    return None if rows is None else {**one, **figures(chosen.run[one["method"]], rows)}


def figures(method: Method, rows: Split) -> dict[str, Any]:
    """Error and log likelihood in standard deviations of the test targets, and seconds."""
    began, unit = time.perf_counter(), float(rows.y_test.std())
    found, deviation = quietly(method, rows.X, rows.y, rows.X_test)
    seconds = time.perf_counter() - began
    off = (found - rows.y_test) / unit
    figures = {"rmse": float(np.sqrt(np.mean(off**2))), "seconds": round(seconds, 3)}
    if deviation is not None:
        s = deviation / unit
        figures["nll"] = float(np.mean(0.5 * (off / s) ** 2 + np.log(s) + 0.5 * np.log(2 * np.pi)))
    return figures
