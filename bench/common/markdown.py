"""Tables."""

from __future__ import annotations


def markdown(rows: list[list[str]]) -> str:
    """A Markdown table; the first row is its header."""
    head, *body = rows
    return "\n".join("| " + " | ".join(row) + " |" for row in [head, ["---"] * len(head), *body])
