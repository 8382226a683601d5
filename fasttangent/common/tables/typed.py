"""Columns of text as what they hold: numbers, moments, or words."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from fasttangent.common.tables.arrow import arrow, is_text_type
from fasttangent.common.tables.cells import MISSING, is_number
from fasttangent.common.tables.table import Table

NAMES_OF_KINDS = 20  # at the most, that may look like numbers
MOSTLY = 0.5  # of the cells that are there: numbers, and the others are mistakes


def typed_columns(table: Table, columns: Sequence[int], words: Sequence[int] = ()) -> Any:
    """Columns of a table as an Arrow table, text as what it holds; `words` are labels.

    Raises
    ------
    ValueError
        If there is no row, or a column of numbers has a cell that is none.
    """
    pa = arrow()
    batches = list(table.batches(columns, dict.fromkeys(columns, pa.string())))
    whole = pa.Table.from_batches(batches) if batches else None
    if whole is None or not whole.num_rows:
        raise ValueError(f"{table.path} holds no rows")
    labels = set(words)
    each = [_typed(table, i, one, i in labels) for i, one in zip(columns, whole.columns, strict=True)]
    return pa.table(each, names=[table.names[i] for i in columns])


def is_text(values: Any) -> bool:
    """Whether an Arrow array holds text."""
    return is_text_type(values.type)


def is_numeric(values: Any) -> bool:
    """Whether an Arrow array holds numbers, or True and False."""
    return is_numeric_type(values.type)


def is_numeric_type(kind: Any) -> bool:
    """The same of an Arrow type."""
    kinds = arrow("types")
    tests = (kinds.is_integer, kinds.is_floating, kinds.is_decimal, kinds.is_boolean)
    return any(test(kind) for test in tests)


def words_of(values: Any) -> Any:
    """Text without the space around it, nothing where nothing is left or a word says so."""
    pa, pc = arrow(), arrow("compute")
    bare = pc.utf8_trim_whitespace(values)
    return pc.if_else(pc.is_in(bare, pa.array(sorted(MISSING), bare.type)), pa.scalar(None, bare.type), bare)


def moments_of(words: Any) -> Any:
    """Moments of text such as 2026-03-01 and 2026-03-01 12:30; raises Arrow's errors of other text."""
    pa, pc = arrow(), arrow("compute")
    for kind in (pa.timestamp("us"), pa.timestamp("us", "UTC")):
        with suppress(pa.ArrowInvalid):
            return pc.cast(words, kind)
    return pc.cast(words, pa.timestamp("us"))


def _typed(table: Table, column: int, values: Any, stays: bool) -> Any:
    pa, pc = arrow(), arrow("compute")
    if not is_text(values):
        return values.dictionary_encode() if stays and is_numeric(values) else values
    words = words_of(values)
    if stays or words.null_count == len(words):
        return words
    with suppress(pa.ArrowInvalid):
        return pc.cast(words, pa.float64())
    with suppress(pa.ArrowInvalid):
        return moments_of(words)
    _refuse_mistakes(table, column, words)
    return words


def _refuse_mistakes(table: Table, column: int, words: Any) -> None:
    """Raise if most cells are numbers and there are too many different ones to be names of kinds."""
    pc = arrow("compute")
    distinct = pc.unique(words.drop_null())
    numbers = np.array([is_number(word) for word in distinct.to_pylist()])
    if numbers.any() and len(distinct) > NAMES_OF_KINDS and numbers.mean() > MOSTLY:
        wrong = distinct[int(np.argmin(numbers))]
        row = pc.index(words, wrong).as_py()
        raise ValueError(table.not_a_number(column, wrong.as_py(), row))
