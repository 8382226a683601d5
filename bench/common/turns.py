"""Contenders that take turns in one process.

A machine is not equally fast from one second to the next, so contenders are never timed one after the other:
in each of R rounds every contender gets its turn, the first one a different one each time, and ratios are
formed within a round before the median is taken.  What is to be equal is checked before `race` is called.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

LEAST_TURN = 0.05  # seconds: shorter calls are repeated within a turn
LONG = 0.5  # seconds: a call that long has warmed up, whatever it did first
PAUSE = 0.02  # seconds between turns, for threads of the one before that still spin


@dataclass
class Contender:
    """Something to time: `run` is called, or, with `seconds`, reports the seconds of its work itself.

    `share` is the part of the work that `run` does: a contender that is too slow gets fewer rows.  A contender
    with `gauge` returns a figure, larger being better, in place of a time.  `prepare` is called before each turn
    and is not timed.
    """

    run: Callable[[], object]
    share: float = 1.0
    reports_seconds: bool = False
    gauge: bool = False
    prepare: Callable[[], object] | None = None


def seconds_of(function: Callable[[], object], times: int = 1) -> float:
    """Seconds of one call."""
    start = time.perf_counter()
    for _ in range(times):
        function()
    return (time.perf_counter() - start) / times


def best_seconds(function: Callable[[], object], enough: float = 0.3) -> float:
    """The shortest of three calls, or of as many as take `enough` seconds, after one that does not count.

    For choosing a setting, not for a table.
    """
    function()
    taken: list[float] = []
    while len(taken) < 3 and sum(taken) < enough:
        taken.append(seconds_of(function))
    return min(taken)


def race(contenders: dict[str, Contender], budget: float = 10.0, rounds: tuple[int, int] = (3, 15)):
    """{name: (R,) figures}, seconds for all of the work or what a gauge shows; R is what the budget allows.

    Parameters
    ----------
    contenders : dict of str to Contender
    budget : float
        Seconds, within the limits of `rounds`; the warm-up is not counted.
    rounds : (int, int)
        The least and the largest R.
    """
    times, per_round = {}, 0.0
    for name, contender in contenders.items():
        taken = seconds_of(contender.run)  # compiles, allocates, fills caches
        if taken < LONG:
            taken = seconds_of(contender.run)
        times[name] = 1 if contender.gauge or contender.reports_seconds else int(np.ceil(LEAST_TURN / taken))
        per_round += times[name] * taken + PAUSE
    n_rounds = int(np.clip(budget / per_round, *rounds))
    figures: dict[str, list[float]] = {name: [] for name in contenders}
    names = list(contenders)
    for r in range(n_rounds):
        for name in names[r % len(names) :] + names[: r % len(names)]:
            time.sleep(PAUSE)
            figures[name].append(_turn(contenders[name], times[name]))
    return {name: np.array(values) for name, values in figures.items()}


def _turn(contender: Contender, times: int) -> float:
    if contender.prepare is not None:
        contender.prepare()
    if contender.gauge:
        return float(contender.run())
    if contender.reports_seconds:
        return float(contender.run()) / contender.share
    return seconds_of(contender.run, times) / contender.share


def summary(figures) -> dict[str, float]:
    """Median and quartiles of the figures of all rounds, and their number."""
    low, middle, high = np.percentile(figures, [25, 50, 75])
    return {"median": float(middle), "low": float(low), "high": float(high), "rounds": len(figures)}
