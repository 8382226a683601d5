"""All measurements of speed, into one JSON file.

    python -m bench speed [--data FOLDER] [--quick] [--only SECTION ...] [-o bench/results/results.json]

Sections: scoring, training, settling (needs the folder with kin8nm.csv.gz), mapped, many, curves.  Those that
are not chosen stay in the file as they are.  A full run takes about ten minutes, a quick one two.
`python -m bench render --speed bench/results/results.json` makes tables and plots of it.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import inspect
import json
import sys
import time
from pathlib import Path

from bench.common import options
from bench.common.machine import processor, seconds_of_others
from bench.common.places import RESULTS

SECTIONS = ("scoring", "training", "settling", "mapped", "many", "curves")
PACKAGES = ("numpy", "numba", "scipy", "jax", "torch", "scikit-learn")


def measure(section: str, quick: bool, data: Path | None):
    """The figures of a section."""
    function = importlib.import_module(f"bench.speed.{section}").measure_all
    given = {"folder": data} if "folder" in inspect.signature(function).parameters else {}
    return function(quick=quick, **given)


def versions() -> dict[str, str]:
    import fasttangent

    installed = {d.metadata["Name"].lower() for d in importlib.metadata.distributions()}
    found = {name: importlib.metadata.version(name) for name in PACKAGES if name in installed}
    return {"fasttangent": fasttangent.__version__, **found}


def main() -> None:
    parser = options.parser(__doc__)
    parser.add_argument("--data", type=Path, help="folder with kin8nm.csv.gz, for settling")
    parser.add_argument("--quick", action="store_true", help="fewer cases, rows and rounds")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=SECTIONS)
    parser.add_argument("-o", "--output", type=Path, default=RESULTS / "results.json")
    chosen = parser.parse_args()
    results = json.loads(chosen.output.read_text()) if chosen.output.exists() else {}
    results |= {"processor": processor(), "versions": versions()}
    for section in chosen.only:
        if section == "settling" and chosen.data is None:
            print("settling: left out, it needs --data", file=sys.stderr)
            continue
        start, others = time.perf_counter(), seconds_of_others()
        figures = measure(section, chosen.quick, chosen.data)
        elsewhere = (seconds_of_others() - others) / (time.perf_counter() - start)
        results[section] = {
            "quick": chosen.quick,
            "cores_busy_elsewhere": elsewhere,
            "figures": figures,
        }
        chosen.output.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
        print(f"{section}: {time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)
