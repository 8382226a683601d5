"""The cells of a frame's column, whatever its library: as numbers, and text as the numbers of its levels.

narwhals says what a column holds; what text is mapped by is the library's own, without a loop over rows.
"""

from __future__ import annotations

import itertools
from collections.abc import Hashable, MutableMapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Float = NDArray[np.float64]
    Codes = NDArray[np.int64]

DAY = 86_400_000_000  # microseconds
Kind = Literal["number", "bool", "moment", "duration", "text", "empty"]
OF_OBJECTS: dict[str, Kind] = {
    "string": "text", "boolean": "bool", "integer": "number", "floating": "number", "mixed-integer-float": "number",
    "decimal": "number", "date": "moment", "datetime": "moment", "datetime64": "moment", "empty": "empty",
}  # fmt: skip
Known = MutableMapping[Hashable, Any]  # dictionaries that were mapped, and levels as a library has them


def kind_of(place: str, values: Any) -> Kind:
    """What a narwhals series holds; `place` is for errors."""
    import narwhals.stable.v1 as nw

    kind = values.dtype
    if kind.is_numeric():
        return "number"
    if kind == nw.Boolean:
        return "bool"
    if kind in (nw.Datetime, nw.Date):
        return "moment"
    if kind == nw.Duration:
        return "duration"
    if kind == nw.String and _library(values) == "pandas" and values.to_native().dtype == object:
        return _kind_of_objects(place, values.to_native())  # narwhals looks at the first rows alone
    if kind in (nw.String, nw.Categorical, nw.Enum):
        return "text"
    if values.null_count() == len(values):
        return "empty"
    if kind == nw.Object:
        return _kind_of_objects(place, values.to_native())
    raise TypeError(
        f"{place} must hold numbers, text, moments or True and False, got {kind}; convert it, or leave it out"
    )


def _kind_of_objects(place: str, native: Any) -> Kind:
    """Of a series of pandas, or of a library like it."""
    pandas = _pandas(native)
    inferred = pandas.api.types.infer_dtype(native, skipna=True)
    if inferred in OF_OBJECTS:
        return OF_OBJECTS[inferred]
    kinds = dict.fromkeys(type(one) for one in native[native.notna()])
    if all(
        issubclass(kind, (int, float, np.number, np.bool_)) or kind.__name__ == "Decimal" for kind in kinds
    ):
        return "number"
    some = " and ".join(kind.__name__ for kind in itertools.islice(kinds, 2))
    raise TypeError(
        f"{place} must hold numbers, text, moments or True and False, got objects of {some}; make them one kind, "
        f"or leave it out"
    )


def floats(place: str, kind: str, values: Any) -> Float:
    """Numbers; True and False as 1 and 0; days since 1970, in UTC, of moments, and of durations; nan where missing."""
    import narwhals.stable.v1 as nw

    if values.dtype == nw.Object or kind == "empty":
        return _of_objects(kind, values.to_native())
    try:
        if kind == "moment":
            values = values.dt.timestamp("us")
        elif kind == "duration":
            return _days(values)
        found = doubles(values)
    except Exception as error:
        what = (str(error).splitlines() or [type(error).__name__])[0]
        raise TypeError(f"{place} must hold numbers, got {values.dtype}: {what}") from None
    return found / DAY if kind == "moment" else found


def _days(values: Any) -> Float:
    """Of durations; nan where there is none."""
    if _library(values) == "pandas":
        exact = values.to_native().astype("timedelta64[us]").to_numpy()
    else:
        exact = values.to_numpy().astype("timedelta64[us]")
    return np.where(np.isnat(exact), np.nan, exact.astype(np.int64) / DAY)


def doubles(values: Any) -> Float:
    """Numbers of a narwhals series, nan where missing; whole ones of any size."""
    import narwhals.stable.v1 as nw

    library, whole = _library(values), str(values.dtype).removeprefix("U").startswith("Int")
    if library == "pandas" and (whole or values.null_count()):  # NA of pandas before 3 is no number
        return np.asarray(values.to_native().to_numpy(dtype=np.float64, na_value=np.nan))
    if library != "arrow" or not whole:  # Arrow refuses to round them
        values = values.cast(nw.Float64)
    return np.asarray(values.to_numpy(), np.float64)


def _of_objects(kind: str, native: Any) -> Float:
    found = np.full(len(native), np.nan)
    if kind == "empty":
        return found
    there, values = native.notna().to_numpy(), native.to_numpy()
    if kind == "moment":
        found[there] = values[there].astype("datetime64[us]").astype(np.int64) / DAY
    else:
        found[there] = values[there].astype(np.float64)
    return found


