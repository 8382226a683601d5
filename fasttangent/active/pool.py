"""A pool of rows, in memory or read as often as needed, in pieces and parts, and which of its rows can be picked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, Protocol, TypeVar

import numpy as np

from fasttangent.common import checks
from fasttangent.common.duplicates import Among, row_keys
from fasttangent.common.maps import check_map

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fasttangent.common.duplicates import Keys

    Rows = NDArray[np.int64]

T = TypeVar("T")

PIECE = 1 << 15  # rows that are looked at together


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


class Numbered:
    """Another pool, of which row i here is row order[i] there; read in its own order."""

    def __init__(self, pool: Pool, order: Rows) -> None:
        self._pool, self._order = pool, order

    def __len__(self) -> int:
        return len(self._pool)

    def chunks(self) -> Iterator[tuple[int, NDArray]]:
        return self._pool.chunks()

    def take(self, numbers: Rows) -> NDArray:
        return self._pool.take(self._order[numbers])

    @property
    def fold(self) -> Any:
        return getattr(self._pool, "fold", None)


def excluded(exclude: Any, n: int) -> NDArray[np.bool_] | None:
    """Which of n rows must not be picked: row numbers, or a mask, as an array of its own; None: all may."""
    if exclude is None:
        return None
    out = np.zeros(n, bool)
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


def pieces(pool: Pool) -> Iterator[tuple[int, NDArray]]:
    """(first row, some rows) of a pool in order, at most PIECE at a time."""
    for start, rows in pool.chunks():
        for at in range(0, len(rows), PIECE):
            check_map(rows)
            yield start + at, rows[at : at + PIECE]


def parts(pool: Pool, size: int) -> Iterator[tuple[int, NDArray]]:
    """(first row, rows), always `size` of them but for the last, whatever chunks the pool is read in."""
    held: list[NDArray] = []
    begin, waiting = 0, 0
    for _, rows in pool.chunks():
        at = 0
        while at < len(rows):
            check_map(rows)
            some = rows[at : at + size - waiting]
            held.append(some)
            at, waiting = at + len(some), waiting + len(some)
            if waiting == size:
                yield begin, held[0] if len(held) == 1 else np.concatenate(held)
                held, begin, waiting = [], begin + size, 0
    if held:
        yield begin, np.concatenate(held)


@dataclass(frozen=True)
class Passage(Generic[T]):
    """One pass through a pool: what is known of no rows, of more rows, and of two lots of them.

    `size` says that rows come in parts of so many, by their numbers; else in any pieces.  A pool of rows elsewhere
    has a method `fold`, which does there what `passed` does here, and merges.
    """

    begin: Callable[[], T]
    add: Callable[[T, int, NDArray], T]
    merge: Callable[[T, T], T]
    size: int | None = None

    def through(self, pool: Pool, state: T, start: int = 0) -> T:
        """Of rows numbered from `start`."""
        for at, rows in pieces(pool) if self.size is None else parts(pool, self.size):
            state = self.add(state, start + at, rows)
        return state


def by_parts(
    examine: Callable[[int, NDArray], T | None], merge: Callable[[T, T], T], size: int
) -> Passage[T | None]:
    """A pass that examines parts of so many rows, each by itself, and merges what is known of them."""

    def both(one: T | None, other: T | None) -> T | None:
        return other if one is None else one if other is None else merge(one, other)

    return Passage(lambda: None, lambda known, start, rows: both(known, examine(start, rows)), both, size)


def passed(pool: Pool, passage: Passage[T]) -> T:
    """What is known of all rows of a pool."""
    fold: Callable[[Passage[T]], T] | None = getattr(pool, "fold", None)
    return passage.through(pool, passage.begin()) if fold is None else fold(passage)


class Usable(NamedTuple):
    """Of some rows of a pool those that can be picked, copies of each other among them."""

    places: Rows
    numbers: Rows
    rows: NDArray
    keys: Keys


class Tally(NamedTuple):
    """How many rows can be picked, and why others cannot."""

    usable: int = 0
    bad: int = 0  # with a value that is not finite, or too far away to be computed with
    first_bad: int | None = None
    labelled: int = 0
    excluded: int = 0

    def __add__(self, other: Tally) -> Tally:  # type: ignore[override]
        first = [one.first_bad for one in (self, other) if one.first_bad is not None]
        return Tally(
            self.usable + other.usable,
            self.bad + other.bad,
            min(first, default=None),
            self.labelled + other.labelled,
            self.excluded + other.excluded,
        )

    def shortage(self, k: int, distinct: int) -> ValueError:
        """What to say where there are fewer than k different rows that can be picked."""
        left_out = f", {self.excluded} are excluded" if self.excluded else ""
        return ValueError(
            f"k must be at most the {distinct} rows of the pool that can be picked, got {k}: {self.bad} are not "
            f"finite or too far away, {self.labelled} have a label, {self.usable - distinct} equal an earlier "
            f"row{left_out}"
        )

    def warning(self) -> str:
        count = "1 row holds" if self.bad == 1 else f"{self.bad} rows hold"
        return (
            f"{count} a value that is not finite or too far from all training rows (first: row {self.first_bad}) and "
            f"cannot be picked"
        )


class Screen:
    """Which rows can be picked: those that are `near`, are not equal to one of `known`, and not `out`.

    Rows are known by their values in the `unit` (n_features,), powers of two, in which they are the same whatever unit
    they come in.  They are numbered as they come, or in an `order`, as `Numbered` has them.
    """

    def __init__(
        self,
        near: Callable[[NDArray], NDArray[np.bool_]],
        known: NDArray | None = None,
        out: NDArray[np.bool_] | None = None,
        unit: NDArray | None = None,
        order: Rows | None = None,
    ) -> None:
        self._near, self._known, self._out = near, known, out
        self._number = None if order is None else _inverse(order)
        self._unit = None if unit is None or (unit == 1).all() else unit
        self._among: dict[np.dtype, Among] = {}

    def through(self, start: int, rows: NDArray) -> tuple[Usable, Tally]:
        """Of the rows of the pool from `start` on."""
        values = self._in_unit(rows)
        keys, good = row_keys(values), self._near(rows)
        had, bad, excluded = self._labelled(values, keys, rows.dtype), ~good, 0
        if self._out is not None:
            out = self._out[start : start + len(rows)]
            good, had, bad, excluded = good & ~out, had & ~out, bad & ~out, int(np.count_nonzero(out))
        places = np.flatnonzero(good & ~had)
        first = start + int(np.argmax(bad)) if bad.any() else None
        tally = Tally(len(places), int(np.count_nonzero(bad)), first, int(np.count_nonzero(had)), excluded)
        if len(places) < len(rows):
            rows, keys = rows[places], keys[places]
        numbers = start + places if self._number is None else self._number[start + places]
        return Usable(places, numbers, rows, keys), tally

    def keys(self, rows: NDArray) -> tuple[Keys, Keys]:
        """Two of each row, by which `Usable` rows are known."""
        return row_keys(self._in_unit(rows)), row_keys(rows, 1)

    def _in_unit(self, rows: NDArray) -> NDArray:
        if self._unit is None:
            return rows
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):  # of rows that are not near
            return rows / self._unit

    def _labelled(self, values: NDArray, keys: Keys, dtype: np.dtype) -> NDArray[np.bool_]:
        """Which rows have a label; those known are rounded as rows of the pool are."""
        if self._known is None:
            return np.zeros(len(values), bool)
        if dtype not in self._among:
            with np.errstate(over="ignore"):
                known = self._known.astype(dtype) if dtype.kind == "f" else self._known
            self._among[dtype] = Among(self._in_unit(known))
        return self._among[dtype].find(values, keys)


def _inverse(order: Rows) -> Rows:
    """The place of each number in an order."""
    found = np.empty_like(order)
    found[order] = np.arange(len(order))
    return found
