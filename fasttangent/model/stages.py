"""The two stages of a fit, one after the other, and the certificate of what they end with."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fasttangent.model.certificate import Certificate, certify, unmeasured
from fasttangent.model.minibatch import train
from fasttangent.model.settling import settle

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fasttangent.model.settings import FitSettings
    from fasttangent.problem.problem import Problem
    from fasttangent.solvers.bracket import Bracket

    Float = NDArray[np.float64]


@dataclass
class Stages:
    """What two stages of training end with."""

    theta: Float  # (p,)
    tangents: Float  # (K, p)
    stopped: str
    notes: tuple[str, ...]  # reasons for distrust that no measurement shows
    history: dict[str, list[float]]
    seconds: dict[str, float]  # "training_seconds", "settling_seconds"
    bracket: Bracket | None = None  # of the smallest curvature there, if settling found it
    deadline: float = np.inf  # of the budget of settling, which the certificate shares


def two_stages(
    problem: Problem,
    settings: FitSettings,
    start: tuple[Float, Float],
    rng: np.random.Generator,
    report: Callable[..., None],
    held_back: tuple[Float, Float, Float],
) -> Stages:
    """Minibatch steps from `start`, parameters and zero tangents; then settling within the budget."""
    clock = time.perf_counter
    began = clock()
    first = train(problem, settings.schedule, start, np.dtype(settings.dtype), rng, report, held_back)
    seconds = {"training_seconds": clock() - began, "settling_seconds": 0.0}
    if first.stopped == "interrupted" or settings.budget == 0:
        notes = first.notes
        if first.stopped == "interrupted":
            notes = (*notes, "training was interrupted; fit again, and let it settle")
        return Stages(first.theta, first.tangents, first.stopped, notes, first.history, seconds)
    # A tangent lost in the first stage starts again from zero: settling solves for it.
    tangents = first.tangents if len(first.tangents) == len(start[1]) else start[1]
    began = clock()
    second = settle(problem, first.theta, tangents, settings.budget, report)
    notes = () if second.stopped == "settled" else (f"settling ended early: {second.stopped}",)
    seconds["settling_seconds"] = clock() - began
    history = {**first.history, **second.history}
    return Stages(
        second.theta,
        second.tangents,
        second.stopped,
        notes,
        history,
        seconds,
        second.bracket,
        began + settings.budget,
    )


def certified(problem: Problem, run: Stages) -> Certificate:
    """The certificate of what the stages ended with."""
    try:
        return certify(
            problem, run.theta, run.tangents, run.notes, bracket=run.bracket, deadline=run.deadline
        )
    except KeyboardInterrupt:
        return unmeasured("the certificate was not measured, because of an interrupt; fit again")
