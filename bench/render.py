"""Put what the benchmarks printed where it is read.

    python bench/settling.py FOLDER -o settling.md && python bench/scoring.py > scoring.md
    python bench/render.py settling.md scoring.md

writes bench/RESULTS.md, all tables, and the part of README.md between the two `measured` comments, the rows and
columns that decide.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
START, END = "<!-- measured: written by bench/render.py -->", "<!-- end of measured -->"


def tables(text: str) -> list[list[dict[str, str]]]:
    """The Markdown tables of a text, each a list of {column: cell}."""
    found: list[list[dict[str, str]]] = []
    header: list[str] = []
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if not line.startswith("|"):
            header = []
        elif not header:
            header = cells
            found.append([])
        elif set(line) - set("|- "):
            found[-1].append(dict(zip(header, cells, strict=True)))
    return found


def median(cell: str) -> str:
    """A cell without the range in brackets behind it."""
    return cell.split(" (")[0]


def settling_summary(text: str) -> list[str]:
    """One line per case: what settling costs and what it changes."""
    certificates, correlations, _ = tables(text)
    settled = [row for row in certificates if row["stage"] == "settled"]
    lines = [
        "| data, 500 rows | hidden | strength | seconds to settle | gradient norm | tangent residual | trusted | "
        "Adam alone vs settled | settled from SGD vs from Adam |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row, other in zip(settled, correlations, strict=True):
        adam = next(value for name, value in other.items() if name.startswith("adam"))
        cells = [row["data"], row["hidden"], row["strength"]]
        cells += [median(row[name]) for name in ("seconds", "gradient norm", "tangent residual")]
        cells += [row["trusted"], median(adam), median(other["settled from sgd vs from adam"])]
        lines.append("| " + " | ".join(cells) + " |")
    return [
        *lines,
        "",
        "The last two columns are Spearman correlations of |sensitivity| over all rows left, at most 2,000.",
    ]


def main(settling: str, scoring: str) -> None:
    settled, scored = Path(settling).read_text().strip(), Path(scoring).read_text().strip()
    (ROOT / "bench" / "RESULTS.md").write_text(
        f"# Results\n\nWritten by `bench/render.py`.\n\n## Settling\n\n{settled}\n\n## Scoring\n\n{scored}\n"
    )
    table = scored[scored.index("|") :]
    measured = "\n".join([START, "", *settling_summary(settled), "", table, "", END])
    readme = (ROOT / "README.md").read_text()
    before, rest = readme.split(START)
    (ROOT / "README.md").write_text(before + measured + rest.split(END)[1])


if __name__ == "__main__":
    main(*sys.argv[1:])
