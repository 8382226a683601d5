"""The two stages of a fit, one after the other, and the certificate of what they end with."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from fasttangent.common.words import AUTO
from fasttangent.model.certificate import Certificate, certify, unmeasured
from fasttangent.model.given_strengths import MOST_LABELS
from fasttangent.model.minibatch import train
from fasttangent.model.settling import settle
from fasttangent.model.settling_many import settle_many
from fasttangent.model.strengths import learned
from fasttangent.problem.streamed_problem import StreamedProblem

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fasttangent.model.settings import FitSettings
    from fasttangent.model.settling_state import Settling
    from fasttangent.model.strengths import Path
    from fasttangent.problem.curvature import System
    from fasttangent.problem.problem import Problem
    from fasttangent.problem.stored_rows import StoredRows
    from fasttangent.solvers.bracket import Bracket

    Float = NDArray[np.float64]


@dataclass
class Stages:
    """What two stages of training end with."""

    problem: Problem  # under the strength that was given, or learned
    theta: Float  # (p,)
    tangents: Float  # (K, p)
    stopped: str
    notes: tuple[str, ...]  # reasons for distrust that no measurement shows
    history: dict[str, list[float]]
    seconds: dict[str, float]  # "training_seconds", "settling_seconds"
    bracket: Bracket | None = None  # of the smallest curvature there, if settling found it
    deadline: float = np.inf  # of the budget of settling, which the certificate shares
    path: Path | None = None  # of strengths that were tried
    curvature_of: System | None = None  # whose the bracket is, if of a sample of the rows


def two_stages(
    problem: Problem,
    settings: FitSettings,
    start: tuple[Float, Float],
    rng: np.random.Generator,
    report: Callable[..., None],
    held_back: tuple[Float, Float, Float] | StoredRows | None,
) -> Stages:
    """Minibatch steps from `start`, parameters and zero tangents; then settling within the budget.

    A strength to be learned is learned in between, within the same budget.
    """
    clock = time.perf_counter
    began = clock()
    first = train(problem.shared, settings.schedule, start, np.dtype(settings.dtype), rng, report, held_back)
    seconds = {"training_seconds": clock() - began, "settling_seconds": 0.0}
    first.theta, first.tangents = problem.extended(first.theta), problem.extended(first.tangents)
    if first.stopped == "interrupted" or settings.budget == 0:
        notes = first.notes
        if first.stopped == "interrupted":
            notes = (*notes, "training was interrupted; fit again, and let it settle")
        at = (first.theta, first.tangents, first.stopped, notes, first.history)
        # the smallest curvature takes a hundred products, of so many rows longer than their training
        deadline = -np.inf if isinstance(problem, StreamedProblem) else np.inf
        return Stages(problem, *at, seconds, deadline=deadline)
    # A tangent lost in the first stage starts again from zero: settling solves for it.
    tangents = first.tangents if len(first.tangents) == len(start[1]) else problem.extended(start[1])
    began, theta, path = clock(), first.theta, None
    deadline = began + settings.budget
    if settings.strength == AUTO and problem.n_labels <= MOST_LABELS:
        problem, theta, path, stopped = learned(problem, theta, deadline, report)
        if stopped != "settled":
            notes = (
                f"the search for the strength ended early: {stopped}; settle longer, or give a strength",
            )
            seconds["settling_seconds"] = clock() - began
            return Stages(
                problem, theta, tangents, stopped, notes, first.history, seconds, None, deadline, path
            )
    seconds_left = deadline - clock()
    if isinstance(problem, StreamedProblem):
        try:
            second = settle_many(problem, theta, tangents, seconds_left, report)
        except KeyboardInterrupt:  # in the first pass, which takes seconds
            ended = "interrupted", ("settling ended early: interrupted",), first.history
            return Stages(problem, theta, tangents, *ended, seconds, deadline=-np.inf)
    else:
        second = settle(problem, theta, tangents, seconds_left, report)
    notes = notes_of(second)
    seconds["settling_seconds"] = clock() - began
    history = {**first.history, **second.history}
    return Stages(
        problem,
        second.theta,
        second.tangents,
        second.stopped,
        notes,
        history,
        seconds,
        second.bracket,
        deadline,
        path,
        second.curvature_of,
    )


def notes_of(found: Settling) -> tuple[str, ...]:
    """What a certificate has to say of how settling ended."""
    return () if found.stopped == "settled" else (f"settling ended early: {found.stopped}",)


def certified(run: Stages, again: str = "fit") -> Certificate:
    """The certificate of what the stages ended with; the run is marked when Ctrl-C leaves it unmeasured.

    `again` is what is to be called again then.
    """
    try:
        found = certify(
            run.problem,
            run.theta,
            run.tangents,
            run.notes,
            bracket=run.bracket,
            deadline=run.deadline,
            curvature_of=run.curvature_of,
        )
        return found if run.path is None else replace(found, strength_error=run.path.error)
    except KeyboardInterrupt:
        run.stopped = "interrupted"
        return unmeasured(f"the certificate was not measured, because of an interrupt; {again} again")
