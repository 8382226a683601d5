"""What may be asked, as a campaign needs it: passed through to know it again, and rows of it by their numbers."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fasttangent.active.pool import ArrayPool, Pool, pieces
from fasttangent.active.pools import Pool as FilePool
from fasttangent.active.pools import columns_of, frame_of, inputs_of
from fasttangent.common import checks, frames
from fasttangent.common.columns import Columns
from fasttangent.common.duplicates import Among, row_keys
from fasttangent.common.encoded import encoded, whole
from fasttangent.common.learned_columns import learned
from fasttangent.common.warning import warn
from fasttangent.problem.scaling import LARGEST

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Rows = NDArray[np.int64]

BLOCK = 1 << 16  # rows whose number is counted together


@dataclass(eq=False)
class Pooled:
    """A pool of any kind, of which a campaign holds the rows that were asked."""

    rows: Pool
    width: int  # inputs
    names: Sequence[str] | None  # of the columns
    columns: Columns | None = None  # what the inputs are made of
    shown: Callable[[Rows], Any] | None = None  # what a function is asked of; default: inputs
    _kept: dict[int, NDArray] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.rows)

    def chunks(self) -> Iterator[tuple[int, NDArray]]:
        return self.rows.chunks()

    def take(self, numbers: Any) -> NDArray:
        """Inputs of some rows, a copy."""
        if not len(numbers):
            return (
                self.rows.rows[:0].copy() if isinstance(self.rows, ArrayPool) else np.empty((0, self.width))
            )
        return np.array(self.rows.take(np.asarray(numbers, np.int64)))

    def asked(self, numbers: Sequence[int]) -> NDArray:
        """The same of rows that are wanted again and again: each is read once."""
        new = [row for row in numbers if row not in self._kept]
        self._kept.update(zip(new, self.take(new), strict=True))
        return np.array([self._kept[row] for row in numbers]) if len(numbers) else self.take(())


class Survey(NamedTuple):
    """What one pass says of a pool."""

    sha256: str  # of shape and values, whatever the dtype
    finite: NDArray[np.bool_]  # (n,), which rows can be asked
    usable: NDArray[np.bool_]  # (n,), those of them that are not among the known ones


def pooled(given: Any, fit: Mapping[str, Any]) -> Pooled:
    """The pool that `ActiveLearner` was given, as the arguments of `fit` want its columns."""
    if isinstance(given, Pooled):
        return given
    how = {"categorical": fit.get("categorical", ()), "transform": fit.get("transform")}
    if isinstance(given, FilePool):
        if len(given) < 2:
            raise ValueError(f"X_pool must have at least 2 rows, got {len(given)}: {given}")
        columns = columns_of(given, **how)
        rows, width = inputs_of(given, columns)
        names = None if columns is None else columns.names
        plain = columns is None or columns.plain
        return Pooled(rows, width, names, columns, None if plain else lambda some: frame_of(given, some))
    columns = learned(given, **how)
    names = checks.column_names(given) if columns is None else columns.names
    matrix = _matrix(given, columns)
    shown = given if columns is not None and not columns.plain else matrix
    return Pooled(
        ArrayPool(matrix), matrix.shape[1], names, columns, lambda rows: frames.rows_of(shown, rows)
    )


def surveyed(pool: Pooled, known: NDArray | None) -> Survey:
    """Pass through the pool; a warning counts the rows that can never be asked."""
    n, among = len(pool), dict[np.dtype, Among]()
    digest = hashlib.sha256(repr((n, pool.width)).encode())
    finite, usable, first, what = np.ones(n, bool), np.ones(n, bool), n, ""
    for start, rows in pieces(pool):
        end = start + len(rows)
        digest.update(np.ascontiguousarray(rows, "<f8").tobytes())
        good = checks.finite_rows(rows, LARGEST)
        if not good.all() and first == n:
            place = int(np.argmin(good))
            far = np.isfinite(rows[place]).all()
            first, what = start + place, f"above {LARGEST:.1e}" if far else "that is not finite"
        finite[start:end] = usable[start:end] = good
        if known is not None:
            usable[start:end] &= ~_among(rows, known, among)
    bad = n - np.count_nonzero(finite)
    if bad == n:
        raise ValueError("X_pool has no row whose values are all finite; fill in what is missing")
    if bad:
        warn(f"{bad:,} of {n:,} rows of X_pool hold a value {what} (first: row {first}) and are never asked")
    return Survey(digest.hexdigest(), finite, usable)


def drawn(mask: NDArray[np.bool_], count: int, rng: np.random.Generator) -> Rows:
    """Numbers of so many rows of a mask by chance, or all of them, in the order drawn."""
    ends = np.cumsum([np.count_nonzero(mask[at : at + BLOCK]) for at in range(0, len(mask), BLOCK)])
    of = rng.choice(ends[-1], min(count, ends[-1]), replace=False)
    out, block = np.empty(len(of), np.int64), np.searchsorted(ends, of, side="right")
    for i in np.unique(block).tolist():
        at = i * BLOCK
        inside = np.flatnonzero(mask[at : at + BLOCK])
        mine = block == i
        out[mine] = at + inside[of[mine] - (ends[i] - len(inside))]
    return out


def _among(rows: NDArray, known: NDArray, made: dict[np.dtype, Among]) -> NDArray[np.bool_]:
    """Which rows equal one of those known, which are rounded as the rows are."""
    if rows.dtype not in made:
        with np.errstate(over="ignore"):
            made[rows.dtype] = Among(known.astype(rows.dtype) if rows.dtype.kind == "f" else known)
    return made[rows.dtype].find(rows, row_keys(rows))


def _matrix(X: Any, columns: Columns | None) -> NDArray:
    if columns is None:
        return checks.matrix("X_pool", X, min_rows=2)
    rows = whole(encoded("X_pool", X, columns))
    checks.enough_rows("X_pool", rows, 2)
    return rows
