"""Losses to learn from: those of a model on rows, and those of models that have not seen the row."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from fasttangent.common import checks, forked
from fasttangent.model.labelled import Labelled
from fasttangent.model.prepared import Prepared
from fasttangent.model.scores import outputs_of_rows
from fasttangent.model.settings import SETTINGS, FitSettings

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fasttangent.model.model import Model

    Float = NDArray[np.float64]

SHARED = (
    "loss",
    "delta",
    "complexity",
    "standardize",
    "dtype",
    "tangents",
    "samples",
    "curvature",
    "members",
)
FOLDS_MAY = tuple(name for name in SETTINGS if name not in SHARED)  # differ from the model


def losses_of(model: Model, rows: NDArray, Y: NDArray) -> Float:
    """The loss of each row, in the units of the model's objective, summed over outputs."""
    return standard_losses(model, model.predict(rows).reshape(len(rows), -1), Y)


def standard_losses(model: Model, predictions: NDArray, Y: NDArray) -> Float:
    """The losses of predictions (n, n_outputs) in units of y, as the model's objective counts them."""
    from fasttangent.kernels.learning_loss import row_losses

    float64 = np.dtype(np.float64)
    f, losses = model.scaling.targets(predictions, float64), np.empty(len(Y))
    row_losses(losses, f, model.scaling.targets(Y, float64), model.objective.kernel_loss)
    return losses


def cross_fitted_losses(
    model: Model,
    data: Labelled,
    parts: list[NDArray[np.int64]],
    threads: int,
    differing: Mapping[str, Any] = MappingProxyType({}),
) -> Float:
    """The loss of each row under a network of the same settings that was trained without the row's part."""
    runs = prepared_folds(model, data, parts, differing)

    def fold(k: int, heed: Callable[..., None]) -> Float:
        one, none = runs[k], np.empty((0, model.network.layout.n_params))
        found = outputs_of_rows(
            one.network, one.scaling, trained(one, heed), none, data.X[parts[k]], one.kind, 1
        )
        return one.scaling.predictions(found.f)

    work = len(data.X) * model.network.layout.n_params
    side_by_side = forked.mapping(len(parts), threads, work, ("fold", model.dtype))
    predictions = np.empty(data.Y.shape)
    for part, found in zip(parts, side_by_side(fold, len(parts), threads), strict=True):
        predictions[part] = found
    return standard_losses(model, predictions, data.Y)


def fold_numbers(n: int, folds: Any, rng: np.random.Generator) -> list[NDArray[np.int64]]:
    """Row numbers of each fold."""
    folds = checks.integer("folds", folds, at_least=2)
    if folds > n // 2:
        raise ValueError(f"folds must be at most {n // 2}, half the rows, got {folds}")
    return [np.sort(part) for part in np.array_split(rng.permutation(n), folds)]


def prepared_folds(
    model: Model,
    data: Labelled,
    parts: list[NDArray[np.int64]],
    differing: Mapping[str, Any] = MappingProxyType({}),
) -> list[Prepared]:
    """For each fold the fit of all other rows, checked and not yet run.

    A column that varies in all rows together may be constant in some folds: nobody is warned.
    """
    settings = replace(settings_of(model, data.names), **differing)
    every, found = np.arange(len(data.X)), []
    for k, part in enumerate(parts):
        others = np.setdiff1d(every, part)
        try:
            found.append(Prepared(settings, data.some(others), None, threads=1))
        except ValueError as error:
            raise ValueError(f"without the rows of fold {k}, {error}") from None
    return found


def trained(one: Prepared, report: Callable[..., None]) -> Float:
    """Parameters after both stages of a fit, without the certificate, which takes longer than the first of them."""
    run = one.train(one.problem(), 0, report)
    if run.stopped == "interrupted":
        raise KeyboardInterrupt
    return run.theta


def settings_of(model: Model, names: Sequence[str] | None) -> FitSettings:
    """Those of another model like this one, under its strengths, without tangents, and settled where this one is.

    `names` are those of the columns of its rows.
    """
    if model.settings is None:
        raise ValueError(
            "folds needs a model that knows how it was trained, got one not made by fit; pass folds=None and rows "
            "that it was not fitted on"
        )
    training = model.training
    settle = True if training.get("stopped") == "settled" else training.get("settling_seconds", 0.0)
    objective = model.objective
    strength = objective.by_group(model.network, names) if objective.ratios else objective.strength
    return replace(model.settings, strength=strength, tangents=(), settle=settle)
