"""``fasttangent fit``: a table in, a model out."""

from __future__ import annotations

from typing import Any

import click

from fasttangent.cli.commands.models import described
from fasttangent.cli.options import FIT, JSON, OUTPUT, QUIET, THREADS, TrainingTable, training_table
from fasttangent.cli.output import FAILED, say, shows_progress, tell


@click.command(short_help="Train a model on a table and settle it.")
@click.option("-o", "--output", required=True, type=OUTPUT, help="Model to write (.npz).")
@training_table
@FIT
@THREADS
@QUIET
@JSON
def fit(table: TrainingTable, output: str, quiet: bool, as_json: bool, **settings: Any) -> int | None:
    """Train a model on the table DATA and settle it, tangent included."""
    from fasttangent.cli.tables.writing import check_writable

    check_writable(output, (".npz",))
    rows = table.rows()

    import fasttangent as ft
    from fasttangent.common.progress import reporting

    with reporting(shows_progress(quiet)) as report:
        model = ft.fit(**rows, **settings, progress=report)
    try:
        model.save(output)
    except OSError as error:
        error.filename = output
        raise
    document = {"model": output, "interrupted": model.interrupted, **model.summary()}
    say(as_json, document, f"{described(model)}\nsaved to {output}")
    if model.interrupted:
        tell("error", f"interrupted; the model of that moment was saved to {output}")
        return FAILED
    if not model.certificate.trusted:
        tell("warning", "scores of this model are not to be trusted: " + "; ".join(model.certificate.reasons))
    return None
