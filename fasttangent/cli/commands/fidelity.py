"""``fasttangent fidelity``: cheap scores beside exact ones and refits."""

from __future__ import annotations

from typing import Any

import click

from fasttangent.cli.options import FIDELITY, JSON, OUTPUT, QUIET, THREADS, TrainingTable, training_table
from fasttangent.cli.output import FailedError, say, shows_progress


@click.command(short_help="How far cheap scores are from exact ones and from refits.")
@click.option("-o", "--output", type=OUTPUT, help="Also write the table (.csv, .csv.gz or .parquet).")
@click.option("--plot", type=OUTPUT, help="Draw scores and refits (.png, .pdf or .svg).")
@training_table
@FIDELITY
@THREADS
@QUIET
@JSON
def fidelity(
    table: TrainingTable, output: str | None, plot: str | None, quiet: bool, as_json: bool, **settings: Any
) -> None:
    """Compare cheap influence scores with exact ones and with refits, on the table DATA.

    Trains on some rows and scores others, whose labels must be in the table: by the tangents of SGD, momentum
    and Adam before they settle, by the settled tangent, by Gauss-Newton, conjugate gradients, LiSSA and the
    gradient alone. For each: correlation with the exact influence and with the change that refitting
    measures, seconds, memory, and whether its certificate trusts it. The last lines say whether that was right.
    """
    from fasttangent.cli.outputs import PICTURES, WITH_TEXT, Input, Output, check_outputs
    from fasttangent.cli.tables.writing import write_table

    outputs = [Output("--output", output, WITH_TEXT), Output("--plot", plot, PICTURES)]
    check_outputs(outputs, [Input("the data", table.data)])
    if plot is not None:
        from fasttangent.cli import plots

        plots.require()
    rows = table.rows()
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
    say(as_json, {"data": table.data, **found.summary(), **files}, found.table() + saved)
