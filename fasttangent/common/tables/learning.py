"""What to make of the columns of a table on disk: the same as of the whole table in memory, a few columns at a time."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fasttangent.common.columns import Column, Columns
from fasttangent.common.learned_columns import EMPTY, learned_in_parts
from fasttangent.common.tables.arrow import arrow, block, numbers
from fasttangent.common.tables.table import Table
from fasttangent.common.vectors import power_of_two

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Float = NDArray[np.float64]

HELD = 1 << 24  # cells of columns that are in memory together
LEAF = 1 << 16  # values that are added up at a time


def learned_from(
    table: Table,
    features: Sequence[int],
    batches: Callable[[list[int]], Iterator[Any]],
    cells: Callable[[list[int]], Any],
    kinds: Sequence[Any],
    categorical: Sequence[str] = (),
    transform: str | None = None,
) -> Columns:
    """What `learn_columns` makes of these columns.

    Parameters
    ----------
    table : Table
    features : sequence of int
    batches : callable
        Record batches of some of the columns.
    cells : callable
        A frame of them.
    kinds : sequence
        The Arrow type of each; numbers are passed through, and columns of other types are held, some at a time.
    categorical, transform
        As for `learn_columns`.
    """
    names, n, labels = [table.names[i] for i in features], table.count(), set(map(str, categorical))
    plain = [
        i
        for i, name, kind in zip(features, names, kinds, strict=True)
        if transform is None and name not in labels and is_number_type(kind)
    ]
    known = _numbers(table, plain, lambda: map(_block, batches(plain)), n) if plain else {}
    types, at_once = arrow("types"), max(1, HELD // max(1, n))

    def parts() -> Iterator[Any]:
        waiting: list[int] = []
        for i, kind in zip(features, kinds, strict=True):
            if i not in known:
                waiting.append(i)
            if waiting and (i in known or len(waiting) == at_once):
                yield cells(waiting)
                waiting = []
            if i in known:
                yield known[i](table.names[i], "bool" if types.is_boolean(kind) else "number")
        if waiting:
            yield cells(waiting)

    return learned_in_parts(names, parts(), categorical, transform)


def is_number_type(kind: Any) -> bool:
    """Whether it is an Arrow type of numbers that come as they are, or of True and False."""
    types = arrow("types")
    return bool(types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind))


def _block(batch: Any) -> Float:
    return block(batch.num_rows, map(numbers, batch.columns), batch.num_columns)


def _numbers(
    table: Table, columns: Sequence[int], blocks: Callable[[], Iterator[Float]], n: int
) -> dict[int, Callable[[str, str], Column]]:
    """For each column what makes the `Column` of its name and kind; by two passes."""
    d = len(columns)
    there, largest, start = np.zeros(d, np.int64), np.zeros(d), 0
    for rows in blocks():
        _check_finite(table, columns, rows, start)
        there += np.count_nonzero(rows == rows, axis=0)
        largest = np.fmax(largest, np.fmax.reduce(abs(rows), axis=0, initial=0.0))
        start += len(rows)
    exact = [float(power_of_two(np.array([one]))[0]) for one in largest]
    sums = [Sum(count) for count in there.tolist()]
    for rows in blocks():
        for j, one in enumerate(sums):
            values = rows[:, j]
            values = values[~np.isnan(values)]
            one.add(1.0 / max(1, there[j]) * (values / exact[j]))

    def made(j: int) -> Callable[[str, str], Column]:
        count = int(there[j])
        if not count:
            return lambda name, kind: Column(name, "left out", why=EMPTY)
        mean = float(sums[j].total() * exact[j])
        return lambda name, kind: Column(name, kind, mean, (n - count) / n)

    return {i: made(j) for j, i in enumerate(columns)}


def _check_finite(table: Table, columns: Sequence[int], rows: Float, start: int) -> None:
    if (infinite := np.isinf(rows)).any():
        row, j = (int(one) for one in np.argwhere(infinite)[0])
        name = table.names[columns[j]]
        raise ValueError(
            f"X must be finite, got {rows[row, j]} in row {start + row}, column {name!r}; mend it"
        )


class Sum:
    """The sum of n values as NumPy adds them up in one array, of values that come in any portions."""

    def __init__(self, n: int) -> None:
        self._work, self._found = _pairwise(n), 0.0
        self._waiting: list[Float] = []
        self._filled = 0
        self._wanted = next(self._work)

    def add(self, values: Float) -> None:
        self._waiting.append(values)
        self._filled += len(values)
        while 0 < self._wanted <= self._filled:
            whole = np.concatenate(self._waiting)
            part, rest = whole[: self._wanted], whole[self._wanted :]
            self._waiting, self._filled = [rest], len(rest)
            try:
                self._wanted = self._work.send(part)
            except StopIteration as end:
                self._found, self._wanted = end.value, 0

    def total(self) -> float:
        return self._found


def _pairwise(n: int) -> Generator[int, Float, float]:
    """Asks for so many values at a time, of which NumPy's own recursion is continued."""
    if n <= LEAF:
        return float(np.sum((yield n)))
    half = n // 2
    half -= half % 8
    left = yield from _pairwise(half)
    return left + (yield from _pairwise(n - half))
