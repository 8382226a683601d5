"""The cells of a frame's column, whatever its library, as numbers: narwhals says what a column holds."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Float = NDArray[np.float64]

DAY = 86_400_000_000  # microseconds
Kind = Literal["number", "bool", "moment", "duration", "text", "empty"]
OF_OBJECTS: dict[str, Kind] = {
    "string": "text", "boolean": "bool", "integer": "number", "floating": "number", "mixed-integer-float": "number",
    "decimal": "number", "date": "moment", "datetime": "moment", "datetime64": "moment", "empty": "empty",
}  # fmt: skip


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
    if kind == nw.String and library_of(values) == "pandas" and values.to_native().dtype == object:
        return _kind_of_objects(place, values.to_native())  # narwhals looks at the first rows alone
    if kind in (nw.String, nw.Categorical, nw.Enum):
        return "text"
    if values.null_count() == len(values):
        return "empty"
    if kind == nw.Object:
        return _kind_of_objects(place, values.to_native())
    raise TypeError(
        f"{place} must hold numbers, text, moments or True and False, got {unreadable(values)}, or leave it out"
    )


def unreadable(values: Any) -> str:
    """What a series holds that is none of these, and what to do about it."""
    native = values.to_native()
    own = str(getattr(native, "dtype", values.dtype))  # narwhals knows no name for some
    if hasattr(native, "sparse") and own.startswith("Sparse"):
        return f"{own}; make it dense with .sparse.to_dense()"
    if own.startswith("complex"):
        return f"{own}; give the real and imaginary parts as columns"
    if own.startswith("period"):
        return f"{own}; convert it with .dt.to_timestamp()"
    return f"{values.dtype if str(values.dtype) != 'Unknown' else own}; convert it"


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
    if library_of(values) == "pandas":
        exact = values.to_native().astype("timedelta64[us]").to_numpy()
    else:
        exact = values.to_numpy().astype("timedelta64[us]")
    return np.where(np.isnat(exact), np.nan, exact.astype(np.int64) / DAY)


class Doubles:
    """Numbers of a narwhals series of float64, nan where missing, whose parts are arrays when they are asked for."""

    def __init__(self, values: Any) -> None:
        self._native, self._library = values.to_native(), library_of(values)

    @staticmethod
    def has(values: Any) -> bool:
        """Whether a series holds them, and pandas' own where it is of pandas."""
        import narwhals.stable.v1 as nw

        pandas = library_of(values) == "pandas"
        return bool(values.to_native().dtype == np.float64 if pandas else values.dtype == nw.Float64)

    def __getitem__(self, rows: slice | NDArray[np.int64]) -> Float:
        return np.asarray(part_of(self._native, self._library, rows).to_numpy(), np.float64)


def part_of(native: Any, library: str, rows: slice | NDArray[np.int64]) -> Any:
    """Some rows of a library's own column; narwhals takes 50 microseconds more."""
    if library == "pandas":
        return native.iloc[rows]
    return native.take(rows) if library == "arrow" and not isinstance(rows, slice) else native[rows]


def doubles(values: Any) -> Float:
    """Numbers of a narwhals series, nan where missing; whole ones of any size."""
    import narwhals.stable.v1 as nw

    library, whole = library_of(values), str(values.dtype).removeprefix("U").startswith("Int")
    if library == "pandas" and (whole or values.null_count()):  # NA of pandas before 3 is no number
        return np.asarray(values.to_native().to_numpy(dtype=np.float64, na_value=np.nan))
    if values.dtype != nw.Float64 and (library != "arrow" or not whole):  # Arrow refuses to round them
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


def _pandas(native: Any) -> Any:
    """The library of a series of pandas, or of one like it."""
    import narwhals.stable.v1 as nw

    return nw.from_native(native, series_only=True).__native_namespace__()


def library_of(values: Any) -> str:
    """Of a narwhals series."""
    name = values.__native_namespace__().__name__
    return {"polars": "polars", "pyarrow": "arrow"}.get(name, "pandas")
