"""Some of many rows at random, with chances in proportion to a size, so that averages over all can be told."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Float = NDArray[np.float64]
    Rows = NDArray[np.int64]

LEAST = 1e-3  # of the mean size, which every row has: one whose size was estimated as nothing may matter after all


def draw(size: Float, m: int, rng: np.random.Generator) -> tuple[Rows, Float]:
    """m of the rows (one less where rounding has it), ascending, and the chances they had.

    A sum over all rows is, on the average over draws, that over the rows drawn of values divided by their chances.
    By systematic sampling: the rows lie one behind the other on a line, each as long as its chance, and those under the
    marks of a ruler are drawn.
    """
    chances = inclusion(size, m)
    ends = np.cumsum(chances) + rng.random()
    drawn = np.flatnonzero(np.diff(np.floor(ends), prepend=np.floor(ends[0] - chances[0])) > 0)
    return drawn, chances[drawn]


def inclusion(size: Float, m: int) -> Float:
    """Chances that add up to m < n, in proportion to sizes >= 0 but none above 1."""
    size = size + (LEAST * size.mean() or 1.0)
    certain, found = np.zeros(len(size), bool), np.ones(len(size))
    while True:
        left = size[~certain]
        scale = (m - np.count_nonzero(certain)) / left.sum()
        more = ~certain & (scale * size >= 1)
        if not more.any():
            found[~certain] = scale * left
            return found
        certain |= more
