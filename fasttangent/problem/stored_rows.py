"""Rows that stay where they are, in a memory map or an array: some at a time are brought into standard units.

Blocks have borders that depend on the shape of the rows alone, and sums run over blocks in their order, so results
depend neither on where rows are nor on threads.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from fasttangent.common.maps import check_map
from fasttangent.problem.scaling import Scaling, checked_scale, places, scaling_of, unit_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Float = NDArray[np.float64]

BLOCK_VALUES = 2**20  # of a block of sums: 8 MB
PIECE_VALUES = 2**17  # that lie together in the file and are read together by the first stage
PIECES = 32  # drawn from anywhere, whose rows are shuffled among each other


@dataclass(frozen=True, eq=False)
class StoredRows:
    """Labelled rows as they were given.

    Parameters
    ----------
    X : ndarray of shape (n, n_features)
        Of any dtype; may be a memory map, as Y.
    Y : ndarray of shape (n, n_outputs)
    w : ndarray of float64, shape (n,)
        Weights; 0 leaves a row out.
    scaling : Scaling
    """

    X: NDArray
    Y: NDArray
    w: Float
    scaling: Scaling

    def __len__(self) -> int:
        return len(self.X)

    @cached_property
    def total(self) -> float:
        """S, the sum of the weights."""
        return float(self.w.sum())

    @cached_property
    def present(self) -> int:
        """Rows that have a weight."""
        return int(np.count_nonzero(self.w))

    @property
    def n_labels(self) -> int:
        """Rows times outputs."""
        return self.Y.size

    def weighted(self, w: Float) -> StoredRows:
        """The same rows with other weights."""
        return replace(self, w=w)

    def read(self, which: slice | NDArray[np.int64]) -> tuple[Float, Float, Float]:
        """X and Y in standard units, and weights, of some rows."""
        check_map(self.X)
        check_map(self.Y)
        X = self.scaling.near_inputs("X", self.X[which])
        return X, self.scaling.near_targets("y", self.Y[which]), np.ascontiguousarray(self.w[which])

    def blocks(self) -> Iterator[tuple[Float, Float, Float]]:
        """All rows in their order, in standard units."""
        for part in blocks(self.X):
            yield self.read(part)

    @property
    def piece(self) -> int:
        """Rows that the first stage reads together."""
        return max(64, PIECE_VALUES // self.X.shape[1])

    @property
    def windows(self) -> list[int]:
        """Rows of each window of an epoch."""
        n, size = len(self.X), PIECES * self.piece
        return [min(size, n - start) for start in range(0, n, size)]

    def shuffled(
        self, rng: np.random.Generator, dtype: np.dtype
    ) -> Iterator[tuple[tuple[NDArray, NDArray, Float], NDArray[np.int64]]]:
        """An epoch: windows of rows in standard units and `dtype`, and an order of the rows of each.

        A window holds pieces from all over the file, drawn by chance; the last, which may be short, comes last.
        """
        pieces = np.append(rng.permutation(len(self.X) // self.piece), len(self.X) // self.piece)
        for start in range(0, len(pieces), PIECES):
            some = pieces[start : start + PIECES]
            if read := [one for i in some.tolist() if len((one := self._piece(i, dtype))[0])]:
                X, Y, w = (np.concatenate(parts) for parts in zip(*read, strict=True))
                yield (X, Y, w), rng.permutation(len(w))

    def _piece(self, i: int, dtype: np.dtype) -> tuple[NDArray, NDArray, Float]:
        X, Y, w = self.read(slice(i * self.piece, (i + 1) * self.piece))
        return X.astype(dtype, copy=False), Y.astype(dtype, copy=False), w


def blocks(A: NDArray) -> Iterator[slice]:
    """Borders of the blocks of rows in this order: of a power of two of rows each."""
    size = 2 ** max(6, int(np.log2(max(1, BLOCK_VALUES // A.shape[1]))))
    for start in range(0, len(A), size):
        yield slice(start, start + size)


def stored_scaling(X: NDArray, Y: NDArray, w: Float, names: Sequence[str] | None = None) -> Scaling:
    """As `fit_scaling`, but for rounding, of rows that are passed through block by block."""
    columns, outputs = places(X, Y, names)
    return scaling_of(_moments("X", X, w, columns), _moments("y", Y, w, outputs))


def _moments(name: str, A: NDArray, w: Float, where: Sequence[str]) -> tuple[Float, Float]:
    """Weighted mean and standard deviation of each column, of blocks put together as Chan, Golub & LeVeque (1979)."""
    low, high = np.full(A.shape[1], np.inf), np.full(A.shape[1], -np.inf)
    for some, _ in _weighted(A, w):
        low, high = np.minimum(low, some.min(axis=0)), np.maximum(high, some.max(axis=0))
    exact = unit_of(name, low, high, where)
    mean, squares, total = np.zeros(A.shape[1]), np.zeros(A.shape[1]), 0.0
    largest = w.max()
    for some, weight in _weighted(A, w):
        some /= exact
        weight = weight / largest
        own = float(weight.sum())
        centre = np.sum(weight[:, None] * some, axis=0) / own
        spread = np.sum(weight[:, None] * (some - centre) ** 2, axis=0)
        share = own / (total + own)
        squares += spread + (centre - mean) ** 2 * total * share
        mean += (centre - mean) * share
        total += own
    return mean * exact, checked_scale(name, np.sqrt(squares / total) * exact, low == high, where)


def _weighted(A: NDArray, w: Float) -> Iterator[tuple[Float, Float]]:
    """Rows that have a weight, in float64, and their weights, block by block."""
    for part in blocks(A):
        check_map(A)
        present = w[part] > 0
        if present.any():
            some = A[part]
            with np.errstate(over="ignore"):
                yield (some if present.all() else some[present]).astype(np.float64), w[part][present]
