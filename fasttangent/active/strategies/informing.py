"""Strategies whose labels tell most, for a Bayesian linear model; see `fasttangent.active.covariances`."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from fasttangent.active.strategies.record import LEAST_NOISE, Batch, Strategy

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Float = NDArray[np.float64]
    Rows = NDArray[np.int64]


class _Linear(NamedTuple):
    """The rows of a linear model with prior covariance I, and the variance of its labels."""

    E: NDArray
    noise: float
    targets: NDArray | None


COMPARED, EACH = (
    16_384,
    32,
)  # candidates that are compared in full, and how many of them for a pick at the least
SKETCHED = 16  # tangents by which the variances of all are estimated


def _linear_model(batch: Batch) -> _Linear:
    from fasttangent.active.covariances import conditioned
    from fasttangent.model.embeddings import EMBEDDINGS

    kind = batch.embedding
    assert kind is not None
    E, noise = batch.embedded(batch.candidates(), kind), max(batch.model.noise, LEAST_NOISE)
    aims = None if batch.targets is None else batch.embedded(batch.targets, kind)
    if not EMBEDDINGS[kind].of_noise:
        assert batch.known is not None
        noise = batch.model.objective.strength * len(batch.known)
        C = batch.embedded(batch.known, kind)
        E = conditioned(E, C, noise, threads=batch.threads)
        aims = None if aims is None else conditioned(aims, C, noise, threads=batch.threads)
    return _Linear(E, noise, aims)


def _least_variance(batch: Batch) -> Rows:
    from fasttangent.active.covariances import variance_reduction
    from fasttangent.common.vectors import power_of_two

    weight = batch.some_weights()
    drawn, chances = _drawn(batch, weight)
    if chances is not None:
        batch = replace(batch, usable=batch.usable[drawn])
        weight = (1.0 if weight is None else weight[drawn]) / chances
    E, noise, targets = _linear_model(batch)
    if weight is not None:  # they are averaged with, so their unit is free, and one that float32 holds
        weight = weight / power_of_two(weight.max())
    picks = variance_reduction(E, batch.k, noise, targets, weight, threads=batch.threads, limits=batch.limits)
    return picks if chances is None else drawn[picks]


def _drawn(batch: Batch, weight: Float | None) -> tuple[Rows, Float | None]:
    """Which of many candidates are compared in full, and the chances they were drawn with; None: all are.

    In proportion to their variance, as those of little variance are neither picked nor change an average; with weights
    half of that, and half in proportion to their part of the average.
    """
    import numpy as np

    from fasttangent.active.draws import draw
    from fasttangent.model.embeddings import EMBEDDINGS

    n, m, kind = len(batch.usable), max(COMPARED, EACH * batch.k), batch.embedding
    assert kind is not None
    if batch.every or batch.targets is not None or n <= 2 * m or not EMBEDDINGS[kind].of_noise:
        return np.arange(n), None
    few = min(SKETCHED, sum(len(one.tangents["posterior"]) for one in batch.model.models))
    E = batch.embedded(batch.candidates(), kind, few)
    size = np.einsum("ij,ij->i", E, E, dtype=np.float64)
    if weight is not None:
        size *= 1 + weight / weight.mean()
    return draw(size, m, np.random.default_rng([batch.seed, 2]))


def _bait(batch: Batch) -> Rows:
    from fasttangent.active.covariances import bait

    E, noise, targets = _linear_model(batch)
    return bait(E, batch.k, noise, targets, threads=batch.threads, limits=batch.limits)


def _most_information(batch: Batch) -> Rows:
    from fasttangent.active.covariances import max_determinant

    weight, (E, noise, _) = batch.some_weights(), _linear_model(batch)
    return max_determinant(E, batch.k, noise, weight, threads=batch.threads, limits=batch.limits)


TELLING = "what tells most"

FAMILY = (
    Strategy(
        "error",
        "least mean squared error over the pool, or over `targets`: variance, and the bias of the regulariser as one "
        "more direction",
        'as "variance", with the regularity tangent (Eaton 2024); n D a pick',
        "what lowers the error over the pool most",
        _least_variance,
        embedding="error",
        takes_targets=True,
        linear=True,
    ),
    Strategy(
        "variance",
        "least mean predictive variance over the pool, or over `targets`",
        "Cohn 1996 for linear models; n D a pick",
        TELLING,
        _least_variance,
        embedding="posterior",
        any_embedding=True,
        takes_targets=True,
        linear=True,
    ),
    Strategy(
        "bait",
        "the same goal, 2 k picks, of which k are put back",
        "Ash et al. 2021; 2 n D a pick",
        TELLING,
        _bait,
        embedding="posterior",
        any_embedding=True,
        takes_weight=False,
        takes_targets=True,
        linear=True,
    ),
    Strategy(
        "maxdet",
        "most information about their own labels: log det of their covariance",
        "BatchBALD for Gaussians, Kirsch et al. 2019; n D once, then less",
        TELLING,
        _most_information,
        embedding="posterior",
        any_embedding=True,
        linear=True,
    ),
)
