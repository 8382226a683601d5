"""Strategies that keep away from the rows that have a label or are picked; see `fasttangent.active.distances`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from fasttangent.active.strategies.record import Batch, Strategy

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from fasttangent.active.cluster_parts import Clustering
    from fasttangent.active.distances import Farthest
    from fasttangent.active.limits import Picks
    from fasttangent.active.linear_model import Average
    from fasttangent.active.two_level import Comparison

    Float = NDArray[np.float64]
    Keys = NDArray[np.uint64]
    Rows = NDArray[np.int64]


def _lcmd(batch: Batch) -> Rows:
    from fasttangent.active.distances import lcmd

    weight = batch.some_weights()
    E, C = _in_embedding(batch)
    return lcmd(E, batch.k, C, weight, threads=batch.threads, limits=batch.limits)


def _k_means(batch: Batch) -> Rows:
    from fasttangent.active.distances import k_means_plus_plus

    weight = batch.some_weights()
    E, C = _in_embedding(batch)
    assert batch.keys is not None
    return k_means_plus_plus(
        E, batch.k, batch.keys, batch.seed, C, weight, threads=batch.threads, limits=batch.limits
    )


def _k_center(batch: Batch) -> Rows:
    from fasttangent.active.distances import k_center

    weight = batch.some_weights()
    E, C = _in_embedding(batch)
    return k_center(E, batch.k, C, weight, threads=batch.threads, limits=batch.limits)


def _center_in_parts(batch: Batch) -> Comparison:
    return _far_in_parts(batch, lambda rows: _embedded(batch, rows))


def _predictions_in_parts(batch: Batch) -> Comparison:
    return _far_in_parts(batch, lambda rows: _predicted(batch, rows))


def _far_in_parts(batch: Batch, embed: Callable[[NDArray], NDArray]) -> Comparison:
    from fasttangent.active.distances import Centres, Farthest
    from fasttangent.active.two_level import Comparison

    known = None if batch.known is None else embed(batch.known)

    def start(E: NDArray, weight: Float | None, picks: Picks, average: Average | None) -> Farthest:
        return Farthest(Centres(E, known, weight, batch.threads), picks)

    return Comparison(batch.k, embed, start, batch.weigh, limits=batch.limits)


def _draws_in_parts(batch: Batch) -> Comparison:
    from fasttangent.active.distances import ByChance, Centres
    from fasttangent.active.two_level import Comparison

    known = None if batch.known is None else _embedded(batch, batch.known)

    def start(
        E: NDArray, weight: Float | None, picks: Picks, average: Average | None, keys: Keys
    ) -> ByChance:
        return ByChance(Centres(E, known, weight, batch.threads), picks, keys, batch.seed)

    def embed(rows: NDArray) -> NDArray:
        return _embedded(batch, rows)

    return Comparison(batch.k, embed, start, batch.weigh, limits=batch.limits, by_chance=True)


def _clusters_in_parts(batch: Batch) -> Clustering:
    from fasttangent.active.cluster_parts import Clustering
    from fasttangent.common import checks

    known = None if batch.known is None else _embedded(batch, batch.known)
    return Clustering(
        batch.k,
        lambda rows: _embedded(batch, rows),
        known,
        batch.weigh,
        batch.limits,
        checks.thread_count(batch.threads),
    )


def _in_embedding(batch: Batch) -> tuple[NDArray, NDArray | None]:
    return batch.with_known(lambda rows: _embedded(batch, rows))


def _embedded(batch: Batch, rows: NDArray) -> NDArray:
    return batch.embedded(rows, batch.embedding or "input")


def _in_predictions(batch: Batch) -> Rows:
    from fasttangent.active.distances import k_center

    weight = batch.some_weights()
    E, C = batch.with_known(lambda rows: _predicted(batch, rows))
    return k_center(E, batch.k, C, weight, threads=batch.threads, limits=batch.limits)


def _predicted(batch: Batch, rows: NDArray) -> NDArray:
    """Standard units, so that no output counts for more than another."""
    found = batch.model.predict(rows, threads=batch.threads).reshape(len(rows), -1)
    return batch.model.scaling.targets(found, found.dtype)


FAR = "far apart"

FAMILY = (
    Strategy(
        "lcmd",
        "the farthest row of the largest cluster",
        "Holzmueller et al. 2023; up to n D a pick",
        FAR,
        _lcmd,
        parted=_clusters_in_parts,
        embedding="gradient",
        any_embedding=True,
    ),
    Strategy(
        "kmeans++",
        "by chance, in proportion to the squared distance to the nearest row with a label or picked",
        "Arthur & Vassilvitskii 2007, BADGE (Ash et al. 2020); up to n D a pick",
        FAR,
        _k_means,
        parted=_draws_in_parts,
        embedding="gradient",
        any_embedding=True,
    ),
    Strategy(
        "kcenter",
        "the row farthest from all with a label or picked",
        "Core-Set, Sener & Savarese 2018; up to n D a pick",
        FAR,
        _k_center,
        parted=_center_in_parts,
        embedding="gradient",
        any_embedding=True,
    ),
    Strategy(
        "greedy-x",
        "the same, in the inputs",
        "Yu & Kim 2010, Wu et al. 2019",
        FAR,
        _k_center,
        parted=_center_in_parts,
    ),
    Strategy(
        "greedy-y",
        "the same, in the predictions (labels that exist are predicted)",
        "Wu et al. 2019",
        FAR,
        _in_predictions,
        parted=_predictions_in_parts,
    ),
)
