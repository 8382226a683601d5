"""What a command may write: nothing that it reads, no record of a campaign, and only regular files.

Checked before the work.  A link counts as the file that it leads to, which is replaced, and the link stays.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from fasttangent.active.loop.folder import records
from fasttangent.cli.interrupts import heed
from fasttangent.cli.tables.writing import check_writable
from fasttangent.common.files import same_file, sweep

MODELS, PICTURES, WITH_TEXT = (".npz",), (".png", ".pdf", ".svg"), (".csv", ".csv.gz", ".parquet")
STREAMS = ((1, "standard output"), (2, "standard error"))


class Input(NamedTuple):
    """A file that a command reads, as messages call it; None where the option is not given."""

    called: str
    path: str | os.PathLike[str] | None


class Output(NamedTuple):
    """A file that a command is to write, by the option that names it; None where it is not given."""

    option: str
    path: str | None
    endings: tuple[str, ...]


def check_outputs(outputs: Iterable[Output], inputs: Sequence[Input] = ()) -> None:
    """Raise unless every output can be written and loses nothing; also remove what killed commands left there.

    Raises
    ------
    ValueError
        If an output has an unknown ending, is no regular file or in no folder, or is the same file as an input, a
        record of a campaign, another output or where a stream of the process goes.
    OSError
        If its folder cannot be written to.
    """
    before: list[Output] = []
    for output in outputs:
        if output.path is None:
            continue
        check_writable(output.path, output.endings)
        _check_unread(output.option, output.path, inputs)
        for other in before:
            if other.path is not None and same_file(output.path, other.path):
                raise ValueError(
                    f"{output.option} and {other.option} are the same file, {output.path}; give another {output.option}"
                )
        before.append(output)
        sweep(Path(os.path.realpath(output.path)).parent)
    heed()


def _check_unread(option: str, path: str, inputs: Sequence[Input]) -> None:
    for called, other in inputs:
        if other is not None and same_file(path, other):
            raise ValueError(f"{path} is {called} itself and would be overwritten; give another {option}")
    for record in records(Path(os.path.realpath(path)).parent):
        if same_file(path, record):
            raise ValueError(f"{path} is a record of a campaign ({record}); give another {option}")
    for number, stream in STREAMS:
        try:
            clash = os.path.samestat(os.fstat(number), os.stat(path))
        except OSError:  # closed, or nothing there yet
            continue
        if clash:
            raise ValueError(f"{path} is where {stream} goes; give another {option}")
