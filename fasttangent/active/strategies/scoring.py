"""Strategies that need one number of each row."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fasttangent.active.strategies.record import Batch, Strategy

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from fasttangent.active.limits import Limits

    Rows = NDArray[np.int64]


def pick(scores: NDArray, k: int, strategy: str, seed: int = 0) -> Rows:
    """Row numbers of k of the scores (n,): "top", "sample" or "random"; nan is never picked, ties go to the lower."""
    return _RULES[strategy](scores, k, seed)


def _highest(scores: NDArray, k: int, seed: int, limits: Limits | None = None) -> Rows:
    import numpy as np

    valid = _valid(scores, k)
    return _first(valid, -(scores.astype(np.float64) / _price(limits))[valid], k, len(scores), limits)


def _at_random(scores: NDArray, k: int, seed: int, limits: Limits | None = None) -> Rows:
    import numpy as np

    valid = _valid(scores, k)
    return _first(
        valid, np.random.default_rng(seed).exponential(size=len(scores))[valid], k, len(scores), limits
    )


def _in_proportion(scores: NDArray, k: int, seed: int, limits: Limits | None = None) -> Rows:
    """A draw without replacement: the k smallest of exponential variables with rates w_i (Efraimidis & Spirakis)."""
    import numpy as np

    from fasttangent.common.warning import warn

    known = np.flatnonzero(~np.isnan(scores))
    valid = known[scores[known] > 0]
    rng, short = np.random.default_rng(seed), False
    most = len(valid) if limits is None else limits.of(valid).most(len(valid))
    if most < k <= len(known):
        within, short = "" if limits is None else ", within the limits", True
        warn(f"only {most} rows have a weight above 0{within}; the rest of the {k} is drawn uniformly")
    if short and limits is None:
        more = rng.choice(np.setdiff1d(known, valid), k - len(valid), replace=False)
        return np.concatenate([valid, more]).astype(np.int64)
    if not short:
        _check_enough(k, len(valid))
    keys = np.log(rng.exponential(size=len(scores))[valid]) - np.log(scores[valid].astype(np.float64))
    keys += np.log(np.broadcast_to(_price(limits), scores.shape)[valid])
    if not short:
        return _first(valid, keys, k, len(scores), limits)
    order = np.concatenate([valid[np.argsort(keys)], rng.permutation(np.setdiff1d(known, valid))])
    return _first(order, np.arange(len(order)), k, len(scores), limits)


def _price(limits: Limits | None) -> NDArray | float:
    """What a score is divided by."""
    return 1.0 if limits is None else limits.price()


def _first(rows: Rows, keys: NDArray, k: int, n: int, limits: Limits | None) -> Rows:
    """Of n rows those of the k smallest keys that the limits let in, ties by place."""
    import numpy as np

    from fasttangent.active.limits import Picks

    if limits is None:
        return rows[smallest(keys, k)]
    picks = Picks(n, k, limits)
    return picks.take_first(rows[np.argsort(keys, kind="stable")])


_RULES = {"top": _highest, "sample": _in_proportion, "random": _at_random}


def _valid(scores: NDArray, k: int) -> Rows:
    import numpy as np

    valid = np.flatnonzero(~np.isnan(scores))
    _check_enough(k, len(valid))
    return valid.astype(np.int64, copy=False)


def _check_enough(k: int, n: int) -> None:
    if k > n:
        raise ValueError(f"k must be at most the {n} rows of the pool that can be picked, got {k}")


def smallest(keys: NDArray, k: int) -> Rows:
    """Positions of the k smallest keys in rising order, ties by position; O(n)."""
    import numpy as np

    if k < len(keys):
        limit = np.partition(keys, k - 1)[k - 1]
        below = np.flatnonzero(keys < limit)
        among = np.concatenate([below, np.flatnonzero(keys == limit)[: k - len(below)]])
    else:
        among = np.arange(len(keys))
    return among[np.lexsort((among, keys[among]))]


def _sample(batch: Batch) -> Rows:
    weights = batch.weights()
    assert weights is not None
    return _in_proportion(weights, batch.k, batch.seed, batch.limits)


def _top(batch: Batch) -> Rows:
    weights = batch.weights()
    assert weights is not None
    return _highest(weights, batch.k, batch.seed, batch.limits)


def _random(batch: Batch) -> Rows:
    import numpy as np

    return _at_random(np.ones(len(batch.usable)), batch.k, batch.seed, batch.limits)


def _gradient_length(batch: Batch) -> Rows:
    """sd(y) ||grad f||: the expected length of the gradient of a squared loss, up to a factor."""
    import numpy as np

    from fasttangent.common import checks
    from fasttangent.model.embeddings import gradient_norms
    from fasttangent.model.scores import mean

    model, rows = batch.model, batch.candidates()
    _, deviation = model.predict(rows, return_std=True, threads=batch.threads)
    spread = np.square(deviation.reshape(len(rows), -1) / model.scaling.y_scale).mean(axis=1)
    n_threads = checks.thread_count(model.threads if batch.threads is None else batch.threads)
    norms = mean(gradient_norms(one, rows, threads=n_threads) for one in model.models)
    return _highest(np.sqrt(spread * norms), batch.k, batch.seed, batch.limits)


FAMILY = (
    Strategy(
        "sample",
        "by chance, in proportion to the weight",
        "Efraimidis & Spirakis 2006; n log n",
        "by chance, in proportion to curiosity",
        _sample,
        weight="curiosity",
        thinned=False,
    ),
    Strategy(
        "top",
        "the highest weights: near copies of each other, which teach less than random rows; good for looking at, and "
        "for one query",
        "one forward pass",
        "the most curious, which are much alike",
        _top,
        weight="curiosity",
        thinned=False,
    ),
    Strategy(
        "egl",
        "the highest expected gradient length, sd(y) ||grad f||",
        "Settles et al. 2008, Cai et al. 2013",
        "longest gradients",
        _gradient_length,
        takes_weight=False,
        needs_noise=True,
        thinned=False,
    ),
    Strategy(
        "random",
        "uniformly, the baseline",
        "none",
        "uniformly",
        _random,
        takes_weight=False,
        thinned=False,
    ),
)
