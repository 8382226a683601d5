"""``fasttangent fit``: a table in, a model out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from fasttangent.cli.commands.models import described
from fasttangent.cli.options import FIT, INPUT, JSON, OUTPUT, QUIET, TABLE, THREADS
from fasttangent.cli.output import FAILED, say, shows_progress, tell

if TYPE_CHECKING:
    pass


@click.command(short_help="Train a model on a table and settle it.")
@click.argument("data", metavar="DATA", type=INPUT)
@click.option("-o", "--output", required=True, type=OUTPUT, help="Model to write (.npz).")
@click.option(
    "--target",
    multiple=True,
    metavar="COLUMN",
    help="Column to predict: name, or number from 0, negative from the end; repeatable."
    "  [default: the last column]",
)
@click.option("--weights", metavar="COLUMN", help="Column with the weights of the rows.")
@TABLE
@FIT
@THREADS
@QUIET
@JSON
def fit(
    data: str, output: str, target: Sequence[str], weights: str | None, drop: Sequence[str],
    header: bool | None, quiet: bool, as_json: bool, **settings: Any,
) -> int | None:  # fmt: skip
    """Train a model on the table DATA and settle it, tangent included."""
    from fasttangent.cli.columns import training_rows
    from fasttangent.cli.tables.reading import open_table
    from fasttangent.cli.tables.writing import check_writable

    check_writable(output, (".npz",))
    table = open_table(data, header)
    rows = training_rows(table, target, weights, drop)

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
