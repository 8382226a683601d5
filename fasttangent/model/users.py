"""Whose rows are whose: ids of users as they are given, and as the numbers that deviations stand under."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np

from fasttangent.common.warning import warn
from fasttangent.problem.deviations import Deviations
from fasttangent.problem.layout import Layout

if TYPE_CHECKING:
    from numpy.typing import NDArray

Id = int | str
SHARED = -1  # the number of a user that was not seen


def checked_ids(name: str, users: Any, n: int) -> NDArray:
    """Ids (n,), whole numbers or text, one for each row; an id alone is that of all rows."""
    if isinstance(users, str | Integral | np.generic):
        users = [users] * n
    given = users if isinstance(users, np.ndarray) else np.asarray(users, dtype=object)
    if given.shape != (n,):
        raise ValueError(f"{name} must have shape ({n},), an id for each row of X, got shape {given.shape}")
    if given.dtype.kind in "iuU":
        return given.astype(np.int64) if given.dtype.kind != "U" else given
    if given.dtype.kind == "f" and (given == np.round(given)).all() and (abs(given) < 2**53).all():
        return given.astype(np.int64)
    each = given.tolist()
    missing = [i for i, one in enumerate(each) if one is None or one != one]  # nan differs from itself
    if missing:
        raise ValueError(
            f"{name} must have an id in every row, got {each[missing[0]]} in row {missing[0]}; leave such rows out, or "
            f"give them an id of their own"
        )
    if all(isinstance(one, str) for one in each):
        return np.array(each, np.str_) if n else np.empty(0, np.str_)
    if all(
        isinstance(one, Integral | float) and not isinstance(one, bool) and one == int(one) for one in each
    ):
        return np.array([int(one) for one in each], np.int64)
    kinds = sorted({type(one).__name__ for one in each})
    raise TypeError(
        f"{name} must be whole numbers or text, one kind for all rows, got {', '.join(kinds)}; convert them with "
        f"[str(u) for u in users]"
    )


@dataclass(frozen=True)
class Users:
    """Those that a model was fitted on.

    Attributes
    ----------
    ids : tuple of int or str
        In the order of their deviations.
    layers : tuple of int
        Numbers of the layers of which each has its own weights and biases.
    """

    ids: tuple[Id, ...]
    layers: tuple[int, ...]

    @classmethod
    def of(cls, ids: NDArray, layers: tuple[int, ...]) -> Users:
        """Those of some rows."""
        return cls(tuple(np.unique(ids).tolist()), layers)

    def deviations(self, layout: Layout) -> Deviations:
        """Where their parameters stand in a vector."""
        return Deviations(layout, self.layers, len(self.ids))

    @cached_property
    def _place(self) -> dict[Id, int]:
        return {one: i for i, one in enumerate(self.ids)}

    def number(self, user: Any) -> int:
        """The number of one that must have been seen."""
        (one,) = checked_ids("user", user, 1).tolist()
        if one not in self._place:
            few = ", ".join(map(repr, self.ids[:3]))
            raise ValueError(
                f"user must be one of the {len(self.ids)} that the model was fitted on ({few}, ...), got {one!r}; "
                f"model.shared is what it predicts for others"
            )
        return self._place[one]

    def numbers(self, name: str, users: Any, n: int) -> NDArray[np.int64]:
        """The number of each row's user (n,), `SHARED` where it was not seen, of which one warning tells."""
        ids = checked_ids(name, users, n)
        each, back = np.unique(ids, return_inverse=True)
        found = np.array([self._place.get(one, SHARED) for one in each.tolist()], np.int64)
        unseen = each[found == SHARED].tolist()
        if unseen:
            what = "an id" if len(unseen) == 1 else f"{len(unseen)} ids"
            first = f"{unseen[0]!r}{', ...' if len(unseen) > 1 else ''}"
            warn(
                f"{name} has {what} that the model was not fitted on ({first}): "
                f"their rows get the shared model"
            )
        return found[back.reshape(n)] if n else np.empty(0, np.int64)
