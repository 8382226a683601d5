"""Results for the rows of a table as a table of the same kind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fasttangent.common import checks, frames

if TYPE_CHECKING:
    from numpy.typing import NDArray

OUTPUTS = ("array", "frame")


def wants_frame(X: Any, output: str) -> bool:
    """Whether a table was asked for, which X must then be."""
    if checks.choice("output", output, OUTPUTS) == "array":
        return False
    if not frames.is_frame(X):
        raise TypeError(
            f"output='frame' needs X to be a data frame, got {type(X).__name__}; pass one, or leave output out"
        )
    return True


def framed(X: Any, **results: NDArray) -> Any:
    """Results for each row of X, as a frame of its kind and, of pandas, with its index."""
    return frames.like(X, {key: one for name, each in results.items() for key, one in named(name, each)})


def named(name: str, values: NDArray) -> list[tuple[str, NDArray]]:
    """Columns by name; of several each has its number."""
    if values.ndim == 1:
        return [(name, values)]
    return [(f"{name}_{j}", values[:, j]) for j in range(values.shape[1])]
