"""``fasttangent warmup``: everything compiled beforehand."""

from __future__ import annotations

import time

import click

from fasttangent.cli.options import JSON, QUIET
from fasttangent.cli.output import say, shows_progress


@click.command(short_help="Compile everything beforehand.")
@QUIET
@JSON
def warmup(quiet: bool, as_json: bool) -> None:
    """Compile everything now and keep it in the cache, so that the first real call is quick."""
    from fasttangent.cli import doctor
    from fasttangent.common.progress import reporting

    started = time.perf_counter()
    with reporting(shows_progress(quiet)) as report:
        doctor.warmup(report)
    seconds, folder = time.perf_counter() - started, doctor.examine()["cache_folder"]
    kept = f"kept in {folder}" if folder else "no cache folder is writable, so it holds for this process only"
    say(as_json, {"seconds": seconds, "cache_folder": folder}, f"compiled in {seconds:.1f} s; {kept}")
