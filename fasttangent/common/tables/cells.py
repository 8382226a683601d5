"""Cells of text: which are numbers, which are missing, and whether a line of them names columns."""

from __future__ import annotations

import re
from collections.abc import Sequence

# What counts as a missing cell in CSV: the words of pyarrow's own default, kept here because the search for a
# bad cell and the header's detection must agree with the reader.
MISSING = frozenset(
    ["", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "N/A", "NA"]
) | {"NULL", "NaN", "n/a", "nan", "null"}
_NUMBER = re.compile(r"[+-]?((\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|inf|infinity|nan)", re.ASCII | re.IGNORECASE)
CODE = re.compile(r"[+-]?0[\dx]", re.ASCII | re.IGNORECASE)  # 007 and 0x10 are names, not numbers


def looks_like_names(cells: Sequence[str]) -> bool:
    """Whether a first line names columns: it does unless it could be data, or if it counts 0, 1, 2, ...

    pandas writes such a count for a frame made from an array, and an empty cell before it for the index.
    """
    filled = [cell.strip() for cell in cells if cell.strip()]
    counted = len(filled) > 2 and filled == [str(i) for i in range(len(filled))]
    return counted or not all(is_number(cell) or cell in MISSING for cell in filled)


def is_number(cell: str) -> bool:
    return _NUMBER.fullmatch(cell.strip(" \t")) is not None
