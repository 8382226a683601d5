"""What a batch may hold beside its number of rows: so many of each group, and rows of so much cost together.

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
    """Of each candidate its group, as a number, and its cost; and what a batch may hold of a group, and cost."""

    group: Rows | None = None  # (n,) from 0
    per_group: int = 0
    cost: Float | None = None  # (n,)
    max_cost: float = np.inf

    def of(self, places: Any) -> Limits:
        """Those of some of the candidates."""
        group, cost = (None if a is None else a[places] for a in (self.group, self.cost))
        return self._replace(group=group, cost=cost)

    def twice(self) -> Limits:
        """For twice as many picks, none of them dearer than all may be."""
        cost = None if self.cost is None else np.where(self.cost <= self.max_cost, self.cost, np.inf)
        return Limits(self.group, 2 * self.per_group, cost, 2 * self.max_cost)

    def price(self) -> Float | float:
        """What gains are divided by: costs in units of the least, 1.0 where they are all alike."""
        if self.cost is None or not len(self.cost) or (self.cost == self.cost[0]).all():
            return 1.0
        found: Float = self.cost / self.cost.min()
        return found

    def check(self, k: int, hint: str = "") -> None:
        """Raise unless the groups let k of the candidates be picked, and the budget one."""
        if self.group is not None and k > self.most(len(self.group)):
            raise ValueError(
                f"k must be at most {self.most(len(self.group))}, as {len(self.group)} rows of "
                f"{len(np.unique(self.group))} groups can be picked and per_group is {self.per_group}, got {k}{hint}"
            )
        if self.cost is not None and not self.cost.min() <= self.max_cost:
            raise ValueError(
                f"max_cost must be at least {self.cost.min():g}, the cost of the cheapest row that can be picked, got "
                f"{self.max_cost:g}{hint}"
            )

    def most(self, n: int) -> int:
        """How many of the n candidates their groups let be picked."""
        return n if self.group is None else int(np.minimum(np.bincount(self.group), self.per_group).sum())


def limits_of(
    groups: Any, per_group: Any, cost: Float | None, max_cost: Any, k: int, n: int
) -> Limits | None:
    """The limits that are asked for a pool of n rows; None where they cannot bind and costs are all alike."""
    group, most, budget = None, 0, np.inf
    if groups is None and per_group is not None:
        raise ValueError(f"per_group must be left out without groups, got {per_group!r}; pass groups=")
    if groups is not None and per_group is None:
        raise ValueError("per_group must be given with groups, got None; say how many rows of a group")
    if groups is not None:
        most, group = checks.integer("per_group", per_group, at_least=1), _labels(groups, n)
    if max_cost is not None:
        budget = checks.number("max_cost", max_cost, above=0)
        if cost is None:
            raise ValueError(f"max_cost must be left out without cost, got {max_cost!r}; pass cost=")
        if np.sort(cost)[-k:].sum() < (1 - 1e-9) * budget:
            budget = np.inf
    asked = Limits(group if most < k else None, most, cost, budget)
    free = asked.group is None and budget == np.inf and isinstance(asked.price(), float)
    return None if free else asked


def given_cost(cost: Any, n: int) -> Float | None:
    """The cost > 0 of every row of a pool."""
    if cost is None:
        return None
    given = checks.array("cost", cost).astype(np.float64)
    if given.shape != (n,):
        raise ValueError(f"cost must have shape ({n},) to match the pool, got shape {given.shape}")
    good = (given > 0) & (given < np.inf)
    if not good.all():
        i = int(np.argmin(good))
        raise ValueError(f"cost must be finite and > 0, got {given[i]} in row {i}; exclude= leaves a row out")
    return given


def total(cost: Float) -> float:
    """The sum in the order of the rows, as a batch that grows adds it up."""
    return float(sum(cost.tolist()))


def _labels(groups: Any, n: int) -> Rows:
    """Labels of any kind as numbers from 0."""
    given = np.asarray(groups)
    if given.shape != (n,):
        raise ValueError(f"groups must have shape ({n},) to match the pool, got shape {given.shape}")
    numbers: dict[Any, int] = {}
    try:
        if given.dtype == object:
            missing = np.array([g is None or bool(g != g) for g in given])
            found = np.fromiter((numbers.setdefault(g, len(numbers)) for g in given), np.int64, n)
        else:
            missing, found = given != given, np.unique(given, return_inverse=True)[1].astype(np.int64)
    except (TypeError, ValueError):  # what has neither a hash nor an answer to ==
        raise TypeError(
            "groups must hold labels such as numbers or text, got missing or compound ones"
        ) from None
    if missing.any():
        i = int(np.argmax(missing))
        raise ValueError(f"groups must hold a label for every row, got {given[i]} in row {i}; give it one")
    return found


class Picks:
    """The rows picked so far, at most k of n.

    Attributes
    ----------
    free : ndarray of bool, shape (n,)
        Which rows can be picked next.
    price : ndarray of float64, shape (n,), or float
        What a row's gain is divided by.
    most : int
        How many rows there may be.
    """

    def __init__(self, n: int, k: int, limits: Limits | None) -> None:
        limits = Limits() if limits is None else limits
        self.free, self.price = np.ones(n, bool), limits.price()
        self._rows, self.most, self._limits, self._spent = list[int](), k, limits, 0.0
        if limits.cost is not None:
            self.free &= limits.cost <= limits.max_cost
        if limits.group is not None:
            sizes = np.bincount(limits.group)
            self._members = np.argsort(limits.group, kind="stable")  # of the groups, one behind the other
            self._ends, self._left = np.cumsum(sizes), np.full(len(sizes), limits.per_group)
            self._starts = self._ends - sizes

    def more(self) -> bool:
        """Whether another row is to be picked."""
        return len(self._rows) < self.most and bool(self.free.any())

    def take(self, i: int) -> Rows:
        """Pick row i; the rows that this ends the freedom of, its own among them."""
        group, _, cost, max_cost = self._limits
        self._rows.append(i)
        self.free[i] = False
        closed = [np.array([i])]
        if group is not None:
            g = group[i]
            self._left[g] -= 1
            if not self._left[g]:
                closed.append(self._members[self._starts[g] : self._ends[g]])
        if cost is not None and max_cost < np.inf:
            self._spent += float(cost[i])
            closed.append(np.flatnonzero(self.free & (self._spent + cost > max_cost)))
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
    """A batch of m rows, made for `twice` the limits, which is to shrink until it is within them.

    Attributes
    ----------
    kept : ndarray of bool, shape (m,)
        Which rows are left; whoever puts one back says so here.
    price : ndarray of float64, shape (m,), or float
        What the loss by putting a row back is divided by.
    """

    def __init__(self, m: int, k: int, limits: Limits | None) -> None:
        self._limits = Limits() if limits is None else limits
        self.kept, self.price, self._k = np.ones(m, bool), self._limits.price(), k

    def any(self) -> bool:
        """Whether another row is to be put back."""
        return bool(np.count_nonzero(self.kept) > self._k or self._dear() or self._crowded().any())

    def may_go(self) -> NDArray[np.bool_]:
        """Which rows can be put back so that, unless it is for their cost, k within the limits are left."""
        if self._dear() or self._limits.of(self.kept).most(int(np.count_nonzero(self.kept))) > self._k:
            return self.kept
        return self._crowded()

    def _dear(self) -> bool:
        cost, most = self._limits.cost, self._limits.max_cost
        return cost is not None and total(cost[self.kept]) > most

    def _crowded(self) -> NDArray[np.bool_]:
        """Rows of groups with too many."""
        group = self._limits.group
        if group is None:
            return np.zeros(len(self.kept), bool)
        found: NDArray[np.bool_] = self.kept & (np.bincount(group, self.kept)[group] > self._limits.per_group)
        return found
