"""From a model and a pool to the numbers of the rows to label next."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from fasttangent.active import covariances, distances
from fasttangent.common import checks
from fasttangent.common.duplicates import first_of_equals, row_keys, rows_among
from fasttangent.common.errors import UntrustedTangentWarning
from fasttangent.model import embeddings

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fasttangent.model.model import Model

    Float = NDArray[np.float64]
    Rows = NDArray[np.int64]

SCORED = ("top", "random", "sample")
SPREADING = {"kcenter": "gradient", "kmeans++": "gradient", "lcmd": "gradient"}  # default embedding
INFORMING = {"error": "error", "variance": "posterior", "maxdet": "posterior", "bait": "posterior"}
OF_NOISE = ("posterior", "error")  # embeddings that need tangents of noise
GREEDY = ("greedy-x", "greedy-y", "egl")
STRATEGIES = (*SCORED, *SPREADING, *INFORMING, *GREEDY)
WEIGHTS = ("curiosity", "sensitivity")
DEFAULT_STRATEGY = "error"  # chosen and tested by bench/active.py
PREFILTER = ("random", 100_000)
SAMPLES = 384  # tangents of noise, where a strategy needs them and the model has none
LEAST_NOISE = 1e-12  # variance in standard units: a model may fit its rows without any residual


@dataclass(frozen=True, eq=False)
class Selection:
    """Rows picked from a pool.

    Attributes
    ----------
    indices : ndarray of int64, shape (k,)
        Row numbers in the pool, no number twice; in the order of picking, for "top" and "egl" by falling score.
    scores : ndarray of float64, shape (k,)
        Curiosity of each picked row; nan for a model without the tangent of the strength.
    strategy : str
    trusted : bool
        Whether the model's certificate vouches for the scores.
    candidates : int
        Rows that took part after the prefilter.
    embedding : str or None
        What the strategy measured distances or covariances in.
    weight : str or None
        "curiosity", "sensitivity", "given" or None.
    """

    indices: Rows
    scores: Float
    strategy: str
    trusted: bool
    candidates: int
    embedding: str | None = None
    weight: str | None = None

    def __len__(self) -> int:
        return len(self.indices)


def select(
    model: Model,
    pool: Any,
    k: int,
    *,
    strategy: str = DEFAULT_STRATEGY,
    embedding: str | None = None,
    weight: Any = None,
    labeled: Any = None,
    targets: Any = None,
    prefilter: tuple[str, int] | int | None = PREFILTER,
    seed: int = 0,
    threads: int | None = None,
) -> Selection:
    """Pick k rows of a pool to label next.

    ============ ================================================================ ==================================
    strategy     what it picks, greedily                                          source; cost for n rows of D values
    ============ ================================================================ ==================================
    "error"      least mean squared error over the pool, or over `targets`:       as "variance", with the regularity
                 variance, and the bias of the regulariser as one more direction  tangent (Eaton 2024); n D a pick
    "variance"   least mean predictive variance over the pool, or over `targets`  Cohn 1996 for linear models;
                                                                                  n D a pick
    "bait"       the same goal, 2 k picks, of which k are put back                Ash et al. 2021; 2 n D a pick
    "maxdet"     most information about their own labels: log det of their        BatchBALD for Gaussians, Kirsch
                 covariance                                                       et al. 2019; n D once, then less
    "lcmd"       the farthest row of the largest cluster                          Holzmueller et al. 2023; up to n D
                                                                                  a pick
    "kmeans++"   by chance, in proportion to the squared distance to the nearest  Arthur & Vassilvitskii 2007, BADGE
                 row with a label or picked                                       (Ash et al. 2020); up to n D a pick
    "kcenter"    the row farthest from all with a label or picked                 Core-Set, Sener & Savarese 2018; up
                                                                                  to n D a pick
    "greedy-x"   the same, in the inputs                                          Yu & Kim 2010, Wu et al. 2019
    "greedy-y"   the same, in the predictions (labels that exist are predicted)   Wu et al. 2019
    "sample"     by chance, in proportion to the weight                           Efraimidis & Spirakis 2006; n log n
    "top"        the highest weights: near copies of each other, which teach      one forward pass
                 less than random rows; good for looking at, and for one query
    "egl"        the highest expected gradient length, sd(y) ||grad f||           Settles et al. 2008, Cai et al. 2013
    "random"     uniformly, the baseline                                          none
    ============ ================================================================ ==================================

    Rows that are not finite are never picked; a warning says how many there are.  Nor are copies: of equal rows of
    the pool the first stands for all, and none that equals one of `labeled` is picked.

    Parameters
    ----------
    model : Model
    pool : array_like of shape (n, n_features)
        Candidates, in the units the model was fitted on; also a memory map.
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
    prefilter : (how, m), int or None
        A larger pool than m rows is thinned to m candidates: "random" ones, or those of the highest "curiosity" or
        "sensitivity".  An int is ("random", m).  "top", "sample", "random" and "egl" see every row.
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
        If fewer than k different rows can be picked, something is needed that the model lacks and `labeled` could
        give, or an argument is not as described.

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
    checks.choice("strategy", strategy, STRATEGIES)
    k, seed = checks.integer("k", k, at_least=1), checks.integer("seed", seed, at_least=0)
    rows = checks.features("pool", pool, model.n_features, model.feature_names)
    if k > len(rows):
        raise ValueError(f"k must be at most the {len(rows)} rows of the pool, got {k}")
    known, aims = _given_rows(model, "labeled", labeled), _given_rows(model, "targets", targets)
    if aims is not None and strategy not in ("error", "variance", "bait"):
        raise ValueError(
            f"targets are for strategies 'error', 'variance' and 'bait', got them with {strategy!r}"
        )
    embedding, weight = _embedding(strategy, embedding), _weight(strategy, weight, len(rows))
    if aims is not None and weight is not None:
        raise ValueError(
            "weight must be None where targets are given, as it says which rows of the pool matter; give the targets "
            "that matter more several times"
        )
    how, most = _prefilter(prefilter, k)
    batch = _Batch(_prepared(model, strategy, embedding, known, threads), k, known, aims, seed, threads)
    thinned = strategy not in (*SCORED, "egl")
    if (isinstance(weight, str) or (thinned and how in WEIGHTS)) and not model.certificate.trusted:
        warnings.warn(model.certificate.warning, UntrustedTangentWarning, stacklevel=2)
    usable = _usable(rows, known, k)
    if thinned and len(usable) > most:
        usable = _thinned(batch.model, rows, usable, how, most, seed, threads)
    places = batch.pick(strategy, embedding, weight, rows, usable)
    picks = usable[places]
    return Selection(
        picks,
        _curiosity(model, rows[picks], threads),
        strategy,
        model.certificate.trusted,
        len(usable),
        embedding,
        weight if isinstance(weight, str) or weight is None else "given",
    )


