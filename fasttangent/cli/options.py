"""The options of the command line, and those that need a type of their own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, NamedTuple

import click

from fasttangent.active.strategies.record import WEIGHTS
from fasttangent.active.strategies.table import (
    DEFAULT_STRATEGY,
    STRATEGIES,
    help_of_embeddings,
    help_of_strategies,
)
from fasttangent.common.words import (
    ACTIVATIONS,
    AUTO,
    COMPLEXITIES,
    CURVATURES,
    DTYPES,
    EMBEDDINGS,
    GROUPS,
    LOSSES,
    OPTIMIZERS,
    TRANSFORMS,
)


class Widths(click.ParamType):
    """``64,64`` as (64, 64); ``none`` as ()."""

    name = "widths"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        try:
            return () if value.strip().lower() == "none" else tuple(int(part) for part in value.split(","))
        except ValueError:
            self.fail(f"{value!r} is no list of widths such as 64,64, nor 'none'", param, ctx)


class Settle(click.ParamType):
    """``yes``, ``no`` or a number of seconds."""

    name = "yes|no|seconds"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> bool | float:
        if value.lower() in ("yes", "no"):
            return value.lower() == "yes"
        try:
            return float(value)
        except ValueError:
            self.fail(f"{value!r} is neither 'yes' nor 'no' nor a number of seconds", param, ctx)


class Strength(click.ParamType):
    """A number, or ``auto``."""

    name = "number|auto"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float | str:
        if isinstance(value, float) or value.lower() == AUTO:
            return value
        try:
            return float(value)
        except ValueError:
            self.fail(f"{value!r} is neither a number nor {AUTO!r}", param, ctx)


class Prefilter(click.ParamType):
    """``random:100000`` as ("random", 100000), ``100000`` as the same; ``none`` as None."""

    name = "how:rows"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, int] | str:
        if value.strip().lower() == "none":
            return "none"
        how, _, rows = value.rpartition(":")
        if how not in ("", "random", "curiosity", "sensitivity") or not rows.isdecimal():
            self.fail(f"{value!r} is neither 'none' nor like random:100000 or curiosity:100000", param, ctx)
        return how or "random", int(rows)


class Shard(click.ParamType):
    """``3/64`` as (3, 64)."""

    name = "i/n"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int]:
        one, _, n = value.partition("/")
        if not (one.strip().isdecimal() and n.strip().isdecimal() and 1 <= int(one) <= int(n)):
            self.fail(f"{value!r} is no part of a whole, from 1/8 to 8/8", param, ctx)
        return int(one), int(n)


def _several(*decorators: Callable[..., Any]) -> Callable[..., Any]:
    def decorate(command: Any) -> Any:
        for decorator in reversed(decorators):
            command = decorator(command)
        return command

    return decorate


def _value(name: str, kind: type | click.ParamType, default: Any, help: str = "") -> Callable[..., Any]:
    """An option that shows its default."""
    return click.option(name, type=kind, default=default, show_default=True, help=help)


def _choice(name: str, words: Sequence[str], help: str = "") -> Callable[..., Any]:
    """An option that takes one of several words; the first is the default."""
    kinds = click.Choice(words)
    return click.option(name, type=kinds, default=words[0], show_default=True, help=help)


INPUT = click.Path(exists=True, dir_okay=False)
OUTPUT = click.Path(dir_okay=False)
OUTPUTS = click.Path()  # a file, or a folder for several

JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON document on standard output.")
QUIET = click.option("--quiet", is_flag=True, help="No progress on standard error.")
THREADS = click.option("--threads", type=int, help="Threads to use.  [default: one per available core]")
TABLE = _several(
    click.option(
        "--drop", multiple=True, metavar="COLUMN", help="Leave out this column (name or number); repeatable."
    ),
    click.option(
        "--header/--no-header",
        default=None,
        help="Whether the first line of a CSV file names the columns."
        "  [default: yes, unless all its cells are numbers]",
    ),
)
CATEGORICAL = click.option(
    "--categorical", multiple=True, metavar="COLUMN", help="Column whose numbers are labels; repeatable."
)


class TrainingTable(NamedTuple):
    """The table that `fit` and `fidelity` train on, as the command line names it."""

    data: str
    target: Sequence[str]
    weights: str | None
    drop: Sequence[str]
    id: Sequence[str]
    categorical: Sequence[str]
    header: bool | None

    def rows(self, as_table: bool = False) -> dict[str, Any]:
        """Features, targets, weights and names, as fasttangent.fit takes them; features perhaps `as_table`."""
        from fasttangent.cli.columns import training_rows
        from fasttangent.common.tables.reading import open_table

        table, drop = open_table(self.data, self.header), [*self.drop, *self.id]
        return training_rows(table, self.target, self.weights, drop, self.categorical, as_table)


def training_table(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options of a command that trains on a table; its first argument is the `TrainingTable` they name."""

    @wraps(command)
    def gathered(**options: Any) -> Any:
        table = TrainingTable(**{name: options.pop(name) for name in TrainingTable._fields})
        return command(table, **options)

    return _several(
        click.argument("data", metavar="DATA", type=INPUT),
        click.option(
            "--target",
            multiple=True,
            metavar="COLUMN",
            help="Column to predict: name, or number from 0, negative from the end; repeatable."
            "  [default: the last column]",
        ),
        click.option("--weights", metavar="COLUMN", help="Column with the weights of the rows trained on."),
        click.option(
            "--id",
            multiple=True,
            metavar="COLUMN",
            help="Column that names the rows: no feature; repeatable.",
        ),
        CATEGORICAL,
        TABLE,
    )(gathered)


