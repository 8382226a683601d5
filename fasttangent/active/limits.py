"""What a batch may hold beside its number of rows: so many of each group.

Limits   what is asked, for each candidate
Picks    a batch that grows: which rows are picked, and which can still be
Surplus  a batch that shrinks: which rows can be put back
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fasttangent.common import checks

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Float = NDArray[np.float64]
    Rows = NDArray[np.int64]

BLOCK = 4096  # of rows in an order, looked at together


class Limits(NamedTuple):
    """Of each candidate its group, as a number; and how many of a group a batch may hold."""

    group: Rows  # (n,) from 0
    per_group: int

    def of(self, places: Any) -> Limits:
        """Those of some of the candidates."""
        return self._replace(group=self.group[places])

    def twice(self) -> Limits:
        """For twice as many picks."""
        return self._replace(per_group=2 * self.per_group)

    def check(self, k: int, hint: str = "") -> None:
        """Raise unless k of the candidates can be picked."""
        if k > self.most():
            raise ValueError(
                f"k must be at most {self.most()}, as {len(self.group)} rows of {len(np.unique(self.group))} groups "
                f"can be picked and per_group is {self.per_group}, got {k}{hint}"
            )

    def most(self) -> int:
        """How many of the candidates can be picked."""
        return int(np.minimum(np.bincount(self.group), self.per_group).sum())


def limits_of(groups: Any, per_group: Any, k: int, n: int) -> Limits | None:
    """The limits that are asked for a pool of n rows; None where they cannot bind."""
    if groups is None:
        if per_group is not None:
            raise ValueError(f"per_group must be left out without groups, got {per_group!r}; pass groups=")
        return None
    if per_group is None:
        raise ValueError("per_group must be given with groups, got None; say how many rows of a group")
    most, labels = checks.integer("per_group", per_group, at_least=1), _labels(groups, n)
    return Limits(labels, most) if most < k else None


def _labels(groups: Any, n: int) -> Rows:
    """Labels of any kind as numbers from 0."""
    given = np.asarray(groups.to_numpy() if hasattr(groups, "to_numpy") else groups)
    if given.shape != (n,):
        raise ValueError(f"groups must have shape ({n},) to match the pool, got shape {given.shape}")
    numbers: dict[Any, int] = {}
    try:
        of_objects = given.dtype == object
        missing = np.array([g is None or bool(g != g) for g in given]) if of_objects else given != given
        if missing.any():
            i = int(np.argmax(missing))
            raise ValueError(
                f"groups must hold a label for every row, got {given[i]} in row {i}; give it one"
            )
        if not of_objects:
            return np.unique(given, return_inverse=True)[1].astype(np.int64)
        return np.fromiter((numbers.setdefault(label, len(numbers)) for label in given), np.int64, n)
    except TypeError:
        raise TypeError(
            "groups must hold labels such as numbers or text, got missing or compound ones"
        ) from None


class Picks:
    """The rows picked so far, at most k of n, and which are free to be picked."""

    def __init__(self, n: int, k: int, limits: Limits | None) -> None:
        self.free, self._rows, self._k, self._limits = np.ones(n, bool), list[int](), k, limits
        if limits is not None:
            sizes = np.bincount(limits.group)
            self._members = np.argsort(limits.group, kind="stable")  # of the groups, one behind the other
            self._ends, self._left = np.cumsum(sizes), np.full(len(sizes), limits.per_group)
            self._starts = self._ends - sizes

    def more(self) -> bool:
        """Whether another row is to be picked."""
        return len(self._rows) < self._k and bool(self.free.any())

    def take(self, i: int) -> Rows:
        """Pick row i; the rows that this ends the freedom of, its own among them."""
        self._rows.append(i)
        self.free[i] = False
        closed = [np.array([i])]
        if self._limits is not None:
            g = self._limits.group[i]
            self._left[g] -= 1
            if not self._left[g]:
                closed.append(self._members[self._starts[g] : self._ends[g]])
        rows = np.concatenate(closed)
        self.free[rows] = False
        return rows

    def take_first(self, order: Rows) -> Rows:
        """Pick rows in an order, passing over those that are not free."""
        for start in range(0, len(order), BLOCK):
            some = order[start : start + BLOCK]
            for i in some[self.free[some]].tolist():
                if self.free[i]:
                    self.take(i)
                    if not self.more():
                        return self.rows
        return self.rows

    @property
    def rows(self) -> Rows:
        return np.array(self._rows, np.int64)


class Surplus:
    """A batch of m rows, made for `twice` the limits, of which all but k are to be put back within the limits."""

    def __init__(self, m: int, k: int, limits: Limits | None) -> None:
        self.kept, self._k = np.ones(m, bool), k
        self._group = np.zeros(m, np.int64) if limits is None else limits.group
        self._most = m if limits is None else limits.per_group

    def any(self) -> bool:
        """Whether another row is to be put back."""
        return int(np.count_nonzero(self.kept)) > self._k

    def may_go(self) -> NDArray[np.bool_]:
        """Which rows can be put back so that k within the limits are left."""
        sizes = np.bincount(self._group[self.kept], minlength=int(self._group.max()) + 1)
        spare = np.minimum(sizes, self._most).sum() > self._k
        found: NDArray[np.bool_] = self.kept & (spare | (sizes[self._group] > self._most))
        return found