def _given_rows(model: Model, name: str, given: Any) -> NDArray | None:
    if given is None:
        return None
    rows = checks.features(name, given, model.n_features, model.feature_names)
    checks.finite(name, rows)
    if len(rows) == 0:
        raise ValueError(f"{name} must have at least 1 row, got none; leave it out")
    return rows


def _embedding(strategy: str, embedding: Any) -> str | None:
    default = {**SPREADING, **INFORMING}.get(strategy)
    if embedding is None:
        return default
    if default is None or strategy == "error":
        raise ValueError(f"embedding must be left out for strategy {strategy!r}, got {embedding!r}")
    return checks.choice("embedding", embedding, embeddings.KINDS)


def _weight(strategy: str, weight: Any, n: int) -> str | Float | None:
    """The name of a score, or a score of every row of the pool."""
    if weight is None:
        return "curiosity" if strategy in ("top", "sample") else None
    if strategy in ("random", "bait", "egl"):
        raise ValueError(f"weight must be None for strategy {strategy!r}, which has no use for it")
    if isinstance(weight, str):
        return checks.choice("weight", weight, WEIGHTS)
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
    model: Model, strategy: str, embedding: str | None, known: NDArray | None, threads: int | None
) -> Model:
    """The model with what the strategy needs of it, or an error that says how to get it."""
    if (embedding in OF_NOISE or strategy == "egl") and "posterior" not in model.tangents:
        if known is None:
            raise ValueError(
                f"strategy {strategy!r} needs tangents of noise, which the model has not; pass the rows it was "
                f'fitted on (labeled=, --labeled), or fit with tangents=("strength", "posterior")'
            )
        model = model.with_posterior(known, samples=SAMPLES, threads=threads)
    alone = known is None or not model.objective.strength > 0
    if strategy in INFORMING and embedding not in OF_NOISE and alone:
        raise ValueError(
            f"strategy {strategy!r} on {embedding!r} embeddings needs labeled= and a strength > 0: it takes them "
            f"for a linear model with those labels"
        )
    return model


