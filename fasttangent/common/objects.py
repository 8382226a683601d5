"""Python objects that come again and again, such as the text of a column, known by where they are in memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Objects = NDArray[np.object_]
    Codes = NDArray[np.int64]

SLOTS = 4096
AT_ONCE = 512  # objects to remember of one part, which bounds the work where no two are the same


class SameObjects:
    """Codes of objects, computed by a function of an array of them, once for one that is remembered.

    What is remembered is held, so that no other object can take its place in memory.  Equal objects that are not the
    same are computed each.
    """

    def __init__(self, codes: Callable[[Objects], Codes]) -> None:
        self._compute = codes
        self._memory = np.full(SLOTS, -1), np.zeros(SLOTS, np.int64), np.full(SLOTS, None, object)

    def codes(self, objects: Objects) -> Codes:
        """Of each (n,); also from several threads."""
        addresses, (known, codes, held) = _addresses(objects), self._memory
        slots = (addresses >> 4) % SLOTS
        found = codes[slots]
        new = np.flatnonzero(known[slots] != addresses)
        if new.size:
            found[new] = self._compute(objects[new])
            _, first = np.unique(slots[new[:AT_ONCE]], return_index=True)
            some = new[first]
            known, codes, held = known.copy(), codes.copy(), held.copy()
            known[slots[some]], codes[slots[some]], held[slots[some]] = (
                addresses[some],
                found[some],
                objects[some],
            )
            self._memory = known, codes, held
        return found


class _Addresses:
    def __init__(self, objects: Objects) -> None:
        self.__array_interface__: dict[str, Any] = {
            "version": 3,
            "shape": objects.shape,
            "strides": objects.strides,
            "typestr": np.dtype(np.intp).str,
            "data": (objects.ctypes.data, True),
        }
        self.objects = objects  # stay alive as long as the view does


def _addresses(objects: Objects) -> NDArray[np.intp]:
    """What an array of objects is made of."""
    return np.asarray(_Addresses(objects))
