"""Which files a job scores, what its outputs are called, and whether one has been made before.

An output is done if it is there whole, and was made of this input, by this model, in the same way.  Whole: it gets its
name when the last byte is on the disk, and a part of a copy has no foot, so that Parquet cannot be opened.  The rest is
written into it: size and time of the input (what make and rsync go by; a digest would read all inputs again, and a time
that has changed costs a file scored once more), a digest of the model's file, the options and the version.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from fasttangent._version import __version__
from fasttangent.common.files import same_file
from fasttangent.common.tables.arrow import arrow
from fasttangent.common.tables.finding import Found, found, is_several
from fasttangent.common.tables.stores import Place, Remote
from fasttangent.common.tables.table import WRITTEN

KEY = "fasttangent"  # of what Parquet holds beside its columns
ENDING = ".parquet"


class Job(NamedTuple):
    """A file to score, and where its scores go."""

    place: Place
    output: str


def jobs(sources: Sequence[str], output: str) -> tuple[list[Job], bool]:
    """What is to be scored, and whether the output is a folder.

    Raises
    ------
    ValueError
        If several files are to become one, an output would take the place of an input, or two have one name.
    """
    a_table = output.lower().endswith(WRITTEN)
    into_folder = (
        len(sources) > 1
        or is_several(sources[0])
        or output.endswith(("/", os.sep))
        or (os.path.isdir(output) and not a_table)
    )
    files = found(sources)
    if not into_folder:
        return [Job(files[0].place, output)], False
    if a_table or os.path.isfile(output):
        raise ValueError(
            f"--output must be a folder, in which every file of the pool gets its own, got {output}; "
            f"give one such as scores/"
        )
    planned = [Job(one.place, os.path.join(output, _called(one))) for one in files]
    _check_apart(files, planned, output)
    return planned, True


def shard_of(planned: list[Job], shard: tuple[int, int] | None) -> list[Job]:
    """Every n-th file, from the i-th on: of all n shards each file is in one."""
    return planned if shard is None else planned[shard[0] - 1 :: shard[1]]


def way(model_path: str, options: Mapping[str, Any]) -> str:
    """What scores depend on beside the rows, as a digest."""
    digest = hashlib.sha256()
    with open(model_path, "rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    digest.update(json.dumps([__version__, dict(options)], sort_keys=True).encode())
    return digest.hexdigest()


def about(made_by: str, stamp: str) -> dict[str, str]:
    """What an output says of itself."""
    return {KEY: json.dumps({"way": made_by, "input": stamp})}


def is_done(output: str, wanted: Mapping[str, str]) -> bool:
    """Whether there is a whole output that says this of itself."""
    try:
        metadata = arrow("parquet").read_metadata(output).metadata or {}
    except (OSError, arrow().ArrowException):  # not there, or not whole
        return False
    return all(metadata.get(key.encode()) == text.encode() for key, text in wanted.items())


def _called(one: Found) -> str:
    return one.name if one.name.lower().endswith(ENDING) else one.name + ENDING


def _check_apart(files: Sequence[Found], planned: Sequence[Job], output: str) -> None:
    seen = dict[str, Job]()
    folder, real = os.path.realpath(output), cache(os.path.realpath)
    for job in planned:
        if (other := seen.get(job.output)) is not None:
            raise ValueError(
                f"{other.place} and {job.place} would both become {job.output}; name a folder or a glob that they "
                f"have in common"
            )
        seen[job.output] = job
        if isinstance(job.place, Remote):
            continue
        if os.path.exists(job.output) and same_file(job.place, job.output):
            raise ValueError(
                f"{job.output} is of the pool itself and would be overwritten; give another --output"
            )
        if Path(real(job.place.parent)).is_relative_to(folder):
            raise ValueError(
                f"{job.place} lies in the folder {output} of the scores, which may hold no rows; give another --output"
            )
