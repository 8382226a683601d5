"""From the cells of a part of a table's rows to the inputs of a network."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fasttangent.common import cells
from fasttangent.common.columns import Column
from fasttangent.common.levels import Coded, codes_of_numbers
from fasttangent.common.powers import Power, transformed
from fasttangent.common.warning import warn

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Float = NDArray[np.float64]

YES, NO = ("true", "yes", "y", "t"), ("false", "no", "n", "f")  # in any case
OF_WORDS = {
    form(word): float(words is YES)
    for words in (YES, NO)
    for word in words
    for form in (str.lower, str.title, str.upper)
}
WORDS = tuple(OF_WORDS)


class Strange:
    """Cells like none in training, counted, and told in one warning."""

    def __init__(self, name: str) -> None:
        self.name, self._counted = name, list[tuple[str, str, int]]()
        self._told = False

    def count(self, column: Column, what: str, where: NDArray[np.bool_]) -> None:
        """So many more, of a part of the rows; also from several threads."""
        if not self._told and (n := int(np.count_nonzero(where))):
            self._counted.append((column.name, what, n))

    def warn(self) -> None:
        """Tell of all that was counted until now, once."""
        total: dict[tuple[str, str], int] = {}
        for name, what, n in self._counted:
            total[name, what] = total.get((name, what), 0) + n
        if total and not self._told:
            self._told = True
            each = [f"{n:,} {what} in column {name!r}" for (name, what), n in sorted(total.items())]
            more = f" and in {len(each) - 5} more columns" if len(each) > 5 else ""
            warn(
                f"{self.name} has cells like none in training: {', '.join(each[:5])}{more}; "
                f"a missing one takes the mean, a new level counts as none of the others"
            )


class Source(NamedTuple):
    """Cells of a column: a narwhals series, of a kind, or floats with nan for what is missing."""

    column: Column
    values: Any
    kind: str
    coded: Coded | None = None  # of text that stands for levels

    @classmethod
    def of(cls, name: str, column: Column, values: Any) -> Source:
        """Raises unless the column can be made of these cells."""
        place = f"{name}, column {column.name!r},"
        if isinstance(values, np.ndarray):
            return cls(column, values, "number")
        kind = cells.kind_of(place, values)
        numbers = ("number", "bool")
        fits = {"number": (*numbers, "text"), "bool": (*numbers, "text"), "moment": ("moment", "text")}
        if column.kind != "category" and kind not in (*fits.get(column.kind, (column.kind,)), "empty"):
            raise TypeError(
                f"{place} must hold a {column.kind} as in training, got {values.dtype}; convert it"
            )
        if kind == "text" and column.kind in ("category", "bool"):
            return cls(column, values, kind, Coded(values, column.levels or WORDS))
        return cls(column, cells.Doubles(values) if cells.Doubles.has(values) else values, kind)

    def codes(self, rows: Any) -> NDArray[np.integer[Any]]:
        """Of a category: the number of the level, their number where missing, and one more of any other level."""
        if self.coded is not None:
            return self.coded.codes(rows)
        return codes_of_numbers(self._numbers(rows), self.column.levels)

    def floats(self, name: str, rows: Any, strange: Strange) -> Float:
        """Of another kind, with nan for what is missing."""
        if self.coded is not None:
            codes = self.coded.codes(rows)
            strange.count(self.column, "no word for true or false", codes == len(WORDS) + 1)
            return np.array([*OF_WORDS.values(), np.nan, np.nan])[codes]
        if self.kind == "text" and self.column.kind == "moment":
            return cells.moments_in_text(f"{name}, column {self.column.name!r},", self.values[rows])
        return self._numbers(rows)

    def _numbers(self, rows: Any) -> Float:
        part = self.values[rows]
        if isinstance(part, np.ndarray):
            return part
        kind = self.column.kind if self.kind == "text" else self.kind
        return cells.floats(f"X, column {self.column.name!r},", kind, part)


def write_numbers(out: NDArray, column: Column, values: Float, centre: Float, strange: Strange) -> None:
    """Into the column's inputs, less a centre."""
    missing = np.isnan(values)
    if column.power:
        values = transformed(values, Power(*column.power))
    begin, mean = (column.mean, 0.0) if column.kind == "moment" else (0.0, column.mean)
    if begin:
        values = values - begin
    np.subtract(values, centre[0], out=out[:, 0], casting="same_kind")
    if column.missing:
        np.subtract(missing, centre[1], out=out[:, 1], casting="same_kind")
    if missing.any():
        out[missing, 0] = mean - centre[0]
        if not column.missing:
            strange.count(column, "missing", missing)


def write_category(
    out: NDArray, column: Column, codes: NDArray[np.integer[Any]], centre: Float, strange: Strange
) -> None:
    """Into the column's inputs, less a centre."""
    n = len(column.levels)
    row = np.dtype(
        (np.void, out.shape[1] * out.itemsize)
    )  # which is copied at once, twice as fast as its values
    out.view(row)[:, 0] = np.take((column.table - centre).astype(out.dtype).view(row)[:, 0], codes)
    if codes.max(initial=0) >= n:
        if not column.missing:
            strange.count(column, "missing", codes == n)
        strange.count(column, "of a new level", codes == n + 1)
