"""The command line: ``fasttangent fit | score | select | next | tell | fidelity | info | doctor | warmup | demo``.

Only click is imported here; what a command needs is imported inside it, so that ``--help`` is quick.
"""

from __future__ import annotations

import os
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

try:
    import click
except ImportError:
    print("fasttangent: error: the command line needs click: pip install 'fasttangent[cli]'", file=sys.stderr)
    raise SystemExit(2) from None

from fasttangent._version import __version__
from fasttangent.cli.campaigns import next_rows, tell_labels
from fasttangent.cli.options import FIDELITY, FIT, INPUT, JSON, OUTPUT, POOL, QUIET, SELECT, TABLE, THREADS
from fasttangent.cli.output import FAILED, Edge, FailedError, aligned, say, shows_progress, tell

if TYPE_CHECKING:
    import numpy as np

    from fasttangent.cli.tables.reading import Table
    from fasttangent.model.model import Model, Scores

POOL_ROWS = 1 << 17


@click.group(cls=Edge, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="fasttangent")
def cli() -> None:
    """Which unlabelled rows are worth a label: MLP regression that carries its regularity tangent.

    Tables are .csv, .csv.gz, .parquet or .npy. Exit code 0: fine; 1: the work failed; 2: bad usage or
    bad input.
    """


@cli.command(short_help="Train a model on a table and settle it.")
@click.argument("data", metavar="DATA", type=INPUT)
@click.option("-o", "--output", required=True, type=OUTPUT, help="Model to write (.npz).")
@click.option(
    "--target",
    multiple=True,
    metavar="COLUMN",
    help="Column to predict: name, or number from 0, negative from the end; repeatable."
    "  [default: the last column]",
)
@click.option("--weights", metavar="COLUMN", help="Column with the weights of the rows.")
@TABLE
@FIT
@THREADS
@QUIET
@JSON
def fit(
    data: str, output: str, target: Sequence[str], weights: str | None, drop: Sequence[str],
    header: bool | None, quiet: bool, as_json: bool, **settings: Any,
) -> int | None:  # fmt: skip
    """Train a model on the table DATA and settle it, tangent included."""
    from fasttangent.cli.columns import training_rows
    from fasttangent.cli.tables.reading import open_table
    from fasttangent.cli.tables.writing import check_writable

    check_writable(output, (".npz",))
    table = open_table(data, header)
    rows = training_rows(table, target, weights, drop)

    import fasttangent as ft
    from fasttangent.common.progress import reporting

    with reporting(shows_progress(quiet)) as report:
        model = ft.fit(**rows, **settings, progress=report)
    try:
        model.save(output)
    except OSError as error:
        error.filename = output
        raise
    document = {"model": output, "interrupted": model.interrupted, **model.summary()}
    say(as_json, document, f"{_described(model)}\nsaved to {output}")
    if model.interrupted:
        tell("error", f"interrupted; the model of that moment was saved to {output}")
        return FAILED
    if not model.certificate.trusted:
        tell("warning", "scores of this model are not to be trusted: " + "; ".join(model.certificate.reasons))
    return None


@cli.command(short_help="Score every row of a pool.")
@POOL
@click.option("-o", "--output", required=True, type=OUTPUT, help="Table of scores to write.")
@TABLE
@THREADS
@QUIET
@JSON
def score(
    model_path: str, pool: str, output: str, drop: Sequence[str], header: bool | None, threads: int | None,
    quiet: bool, as_json: bool,
) -> None:  # fmt: skip
    """Score every row of the table POOL: prediction, sensitivity, curiosity.

    Sensitivity is the derivative of the prediction by the strength of the regulariser, curiosity the expected
    squared change of the model's complexity if the row were labelled. A row with a missing value gets empty
    scores. The pool is read in chunks; it may be larger than the memory.
    """
    from fasttangent.cli.tables.writing import writing

    model, table, columns = _model_and_pool(model_path, pool, output, drop, header)
    started = time.perf_counter()
    scored = _Scored(model, table, columns, threads, quiet)
    with writing(output) as write:
        for start, scores in scored:
            write(_score_columns(start, scores))
    _say_scored(as_json, scored, started, {"output": output})