def _usable(rows: NDArray, known: NDArray | None, k: int) -> Rows:
    """Numbers of the finite rows that have no label, one of each kind of equals."""
    good = checks.finite_rows(rows)
    bad = len(rows) - int(np.count_nonzero(good))
    if bad:
        warnings.warn(
            f"{bad} {'row holds' if bad == 1 else 'rows hold'} a value that is not finite (first: row "
            f"{int(np.argmin(good))}) and cannot be picked",
            UserWarning,
            stacklevel=3,
        )
    keys = row_keys(rows)
    alike = ~first_of_equals(rows, keys)
    had = np.zeros(len(rows), bool) if known is None else rows_among(rows, keys, known)
    usable = np.flatnonzero(good & ~alike & ~had)
    if k > len(usable):
        raise ValueError(
            f"k must be at most the {len(usable)} rows of the pool that can be picked, got {k}: {bad} are not finite, "
            f"{np.count_nonzero(had)} have a label, {np.count_nonzero(alike & good & ~had)} equal an earlier row"
        )
    return usable


def _thinned(
    model: Model, rows: NDArray, usable: Rows, how: str, most: float, seed: int, threads: int | None
) -> Rows:
    m = int(most)
    if how == "random":
        return np.sort(np.random.default_rng([seed, 1]).choice(usable, m, replace=False))
    return np.sort(usable[_smallest(-_score(model, rows, how, threads)[usable], m)])


