"""Chance that belongs to a row: from its values and the seed alone, wherever and beside whichever rows it is read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Float = NDArray[np.float64]
    Keys = NDArray[np.uint64]

# What a draw is for: two of one seed know nothing of each other.  From DRAWING on, one for each step.
PICKING, THINNING, DRAWING = 0, 1, 2


def chances(keys: Keys, seed: int, purpose: int = PICKING) -> Keys:
    """A uniform number of 64 bits for every key: splitmix64 (Steele et al. 2014), of which the key is the counter."""
    salt = np.random.SeedSequence([seed, purpose]).generate_state(2, np.uint64)
    bits = (keys ^ salt[0]) * np.uint64(0x9E3779B97F4A7C15) + salt[1]
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        bits ^= bits >> np.uint64(shift)
        bits *= np.uint64(factor)
    bits ^= bits >> np.uint64(31)
    return bits


def exponential(chance: Keys) -> Float:
    """Exponential variables of mean 1, > 0."""
    return -np.log(((chance >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52)
