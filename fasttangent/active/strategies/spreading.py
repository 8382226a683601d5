"""Strategies that keep away from the rows that have a label or are picked; see `fasttangent.active.distances`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fasttangent.active.strategies.record import Batch, Strategy

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Rows = NDArray[np.int64]


def _lcmd(batch: Batch) -> Rows:
    from fasttangent.active.distances import lcmd

    weight = batch.some_weights()
    E, C = _in_embedding(batch)
    return lcmd(E, batch.k, C, weight, threads=batch.threads, limits=batch.limits)


def _k_means(batch: Batch) -> Rows:
    import numpy as np

    from fasttangent.active.distances import k_means_plus_plus

    weight = batch.some_weights()
    E, C = _in_embedding(batch)
    rng = np.random.default_rng(batch.seed)
    return k_means_plus_plus(E, batch.k, rng, C, weight, threads=batch.threads, limits=batch.limits)


def _k_center(batch: Batch) -> Rows:
    from fasttangent.active.distances import k_center

    weight = batch.some_weights()
    E, C = _in_embedding(batch)
    return k_center(E, batch.k, C, weight, threads=batch.threads, limits=batch.limits)


def _in_embedding(batch: Batch) -> tuple[NDArray, NDArray | None]:
    kind = batch.embedding or "input"
    return batch.with_known(lambda rows: batch.embedded(rows, kind))


def _in_predictions(batch: Batch) -> Rows:
    """Standard units, so that no output counts for more than another."""
    from fasttangent.active.distances import k_center

    model = batch.model

    def predicted(rows: NDArray) -> NDArray:
        found = model.predict(rows, threads=batch.threads).reshape(len(rows), -1)
        return model.scaling.targets(found, found.dtype)

    weight = batch.some_weights()
    E, C = batch.with_known(predicted)
    return k_center(E, batch.k, C, weight, threads=batch.threads, limits=batch.limits)


FAR = "far apart"

FAMILY = (
    Strategy(
        "lcmd",
        "the farthest row of the largest cluster",
        "Holzmueller et al. 2023; up to n D a pick",
        FAR,
        _lcmd,
        embedding="gradient",
        any_embedding=True,
    ),
    Strategy(
        "kmeans++",
        "by chance, in proportion to the squared distance to the nearest row with a label or picked",
        "Arthur & Vassilvitskii 2007, BADGE (Ash et al. 2020); up to n D a pick",
        FAR,
        _k_means,
        embedding="gradient",
        any_embedding=True,
    ),
    Strategy(
        "kcenter",
        "the row farthest from all with a label or picked",
        "Core-Set, Sener & Savarese 2018; up to n D a pick",
        FAR,
        _k_center,
        embedding="gradient",
        any_embedding=True,
    ),
    Strategy("greedy-x", "the same, in the inputs", "Yu & Kim 2010, Wu et al. 2019", FAR, _k_center),
    Strategy(
        "greedy-y",
        "the same, in the predictions (labels that exist are predicted)",
        "Wu et al. 2019",
        FAR,
        _in_predictions,
    ),
)
