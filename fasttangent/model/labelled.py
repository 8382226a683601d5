"""Rows to learn from, and what is said of them, checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from fasttangent.common import checks
from fasttangent.common.columns import Columns
from fasttangent.common.encoded import encoded, whole
from fasttangent.common.inputs import Strange
from fasttangent.common.learned_columns import checked_names, learned
from fasttangent.model.given_strengths import Inputs
from fasttangent.model.pool_rows import from_pool, is_pool
from fasttangent.model.users import checked_ids

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Float = NDArray[np.float64]


OF_TABLE = ("feature_names", "columns", "categorical", "transform")  # arguments of `fit` that say what X is


@dataclass(frozen=True, eq=False)
class Labelled:
    """Rows to learn from, as given."""

    X: NDArray  # (n, n_features)
    Y: NDArray  # (n, n_outputs)
    w: Float  # (n,)
    names: tuple[str, ...] | None  # of the columns that are used
    flat: bool  # y was (n,), not (n, n_outputs)
    columns: Columns | None = None  # what X was made of
    users: NDArray | None = None  # ids (n,)

    @classmethod
    def checked(
        cls,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        feature_names: Any = None,
        columns: Columns | None = None,
        categorical: Sequence[str] = (),
        users: Any = None,
        transform: str | None = None,
    ) -> Labelled:
        """From the arguments of `fit`."""
        if is_pool(X):
            _check_plain(columns, categorical, transform)
            X, y, names_there = from_pool(X, y)
            feature_names = names_there if feature_names is None else feature_names
        given = columns
        if given is None:
            columns = learned(X, sample_weight, feature_names, categorical, transform)
        elif not isinstance(given, Columns):
            raise TypeError(
                f"columns must be what learn_columns returns or a model has, got {type(given).__name__}"
            )
        elif len(categorical) or transform is not None:
            name = "categorical" if len(categorical) else "transform"
            raise ValueError(
                f"{name} must be left out where columns are given, which say what is made of each"
            )
        if columns is None:
            rows = checks.matrix("X", X, min_rows=2)
            names = checked_names(
                X if feature_names is None else feature_names, rows.shape[1], given=feature_names is not None
            )
        else:
            quiet = (
                None if given is not None else Strange("X")
            )  # rows without weight may have cells of their own
            rows, names = whole(encoded("X", X, columns, quiet), tell=given is not None), columns.names
            checks.enough_rows("X", rows, 2)
        Y = checks.targets("y", y, len(rows))
        w = checks.row_weights("sample_weight", sample_weight, len(rows))
        checks.finite("X", rows)
        checks.finite("y", Y)
        ids = None if users is None else checked_ids("users", users, len(rows))
        return cls(rows, Y.reshape(len(rows), -1), w, names, Y.ndim == 1, columns, ids)

    @property
    def inputs(self) -> tuple[str, ...] | None:
        """Names of the columns of X."""
        return self.names if self.columns is None else self.columns.inputs

    @property
    def groups(self) -> Inputs:
        """By what columns inputs are grouped."""
        plain = self.columns is None or self.columns.plain
        return Inputs(self.names, () if self.columns is None or plain else self.columns.of_inputs)

    def some(self, numbers: NDArray[np.int64]) -> Labelled:
        """Some of the rows."""
        users = None if self.users is None else self.users[numbers]
        return replace(self, X=self.X[numbers], Y=self.Y[numbers], w=self.w[numbers], users=users)


def _check_plain(columns: Columns | None, categorical: Sequence[str], transform: str | None) -> None:
    """Raise if columns of a pool are to be anything but numbers."""
    for name, given in (("columns", columns), ("categorical", categorical or None), ("transform", transform)):
        if given is not None:
            raise ValueError(
                f"{name} must be left out where X is a Pool, whose columns are taken for numbers; fit on a data frame"
            )
