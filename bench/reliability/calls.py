"""Calls of the library with good and bad arguments: an answer that is right, or an error that names an argument."""

from __future__ import annotations

from bench.reliability import fits, scorings
from bench.reliability.case import Ground


def case(ground: Ground) -> str:
    kind = ground.seed % 3
    if kind == 0:
        return fits.fit(ground)
    return scorings.score(ground) if kind == 1 else scorings.select(ground)
