"""Tables in files opened for reading: CSV, TSV, Parquet, Feather and .npy, of a disk or a store, behind one `Table`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fasttangent.common.files import irregular
from fasttangent.common.tables.csv_file import CsvTable
from fasttangent.common.tables.feather_file import FeatherTable
from fasttangent.common.tables.npy_file import NpyTable
from fasttangent.common.tables.parquet_file import ParquetTable
from fasttangent.common.tables.stores import Place, Remote, is_url, size_of, store_of
from fasttangent.common.tables.table import SUFFIXES, Table, suffix
from fasttangent.common.tables.words import either


def open_table(path: str | os.PathLike[str] | Place, header: bool | None = None) -> Table:
    """Open a table for reading; nothing but its head is read yet.

    Parameters
    ----------
    path : path, URL or Remote
        A file ending in .csv, .tsv (also with .gz), .parquet, .feather, .arrow or .npy.
    header : bool, optional
        Whether the first line of a CSV file names the columns. By default it does unless each of its
        cells is a number or missing (0, 1, 2, ... are names). Other formats ignore it.

    Returns
    -------
    Table

    Raises
    ------
    FileNotFoundError, IsADirectoryError, OSError
        If the file cannot be read (OSError also for one that is damaged or cut short).
    ValueError
        If its suffix is unknown or its content is no table of numbers.
    ImportError
        Without pyarrow, but for .npy; for a URL without fsspec.
    """
    place = path if isinstance(path, Remote) else place_of(path)
    kind = suffix(place) if isinstance(place, Remote) else _kind_of_file(place)
    if size_of(place) == 0:
        raise ValueError(f"{place} is empty (0 bytes); was it written completely?")
    if kind == ".npy":
        return NpyTable(place)
    if kind == ".parquet":
        return ParquetTable(place)
    if kind in (".feather", ".arrow"):
        return FeatherTable(place)
    return CsvTable(place, header, "\t" if kind.startswith(".tsv") else ",")


def place_of(path: str | os.PathLike[str], options: Mapping[str, Any] | None = None) -> Place:
    """A file by its path or URL."""
    if is_url(path):
        return Remote(*store_of(str(path), options))
    return Path(path)


def _kind_of_file(path: Path) -> str:
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; name a file ending in {either(SUFFIXES)}")
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist; check the spelling and the current folder")
    kind = suffix(path)
    what = irregular(path)
    if what is not None:
        raise ValueError(f"{path} is {what}, and a table is read several times; save it to a file first")
    return kind
