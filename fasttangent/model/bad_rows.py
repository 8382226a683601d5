"""What is said of rows that a model cannot compute with: not finite, or too far away for its dtype."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fasttangent.common import checks
from fasttangent.common.warning import warn
from fasttangent.model.scores import Parameters

if TYPE_CHECKING:
    from numpy.typing import NDArray


def refuse(model: Parameters, rows: NDArray, bad: NDArray[np.int64]) -> None:
    """Raise if any row number is `bad`."""
    if len(bad):
        i = int(bad[0])
        if np.isfinite(rows[i]).all():
            raise ValueError(_beyond(model, rows, i))
        raise ValueError(checks.non_finite_message("X", rows, i, np.isfinite(rows[i : i + 1])))


def warn_of(model: Parameters, rows: NDArray, bad: NDArray[np.int64]) -> None:
    """Warn of rows that have no scores."""
    if len(bad):
        count = "1 row holds" if len(bad) == 1 else f"{len(bad)} rows hold"
        far = np.isfinite(rows[bad]).all(axis=1).any()
        where = f", or too far away for {model.dtype}" if far else ""
        warn(f"{count} a value that is not finite{where} (first: row {bad[0]}); scores there are nan")


def _beyond(model: Parameters, rows: NDArray, i: int) -> str:
    """What to say of a row that is finite and too far from the training rows."""
    x, away = rows[i].astype(np.float64), model.scaling.inputs(rows[i : i + 1], np.dtype(np.float64))[0]
    fits = abs(x).max() <= np.finfo(model.dtype).max
    if model.dtype == "float64":
        return (
            "X must be so near to the training rows that squares of what the model computes are numbers, got "
            f"{x[np.argmax(abs(away))]:g} in row {i}; drop or correct such rows"
        )
    unit = ", in standard deviations of the training rows" if fits else ""
    return (
        f"X must be within the range of {model.dtype}, in which the model computes{unit}, got "
        f'{x[np.argmax(abs(away if fits else x))]:g} in row {i}; fit with dtype="float64", or drop such rows'
    )
