"""What a batch may hold beside its number of rows: so many of each group, and rows of so much cost together.

Limits   what is asked, for each candidate, and what its gain is measured by
Picks    a batch that grows: which rows are picked, and which can still be
Surplus  a batch that shrinks: which rows can be put back
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Float = NDArray[np.float64]
    Rows = NDArray[np.int64]

BLOCK = 4096  # of rows in an order, looked at together


def total(cost: Float) -> float:
    """The sum in the order of the rows, as a batch that grows adds it up."""
    return float(sum(cost.tolist()))


def alike(values: Float | float | None) -> Float | float:
    """One number where all of them are alike; 1.0 where there is none."""
    if not isinstance(values, np.ndarray):
        return 1.0 if values is None else values
    return float(values[0]) if len(values) and (values == values[0]).all() else values


class Limits(NamedTuple):
    """Of each candidate its group, as a number, and its cost; and what a batch may hold of a group, and cost."""

    group: Rows | None = None  # (n,) from 0
    per_group: int = 0
    cost: Float | None = None  # (n,)
    max_cost: float = np.inf
    price: Float | float = 1.0  # (n,) what a gain is divided by; 1.0 where all are alike
    noise: Float | float = 1.0  # (n,) times that a label's variance is the usual one; a number: all are alike

    def of(self, places: Any) -> Limits:
        """Those of some of the candidates."""
        group, cost = (None if a is None else a[places] for a in (self.group, self.cost))
        price, noise = (a[places] if isinstance(a, np.ndarray) else a for a in (self.price, self.noise))
        return self._replace(group=group, cost=cost, price=price, noise=noise)

    def among(self, places: Any) -> Limits:
        """Those of some of the candidates, where there are no others: prices are in units of the least of theirs."""
        found = self.of(places)
        price, noise = alike(found.cost), alike(found.noise)
        return found._replace(
            price=price / price.min() if isinstance(price, np.ndarray) else 1.0, noise=noise
        )

    def twice(self) -> Limits:
        """For twice as many picks, none of them dearer than all may be."""
        cost = None if self.cost is None else np.where(self.cost <= self.max_cost, self.cost, np.inf)
        return self._replace(per_group=2 * self.per_group, cost=cost, max_cost=2 * self.max_cost)

    @property
    def bind(self) -> bool:
        """Whether they may keep a row out."""
        return self.group is not None or self.max_cost < np.inf

    @property
    def weigh(self) -> bool:
        """Whether a gain is another one by a row's cost or noise."""
        return isinstance(self.price, np.ndarray) or isinstance(self.noise, np.ndarray)

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


class Picks:
    """The rows picked so far, at most k of n.

    Attributes
    ----------
    free : ndarray of bool, shape (n,)
        Which rows can be picked next.
    price : ndarray of float64, shape (n,), or float
        What a row's gain is divided by.
    noise : ndarray of float64, shape (n,), or float
        How many times the usual variance a row's label has.
    most : int
        How many rows there may be.
    """

    def __init__(self, n: int, k: int, limits: Limits | None) -> None:
        limits = Limits() if limits is None else limits
        self.free, self.price, self.noise = np.ones(n, bool), limits.price, limits.noise
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
        group, cost, max_cost = self._limits.group, self._limits.cost, self._limits.max_cost
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
        self.kept, self.price, self._k = np.ones(m, bool), self._limits.price, k

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
