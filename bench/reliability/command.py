"""Hostile random use of the whole library, and whatever goes wrong with a line that repeats it.

    python -m bench reliability                             all parts, an hour
    python -m bench reliability --seconds 600 --seed 7      ten minutes, from another seed
    python -m bench reliability files kills --cases 50      so many cases of some parts
    python -m bench reliability files --case 1234           one case again
    python -m bench reliability --table                     bench/RELIABILITY.md from the results that are kept

`python -m bench.reliability` is the same.  Every case is made from its seed alone and runs in a process that may crash,
hang or run out of memory without ending the campaign.  The seed of a run is drawn anew unless it is given; case i has
the seed of the run plus i.  Exit code 1: something failed.  With -o the counts are added to a file of results,
bench/results/reliability.json for the runs that are kept, and `--table` makes the report of it.

<parts>
"""

from __future__ import annotations

import json
import secrets
import shutil
import sys
import tempfile
import threading
import time
from argparse import Namespace
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fasttangent
from bench.common import options
from bench.common.places import REPORTS, RESULTS
from bench.reliability import campaign, tables
from bench.reliability.case import Ground
from bench.reliability.counts import Counts
from bench.reliability.parts import PARTS
from fasttangent.common import parallel

HOUR = 3600.0
SPAN = 10**6  # seeds of a run


def main() -> None:
    chosen = arguments()
    if chosen.table:
        (REPORTS / "RELIABILITY.md").write_text(tables.everything())
        return
    if chosen.case is not None:
        sys.exit(again(chosen.parts, chosen.case))
    seed = secrets.randbelow(1000) * SPAN if chosen.seed is None else chosen.seed
    names = chosen.parts or [name for name, part in PARTS.items() if part.share]
    print(f"seed {seed}", flush=True)
    found = run(names, seed, chosen)
    for name in names:
        print(tables.line(name, found[name]), flush=True)
    if chosen.output:
        tables.keep(chosen.output, seed, found)
    sys.exit(int(any(counts.failures or counts.missing for counts in found.values())))


def arguments() -> Namespace:
    listed = "\n".join(f"    {name:14}{part.says}" for name, part in PARTS.items() if part.share)
    parser = options.parser((__doc__ or "").replace("<parts>", listed))
    parser.add_argument("parts", nargs="*", metavar="PART", help="default: all")
    parser.add_argument(
        "--seconds", type=float, help="for all parts together; default 3600 unless --cases is given"
    )
    parser.add_argument("--cases", type=int, help="so many of each part")
    parser.add_argument("--seed", type=int, help="of the first case")
    parser.add_argument("--case", type=int, metavar="SEED", help="run this one, here")
    parser.add_argument("--own-width", action="store_true", help="compile vectors of one width only")
    parser.add_argument("--at-once", type=int, default=parallel.available(), help="parts at once")
    parser.add_argument(
        "-o", "--output", type=Path, metavar="FILE", help=f"such as {RESULTS.name}/reliability.json"
    )
    parser.add_argument("--table", action="store_true", help="write bench/RELIABILITY.md and end")
    chosen = parser.parse_args()
    if unknown := [name for name in chosen.parts if name not in PARTS]:
        parser.error(f"{unknown[0]} is no part; choose from {', '.join(PARTS)}")
    if chosen.case is not None and len(chosen.parts) != 1:
        parser.error("--case needs the one part whose case it is")
    return chosen


def run(names: list[str], seed: int, chosen: Namespace) -> dict[str, Counts]:
    """The counts of each part; the longest begin first."""
    lock = threading.Lock()
    seconds = chosen.seconds or (float("inf") if chosen.cases else HOUR)
    cases = chosen.cases or campaign.MANY
    shares = sum(PARTS[name].share for name in names) or 1.0
    at_once = max(1, min(chosen.at_once, len(names)))

    def one(name: str) -> Counts:
        def report(text: str) -> None:
            with lock:
                print(f"{time.strftime('%H:%M:%S')} {name}: {text}", flush=True)

        budget = seconds * at_once * PARTS[name].share / shares
        try:
            return campaign.part(name, budget, seed, report, cases, not chosen.own_width)
        except RuntimeError as error:  # the other parts go on
            report(f"could not run: {error}")
            return Counts(missing="could not run")

    order = sorted(names, key=lambda name: -PARTS[name].share)
    with ThreadPoolExecutor(at_once) as pool:
        return dict(zip(order, pool.map(one, order), strict=True))


def again(names: list[str], seed: int) -> int:
    """One case in this process; its exit code."""
    from bench.reliability.worker import case_of, ended, prepare

    home = Path(tempfile.mkdtemp(prefix="reliability-"))
    try:
        prepare(names[0], home)
        how = ended(case_of(names[0]), Ground(seed, home / str(seed), home))
    finally:
        shutil.rmtree(home, ignore_errors=True)
    print(json.dumps({"version": fasttangent.__version__, "seed": seed, **how}, indent=2))
    return int("failure" in how)
