"""Text as the numbers of its levels, by what the library of a frame has for it, without a loop over rows."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fasttangent.common.cells import library_of, part_of
from fasttangent.common.objects import SameObjects

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Float = NDArray[np.float64]
    Codes = NDArray[np.int64]
    AnyCodes = NDArray[np.integer[Any]]


def text_of(level: Any) -> str:
    """A level as text: 3 and 3.0 are the same one."""
    if isinstance(level, (bool, np.bool_)):
        return str(bool(level))
    if isinstance(level, (int, np.integer)):
        return str(int(level))
    if isinstance(level, (float, np.floating)):
        return str(int(level)) if float(level).is_integer() else repr(float(level))
    return str(level)


def factored(values: Any) -> tuple[Codes, list[str]]:
    """A number for every cell of text, -1 where missing, and the text that each number stands for."""
    native, library = values.to_native(), library_of(values)
    if library == "polars":
        import polars

        text = native.cast(polars.String)
        levels = text.drop_nulls().unique().sort().to_list()
        return np.where(text.is_null().to_numpy(), -1, _in_enum(text, polars.Enum(levels))), levels
    if library == "arrow":
        whole = (native if _is_dictionary(native) else native.dictionary_encode()).unify_dictionaries()
        parts = [np.empty(0, np.int64), *(_indices(chunk) for chunk in whole.chunks)]
        codes, found = (
            np.concatenate(parts),
            whole.chunk(0).dictionary.to_pylist() if whole.num_chunks else [],
        )
    else:
        codes, uniques = values.__native_namespace__().factorize(native)
        codes, found = codes.astype(np.int64), list(uniques)
    return merged(codes, found)


def merged(codes: Codes, found: Sequence[Any]) -> tuple[Codes, list[str]]:
    """The same, with a number for each text: of levels that are written the same, the first."""
    place: dict[str, int] = {}
    of = [-1 if one is None else place.setdefault(text_of(one), len(place)) for one in found]
    return np.array([*of, -1], np.int64)[codes], list(place)


def codes_of_numbers(values: Float, levels: tuple[str, ...]) -> Codes:
    """The codes of `Coded` for numbers, nan where missing."""
    found, at = np.unique(values, return_inverse=True)
    return _of_dictionary([None if one != one else one for one in found.tolist()], levels)[at]


class Coded:
    """A column of text, a narwhals series, whose parts are codes when they are asked for.

    Attributes
    ----------
    levels : tuple of str
        Of codes 0 to L - 1; L is that of missing cells, L + 1 that of any other text.
    """

    def __init__(self, values: Any, levels: tuple[str, ...]) -> None:
        native, library = _in_arrow(values.to_native()), library_of(values)
        if native is not None:
            import narwhals.stable.v1 as nw

            values, library = nw.from_native(native, series_only=True), "arrow"
        self.values, self.levels, self._native, self._library = values, levels, values.to_native(), library
        make = {"polars": self._polars, "arrow": self._arrow, "pandas": self._pandas}[library]
        self._codes: Callable[[Any], AnyCodes] = make(self._native)

    def codes(self, rows: slice | NDArray[np.int64]) -> AnyCodes:
        """Of some rows."""
        return self._codes(part_of(self._native, self._library, rows))

    def _polars(self, native: Any) -> Callable[[Any], AnyCodes]:
        import polars

        n = len(self.levels)
        if native.dtype != polars.String:
            return _Physical(self.levels).codes
        enum = polars.Enum(self.levels)

        def codes(part: Any) -> AnyCodes:
            found = _in_enum(part, enum)
            return np.where(part.is_null().to_numpy(), n, found) if part.null_count() else found

        return codes

    def _arrow(self, native: Any) -> Callable[[Any], AnyCodes]:
        import pyarrow as pa
        import pyarrow.compute as pc

        levels = self.levels
        known: dict[Hashable, Codes] = {}
        of = pa.string() if str(native.type) == "string_view" else native.type
        places = None if _is_dictionary(native) else pa.array([*levels, None], of)

        def of_text(part: Any) -> AnyCodes:
            found = pc.index_in(part.cast(of) if part.type != of else part, value_set=places)
            if found.null_count:
                found = found.fill_null(len(levels) + 1)
            return np.asarray(found.to_numpy())

        def of_dictionaries(part: Any) -> AnyCodes:
            parts = [np.empty(0, np.int64)]
            for chunk in part.chunks:
                dictionary = chunk.dictionary
                key = len(dictionary), *(b and b.address for b in dictionary.buffers()), dictionary.offset
                if key not in known:
                    known[key] = _of_dictionary(dictionary.to_pylist(), levels)
                parts.append(known[key][_indices(chunk)])
            return parts[1] if len(parts) == 2 else np.concatenate(parts)

        return of_dictionaries if places is None else of_text

    def _pandas(self, native: Any) -> Callable[[Any], AnyCodes]:
        pandas, n = self.values.__native_namespace__(), len(self.levels)
        if isinstance(native.dtype, pandas.CategoricalDtype):
            of = _of_dictionary(native.dtype.categories.tolist(), self.levels)
            return lambda part: of[part.cat.codes.to_numpy()]
        index = pandas.Index(self.levels, dtype=object)

        def codes(objects: NDArray[np.object_]) -> Codes:
            found = index.get_indexer(pandas.Index(objects, dtype=object)).astype(np.int64)
            if (other := np.flatnonzero(found < 0)).size:
                found[other] = np.where(pandas.isna(objects[other]), n, n + 1)
            return found

        same = SameObjects(codes)
        return lambda part: same.codes(part.to_numpy(dtype=object))


class _Physical:
    """Codes of polars' categories, by their numbers, which stand for the same text in all of a column."""

    def __init__(self, levels: tuple[str, ...]) -> None:
        self._levels, self._place = levels, {level: i for i, level in enumerate(levels)}
        self._of = np.array(
            [len(levels)]
        )  # of each number, -1 where it was not met; at the end of missing cells

    def codes(self, part: Any) -> Codes:
        """Of some rows; also from several threads."""
        numbers, of = _numbers_of(part), self._of
        most = int(numbers.max(initial=-1))
        if most < len(of) - 1 and (found := of[numbers]).min(initial=0) >= 0:
            return found
        each = part.drop_nulls().unique()
        grown = np.concatenate([of[:-1], np.full(max(0, most + 2 - len(of)), -1), of[-1:]])
        other = len(self._levels) + 1
        grown[_numbers_of(each)] = [self._place.get(one, other) for one in each.cast(str).to_list()]
        self._of = grown
        return grown[numbers]


