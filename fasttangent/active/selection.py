"""From a model and a pool to the numbers of the rows to label next."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fasttangent.active.candidates import Found, Rank, first_rows
from fasttangent.active.chance import THINNING, chances
from fasttangent.active.limits import given_cost, limits_of, total
from fasttangent.active.picked import Selection
from fasttangent.active.pool import ArrayPool, Pool, Screen, Tally, Usable, excluded
from fasttangent.active.pools import Pool as FilePool
from fasttangent.active.smallest import Ranks
from fasttangent.active.strategies.record import WEIGHTS, Batch, Strategy
from fasttangent.active.strategies.scoring import first_picks
from fasttangent.active.strategies.table import DEFAULT_STRATEGY, STRATEGIES, listed, with_table
from fasttangent.common import checks
from fasttangent.common.errors import UntrustedTangentWarning
from fasttangent.common.vectors import power_of_two
from fasttangent.common.warning import warn
from fasttangent.model.embeddings import EMBEDDINGS
from fasttangent.model.scores import carries

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fasttangent.model.members import Members
    from fasttangent.model.model import Model

    Float = NDArray[np.float64]
    Rows = NDArray[np.int64]

PREFILTER = ("random", 100_000)
SAMPLES = 384  # tangents of noise, where a strategy needs them and the model has none


@with_table
def select(
    model: Model | Members,
    pool: Any,
    k: int,
    *,
    strategy: str = DEFAULT_STRATEGY,
    embedding: str | None = None,
    weight: Any = None,
    labeled: Any = None,
    targets: Any = None,
    exclude: Any = None,
    groups: Any = None,
    per_group: int | None = None,
    cost: Any = None,
    max_cost: float | None = None,
    prefilter: tuple[str, int] | int | None = PREFILTER,
    seed: int = 0,
    threads: int | None = None,
) -> Selection:
    """Pick k rows of a pool to label next.

    <strategies>

    Rows that are not finite are never picked; a warning says how many there are.  Nor are copies: of equal rows of
    the pool the first stands for all, and none that equals one of `labeled` is picked.

    Parameters
    ----------
    model : Model or Members
    pool : array_like of shape (n, n_features) or Pool
        Candidates, in the units the model was fitted on; also a memory map.  A `Pool` is read several times.
    k : int
        Number of rows.
    strategy : str
        As above.
    embedding : {"posterior", "error", "gradient", "hidden", "input"}, optional
        What `Model.embed` makes of the rows.  Default: "error" for "error", "posterior" for "variance", "bait" and
        "maxdet", "gradient" for "lcmd", "kmeans++" and "kcenter"; others have no choice.  "variance", "bait" and
        "maxdet" on "gradient", "hidden" or "input" take its rows for those of a linear model with the model's
        strength and condition it on `labeled`.
    weight : {"curiosity", "sensitivity"} or array_like of shape (n,), optional
        A score >= 0 of every row.  "top" and "sample" pick by it (default "curiosity"); squared distances are
        multiplied by it; "variance" and "error" average with it and "maxdet" multiplies variances by it.
        "sensitivity" is the length of s(x).  An array may hold any score of yours, such as a predicted loss.
    labeled : array_like of shape (m, n_features), optional
        Rows that have a label: centres of "lcmd", "kmeans++", "kcenter", "greedy-x" and "greedy-y".  The strategies
        that need a posterior make it from them where the model has none.
    targets : array_like of shape (m, n_features), optional
        Of "error", "variance" and "bait": rows whose predictions matter.  Default: the candidates.
    exclude : array_like, optional
        Rows of the pool that must not be picked: row numbers, or a mask of dtype bool and shape (n,).  They are no
        candidates: an average over those goes without them (`targets` may hold them), and an equal row may be picked.
    groups : array_like of shape (n,), optional
        A label of any kind for every row: its site, patient or plate.  A row that stands for equal ones has its own.
    per_group : int, optional
        At most so many picks of a group.  Rows of a full group cannot be picked but still count in averages; in the
        clusters of "lcmd" they do not.
    cost : array_like of shape (n,), optional
        What a label of every row costs, > 0: each pick is the one of the best gain per cost, where the gain is what the
        strategy goes by without (weights of "top" and "sample", squared distances, also in the sums of "lcmd", what
        the mean variance falls by, information).  "random" goes by none.  Costs that are all alike change nothing.
    max_cost : float, optional
        What the picks may cost together at the most, where k is the most there may be, of at least as many candidates:
        of rows too dear for what is left none is picked, though they count in averages.
    prefilter : (how, m), int or None
        A larger pool than m rows is thinned to m candidates: "random" ones, or those of the highest "curiosity" or
        "sensitivity".  An int is ("random", m).  "top", "sample", "random" and "egl" see every row.  Of more than
        32,768 candidates "error" and "variance" compare 16,384 in full, without `targets`, `per_group` and costs: drawn
        with chances in proportion to their variance by 16 tangents, and weighted so that averages are those of all.
        With 256 picks the error left was 0 to 2 % above that of comparing all.  None: every row in full.
    seed : int
        Of everything random.
    threads : int, optional
        Default: the model's.  Picks do not depend on it.

    Returns
    -------
    Selection

    Raises
    ------
    ValueError
        If fewer than k different rows can be picked, or fewer within `per_group`, none within `max_cost`, something is
        needed that the model lacks and `labeled` could give, or an argument is not as described.

    Examples
    --------
    >>> import numpy as np, fasttangent as ft
    >>> rng = np.random.default_rng(0)
    >>> X = rng.uniform(-1, 1, (60, 1))
    >>> model = ft.fit(X, np.sin(3 * X[:, 0]), hidden=(8,), epochs=50)
    >>> picks = ft.select(model, np.linspace(-2, 2, 1001)[:, None], 5, strategy="variance", labeled=X)
    >>> picks.indices.dtype, len(picks), picks.embedding
    (dtype('int64'), 5, 'posterior')
    """
    rows: Pool = pool.of(model) if isinstance(pool, FilePool) else ArrayPool(model.matrix("pool", pool))
    asked = Asked(
        k, strategy, embedding, weight, labeled, targets, exclude, groups, per_group, cost, max_cost, prefilter, seed,
        threads,
    )  # fmt: skip
    return selected(model, rows, asked)[0]


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
    prefilter: Any = PREFILTER
    seed: Any = 0
    threads: int | None = None


def selected(model: Model | Members, pool: Pool, asked: Asked) -> tuple[Selection, Tally]:
    """What `select` gives for a pool of any kind, and how many of its rows could be picked."""
    from fasttangent.kernels.helpers import beside

    checks.choice("strategy", asked.strategy, STRATEGIES)
    processors = checks.thread_count(asked.threads) if asked.strategy == DEFAULT_STRATEGY else 1
    with beside(f"select {model.dtype}", processors):
        return _selected(model, pool, asked)


def _selected(model: Model | Members, pool: Pool, asked: Asked) -> tuple[Selection, Tally]:
    strategy = STRATEGIES[asked.strategy]
    batch, prefilter = _begun(model, pool, asked)
    cost = given_cost(asked.cost, len(pool))
    limits = limits_of(asked.groups, asked.per_group, cost, asked.max_cost, batch.k, len(pool))
    if (isinstance(batch.weight, str) or (strategy.thinned and prefilter[0] in WEIGHTS)) and not (
        model.certificate.trusted
    ):
        warn(model.certificate.warning, UntrustedTangentWarning)
    batch = replace(batch, limits=limits)
    screen = Screen(
        lambda rows: model.scaling.near_rows(rows, np.dtype(model.dtype)),
        batch.known,
        excluded(asked.exclude, len(pool)),
        power_of_two(model.scaling.x_scale),
    )
    if strategy.rank is None:
        found = _thinned(batch, screen, *prefilter)
        rows = np.sort(found.rows.number[: int(min(prefilter[1], len(pool)))])
        hint = (
            ""
            if found.complete and len(rows) == len(found.rows.number)
            else "; raise prefilter, which left them"
        )
    else:
        found = _ranked(batch, screen, strategy.rank)
        rows, hint = found.rows.number, ""
    if found.tally.bad:
        warn(found.tally.warning())
    if batch.k > len(rows):
        raise found.tally.shortage(batch.k, len(rows))
    if limits is not None:
        limits = limits.of(rows)
        limits.check(batch.k, hint)
    every = asked.prefilter is None or limits is not None  # draws know nothing of those
    batch = replace(batch, usable=rows, limits=limits, every=every)
    picks = rows[first_picks(batch, found.rows) if strategy.pick is None else strategy.pick(batch)]
    compared = len(rows) if strategy.thinned or found.complete else found.tally.usable
    selection = Selection(
        picks,
        _curiosity(model, pool.take(picks), asked.threads),
        strategy.name,
        model.certificate.trusted,
        compared,
        batch.embedding,
        batch.weight if isinstance(batch.weight, str) or batch.weight is None else "given",
        None if cost is None else total(cost[picks]),
    )
    return selection, found.tally


def _begun(model: Model | Members, pool: Pool, asked: Asked) -> tuple[Batch, tuple[str, float]]:
    """What is asked for, checked, before the pool is looked at; and the prefilter."""
    strategy, n = STRATEGIES[asked.strategy], len(pool)
    k, seed = checks.integer("k", asked.k, at_least=1), checks.seed(asked.seed)
    if k > n:
        raise ValueError(f"k must be at most the {n} rows of the pool, got {k}")
    known, aims = _given_rows(model, "labeled", asked.labeled), _given_rows(model, "targets", asked.targets)
    if aims is not None and not strategy.takes_targets:
        takers = listed((s.name for s in STRATEGIES.values() if s.takes_targets), quote=True)
        raise ValueError(f"targets are for strategies {takers}, got them with {strategy.name!r}")
    embedding, weight = _embedding(strategy, asked.embedding), _weight(strategy, asked.weight, n)
    if aims is not None and weight is not None:
        raise ValueError(
            "weight must be None where targets are given, as it says which rows of the pool matter; give the targets "
            "that matter more several times"
        )
    prefilter = _prefilter(asked.prefilter, k)
    model = _prepared(model, strategy, embedding, known, asked.threads)
    none = np.empty(0, np.int64)
    return Batch(model, pool, none, k, known, aims, embedding, weight, seed, asked.threads), prefilter


def _ranked(batch: Batch, screen: Screen, rank: Callable[[Batch, Usable], Ranks]) -> Found:
    """The first rows of an order; all of them where limits may let any of them in."""
    m = batch.k if batch.limits is None else len(batch.pool)
    alike = batch.limits is None and not isinstance(batch.weight, np.ndarray)
    return first_rows(batch.pool, screen, m, lambda rows: rank(batch, rows), alike)


def _thinned(batch: Batch, screen: Screen, how: str, m: float) -> Found:
    """The first m rows, by chance or by a score."""

    def by_chance(rows: Usable) -> Ranks:
        return Ranks(np.zeros(len(rows.numbers)), chances(rows.keys, batch.seed, THINNING))

    def by_score(rows: Usable) -> Ranks:
        return Ranks(-batch.score(how, rows.rows), np.zeros(len(rows.numbers), np.uint64))

    rank: Rank = by_score if how in WEIGHTS else by_chance
    return first_rows(batch.pool, screen, int(min(m, len(batch.pool))), rank)


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


def _curiosity(model: Model | Members, picked: NDArray, threads: int | None) -> Float:
    """What the picks show; not what they were picked by, so without a warning."""
    if not carries(model, "strength"):
        return np.full(len(picked), np.nan)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UntrustedTangentWarning)
        return model.curiosity(picked, threads=threads)
