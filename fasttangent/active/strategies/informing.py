"""Strategies whose labels tell most, for a Bayesian linear model; see `fasttangent.active.covariances`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from fasttangent.active.strategies.record import LEAST_NOISE, Batch, Strategy

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from fasttangent.active.covariances import AverageVariance, LargestVariance
    from fasttangent.active.limits import Picks
    from fasttangent.active.linear_model import Average
    from fasttangent.active.row_sets import RowSet
    from fasttangent.active.two_level import Comparison

    Float = NDArray[np.float64]
    Rows = NDArray[np.int64]


class _Linear(NamedTuple):
    """Rows as those of a linear model with prior covariance I, and the variance of its labels."""

    embed: Callable[[NDArray], NDArray]
    noise: float


COMPARED, EACH = (
    16_384,
    32,
)  # candidates that are compared in full, and how many of them for a pick at the least
SKETCHED = 16  # tangents by which the variances of all are estimated


def _linear_model(batch: Batch) -> _Linear:
    from fasttangent.active.linear_model import conditioned_by, half_of
    from fasttangent.model.embeddings import EMBEDDINGS

    kind = batch.embedding
    assert kind is not None
    if EMBEDDINGS[kind].of_noise:
        return _Linear(partial(batch.embedded, kind=kind), max(batch.model.noise, LEAST_NOISE))
    assert batch.known is not None
    noise = batch.model.objective.strength * len(batch.known)
    L = half_of(batch.embedded(batch.known, kind), noise, batch.threads)
    return _Linear(lambda rows: conditioned_by(L, batch.embedded(rows, kind), batch.threads), noise)


def _given(batch: Batch) -> tuple[NDArray, float, NDArray | None]:
    """(the candidates as vectors, noise, the targets as vectors or None)."""
    embed, noise = _linear_model(batch)
    return embed(batch.candidates()), noise, None if batch.targets is None else embed(batch.targets)


def _least_variance(batch: Batch) -> Rows:
    from fasttangent.active.covariances import variance_reduction
    from fasttangent.common.vectors import power_of_two

    weight = batch.some_weights()
    drawn, chances = _drawn(batch, weight)
    if chances is not None:
        batch = replace(batch, usable=batch.usable[drawn])
        weight = (1.0 if weight is None else weight[drawn]) / chances
    E, noise, targets = _given(batch)
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

    n, m, kind = len(batch.usable), _compared(batch), batch.embedding
    if not _draws(batch):
        return np.arange(n), None
    assert kind is not None
    few = min(SKETCHED, sum(len(one.tangents["posterior"]) for one in batch.model.models))
    E = batch.embedded(batch.candidates(), kind, few)
    size = np.einsum("ij,ij->i", E, E, dtype=np.float64)
    if weight is not None:
        size *= 1 + weight / weight.mean()
    return draw(size, m, np.random.default_rng([batch.seed, 2]))


def _compared(batch: Batch) -> int:
    return max(COMPARED, EACH * batch.k)


def _draws(batch: Batch) -> bool:
    from fasttangent.model.embeddings import EMBEDDINGS

    few = len(batch.usable) <= 2 * _compared(batch)
    assert batch.embedding is not None
    return not (batch.every or batch.targets is not None or few) and EMBEDDINGS[batch.embedding].of_noise


def _variance_in_parts(batch: Batch) -> Comparison:
    from fasttangent.active.covariances import AverageVariance
    from fasttangent.active.linear_model import Average, moments
    from fasttangent.active.paths import Path
    from fasttangent.active.two_level import Comparison
    from fasttangent.common import checks

    embed, noise = _linear_model(batch)
    threads, aims = batch.threads, batch.targets

    def start(E: NDArray, weight: Float | None, picks: Picks, average: Average | None) -> AverageVariance:
        assert average is not None
        return AverageVariance(E, average, picks, noise, threads, by_moments=True)

    def path(F: NDArray, average: Average) -> Path:
        every = 1.0 if batch.limits is None else batch.limits.noise
        assert isinstance(every, float)  # else there is no path
        return Path(F, average, noise * every, n_threads)

    n_threads = checks.thread_count(threads)
    average = None if aims is None else Average(moments(embed(aims), None, threads))
    averaged = aims is None
    return Comparison(
        batch.k, embed, start, batch.weigh, average, averaged, batch.limits, threads=n_threads, path=path
    )


def _bait_in_parts(batch: Batch) -> Comparison:
    from fasttangent.active.covariances import put_back
    from fasttangent.active.limits import Limits
    from fasttangent.active.linear_model import squares_of
    from fasttangent.common import checks

    limits, (embed, noise) = batch.limits or Limits(), _linear_model(batch)
    threads = checks.thread_count(batch.threads)

    def finish(picks: RowSet, average: Average | None) -> Rows:
        assert average is not None
        F = embed(picks.rows)
        variances, own = squares_of(F, None, threads), limits.of(picks.number)
        return put_back(F, average.M, batch.k, noise, variances, threads, own)

    twice = None if batch.limits is None else batch.limits.twice()
    forward = _variance_in_parts(replace(batch, k=2 * batch.k, limits=twice))
    return replace(forward, finish=finish)


def _information_in_parts(batch: Batch) -> Comparison:
    from fasttangent.active.covariances import LargestVariance
    from fasttangent.active.two_level import Comparison

    embed, noise = _linear_model(batch)

    def start(E: NDArray, weight: Float | None, picks: Picks, average: Average | None) -> LargestVariance:
        return LargestVariance(E, picks, noise, weight, batch.threads)

    return Comparison(batch.k, embed, start, batch.weigh, limits=batch.limits)


def _bait(batch: Batch) -> Rows:
    from fasttangent.active.covariances import bait

    E, noise, targets = _given(batch)
    return bait(E, batch.k, noise, targets, threads=batch.threads, limits=batch.limits)


def _most_information(batch: Batch) -> Rows:
    from fasttangent.active.covariances import max_determinant

    weight, (E, noise, _) = batch.some_weights(), _given(batch)
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
        parted=_variance_in_parts,
        drawn=_draws,
        embedding="error",
        takes_targets=True,
        linear=True,
        takes_noise=True,
    ),
    Strategy(
        "variance",
        "least mean predictive variance over the pool, or over `targets`",
        "Cohn 1996 for linear models; n D a pick",
        TELLING,
        _least_variance,
        parted=_variance_in_parts,
        drawn=_draws,
        embedding="posterior",
        any_embedding=True,
        takes_targets=True,
        linear=True,
        takes_noise=True,
    ),
    Strategy(
        "bait",
        "the same goal, 2 k picks, of which k are put back",
        "Ash et al. 2021; 2 n D a pick",
        TELLING,
        _bait,
        parted=_bait_in_parts,
        embedding="posterior",
        any_embedding=True,
        takes_weight=False,
        takes_targets=True,
        linear=True,
        takes_noise=True,
    ),
    Strategy(
        "maxdet",
        "most information about their own labels: log det of their covariance",
        "BatchBALD for Gaussians, Kirsch et al. 2019; n D once, then less",
        TELLING,
        _most_information,
        parted=_information_in_parts,
        embedding="posterior",
        any_embedding=True,
        linear=True,
        takes_noise=True,
    ),
)
