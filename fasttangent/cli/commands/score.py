"""``fasttangent score``: scores of every row of a pool."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

from fasttangent.cli.commands.models import model_and_pool
from fasttangent.cli.options import JSON, OUTPUT, POOL, QUIET, TABLE, THREADS
from fasttangent.cli.output import say, shows_progress
from fasttangent.common.warning import warn

if TYPE_CHECKING:
    from fasttangent.common.tables.table import Table
    from fasttangent.model.model import Model, Scores


POOL_ROWS = 1 << 17


@click.command(short_help="Score every row of a pool.")
@POOL
@click.option("-o", "--output", required=True, type=OUTPUT, help="Table of scores to write.")
@TABLE
@THREADS
@QUIET
@JSON
def score(
    model_path: str, pool: str, output: str, drop: Sequence[str], header: bool | None, threads: int | None,
    quiet: bool, as_json: bool,
) -> None:  # fmt: skip
    """Score every row of the table POOL: prediction, sensitivity, curiosity.

    Sensitivity is the derivative of the prediction by the strength of the regulariser, curiosity the expected
    squared change of the model's complexity if the row were labelled. A row with a missing value gets empty
    scores. The pool is read in chunks; it may be larger than the memory.
    """
    import numpy as np

    from fasttangent.cli.outputs import Input, Output, check_outputs
    from fasttangent.cli.tables.writing import writing
    from fasttangent.common.tables.table import WRITTEN
    from fasttangent.model.batches import score_columns

    check_outputs(
        [Output("--output", output, WRITTEN)], [Input("the pool", pool), Input("the model", model_path)]
    )
    model, table, columns = model_and_pool(model_path, pool, drop, header)
    started = time.perf_counter()
    scored = Scored(model, table, columns, threads, quiet)
    with writing(output) as write:
        for start, scores in scored:
            row = np.arange(start, start + len(scores.curiosity), dtype=np.int64)
            write({"row": row, **score_columns(scores)})
    _say_scored(as_json, scored, started, {"output": output})


class Scored:
    """The scores of a pool, chunk by chunk, and what there is to say about its rows afterwards."""

    def __init__(
        self, model: Model, table: Table, columns: list[int], threads: int | None, quiet: bool
    ) -> None:
        self.model, self.table, self.columns, self.threads, self.quiet = model, table, columns, threads, quiet
        self.rows = self.missing = 0
        self.first_missing: int | None = None

    def __iter__(self) -> Iterator[tuple[int, Scores]]:
        from fasttangent.common.errors import UntrustedTangentWarning
        from fasttangent.common.progress import reporting
        from fasttangent.common.tables.table import height
        from fasttangent.model.scores import scored

        if not self.model.certificate.trusted:
            warn(self.model.certificate.warning, UntrustedTangentWarning)
        with reporting(shows_progress(self.quiet)) as report:
            report("scoring", 0, self.table.rows or 0)
            for start, X in self.table.chunks(height(POOL_ROWS, len(self.columns)), self.columns):
                scores, bad = scored(self.model, X, self.threads)
                yield start, scores
                if len(bad) and self.first_missing is None:
                    self.first_missing = start + int(bad[0])
                self.missing += len(bad)
                self.rows = start + len(X)
                report("scoring", self.rows, self.table.rows or 0)
        if self.missing:
            message = (
                f"{self.missing:,} of {self.rows:,} rows of {self.table.path} have missing or infinite "
                f"values, first row {self.first_missing} (counted from 0); they have no scores"
            )
            warn(message)


def _say_scored(as_json: bool, scored: Scored, started: float, more: dict[str, Any]) -> None:
    seconds = time.perf_counter() - started
    document = {
        "rows": scored.rows,
        "missing_rows": scored.missing,
        "first_missing_row": scored.first_missing,
        "trusted": scored.model.certificate.trusted,
        "seconds": seconds,
        **more,
    }
    say(as_json, document, f"scored {scored.rows:,} rows in {seconds:.1f} s; saved {more['output']}")
