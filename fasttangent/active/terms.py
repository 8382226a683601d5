"""On what terms labels of a pool's rows are asked for: limits, costs and noise; checked, before the pool is looked at.

Of equal rows the first is picked, for all of them.  That it be the one whose label is worth most, rows of labels that
are not equally noisy are numbered by their noise, in whatever looks for picks; `Terms` knows both numbers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fasttangent.active.limits import Limits, total
from fasttangent.active.pool import Numbered, Pool
from fasttangent.common import checks

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Float = NDArray[np.float64]
    Rows = NDArray[np.int64]


class Terms(NamedTuple):
    """What is asked of a batch from a pool of n rows."""

    limits: Limits | None  # of rows in `order`; None where they say nothing
    cost: Float | None  # (n,) of rows in the order of the pool
    order: Rows | None  # (n,) rows of the pool, the least noisy first; None: in their own order

    def of(self, values: Any) -> Any:
        """What is said of rows, in `order`; what is no array stays."""
        return values[self.order] if self.order is not None and isinstance(values, np.ndarray) else values

    def numbered(self, pool: Pool) -> Pool:
        """The pool with its rows numbered in `order`."""
        return pool if self.order is None else Numbered(pool, self.order)

    def rows(self, picks: Rows) -> Rows:
        """Numbers of the picks in the pool."""
        return picks if self.order is None else self.order[picks]

    def spent(self, rows: Rows) -> float | None:
        """What rows of the pool cost together."""
        return None if self.cost is None else total(self.cost[rows])


def terms_of(
    n: int,
    k: int,
    *,
    groups: Any = None,
    per_group: Any = None,
    cost: Any = None,
    max_cost: Any = None,
    noise: Any = None,
    out: NDArray[np.bool_] | None = None,
) -> Terms:
    """The terms of k rows of a pool of n, as `select` takes them; of rows that are `out` nothing need be said."""
    group, most, budget = None, 0, np.inf
    if groups is None and per_group is not None:
        raise ValueError(f"per_group must be left out without groups, got {per_group!r}; pass groups=")
    if groups is not None and per_group is None:
        raise ValueError("per_group must be given with groups, got None; say how many rows of a group")
    costs, noises = (
        None if given is None else positive(name, given, n, out=out)
        for name, given in (("cost", cost), ("noise", noise))
    )
    if groups is not None:
        most, group = checks.integer("per_group", per_group, at_least=1), _labels(groups, n, out)
    if max_cost is not None:
        budget = checks.number("max_cost", max_cost, above=0)
        if costs is None:
            raise ValueError(f"max_cost must be left out without cost, got {max_cost!r}; pass cost=")
        if np.sort(costs)[-k:].sum() < (1 - 1e-9) * budget:
            budget = np.inf
    asked = Limits(group if most < k else None, most, costs, budget, noise=1.0 if noises is None else noises)
    limits = asked.among(slice(None))
    order = np.argsort(limits.noise, kind="stable") if isinstance(limits.noise, np.ndarray) else None
    silent = not limits.bind and not limits.weigh and limits.noise == 1
    return Terms(None if silent else limits if order is None else limits.of(order), costs, order)


def positive(
    name: str, given: Any, n: int, of: str = "the pool", out: NDArray[np.bool_] | None = None
) -> Float:
    """A number > 0 of every row; rows that are `out` have the least of others."""
    values = checks.array(name, given).astype(np.float64)
    if values.shape != (n,):
        raise ValueError(f"{name} must have shape ({n},) to match {of}, got shape {values.shape}")
    good = (values > 0) & (values < np.inf)
    if out is not None and not out.all():
        values[out] = values[~out].min()
        good |= out
    if not good.all():
        i = int(np.argmin(good))
        hint = "; exclude= leaves a row out" if of == "the pool" else ""
        raise ValueError(f"{name} must be finite and > 0, got {values[i]} in row {i}{hint}")
    return values


def _labels(groups: Any, n: int, out: NDArray[np.bool_] | None) -> Rows:
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
    if out is not None:
        missing &= ~out
    if missing.any():
        i = int(np.argmax(missing))
        raise ValueError(f"groups must hold a label for every row, got {given[i]} in row {i}; give it one")
    return found
