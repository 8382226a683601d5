"""``fasttangent warmup``: everything compiled beforehand, for this processor or for others."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from fasttangent.cli.options import JSON, QUIET
from fasttangent.cli.output import say, shows_progress


class Kinds(click.ParamType):
    """``x86-64-v3,x86-64-v4`` as ("x86-64-v3", "x86-64-v4")."""

    name = "name,..."

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, ...]:
        from fasttangent.kernels import kinds

        named, known = tuple(dict.fromkeys(part.strip() for part in value.split(","))), kinds.names()
        for name in named:
            if name not in known:
                choices = ", ".join(known) or "none for this architecture"
                self.fail(f"must be kinds of processor ({choices}), got {name!r}", param, ctx)
        return named


@click.command(short_help="Compile everything beforehand.")
@click.option(
    "--cpu",
    "kinds",
    type=Kinds(),
    help="Compile for kinds of processor, x86-64-v2 (SSE4.2), x86-64-v3 (AVX2) or x86-64-v4 (AVX-512), into a folder "
    "that can be copied to such machines.",
)
@click.option(
    "-o",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="That folder, with --cpu: the FASTTANGENT_CACHE of a container, which needs only read it.",
)
@QUIET
@JSON
def warmup(kinds: tuple[str, ...] | None, folder: Path | None, quiet: bool, as_json: bool) -> None:
    """Compile everything now and keep it in the cache, so that the first real call is quick."""
    from fasttangent.cli import doctor
    from fasttangent.common.progress import reporting

    if (kinds is None) != (folder is None):
        raise click.UsageError("--cpu and -o go together: for which processors, and into which folder")
    started = time.perf_counter()
    with reporting(shows_progress(quiet)) as report:
        doctor.warmup(report, kinds or (), folder)
    seconds = time.perf_counter() - started
    found = str(folder) if folder else doctor.examine()["cache_folder"]
    kept = f"kept in {found}" if found else "no cache folder is writable, so it holds for this process only"
    figures = {"seconds": seconds, "cache_folder": found, **({"kinds": list(kinds)} if kinds else {})}
    say(as_json, figures, f"compiled in {seconds:.1f} s; {kept}")
