"""From a model and a pool to the numbers of the rows to label next."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from fasttangent.active.asked import PASSES, PREFILTER, Asked, begun
from fasttangent.active.picked import Selection
from fasttangent.active.picking import picks_of
from fasttangent.active.pool import ArrayPool, Pool, Screen, Tally
from fasttangent.active.pools import Pool as FilePool
from fasttangent.active.strategies.record import WEIGHTS
from fasttangent.active.strategies.table import DEFAULT_STRATEGY, STRATEGIES, with_table
from fasttangent.common import checks
from fasttangent.common.errors import UntrustedTangentWarning
from fasttangent.common.vectors import power_of_two
from fasttangent.common.warning import warn
from fasttangent.model.scores import carries

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fasttangent.model.members import Members
    from fasttangent.model.model import Model

    Float = NDArray[np.float64]
    Rows = NDArray[np.int64]


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
    noise: Any = None,
    prefilter: tuple[str, int] | int | None = PREFILTER,
    seed: int = 0,
    threads: int | None = None,
    passes: int = PASSES,
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
        Their group, cost and noise may be missing.
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
    noise : array_like of shape (n,), optional
        How many times the usual variance a label of every row has, > 0, where some are known to be noisier: 4 where
        errors are twice those of the labels that the model was fitted on, (sd / usual sd)**2 of deviations that are
        known.  "error", "variance", "bait" and "maxdet" go by what a label of that variance tells.  A label counts for
        1 / noise of a usual one, as by `sample_weight` of `fit`: so "top" and "sample" divide curiosity by it, and
        sensitivity by its root, and "egl" takes the gradient of such a label.  Others have no use for it.  Of equal
        rows the least noisy stands for all.
    prefilter : (how, m), int or None
        A larger pool than m rows is thinned to m candidates: "random" ones, or those of the highest "curiosity" or
        "sensitivity".  An int is ("random", m).  "top", "sample", "random" and "egl" see every row.  Of more than
        32,768 candidates "error" and "variance" compare 16,384 in full, without `targets`, `per_group`, costs and
        noise: drawn with chances in proportion to their variance by 16 tangents, and weighted so that averages are
        those of all.  With 256 picks the error left was 0 to 2 % above that of comparing all.  None: every row in full,
        and where embeddings of all would take more than 1 GB, the pool is passed through part by part, until no row
        would have gained more at any step than the row picked: these are the picks of comparing all (copies count in
        averages over such a pool, and in the clusters of "lcmd").  What thinning a million rows to a tenth costs in the
        error after labelling was less than what seeds do (bench/THINNING.md).
    seed : int
        Of everything random.  What is drawn of rows by "random", "sample", "kmeans++" and a prefilter depends on it and
        on the values of each row alone: not on the order of the rows or on others that are there.
    threads : int, optional
        Default: the model's.  Picks do not depend on it.
    passes : int
        How often a pool is passed through part by part at the most; the first finds its averages.  Two to four do as a
        rule; `Selection.shortfall` says what is left to gain where they do not.

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
        k, strategy, embedding, weight, labeled, targets, exclude, groups, per_group, cost, max_cost, noise, prefilter,
        seed, threads, passes,
    )  # fmt: skip
    return selected(model, rows, asked)[0]


def selected(model: Model | Members, pool: Pool, asked: Asked) -> tuple[Selection, Tally]:
    """What `select` gives for a pool of any kind, and how many of its rows could be picked."""
    from fasttangent.kernels.helpers import beside

    checks.choice("strategy", asked.strategy, STRATEGIES)
    processors = checks.thread_count(asked.threads) if asked.strategy == DEFAULT_STRATEGY else 1
    with beside(f"select {model.dtype}", processors):
        return _selected(model, pool, asked)


def _selected(model: Model | Members, pool: Pool, asked: Asked) -> tuple[Selection, Tally]:
    strategy = STRATEGIES[asked.strategy]
    batch, terms, out, prefilter = begun(model, pool, asked)
    scored = isinstance(batch.weight, str) or (strategy.thinned and prefilter[0] in WEIGHTS)
    if scored and not model.certificate.trusted:
        warn(model.certificate.warning, UntrustedTangentWarning)
    screen = Screen(
        lambda rows: model.scaling.near_rows(rows, np.dtype(model.dtype)),
        batch.known,
        out,
        power_of_two(model.scaling.x_scale),
        terms.order,
    )
    picked = picks_of(batch, screen, strategy, prefilter, asked)
    rows = terms.rows(picked.rows)
    selection = Selection(
        rows,
        _curiosity(model, pool.take(rows), asked.threads),
        strategy.name,
        model.certificate.trusted,
        picked.candidates,
        batch.embedding,
        batch.weight if isinstance(batch.weight, str) or batch.weight is None else "given",
        terms.spent(rows),
        picked.passes,
        picked.verified,
        picked.shortfall,
    )
    return selection, picked.tally


def _curiosity(model: Model | Members, picked: NDArray, threads: int | None) -> Float:
    """What the picks show; not what they were picked by, so without a warning."""
    if not carries(model, "strength"):
        return np.full(len(picked), np.nan)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UntrustedTangentWarning)
        return model.curiosity(picked, threads=threads)