@cli.command(short_help="Pick the rows of a pool to label next.")
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

    model, table, columns = _model_and_pool(model_path, pool, output, drop, header)
    known = None if labeled is None else _labeled_rows(model, labeled, header)
    started = time.perf_counter()
    if strategy in ("sample", "top", "random") and weight != "sensitivity" and known is None:
        if weight is not None and strategy == "random":
            raise ValueError("--weight is of no use to --strategy random; leave it out")
        if settings["embedding"] is not None:
            raise ValueError(f"--embedding is of no use to --strategy {strategy}; leave it out")
        picks, scores, found = _picked_in_chunks(
            _Scored(model, table, columns, threads, quiet), k, strategy, settings["seed"]
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
    scored: _Scored, k: int, strategy: str, seed: int
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


def _model_and_pool(
    model_path: str, pool: str, output: str, drop: Sequence[str], header: bool | None
) -> tuple[Model, Table, list[int]]:
    """Everything that can be wrong with the arguments of score and select, before the work."""
    from fasttangent.cli.columns import feature_columns
    from fasttangent.cli.tables.reading import open_table
    from fasttangent.cli.tables.writing import check_writable

    check_writable(output)
    if os.path.realpath(output) == os.path.realpath(pool):
        raise ValueError(f"{output} is the pool itself and would be overwritten; give another --output")
    model = _loaded(model_path)
    table = open_table(pool, header)
    return model, table, feature_columns(model, table, drop)


def _loaded(path: str) -> Model:
    import fasttangent as ft

    try:
        return ft.load(path)
    except ValueError as error:
        raise FailedError(str(error)) from error


class _Scored:
    """The scores of a pool, chunk by chunk, and what there is to say about its rows afterwards."""

    def __init__(
        self, model: Model, table: Table, columns: list[int], threads: int | None, quiet: bool
    ) -> None:
        self.model, self.table, self.columns, self.threads, self.quiet = model, table, columns, threads, quiet
        self.rows = self.missing = 0
        self.first_missing: int | None = None

    def __iter__(self) -> Iterator[tuple[int, Scores]]:
        import numpy as np

        from fasttangent.common.progress import reporting

        with reporting(shows_progress(self.quiet)) as report:
            report("scoring", 0, self.table.rows or 0)
            for start, X in self.table.chunks(POOL_ROWS, self.columns):
                yield start, self._scores(X)
                bad = np.flatnonzero(~np.isfinite(X).all(axis=1))
                if len(bad) and self.first_missing is None:
                    self.first_missing = start + int(bad[0])
                self.missing += len(bad)
                self.rows = start + len(X)
                report("scoring", self.rows, self.table.rows or 0)
        if self.missing:
            message = (
                f"{self.missing:,} of {self.rows:,} rows of {self.table.path} have missing or infinite "
                f"values, first row {self.first_missing} (counted from 0); they have no scores"
            )
            warnings.warn(message, stacklevel=2)

    def _scores(self, X: np.ndarray) -> Scores:
        with warnings.catch_warnings():
            # It counts from the start of the chunk; the end of __iter__ tells of all chunks at once.
            warnings.filterwarnings("ignore", message=".*value that is not finite")
            return self.model.score(X, threads=self.threads)


def _score_columns(start: int, scores: Scores) -> dict[str, np.ndarray]:
    """One chunk of the table that `score` writes."""
    import numpy as np

    columns = {"row": np.arange(start, start + len(scores.curiosity), dtype=np.int64)}
    for name in ("prediction", "sensitivity"):
        values = getattr(scores, name)
        if values.ndim == 1:
            columns[name] = values
        else:
            columns.update({f"{name}_{j}": values[:, j] for j in range(values.shape[1])})
    return columns | {"curiosity": scores.curiosity}


def _say_scored(as_json: bool, scored: _Scored, started: float, more: dict[str, Any]) -> None:
    seconds = time.perf_counter() - started
    document = {
        "rows": scored.rows,
        "missing_rows": scored.missing,
        "first_missing_row": scored.first_missing,
        "trusted": scored.model.certificate.trusted,
        "seconds": seconds,
        **more,
    }
    say(as_json, document, f"scored {scored.rows:,} rows in {seconds:.1f} s; saved {more['output']}")


cli.add_command(next_rows)
cli.add_command(tell_labels)


@cli.command(short_help="How far cheap scores are from exact ones and from refits.")
@click.argument("data", metavar="DATA", type=INPUT)
@click.option("-o", "--output", type=OUTPUT, help="Also write the table (.csv, .csv.gz or .parquet).")
@click.option("--plot", type=OUTPUT, help="Draw scores and refits (.png, .pdf or .svg).")
@click.option(
    "--target",
    multiple=True,
    metavar="COLUMN",
    help="Column to predict, as for fit; repeatable.  [default: the last column]",
)
@click.option("--weights", metavar="COLUMN", help="Column with the weights of the rows trained on.")
@TABLE
@FIDELITY
@THREADS
@QUIET
@JSON
def fidelity(
    data: str, output: str | None, plot: str | None, target: Sequence[str], weights: str | None,
    drop: Sequence[str], header: bool | None, quiet: bool, as_json: bool, **settings: Any,
) -> None:  # fmt: skip
    """Compare cheap influence scores with exact ones and with refits, on the table DATA.

    Trains on some rows and scores others, whose labels must be in the table: by the tangents of SGD, momentum
    and Adam before they settle, by the settled tangent, by Gauss-Newton, conjugate gradients, LiSSA and the
    gradient alone. For each: correlation with the exact influence and with the change that refitting
    measures, seconds, memory, and whether its certificate trusts it. The last lines say whether that was right.
    """
    from fasttangent.cli.columns import training_rows
    from fasttangent.cli.tables.reading import open_table
    from fasttangent.cli.tables.writing import check_writable, write_table

    if output is not None:
        check_writable(output, (".csv", ".csv.gz", ".parquet"))
        if os.path.realpath(output) == os.path.realpath(data):
            raise ValueError(f"{output} is the data itself and would be overwritten; give another --output")
    if plot is not None:
        check_writable(plot, (".png", ".pdf", ".svg"))
        from fasttangent.cli import plots

        plots.require()
    rows = training_rows(open_table(data, header), target, weights, drop)
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
    say(as_json, {"data": data, **found.summary(), **files}, found.table() + saved)


@cli.command(short_help="Describe a model and whether to trust it.")
@click.argument("model_path", metavar="MODEL", type=INPUT)
@JSON
def info(model_path: str, as_json: bool) -> None:
    """Describe a model: network, objective, training, and whether its scores can be trusted."""
    model = _loaded(model_path)
    say(as_json, {"model": model_path, **model.summary()}, _described(model))


def _described(model: Model) -> str:
    """The summary of a model for people: one block per part, one line per reason for mistrust."""
    rows: list[tuple[str, Any]] = []
    for part, value in model.summary().items():
        if not isinstance(value, dict):
            rows.append((part, "without names" if value is None else value))
            continue
        rows.append((part, ""))
        for name, one in value.items():
            if name == "sizes":
                one = "-".join(map(str, one))
            several = one if isinstance(one, list) and one else [one]
            rows.append((f"  {name.replace('_', ' ')}", several[0]))
            rows += [("", more) for more in several[1:]]
    return aligned(rows)


@cli.command(short_help="Show what runs here and test it.")
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


@cli.command(short_help="Compile everything beforehand.")
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


@cli.command(short_help="See curiosity choose experiments.")
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
    from fasttangent.cli.tables.writing import check_writable

    check_writable(settings["picture"], (".png", ".pdf", ".svg"))
    from fasttangent.cli import demo as arm
    from fasttangent.common.progress import reporting

    with reporting(shows_progress(quiet)) as report:
        result = arm.run(**settings, report=report)
    say(as_json, result, arm.table(result))
