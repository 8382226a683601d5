"""Equal rows, found by 64-bit keys and confirmed by comparison."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fasttangent.common import checks
from fasttangent.common.maps import check_map

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Keys = NDArray[np.uint64]


def row_keys(rows: NDArray, number: int = 0) -> Keys:
    """A key of each row's values as float64: equal rows have equal keys, others almost surely not; -0.0 is 0.0.

    Keys of another `number` know nothing of each other: two of them together tell any rows apart.
    """
    keys = np.empty(len(rows), np.uint64)
    salts = np.random.default_rng(number).integers(0, 2**64, rows.shape[1], np.uint64)
    for start in range(0, len(rows), checks.ROWS_PER_CHECK):
        check_map(rows)
        part = np.ascontiguousarray(rows[start : start + checks.ROWS_PER_CHECK], np.float64) + 0.0
        bits = part.view(np.uint64) ^ salts
        bits *= np.uint64(0xBF58476D1CE4E5B9)  # a finaliser of splitmix64: all bits of a value matter
        bits ^= bits >> np.uint64(31)
        bits *= np.uint64(0x94D049BB133111EB)
        bits ^= bits >> np.uint64(29)
        keys[start : start + len(part)] = bits.sum(axis=1, dtype=np.uint64)
    return keys


def first_of_equals(rows: NDArray, keys: Keys) -> NDArray[np.bool_]:
    """For each row whether no earlier one equals it."""
    _, first, group = np.unique(keys, return_index=True, return_inverse=True)
    earlier = first[group]
    later = np.flatnonzero(earlier != np.arange(len(rows)))
    found = np.ones(len(rows), bool)
    for start in range(0, len(later), checks.ROWS_PER_CHECK):
        some = later[start : start + checks.ROWS_PER_CHECK]
        found[some] = (rows[some] != rows[earlier[some]]).any(axis=1)
    return found


def rows_among(rows: NDArray, keys: Keys, known: NDArray) -> NDArray[np.bool_]:
    """For each row whether it equals one of `known`, which are rounded to float32 where the rows are."""
    if rows.dtype.kind == "f":
        with np.errstate(over="ignore"):
            known = known.astype(rows.dtype)
    return Among(known).find(rows, keys)


class Among:
    """Which rows equal some known ones."""

    def __init__(self, known: NDArray) -> None:
        self._keys = np.unique(row_keys(known))
        self._seen = {row.tobytes() for row in np.ascontiguousarray(known, np.float64) + 0.0}

    def find(self, rows: NDArray, keys: Keys) -> NDArray[np.bool_]:
        """For each of the rows, of which the `row_keys` are given, whether it is among them."""
        place = np.searchsorted(self._keys, keys)
        found = self._keys[np.minimum(place, len(self._keys) - 1)] == keys
        some = np.flatnonzero(found)
        for start in range(0, len(some), checks.ROWS_PER_CHECK):
            part = some[start : start + checks.ROWS_PER_CHECK]
            values = np.ascontiguousarray(rows[part], np.float64) + 0.0
            found[part] = [row.tobytes() in self._seen for row in values]
        return found
