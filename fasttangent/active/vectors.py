"""Batches from vectors of any origin: of a language model, the leaves of boosted trees, a layer of a torch network."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from fasttangent.active import covariances, distances
from fasttangent.active.asked import given_weight
from fasttangent.active.candidates import as_they_come, first_rows
from fasttangent.active.picked import Selection
from fasttangent.active.pool import ArrayPool, Screen, excluded
from fasttangent.active.strategies.record import somewhere
from fasttangent.active.terms import positive, terms_of
from fasttangent.common import checks
from fasttangent.common.duplicates import row_keys
from fasttangent.problem.scaling import largest_square_root

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Float = NDArray[np.float64]
    Rows = NDArray[np.int64]

SPREADING: dict[str, Callable[..., Rows]] = {
    "lcmd": lambda E, k, C, w, seed, how: distances.lcmd(E, k, C, w, **how),
    "kmeans++": lambda E, k, C, w, seed, how: distances.k_means_plus_plus(
        E, k, row_keys(E), seed, C, w, **how
    ),
    "kcenter": lambda E, k, C, w, seed, how: distances.k_center(E, k, C, w, **how),
}
TELLING: dict[str, Callable[..., Rows]] = {
    "variance": lambda E, k, noise, T, w, how: covariances.variance_reduction(E, k, noise, T, w, **how),
    "bait": lambda E, k, noise, T, w, how: covariances.bait(E, k, noise, T, **how),
    "maxdet": lambda E, k, noise, T, w, how: covariances.max_determinant(E, k, noise, w, **how),
}


def select_embeddings(
    E: Any,
    k: int,
    *,
    strategy: str = "lcmd",
    labeled: Any = None,
    targets: Any = None,
    weight: Any = None,
    noise: Any = None,
    labeled_noise: Any = None,
    exclude: Any = None,
    groups: Any = None,
    per_group: int | None = None,
    cost: Any = None,
    max_cost: float | None = None,
    seed: int = 0,
    threads: int | None = None,
) -> Selection:
    """Pick k of the candidates whose embeddings are the rows of E, as `select` does with those of a model.

    Rows that are not finite are never picked; nor are copies, of each other or of rows of `labeled`.

    Parameters
    ----------
    E : array_like of shape (n, D)
        A vector for each candidate, float32 or float64; others become float64.
    k : int
        Number of rows.
    strategy : {"lcmd", "kmeans++", "kcenter", "variance", "bait", "maxdet"}
        The first three keep away from the rows that have a label or are picked, in Euclidean distance; the others take
        E for the rows of a linear model whose weights have the prior covariance I, see `select`.
    labeled : array_like of shape (m, D), optional
        Vectors of rows that have a label: centres, or what the linear model knows.
    targets : array_like of shape (t, D), optional
        Of "variance" and "bait": rows whose predictions matter.  Default: the candidates.
    weight : array_like of shape (n,), optional
        A score >= 0 of every row, as for `select`; not of "bait", nor with `targets`.
    noise : float or array_like of shape (n,), optional
        Variance of a label > 0, where the variance of a prediction is e.e before anything is known; or of the label of
        every row, where some are known to be noisier: of equal rows the least noisy then stands for all.  The
        strategies with a linear model need it.
    labeled_noise : float or array_like of shape (m,), optional
        Variance of the labels of `labeled`.  Default: `noise`, if that is one number.
    exclude : array_like, optional
        Rows of E that must not be picked, as for `select`: row numbers, or a mask of shape (n,).
    groups : array_like of shape (n,), optional
        A label of any kind for every row: its site, patient or plate.
    per_group : int, optional
        At most so many picks of a group, as for `select`.
    cost : array_like of shape (n,), optional
        What a label of every row costs, > 0: each pick is the one of the best gain per cost, as for `select`.
    max_cost : float, optional
        What the picks may cost together at the most, where k is the most there may be.
    seed : int
        Of "kmeans++".
    threads : int, optional
        Default: one per core.  Picks do not depend on it.

    Returns
    -------
    Selection
        ``scores`` are nan and ``trusted`` is false, as there is no model to vouch for anything; ``embedding`` is
        "given".

    Raises
    ------
    ValueError
        If fewer than k different rows can be picked, or fewer within `per_group`, or an argument is not as described.

    Examples
    --------
    >>> import numpy as np
    >>> import fasttangent as ft
    >>> rng = np.random.default_rng(0)
    >>> leaves = rng.integers(0, 8, (1000, 50))  # of trees: scikit-learn's apply(X), LightGBM's pred_leaf=True
    >>> E = (leaves[:, :, None] == np.arange(8)).reshape(1000, -1).astype(np.float32)
    >>> picks = ft.select_embeddings(E, 5, strategy="lcmd", labeled=E[:20])
    >>> len(picks), bool((picks.indices >= 20).all())
    (5, True)
    >>> ft.select_embeddings(E, 5, cost=np.where(leaves[:, 0] > 3, 9.0, 2.0), max_cost=7).cost
    6.0

    Texts, of which half would be labelled by a crowd, whose answers are off by 1, and half by an expert, off by 0.3.
    True answers differ by 1 or so, and so much a unit vector lets a linear model expect:

    >>> V = rng.normal(size=(1000, 64))  # of a language model
    >>> V /= np.linalg.norm(V, axis=1, keepdims=True)
    >>> crowd = rng.random(1000) < 0.5
    >>> picks = ft.select_embeddings(V, 20, strategy="variance", noise=np.where(crowd, 1, 0.3) ** 2)
    >>> int(crowd[picks.indices].sum())
    0
    """
    checks.choice("strategy", strategy, (*SPREADING, *TELLING))
    rows = _vectors("E", E, None)
    k, seed = checks.integer("k", k, at_least=1), checks.seed(seed)
    if k > len(rows):
        raise ValueError(f"k must be at most the {len(rows)} rows of E, got {k}")
    known = None if labeled is None else _vectors("labeled", labeled, rows, finite=True)
    aims = None if targets is None else _vectors("targets", targets, rows, finite=True)
    _check_use(strategy, aims, weight, noise)
    variance, each = _variances(noise)
    of_known = _of_known(strategy, known, labeled_noise, noise)
    scores = None if weight is None else given_weight(weight, len(rows))
    out = excluded(exclude, len(rows))
    terms = terms_of(
        len(rows), k, groups=groups, per_group=per_group, cost=cost, max_cost=max_cost, noise=each, out=out
    )
    screen = Screen(
        lambda part: checks.finite_rows(part, largest_square_root(part.dtype)), known, out, order=terms.order
    )
    found = first_rows(ArrayPool(rows), screen, len(rows), as_they_come)
    able = found.rows.number
    how = {"threads": threads, "limits": found.within(terms.limits, k, able)}
    candidates = terms.numbered(ArrayPool(rows)).take(able)
    if scores is not None:
        scores = somewhere(terms.of(scores)[able])
    if strategy in SPREADING:
        picks = SPREADING[strategy](candidates, k, known, scores, seed, how)
    else:
        if known is not None:
            candidates = covariances.conditioned(candidates, known, of_known, threads=threads)
            aims = None if aims is None else covariances.conditioned(aims, known, of_known, threads=threads)
        picks = TELLING[strategy](candidates, k, variance, aims, scores, how)
    picked = terms.rows(able[picks])
    return Selection(
        picked,
        np.full(len(picks), np.nan),
        strategy,
        False,
        len(able),
        "given",
        None if weight is None else "given",
        terms.spent(picked),
        verified=True,
        shortfall=0.0,
    )


def _variances(noise: Any) -> tuple[float, Any]:
    """The variance of every label, and what that of each row is in units of it, if there is more to say."""
    if noise is None:
        return 1.0, None
    return (1.0, noise) if np.ndim(noise) else (checks.number("noise", noise, above=0), None)


def _of_known(strategy: str, known: NDArray | None, given: Any, noise: Any) -> Float | float:
    """The variance of the labels of `labeled`, of all or each."""
    if given is None:
        if known is not None and strategy in TELLING and np.ndim(noise):
            raise ValueError(
                "labeled_noise must be given with labeled where noise is an array; it is the variance of their labels"
            )
        return 1.0 if np.ndim(noise) or noise is None else checks.number("noise", noise, above=0)
    if known is None or strategy in SPREADING:
        without = "labeled" if known is None else f"use to strategy {strategy!r}"
        raise ValueError(f"labeled_noise must be left out without {without}, got {given!r}")
    if np.ndim(given):
        return positive("labeled_noise", given, len(known), "labeled")
    return checks.number("labeled_noise", given, above=0)


def _vectors(name: str, given: Any, like: NDArray | None, finite: bool = False) -> NDArray:
    """Rows of float32 or float64; of the width and dtype of others."""
    rows = checks.matrix(name, given, min_rows=1)
    dtype = rows.dtype if rows.dtype in (np.float32, np.float64) else np.dtype(np.float64)
    if like is not None:
        if rows.shape[1] != like.shape[1]:
            raise ValueError(f"{name} must have {like.shape[1]} columns, as E has, got {rows.shape[1]}")
        dtype = like.dtype
    rows = np.ascontiguousarray(rows, dtype)
    if finite:
        checks.finite(name, rows)
    return rows


def _check_use(strategy: str, aims: Any, weight: Any, noise: Any) -> None:
    """Raise where an argument has no use, or one that is needed is missing."""
    if aims is not None and strategy not in ("variance", "bait"):
        raise ValueError(f"targets are for strategies 'variance' and 'bait', got them with {strategy!r}")
    if weight is not None and (strategy == "bait" or aims is not None):
        raise ValueError("weight must be None for strategy 'bait' and where targets are given")
    if noise is None and strategy in TELLING:
        raise ValueError(f"noise must be the variance of a label for strategy {strategy!r}, got None")
    if noise is not None and strategy in SPREADING:
        found = "an array" if np.ndim(noise) else noise
        raise ValueError(
            f"noise must be left out for strategy {strategy!r}, got {found}; weight=1 / noise makes noisy rows less far"
        )
