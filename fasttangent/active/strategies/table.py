"""All strategies, in the order in which they are listed, and what is said of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import zip_longest
from textwrap import wrap
from typing import Any, TypeVar

from fasttangent.active.strategies import informing, scoring, spreading
from fasttangent.active.strategies.record import Strategy

Function = TypeVar("Function", bound=Callable[..., Any])

STRATEGIES: dict[str, Strategy] = {
    strategy.name: strategy for strategy in (*informing.FAMILY, *spreading.FAMILY, *scoring.FAMILY)
}
DEFAULT_STRATEGY = "error"  # chosen and tested by python -m bench active


def listed(words: Iterable[str], quote: bool = False) -> str:
    """Words as in a sentence: a, b and c."""
    *most, last = [repr(word) if quote else word for word in words]
    return f"{', '.join(most)} and {last}" if most else last


def help_of_strategies() -> str:
    """A few words on each strategy, those that share them together."""
    groups: dict[str, list[str]] = {}
    for strategy in STRATEGIES.values():
        groups.setdefault(strategy.help, []).append(strategy.name)
    return "; ".join(f"{', '.join(names)}: {words}" for words, names in groups.items()) + "."


def help_of_embeddings() -> str:
    """Which embedding a strategy uses by default."""
    groups: dict[str, list[str]] = {}
    for strategy in STRATEGIES.values():
        if strategy.embedding is not None:
            groups.setdefault(strategy.embedding, []).append(strategy.name)
    return ", ".join(f"{embedding} for {listed(names)}" for embedding, names in groups.items())


def with_table(function: Function) -> Function:
    """The function with the strategies in its docstring, in place of the line <strategies>."""
    if function.__doc__ is not None:  # python -OO
        table = "\n    ".join(_table())
        function.__doc__ = function.__doc__.replace("<strategies>", table)
    return function


def _table() -> list[str]:
    """Name, what it picks and source, as a table of reStructuredText."""
    widths = (12, 64, 34)
    rule = " ".join("=" * width for width in widths)
    head = ("strategy", "what it picks, greedily", "source; cost, n rows of D values")
    rows = [(f'"{s.name}"', s.what, s.source) for s in STRATEGIES.values()]
    lines = [rule, *_row(head, widths), rule]
    for row in rows:
        lines += _row(row, widths)
    return [*lines, rule]


def _row(cells: tuple[str, ...], widths: tuple[int, ...]) -> list[str]:
    wrapped = [wrap(cell, width) for cell, width in zip(cells, widths, strict=True)]
    lines = zip_longest(*wrapped, fillvalue="")
    return [
        " ".join(part.ljust(width) for part, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]