def _numbers_of(part: Any) -> NDArray[np.int64]:
    """Of polars' categories; -1 where missing."""
    numbers = part.to_physical().cast(int)
    return np.asarray((numbers.fill_null(-1) if numbers.null_count() else numbers).to_numpy())


def _in_enum(text: Any, enum: Any) -> AnyCodes:
    """Of polars' text: the number of the level of every cell, L + 1 where it is none of those L."""
    place = text.cast(enum, strict=False).to_physical()
    if place.null_count():
        place = place.cast(int).fill_null(len(enum.categories) + 1)
    return np.asarray(place.to_numpy())


def _of_dictionary(found: Sequence[Any], levels: tuple[str, ...]) -> Codes:
    """The codes of a dictionary's values, and at its end, where -1 leads, that of missing cells."""
    place, n = {level: i for i, level in enumerate(levels)}, len(levels)
    each = [
        n if one is None or (isinstance(one, float) and one != one) else place.get(text_of(one), n + 1)
        for one in found
    ]
    return np.array([*each, n], np.int64)


def _is_dictionary(native: Any) -> bool:
    return hasattr(native.type, "value_type") and hasattr(native.type, "index_type")


def _indices(chunk: Any) -> Codes:
    """Of a dictionary array, -1 where missing."""
    indices = chunk.indices
    if indices.null_count:
        indices = (
            indices.fill_null(-1) if str(indices.type)[0] == "i" else indices.cast("int64").fill_null(-1)
        )
    return np.asarray(indices.to_numpy(zero_copy_only=False))


def _in_arrow(native: Any) -> Any:
    """What a column of pandas holds, where that is Arrow's own, else None."""
    kind = getattr(native, "dtype", None)
    if not str(getattr(kind, "storage", None)).startswith("pyarrow") and not hasattr(kind, "pyarrow_dtype"):
        return None
    import pyarrow as pa

    held = native.array.__arrow_array__()
    return held if isinstance(held, pa.ChunkedArray) else pa.chunked_array([held])
