"""``fasttangent info``: a model in words."""

from __future__ import annotations

import click

from fasttangent.cli.commands.models import described, loaded
from fasttangent.cli.options import INPUT, JSON
from fasttangent.cli.output import say


@click.command(short_help="Describe a model and whether to trust it.")
@click.argument("model_path", metavar="MODEL", type=INPUT)
@JSON
def info(model_path: str, as_json: bool) -> None:
    """Describe a model: network, objective, training, and whether its scores can be trusted."""
    model = loaded(model_path)
    say(as_json, {"model": model_path, **model.summary()}, described(model))
