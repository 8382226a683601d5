"""What rows would have gained along given picks, nearly: of all picks in one product.

Greedy takes one pick after the other, as each depends on those before.  Along picks that are known none does, so what
they change is found once for all rows of a pool.  The sums are those of `AverageVariance` in another order, so equal to
rounding only: enough to say which rows come nowhere near the picks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from fasttangent.active.covariances import AverageVariance
from fasttangent.active.distances import each_chunk
from fasttangent.active.limits import Picks
from fasttangent.active.linear_model import DEPTH, Average, Update, squares_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Float = NDArray[np.float64]


class Stretch(NamedTuple):
    """Picks between two moments at which a and b are computed from scratch."""

    L: Float | None  # a = |e L|^2 and b = |e R|^2 before the first of them
    R: Float
    directions: NDArray  # (D, 2 s): u and w of each pick that changes a and b before the next is taken
    norms: Float  # (s,) u.M u
    gains: Float  # (s + 1,) of the picks


class Path:
    """Picks F (k, D) of the average `average`."""

    def __init__(self, F: NDArray, average: Average, noise: float, threads: int) -> None:
        self._threads = threads
        state = AverageVariance(F, average, Picks(len(F), len(F), None), noise, threads, by_moments=True)
        self._noise, self._stretches = state.noise, list[Stretch]()
        factors: tuple[Float | None, Float] = (None, average.root)
        changes: list[Update] = []
        gains: list[float] = []
        for i in range(len(F)):
            change, measured = state.change, state.measured
            state.best()
            if state.measured > measured:
                self._end(factors, changes, gains)
                factors, changes, gains = state.factors, [], []
            elif i:
                changes.append(change)
            gains.append(state.gain(i))
            state.take(i)
        self._end(factors, changes, gains)

    def _end(self, factors: tuple[Float | None, Float], changes: list[Update], gains: list[float]) -> None:
        turned = np.array([*(c.u for c in changes), *(c.w for c in changes)]).reshape(-1, len(factors[1]))
        norms = np.array([c.norm_M for c in changes])
        self._stretches.append(Stretch(*factors, np.ascontiguousarray(turned.T), norms, np.array(gains)))

    def ratios(self, E: NDArray) -> Float:
        """Of each row, the largest of its gains over those of the picks."""
        found = np.zeros(len(E))
        for part in self._stretches:
            a, b = squares_of(E, part.L, self._threads), squares_of(E, part.R, self._threads)
            d = self._product(E, part.directions.astype(E.dtype))
            self._follow(found, a, b, d, part)
        return found

    def _follow(self, found: Float, a: Float, b: Float, d: NDArray, part: Stretch) -> None:
        s = len(part.norms)

        def task(start: int, stop: int) -> None:
            rows = slice(start, stop)
            here, b_here, best = a[rows], b[rows], found[rows]
            turned = np.ascontiguousarray(d[rows].T, np.float64)
            for t, gain in enumerate(part.gains):
                if t:
                    du, dw = turned[t - 1], turned[s + t - 1]
                    here -= du * du
                    b_here += du * (du * part.norms[t - 1] - 2 * dw)
                if gain > 0:
                    np.maximum(best, b_here / (self._noise + np.maximum(here, 0.0)) / gain, out=best)

        each_chunk(task, len(found), self._threads)

    def _product(self, E: NDArray, B: NDArray) -> NDArray:
        from fasttangent.kernels.dense import product_of_panel

        C = np.zeros((len(E), B.shape[1]), E.dtype)
        each_chunk(lambda start, stop: product_of_panel(C, E, B, start, stop, DEPTH), len(E), self._threads)
        return C
