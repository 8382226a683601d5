"""Text as the numbers of its levels: the same for every library, whole or in parts, and from several threads."""

from concurrent.futures import ThreadPoolExecutor

import narwhals.stable.v1 as nw
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from fasttangent.common.levels import Coded
from fasttangent.common.objects import SLOTS, SameObjects

RNG = np.random.default_rng(0)
LEVELS = ("b", "a", "été", "")
TEXT = RNG.choice(np.array([*LEVELS, "new", "other", None], object), 500)
WANTED = np.array([LEVELS.index(one) if one in LEVELS else 4 if one is None else 5 for one in TEXT])
ALSO = sorted({one for one in TEXT if one is not None})
MAKE = {
    "objects": lambda t: pd.Series(t, dtype=object),
    "objects, each its own": lambda t: pd.Series([one and (one + "x")[:-1] for one in t], dtype=object),
    "objects, nan": lambda t: pd.Series([np.nan if one is None else one for one in t], dtype=object),
    "pandas": lambda t: pd.Series(t, dtype="str"),
    "pandas, Python's": lambda t: pd.Series(t, dtype="string[python]"),
    "pandas, Arrow's": lambda t: pd.Series(t, dtype="string[pyarrow]"),
    "pandas, Arrow's type": lambda t: pd.Series(t, dtype=pd.ArrowDtype(pa.large_string())),
    "pandas, a dictionary": lambda t: pd.Series(t).astype(pd.ArrowDtype(pa.dictionary(pa.int8(), pa.string()))),
    "pandas, categories": lambda t: pd.Series(pd.Categorical(t)),
    "polars": lambda t: pl.Series(t.tolist(), dtype=pl.String),
    "polars, pieces": lambda t: pl.concat([pl.Series(t[:99].tolist()), pl.Series(t[99:].tolist())], rechunk=False),
    "polars, categories": lambda t: pl.Series(t.tolist(), dtype=pl.Categorical),
    "polars, an enum": lambda t: pl.Series(t.tolist(), dtype=pl.Enum(ALSO)),
    "arrow": lambda t: pa.chunked_array([t[:200].tolist(), t[200:].tolist()]),
    "arrow, large": lambda t: pa.chunked_array([pa.array(t.tolist(), pa.large_string())]),
    "arrow, dictionaries": lambda t: pa.chunked_array(
        [pa.array(part.tolist()).dictionary_encode() for part in (t[:200], t[200:])]
    ),
    "arrow, unsigned": lambda t: pa.chunked_array(
        [pa.array(t.tolist()).dictionary_encode().cast(pa.dictionary(pa.uint8(), pa.string()))]
    ),
}  # fmt: skip


@pytest.fixture(params=MAKE)
def coded(request):
    return Coded(nw.from_native(MAKE[request.param](TEXT), series_only=True), LEVELS)


def test_the_same_whole_and_in_parts(coded):
    for _ in range(2):  # also of what is remembered
        for size in (500, 64, 7):
            parts = [coded.codes(slice(i, min(i + size, 500))) for i in range(0, 500, size)]
            np.testing.assert_array_equal(np.concatenate(parts), WANTED)
    rows = RNG.permutation(500)[:90]
    np.testing.assert_array_equal(coded.codes(rows), WANTED[rows])
    assert len(coded.codes(slice(3, 3))) == 0


def test_the_same_from_several_threads(coded):
    with ThreadPoolExecutor(4) as pool:
        parts = list(pool.map(lambda i: coded.codes(slice(i, i + 5)), range(0, 500, 5)))
    np.testing.assert_array_equal(np.concatenate(parts), WANTED)


@pytest.mark.parametrize("levels", [255, 256, 300])
def test_more_levels_than_a_byte_counts(levels):
    names = tuple(f"{i:03}" for i in range(levels))
    text = pl.Series([*names, "new", None, *names[::-1]])
    wanted = [*range(levels), levels + 1, levels, *range(levels)[::-1]]
    for kind in (pl.String, pl.Categorical, pl.Enum([*names, "new"])):
        found = Coded(nw.from_native(text.cast(kind), series_only=True), names)
        np.testing.assert_array_equal(found.codes(slice(0, len(text))), wanted)
        np.testing.assert_array_equal(found.codes(slice(0, levels)), np.arange(levels))


def test_objects_are_computed_once_where_they_are_the_same():
    asked = []

    def codes(objects):
        asked.append(len(objects))
        return np.array([ord(one[0]) for one in objects])

    same, words = SameObjects(codes), np.array(["apple", "berry", "cherry"], object)
    many = words[RNG.integers(0, 3, 1000)]
    wanted = [ord(one[0]) for one in many]
    np.testing.assert_array_equal(same.codes(many), wanted)
    np.testing.assert_array_equal(same.codes(many[::-2]), wanted[::-2])
    assert asked == [1000]
    fresh = np.array(
        [f"{chr(i)}x" for i in RNG.integers(65, 90, 3 * SLOTS)], object
    )  # more than it remembers
    for _ in range(2):
        np.testing.assert_array_equal(same.codes(fresh), [ord(one[0]) for one in fresh])
    np.testing.assert_array_equal(same.codes(many), wanted)


def test_what_is_remembered_stays_in_its_place_in_memory():
    """Text that is made anew, and freed, again and again never takes the code of what was there before it."""
    same = SameObjects(lambda objects: np.array([int(one) for one in objects]))
    for i in range(300):
        numbers = np.arange(i, i + 50)
        np.testing.assert_array_equal(
            same.codes(np.array([str(10**6 + k) for k in numbers], object)), 10**6 + numbers
        )
