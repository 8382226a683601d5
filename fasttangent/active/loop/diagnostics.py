"""Figures of a campaign of active learning: will it help, are batches redundant, do scores find errors, is it done."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fasttangent.common.errors import DivergenceError
from fasttangent.common.vectors import root_mean_square
from fasttangent.common.warning import warn
from fasttangent.influence.agreement import agreement
from fasttangent.model.fit import fit
from fasttangent.model.prepared import prepare
from fasttangent.model.scores import carries

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fasttangent.model.model import Model

    Float = NDArray[np.float64]

FOLDS = 5
HEAVY = 1.5  # ratio of RMSE to MAE; 1.25 for normal errors, 1.41 for Laplace's
DRAWS = 4  # random batches that a batch is compared with


def errors(predictions: Any, labels: Any) -> tuple[float, float]:
    """Root mean square and mean absolute difference, over all outputs; (nan, nan) of nothing."""
    difference = np.asarray(predictions, np.float64) - np.asarray(labels, np.float64)
    if difference.size == 0:
        return math.nan, math.nan
    return float(root_mean_square(difference)), float(np.mean(abs(difference)))


def outlook(X: NDArray, y: NDArray, settings: Mapping[str, Any], seed: int) -> dict[str, float] | None:
    """RMSE, MAE and their ratio by cross-validation of first-stage fits; None with less than two rows per fold.

    A ratio well above 1.25, that of normal errors, says that few rows make most of the error: those are there to be
    found (Holzmueller et al., JMLR 2023: over 15 data sets the initial ratio explains how much active learning helps,
    R^2 0.76).  Out of sample, because a model that interpolates has no errors where it was fitted.  None, too, where a
    fold leaves rows that cannot be fitted, and, with a warning, where a fit of a fold diverges: a figure less, not the
    end of a campaign.
    """
    if len(X) < 2 * FOLDS:
        return None
    fold = np.random.default_rng(seed).permutation(np.arange(len(X)) % FOLDS)
    first_stage = {**settings, "settle": False, "tangents": None}
    if not all(_can_be_fitted(X[fold != i], y[fold != i], first_stage) for i in range(FOLDS)):
        return None
    predictions = np.empty(y.shape)
    for i in range(FOLDS):
        try:
            model = fit(X[fold != i], y[fold != i], **first_stage)
        except DivergenceError as error:
            warn(
                f"there is no outlook, since a fit to {FOLDS - 1} of {FOLDS} parts of the labels diverged: {error}"
            )
            return None
        if model.interrupted:
            raise KeyboardInterrupt
        predictions[fold == i] = model.predict(X[fold == i])
    rmse, mae = errors(predictions, y)
    return {"rmse": rmse, "mae": mae, "ratio": rmse / mae if mae > 0 else math.nan}


def _can_be_fitted(X: NDArray, y: NDArray, settings: Mapping[str, Any]) -> bool:
    """Whether `fit` takes these rows: labels may be all the same, or too few rows be left for validation."""
    try:
        prepare(X, y, **settings)
    except ValueError:
        return False
    return True


def expected_change(model: Model, X: NDArray) -> float:
    """sqrt(mean curiosity) / (n C): by how much, relatively, one more label is expected to change the complexity C.

    n is the number of rows the model was fitted on; curiosity is the expected squared change of C per squared unit
    of eps, and one row among n has eps = 1/n.  nan where there is no tangent or no complexity.
    """
    mask = model.objective.mask(model.network)
    complexity = 0.5 * float(np.mean([np.sum(mask * one.params**2) for one in model.models]))
    if not carries(model, "strength") or complexity == 0:
        return math.nan
    return math.sqrt(float(np.mean(model.curiosity(X)))) / (model.models[0].training["rows"] * complexity)


def redundancy(Z: Float, others: Float, seed: int) -> float:
    """Mean distance to the nearest neighbour within a batch Z (k, D), over that within random batches of k `others`.

    1: like random rows; near 0: the batch is full of near copies.  nan where there is nothing to compare.
    """
    k = len(Z)
    if not 2 <= k <= len(others):
        return math.nan
    rng = np.random.default_rng(seed)
    chance = np.mean([_nearest(others[rng.choice(len(others), k, replace=False)]) for _ in range(DRAWS)])
    return float(_nearest(Z) / chance) if chance > 0 else math.nan


def _nearest(Z: Float) -> float:
    from scipy.spatial import KDTree

    return float(np.mean(KDTree(Z).query(Z, k=2)[0][:, 1]))


def finds_errors(scores: Any, predictions: Any, labels: Any) -> float:
    """Spearman correlation of the scores of picked rows with their errors before they were learned."""
    scores = np.asarray(scores, np.float64)
    difference = np.asarray(predictions, np.float64) - np.asarray(labels, np.float64)
    size = root_mean_square(difference.reshape(len(difference), -1), axis=1)
    found = agreement(scores, size)
    return found.spearman if found.n >= 3 else math.nan


def enough(
    history: Sequence[Mapping[str, Any]], patience: int | None, min_gain: float, min_change: float | None
) -> str | None:
    """Why to stop, by the figures of the rounds so far; None: go on.

    The error is that on the test set, or else that on each batch before it was learned.  Its root mean square over
    the last `patience` rounds is compared with that over as many before: one round says little.
    """
    if min_change is not None and history:
        change = history[-1]["expected_change"]
        if change is not None and change < min_change:
            return f"one more label is expected to change the complexity by {change:.2g} of it, below {min_change:g}"
    if patience is not None:
        which = "test_rmse" if any(h["test_rmse"] is not None for h in history) else "batch_rmse"
        values = [h[which] for h in history if h[which] is not None]
        if len(values) >= 2 * patience:
            before, after = (
                float(root_mean_square(np.array(part, np.float64)))
                for part in (values[-2 * patience : -patience], values[-patience:])
            )
            if after > (1 - min_gain) * before:
                what = "the test error" if which == "test_rmse" else "the error on new batches"
                return f"{what} did not fall over {patience} rounds ({before:.4g}, then {after:.4g})"
    return None
