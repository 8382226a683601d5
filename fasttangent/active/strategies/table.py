"""All strategies, in the order in which they are listed, and what is said of them."""

from __future__ import annotations

from collections.abc import Iterable

from fasttangent.active.strategies import informing, scoring, spreading
from fasttangent.active.strategies.record import Strategy

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
