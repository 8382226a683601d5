"""Labelled rows of a pool, read once: in memory where they are few, else in a temporary file that is mapped.

Both stages read rows in any order and as often as they like, which files of other formats do not allow.
"""

from __future__ import annotations

import errno
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeGuard

import numpy as np

from fasttangent.common.handing import ahead

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Float = NDArray[np.float64]

HELD = 2**22  # values up to which rows are held: 32 MB


class LabelledPool(Protocol):
    """What is asked of a `Pool`."""

    def __len__(self) -> int: ...

    def labelled(self, label: str | int | None) -> tuple[list[str] | None, int, Iterator[Float]]:
        """Names of the features, how many, and blocks of rows of these and then the label, if there is one."""
        ...


def is_pool(X: Any) -> TypeGuard[LabelledPool]:
    """Whether rows are those of a `Pool`."""
    return hasattr(X, "labelled") and hasattr(X, "identify")


def from_pool(pool: LabelledPool, y: Any) -> tuple[NDArray, Any, list[str] | None]:
    """X, y and names of the columns of X; y is given, or the name or number of a column."""
    label: str | int | None = None
    if isinstance(y, (str, int, np.integer)) and not isinstance(y, bool):
        label = y if isinstance(y, str) else int(y)
    names, width, blocks = pool.labelled(label)
    rows = _stored(len(pool), width + (label is not None), blocks)
    return rows[:, :width], y if label is None else rows[:, width], names


def check_names(names: Sequence[str] | None, wanted: Sequence[str] | None) -> None:
    """Raise where a model was fitted on columns of other names, or in another order."""
    if names is not None and wanted is not None and list(names) != list(wanted):
        raise ValueError(
            f"X must have the columns that the model was fitted on, in their order, got a Pool of "
            f"{', '.join(map(repr, names))}; make it with columns={list(wanted)}"
        )


def _stored(n: int, width: int, blocks: Iterator[Float]) -> Float:
    """All blocks one below the other (n, width)."""
    if n * width <= HELD:
        held = np.empty((n, width))
        for start, block in _counted(n, blocks):
            held[start : start + len(block)] = block
        return held
    folder, needed = tempfile.gettempdir(), 8 * n * width
    if (free := shutil.disk_usage(folder).free) < needed:
        raise OSError(_no_room(folder, needed, free))
    with tempfile.TemporaryFile(prefix="fasttangent-") as file:
        try:
            for _, block in _counted(n, blocks):
                file.write(np.ascontiguousarray(block, np.float64).data)
            file.flush()
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            raise OSError(_no_room(folder, needed, shutil.disk_usage(folder).free)) from None
        return np.memmap(file, np.float64, "r", shape=(n, width))


def _counted(n: int, blocks: Iterator[Float]) -> Iterator[tuple[int, Float]]:
    """(first row, block), of n rows in all."""
    start = 0
    with ahead(blocks) as read:
        for block in read:
            if start + len(block) <= n:
                yield start, block
            start += len(block)
    if start != n:
        raise OSError(f"the pool had {n:,} rows and has {start:,} now; a pool must stay the same")


def _no_room(folder: str, needed: int, free: int) -> str:
    return (
        f"rows of the pool take {needed / 1e9:.3g} GB in a temporary file, and {folder} has {free / 1e9:.3g} GB free; "
        f"name another folder in the environment variable TMPDIR, or fit on a .npy file that is mapped"
    )
