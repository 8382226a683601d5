"""Rows that must not be picked, as the command line names them: numbers, or a table with them."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

MOST_ROWS = 1 << 53  # that float64 can number
LISTED = re.compile(r"\s*\d+(\s*,\s*\d+)*\s*")  # row numbers


def table_of(exclude: str | None) -> str | None:
    """The file that it is, if it is one."""
    return None if exclude is None or LISTED.fullmatch(exclude) else exclude


def excluded_rows(exclude: str) -> np.ndarray:
    """Row numbers: those written, those in the column 'row' of a table, or in the only one of a table without names."""
    import numpy as np

    from fasttangent.common.tables.reading import open_table

    path = table_of(exclude)
    if path is None:
        return np.array([min(int(word), MOST_ROWS) for word in exclude.split(",")], np.int64)
    if not os.path.isfile(path):
        raise ValueError(
            f"--exclude must be a table or row numbers such as 3,17, got {path!r}, which is neither"
        )
    table = open_table(path, None)
    if "row" not in table.names if table.named else len(table.names) > 1:
        raise ValueError(f"{path} has no column 'row'; give --exclude a table with one, as select writes it")
    numbers = table.read([table.column("row") if table.named else 0])[:, 0]
    good = (numbers == np.floor(numbers)) & (numbers >= 0) & (numbers <= MOST_ROWS)
    if not good.all():
        i = int(np.argmin(good))
        raise ValueError(f"{path} must hold row numbers (from 0), got {numbers[i]:g} in row {i}")
    return numbers.astype(np.int64)
