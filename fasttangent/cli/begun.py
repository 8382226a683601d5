"""The tables of ``fasttangent next``: the pool, which is passed through, and the labelled rows to begin with."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from fasttangent.cli.columns import columns_left, feature_columns, numeric, training_rows
from fasttangent.cli.excluded import excluded_rows
from fasttangent.cli.table_pool import OF_ROWS, TablePool, no_features, of_rows
from fasttangent.common.tables.arrow import arrow
from fasttangent.common.tables.encoded_table import EncodedTable
from fasttangent.common.tables.finding import places
from fasttangent.common.tables.joined import JoinedTable
from fasttangent.common.tables.learning import learned_from
from fasttangent.common.tables.reading import open_table, place_of
from fasttangent.common.tables.stores import is_url
from fasttangent.common.tables.typed import typed_columns

if TYPE_CHECKING:
    from fasttangent.active.loop.pooled import Pooled
    from fasttangent.common.columns import Columns
    from fasttangent.common.progress import Report
    from fasttangent.common.tables.table import Table
    from fasttangent.model.model import Model


class Begun(NamedTuple):
    """What a campaign begins with."""

    table: JoinedTable
    pool: Pooled
    X: Any
    y: Any
    feature_names: Sequence[str] | None  # as `fit` is told them
    names: list[str]  # of the pool's columns
    labels_in: list[str]  # columns


class Features(NamedTuple):
    """Which columns of the pool, and what is known of the labelled rows."""

    columns: list[int]
    X: Any
    y: Any
    names: Sequence[str] | None
    labels_in: list[str]


def named_pool(given: Sequence[str]) -> str | list[str]:
    """The pool as a campaign remembers it: a source, or several, that can be found from anywhere."""
    found = [one if is_url(one) else os.path.abspath(one) for one in given]
    return found[0] if len(found) == 1 else found


def opened_pool(asked: Mapping[str, Any]) -> JoinedTable:
    """The pool's files, which must be those that the campaign began with."""
    files, known = places(asked["pool"]), asked.get("files")
    if known is not None and (was := [path for path, _ in known]) != (now := list(map(str, files))):
        more, gone = sorted(set(now) - set(was)), sorted(set(was) - set(now))
        what = f"{more[0]} was not in it" if more else f"{gone[0]} is gone" if gone else "their order changed"
        raise ValueError(
            f"the pool has {len(now):,} files and had {len(was):,} when the campaign began: {what}; pools must stay "
            f"the same, so move new files elsewhere, put back what is gone, or begin another campaign in a new folder"
        )
    return JoinedTable(files, asked["header"])


def remembered_pool(remembered: Mapping[str, Any]) -> JoinedTable:
    """The pool as the campaign knows it, without a look at files but the first."""
    known, header = remembered.get("files"), remembered["header"]
    if known is None:
        return JoinedTable(places(remembered["pool"]), header)
    return JoinedTable([place_of(path) for path, _ in known], header, [rows for _, rows in known])


def files_of(table: JoinedTable) -> list[list[Any]]:
    """Names of the files and how many rows they have."""
    starts = table.starts()
    return [[str(p), int(n)] for p, n in zip(table.places, starts[1:] - starts[:-1], strict=True)]


def begun(table: JoinedTable, asked: Mapping[str, Any], report: Report) -> Begun:
    """Pool, labelled rows and the names of their columns."""
    from fasttangent.active.loop.pooled import Pooled

    labels = [table.column(name) for name in asked.get("categorical", ())]
    features = _features(table, asked)
    for column in labels:
        if column not in features.columns:
            raise ValueError(f"--categorical must name features, got column {table.label(column)}")
    names, X = [table.names[i] for i in features.columns], features.X
    plain = not labels and asked.get("transform") is None and numeric(table, features.columns)
    columns: Columns | None = None
    inputs: Table = table
    places_of_features = features.columns
    if not plain or not (X is None or hasattr(X, "dtype")):
        columns = _learned(table, features.columns, labels, asked, plain)
        used = set(columns.names)
        places_of_features = [i for i in features.columns if table.names[i] in used]
        inputs = EncodedTable(table, columns, places_of_features)
        if hasattr(X, "dtype"):
            X = arrow().table(list(X.T), names=names)
    rows = TablePool(inputs, places_of_features, report)
    pool = Pooled(rows, inputs.width(places_of_features), None if columns is None else columns.names, columns)
    return Begun(table, pool, X, features.y, features.names, names, features.labels_in)


def limits_of(table: Table, asked: Mapping[str, Any]) -> dict[str, Any]:
    """What batches may hold, as arguments of `select`."""
    found = of_rows(table, {name: asked.get(OPTIONS.get(name, name)) for name in OF_ROWS})
    found |= {name: asked[name] for name in ("per_group", "max_cost") if asked.get(name) is not None}
    if asked.get("exclude") is not None:
        found["exclude"] = excluded_rows(asked["exclude"])
    return found


OPTIONS = {"groups": "group_by"}  # of `next`, in which --groups says something of the fit


def _features(table: JoinedTable, asked: Mapping[str, Any]) -> Features:
    targets, labels_are = list(asked["target"]), asked.get("categorical", ())
    beside = [c for name in OF_ROWS if (c := asked.get(OPTIONS.get(name, name))) is not None]
    if asked["labeled"] is not None:
        first = open_table(asked["labeled"], asked["header"])
        reshaped = asked.get("transform") is not None
        known = training_rows(first, targets, None, asked["drop"], labels_are, reshaped)
        names, X = known["feature_names"], known["X"]
        model = SimpleNamespace(feature_names=names, n_features=X.shape[1])
        drop = [name for name in asked["drop"] if name in table.names or not table.named]
        drop += no_features(table, beside, names)
        columns = feature_columns(cast("Model", model), table, drop)
        labels = targets or (
            [first.names[columns_left(first, asked["drop"])[-1]]] if first.named else ["label"]
        )
        return Features(columns, X, known["y"], names, labels)
    labels = targets or ["label"]
    drop = [*asked["drop"], *beside, *(name for name in labels if table.named and name in table.names)]
    columns = columns_left(table, drop)
    if not columns:
        raise ValueError(
            f"{table.path} has no column left for the features; it has {len(table.names)} in all"
        )
    return Features(columns, None, None, [table.names[i] for i in columns] if table.named else None, labels)


def _learned(
    table: JoinedTable, features: list[int], labels: list[int], asked: Mapping[str, Any], plain: bool
) -> Columns:
    pa = arrow()

    def cells(some: list[int]) -> Any:
        return typed_columns(table, some, [i for i in labels if i in some])

    def numbers(some: list[int]) -> Any:
        return pa.table(list(table.read(some).T), names=[table.names[i] for i in some])

    def batches(some: list[int]) -> Iterator[Any]:
        return table.batches(some, dict.fromkeys(some, pa.float64() if plain else pa.string()))

    first = next(batches(features))
    types = [pa.float64()] * len(features) if plain else first.schema.types
    how = asked.get("categorical", ()), asked.get("transform")
    return learned_from(table, features, batches, numbers if plain else cells, types, *how)
