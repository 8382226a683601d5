"""From a pool of any size to picks: candidates in memory, an order of all rows, or part by part."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from fasttangent.active import clusters, two_level
from fasttangent.active.asked import Asked
from fasttangent.active.candidates import Found, Rank, first_of_equals, first_rows
from fasttangent.active.chance import THINNING, chances
from fasttangent.active.cluster_parts import Clustering
from fasttangent.active.pool import Pool, Screen, Tally, Usable
from fasttangent.active.row_sets import RowSet
from fasttangent.active.smallest import Kept, Ranks
from fasttangent.active.strategies.record import WEIGHTS, Batch, Strategy
from fasttangent.active.strategies.scoring import first_picks
from fasttangent.common import checks
from fasttangent.common.vectors import power_of_two
from fasttangent.common.warning import warn

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Rows = NDArray[np.int64]

WHOLE = 1 << 30  # bytes of embeddings that are held at the most where every row is compared
SAMPLE = 1 << 14  # rows that greedy begins with, of a pool that is compared in parts


class Picked(NamedTuple):
    """Rows, and how they were found."""

    rows: Rows
    candidates: int
    tally: Tally
    passes: int = 1
    verified: bool | None = None
    shortfall: float | None = None


def picks_of(
    batch: Batch, screen: Screen, strategy: Strategy, prefilter: tuple[str, float], asked: Asked
) -> Picked:
    """What a strategy picks of a pool, within the limits of all its rows."""
    passes = checks.integer("passes", asked.passes, at_least=2)
    if strategy.rank is not None:
        return _in_order(batch, screen, strategy.rank)
    if asked.prefilter is None and strategy.parted is not None:
        comparison = strategy.parted(batch)
        if _is_large(batch, comparison):
            return _in_parts(batch, screen, comparison, passes)
    how, most = prefilter
    found = _thinned(batch, screen, how, most)
    kept = found.rows.of(np.arange(min(len(found.rows.number), int(min(most, len(batch.pool))))))
    kept = kept.of(np.argsort(kept.number))
    rows = kept.number
    whole = found.complete and len(rows) == len(found.rows.number)
    hint = "" if whole else "; raise prefilter, which left them"
    limits = found.within(batch.limits, batch.k, rows, hint)
    every = asked.prefilter is None or limits is not None  # draws know nothing of those
    batch = replace(batch, usable=rows, limits=limits, every=every, keys=kept.key)
    assert strategy.pick is not None
    picks = rows[strategy.pick(batch)]
    compared = whole and not (strategy.drawn is not None and strategy.drawn(batch))
    return Picked(picks, len(rows), found.tally, 1, True if compared else None, 0.0 if compared else None)


def _in_order(batch: Batch, screen: Screen, rank: Callable[[Batch, Usable], Ranks]) -> Picked:
    """The first rows of an order; of all of them where limits may let any of them in."""
    m = len(batch.pool) if batch.limits is not None and batch.limits.bind else batch.k
    alike = batch.limits is None and not isinstance(batch.weight, np.ndarray)
    found = first_rows(batch.pool, screen, m, lambda rows: rank(batch, rows), alike)
    rows = found.rows.number
    batch = replace(batch, limits=found.within(batch.limits, batch.k, rows))
    seen = len(rows) if found.complete else found.tally.usable
    return Picked(rows[first_picks(batch, found.rows)], seen, found.tally, 1, True, 0.0)


def _thinned(batch: Batch, screen: Screen, how: str, m: float) -> Found:
    """The first m rows, by chance or by a score."""

    def by_chance(rows: Usable) -> Ranks:
        return Ranks(np.zeros(len(rows.numbers)), chances(rows.keys, batch.seed, THINNING))

    def by_score(rows: Usable) -> Ranks:
        return Ranks(-batch.score(how, rows.rows), np.zeros(len(rows.numbers), np.uint64))

    rank: Rank = by_score if how in WEIGHTS else by_chance
    return first_rows(batch.pool, screen, int(min(m, len(batch.pool))), rank)


def _is_large(batch: Batch, how: two_level.Comparison | Clustering) -> bool:
    """Whether the embeddings of the whole pool are more than is held."""
    usual = batch.model.scaling.x_mean[None].astype(batch.model.dtype)
    return how.embed(usual).nbytes * len(batch.pool) > WHOLE


def _in_parts(batch: Batch, screen: Screen, how: two_level.Comparison | Clustering, passes: int) -> Picked:
    """What greedy makes of all rows, no more of them in memory than a part and the candidates."""
    pool = batch.pool
    size = max(SAMPLE, 2 * batch.k)
    found = _thinned(batch, screen, "random", size)
    if found.complete:
        found.within(batch.limits, batch.k, found.rows.number)
    elif found.tally.bad:
        warn(found.tally.warning())
    sample = _row_set(pool, found.rows.of(np.arange(min(size, len(found.rows.number)))))
    weights = how.weigh(sample.number, sample.rows)
    if weights is not None and not weights.any() and batch.weight is not None:
        raise ValueError("weight must be above 0 for some row that can be picked, got 0 for all of a sample")

    def first(rows: RowSet) -> RowSet:
        if batch.limits is None and not isinstance(batch.weight, np.ndarray):
            return rows
        return rows._replace(number=first_of_equals(pool, screen, rows))

    finish = None
    if isinstance(how, Clustering):
        outcome = clusters.compared(how, screen, sample, pool, first, passes)
    else:
        finish = how.finish
        if weights is not None:
            how = replace(how, unit=float(power_of_two(weights.max())))
        outcome = two_level.compared(how, screen, sample, pool, first, passes)
    picks = outcome.picks.number
    if len(picks) < how.k and (batch.limits is None or batch.limits.max_cost == np.inf):
        raise ValueError(f"k must be at most {len(picks)}, as per_group leaves no more rows, got {batch.k}")
    if finish is not None:
        picks = picks[finish(outcome.picks, outcome.average)]
    return Picked(picks, found.tally.usable, found.tally, outcome.passes, outcome.verified, outcome.shortfall)


def _row_set(pool: Pool, rows: Kept) -> RowSet:
    """In the order of their numbers."""
    rows = rows.of(np.argsort(rows.number))
    return RowSet(rows.number, rows.key, rows.mark, pool.take(rows.number))
