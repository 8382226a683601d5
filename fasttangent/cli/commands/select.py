"""``fasttangent select``: the rows of a pool to label next."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from fasttangent.cli.commands.models import model_and_pool
from fasttangent.cli.commands.score import Scored
from fasttangent.cli.options import JSON, OUTPUT, POOL, QUIET, SELECT, TABLE, THREADS
from fasttangent.cli.output import say

if TYPE_CHECKING:
    import numpy as np

    from fasttangent.cli.tables.reading import Table
    from fasttangent.model.model import Model


@click.command(short_help="Pick the rows of a pool to label next.")
@POOL
@click.option("-k", "k", required=True, type=click.IntRange(min=1), help="How many rows to pick.")
@click.option("-o", "--output", required=True, type=OUTPUT, help="Table of picked rows to write.")
@SELECT
@TABLE
@THREADS
@QUIET
@JSON
def select(
    model_path: str, pool: str, k: int, output: str, strategy: str, weight: str | None, labeled: str | None,
    drop: Sequence[str], header: bool | None, threads: int | None, quiet: bool, as_json: bool, **settings: Any,
) -> None:  # fmt: skip
    """Pick the K rows of the table POOL to label next, and write them with their row numbers and scores.

    Rows with a missing value are never picked, nor is a row equal to one of --labeled. sample, top and random by
    curiosity and without --labeled read the pool in chunks, twice; all else reads it into memory, and of equal rows
    picks one.
    """
    from fasttangent.cli.tables.writing import write_table

    model, table, columns = model_and_pool(model_path, pool, output, drop, header)
    known = None if labeled is None else _labeled_rows(model, labeled, header)
    started = time.perf_counter()
    if strategy in ("sample", "top", "random") and weight != "sensitivity" and known is None:
        if weight is not None and strategy == "random":
            raise ValueError("--weight is of no use to --strategy random; leave it out")
        if settings["embedding"] is not None:
            raise ValueError(f"--embedding is of no use to --strategy {strategy}; leave it out")
        picks, scores, found = _picked_in_chunks(
            Scored(model, table, columns, threads, quiet), k, strategy, settings["seed"]
        )
    else:
        settings |= {"strategy": strategy, "weight": weight, "labeled": known, "threads": threads}
        picks, scores, found = _picked_in_memory(model, table, columns, k, settings)
    own = {f"pool_{name}" if name in ("row", "score") else name: c for name, c in table.take(picks).items()}
    write_table(output, {"row": picks, "score": scores, **own})
    seconds = time.perf_counter() - started
    more = {"picked": k, "strategy": strategy, "seed": settings["seed"], "output": output}
    part = "" if found["candidates"] == found["rows"] else f" ({found['candidates']:,} took part)"
    text = f"picked {k:,} of {found['rows']:,} rows{part} in {seconds:.1f} s; saved {output}"
    say(as_json, {**found, "trusted": model.certificate.trusted, "seconds": seconds, **more}, text)


def _labeled_rows(model: Model, path: str, header: bool | None) -> np.ndarray:
    """The features of the table of --labeled; other columns are ignored where there are names."""
    from fasttangent.cli.columns import feature_columns
    from fasttangent.cli.tables.reading import open_table

    table = open_table(path, header)
    named = table.named and model.feature_names is not None
    if not named and len(table.names) - len(table.index) != model.n_features:
        raise ValueError(
            f"{path} has {len(table.names)} columns but the model was fitted on {model.n_features}, and without names "
            f"on both sides they are matched by position; give --labeled a table of the features alone"
        )
    return table.read(feature_columns(model, table, ()))


def _picked_in_chunks(
    scored: Scored, k: int, strategy: str, seed: int
) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    """(row numbers, their scores, what there is to say) for strategies that need one number of each row."""
    import numpy as np

    from fasttangent.active.selection import pick

    curiosity = np.concatenate([scores.curiosity for _, scores in scored])
    usable = scored.rows - scored.missing
    if k > usable:
        raise ValueError(
            f"-k is {k:,} but the pool has only {usable:,} rows without missing values; ask for fewer"
        )
    picks = pick(curiosity, k, strategy, seed)
    found = {
        "rows": scored.rows,
        "missing_rows": scored.missing,
        "first_missing_row": scored.first_missing,
        "candidates": usable,
        "embedding": None,
        "weight": None if strategy == "random" else "curiosity",
    }
    return picks, curiosity[picks], found


def _picked_in_memory(
    model: Model, table: Table, columns: list[int], k: int, settings: dict[str, Any]
) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    """The same for all strategies, by fasttangent.select."""
    import numpy as np

    import fasttangent as ft

    X = table.read(columns)
    if settings["prefilter"] == "none":
        settings["prefilter"] = None
    picked = ft.select(model, X, k, **settings)
    bad = np.flatnonzero(~np.isfinite(X).all(axis=1))
    found = {
        "rows": len(X),
        "missing_rows": len(bad),
        "first_missing_row": int(bad[0]) if len(bad) else None,
        "candidates": picked.candidates,
        "embedding": picked.embedding,
        "weight": picked.weight,
    }
    return picked.indices, picked.scores, found
