"""``fasttangent next`` and ``fasttangent tell``: a campaign of active learning with a person as the oracle."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fasttangent.active.loop.folder import REMEMBERED, check_records
from fasttangent.active.loop.folder import records as records_of
from fasttangent.cli.excluded import table_of
from fasttangent.cli.options import CATEGORICAL, FIT, INPUT, JSON, OUTPUT, QUIET, TABLE, THREADS, limits
from fasttangent.cli.output import FailedError, aligned, say, shown, shows_progress
from fasttangent.common import records
from fasttangent.common.warning import warn

if TYPE_CHECKING:
    from fasttangent.active.loop.learner import ActiveLearner
    from fasttangent.cli.begun import Begun

SOURCES = records.Rule(
    "a source or a list of them",
    lambda v: records.TEXT.holds(v) or records.several(records.TEXT, least=1).holds(v),
)
FILES = records.several(
    records.Rule(
        "a file and its number of rows",
        lambda v: (
            isinstance(v, list) and len(v) == 2 and records.TEXT.holds(v[0]) and records.whole(0).holds(v[1])
        ),
    ),
    least=1,
)
FOLDER = click.option(
    "--folder", required=True, type=click.Path(file_okay=False), help="Where the campaign is kept."
)


@click.command("next", short_help="Pick the rows to label next, round by round.")
@click.argument("pool", metavar="[POOL...]", nargs=-1)
@FOLDER
@click.option("-k", "k", type=click.IntRange(min=1), help="How many rows to pick.")
@click.option(
    "-o", "--output", type=OUTPUT, help="Table of picked rows to write (.csv, .csv.gz or .parquet)."
)
@click.option("--labeled", type=INPUT, help="Table of rows with labels to begin with.")
@click.option(
    "--target",
    multiple=True,
    metavar="COLUMN",
    help="Column of the labels; repeatable.  [default: the last column of --labeled, else 'label']",
)
@click.option("--strategy", default="error", show_default=True, help="As for select.")
@click.option(
    "--start", type=click.Choice(["cold", "warm"]), default="cold", show_default=True,
    help="Whether a fit starts anew or from the model before.",
)  # fmt: skip
@click.option("--budget", type=click.IntRange(min=1), help="Labels to get in all, over all rounds.")
@limits("--group-by", "group_by")
@click.option("--skip", is_flag=True, help="Go on without the rows that have no label yet.")
@click.option("--status", is_flag=True, help="Only show where the campaign is.")
@CATEGORICAL
@TABLE
@FIT
@THREADS
@QUIET
@JSON
@click.pass_context
def next_rows(
    ctx: click.Context, pool: Sequence[str], folder: str, k: int | None, output: str | None, as_json: bool,
    **options: Any,
) -> None:  # fmt: skip
    """Fit the labels so far, pick K rows of POOL, and write them with an empty column to fill in.

    POOL is a table, or several: files, a folder, a glob in quotes ('pool/*.parquet') or URLs. It is passed through in
    chunks; rows are numbered through all files, in the order of their names, and must stay the same.

    The first call begins a campaign in the folder; later ones need only --folder, -k and -o. Rows that were
    asked and have no label yet are written again.

    Limits (--exclude, --group-by, --cost) and --noise are remembered and hold for every round: --max-cost is what the
    picks of one round may cost together, while --budget counts the labels of all rounds, whatever they cost.
    """
    from fasttangent.cli.begun import named_pool
    from fasttangent.common.errors import CampaignError

    skip, status, threads, quiet = (options.pop(name) for name in ("skip", "status", "threads", "quiet"))
    if status:
        _say_status(folder, as_json)
        return
    for name, value in (("-k", k), ("--output", output)):
        if value is None:
            raise click.UsageError(f"Missing option '{name}'.", ctx)
    assert k is not None
    assert output is not None
    _check_folder(folder)
    given = {
        name: value
        for name, value in options.items()
        if ctx.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE
    }
    asked = {**options, **_remembered(folder), **given}
    asked["pool"] = named_pool(pool) if pool else asked.get("pool")
    if pool:  # perhaps moved: rows tell whether it is the same
        asked.pop("files", None)
    for name in ("labeled", "exclude"):
        if (path := asked.get(name)) is not None and (name == "labeled" or table_of(path)):
            asked[name] = os.path.abspath(path)
    if asked["pool"] is None:
        raise click.UsageError("Missing argument 'POOL'; the first call names the pool.", ctx)
    try:
        _next(asked, folder, k, output, skip, threads, quiet, as_json)
    except CampaignError as error:
        raise FailedError(str(error)) from error


def _next(
    asked: dict[str, Any], folder: str, k: int, output: str, skip: bool, threads: int | None, quiet: bool, as_json: bool
) -> None:  # fmt: skip
    from fasttangent.cli.begun import begun, files_of, limits_of, opened_pool
    from fasttangent.cli.outputs import WITH_TEXT, Input, Output, check_outputs
    from fasttangent.cli.tables.picks import untold, write_picks
    from fasttangent.common.progress import reporting

    table = opened_pool(asked)
    read = [
        *(Input("the pool", place) for place in table.places),
        Input("the table of --labeled", asked["labeled"]),
        Input("the table of --exclude", table_of(asked.get("exclude"))),
    ]
    own = [Input("a record of the campaign", record) for record in records_of(folder)]
    check_outputs([Output("--output", output, WITH_TEXT)], [*read, *own])
    with reporting(shows_progress(quiet)) as report:
        known, within = begun(table, asked, report), limits_of(table, asked)
        learner = _learner(known, within, asked, folder, k, threads, report)
        names = known.labels_in
        _remember(folder, asked | {"names": known.names, "label_names": names, "files": files_of(table)})
        waiting = untold(output, names, learner.campaign.state.open)
        if waiting:
            raise ValueError(
                f"{output} holds labels that were not told yet (row {waiting[0]}); run: "
                f"fasttangent tell {output} --folder {folder}"
            )
        skipped = learner.skip() if skip else 0
        again = bool(learner.campaign.state.open)
        picks = learner.ask(k)
    if len(picks):
        write_picks(output, table, picks, names)
    model = learner.campaign.model_path
    document = {
        **learner.summary(), "picked": len(picks), "again": again, "skipped": skipped, "labels_in": names,
        "output": output if len(picks) else None, "model": None if model is None else str(model),
        **_costs(within.get("cost"), picks, learner.campaign.state.place),
    }  # fmt: skip
    say(as_json, document, _next_in_words(document, folder))
    learner.close()


def _costs(cost: Any, picks: Any, asked: Mapping[int, Any]) -> dict[str, float]:
    """What labels of these picks cost, and of all rows that were ever asked."""
    if cost is None:
        return {}
    return {"cost": float(sum(cost[picks])), "cost_so_far": float(sum(cost[list(asked)]))}


def _learner(
    rows: Begun, limits: dict[str, Any], asked: dict[str, Any], folder: str, k: int, threads: int | None, report: Any
) -> ActiveLearner:  # fmt: skip
    import inspect

    import fasttangent as ft

    fit = {
        name: asked[name] for name in inspect.signature(ft.fit).parameters if name in asked and name != "seed"
    }
    fit["hidden"] = tuple(fit["hidden"])
    del fit["start"]
    if fit["members"] == 1:  # as campaigns know it that began before there were members
        del fit["members"]
    asked.setdefault("batch", k)
    return ft.ActiveLearner(
        rows.pool, rows.X, rows.y, strategy=asked["strategy"], batch=asked["batch"], folder=folder,
        budget=asked["budget"], fit={**fit, "feature_names": rows.feature_names}, select=limits, start=asked["start"],
        seed=asked["seed"], threads=threads, progress=report,
    )  # fmt: skip


def _check_folder(folder: str) -> None:
    from fasttangent.common.errors import CampaignError

    try:
        check_records(folder)
    except CampaignError as error:
        raise FailedError(str(error)) from error


def _remembered(folder: str) -> dict[str, Any]:
    path = Path(folder) / REMEMBERED
    if not path.exists():
        return {}
    fields = {
        "pool": SOURCES,
        "header": records.or_null(records.FLAG),
        "names": records.several(records.TEXT, least=1),
        "label_names": records.several(records.TEXT, least=1, distinct=True),
    }
    try:
        found = records.parsed(path.read_text())
        records.check_fields(
            "it", found, {**fields, "files": FILES}, optional={"files"}, others=records.ANYTHING
        )
    except (ValueError, RecursionError) as error:
        raise FailedError(f"{path} is damaged ({error}); put back a copy of it") from None
    return dict(found)


def _remember(folder: str, what: dict[str, Any]) -> None:
    from fasttangent.common.files import replacing

    path = Path(folder) / REMEMBERED
    text = json.dumps(what, indent=2) + "\n"
    if not path.exists() or path.read_text() != text:
        with replacing(path) as temporary:
            temporary.write_text(text)


def _next_in_words(document: dict[str, Any], folder: str) -> str:
    lines = _counts(document)
    if document["model"]:
        lines.append(("model", document["model"]))
    if not document["picked"]:
        return aligned([*lines, ("nothing to ask", document["stop_reason"])])
    what = "rows that are still open, written again" if document["again"] else "rows"
    if "cost" in document:
        paid = (
            f"{document['cost']:,.10g} for these, {document['cost_so_far']:,.10g} for all rows asked so far"
        )
        lines.append(("cost", paid))
    lines.append(("picked", f"{document['picked']:,} {what}: {document['output']}"))
    columns = ", ".join(map(repr, document["labels_in"]))
    lines.append(("next", f"fill in {columns} ('failed' where there is no label; empty: not yet), then run"))
    return aligned([*lines, ("", f"fasttangent tell {document['output']} --folder {folder}")])


def _counts(summary: dict[str, Any]) -> list[tuple[str, Any]]:
    lines: list[tuple[str, Any]] = [
        ("rounds", summary["rounds"]),
        ("labels", f"{summary['first_labels']:,} at the beginning, {summary['got']:,} told, "
                   f"{summary['failed']:,} failed, {summary['open']:,} open"),
    ]  # fmt: skip
    if summary["batch_rmse"] is not None:
        lines.append(("last batch", f"RMSE {shown(summary['batch_rmse'])} before it was learned"))
    if summary["outlook"] is not None:
        lines.append(("outlook", summary["outlook"]))
    return lines


def _say_status(folder: str, as_json: bool) -> None:
    from fasttangent.active.loop.campaign import status
    from fasttangent.active.loop.history import history, summary
    from fasttangent.common.errors import CampaignError

    try:
        manifest, state = status(folder)
    except CampaignError as error:
        raise FailedError(str(error)) from error
    first = (manifest["labeled"] or {}).get("rows", 0)
    rounds = history(state, first)
    document = summary(state, first, _remembered(folder).get("budget"), None)
    columns = ("round", "labels", "asked", "got", "failed", "open", "batch_rmse", "redundancy", "trusted")
    table = [columns, *([_cell(record[name]) for name in columns] for record in rounds)]
    widths = [max(len(line[i]) for line in table) for i in range(len(columns))]
    lines = ["  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in table]
    say(as_json, {**document, "history": rounds}, "\n".join([aligned(_counts(document)), "", *lines]))


def _cell(value: Any) -> str:
    return "-" if value is None else shown(value)


@click.command("tell", short_help="Record the labels of picked rows.")
@click.argument("picks", metavar="PICKS", type=INPUT)
@FOLDER
@click.option("--correct", is_flag=True, help="Labels may replace others that were told before.")
@JSON
def tell_labels(picks: str, folder: str, correct: bool, as_json: bool) -> None:
    """Record the labels in the table PICKS that ``next`` wrote and you filled in.

    Rows may be in any order, partly filled, and with further columns. A cell with 'failed' says that the row
    has no label: it is not asked again. An empty one says: not yet.
    """
    from fasttangent.active.loop.campaign import Campaign, tell
    from fasttangent.cli.begun import remembered_pool
    from fasttangent.cli.tables.picks import check_own_columns, read_labels
    from fasttangent.common.errors import CampaignError
    from fasttangent.common.files import same_file
    from fasttangent.common.tables.reading import open_table

    _check_folder(folder)
    remembered = _remembered(folder)
    if not remembered:
        raise FailedError(f"{folder} holds no campaign of `fasttangent next`; begin one, or name its folder")
    if any(same_file(picks, record) for record in records_of(folder)):
        raise ValueError(f"{picks} is a record of the campaign itself; name the table that you filled in")
    table = open_table(picks, True)
    names: Sequence[str] = remembered["label_names"]
    labels, waiting = read_labels(table, names)
    try:
        campaign = Campaign(folder)
        try:
            pool = remembered_pool(remembered)
            check_own_columns(table, pool, remembered["names"], names, campaign.manifest["pool"]["rows"])
        except FileNotFoundError as error:
            warn(f"{error.filename or remembered['pool']} is gone, so rows were not compared with it")
        new = tell(campaign, labels, correct=correct)
    except CampaignError as error:
        raise FailedError(str(error)) from error
    state = campaign.state
    campaign.close()
    document = {
        "told": new, "known_before": len(labels) - new, "failed": sum(label is None for label in labels.values()),
        "without_label": len(waiting), "open": len(state.open), "labels": len(state.labels), "folder": folder,
    }  # fmt: skip
    say(as_json, document, _told_in_words(document))


def _told_in_words(document: dict[str, Any]) -> str:
    lines = [
        ("told", f"{document['told']:,} rows, {document['failed']:,} of them failed"),
        ("known before", document["known_before"]),
        ("open", document["open"]),
    ]
    go_on = f"fasttangent next --folder {document['folder']} -k K -o picks.csv"
    if document["open"]:
        lines.append(("next", f"tell the open rows too, or go on without them: {go_on} --skip"))
    else:
        lines.append(("next", go_on))
    return aligned([line for line in lines if line[0] != "known before" or line[1]])
