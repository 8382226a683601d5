"""What an active learner is told beside its tables, checked before any label is paid for."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fasttangent.active import selection
from fasttangent.active.asked import check_noise_is_of_use
from fasttangent.active.loop.pooled import Pooled
from fasttangent.active.pool import excluded
from fasttangent.active.strategies.table import STRATEGIES
from fasttangent.active.terms import terms_of
from fasttangent.common import checks
from fasttangent.model.prepared import prepare
from fasttangent.model.settings import SETTINGS

LIMITS = ("exclude", "groups", "per_group", "cost", "max_cost", "noise")
SELECT_ELSEWHERE = ("model", "pool", "k", "strategy", "labeled", "seed", "threads")
OF_POOL = ("categorical", "transform")  # arguments of `fit` that go into its columns
PIECE = 1 << 16
IN_DOUBT = ("error", "ask", "failed")


@dataclass(frozen=True, kw_only=True)
class LearnerSettings:
    """Arguments of `ActiveLearner` by their names; it says what they mean.

    Raises
    ------
    ValueError, TypeError
        When it is made, if one of them is not as `ActiveLearner` describes it.
    """

    batch: int
    budget: int | None
    start: str
    patience: int | None
    min_gain: float
    min_change: float | None
    in_doubt: str | Callable[[int], Any]
    seed: int
    threads: int | None
    progress: bool | Callable[..., None]

    def __post_init__(self) -> None:
        if not callable(self.in_doubt):
            checks.choice("in_doubt", self.in_doubt, IN_DOUBT)
        checked = {
            "batch": checks.integer("batch", self.batch, at_least=1),
            "budget": None if self.budget is None else checks.integer("budget", self.budget, at_least=1),
            "patience": None
            if self.patience is None
            else checks.integer("patience", self.patience, at_least=1),
            "min_gain": checks.number("min_gain", self.min_gain, at_least=0),
            "min_change": None
            if self.min_change is None
            else checks.number("min_change", self.min_change, above=0),
            "start": checks.choice("start", self.start, ("cold", "warm")),
            "seed": checks.seed(self.seed),
        }
        for name, value in checked.items():
            object.__setattr__(self, name, value)


def fit_settings(given: Mapping[str, Any], pool: Pooled) -> dict[str, Any]:
    """Arguments of `fit`, tried with made-up labels."""
    _known("fit", given, [*SETTINGS, "feature_names", "categorical", "transform"])
    settings = {name: value for name, value in given.items() if name not in OF_POOL}
    if pool.names is not None:
        settings.setdefault("feature_names", pool.names)
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(64, pool.width)), rng.normal(size=64)
    prepare(X, y, **settings, columns=pool.columns)
    return settings


def select_settings(
    given: Mapping[str, Any], strategy: str | Callable[..., Any], n: int
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Arguments of `select`, by name: those of every batch, and those of `LIMITS`, tried on a pool of n rows."""
    parameters = inspect.signature(selection.select).parameters
    _known("select", given, [name for name in parameters if name not in SELECT_ELSEWHERE])
    limits = {name: given[name] for name in LIMITS if given.get(name) is not None}
    if callable(strategy) and (others := limits.keys() - {"exclude"}):
        raise ValueError(
            f"select may have {min(others)!r} only with a strategy of `select`; a function of yours keeps its own "
            f"limits"
        )
    out = excluded(limits.get("exclude"), n)
    if "noise" in limits and not callable(strategy):
        check_noise_is_of_use(STRATEGIES[strategy], given.get("weight"))
    terms_of(n, 1, **{name: value for name, value in limits.items() if name != "exclude"}, out=out)
    return {name: value for name, value in given.items() if name not in LIMITS}, limits


def fingerprint(limits: Mapping[str, Any]) -> dict[str, Any]:
    """Limits as a campaign remembers them: numbers as they are, of what is said of rows a digest."""

    def digest(values: Any) -> str:
        given = np.asarray(values)
        if given.ndim != 1:
            return hashlib.sha256(repr(given.tolist()).encode()).hexdigest()
        found = hashlib.sha256(b"[")  # of what a list is written as, in pieces
        for start in range(0, len(given), PIECE):
            found.update((", " * (start > 0) + repr(given[start : start + PIECE].tolist())[1:-1]).encode())
        found.update(b"]")
        return found.hexdigest()

    return {
        name: value if name in ("per_group", "max_cost") else digest(value) for name, value in limits.items()
    }


def _known(name: str, given: Mapping[str, Any], words: Sequence[str]) -> None:
    for key in given:
        checks.choice(f"a setting in {name}", key, words)
