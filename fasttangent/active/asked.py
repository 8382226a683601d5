"""What is asked of `select`, checked before the pool is looked at."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fasttangent.active.pool import Pool, excluded
from fasttangent.active.strategies.record import WEIGHTS, Batch, Strategy
from fasttangent.active.strategies.table import DEFAULT_STRATEGY, STRATEGIES, listed
from fasttangent.active.terms import Terms, terms_of
from fasttangent.common import checks
from fasttangent.model.embeddings import EMBEDDINGS
from fasttangent.model.scores import carries

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fasttangent.model.members import Members
    from fasttangent.model.model import Model

    Float = NDArray[np.float64]

PREFILTER = ("random", 100_000)
PASSES = 12
SAMPLES = 384  # tangents of noise, where a strategy needs them and the model has none


class Asked(NamedTuple):
    """The arguments of `select` beside model and pool, as they were given."""

    k: Any
    strategy: str = DEFAULT_STRATEGY
    embedding: str | None = None
    weight: Any = None
    labeled: Any = None
    targets: Any = None
    exclude: Any = None
    groups: Any = None
    per_group: Any = None
    cost: Any = None
    max_cost: Any = None
    noise: Any = None
    prefilter: Any = PREFILTER
    seed: Any = 0
    threads: int | None = None
    passes: Any = PASSES


class Begun(NamedTuple):
    """What is asked for, checked."""

    batch: Batch
    terms: Terms
    out: NDArray[np.bool_] | None  # (n,) rows of the pool that must not be picked
    prefilter: tuple[str, float]


def begun(model: Model | Members, pool: Pool, asked: Asked) -> Begun:
    """What is asked for, checked, before the pool is looked at or tangents are drawn."""
    strategy, n = STRATEGIES[asked.strategy], len(pool)
    k, seed = checks.integer("k", asked.k, at_least=1), checks.seed(asked.seed)
    if k > n:
        raise ValueError(f"k must be at most the {n} rows of the pool, got {k}")
    known, aims = _given_rows(model, "labeled", asked.labeled), _given_rows(model, "targets", asked.targets)
    if aims is not None and not strategy.takes_targets:
        takers = listed((s.name for s in STRATEGIES.values() if s.takes_targets), quote=True)
        raise ValueError(f"targets are for strategies {takers}, got them with {strategy.name!r}")
    embedding, weight = _embedding(strategy, asked.embedding), _weight(strategy, asked.weight, n)
    if asked.noise is not None:
        check_noise_is_of_use(strategy, weight)
    if aims is not None and weight is not None:
        raise ValueError(
            "weight must be None where targets are given, as it says which rows of the pool matter; give the targets "
            "that matter more several times"
        )
    out, prefilter = excluded(asked.exclude, n), _prefilter(asked.prefilter, k)
    terms = terms_of(
        n, k, groups=asked.groups, per_group=asked.per_group, cost=asked.cost, max_cost=asked.max_cost,
        noise=asked.noise, out=out,
    )  # fmt: skip
    checks.integer("passes", asked.passes, at_least=2)
    model, rows = _prepared(model, strategy, embedding, known, asked.threads), terms.numbered(pool)
    weight, none = terms.of(weight), np.empty(0, np.int64)
    batch = Batch(model, rows, none, k, known, aims, embedding, weight, seed, asked.threads, terms.limits)
    return Begun(batch, terms, out, prefilter)


def _given_rows(model: Model | Members, name: str, given: Any) -> NDArray | None:
    if given is None:
        return None
    rows = model.matrix(name, given)
    checks.finite(name, rows)
    if len(rows) == 0:
        raise ValueError(f"{name} must have at least 1 row, got none; leave it out")
    model.scaling.near_inputs(name, rows)
    return rows


def _embedding(strategy: Strategy, embedding: Any) -> str | None:
    if embedding is None:
        return strategy.embedding
    if not strategy.any_embedding:
        raise ValueError(f"embedding must be left out for strategy {strategy.name!r}, got {embedding!r}")
    return checks.choice("embedding", embedding, EMBEDDINGS)


def _weight(strategy: Strategy, weight: Any, n: int) -> str | Float | None:
    """The name of a score, or a score of every row of the pool."""
    if weight is None:
        return strategy.weight
    if not strategy.takes_weight:
        raise ValueError(f"weight must be None for strategy {strategy.name!r}, which has no use for it")
    if isinstance(weight, str):
        return checks.choice("weight", weight, WEIGHTS)
    return given_weight(weight, n)


def given_weight(weight: Any, n: int) -> Float:
    """A score >= 0 of every row of a pool."""
    given = checks.array("weight", weight).astype(np.float64)
    if given.shape != (n,):
        raise ValueError(f"weight must have shape ({n},) to match the pool, got shape {given.shape}")
    if not ((given >= 0) & (given < np.inf)).all():
        i = int(np.argmin((given >= 0) & (given < np.inf)))
        raise ValueError(
            f"weight must be finite and >= 0, got {given[i]} in row {i}; ranks or exp() make weights of any score"
        )
    return given


def check_noise_is_of_use(strategy: Strategy, weight: Any) -> None:
    """Raise where it is not known what the noise of a label does to a row's gain."""
    if not strategy.takes_noise:
        takers = listed((s.name for s in STRATEGIES.values() if s.takes_noise), quote=True)
        instead = "; weight=1 / noise makes noisy rows less far" if strategy.takes_weight else ""
        raise ValueError(
            f"noise must be None for strategy {strategy.name!r}, which knows of no labels; it is for strategies "
            f"{takers}{instead}"
        )
    if strategy.rank is not None and weight is not None and not isinstance(weight, str):
        raise ValueError(
            f"noise must be None for strategy {strategy.name!r} where weight is an array; divide the weight by what "
            f"noise takes of it, as by the noise itself of a variance"
        )


def _prefilter(prefilter: Any, k: int) -> tuple[str, float]:
    """How to thin a pool, and to how many rows."""
    if prefilter is None:
        return "random", np.inf
    try:
        how, most = prefilter if isinstance(prefilter, (tuple, list)) else ("random", prefilter)
    except ValueError:
        raise ValueError(f"prefilter must be (how, m), m or None, got {prefilter!r}") from None
    checks.choice("prefilter", how, ("random", *WEIGHTS))
    return how, checks.integer("prefilter", most, at_least=k)


def _prepared(
    model: Model | Members,
    strategy: Strategy,
    embedding: str | None,
    known: NDArray | None,
    threads: int | None,
) -> Model | Members:
    """The model with what the strategy needs of it, or an error that says how to get it."""
    of_noise = embedding is not None and EMBEDDINGS[embedding].of_noise
    if (of_noise or strategy.needs_noise) and not carries(model, "posterior"):
        if known is None:
            raise ValueError(
                f"strategy {strategy.name!r} needs tangents of noise, which the model has not; pass the rows it was "
                f'fitted on (labeled=, --labeled), or fit with tangents=("strength", "posterior")'
            )
        model = model.with_posterior(known, samples=SAMPLES, threads=threads)
    alone = known is None or not model.objective.strength > 0
    if strategy.linear and not of_noise and alone:
        raise ValueError(
            f"strategy {strategy.name!r} on {embedding!r} embeddings needs labeled= and a strength > 0: it takes them "
            f"for a linear model with those labels"
        )
    return model
