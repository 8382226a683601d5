"""Put what the benchmarks measured where it is read.

    python -m bench settling FOLDER -o settling.md && python -m bench scoring > scoring.md
    python -m bench speed --data FOLDER -o bench/results/results.json
    python -m bench exact --peers PEERS --pydvl PYDVL -o bench/results/exact.json --markdown bench/EXACT.md
    python -m bench selection --python BMDAL/bin/python --output bench/results/selection.json > bench/SELECTION.md
    python -m bench render --settling settling.md --scoring scoring.md --speed bench/results/results.json \\
        --exact bench/results/exact.json --active bench/ACTIVE.md --selection bench/SELECTION.md

writes bench/RESULTS.md, all tables; bench/cost_curves.png; and the part of README.md between the two `measured`
comments, the rows and columns that decide.  A section whose file is not given stays as RESULTS.md has it, and
so does the table of speed in the README.  `--no-readme` leaves the README alone.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from bench.common import options
from bench.common.places import REPORTS, ROOT
from bench.speed import plots
from bench.speed import tables as tables_of_speed

RESULTS, CURVES = REPORTS / "RESULTS.md", REPORTS / "cost_curves.png"
START, END = "<!-- measured: written by bench/render.py -->", "<!-- end of measured -->"
SPEED_START, SPEED_END = "<!-- speed -->", "<!-- end of speed -->"
EXACT_START, EXACT_END = "<!-- exact -->", "<!-- end of exact -->"
ACTIVE_START, ACTIVE_END = "<!-- active -->", "<!-- end of active -->"
SELECTION_START, SELECTION_END = "<!-- selection -->", "<!-- end of selection -->"
TITLES = {"speed": "Speed", "settling": "Settling", "scoring": "Scoring"}


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


def sections(text: str) -> dict[str, str]:
    """The sections of RESULTS.md by title."""
    parts = re.split(r"^## (.+)\n", text, flags=re.MULTILINE)
    return {title: body.strip() for title, body in zip(parts[1::2], parts[2::2], strict=True)}


def between(text: str, start: str, end: str) -> str:
    """What stands between two marks; nothing where they are missing."""
    return text.split(start)[1].split(end)[0].strip() if start in text else ""


def speed(path: Path) -> tuple[str, str]:
    """The tables of RESULTS.md and the table of the README; draws the curves."""
    results = json.loads(path.read_text())
    text = tables_of_speed.all_tables(results)
    if "curves" in results:
        plots.cost_curves(results["curves"]["figures"], CURVES)
        text += f"\n\n### Cost curves\n\n![Rate and share of peak]({CURVES.name})\n\nBands are quartiles."
        text += tables_of_speed.caveats(results["curves"])
    return text, tables_of_speed.summary(results)


def exact(path: Path) -> str:
    """One line per task: seconds of everybody, and the memory of fasttangent."""
    lines = [
        "| work, float64 | parameters, rows | fasttangent | others, seconds |",
        "| --- | --- | --- | --- |",
    ]
    for case in json.loads(path.read_text())["cases"]:
        ours, *others = case["figures"].items()
        cells = [f"{ours[1]['seconds']['median']:.2g} s, {ours[1]['mb']:.0f} MB"]
        cells.append("; ".join(_seconds(name, figures) for name, figures in others if "seconds" in figures))
        lines.append(f"| {case['title']} | {case['p']:,}, {case['n']:,} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _seconds(name: str, figures: dict) -> str:
    notes = ["extrapolated"] if figures["share"] > 1 else []
    if figures["difference"] > 1e-9:
        notes.append(f"off by {figures['difference']:.0e}")
    return f"{name}: {figures['seconds']['median']:.3g}" + (f" ({', '.join(notes)})" if notes else "")


def active(path: Path) -> str:
    """The declared hypotheses, and what each method gains, without what the README has no room for."""
    text = path.read_text()
    blocks = re.findall(r"(?:^\|.*\n)+", text, flags=re.MULTILINE)
    methods = [line.split("|")[1:-1] for line in blocks[1].splitlines()]
    narrow = ["|" + "|".join([*row[:5], *row[6:7]]) + "|" for row in methods]
    control = next(line for line in text.splitlines() if line.startswith("Control:"))
    return "\n".join([blocks[0].rstrip(), "", control, "", *narrow])


def replaced(readme: str, start: str, end: str, new: str) -> str:
    """The README with another text between two marks."""
    before, rest = readme.split(start)
    return f"{before}{start}\n\n{new}\n\n{end}{rest.split(end)[1]}"


def measured(readme: str, found: dict[str, str], speed_table: str) -> str:
    """The README with what was measured."""
    lines = []
    if speed_table:
        lines += [SPEED_START, "", speed_table, "", SPEED_END, ""]
    if "Settling" in found:
        lines += [*settling_summary(found["Settling"]), ""]
    if "Scoring" in found:
        lines += [found["Scoring"][found["Scoring"].index("|") :], ""]
    before, rest = readme.split(START)
    return before + "\n".join([START, "", *lines, END]) + rest.split(END)[1]


def main() -> None:
    parser = options.parser(__doc__)
    parser.add_argument("--settling", type=Path, metavar="FILE", help="what settling.py wrote")
    parser.add_argument("--scoring", type=Path, metavar="FILE", help="what scoring.py printed")
    parser.add_argument("--speed", type=Path, metavar="FILE", help="what run.py wrote")
    parser.add_argument("--exact", type=Path, metavar="FILE", help="what exact.py wrote")
    parser.add_argument("--active", type=Path, metavar="FILE", help="what active.py table printed")
    parser.add_argument("--selection", type=Path, metavar="FILE", help="the table that selection.py printed")
    parser.add_argument("--no-readme", action="store_true")
    chosen = parser.parse_args()
    found = sections(RESULTS.read_text()) if RESULTS.exists() else {}
    readme = (ROOT / "README.md").read_text()
    speed_table = between(readme, SPEED_START, SPEED_END)
    if chosen.speed:
        found[TITLES["speed"]], speed_table = speed(chosen.speed)
    for name in ("settling", "scoring"):
        if path := getattr(chosen, name):
            found[TITLES[name]] = path.read_text().strip()
    body = "\n\n".join(f"## {title}\n\n{found[title]}" for title in TITLES.values() if title in found)
    RESULTS.write_text(f"# Results\n\nWritten by `python -m bench render`.\n\n{body}\n")
    if not chosen.no_readme:
        readme = measured(readme, found, speed_table)
        if chosen.exact:
            readme = replaced(readme, EXACT_START, EXACT_END, exact(chosen.exact))
        if chosen.active:
            readme = replaced(readme, ACTIVE_START, ACTIVE_END, active(chosen.active))
        if chosen.selection:
            readme = replaced(readme, SELECTION_START, SELECTION_END, chosen.selection.read_text().strip())
        (ROOT / "README.md").write_text(readme)
