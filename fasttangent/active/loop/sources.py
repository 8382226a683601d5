"""The tables of an active learner: what may be asked, what is known, and who knows the labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from fasttangent.active.loop import oracles
from fasttangent.active.loop.campaign import fingerprint
from fasttangent.active.loop.pooled import Pooled, Survey, pooled, surveyed
from fasttangent.common import checks
from fasttangent.common.encoded import encoded, whole
from fasttangent.problem.scaling import LARGEST

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Labelled: TypeAlias = "tuple[NDArray, NDArray[np.float64]]"


@dataclass(frozen=True, eq=False)
class Sources:
    """Checked tables; a run and its control have the same."""

    pool: Pooled
    known: Labelled | None  # rows to begin with, and their labels
    test: Labelled | None
    oracle: oracles.Oracle | None
    survey: Survey  # of the pool

    @classmethod
    def checked(
        cls,
        X_pool: Any,
        X: Any,
        y: Any,
        test: tuple[Any, Any] | None,
        oracle: Any,
        at_once: int,
        fit: Mapping[str, Any],
    ) -> Sources:
        """From the arguments of `ActiveLearner`."""
        if (X is None) != (y is None):
            raise ValueError("X and y go together: pass both, or neither to begin without labels")
        pool = pooled(X_pool, fit)
        known = None if X is None else _labelled_rows("X", X, y, pool)
        tested = None if test is None else _labelled_rows("test", *test, pool)
        knows = oracles.made(
            oracle, pool.shown or pool.take, len(pool), checks.integer("at_once", at_once, at_least=1)
        )
        sources = cls(pool, known, tested, knows, surveyed(pool, None if known is None else known[0]))
        if isinstance(knows, oracles.FunctionOracle):
            knows.shape = sources.outputs
        return sources

    @property
    def usable(self) -> NDArray[np.bool_]:
        """(n,), which rows of the pool can be asked."""
        return self.survey.usable

    @property
    def first(self) -> int:
        """How many labels there are at the beginning."""
        return 0 if self.known is None else len(self.known[1])

    @property
    def outputs(self) -> tuple[int, ...] | None:
        """Shape of a label, where it is known from the start."""
        if self.known is not None:
            return self.known[1].shape[1:]
        if isinstance(self.oracle, oracles.ArrayOracle):
            return self.oracle.shape
        return None if self.test is None else self.test[1].shape[1:]

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """How the tables are known again."""
        return {
            "pool": {
                "rows": len(self.pool),
                "columns": self.pool.width,
                "sha256": self.survey.sha256,
            },
            "labeled": None if self.known is None else _described(*self.known),
            "test": None if self.test is None else _described(*self.test),
            "outputs": None if self.outputs is None else list(self.outputs),
        }


def _rows(name: str, X: Any, how: Pooled) -> NDArray:
    if how.columns is None:
        return checks.features(name, X, how.width, how.names)
    return whole(encoded(name, X, how.columns))


def _labelled_rows(name: str, X: Any, y: Any, how: Pooled) -> Labelled:
    """Rows and their labels, all finite."""
    rows = _rows(name, X, how)
    name_of_y = "y" if name == "X" else f"y of {name}"
    labels = checks.targets(name_of_y, y, len(rows))
    for what, values in ((name, rows), (name_of_y, labels)):
        checks.finite(what, values)
        if len(values) and (largest := float(abs(values).max())) > LARGEST:
            raise ValueError(
                f"{what} must be at most {LARGEST:.1e} in size, got {largest:g}; divide by 1e100"
            )
    return rows, labels.astype(np.float64)


def _described(*arrays: NDArray) -> dict[str, Any]:
    return {"rows": len(arrays[0]), "columns": arrays[0].shape[1], "sha256": fingerprint(*arrays)}