def _score(model: Model, rows: NDArray, name: str, threads: int | None) -> Float:
    """Curiosity, or the length of s(x) in standard units, of rows: (n,); nan where a row is not finite."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*value that is not finite")  # `_usable` says so
        warnings.simplefilter("ignore", UntrustedTangentWarning)  # and `select` this, to its caller
        scores = model.score(rows, threads=threads)
    if name == "curiosity":
        return scores.curiosity
    s = scores.sensitivity.reshape(len(rows), -1).astype(np.float64) / model.scaling.y_scale
    return np.sqrt(np.sum(s * s, axis=1))


def _curiosity(model: Model, picked: NDArray, threads: int | None) -> Float:
    """What the picks show; not what they were picked by, so without a warning."""
    if "strength" not in model.tangents:
        return np.full(len(picked), np.nan)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UntrustedTangentWarning)
        return model.curiosity(picked, threads=threads)


@dataclass(frozen=True, eq=False)
class _Batch:
    """What every strategy is given."""

    model: Model
    k: int
    known: NDArray | None  # rows with a label
    targets: NDArray | None
    seed: int
    threads: int | None

    def pick(
        self, strategy: str, embedding: str | None, weight: str | Float | None, rows: NDArray, usable: Rows
    ) -> Rows:
        """Places of k rows among the usable ones."""
        every = len(usable) == len(rows)
        if strategy in ("top", "sample"):  # all rows where they are: a pool may be larger than the memory
            assert weight is not None
            scores = _score(self.model, rows, weight, self.threads) if isinstance(weight, str) else weight
            return pick(scores[usable], self.k, strategy, self.seed)
        if strategy == "random":
            return pick(np.ones(len(usable)), self.k, strategy, self.seed)
        candidates = rows if every else rows[usable]
        if strategy == "egl":
            return pick(self._gradient_lengths(candidates), self.k, "top")
        if isinstance(weight, str):
            weight = _score(self.model, candidates, weight, self.threads)
        elif weight is not None:
            weight = weight[usable]
        if weight is not None and not weight.any():
            raise ValueError("weight must be above 0 for some row that can be picked, got 0 for all")
        if strategy in INFORMING:
            assert embedding is not None
            return self._inform(strategy, embedding, candidates, weight)
        if strategy == "greedy-y":
            E, C = self._predicted(candidates), None if self.known is None else self._predicted(self.known)
        else:
            kind = embedding or "input"
            E, C = (
                self._embedded(candidates, kind),
                None if self.known is None else self._embedded(self.known, kind),
            )
        if strategy == "kmeans++":
            rng = np.random.default_rng(self.seed)
            return distances.k_means_plus_plus(E, self.k, rng, C, weight, threads=self.threads)
        spread = distances.lcmd if strategy == "lcmd" else distances.k_center
        return spread(E, self.k, C, weight, threads=self.threads)

    def _inform(self, strategy: str, embedding: str, candidates: NDArray, weight: Float | None) -> Rows:
        E, noise = self._embedded(candidates, embedding), max(self.model.noise, LEAST_NOISE)
        aims = None if self.targets is None else self._embedded(self.targets, embedding)
        if embedding not in OF_NOISE:
            assert self.known is not None
            noise = self.model.objective.strength * len(self.known)
            C = self._embedded(self.known, embedding)
            E = covariances.conditioned(E, C, noise, threads=self.threads)
            aims = None if aims is None else covariances.conditioned(aims, C, noise, threads=self.threads)
        if strategy == "maxdet":
            return covariances.max_determinant(E, self.k, noise, weight, threads=self.threads)
        if strategy == "bait":
            return covariances.bait(E, self.k, noise, aims, threads=self.threads)
        return covariances.variance_reduction(E, self.k, noise, aims, weight, threads=self.threads)

    def _embedded(self, rows: NDArray, kind: str) -> NDArray:
        model = self.model
        if kind in OF_NOISE:
            model = replace(model, noise=max(model.noise, LEAST_NOISE))
        E = model.embed(rows, kind, seed=self.seed, threads=self.threads)
        checks.finite(f"the {kind} embedding of the rows", E)
        return E

    def _predicted(self, rows: NDArray) -> NDArray:
        """Standard units, so that no output counts for more than another."""
        found = self.model.predict(rows, threads=self.threads).reshape(len(rows), -1)
        return self.model.scaling.targets(found, found.dtype)

    def _gradient_lengths(self, rows: NDArray) -> Float:
        """sd(y) ||grad f||: the expected length of the gradient of a squared loss, up to a factor."""
        _, deviation = self.model.predict(rows, return_std=True, threads=self.threads)
        spread = np.square(deviation.reshape(len(rows), -1) / self.model.scaling.y_scale).mean(axis=1)
        n_threads = checks.thread_count(self.model.threads if self.threads is None else self.threads)
        return np.sqrt(spread * embeddings.gradient_norms(self.model, rows, threads=n_threads))


def pick(scores: NDArray, k: int, strategy: str, seed: int = 0) -> Rows:
    """Row numbers of k of the scores (n,): "top", "sample" or "random"; nan is never picked, ties go to the lower."""
    valid = np.flatnonzero(~np.isnan(scores))
    if strategy == "sample":
        valid = valid[scores[valid] > 0]
        if len(valid) < k and np.count_nonzero(~np.isnan(scores)) >= k:
            warnings.warn(
                f"only {len(valid)} rows have a weight above 0; the rest of the {k} is drawn uniformly",
                UserWarning,
                stacklevel=2,
            )
            rest = np.setdiff1d(np.flatnonzero(~np.isnan(scores)), valid)
            more = np.random.default_rng(seed).choice(rest, k - len(valid), replace=False)
            return np.concatenate([valid, more]).astype(np.int64)
    if k > len(valid):
        raise ValueError(f"k must be at most the {len(valid)} rows of the pool that can be picked, got {k}")
    if strategy == "top":
        keys = -scores[valid].astype(np.float64)
    else:
        # The k smallest of exponential variables with rates w_i are a draw without replacement with
        # probabilities proportional to w_i.
        keys = np.random.default_rng(seed).exponential(size=len(scores))[valid]
        if strategy == "sample":
            keys = np.log(keys) - np.log(scores[valid].astype(np.float64))
    return valid[_smallest(keys, k)].astype(np.int64)


def _smallest(keys: NDArray, k: int) -> NDArray[np.int64]:
    """Positions of the k smallest keys in rising order, ties by position; O(n)."""
    if k < len(keys):
        limit = np.partition(keys, k - 1)[k - 1]
        below = np.flatnonzero(keys < limit)
        among = np.concatenate([below, np.flatnonzero(keys == limit)[: k - len(below)]])
    else:
        among = np.arange(len(keys))
    return among[np.lexsort((among, keys[among]))]
