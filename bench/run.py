"""All measurements of speed, into one JSON file.

    python bench/run.py [--data FOLDER] [--quick] [--only SECTION ...] [-o bench/results.json]

Sections: scoring, training, settling (needs the folder with kin8nm.csv.gz), mapped, many, curves.  Those that
are not chosen stay in the file as they are.  A full run takes about ten minutes, a quick one two.
`python bench/render.py --speed bench/results.json` makes tables and plots of it.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import inspect
import json
import os
import sys
import time
from pathlib import Path

SECTIONS = ("scoring", "training", "settling", "mapped", "many", "curves")
PACKAGES = ("numpy", "numba", "scipy", "jax", "torch", "scikit-learn")


def measure(section: str, quick: bool, data: Path | None):
    """The figures of a section."""
    function = importlib.import_module(f"speed_{section}").measure_all
    given = {"folder": data} if "folder" in inspect.signature(function).parameters else {}
    return function(quick=quick, **given)


def processor() -> str:
    """Its name (Linux), and the number of cores."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        name = "unknown processor"
    return f"{name}, {os.cpu_count()} cores"


def seconds_of_others() -> float:
    """Processor time since the start that went to other processes or to other machines (Linux; elsewhere 0)."""
    try:
        user, nice, system, _, _, *interrupts = Path("/proc/stat").read_text().splitlines()[0].split()[1:9]
    except OSError:
        return 0.0
    ticks = sum(map(int, (user, nice, system, *interrupts)))
    return ticks / os.sysconf("SC_CLK_TCK") - sum(os.times()[:4])


def versions() -> dict[str, str]:
    import fasttangent

    found = {name: importlib.metadata.version(name) for name in PACKAGES}
    return {"fasttangent": fasttangent.__version__, **found}


def print_section(function) -> None:
    """What a section prints when it is run by itself."""
    parser = argparse.ArgumentParser(
        description=sys.modules["__main__"].__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    if "folder" in inspect.signature(function).parameters:
        parser.add_argument("folder", type=Path)
    parser.add_argument("--quick", action="store_true")
    print(json.dumps(function(**vars(parser.parse_args())), indent=1))


def main() -> None:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("--data", type=Path, help="folder with kin8nm.csv.gz, for settling")
    parser.add_argument("--quick", action="store_true", help="fewer cases, rows and rounds")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=SECTIONS)
    parser.add_argument("-o", "--output", type=Path, default=Path(__file__).parent / "results.json")
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


if __name__ == "__main__":
    main()
