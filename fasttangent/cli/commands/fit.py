"""``fasttangent fit``: a table in, a model out."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from fasttangent.cli.commands.models import described
from fasttangent.cli.interrupts import INTERRUPTED, heed
from fasttangent.cli.options import FIT, JSON, OUTPUT, QUIET, THREADS, TrainingTable, training_table
from fasttangent.cli.output import say, shows_progress, tell

if TYPE_CHECKING:
    from fasttangent.model.model import Model

MOST_VALUES = 2**25  # of tangents of noise that a file should hold: 256 MB


@click.command(short_help="Train a model on a table and settle it.")
@click.option("-o", "--output", required=True, type=OUTPUT, help="Model to write (.npz).")
@click.option(
    "--plot", type=OUTPUT, help="Draw the strengths that were tried and found (.png, .pdf or .svg)."
)
@training_table
@FIT
@click.option(
    "--posterior/--no-posterior",
    default=True,
    show_default=True,
    help="Store tangents of noise, for deviations and for select without --labeled.",
)
@THREADS
@QUIET
@JSON
def fit(
    table: TrainingTable,
    output: str,
    plot: str | None,
    posterior: bool,
    quiet: bool,
    as_json: bool,
    **settings: Any,
) -> int | None:
    """Train a model on the table DATA and settle it, tangent included.

    Columns may hold numbers, words, yes and no, dates, and gaps; what was made of each is shown at the end.
    """
    from fasttangent.cli.outputs import MODELS, PICTURES, Input, Output, check_outputs

    outputs = [Output("--output", output, MODELS), Output("--plot", plot, PICTURES)]
    check_outputs(outputs, [Input("the data", table.data)])
    if plot is not None:
        from fasttangent.cli import plots

        plots.require()
    rows = table.rows(settings["transform"] is not None)

    import fasttangent as ft
    from fasttangent.common.progress import reporting

    with reporting(shows_progress(quiet)) as report:
        model = ft.fit(**rows, **settings, progress=report)
        if posterior and not model.interrupted:
            model = _with_noise(model, rows)
    if not model.interrupted:
        heed()
    try:
        model.save(output)
    except OSError as error:
        error.filename = output
        raise
    if plot is not None and not model.interrupted:
        plots.strengths(model, plot)
    document = {"model": output, "plot": plot, "interrupted": model.interrupted, **model.summary()}
    saved = "".join(f"\nsaved to {path}" for path in (output, plot) if path is not None)
    say(as_json, document, described(model) + saved)
    if model.interrupted:
        tell("error", f"interrupted; the model of that moment was saved to {output}")
        return INTERRUPTED
    if not model.certificate.trusted:
        tell("warning", "scores of this model are not to be trusted: " + "; ".join(model.certificate.reasons))
    return None


def _with_noise(model: Model, rows: dict[str, Any]) -> Model:
    """The model with the tangents that the default strategy needs; without, where it has none or they are too many."""
    from fasttangent.active.asked import SAMPLES
    from fasttangent.common.errors import IndefiniteError

    if SAMPLES * model.network.layout.n_params > MOST_VALUES:
        tell(
            "warning",
            "too many parameters to store tangents of noise: give `select` the rows, --labeled DATA",
        )
        return model
    try:
        return model.with_posterior(rows["X"], rows["y"], rows["sample_weight"], samples=SAMPLES)
    except IndefiniteError as error:
        tell("warning", f"no tangents of noise were stored: {error}")
    except KeyboardInterrupt:
        return replace(model, interrupted=True)
    return model