def _network_and_objective(hidden: str, strength: float | str) -> Callable[..., Any]:
    """What `fit` and `fidelity` minimise, and over which networks."""
    return _several(
        _value("--hidden", Widths(), hidden, "Widths of the hidden layers; 'none' for a linear model."),
        _choice("--activation", ACTIVATIONS, "Of the hidden layers."),
        _choice("--loss", LOSSES, "What is minimised over the rows."),
        _value(
            "--delta",
            float,
            1.0,
            "Where the Huber and log-cosh losses turn linear, in standard deviations of y.",
        ),
        _value(
            "--strength",
            Strength(),
            strength,
            "Strength of the regulariser; 'auto' learns one for each group.",
        ),
        _choice("--complexity", COMPLEXITIES, "What is regularised: all parameters, or all but the biases."),
    )


def limits(*groups: str) -> Callable[..., Any]:
    """What a batch may hold, and what is known of labels; `groups` names the option for groups, as `fit` has one."""
    return _several(
        click.option(
            "--exclude",
            metavar="FILE|ROWS",
            help="Rows that must not be picked: numbers from 0 such as 3,17, or a table with them in a column 'row', "
            "as select writes it.",
        ),
        click.option(
            *groups,
            metavar="COLUMN",
            help="Column of the pool with the site, patient or plate of every row; of text or numbers.",
        ),
        click.option("--per-group", type=click.IntRange(min=1), help="At most so many picks of a group."),
        click.option(
            "--cost",
            metavar="COLUMN",
            help="Column of the pool with what a label of every row costs: picks are the best gain per cost.",
        ),
        click.option(
            "--max-cost",
            type=float,
            help="What the picks may cost together; -k is then the most there may be.",
        ),
        click.option(
            "--noise",
            metavar="COLUMN",
            help="Column of the pool with how many times the usual variance a label of every row has: 4 where errors "
            "are twice those of the labels that the model was fitted on.",
        ),
    )


# Words and defaults are those of fasttangent.select; a test compares them.
SELECT = _several(
    _choice("--strategy", sorted(STRATEGIES, key=DEFAULT_STRATEGY.__ne__), help_of_strategies()),
    click.option(
        "--embedding",
        type=click.Choice(EMBEDDINGS),
        help=f"What rows are compared by.  [default: {help_of_embeddings()}]",
    ),
    click.option(
        "--weight",
        type=click.Choice(WEIGHTS),
        help="Score that favours rows.  [default: curiosity for sample and top, none for others]",
    ),
    click.option(
        "--labeled",
        type=INPUT,
        metavar="FILE",
        help="Table of the rows that have a label: never picked again, and what spreading strategies keep away from; "
        "strategies that need a posterior make it from them.",
    ),
    limits("--groups", "--group-by", "groups"),
    _value(
        "--prefilter",
        Prefilter(),
        "random:100000",
        "At most so many rows take part, by chance or those of the highest curiosity or sensitivity; 'none' for "
        "all.  sample, top, random and egl see every row.",
    ),
    _value(
        "--passes",
        int,
        12,
        "How often a pool is passed through part by part at the most, where --prefilter none compares all of a large "
        "one.",
    ),
    _value("--seed", int, 0, "Of everything random."),
)

# Words and defaults are those of fasttangent.fidelity; tests compare them.
FIDELITY = _several(
    click.option(
        "--rows", type=int, help="Rows to train on.  [default: 500, or half of them if that is less]"
    ),
    _value("--candidates", int, 2000, "Rows to score, at the most, of those that are left."),
    _value("--refits", int, 50, "Candidates to refit, at the most."),
    _network_and_objective("32,32", 1e-2),
    _value("--epochs", int, 200, "Passes over the rows in the first stage."),
    _value("--batch-size", int, 64, "Rows per step."),
    click.option("--standardize/--no-standardize", default=True, show_default=True, help="As for fit."),
    _choice("--dtype", DTYPES, "Of the first stage and of scoring."),
    _value("--seed", int, 0, "Of the split, the candidates refitted and the fits."),
)

# Words and defaults are those of fasttangent.fit; tests compare them.
FIT = _several(
    _network_and_objective("64,64", AUTO),
    click.option(
        "--transform",
        type=click.Choice(TRANSFORMS),
        help="Of columns of numbers with heavy tails.  [default: none]",
    ),
    click.option(
        "--target-transform",
        type=click.Choice(TRANSFORMS),
        help="Of a target with a heavy tail; predictions are medians.  [default: none]",
    ),
    _choice("--groups", GROUPS, "What has a strength of its own where they are learned."),
    _choice("--optimizer", OPTIMIZERS, "Of the first stage."),
    click.option(
        "--learning-rate",
        type=float,
        help="At the start; it falls to zero.  [default: 0.01, less for layers of more than 256 units]",
    ),
    _value("--momentum", float, 0.9, "beta of --optimizer momentum, beta 1 of adam."),
    click.option(
        "--epochs",
        type=int,
        help="Passes over the rows in the first stage.  [default: 200, fewer of very many rows]",
    ),
    _value("--batch-size", int, 64, "Rows per step."),
    _choice("--curvature", CURVATURES, "What carries the tangent while training."),
    _value(
        "--settle",
        Settle(),
        "yes",
        "Second stage, to stationarity, or so many seconds of it; without it no tangent is exact.",
    ),
    click.option(
        "--standardize/--no-standardize",
        default=True,
        show_default=True,
        help="Whether the model scales features and targets; results are in their own units either way.",
    ),
    click.option("--validation", type=float, help="Fraction of the rows held out for early stopping."),
    _value("--patience", int, 20, "Epochs without gain before stopping early."),
    _choice("--dtype", DTYPES, "Of the first stage and of scoring."),
    _value("--members", int, 1, "Models from independent starts, as one: scores are means over them."),
    _value("--seed", int, 0, "Of the initial parameters and the order of the rows."),
)
