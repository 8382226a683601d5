"""Losses to learn from: those of a model on rows, and those of models that have not seen the row."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from fasttangent.common import checks, parallel
from fasttangent.model.fit import Prepared, _two_stages
from fasttangent.model.fit_many import prepared
from fasttangent.model.scores import outputs_of_rows
from fasttangent.problem.problem import Problem

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fasttangent.model.model import Model

    Float = NDArray[np.float64]

FOLDS_MAY = (
    "hidden",
    "activation",
    "strength",
    "optimizer",
    "learning_rate",
    "momentum",
    "epochs",
    "batch_size",
    "settle",
    "validation",
    "patience",
    "seed",
)


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
    rows: NDArray,
    Y: NDArray,
    folds: Any,
    rng: np.random.Generator,
    threads: int,
    differing: Mapping[str, Any] = MappingProxyType({}),
) -> Float:
    """The loss of each row under a network of the same settings that was trained without the row's fold."""
    parts = fold_numbers(len(rows), folds, rng)
    runs, predictions = prepared_folds(model, rows, Y, parts, differing), np.empty(Y.shape)

    failed: list[BaseException] = []

    def heed(*_: Any, **__: Any) -> None:
        if failed:  # Ctrl-C reaches the caller's thread only, and from here the others
            raise KeyboardInterrupt

    def task(k: int) -> None:
        try:
            theta, none = trained(runs[k], heed), np.empty((0, model.network.layout.n_params))
        except BaseException as error:
            failed.append(error)
            raise
        network, scaling, kind = runs[k].network, runs[k].scaling, runs[k].kind
        found = outputs_of_rows(network, scaling, theta, none, rows[parts[k]], kind, 1)
        predictions[parts[k]] = scaling.predictions(found.f)

    try:
        parallel.run(task, len(parts), threads)
    except BaseException:
        raise (failed or [KeyboardInterrupt()])[0] from None
    return standard_losses(model, predictions, Y)


def fold_numbers(n: int, folds: Any, rng: np.random.Generator) -> list[NDArray[np.int64]]:
    """Row numbers of each fold."""
    folds = checks.integer("folds", folds, at_least=2)
    if folds > n // 2:
        raise ValueError(f"folds must be at most {n // 2}, half the rows, got {folds}")
    return [np.sort(part) for part in np.array_split(rng.permutation(n), folds)]


def prepared_folds(
    model: Model,
    rows: NDArray,
    Y: NDArray,
    parts: list[NDArray[np.int64]],
    differing: Mapping[str, Any] = MappingProxyType({}),
) -> list[Prepared]:
    """For each fold the fit of all other rows, checked and not yet run."""
    every, settings, found = np.arange(len(rows)), {**settings_of(model), **differing}, []
    with warnings.catch_warnings():  # a column that varies in all rows together may be constant in four folds
        warnings.filterwarnings("ignore", "X is constant in column", UserWarning)
        for k, part in enumerate(parts):
            others = np.setdiff1d(every, part)
            try:
                found.append(prepared(rows[others], Y[others], **settings))
            except ValueError as error:
                raise ValueError(f"without the rows of fold {k}, {error}") from None
    return found


def trained(one: Prepared, report: Callable[..., None]) -> Float:
    """Parameters after both stages of a fit, without the certificate, which takes longer than the first of them."""
    problem = Problem(one.network, one.objective, *one._standard(one.keep), 1)
    start = one._first_params(), np.empty((0, one.network.layout.n_params))
    held_back = one._standard(one.held_back)
    run = _two_stages(problem, one.schedule, start, one.kind, one.rng, one.budget, report, held_back)
    if run.stopped == "interrupted":
        raise KeyboardInterrupt
    return run.theta


def settings_of(model: Model) -> dict[str, Any]:
    """The arguments of `fit` for another model like this one, without tangents, and settled where this one is."""
    training = model.training
    if "epochs" not in training:
        raise ValueError(
            "folds needs a model that knows how it was trained, got one not made by fit; pass folds=None and rows "
            "that it was not fitted on"
        )
    scaling = model.scaling
    standard = not (
        np.all(scaling.x_scale == 1) and np.all(scaling.y_scale == 1) and not scaling.x_mean.any()
    )
    names = (
        "optimizer",
        "learning_rate",
        "momentum",
        "epochs",
        "batch_size",
        "validation",
        "patience",
        "seed",
    )
    return {
        "hidden": model.network.sizes[1:-1],
        "activation": model.network.activation,
        "loss": model.objective.loss,
        "delta": model.objective.delta,
        "strength": model.objective.strength,
        "complexity": model.objective.complexity,
        "standardize": standard,
        "dtype": model.dtype,
        "tangents": None,
        "settle": True if training.get("stopped") == "settled" else training.get("settling_seconds", 0.0),
        **{name: training[name] for name in names if name in training},
    }


def check_differing(fold_settings: Any) -> Mapping[str, Any]:
    """Arguments of `fit` that may differ between a model and those of its folds."""
    if fold_settings is None:
        return {}
    if not isinstance(fold_settings, Mapping):
        raise TypeError(
            f"fold_settings must be a dict of arguments of fit, such as dict(epochs=200), got {fold_settings!r}"
        )
    for name in fold_settings:
        if name not in FOLDS_MAY:
            raise ValueError(f"fold_settings may have {', '.join(FOLDS_MAY)}, got {name!r}")
    return fold_settings
