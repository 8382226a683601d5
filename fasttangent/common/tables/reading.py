"""Tables on disk opened for reading: CSV (plain or gzip), Parquet and .npy behind one `Table`."""

from __future__ import annotations

import os
from pathlib import Path

from fasttangent.common.files import irregular
from fasttangent.common.tables.csv_file import CsvTable
from fasttangent.common.tables.npy_file import NpyTable
from fasttangent.common.tables.parquet_file import ParquetTable
from fasttangent.common.tables.table import SUFFIXES, Table, either, suffix


def open_table(path: str | os.PathLike[str], header: bool | None = None) -> Table:
    """Open a table for reading; nothing but its head is read yet.

    Parameters
    ----------
    path : path
        A file ending in .csv, .csv.gz, .parquet or .npy.
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
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; name a file ending in {either(SUFFIXES)}")
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist; check the spelling and the current folder")
    kind = suffix(path)
    what = irregular(path)
    if what is not None:
        raise ValueError(f"{path} is {what}, and a table is read several times; save it to a file first")
    if path.stat().st_size == 0:
        raise ValueError(f"{path} is empty (0 bytes); was it written completely?")
    if kind == ".npy":
        return NpyTable(path)
    return ParquetTable(path) if kind == ".parquet" else CsvTable(path, header)
