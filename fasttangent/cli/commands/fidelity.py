"""``fasttangent fidelity``: cheap scores beside exact ones and refits."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from fasttangent.cli.options import FIDELITY, INPUT, JSON, OUTPUT, QUIET, TABLE, THREADS
from fasttangent.cli.output import FailedError, say, shows_progress

if TYPE_CHECKING:
    pass


@click.command(short_help="How far cheap scores are from exact ones and from refits.")
@click.argument("data", metavar="DATA", type=INPUT)
@click.option("-o", "--output", type=OUTPUT, help="Also write the table (.csv, .csv.gz or .parquet).")
@click.option("--plot", type=OUTPUT, help="Draw scores and refits (.png, .pdf or .svg).")
@click.option(
    "--target",
    multiple=True,
    metavar="COLUMN",
    help="Column to predict, as for fit; repeatable.  [default: the last column]",
)
@click.option("--weights", metavar="COLUMN", help="Column with the weights of the rows trained on.")
@TABLE
@FIDELITY
@THREADS
@QUIET
@JSON
def fidelity(
    data: str, output: str | None, plot: str | None, target: Sequence[str], weights: str | None,
    drop: Sequence[str], header: bool | None, quiet: bool, as_json: bool, **settings: Any,
) -> None:  # fmt: skip
    """Compare cheap influence scores with exact ones and with refits, on the table DATA.

    Trains on some rows and scores others, whose labels must be in the table: by the tangents of SGD, momentum
    and Adam before they settle, by the settled tangent, by Gauss-Newton, conjugate gradients, LiSSA and the
    gradient alone. For each: correlation with the exact influence and with the change that refitting
    measures, seconds, memory, and whether its certificate trusts it. The last lines say whether that was right.
    """
    from fasttangent.cli.columns import training_rows
    from fasttangent.cli.tables.reading import open_table
    from fasttangent.cli.tables.writing import check_writable, write_table

    if output is not None:
        check_writable(output, (".csv", ".csv.gz", ".parquet"))
        if os.path.realpath(output) == os.path.realpath(data):
            raise ValueError(f"{output} is the data itself and would be overwritten; give another --output")
    if plot is not None:
        check_writable(plot, (".png", ".pdf", ".svg"))
        from fasttangent.cli import plots

        plots.require()
    rows = training_rows(open_table(data, header), target, weights, drop)
    del rows["feature_names"]

    import fasttangent as ft
    from fasttangent.common.errors import IndefiniteError
    from fasttangent.common.progress import reporting

    try:
        with reporting(shows_progress(quiet)) as report:
            found = ft.fidelity(**rows, **settings, progress=report)
    except IndefiniteError as error:
        raise FailedError(str(error)) from error
    if output is not None:
        write_table(output, found.columns())
    if plot is not None:
        plots.fidelity(found, plot)
    files = {"output": output, "plot": plot}
    saved = "".join(f"\nsaved {path}" for path in files.values() if path is not None)
    say(as_json, {"data": data, **found.summary(), **files}, found.table() + saved)
