"""``fasttangent select``: the rows of a pool to label next."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from fasttangent.active.strategies.table import STRATEGIES
from fasttangent.cli.commands.models import model_and_pool
from fasttangent.cli.excluded import excluded_rows, table_of
from fasttangent.cli.options import INPUT, JSON, OUTPUT, QUIET, SELECT, TABLE, THREADS
from fasttangent.cli.output import say, shows_progress
from fasttangent.cli.table_pool import OF_ROWS, TablePool, of_rows, where

if TYPE_CHECKING:
    import numpy as np

    from fasttangent.active.selection import Selection
    from fasttangent.model.model import Model


@click.command(short_help="Pick the rows of a pool to label next.")
@click.argument("model_path", metavar="MODEL", type=INPUT)
@click.argument("pool", metavar="POOL...", nargs=-1, required=True)
@click.option("-k", "k", required=True, type=click.IntRange(min=1), help="How many rows to pick.")
@click.option("-o", "--output", required=True, type=OUTPUT, help="Table of picked rows to write.")
@SELECT
@TABLE
@THREADS
@QUIET
@JSON
def select(
    model_path: str, pool: Sequence[str], k: int, output: str, quiet: bool, as_json: bool, **settings: Any,
) -> None:  # fmt: skip
    """Pick the K rows of POOL to label next, and write them with their row numbers and scores.

    POOL is a table, or several: files, a folder, a glob in quotes ('pool/*.parquet') or URLs. Rows are then numbered
    through all files, in the order of their names, and picks also say their file and row in it.

    Rows with a missing value are never picked, nor is a row equal to one of --labeled; of equal rows one is picked.
    The pool is read in chunks, several times; only the candidates that --prefilter leaves, and for egl all rows,
    are in memory together.
    """
    from fasttangent.active.asked import Asked
    from fasttangent.active.selection import selected
    from fasttangent.cli.outputs import Input, Output, check_outputs
    from fasttangent.cli.tables.writing import write_table
    from fasttangent.common.progress import reporting
    from fasttangent.common.tables.finding import places
    from fasttangent.common.tables.joined import JoinedTable
    from fasttangent.common.tables.table import WRITTEN

    labeled, drop, header = (settings.pop(name) for name in ("labeled", "drop", "header"))
    _check_use(settings)
    exclude = settings["exclude"]
    files = places(pool)
    read = [
        *(Input("the pool", one) for one in files),
        Input("the model", model_path),
        Input("the table of --labeled", labeled),
        Input("the table of --exclude", table_of(exclude)),
    ]
    check_outputs([Output("--output", output, WRITTEN)], read)
    beside = [settings[name] for name in OF_ROWS if settings[name] is not None]
    joined = JoinedTable(files, header)
    model, table, columns = model_and_pool(model_path, joined, drop, beside)
    settings["labeled"] = None if labeled is None else _labeled_rows(model, labeled, header)
    if exclude is not None:
        settings["exclude"] = excluded_rows(exclude)
    settings |= of_rows(table, {name: settings[name] for name in OF_ROWS})
    if settings["prefilter"] == "none":
        settings["prefilter"] = None
    started = time.perf_counter()
    with reporting(shows_progress(quiet)) as report:
        rows = TablePool(table, columns, report)
        picked, tally = selected(model, rows, Asked(k, **settings))
    picks = picked.indices
    found = {"row": picks, "score": picked.scores, **where(joined, picks)}
    own = {f"pool_{name}" if name in found else name: c for name, c in table.take(picks).items()}
    write_table(output, found | own)
    document = {
        "rows": len(rows),
        "missing_rows": tally.bad,
        "first_missing_row": tally.first_bad,
        "candidates": picked.candidates,
        "embedding": picked.embedding,
        "weight": picked.weight,
        "trusted": picked.trusted,
        "seconds": time.perf_counter() - started,
        "picked": len(picks),
        "cost": picked.cost,
        "passes": picked.passes,
        "verified": picked.verified,
        "shortfall": picked.shortfall,
        "strategy": picked.strategy,
        "seed": settings["seed"],
        "output": output,
    }
    part = "" if picked.candidates == len(rows) else f" ({picked.candidates:,} took part)"
    paid = "" if picked.cost is None else f" at a cost of {picked.cost:,.10g}"
    how = "" if picked.passes == 1 else f", after {picked.passes} passes {_words(picked)}"
    seconds = f"{document['seconds']:.1f} s"
    text = f"picked {len(picks):,} of {len(rows):,} rows{part}{paid} in {seconds}{how}; saved {output}"
    say(as_json, document, text)


def _words(picked: Selection) -> str:
    """How near to the picks of comparing all rows these are."""
    if picked.verified:
        return "those of comparing all"
    return f"a row might have gained up to {picked.shortfall:.1%} more than one picked (--passes)"


def _check_use(settings: dict[str, Any]) -> None:
    """Refuse options that a strategy has no use for, in the words of the command line."""
    strategy = STRATEGIES[settings["strategy"]]
    if settings["noise"] is not None and not strategy.takes_noise:
        raise ValueError(f"--noise is of no use to --strategy {strategy.name}; leave it out")
    if strategy.thinned or strategy.needs_noise:
        return
    for name, of_use in (("weight", strategy.takes_weight), ("embedding", strategy.any_embedding)):
        if settings[name] is not None and not of_use:
            raise ValueError(f"--{name} is of no use to --strategy {strategy.name}; leave it out")


def _labeled_rows(model: Model, path: str, header: bool | None) -> np.ndarray:
    """The features of the table of --labeled; other columns are ignored where there are names."""
    from fasttangent.cli.columns import feature_columns
    from fasttangent.common.tables.encoded_table import as_read_by
    from fasttangent.common.tables.matching import table_width
    from fasttangent.common.tables.reading import open_table

    table = open_table(path, header)
    named = table.named and model.feature_names is not None
    if not named and len(table.names) - len(table.index) != (count := table_width(model)):
        raise ValueError(
            f"{path} has {len(table.names)} columns but the model was fitted on {count}, and without names "
            f"on both sides they are matched by position; give --labeled a table of the features alone"
        )
    columns = feature_columns(model, table, ())
    return as_read_by(model, table, columns).read(columns)
