"""``fasttangent score``: scores of every row of a pool."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fasttangent.cli.commands.models import scorable
from fasttangent.cli.options import INPUT, JSON, OUTPUTS, QUIET, TABLE, THREADS, Shard
from fasttangent.cli.output import FailedError, say, shows_progress
from fasttangent.common.warning import warn

if TYPE_CHECKING:
    from fasttangent.cli.scoring import Asked, Tally
    from fasttangent.cli.shards import Job


@click.command(short_help="Score every row of a pool.")
@click.argument("model_path", metavar="MODEL", type=INPUT)
@click.argument("pool", metavar="POOL...", nargs=-1, required=True)
@click.option(
    "-o",
    "--output",
    required=True,
    type=OUTPUTS,
    metavar="PATH",
    help="Table of scores to write; for a folder, a glob or several files a folder, made if it is not there.",
)
@click.option(
    "--keep",
    multiple=True,
    metavar="COLUMN",
    help="Column of the pool to write beside the scores; repeatable.  Of CSV as the text it is.",
)
@click.option("--id", metavar="COLUMN", help="Column to write in place of row numbers; no feature.")
@click.option(
    "--shard",
    type=Shard(),
    metavar="I/N",
    help="Only every N-th file from the I-th on, for the jobs of an array: 1/64 to 64/64.",
)
@click.option(
    "--resume",
    is_flag=True,
    help="Leave out files whose scores are there: whole, of the same input, model and options.",
)
@TABLE
@THREADS
@QUIET
@JSON
def score(
    model_path: str, pool: Sequence[str], output: str, shard: tuple[int, int] | None, resume: bool, quiet: bool,
    as_json: bool, **settings: Any,
) -> None:  # fmt: skip
    """Score every row of POOL: prediction, sensitivity, curiosity.

    Sensitivity is the derivative of the prediction by the strength of the regulariser, curiosity the expected
    squared change of the model's complexity if the row were labelled. A row with a missing value gets empty
    scores. The pool is read in pieces; it may be larger than the memory. Reading and writing have a thread each
    beside --threads.

    POOL is a table, or several: files, a folder, a glob in quotes ('pool/*.parquet') or URLs (s3://, gs://). Then
    every file gets a Parquet file of its own in the folder --output, whole or not at all. Files that cannot be read
    are left out and told at the end (exit code 1). A run that was stopped goes on with --resume.
    """
    from fasttangent.cli import shards
    from fasttangent.cli.scoring import Asked

    planned, into_folder = shards.jobs(pool, output)
    mine = shards.shard_of(planned, shard)
    _check(mine, into_folder, model_path, output, resume)
    asked = Asked(**settings)
    started = time.perf_counter()
    tally = _scored(model_path, mine, asked, resume, quiet)
    document: dict[str, Any] = {
        "rows": tally.rows,
        "missing_rows": tally.missing,
        "first_missing_row": tally.first_missing,
        "trusted": tally.trusted,
        "seconds": time.perf_counter() - started,
        "output": output,
    }
    if into_folder or resume:
        document |= {"files": tally.files, "skipped_files": tally.skipped, "failed_files": dict(tally.failed)}
    _fail(tally, len(mine))
    say(as_json, document, _in_words(tally, document, into_folder or resume))


def _check(jobs: Sequence[Job], into_folder: bool, model_path: str, output: str, resume: bool) -> None:
    """Raise what would be raised later, of outputs that cannot be written."""
    from fasttangent.cli.outputs import Input, Output, check_outputs
    from fasttangent.cli.tables.writing import check_writable
    from fasttangent.common.files import same_file
    from fasttangent.common.tables.table import WRITTEN

    if not into_folder:
        if resume and not output.lower().endswith(".parquet"):
            raise ValueError("--resume needs an output in Parquet, which says what it was made of")
        (job,) = jobs
        inputs = [Input("the model", model_path)]
        if isinstance(job.place, Path):
            inputs.insert(0, Input("the pool", job.place))
        return check_outputs([Output("--output", output, WRITTEN)], inputs)
    Path(output).mkdir(parents=True, exist_ok=True)
    check_writable(Path(output) / "scores.parquet")
    for job in jobs:
        if same_file(job.output, model_path):
            raise ValueError(
                f"{job.output} is the model itself and would be overwritten; give another --output"
            )
    return None


def _scored(model_path: str, jobs: Sequence[Job], asked: Asked, resume: bool, quiet: bool) -> Tally:
    from fasttangent.cli import shards
    from fasttangent.cli.scoring import score_files
    from fasttangent.common.checks import thread_count
    from fasttangent.common.errors import UntrustedTangentWarning
    from fasttangent.common.progress import reporting
    from fasttangent.common.tables.arrow import arrow

    model = scorable(model_path)
    if not model.certificate.trusted:
        warn(model.certificate.warning, UntrustedTangentWarning)
    arrow().set_cpu_count(thread_count(asked.threads))  # which knows nothing of what a job may use
    options = asked._asdict()
    del options["threads"]  # on which scores do not depend
    with reporting(shows_progress(quiet)) as report:
        tally = score_files(model, jobs, asked, shards.way(model_path, options), resume, report)
    tally.trusted = model.certificate.trusted
    if tally.missing:
        warn(
            f"{tally.missing:,} of {tally.rows:,} rows of {_called(jobs)} have missing or infinite values, first row "
            f"{tally.first_missing} (counted from 0){_of(tally, jobs)}; they have no scores"
        )
    return tally


def _called(jobs: Sequence[Job]) -> str:
    return str(jobs[0].place) if len(jobs) == 1 else f"{len(jobs):,} files"


def _of(tally: Tally, jobs: Sequence[Job]) -> str:
    return "" if len(jobs) == 1 else f" of {tally.first_missing_in}"


def _fail(tally: Tally, files: int) -> None:
    if tally.failed:
        name, error = tally.failed[0]
        raise FailedError(
            f"{len(tally.failed):,} of {files:,} files could not be scored, first {name}: {error}; mend them and "
            f"run again with --resume, which leaves out the {tally.files + tally.skipped:,} that are done"
        )


def _in_words(tally: Tally, document: dict[str, Any], several: bool) -> str:
    files = f" of {tally.files:,} files" if several else ""
    before = f" ({tally.skipped:,} were done before)" if tally.skipped else ""
    return f"scored {tally.rows:,} rows{files}{before} in {document['seconds']:.1f} s; saved {document['output']}"
