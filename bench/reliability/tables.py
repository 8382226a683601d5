"""The counts of runs that are kept, as a file of results and as Markdown."""

from __future__ import annotations

import json
import platform
import time
from pathlib import Path
from typing import Any

import fasttangent
from bench.common.markdown import markdown
from bench.common.places import RESULTS
from bench.reliability.counts import Counts, of_document
from bench.reliability.parts import PARTS

KEPT = RESULTS / "reliability.json"


def keep(path: Path, seed: int, found: dict[str, Counts]) -> None:
    """Add a run to a file of results."""
    runs = json.loads(path.read_text()) if path.exists() else []
    runs.append(
        {
            "date": time.strftime("%Y-%m-%d"),
            "version": fasttangent.__version__,
            "python": platform.python_version(),
            "seed": seed,
            "parts": {name: counts.document() for name, counts in found.items()},
        }
    )
    path.write_text(json.dumps(runs, indent=1) + "\n")


def line(name: str, counts: Counts) -> str:
    """A part in a line."""
    if counts.missing:
        return f"{name:14}{counts.missing}"
    ends = ", ".join(f"{n} {kind}" for kind, n in counts.kinds.most_common())
    return f"{name:14}{counts.cases} cases in {counts.seconds:.0f} s, {len(counts.failures)} failed ({ends})"


def everything() -> str:
    """bench/RELIABILITY.md."""
    runs = json.loads(KEPT.read_text()) if KEPT.exists() else []
    parts = [
        "# Reliability",
        "Written by `python -m bench reliability --table`.  Each case is random and hostile, made of a seed that\n"
        "repeats it: `python -m bench reliability PART --case SEED`.",
        markdown(
            [
                ["part", "what its cases are"],
                *([name, part.says] for name, part in PARTS.items() if part.share),
            ]
        ),
    ]
    for run in reversed(runs):
        parts += _run(run)
    return "\n\n".join(parts) + "\n"


def _run(run: dict[str, Any]) -> list[str]:
    rows, failed = [["part", "cases", "failed", "seconds", "how they ended"]], [["part", "seed", "failure"]]
    for name, document in run["parts"].items():
        counts = of_document(document)
        ends = "; ".join(f"{kind}: {n:,}" for kind, n in counts.kinds.most_common())
        n_failed, seconds = f"{len(counts.failures):,}", f"{counts.seconds:,.0f}"
        rows.append([name, f"{counts.cases:,}", n_failed, seconds, counts.missing or ends])
        failed += [[name, str(one.seed), one.kind] for one in counts.failures]
    title = f"## {run['date']}, version {run['version']}, Python {run['python']}, seed {run['seed']}"
    return [title, markdown(rows), *([markdown(failed)] if len(failed) > 1 else [])]
