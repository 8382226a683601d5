"""A pool of rows, in memory or read as often as needed, and which of its rows can be picked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from fasttangent.common import checks
from fasttangent.common.duplicates import row_keys, rows_among
from fasttangent.common.maps import check_map
from fasttangent.common.warning import warn

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fasttangent.common.duplicates import Keys

    Rows = NDArray[np.int64]

HELD = 1 << 18  # rows that copies are compared with in one passage through a pool


class Pool(Protocol):
    """Rows of one dtype, numbered from 0."""

    def __len__(self) -> int: ...

    def chunks(self) -> Iterator[tuple[int, NDArray]]:
        """(first row, some rows), in order."""
        ...

    def take(self, numbers: Rows) -> NDArray:
        """Rows by their numbers, in that order."""
        ...


class ArrayPool:
    """A pool in memory, or a memory map: one chunk."""

    def __init__(self, rows: NDArray) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def chunks(self) -> Iterator[tuple[int, NDArray]]:
        check_map(self.rows)
        yield 0, self.rows

    def take(self, numbers: Rows) -> NDArray:
        check_map(self.rows)
        every = len(numbers) == len(self.rows) and bool((numbers == np.arange(len(numbers))).all())
        return self.rows if every else self.rows[numbers]


class Usable(NamedTuple):
    """Which rows of a pool can be picked."""

    numbers: Rows  # near, without a label, not excluded, one of each kind of equals; ascending
    bad: Rows  # others with a value that is not finite, or too far away to be computed with, ascending


def excluded(exclude: Any, n: int) -> NDArray[np.bool_]:
    """Which of n rows must not be picked: row numbers, or a mask, as an array of its own."""
    out = np.zeros(n, bool)
    if exclude is None:
        return out
    if hasattr(exclude, "to_numpy"):  # a column of a frame, whose kind must not be lost
        exclude = np.asarray(exclude)
    given = checks.array("exclude", exclude)
    if given.dtype == bool:
        if given.shape != (n,):
            raise ValueError(f"exclude must have shape ({n},) to match the pool, got a mask of {given.shape}")
        return given.copy()
    if given.ndim != 1 or (given.size and given.dtype.kind not in "iu"):
        raise ValueError(
            f"exclude must be row numbers, or a mask of dtype bool, got {given.dtype} of shape {given.shape}; "
            f"np.flatnonzero makes row numbers of any condition"
        )
    if given.size and not 0 <= given.min() <= given.max() < n:
        bad = given[(given < 0) | (given >= n)][0]
        raise ValueError(f"exclude must hold row numbers from 0 to {n - 1}, got {bad}")
    out[given.astype(np.int64)] = True
    return out


def usable(
    pool: Pool,
    known: NDArray | None,
    k: int,
    near: Callable[[NDArray], NDArray[np.bool_]],
    out: NDArray[np.bool_],
) -> Usable:
    """Numbers of the rows that are `near`, have no label and are not `out`, one of each kind of equals; at least k.

    Of every row a key and some flags are kept; the rows themselves are read again only where keys are equal.
    """
    keys, good, had = np.empty(len(pool), np.uint64), np.empty(len(pool), bool), np.zeros(len(pool), bool)
    for start, rows in pool.chunks():
        part = slice(start, start + len(rows))
        keys[part], good[part] = row_keys(rows), near(rows)
        if known is not None:
            had[part] = rows_among(rows, keys[part], known)
    good &= ~out
    had &= ~out
    bad = np.flatnonzero(~good & ~out)
    if len(bad):
        count = "1 row holds" if len(bad) == 1 else f"{len(bad)} rows hold"
        warn(
            f"{count} a value that is not finite or too far from all training rows (first: row {bad[0]}) and cannot be "
            f"picked"
        )
    alike = _copies(pool, keys, np.flatnonzero(good))
    numbers = np.flatnonzero(good & ~alike & ~had)
    if k > len(numbers):
        left_out = f", {np.count_nonzero(out)} are excluded" if out.any() else ""
        raise ValueError(
            f"k must be at most the {len(numbers)} rows of the pool that can be picked, got {k}: {len(bad)} are not "
            f"finite or too far away, {np.count_nonzero(had)} have a label, {np.count_nonzero(alike & ~had)} equal an "
            f"earlier row{left_out}"
        )
    return Usable(numbers, bad)


def _copies(pool: Pool, keys: Keys, among: Rows) -> NDArray[np.bool_]:
    """For each row whether it is `among` those given and equals an earlier one of them.

    Candidates have equal keys; they are compared with the first of their kind, HELD of these in one passage.
    """
    _, first, group = np.unique(keys[among], return_index=True, return_inverse=True)
    earlier = among[first][group]
    suspect = earlier != among
    later, earlier = among[suspect], earlier[suspect]
    found, kinds = np.zeros(len(pool), bool), np.unique(earlier)
    for at in range(0, len(kinds), HELD):
        numbers = kinds[at : at + HELD]
        here = (earlier >= numbers[0]) & (earlier <= numbers[-1])
        _compare(found, pool, later[here], numbers, np.searchsorted(numbers, earlier[here]))
    return found


def _compare(found: NDArray[np.bool_], pool: Pool, later: Rows, numbers: Rows, place: Rows) -> None:
    """found[later] = whether those rows equal the earlier rows numbers[place], in one passage."""
    held: NDArray | None = None
    for start, rows in pool.chunks():
        if held is None:
            held = np.empty((len(numbers), rows.shape[1]), rows.dtype)
        low, high = np.searchsorted(numbers, [start, start + len(rows)])
        held[low:high] = rows[numbers[low:high] - start]
        low, high = np.searchsorted(later, [start, start + len(rows)])
        for at in range(low, high, checks.ROWS_PER_CHECK):
            some = slice(at, min(at + checks.ROWS_PER_CHECK, high))
            found[later[some]] = (rows[later[some] - start] == held[place[some]]).all(axis=1)