def moments_in_text(place: str, values: Any) -> Float:
    """Days since 1970 of text such as 2026-03-01 or 2026-03-01 12:30."""
    import narwhals.stable.v1 as nw

    try:
        return floats(place, "moment", values.cast(nw.String).str.to_datetime())
    except Exception as error:
        what = (str(error).splitlines() or [type(error).__name__])[0]
        raise TypeError(f"{place} must hold moments as in training, got text: {what}") from None


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
    native, library = values.to_native(), _library(values)
    if library == "polars":
        import narwhals.stable.v1 as nw

        text = values.cast(nw.String)
        levels = text.drop_nulls().unique().sort().to_list()
        return _by_polars(text.to_native(), levels, -1, {}), levels
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


def codes_of(values: Any, levels: tuple[str, ...], known: Known) -> Codes:
    """The number of the level that every cell of text is, L = len(levels) where missing and L + 1 if none of them."""
    native, library, n = values.to_native(), _library(values), len(levels)
    if library == "polars":
        import narwhals.stable.v1 as nw

        return _by_polars(values.cast(nw.String).to_native(), levels, n, known)
    if library == "arrow":
        return _by_arrow(native, levels, known)
    pandas = values.__native_namespace__()
    if isinstance(native.dtype, pandas.CategoricalDtype):
        categories = native.dtype.categories
        if (of := (id(levels), id(categories))) not in known:
            known[of] = _of_dictionary(categories.tolist(), levels)
        return known[of][native.cat.codes.to_numpy()]
    if (held := _arrow_of(native)) is not None:
        return _by_arrow(held, levels, known)
    if (key := ("pandas", id(levels))) not in known:
        known[key] = pandas.Index(levels, dtype=object)
    found = known[key].get_indexer(native.astype(object)).astype(np.int64)
    if (other := np.flatnonzero(found < 0)).size:
        found[other] = np.where(native.iloc[other].isna(), n, n + 1)
    return found


def codes_of_numbers(values: Float, levels: tuple[str, ...]) -> Codes:
    """The same of numbers, nan where missing."""
    found, at = np.unique(values, return_inverse=True)
    return _of_dictionary([None if one != one else one for one in found.tolist()], levels)[at]


def _of_dictionary(found: Sequence[Any], levels: tuple[str, ...]) -> Codes:
    """The codes of a dictionary's values, and at its end, where -1 leads, that of missing cells."""
    place, n = {level: i for i, level in enumerate(levels)}, len(levels)
    each = [
        n if one is None or (isinstance(one, float) and one != one) else place.get(text_of(one), n + 1)
        for one in found
    ]
    return np.array([*each, n], np.int64)


def _pandas(native: Any) -> Any:
    """The library of a series of pandas, or of one like it."""
    import narwhals.stable.v1 as nw

    return nw.from_native(native, series_only=True).__native_namespace__()


def _library(values: Any) -> str:
    """Of a narwhals series."""
    name = values.__native_namespace__().__name__
    return {"polars": "polars", "pyarrow": "arrow"}.get(name, "pandas")


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


def _arrow_of(native: Any) -> Any:
    """What a column of pandas holds, where that is Arrow's own."""
    if not hasattr(native.array, "__arrow_array__"):
        return None
    try:
        import pyarrow as pa
    except ImportError:
        return None
    held = native.array.__arrow_array__()
    return held if isinstance(held, pa.ChunkedArray) else pa.chunked_array([held])


def _by_arrow(native: Any, levels: tuple[str, ...], known: Known) -> Codes:
    import pyarrow as pa
    import pyarrow.compute as pc

    if not _is_dictionary(native):
        of = pa.string() if str(native.type) == "string_view" else native.type
        if (key := ("arrow", id(levels), of)) not in known:
            known[key] = pa.array([*levels, None], of)
        found = pc.index_in(native.cast(of), value_set=known[key])
        return np.asarray(found.fill_null(len(levels) + 1).to_numpy())
    parts = [np.empty(0, np.int64)]
    for chunk in native.chunks:
        dictionary = chunk.dictionary
        key = id(levels), len(dictionary), *(b and b.address for b in dictionary.buffers()), dictionary.offset
        if key not in known:
            known[key] = _of_dictionary(dictionary.to_pylist(), levels)
        parts.append(known[key][_indices(chunk)])
    return parts[1] if len(parts) == 2 else np.concatenate(parts)


def _by_polars(text: Any, levels: Sequence[str], missing: int, known: Known) -> Codes:
    import polars

    if (key := ("polars", id(levels))) not in known:
        known[key] = polars.Enum(levels)
    place = text.cast(known[key], strict=False).to_physical()
    found = place.cast(polars.Int64).fill_null(len(levels) + 1).to_numpy()
    if text.null_count():
        found = np.where(text.is_null().to_numpy(), missing, found)
    return found
