"""Settling a model again: on other rows, under another strength, or one that was trained elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from fasttangent.common import checks
from fasttangent.common.progress import reporting
from fasttangent.model.model import Model
from fasttangent.model.prepared import mean_slope_squared
from fasttangent.model.prepared_many import many
from fasttangent.model.settling import settle as settled
from fasttangent.model.settling_many import settle_many
from fasttangent.model.stages import Stages, certified, notes_of
from fasttangent.problem.problem import Problem
from fasttangent.problem.stored_rows import StoredRows
from fasttangent.problem.streamed_problem import StreamedProblem


def settle(
    model: Model,
    X: Any,
    y: Any,
    *,
    sample_weight: Any = None,
    users: Any = None,
    strength: float | None = None,
    seconds: float | None = None,
    threads: int | None = None,
    progress: bool | Callable[..., None] = False,
) -> Model:
    """Take a model to a minimum of its objective on labelled rows, from where it stands; tangent and certificate too.

    For a model from elsewhere (`from_arrays`, `from_torch`, `from_sklearn`), one of which the first stage alone was
    run, or a further strength.  Its scaling stays, so that the objective is the one it was trained under;
    `fit(start=model)` standardises anew and runs the first stage.

    Parameters
    ----------
    model : Model
        Not changed.
    X : array_like of shape (n, n_features), or Pool
        Many rows are read in blocks, as by `fit`.
    y : array_like of shape (n,) or (n, n_outputs), str or int
    sample_weight : array_like of shape (n,), optional
    users : array_like of shape (n,), optional
        Whose rows they are, of a model with users.
    strength : float, optional
        > 0.  Default: the model's; of several groups the geometric mean, their ratios stay.
    seconds : float, optional
        At most so long; the certificate says if that was too little.  Default: as long as it takes.
    threads : int, optional
        Default: the model's.
    progress : bool or callable
        As for `fit`.

    Returns
    -------
    Model
        With ``tangents["strength"]``; other tangents of the old one are gone.

    Raises
    ------
    ValueError
        If rows do not fit the model, or an argument is not as described.

    Examples
    --------
    >>> import numpy as np
    >>> import fasttangent as ft
    >>> rng = np.random.default_rng(0)
    >>> X = rng.uniform(-1, 1, (100, 2))
    >>> y = np.sin(3 * X[:, 0]) + 0.1 * rng.normal(size=100)
    >>> first = ft.fit(X, y, hidden=(8,), strength=1e-2, settle=False)
    >>> model = ft.settle(first, X, y)
    >>> first.certificate.trusted, model.certificate.trusted
    (False, True)
    """
    budget = np.inf if seconds is None else checks.number("seconds", seconds, above=0)
    if strength is not None:
        model = _under(model, checks.number("strength", strength, above=0))
    problem, began = _problem(model, X, y, sample_weight, users, threads), time.perf_counter()
    with reporting(progress) as report:
        start = np.zeros((1, len(model.params)))
        if isinstance(problem, StreamedProblem):
            found = settle_many(problem, model.params, start, budget, report)
        else:
            found = settled(problem, model.params, start, budget, report)
        ended = (found.theta, found.tangents, found.stopped, notes_of(found), found.history)
        run = Stages(
            problem,
            *ended,
            seconds={},
            bracket=found.bracket,
            deadline=began + budget,
            curvature_of=found.curvature_of,
        )
        certificate = certified(run, "settle")
    return replace(
        model,
        params=found.theta,
        tangents={"strength": found.tangents[0]},
        certificate=certificate,
        slope_squared=mean_slope_squared(problem, found.theta),
        interrupted=run.stopped == "interrupted",
        noise=np.nan,
        training={
            "rows": problem.n_learned,
            "stopped": run.stopped,
            "settling_seconds": time.perf_counter() - began,
        },
        history={name: np.array(values) for name, values in found.history.items() if len(values)},
    )


def _problem(
    model: Model, X: Any, y: Any, sample_weight: Any, users: Any, threads: int | None
) -> Problem | StreamedProblem:
    """Of the rows in memory, or of many rows where they are."""
    if model.users is None:
        rows, labels = model.labelled_rows(X, y)
        if isinstance(rows, np.ndarray) and many(len(rows), model.network):
            checks.finite("X", rows)
            w = checks.row_weights("sample_weight", sample_weight, len(rows))
            n_threads = checks.thread_count(model.threads if threads is None else threads)
            stored = StoredRows(rows, labels, w, model.scaling)
            return StreamedProblem(model.network, model.objective, stored, n_threads)
        if isinstance(rows, np.ndarray):  # of a pool they are read already
            X, y = rows, labels
    return model.problem(X, y, sample_weight, users=users, threads=threads)


def _under(model: Model, strength: float) -> Model:
    objective, settings = replace(model.objective, strength=strength), model.settings
    if settings is not None:
        by_group = objective.by_group(model.network, model.feature_names)
        settings = replace(settings, strength=by_group if objective.ratios or objective.users else strength)
    return replace(model, objective=objective, settings=settings)
