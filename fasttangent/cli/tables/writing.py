"""Tables written all or not at all: into a temporary file in the same folder, renamed at the end."""

from __future__ import annotations

import csv
import gzip
import io
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from fasttangent.cli.interrupts import heed
from fasttangent.common.files import check_folder, irregular, replacing
from fasttangent.common.tables.arrow import arrow
from fasttangent.common.tables.table import WRITTEN, suffix


def write_table(path: str | os.PathLike[str], columns: Mapping[str, Any]) -> None:
    """Write a table whole: all of it, or nothing if anything fails.

    Parameters
    ----------
    path : path
        Ends in .csv, .csv.gz or .parquet.
    columns : mapping of str to array
        NumPy or Arrow arrays of one length. CSV holds floats with as many digits as it takes to read
        the same number back, and an empty cell for NaN.

    Raises
    ------
    OSError
        If it cannot be written; what was at `path` before is untouched.
    ValueError
        For an unknown suffix.
    """
    with writing(path) as write:
        write(columns)


@contextmanager
def writing(
    path: str | os.PathLike[str], about: Mapping[str, str] | None = None
) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """Write a table piece by piece, in bounded memory; see `write_table`.  Parquet also holds what is said `about` it.

    Yields
    ------
    callable
        ``write(columns)``: append rows. The first call decides the columns and their types. The file
        appears under its name when the ``with`` block ends well, and not at all otherwise.
    """
    sink = _parquet_sink if suffix(path, WRITTEN, "choose another name") == ".parquet" else _csv_sink
    with replacing(path) as temporary, sink(temporary, Path(path), about or {}) as write:
        yield write
        heed()


def check_writable(path: str | os.PathLike[str], known: Sequence[str] = WRITTEN) -> None:
    """Raise now what writing `path` would raise later: unknown suffix, no regular file, missing or unwritable folder.

    Raises
    ------
    ValueError
        If the suffix is not among `known`, something else than a regular file is there, or the folder does not exist.
    OSError
        If the folder cannot be written to.
    """
    suffix(path, known, "choose another name")
    what = irregular(path)
    if what == "a folder":
        raise ValueError(f"{path} is a folder; give the name of a file in it")
    if what is not None:
        raise ValueError(f"{path} is {what} and no regular file; give another name")
    folder = Path(os.path.realpath(path)).parent
    if not folder.is_dir():
        raise ValueError(f"{path}: the folder {folder} does not exist; create it first")
    try:
        check_folder(path)
    except OSError as error:
        raise OSError(f"{path}: the folder {folder} is not writable ({error.strerror})") from None


@contextmanager
def _csv_sink(
    temporary: Path, path: Path, about: Mapping[str, str]
) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    pa = arrow()
    from pyarrow import csv as arrow_csv

    zipped = path.name.lower().endswith(".gz")
    options = arrow_csv.WriteOptions(include_header=False)
    empty = True
    with gzip.open(temporary, "wb", 6) if zipped else temporary.open("wb") as handle:

        def write(columns: Mapping[str, Any]) -> None:
            nonlocal empty
            if empty:
                handle.write(_csv_line(columns).encode())
            empty = False
            table = pa.table({name: _cells(values) for name, values in columns.items()})
            arrow_csv.write_csv(table, handle, options)

        yield write


@contextmanager
def _parquet_sink(
    temporary: Path, path: Path, about: Mapping[str, str]
) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    pa = arrow()
    from pyarrow import parquet

    writer: Any = None
    with temporary.open("wb") as handle:

        def write(columns: Mapping[str, Any]) -> None:
            nonlocal writer
            table = pa.table(dict(columns))
            if writer is None:
                writer = parquet.ParquetWriter(
                    handle, table.schema.with_metadata({**about}), **_encodings(table)
                )
            writer.write_table(table)

        try:
            yield write
        except BaseException:
            if writer is not None:
                with suppress(Exception):
                    writer.close()
            raise
        if writer is not None:
            writer.close()


def _encodings(table: Any) -> dict[str, Any]:
    """Numbers differ from row to row: to look for equal ones takes nine tenths of the time of writing them."""
    kinds = arrow("types")
    plain = [
        name
        for name, kind in zip(table.schema.names, table.schema.types, strict=True)
        if kinds.is_floating(kind) or kinds.is_integer(kind)
    ]
    counted = {"row": "DELTA_BINARY_PACKED"} if "row" in plain else {}
    others = [name for name in table.schema.names if name not in plain]
    return (
        {"use_dictionary": others, "column_encoding": counted}
        if counted
        else {"use_dictionary": others or False}
    )


def _csv_line(cells: Iterable[str]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(cells)
    return line.getvalue()


def _cells(values: Any) -> Any:
    """A column as CSV is to show it: a missing number is an empty cell, which every program understands."""
    pa = arrow()
    if isinstance(values, np.ndarray) and values.dtype.kind == "f":
        return pa.array(values, mask=np.isnan(values))
    return values
