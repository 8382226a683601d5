"""What the differences of paired runs say; they are arrays (n_seeds,), one for each set.

The effect of a method is the mean over the sets of the mean over their seeds, each set with the same weight.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

FLIPS, DRAWS, LEVEL = 100_000, 10_000, 0.95
BLOCK = 1000  # flips or draws at a time


class Effect(NamedTuple):
    """A mean difference and its interval."""

    mean: float
    low: float
    high: float

    def per_cent(self) -> Effect:
        """Of differences of logarithms: by how much the error itself is changed."""
        return Effect(*(100 * float(np.expm1(value)) for value in self))


def mean_effect(differences: list[np.ndarray]) -> float:
    """Mean over sets of the mean over seeds."""
    return float(np.mean([np.mean(d) for d in differences]))


def sign_flip_p(differences: list[np.ndarray], flips: int = FLIPS, seed: int = 0) -> float:
    """Two-sided p of "no difference", under which every seed's difference is as likely with the other sign.

    Random flips; the observed arrangement counts as one of them, so p is never 0 and the test is exact.
    """
    weights = _weighted(differences)
    observed = abs(weights.sum())
    rng, extreme, done = np.random.default_rng(seed), 0, 0
    while done < flips:
        n = min(BLOCK, flips - done)
        signs = rng.choice((-1.0, 1.0), size=(n, len(weights)))
        # Equal sums must count as such whatever the order they were added in.
        extreme += int(np.count_nonzero(abs(signs @ weights) >= observed * (1 - 1e-12)))
        done += n
    return (1 + extreme) / (1 + flips)


def holm(p_values: list[float]) -> list[float]:
    """Holm's adjusted p-values, in the order given."""
    p = np.asarray(p_values, float)
    order = np.argsort(p, kind="stable")
    steps = np.minimum(1, np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)))
    adjusted = np.empty_like(steps)
    adjusted[order] = steps
    return [float(value) for value in adjusted]


def bootstrap(differences: list[np.ndarray], draws: int = DRAWS, seed: int = 0) -> Effect:
    """The effect and its interval: seeds drawn with replacement within each set.

    Deviations of a resampled mean are too small by sqrt((n - 1) / n), which is made good.
    """
    rng, means = np.random.default_rng(seed), np.zeros(draws)
    for d in differences:
        n = len(d)
        if n < 2:
            raise ValueError(f"every set must have at least 2 seeds, got {n}")
        drawn = d[rng.integers(n, size=(draws, n))].mean(axis=1) - d.mean()
        means += drawn * np.sqrt(n / (n - 1)) / len(differences)
    mean = mean_effect(differences)
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Effect(mean, mean + float(low), mean + float(high))


def paired_t(differences: np.ndarray) -> Effect:
    """Mean of the seeds of one set, and Student's interval."""
    from scipy.stats import t

    n, mean = len(differences), float(np.mean(differences))
    if n < 2:
        raise ValueError(f"an interval needs at least 2 seeds, got {n}")
    half = float(t.ppf((1 + LEVEL) / 2, n - 1) * np.std(differences, ddof=1) / np.sqrt(n))
    return Effect(mean, mean - half, mean + half)


def tally(differences: list[np.ndarray]) -> tuple[int, int, int]:
    """Sets with a lower error, without a difference, and with a higher error: by whether the interval holds 0."""
    effects = [paired_t(d) for d in differences]
    wins = sum(effect.high < 0 for effect in effects)
    losses = sum(effect.low > 0 for effect in effects)
    return wins, len(effects) - wins - losses, losses


def _weighted(differences: list[np.ndarray]) -> np.ndarray:
    """Terms that add up to the effect."""
    return np.concatenate([d / (len(d) * len(differences)) for d in differences])
