"""Strategies that need one number of each row: the first k of an order, whatever the size of the pool."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fasttangent.active.strategies.record import WEIGHTS, Batch, Strategy

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from fasttangent.active.pool import Usable
    from fasttangent.active.smallest import Kept, Ranks

    Float = NDArray[np.float64]
    Rows = NDArray[np.int64]
    Keys = NDArray[np.uint64]


def pick(scores: NDArray, k: int, strategy: str, seed: int = 0) -> Rows:
    """Row numbers of k of the scores (n,): "top", "sample" or "random"; nan is never picked, ties go to the lower."""
    import numpy as np

    from fasttangent.active.chance import chances

    numbers = np.arange(len(scores))
    value, tie = _RULES[strategy](scores.astype(np.float64), chances(numbers.astype(np.uint64), seed), 1.0)
    value[np.isnan(scores)] = np.nan
    order = np.lexsort((numbers, tie, value))[: np.count_nonzero(~np.isnan(value))]
    check_enough(k, len(order))
    if strategy == "sample":
        warn_of_no_weight(int(np.count_nonzero(scores > 0)), k)
    return order[:k]


def _highest(scores: Float, chance: Keys, price: Float | float) -> Ranks:
    import numpy as np

    from fasttangent.active.smallest import Ranks

    return Ranks(-(scores / price), np.zeros(len(scores), np.uint64))


def _by_chance(scores: Float, chance: Keys, price: Float | float) -> Ranks:
    import numpy as np

    from fasttangent.active.smallest import Ranks

    return Ranks(np.zeros(len(scores)), chance)


def _in_proportion(scores: Float, chance: Keys, price: Float | float) -> Ranks:
    """A draw without replacement: the k smallest of exponential variables with rates w_i (Efraimidis & Spirakis).

    Rows without weight come last, by chance.
    """
    import numpy as np

    from fasttangent.active.chance import exponential
    from fasttangent.active.smallest import Ranks

    with np.errstate(divide="ignore"):
        value = np.log(exponential(chance)) - np.log(scores) + np.log(price)
    return Ranks(np.minimum(value, np.finfo(np.float64).max), chance)


_RULES = {"top": _highest, "sample": _in_proportion, "random": _by_chance}


def warn_of_no_weight(weighty: int, k: int, within: str = "") -> None:
    """Where fewer than k rows have a weight."""
    from fasttangent.common.warning import warn

    if weighty < k:
        warn(f"only {weighty} rows have a weight above 0{within}; the rest of the {k} is drawn uniformly")


def check_enough(k: int, n: int) -> None:
    if k > n:
        raise ValueError(f"k must be at most the {n} rows of the pool that can be picked, got {k}")


def first_picks(batch: Batch, kept: Kept) -> Rows:
    """Places of the first k rows of an order that the limits let in."""
    import numpy as np

    from fasttangent.active.limits import Picks

    limits, k = batch.limits, batch.k
    if batch.weight is not None and kept.value[-1] == np.finfo(np.float64).max:  # `_in_proportion`
        weighty = np.flatnonzero(kept.value < np.finfo(np.float64).max)
        most = len(weighty) if limits is None else limits.of(weighty).most(len(weighty))
        warn_of_no_weight(most, k, ", within the limits" if limits is not None and limits.bind else "")
    if limits is None:
        return np.arange(k)
    return Picks(len(kept.number), k, limits).take_first(np.arange(len(kept.number)))


def _chance(batch: Batch, rows: Usable) -> Keys:
    from fasttangent.active.chance import chances

    return chances(rows.keys, batch.seed)


def _price(batch: Batch, rows: Usable) -> Float | float:
    """What a score is divided by."""
    import numpy as np

    if batch.limits is None:
        return 1.0
    price = batch.limits.price
    return price[rows.numbers] if isinstance(price, np.ndarray) else price


def _noise(batch: Batch, rows: Usable) -> Float | float:
    """How many times the usual variance a label has."""
    import numpy as np

    noise = 1.0 if batch.limits is None else batch.limits.noise
    return noise[rows.numbers] if isinstance(noise, np.ndarray) else noise


def _weights(batch: Batch, rows: Usable) -> Float:
    """Scores, of a label that is noisier as it counts, 1 / noise of one.

    So curiosity, the mean square of loss' s(x), becomes that of loss' s(x) / noise, with loss'^2 noise times as large.
    """
    assert batch.weight is not None
    if isinstance(batch.weight, str):
        noise, scores = _noise(batch, rows), batch.score(batch.weight, rows.rows)
        if isinstance(noise, float):
            return scores
        return scores / (noise if batch.weight == WEIGHTS[0] else noise**0.5)
    found: Float = batch.weight[rows.numbers]
    return found


def _sample(batch: Batch, rows: Usable) -> Ranks:
    return _in_proportion(_weights(batch, rows), _chance(batch, rows), _price(batch, rows))


def _top(batch: Batch, rows: Usable) -> Ranks:
    return _highest(_weights(batch, rows), rows.keys, _price(batch, rows))


def _random(batch: Batch, rows: Usable) -> Ranks:
    import numpy as np

    return _by_chance(np.empty(len(rows.numbers)), _chance(batch, rows), 1.0)


def _gradient_length(batch: Batch, rows: Usable) -> Ranks:
    """sd(y) ||grad f|| / noise: the expected length of the gradient of a squared loss, up to a factor."""
    import numpy as np

    from fasttangent.common import checks
    from fasttangent.model.embeddings import gradient_norms
    from fasttangent.model.scores import mean

    model = batch.model
    found = model.predict(rows.rows, return_std=True, threads=batch.threads)
    prediction, deviation = (values.reshape(len(rows.rows), -1) for values in found)
    spread = np.square(model.scaling.standard_changes(deviation, prediction)).mean(axis=1)
    n_threads = checks.thread_count(model.threads if batch.threads is None else batch.threads)
    noise = _noise(batch, rows)
    if isinstance(noise, np.ndarray) or noise != 1:
        spread = np.maximum(spread + (noise - 1) * model.noise, noise * model.noise)
    norms = mean(gradient_norms(one, rows.rows, threads=n_threads) for one in model.models)
    return _highest(np.sqrt(spread * norms) / noise, rows.keys, _price(batch, rows))


FAMILY = (
    Strategy(
        "sample",
        "by chance, in proportion to the weight",
        "Efraimidis & Spirakis 2006; one forward pass",
        "by chance, in proportion to curiosity",
        rank=_sample,
        weight="curiosity",
        takes_noise=True,
    ),
    Strategy(
        "top",
        "the highest weights: near copies of each other, which teach less than random rows; good for looking at, and "
        "for one query",
        "one forward pass",
        "the most curious, which are much alike",
        rank=_top,
        weight="curiosity",
        takes_noise=True,
    ),
    Strategy(
        "egl",
        "the highest expected gradient length, sd(y) ||grad f||",
        "Settles et al. 2008, Cai et al. 2013",
        "longest gradients",
        rank=_gradient_length,
        takes_weight=False,
        takes_noise=True,
        needs_noise=True,
    ),
    Strategy(
        "random",
        "uniformly, the baseline",
        "none",
        "uniformly",
        rank=_random,
        takes_weight=False,
    ),
)
