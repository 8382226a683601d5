"""One batch of an active learner: which rows, by which strategy, and how redundant they are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fasttangent.active import selection
from fasttangent.active.limits import Picks
from fasttangent.active.loop.diagnostics import DRAWS, redundancy
from fasttangent.active.pool import excluded
from fasttangent.active.terms import Terms, terms_of
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
    limits: Mapping[str, Any]  # arguments of `select` for the rows of the pool
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
        found = self._picked(model, pool, left, labeled, k, seed, failed)
        if found is None:
            return None
        rows, scores = found
        numbers = np.flatnonzero(left)
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

    def first(self, left: NDArray[np.bool_], k: int, seed: int) -> Rows:
        """Rows by chance, of those `left` and within the limits, ascending: before there is a model."""
        numbers, rng = np.flatnonzero(left), np.random.default_rng(seed)
        limits = self._terms(len(left), k, of_noise=False).limits
        if limits is None:
            return np.sort(rng.choice(numbers, min(k, len(numbers)), replace=False))
        limits = limits.among(numbers)
        limits.check(1)
        picks = Picks(len(numbers), k, limits)
        return np.sort(numbers[picks.take_first(rng.permutation(len(numbers)))])

    def allowed(self, usable: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Which of the usable rows may be asked at all."""
        out = excluded(self.limits.get("exclude"), len(usable))
        return usable.copy() if out is None else usable & ~out

    def _terms(self, n: int, k: int, of_noise: bool = True) -> Terms:
        without = {"exclude"} if of_noise else {"exclude", "noise"}
        given = {name: self.limits[name] for name in self.limits.keys() - without}
        return terms_of(n, k, **given, out=excluded(self.limits.get("exclude"), n))

    def _picked(
        self,
        model: Model,
        pool: NDArray,
        left: NDArray[np.bool_],
        labeled: NDArray,
        k: int,
        seed: int,
        failed: bool,
    ) -> tuple[Rows, NDArray | None] | None:
        """Row numbers of the pool and scores, fewer than k if fewer rows differ, or may be picked together."""
        numbers = np.flatnonzero(left)
        k = min(k, len(numbers))
        if callable(self.strategy):
            rows = np.asarray(self.strategy(model, pool[numbers], k, labeled=labeled, seed=seed), np.int64)
            if rows.shape != (k,) or len(np.unique(rows)) < k or rows.min() < 0 or rows.max() >= len(numbers):
                raise ValueError(
                    f"strategy must return {k} different row numbers from 0 to {len(numbers) - 1}, got {rows!r}"
                )
            return numbers[rows], None
        # `select` leaves out rows like labelled ones itself.
        out = ~left if failed or "exclude" in self.limits else None
        try:
            found = self._selected(model, pool, k, labeled, seed, out)
        except ValueError:
            distinct = self._most(pool, left, labeled, k)
            if distinct == 0:
                return None
            if distinct >= k:
                raise
            found = self._selected(model, pool, distinct, labeled, seed, out)
        return found.indices, found.scores

    def _most(self, pool: NDArray, left: NDArray[np.bool_], labeled: NDArray, k: int) -> int:
        """How many different rows that are not among labelled ones may be picked together."""
        terms = self._terms(len(pool), k)
        numbers = np.flatnonzero(terms.of(left))
        rows = pool[terms.rows(numbers)]
        keys = row_keys(rows)
        numbers = numbers[first_of_equals(rows, keys) & ~rows_among(rows, keys, labeled)]
        if terms.limits is None or not len(numbers):
            return len(numbers)
        limits = terms.limits.among(numbers)
        if limits.cost is not None and limits.cost.min() > limits.max_cost:
            return 0
        return limits.most(len(numbers))

    def _selected(
        self, model: Model, pool: NDArray, k: int, labeled: NDArray, seed: int, out: NDArray[np.bool_] | None
    ) -> selection.Selection:
        return selection.select(
            model,
            pool,
            k,
            strategy=self.name,
            labeled=labeled,
            seed=seed,
            threads=self.threads,
            **{**self.limits, "exclude": out},
            **self.settings,
        )
