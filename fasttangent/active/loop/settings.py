"""What an active learner is given, checked before any label is paid for."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fasttangent.active import selection
from fasttangent.active.loop.campaign import fingerprint
from fasttangent.common import checks
from fasttangent.common.warning import warn
from fasttangent.model.prepared import prepare
from fasttangent.model.settings import SETTINGS

if TYPE_CHECKING:
    from numpy.typing import NDArray

SELECT_ELSEWHERE = ("model", "pool", "k", "strategy", "labeled", "seed", "threads")


def fit_settings(given: Mapping[str, Any], n_features: int, names: Sequence[str] | None) -> dict[str, Any]:
    """Arguments of `fit`, tried with made-up labels."""
    _known("fit", given, [*SETTINGS, "feature_names"])
    settings = dict(given)
    if names is not None:
        settings.setdefault("feature_names", names)
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(64, n_features)), rng.normal(size=64)
    prepare(X, y, **settings)
    return settings


def select_settings(given: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of `select`, by name."""
    parameters = inspect.signature(selection.select).parameters
    _known("select", given, [name for name in parameters if name not in SELECT_ELSEWHERE])
    return dict(given)


def _known(name: str, given: Mapping[str, Any], words: Sequence[str]) -> None:
    for key in given:
        checks.choice(f"a setting in {name}", key, words)


def labelled_rows(
    name: str, X: Any, y: Any, n_features: int, names: Sequence[str] | None
) -> tuple[NDArray, NDArray[np.float64]]:
    """Rows and their labels, all finite."""
    rows = checks.features(name, X, n_features, names)
    labels = checks.targets("y" if name == "X" else f"y of {name}", y, len(rows))
    checks.finite(name, rows)
    checks.finite("y", labels)
    return rows, labels.astype(np.float64)


def finite_rows(X: NDArray) -> NDArray[np.bool_]:
    """Which rows of the pool can be asked; a warning counts the others."""
    good = checks.finite_rows(X)
    bad = len(X) - np.count_nonzero(good)
    if bad == len(X):
        raise ValueError("X_pool has no row whose values are all finite; fill in what is missing")
    if bad:
        warn(
            f"{bad:,} of {len(X):,} rows of X_pool hold a value that is not finite (first: row "
            f"{int(np.argmin(good))}) and are never asked"
        )
    return good


def described(*arrays: NDArray) -> dict[str, Any]:
    """How a table is known again."""
    return {"rows": len(arrays[0]), "columns": arrays[0].shape[1], "sha256": fingerprint(*arrays)}


def learnable(X: NDArray, y: NDArray) -> bool:
    """Whether there is something that differs to fit: at least two rows, and no output the same in all."""
    return len(y) >= 2 and bool(np.ptp(y, axis=0).all()) and bool(np.ptp(X, axis=0).any())
