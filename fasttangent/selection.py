"""From scores of a pool to the numbers of the rows to label next."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fasttangent import checks

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fasttangent.model import Model

STRATEGIES = ("top", "random", "sample")


@dataclass(frozen=True, eq=False)
class Selection:
    """Rows picked from a pool.

    Attributes
    ----------
    indices : ndarray of int64, shape (k,)
        Row numbers in the pool, no number twice; by falling score for "top", else in the order of drawing.
    scores : ndarray of float64, shape (k,)
        Curiosity of each picked row.
    strategy : str
    trusted : bool
        Whether the model's certificate vouches for the scores.
    """

    indices: NDArray[np.int64]
    scores: NDArray[np.float64]
    strategy: str
    trusted: bool

    def __len__(self) -> int:
        return len(self.indices)


def select(
    model: Model,
    pool: Any,
    k: int,
    *,
    strategy: str = "sample",
    labeled: Any = None,
    seed: int = 0,
    threads: int | None = None,
) -> Selection:
    """Pick k rows of a pool to label next.

    Parameters
    ----------
    model : Model
    pool : array_like of shape (n, n_features)
        Candidates, in the units the model was fitted on; also a memory map.  Rows with a value that is not
        finite are never picked; a warning says how many there are.
    k : int
        Number of rows.
    strategy : {"sample", "top", "random"}
        "sample": without replacement, probability proportional to curiosity (Efraimidis & Spirakis 2006).
        "top": the k highest curiosities; good for looking at and for single queries, but the top of a pool is
        full of near copies, and a batch of them teaches less than a random one.
        "random": uniformly, the baseline.
    labeled : array_like of shape (m, n_features), optional
        Rows that have a label already; identical rows of the pool are not picked.
    seed : int
        Of "sample" and "random".
    threads : int, optional
        Default: the model's.

    Returns
    -------
    Selection

    Raises
    ------
    ValueError
        If fewer than k rows can be picked, or an argument is not as described.

    Examples
    --------
    >>> import numpy as np, fasttangent as ft
    >>> rng = np.random.default_rng(0)
    >>> X = rng.uniform(-1, 1, (60, 1))
    >>> model = ft.fit(X, np.sin(3 * X[:, 0]), hidden=(8,), epochs=50)
    >>> picks = ft.select(model, np.linspace(-2, 2, 1001)[:, None], 5, strategy="top")
    >>> picks.indices.dtype, len(picks)
    (dtype('int64'), 5)
    """
    checks.choice("strategy", strategy, STRATEGIES)
    k = checks.integer("k", k, at_least=1)
    rows = checks.features("pool", pool, model.n_features, model.feature_names)
    if k > len(rows):
        raise ValueError(f"k must be at most the {len(rows)} rows of the pool, got {k}")
    known = (
        checks.features("labeled", labeled, model.n_features, model.feature_names)
        if labeled is not None
        else None
    )
    scores = model.score(rows, threads=threads).curiosity
    if known is not None:
        scores[_rows_among(rows, known)] = np.nan
    indices = pick(scores, k, strategy, seed)
    return Selection(indices, scores[indices], strategy, model.certificate.trusted)


def pick(scores: NDArray, k: int, strategy: str, seed: int = 0) -> NDArray[np.int64]:
    """Row numbers (int64) of k of the scores (n,); nan is never picked, ties go to the lower row number."""
    valid = np.flatnonzero(~np.isnan(scores))
    if strategy == "sample":
        valid = valid[scores[valid] > 0]
        if len(valid) < k and np.count_nonzero(~np.isnan(scores)) >= k:
            warnings.warn(
                f"only {len(valid)} rows have a curiosity above 0; the rest of the {k} is drawn uniformly",
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


def _rows_among(rows: NDArray, known: NDArray) -> NDArray[np.bool_]:
    """For each row whether it equals one of `known`."""
    seen = {row.tobytes() for row in np.ascontiguousarray(known, np.float64) + 0.0}  # + 0.0: -0.0 is 0.0
    found = np.zeros(len(rows), bool)
    for start in range(0, len(rows), checks.ROWS_PER_CHECK):
        chunk = np.ascontiguousarray(rows[start : start + checks.ROWS_PER_CHECK], np.float64) + 0.0
        found[start : start + len(chunk)] = [row.tobytes() in seen for row in chunk]
    return found
