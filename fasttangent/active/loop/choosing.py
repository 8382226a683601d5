"""One batch of an active learner: which rows, by which strategy, and how redundant they are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fasttangent.active import selection
from fasttangent.active.loop.diagnostics import DRAWS, redundancy
from fasttangent.common.duplicates import first_of_equals, row_keys, rows_among

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fasttangent.model.model import Model

    Rows = NDArray[np.int64]

Strategy = str | Callable[..., Any]


@dataclass(frozen=True)
class Chooser:
    """A strategy and its settings."""

    strategy: Strategy
    settings: Mapping[str, Any]
    threads: int | None

    @property
    def name(self) -> str:
        if isinstance(self.strategy, str):
            return self.strategy
        return getattr(self.strategy, "__qualname__", type(self.strategy).__qualname__)

    def batch(self, model: Model, pool: NDArray, left: NDArray[np.bool_], labeled: NDArray, k: int, seed: int,
              failed: bool) -> dict[str, Any] | None:  # fmt: skip
        """Rows of the pool, of those `left`, and what there is to say of them; None if all are like labelled ones.

        `labeled` holds inputs; `failed` says that rows are not left although they have no label.
        """
        numbers = np.flatnonzero(left)
        found = self._picked(model, pool, numbers, labeled, min(k, len(numbers)), seed, failed)
        if found is None:
            return None
        rows, scores = found
        draws = np.random.default_rng(seed).choice(
            numbers, min(len(numbers), DRAWS * len(rows)), replace=False
        )
        Z, others = (model.scaling.inputs(pool[i], np.dtype(float)) for i in (rows, np.sort(draws)))
        return {
            "rows": rows,
            "scores": scores,
            "strategy": self.name,
            "seed": seed,
            "predictions": model.predict(pool[rows], threads=self.threads),
            "redundancy": redundancy(Z, others, seed),
        }

    def _picked(
        self, model: Model, pool: NDArray, numbers: Rows, labeled: NDArray, k: int, seed: int, failed: bool
    ) -> tuple[Rows, NDArray | None] | None:
        """Row numbers of the pool and scores, fewer than k if fewer rows differ."""
        if callable(self.strategy):
            rows = np.asarray(self.strategy(model, pool[numbers], k, labeled=labeled, seed=seed), np.int64)
            if rows.shape != (k,) or len(np.unique(rows)) < k or rows.min() < 0 or rows.max() >= len(numbers):
                raise ValueError(
                    f"strategy must return {k} different row numbers from 0 to {len(numbers) - 1}, got {rows!r}"
                )
            return numbers[rows], None
        # `select` leaves out rows like labelled ones itself, so the pool is copied only around failed ones.
        part = pool[numbers] if failed else pool
        try:
            found = self._selected(model, part, k, labeled, seed)
        except ValueError:
            distinct = _distinct(pool[numbers], labeled)
            if distinct == 0:
                return None
            if distinct >= k:
                raise
            found = self._selected(model, part, distinct, labeled, seed)
        return (numbers[found.indices] if failed else found.indices), found.scores

    def _selected(
        self, model: Model, pool: NDArray, k: int, labeled: NDArray, seed: int
    ) -> selection.Selection:
        return selection.select(
            model,
            pool,
            k,
            strategy=self.name,
            labeled=labeled,
            seed=seed,
            threads=self.threads,
            **self.settings,
        )


def _distinct(rows: NDArray, known: NDArray) -> int:
    """How many different rows there are that are not among the known ones."""
    keys = row_keys(rows)
    return int(np.count_nonzero(first_of_equals(rows, keys) & ~rows_among(rows, keys, known)))
