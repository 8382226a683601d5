"""Files scored one after the other: while a thread reads ahead and another writes behind, this one computes."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fasttangent.cli import shards
from fasttangent.cli.shards import Job
from fasttangent.cli.tables.writing import writing
from fasttangent.common.files import sweep
from fasttangent.common.handing import AbandonedError, ahead, behind
from fasttangent.common.tables.encoded_table import as_read_by
from fasttangent.common.tables.matching import feature_columns
from fasttangent.common.tables.reading import open_table
from fasttangent.common.tables.stores import stamp
from fasttangent.common.tables.table import Table, height
from fasttangent.common.warning import warn

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fasttangent.model.members import Members
    from fasttangent.model.model import Model

ROWS = 1 << 17  # of a piece at the least, that it is worth the while
HOPELESS = 10  # files that fail from the beginning before a run gives up
TOLD = 10  # files that fail, each with a line of its own


class Asked(NamedTuple):
    """What a user says of the tables."""

    keep: Sequence[str] = ()
    id: str | None = None
    drop: Sequence[str] = ()
    header: bool | None = None
    threads: int | None = None


class Begun(NamedTuple):
    """A file is to be scored; None for the rows that nobody knows."""

    job: Job
    about: Mapping[str, str]
    rows: int | None


class Piece(NamedTuple):
    """Rows of it, the number of the first, and columns that go with them."""

    start: int
    rows: NDArray
    kept: dict[str, Any]


class Ended(NamedTuple):
    """It was read to its end, or could not be."""

    error: Exception | None = None


class Skipped(NamedTuple):
    """It has been scored before."""


@dataclass
class Tally:
    """What there is to say afterwards."""

    files: int = 0
    skipped: int = 0
    rows: int = 0
    missing: int = 0
    first_missing: int | None = None  # row of its file
    first_missing_in: str = ""
    trusted: bool = True
    failed: list[tuple[str, str]] = field(default_factory=list)

    def fail(self, job: Job, error: Exception) -> None:
        self.failed.append((str(job.place), str(error)))
        if len(self.failed) <= TOLD:
            warn(f"no scores of {job.place}: {error}")


def score_files(
    model: Model | Members,
    jobs: Sequence[Job],
    asked: Asked,
    made_by: str,
    resume: bool,
    report: Callable[..., None],
) -> Tally:
    """Score every file; of several, those that cannot be read are left out and told.

    Raises
    ------
    OSError, ValueError
        If the only file cannot be read, or scores cannot be written, or none of the first files can be read.
    """
    from fasttangent.model import scores

    tally, alone = Tally(), len(jobs) == 1
    began = reported = time.monotonic()
    source = _read(model, jobs, asked, made_by, resume)
    with ahead(source, counts=_holds_rows) as events, behind(_write, counts=_holds_rows) as put:
        current: Begun | None = None
        for event in events:
            if isinstance(event, Skipped):
                tally.skipped += 1
            elif isinstance(event, Begun):
                current = event
                put(event)
            elif isinstance(event, Piece):
                assert current is not None
                found, bad = scores.scored(model, event.rows, asked.threads)
                put({**event.kept, **found.columns})
                _count(tally, current.job, event, bad)
            else:
                assert current is not None
                if alone:
                    _check_alone(tally, current.job, event.error)
                put(event)
                tally.files += event.error is None
                if event.error is not None:
                    tally.fail(current.job, event.error)
                    if len(tally.failed) >= HOPELESS and not tally.files:
                        raise event.error
            del event
            if alone:
                report("scoring", tally.rows, (current and current.rows) or 0)
            elif (now := time.monotonic()) - reported > 0.2 or tally.files + tally.skipped == len(jobs):
                reported = now
                done = tally.files + tally.skipped + len(tally.failed)
                rate = tally.rows / max(now - began, 1e-9)
                report("scoring", done, len(jobs), rows=tally.rows, rows_per_second=rate)
    return tally


def _holds_rows(event: Any) -> bool:
    """Only rows are waited for; where a file is one piece, its beginning and end would take all there is of room."""
    return isinstance(event, Piece | dict)


def _check_alone(tally: Tally, job: Job, error: Exception | None) -> None:
    """One file that gives no scores is an error, where one of many may be empty, or be told of at the end."""
    if error is not None:
        raise error
    if not tally.rows:
        raise ValueError(f"{job.place} holds no rows")


def _count(tally: Tally, job: Job, piece: Piece, bad: NDArray) -> None:
    if len(bad) and tally.first_missing is None:
        tally.first_missing, tally.first_missing_in = piece.start + int(bad[0]), str(job.place)
    tally.missing += len(bad)
    tally.rows += len(piece.rows)


def _read(
    model: Model | Members, jobs: Sequence[Job], asked: Asked, made_by: str, resume: bool
) -> Iterator[Begun | Piece | Ended | Skipped]:
    for number, job in enumerate(jobs):
        begun = False
        try:
            before = stamp(job.place)
            about = shards.about(made_by, before)
            if resume and shards.is_done(job.output, about):
                yield Skipped()
                continue
            table = open_table(job.place, asked.header)
            columns, keep = _columns(model, table, asked, quiet=number > 0)
            table = as_read_by(model, table, columns)
            begun = True
            yield Begun(job, about, table.rows)
            yield from _pieces(table, columns, keep, asked)
            if stamp(job.place) != before:
                raise OSError(f"{job.place} was changed while it was read; run the command again")
        except (ValueError, OSError, ImportError) as error:
            if not begun:
                yield Begun(job, {}, 0)
            yield Ended(error)
        else:
            yield Ended()


def _columns(model: Model | Members, table: Table, asked: Asked, quiet: bool) -> tuple[list[int], list[int]]:
    """Features, and columns that go with the scores, the id first; they may be both if the model knows them by name."""
    keep = [table.column(name) for name in dict.fromkeys([*([asked.id] if asked.id else []), *asked.keep])]
    fitted = set(model.feature_names or ()) if table.named else set()
    beside = [i for i in keep if table.names[i] not in fitted]
    return feature_columns(model, table, [*asked.drop, *beside], quiet), keep


def _pieces(table: Table, columns: list[int], keep: list[int], asked: Asked) -> Iterator[Piece]:
    """Not too few rows at a time: row groups and blocks of files may be small."""
    waiting: list[tuple[NDArray, dict[str, Any]]] = []
    start = filled = 0
    least = height(ROWS, table.width(columns))
    for rows, kept in table.parts(columns, keep):
        waiting.append((rows, kept))
        filled += len(rows)
        if filled >= least:
            yield _piece(start, waiting, asked)
            start, filled, waiting = start + filled, 0, []
    if filled:
        yield _piece(start, waiting, asked)
    elif not start:
        yield _piece(0, waiting[:1] or [_nothing(table, columns, keep)], asked)


def _nothing(table: Table, columns: list[int], keep: list[int]) -> tuple[NDArray, dict[str, Any]]:
    """A piece of a table that is empty, as engines write where a partition had no rows."""
    return np.empty((0, table.width(columns))), {table.names[i]: np.array([], str) for i in keep}


def _piece(start: int, parts: list[tuple[NDArray, dict[str, Any]]], asked: Asked) -> Piece:
    if len(parts) == 1:
        rows, kept = parts[0]
    else:
        rows = np.concatenate([block for block, _ in parts])
        kept = {name: _joined([columns[name] for _, columns in parts]) for name in parts[0][1]}
    if asked.id is None:
        kept = {"row": np.arange(start, start + len(rows), dtype=np.int64), **kept}
    return Piece(start, rows, kept)


def _joined(arrays: list[Any]) -> Any:
    if isinstance(arrays[0], np.ndarray):
        return np.concatenate(arrays)
    from fasttangent.common.tables.arrow import arrow

    return arrow().chunked_array(arrays)


def _write(events: Iterator[Any]) -> None:
    """Write what comes: a file begins, columns of its rows, it ends; one that failed leaves nothing."""
    swept = set[str]()
    for begun in events:
        folder = os.path.dirname(os.path.abspath(begun.job.output))
        os.makedirs(folder, exist_ok=True)
        if folder not in swept:
            sweep(folder)
            swept.add(folder)
        try:
            with writing(begun.job.output, begun.about) as write:
                _write_one(events, write)
        except _FailedError:
            pass


def _write_one(events: Iterator[Any], write: Callable[[Mapping[str, Any]], None]) -> None:
    for event in events:
        if isinstance(event, Ended):
            if event.error is not None:
                raise _FailedError
            return
        write(event)
    raise AbandonedError


class _FailedError(Exception):
    """The input of a file could not be read."""
