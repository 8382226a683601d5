"""Scores of a stream of Arrow record batches: the signature of Spark's mapInArrow, and all that engines need."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from fasttangent.common import checks
from fasttangent.common.columns import Columns
from fasttangent.common.encoded import encoded
from fasttangent.common.errors import UntrustedTangentWarning
from fasttangent.common.frames import names_of
from fasttangent.common.inputs import Strange
from fasttangent.common.warning import warn
from fasttangent.model.scores import Fitted, scored, strength_tangent

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fasttangent.model.certificate import Certificate


class Scorer(Fitted, Protocol):
    """A model, or several, whose rows have names."""

    @property
    def n_features(self) -> int: ...
    @property
    def feature_names(self) -> tuple[str, ...] | None: ...
    @property
    def columns(self) -> Columns | None: ...
    @property
    def certificate(self) -> Certificate: ...


def score_batches(model: Scorer, batches: Any, keep: Any, threads: int | None) -> Iterator[Any]:
    """Record batches of scores, see `Model.score_batches`; the arguments are checked before there is a batch."""
    if isinstance(keep, str) or not all(isinstance(name, str) for name in keep):
        raise TypeError(f"keep must be names of columns such as ['id'], got {keep!r}")
    checks.thread_count(threads)
    for one in model.models:
        strength_tangent(one)
    if hasattr(batches, "to_batches"):  # a table; a data set or a pool, which read what they are asked for
        asked = {} if hasattr(batches, "num_rows") else _needed(model, batches, keep)
        given = batches.to_batches(**asked)
    else:
        given = [batches] if hasattr(batches, "num_columns") else batches
    if not isinstance(given, Iterable):
        raise TypeError(f"batches must be an iterator of pyarrow.RecordBatch, got {type(batches).__name__}")
    return _scored_batches(model, given, list(keep), threads)


def _needed(model: Scorer, source: Any, keep: Sequence[str]) -> dict[str, list[str]]:
    """The columns to read of what lies elsewhere, where they can be known."""
    wanted = list(dict.fromkeys([*(model.feature_names or ()), *keep]))
    there = source.schema.names if hasattr(source, "schema") else wanted
    return {"columns": wanted} if model.feature_names and set(wanted) <= set(there) else {}


def _scored_batches(
    model: Scorer, batches: Iterable[Any], keep: list[str], threads: int | None
) -> Iterator[Any]:
    import pyarrow as pa

    rows, missing, strange = 0, 0, Strange("batches")
    first: int | None = None
    if not model.certificate.trusted:
        warn(model.certificate.warning, UntrustedTangentWarning)
    for batch in batches:
        if not isinstance(batch, pa.RecordBatch | pa.Table):
            raise TypeError(f"batches must be of pyarrow.RecordBatch, got {type(batch).__name__}")
        for part in batch.to_batches() if isinstance(batch, pa.Table) else [batch]:
            X, kept = _split(model, part, keep, strange)
            scores, bad = scored(model, X, threads)
            found = scores.columns
            if clash := kept.keys() & found.keys():
                raise ValueError(
                    f"keep must name no column of scores, got {min(clash)!r}; rename it in the batches"
                )
            yield pa.RecordBatch.from_pydict(kept | found)
            if len(bad) and first is None:
                first = rows + int(bad[0])
            rows, missing = rows + len(X), missing + len(bad)
    strange.warn()
    if missing:
        warn(
            f"{missing:,} of {rows:,} rows hold a value that is missing, not finite or too far away (first: row "
            f"{first}); scores there are nan"
        )


def _split(
    model: Scorer, batch: Any, keep: Sequence[str], strange: Strange
) -> tuple[NDArray, dict[str, Any]]:
    """The features of a batch as rows, and the columns to keep."""
    names = names_of(batch)
    there = set(names)
    for name in keep:
        if name not in there:
            near = checks.nearest(name, names)
            hint = "" if near is None else f" (nearest: {near!r})"
            raise ValueError(f"keep must name columns of the batches, which have no {name!r}{hint}")
    kept = set(keep)
    if model.feature_names is not None and there.issuperset(model.feature_names):
        wanted = [names.index(name) for name in model.feature_names]
    else:
        wanted = [i for i, name in enumerate(names) if name not in kept]
    return matrix(model, batch.select(wanted), strange), {name: batch.column(name) for name in keep}


def matrix(model: Scorer, batch: Any, strange: Strange) -> NDArray:
    """The columns of a batch, which are the features of the model, as rows."""
    import pyarrow.types as kinds

    def plain(kind: Any) -> bool:
        return bool(kinds.is_integer(kind) or kinds.is_float32(kind) or kinds.is_float64(kind))

    matched = (
        model.feature_names in (None, tuple(batch.schema.names)) and batch.num_columns == model.n_features
    )
    whole = matched and all(plain(kind) for kind in batch.schema.types)
    if model.columns is not None and not (whole and model.columns.plain and not _gaps(batch)):
        return encoded("batches", batch, model.columns, strange)[:]
    if not whole:
        return checks.features("batches", batch, model.n_features, model.feature_names)
    single = all(kinds.is_float32(kind) for kind in batch.schema.types)
    rows = np.empty((batch.num_rows, batch.num_columns), np.float32 if single else np.float64)
    for i, column in enumerate(batch.columns):
        rows[:, i] = column.to_numpy(zero_copy_only=False)
    return rows


def _gaps(batch: Any) -> bool:
    return any(column.null_count for column in batch.columns)
