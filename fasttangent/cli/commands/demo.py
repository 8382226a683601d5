"""``fasttangent demo``: experiments chosen by curiosity."""

from __future__ import annotations

from typing import Any

import click

from fasttangent.cli.options import JSON, OUTPUT, QUIET, THREADS
from fasttangent.cli.output import say, shows_progress


@click.command(short_help="See curiosity choose experiments.")
@click.option("--seeds", type=click.IntRange(min=1), default=3, show_default=True, help="Repetitions.")
@click.option(
    "--rounds", type=click.IntRange(min=1), default=4, show_default=True, help="Batches labelled in turn."
)
@click.option(
    "--pool", type=click.IntRange(min=1), default=1_000_000, show_default=True, help="Candidates scored."
)
@click.option(
    "--labels", type=click.IntRange(min=2), default=200, show_default=True, help="Labels to start with."
)
@click.option("--batch", type=click.IntRange(min=1), default=50, show_default=True, help="Labels per round.")
@click.option("--picture", type=OUTPUT, default="demo.png", show_default=True, help="Picture to write.")
@THREADS
@QUIET
@JSON
def demo(quiet: bool, as_json: bool, **settings: Any) -> None:
    """Choose experiments on a robot arm by curiosity and by chance, and say which was better."""
    from fasttangent.cli.outputs import PICTURES, Output, check_outputs

    check_outputs([Output("--picture", settings["picture"], PICTURES)])
    from fasttangent.cli import demo as arm
    from fasttangent.common.progress import reporting

    with reporting(shows_progress(quiet)) as report:
        result = arm.run(**settings, report=report)
    say(as_json, result, arm.table(result))
