"""One batch of an active learner: which rows, by which strategy, and how redundant they are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fasttangent.active import selection
from fasttangent.active.asked import Asked
from fasttangent.active.candidates import as_they_come, first_rows
from fasttangent.active.limits import Picks
from fasttangent.active.loop.diagnostics import DRAWS, redundancy
from fasttangent.active.loop.pooled import Pooled, drawn
from fasttangent.active.pool import Screen, excluded
from fasttangent.active.strategies.table import STRATEGIES
from fasttangent.active.terms import Terms, terms_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fasttangent.model.model import Model

    Rows = NDArray[np.int64]

UNBOUND = {"exclude", "noise"}  # of what may be said of rows: it bounds no batch
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

    def batch(self, model: Model, pool: Pooled, left: NDArray[np.bool_], labeled: NDArray, k: int, seed: int,
              failed: bool) -> dict[str, Any] | None:  # fmt: skip
        """Rows of the pool, of those `left`, and what there is to say of them; None if all are like labelled ones.

        `labeled` holds inputs; `failed` says that rows are not left although they have no label.
        """
        found = self._picked(model, pool, left, labeled, k, seed, failed)
        if found is None:
            return None
        rows, scores = found
        draws = drawn(left, DRAWS * len(rows), np.random.default_rng(seed))
        mine = pool.take(rows)
        Z, others = (model.scaling.inputs(X, np.dtype(float)) for X in (mine, pool.take(np.sort(draws))))
        return {
            "rows": rows,
            "scores": scores,
            "strategy": self.name,
            "seed": seed,
            "predictions": model.predict(mine, threads=self.threads),
            "redundancy": redundancy(Z, others, seed),
        }

    def first(self, left: NDArray[np.bool_], k: int, seed: int) -> Rows:
        """Rows by chance, of those `left` and within the limits, ascending: before there is a model."""
        rng = np.random.default_rng(seed)
        limits = self._terms(len(left), k, of_noise=False).limits if self._limited else None
        if limits is None:
            return np.sort(drawn(left, k, rng))
        numbers = np.flatnonzero(left)
        limits = limits.among(numbers)
        limits.check(1)
        picks = Picks(len(numbers), k, limits)
        return np.sort(numbers[picks.take_first(rng.permutation(len(numbers)))])

    def allowed(self, usable: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Which of the usable rows may be asked at all."""
        out = excluded(self.limits.get("exclude"), len(usable))
        return usable.copy() if out is None else usable & ~out

    @property
    def _limited(self) -> bool:
        return bool(self.limits.keys() - UNBOUND)

    def _terms(self, n: int, k: int, of_noise: bool = True) -> Terms:
        without = {"exclude"} if of_noise else {"exclude", "noise"}
        given = {name: self.limits[name] for name in self.limits.keys() - without}
        return terms_of(n, k, **given, out=excluded(self.limits.get("exclude"), n))

    def _picked(
        self,
        model: Model,
        pool: Pooled,
        left: NDArray[np.bool_],
        labeled: NDArray,
        k: int,
        seed: int,
        failed: bool,
    ) -> tuple[Rows, NDArray | None] | None:
        """Row numbers of the pool and scores, fewer than k if fewer rows differ, or may be picked together."""
        k = min(k, int(np.count_nonzero(left)))
        if callable(self.strategy):
            return self._by_own_strategy(model, pool, np.flatnonzero(left), labeled, k, seed), None
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

    def _by_own_strategy(
        self, model: Model, pool: Pooled, numbers: Rows, labeled: NDArray, k: int, seed: int
    ) -> Rows:
        assert callable(self.strategy)
        rows = np.asarray(self.strategy(model, pool.take(numbers), k, labeled=labeled, seed=seed), np.int64)
        if rows.shape != (k,) or len(np.unique(rows)) < k or rows.min() < 0 or rows.max() >= len(numbers):
            raise ValueError(
                f"strategy must return {k} different row numbers from 0 to {len(numbers) - 1}, got {rows!r}"
            )
        found: Rows = numbers[rows]
        return found

    def _most(self, pool: Pooled, left: NDArray[np.bool_], labeled: NDArray, k: int) -> int:
        """How many different rows that are not among labelled ones may be picked together; of more than k, some."""
        terms = self._terms(len(pool), k)
        screen = Screen(lambda rows: np.ones(len(rows), bool), labeled, ~left, order=terms.order)
        most = len(pool) if self._limited else k
        numbers = first_rows(terms.numbered(pool), screen, most, as_they_come).rows.number
        if not self._limited or terms.limits is None or not len(numbers):
            return len(numbers)
        limits = terms.limits.among(numbers)
        if limits.cost is not None and limits.cost.min() > limits.max_cost:
            return 0
        return limits.most(len(numbers))

    def _selected(
        self, model: Model, pool: Pooled, k: int, labeled: NDArray, seed: int, out: NDArray[np.bool_] | None
    ) -> selection.Selection:
        limits = {**self.limits, "exclude": out}
        if not STRATEGIES[self.name].takes_noise:
            limits.pop("noise", None)
        asked = Asked(
            k,
            strategy=self.name,
            labeled=labeled,
            seed=seed,
            threads=self.threads,
            **limits,
            **self.settings,
        )
        return selection.selected(model, pool, asked)[0]
