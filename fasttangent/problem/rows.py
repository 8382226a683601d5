"""From rows of any number, dtype and memory layout to kernels: the one driver of scores, embeddings and loss heads.

Rows of the model's dtype whose values stand side by side, in memory or in a memory map, are read where they are; others
are standardised or cast a chunk per thread at a time.  Results do not depend on chunks or threads.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from fasttangent.common import parallel
from fasttangent.common.encoded import Encoded
from fasttangent.common.maps import check_map
from fasttangent.problem.scaling import FARTHEST

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fasttangent.problem.scaling import Scaling

CHUNK = 8192  # rows at the most: 1 MB of 32 float32 inputs, large enough to hide the cost of a call
NARROW = (
    100  # values of a row; NumPy takes the maxima of such rows up to 100 times faster as those of columns
)
CHUNK_PRODUCTS = 2**28  # at the most, some milliseconds: few rows of a large network are shared, too


class Readable(NamedTuple):
    """Rows that kernels can read."""

    n: int
    flat: NDArray  # from the first value of the rows to the last
    step: int  # values from one row to the next
    centre: NDArray  # (n_features,): what kernels are to subtract from every row


def each_readable_chunk(
    scaling: Scaling,
    centre: NDArray | None,
    X: NDArray,
    dtype: np.dtype,
    products: int,
    threads: int,
    task: Callable[[int, Readable], NDArray],
    divisor: NDArray | None = None,
) -> NDArray[np.int64]:
    """Call task(first row, rows) for chunks of rows, in any order and from any thread.

    With a `centre`, what the task gets are the rows as they are, or over the `divisor`, to be centred by it; without,
    rows in standard units.  `products` is the work for a row, in multiplications.  A task returns the `sizes` of what
    it computed for its rows; the numbers of rows that are `beyond` are returned, ascending.
    """
    n, readable, zero = len(X), _readable(X, dtype), np.zeros(X.shape[1], dtype)

    def inputs(part: slice) -> tuple[NDArray, NDArray]:
        """Rows that kernels can read, and what they are to subtract from them."""
        if isinstance(X, Encoded) and centre is not None and divisor is None:
            with np.errstate(over="ignore", invalid="ignore"):
                return X.less(centre.astype(np.float64), part, dtype), zero
        rows = X[part]
        if centre is None:
            return scaling.inputs(rows, dtype), zero
        if readable and divisor is None:
            return rows, centre
        with np.errstate(
            over="ignore", invalid="ignore"
        ):  # infinite in `dtype`: reported below as not finite
            near = rows if divisor is None else rows / divisor
            return np.ascontiguousarray(near - centre.astype(np.float64), dtype), zero

    chunk = min(CHUNK, max(256, CHUNK_PRODUCTS // products))
    if isinstance(X, Encoded):
        chunk *= 2  # as every column of every chunk has a cost of its own
    n_chunks = -(-n // chunk)
    bad: list[NDArray[np.int64]] = [np.empty(0, np.int64)] * n_chunks

    def one(c: int) -> None:
        check_map(X)
        start = c * chunk
        rows, subtract = inputs(slice(start, start + chunk))
        wrong = np.flatnonzero(beyond(task(start, Readable(len(rows), *_flat(rows), subtract))))
        if len(wrong):
            bad[c] = start + wrong

    parallel.run(one, n_chunks, threads)
    return np.concatenate([np.empty(0, np.int64), *bad])


def sizes(*computed: NDArray) -> NDArray:
    """The largest size of what was computed for each row (n,), of arrays (n, ...); nan where there is one."""
    found = np.zeros(len(computed[0]))  # float64, which `beyond` compares
    for part in (one.reshape(len(found), -1) for one in computed if one.size):
        if part.shape[1] < NARROW:
            largest = np.abs(part.T, order="C").max(axis=0)
        else:
            largest = np.maximum(part.max(axis=1), -part.min(axis=1))
        np.maximum(found, largest, out=found)
    return found


def beyond(size: NDArray) -> NDArray[np.bool_]:
    """Which rows were not finite, or so far away that squares of what was computed may not be numbers."""
    return ~(size <= FARTHEST)


def _readable(X: NDArray, dtype: np.dtype) -> bool:
    """Whether kernels can read the rows of X where they are."""
    return (
        isinstance(X, np.ndarray)
        and X.dtype == dtype
        and X.dtype.isnative
        and X.flags.aligned
        and (X.shape[1] == 1 or X.strides[1] == X.itemsize)
        and (len(X) == 1 or (X.strides[0] >= 0 and X.strides[0] % X.itemsize == 0))
    )


def _flat(rows: NDArray) -> tuple[NDArray, int]:
    """(a flat view from the first value of the rows to the last, values from one row to the next).

    One type for all: contiguous or not, writable or not, would each be compiled again.  Kernels write to no input.
    """
    step = rows.strides[0] // rows.itemsize if len(rows) > 1 else rows.shape[1]
    return np.asarray(_Memory(rows, (len(rows) - 1) * step + rows.shape[1])), step


class _Memory:
    def __init__(self, rows: NDArray, size: int) -> None:
        self.rows = rows  # stays alive as long as the view does
        self.__array_interface__ = {
            "version": 3,
            "shape": (size,),
            "typestr": rows.dtype.str,
            "data": (rows.ctypes.data, False),
        }
