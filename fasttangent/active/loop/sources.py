"""The tables of an active learner: what may be asked, what is known, and who knows the labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

from fasttangent.active.loop import oracles
from fasttangent.active.loop.campaign import fingerprint
from fasttangent.active.pools import Pool
from fasttangent.common import checks
from fasttangent.common.columns import Columns
from fasttangent.common.duplicates import row_keys, rows_among
from fasttangent.common.encoded import encoded, whole
from fasttangent.common.learned_columns import learned
from fasttangent.common.warning import warn
from fasttangent.problem.scaling import LARGEST

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Labelled: TypeAlias = "tuple[NDArray, NDArray[np.float64]]"


@dataclass(frozen=True, eq=False)
class Sources:
    """Checked tables; a run and its control have the same."""

    pool: NDArray  # (n, n_features)
    known: Labelled | None  # rows to begin with, and their labels
    test: Labelled | None
    oracle: oracles.Oracle | None
    names: Sequence[str] | None  # of the columns
    finite: NDArray[np.bool_]  # (n,), which rows of the pool can be asked
    usable: NDArray[np.bool_]  # (n,), those of them that are not among the known ones
    columns: Columns | None = None  # what the pool was made of

    @classmethod
    def checked(
        cls,
        X_pool: Any,
        X: Any,
        y: Any,
        test: tuple[Any, Any] | None,
        oracle: Any,
        at_once: int,
        fit: Mapping[str, Any],
    ) -> Sources:
        """From the arguments of `ActiveLearner`."""
        if (X is None) != (y is None):
            raise ValueError("X and y go together: pass both, or neither to begin without labels")
        if isinstance(X_pool, Pool):
            X_pool = X_pool.whole()
        columns = learned(X_pool, categorical=fit.get("categorical", ()), transform=fit.get("transform"))
        names = checks.column_names(X_pool) if columns is None else columns.names
        pool = _matrix("X_pool", X_pool, columns)
        how = Features(pool.shape[1], names, columns)
        known = None if X is None else _labelled_rows("X", X, y, how)
        tested = None if test is None else _labelled_rows("test", *test, how)
        shown = pool if columns is None or columns.plain else X_pool
        knows = oracles.made(oracle, shown, checks.integer("at_once", at_once, at_least=1))
        finite = _finite_rows(pool)
        usable = finite if known is None else finite & ~rows_among(pool, row_keys(pool), known[0])
        sources = cls(pool, known, tested, knows, names, finite, usable, columns)
        if isinstance(knows, oracles.FunctionOracle):
            knows.shape = sources.outputs
        return sources

    @property
    def first(self) -> int:
        """How many labels there are at the beginning."""
        return 0 if self.known is None else len(self.known[1])

    @property
    def outputs(self) -> tuple[int, ...] | None:
        """Shape of a label, where it is known from the start."""
        if self.known is not None:
            return self.known[1].shape[1:]
        if isinstance(self.oracle, oracles.ArrayOracle):
            return self.oracle.shape
        return None if self.test is None else self.test[1].shape[1:]

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """How the tables are known again."""
        return {
            "pool": _described(self.pool),
            "labeled": None if self.known is None else _described(*self.known),
            "test": None if self.test is None else _described(*self.test),
            "outputs": None if self.outputs is None else list(self.outputs),
        }


class Features(NamedTuple):
    """How many, their names, and what they were made of."""

    n: int
    names: Sequence[str] | None
    columns: Columns | None


def _matrix(name: str, X: Any, columns: Columns | None) -> NDArray:
    if columns is None:
        return checks.matrix(name, X, min_rows=2)
    rows = whole(encoded(name, X, columns))
    checks.enough_rows(name, rows, 2)
    return rows


def _rows(name: str, X: Any, how: Features) -> NDArray:
    if how.columns is None:
        return checks.features(name, X, how.n, how.names)
    return whole(encoded(name, X, how.columns))


def _labelled_rows(name: str, X: Any, y: Any, how: Features) -> Labelled:
    """Rows and their labels, all finite."""
    rows = _rows(name, X, how)
    name_of_y = "y" if name == "X" else f"y of {name}"
    labels = checks.targets(name_of_y, y, len(rows))
    for what, values in ((name, rows), (name_of_y, labels)):
        checks.finite(what, values)
        if len(values) and (largest := float(abs(values).max())) > LARGEST:
            raise ValueError(
                f"{what} must be at most {LARGEST:.1e} in size, got {largest:g}; divide by 1e100"
            )
    return rows, labels.astype(np.float64)


def _finite_rows(X: NDArray) -> NDArray[np.bool_]:
    """Which rows of the pool can be asked; a warning counts the others."""
    good = checks.finite_rows(X, LARGEST)
    bad = len(X) - np.count_nonzero(good)
    if bad == len(X):
        raise ValueError("X_pool has no row whose values are all finite; fill in what is missing")
    if bad:
        first = int(np.argmin(good))
        what = f"above {LARGEST:.1e}" if np.isfinite(X[first]).all() else "that is not finite"
        warn(
            f"{bad:,} of {len(X):,} rows of X_pool hold a value {what} (first: row {first}) and are never asked"
        )
    return good


def _described(*arrays: NDArray) -> dict[str, Any]:
    return {"rows": len(arrays[0]), "columns": arrays[0].shape[1], "sha256": fingerprint(*arrays)}
