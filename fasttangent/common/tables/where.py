"""Which rows of a table there are to be: conditions on columns, all of which must hold."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fasttangent.common.tables.arrow import arrow
from fasttangent.common.tables.words import first_line

if TYPE_CHECKING:
    from numpy.typing import NDArray

COMPARED = {
    "==": "equal", "!=": "not_equal", "<": "less", "<=": "less_equal", ">": "greater", ">=": "greater_equal",
}  # fmt: skip
AMONG = ("in", "not in")
WITHIN = {  # whether any value from a least one to a largest one may be so
    "<": lambda least, largest, value: least < value,
    "<=": lambda least, largest, value: least <= value,
    ">": lambda least, largest, value: largest > value,
    ">=": lambda least, largest, value: largest >= value,
    "==": lambda least, largest, value: least <= value <= largest,
}


class Condition(NamedTuple):
    """``column operator value``; a missing cell fulfils none."""

    column: str
    operator: str
    value: Any

    def holds(self, cells: Any) -> NDArray[np.bool_]:
        """For every cell of an Arrow array."""
        pa, pc = arrow(), arrow("compute")
        if pa.types.is_dictionary(cells.type):
            cells = cells.dictionary_decode()
        try:
            if self.operator in AMONG:
                found = pc.is_in(cells, value_set=_as_cells(list(self.value), cells.type))
                found = pc.invert(found) if self.operator == "not in" else found
            else:
                value = _as_cells([self.value], cells.type)[0]
                found = getattr(pc, COMPARED[self.operator])(cells, value)
        except (pa.ArrowException, TypeError, ValueError) as error:
            raise ValueError(
                f"where: column {self.column!r} holds {cells.type}, which cannot be compared with {self.value!r} "
                f"({first_line(error)})"
            ) from None
        there = pc.and_(pc.is_valid(cells), pc.fill_null(found, False))
        return np.asarray(there.to_numpy(zero_copy_only=False), bool)

    def may_hold(self, statistics: Any, kind: Any) -> bool:
        """Whether it may for a cell of a row group, by what Parquet says of the column there."""
        if statistics is None or not statistics.has_min_max or self.operator in ("!=", "not in"):
            return True
        several = list(self.value) if self.operator == "in" else [self.value]
        within = WITHIN["==" if self.operator == "in" else self.operator]
        try:
            least, largest = statistics.min, statistics.max
            if least != least or largest != largest:
                return True
            return any(within(least, largest, one.as_py()) for one in _as_cells(several, kind))
        except (arrow().ArrowException, TypeError, ValueError, NotImplementedError):
            return True


def conditions(where: Any) -> tuple[Condition, ...]:
    """From the argument `where`: one triple or several.

    Raises
    ------
    ValueError, TypeError
        If something is no triple of a column, an operator and a value.
    """
    given = [where] if isinstance(where, tuple) and len(where) == 3 and isinstance(where[1], str) else where
    if isinstance(given, (str, bytes)) or not isinstance(given, Iterable):
        raise TypeError(
            f"where must be (column, operator, value) or a list of those, such as ('site', '==', 'A'), got {where!r}"
        )
    found = list(given)
    for one in found:
        words = [*COMPARED, *AMONG]
        if not isinstance(one, tuple) or len(one) != 3 or not isinstance(one[0], str) or one[1] not in words:
            raise ValueError(
                f"where must hold (column, operator, value) with an operator of {', '.join(words)}, got {one!r}"
            )
        if one[1] in AMONG and (isinstance(one[2], (str, bytes)) or not isinstance(one[2], Iterable)):
            raise ValueError(f"where: {one[1]!r} needs a list of values, got {one[2]!r}")
    if not found:
        raise ValueError("where must hold a condition, got none; leave it out")
    return tuple(Condition(*one) for one in found)


def _as_cells(values: Sequence[Any], kind: Any) -> Any:
    """As an Arrow array; text as what the column is, such as a moment."""
    pa = arrow()
    found = pa.array(values)
    textual = pa.types.is_string(found.type) and not pa.types.is_string(kind)
    return found.cast(kind) if textual else found
