"""What `command.py` measured, as Markdown."""

from __future__ import annotations

COLUMNS = (
    "contender",
    "seconds (quartiles)",
    "rounds",
    "its time over fasttangent's",
    "MB it needs",
    "MB of its process",
    "relative difference",
)


def markdown(results: dict) -> str:
    """Everything."""
    known = {}  # the same environment has the same versions
    for text in results["versions"].values():
        known[text] = None
    lines = [
        "# Exact curvature and influence beside peers",
        "",
        f"Written by `python -m bench exact`{', quick' if results['quick'] else ''}.  {results['processor']}; "
        f"{results['threads']} threads, float64; {results['wall_seconds']:.0f} s in all, "
        f"{results['cores_busy_elsewhere']:.1f} cores busy elsewhere meanwhile.",
        "",
        *(f"- {text}" for text in known),
        "",
        NOTES,
    ]
    for case in results["cases"]:
        lines += ["", *table(case)]
    return "\n".join(lines)


NOTES = """Every contender is a process of its own; they take turns.  Compilation is not timed; factorisations
are.  "MB it needs" is the height of its memory in its first call above what it had before, "MB of its process"
all of it at that height.  The relative difference is that from a reference made with JAX, in the 2-norm; it is
asserted to be at most 1e-9, before anything is timed, for methods that are exact, and is their error for those
marked *.  One round: slow, its first call is what is shown."""


def table(case: dict) -> list[str]:
    sizes = "-".join(map(str, case["sizes"]))
    return [
        f"## {case['title']}: {sizes}, p = {case['p']:,}, n = {case['n']:,}",
        "",
        "| " + " | ".join(COLUMNS) + " |",
        "|" + "---|" * len(COLUMNS),
        *("| " + " | ".join(row(name, figures)) + " |" for name, figures in case["figures"].items()),
    ]


def row(name: str, figures: dict) -> list[str]:
    if "needs_mb" in figures:
        return [
            name,
            f"not run: it would need {figures['needs_mb'] / 1024:,.0f} GB",
            *[""] * (len(COLUMNS) - 2),
        ]
    seconds = figures["seconds"]
    spread = f" ({number(seconds['low'])} to {number(seconds['high'])})" if seconds["rounds"] > 1 else ""
    share = f", {figures['share']} times one column in {figures['share']}" if figures["share"] > 1 else ""
    return [
        name + ("" if figures["exact"] else " *") + share,
        number(seconds["median"]) + spread,
        str(seconds["rounds"]),
        f"{figures['ratio']['median']:.2f}",
        f"{figures['mb']:,.0f}",
        f"{figures['process_mb']:,.0f}",
        f"{figures['difference']:.0e}",
    ]


def number(seconds: float) -> str:
    """Three digits."""
    return f"{seconds:.3g}" if seconds < 100 else f"{seconds:.0f}"
