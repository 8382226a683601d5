"""What fidelity and its solvers measured, as Markdown."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path

import numpy as np

from bench.common.places import RESULTS
from bench.fidelity import solvers


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def table(path: Path) -> str:
    """One line per activation and strength: cases, trusted ones, and the worst correlations among those."""
    groups = defaultdict(list)
    for line in lines(path):
        _, _, strength, _, activation = line["case"]
        groups[activation, strength].append(line)
    rows = [
        "| activation | strength | cases | trusted | worst Spearman with the exact solve | with refitting "
        "| not trusted: with refitting |",
        "|---|---|---|---|---|---|---|",
    ]
    for (activation, strength), cases in sorted(groups.items()):
        trusted = [c for c in cases if c["trusted"]]
        others = sorted(c["refitted"] for c in cases if not c["trusted"] and c.get("refitted") is not None)
        rows.append(
            f"| {activation} | {strength:g} | {len(cases)} | {len(trusted)} | {_least(trusted, 'exact')} | "
            f"{_least(trusted, 'refitted')} | {', '.join(f'{x:.3f}' for x in others) or '-'} |"
        )
    return "\n".join(rows)


def _least(cases: list[dict], key: str) -> str:
    values = [c[key] for c in cases if c.get(key) is not None]
    missing = len(cases) - len(values)
    return (f"{min(values):.6f}" if values else "-") + (f" ({missing} not measured)" if missing else "")


def refits_table(path: Path) -> str:
    """One line per set, strength and kind of experiment; refits that jumped to another minimum are left out."""
    rows = [
        "| data | strength | experiment | refits | jumped | C: Pearson, Spearman, slope to first order | to second "
        "| 20 predictions: to first order | to second | seconds |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for line in json.loads(path.read_text()):
        cells = [
            line["set"],
            f"{line['strength']:g}",
            line["kind"],
            str(line["settled"]),
            str(line["jumped"]),
        ]
        for of in ("complexity", "predictions"):
            for order in (1, 2):
                found = line[f"{of} {order} stayed"]
                cells.append(
                    f"{_correlation(found['pearson'])}, {_correlation(found['spearman'])}, {found['slope']:.3f}"
                )
        rows.append("| " + " | ".join([*cells, f"{line['seconds']:.0f}"]) + " |")
    return "\n".join(rows)


def _correlation(r: float) -> str:
    """Six digits, and not rounded up to 1."""
    return "nan" if np.isnan(r) else f"{np.trunc(r * 1e6) / 1e6:.6f}"


def everything() -> str:
    """bench/FIDELITY.md."""
    parts = [
        "# How far scores are from exact influence and from refitting",
        "Written by `python -m bench fidelity table`.",
        "## Certificates",
        "500 rows of kin8nm, concrete and energy, 32-32 and 64-64, three seeds.  Spearman correlation of\n"
        "`Model.influence` (float32) with the exact solve over up to 2,000 candidates, and with refits for 40 of them.",
        table(RESULTS / "fidelity.jsonl"),
        "## Refits",
        "500 rows, 32-32.  Predicted changes against measured ones, of the complexity and of the predictions at 20\n"
        "points; without refits that jumped to another minimum.",
        refits_table(RESULTS / "refits.json"),
        "## Solvers",
        "500 rows, 32-32: relative difference from Cholesky with the same matrix.",
        solvers.markdown(json.loads((RESULTS / "solvers.json").read_text())),
    ]
    return "\n\n".join(parts)
