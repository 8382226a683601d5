"""What Arrow reads, as NumPy arrays. pyarrow is imported only when a CSV or a Parquet file is touched."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from fasttangent.common.tables.stores import Place, StoreError
from fasttangent.common.tables.words import first_line


@cache  # asked for each column of each block: import_module alone took a tenth of reading a small file
def arrow(part: str = "") -> Any:
    """pyarrow, or one of its modules."""
    try:
        return importlib.import_module("pyarrow" + (part and f".{part}"))
    except ImportError:
        raise ImportError("CSV and Parquet tables need pyarrow: pip install 'fasttangent[cli]'") from None


def opened(path: Place) -> Any:
    """A file for Arrow to read: one on a disk by its name, one in a store through Python."""
    pa = arrow()
    return pa.OSFile(str(path)) if isinstance(path, Path) else pa.PythonFile(path.open(), mode="r")


@contextmanager
def readable(path: Place) -> Iterator[None]:
    """Say of Arrow's own errors, whatever their class, that the file is damaged."""
    pa = arrow()
    try:
        yield
    except (FileNotFoundError, PermissionError, StoreError):
        raise
    except (pa.ArrowException, OSError) as error:
        raise OSError(f"{path} cannot be read: {first_line(error)}; is it cut short?") from None


def block(rows: int, columns: Iterable[np.ndarray], count: int) -> np.ndarray:
    """So many columns, made numbers one after the other, as a float64 array (rows, columns)."""
    block = np.empty((rows, count))
    for i, column in enumerate(columns):
        block[:, i] = column
    return block


def numbers(column: Any) -> np.ndarray:
    """An Arrow array as float64, missing values as NaN; raises Arrow's errors where that cannot be done."""
    pa, pc = arrow(), arrow("compute")
    if column.type == pa.float64():
        return column.to_numpy(zero_copy_only=False)
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_temporal(column.type):
        raise pa.ArrowNotImplementedError("a point in time is no number")
    if is_text_type(column.type):
        column = pc.utf8_trim_whitespace(column)
    if pa.types.is_float16(column.type):  # which pyarrow casts to nothing else before version 16
        return column.to_numpy(zero_copy_only=False).astype(np.float64)
    return pc.cast(column, pa.float64(), safe=False).to_numpy(zero_copy_only=False)


def is_text_type(kind: Any) -> bool:
    """Whether it is an Arrow type of text."""
    types = arrow("types")
    return bool(types.is_string(kind) or types.is_large_string(kind))


def counted(batches: Iterable[Any]) -> Iterator[tuple[int, Any]]:
    """(first row, record batch)."""
    start = 0
    for batch in batches:
        yield start, batch
        start += batch.num_rows


def gather(path: object, batches: Iterator[tuple[int, Any]], indices: np.ndarray) -> Any:
    """The rows `indices`, in that order, of a stream of (first row, record batch)."""
    pa = arrow()
    order = np.argsort(indices, kind="stable")
    wanted, found, parts = indices[order], 0, list[Any]()
    for start, batch in batches:
        low, high = np.searchsorted(wanted, [start, start + batch.num_rows])
        if low < high or not parts:  # an empty part costs as much as any where there are many columns
            parts.append(batch.take(pa.array(wanted[low:high] - start)))
        found += high - low
        if found == len(wanted):
            break
    if found < len(wanted):
        raise ValueError(f"{path} has no row {wanted[-1]}; was the file changed meanwhile?")
    back = np.empty_like(order)
    back[order] = np.arange(len(order))
    return pa.Table.from_batches(parts).take(pa.array(back))


def encoded(column: Any) -> np.ndarray:
    """A number for each value of a chunked array, equal where values are; NaN for a missing one."""
    pa = arrow()
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    codes = [chunk.indices for chunk in column.dictionary_encode().unify_dictionaries().chunks]
    found: np.ndarray = pa.chunked_array(codes, pa.int32()).to_numpy()
    return found
