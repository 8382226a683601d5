"""``fasttangent doctor``: what runs here, and whether it is right."""

from __future__ import annotations

import click

from fasttangent.cli.options import JSON, QUIET
from fasttangent.cli.output import FAILED, aligned, say, shows_progress, tell


@click.command(short_help="Show what runs here and test it.")
@click.option(
    "--no-self-test",
    "tested",
    is_flag=True,
    default=True,
    flag_value=False,
    help="Only look: no measurements and no tests.",
)
@QUIET
@JSON
def doctor(tested: bool, quiet: bool, as_json: bool) -> int | None:
    """Show versions, threads, vectors and cache, measure the speed and test the installation.

    About ten seconds; the share of the peak is that of the matrix products in scoring.
    """
    from fasttangent.cli.doctor import examine, measure, self_test
    from fasttangent.common.progress import reporting

    found = examine()
    results: list[tuple[str, bool, str]] = []
    if tested:
        found |= measure()
        with reporting(shows_progress(quiet)) as report:
            results = self_test(report)
    passed = all(good for _, good, _ in results)
    tests = [{"name": name, "passed": good, "detail": detail} for name, good, detail in results]
    lines = [(name.replace("_", " "), value) for name, value in found.items()]
    if not found["cache_enabled"]:
        what = "none: switched off, or no folder is writable; every process compiles anew"
        lines = [(name, what if name == "cache folder" else value) for name, value in lines]
    lines += [(name, f"{'passed' if good else 'FAILED'}: {detail}") for name, good, detail in results]
    say(as_json, {**found, "self_test": tests, "passed": passed}, aligned(lines))
    if not passed:
        tell("error", "the self-test failed: " + ", ".join(name for name, good, _ in results if not good))
        return FAILED
    return None
