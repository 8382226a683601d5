"""Sums of arrays that do not depend on the order or on who added up what: fixed point, each array in its own unit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Float = NDArray[np.float64]

BITS = 44  # that an array's largest value keeps; so 2^19 arrays of one size have room in 64 bits


class ExactSum:
    """The sum of arrays of one shape, each rounded to BITS bits of its largest value."""

    def __init__(self) -> None:
        self._levels: dict[int, NDArray[np.int64]] = {}

    def add(self, a: Float) -> ExactSum:
        level = int(np.frexp(np.max(abs(a), initial=0.0))[1])
        self._put(level, np.rint(np.ldexp(a, BITS - level)).astype(np.int64))
        return self

    def merge(self, other: ExactSum) -> ExactSum:
        for level, part in other._levels.items():
            self._put(level, part)
        return self

    def total(self) -> Float:
        found = np.zeros(())
        for level in sorted(self._levels):
            found = found + np.ldexp(self._levels[level].astype(np.float64), level - BITS)
        return found

    def _put(self, level: int, part: NDArray[np.int64]) -> None:
        held = self._levels.get(level)
        self._levels[level] = part if held is None else held + part
