"""Validation at the edge: argument, rule, value found, next step, all before any work."""

from __future__ import annotations

import difflib
import heapq
import math
import operator
import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fasttangent.common import frames, parallel
from fasttangent.common.maps import check_map

ROWS_PER_CHECK = 65_536
WORDS_COMPARED = 1000  # in full, which takes a tenth of a millisecond each


def choice(name: str, value: object, valid: Iterable[str]) -> str:
    """`value`, one of the `valid` words; else an error that names the nearest one."""
    words = list(valid)
    if isinstance(value, str) and value in words:
        return value
    near = nearest(str(value).lower(), words, cutoff=0.5)
    hint = f"; did you mean {near!r}?" if near is not None else ""
    raise ValueError(f"{name} must be one of {', '.join(map(repr, words))}, got {value!r}{hint}")


def nearest(word: str, words: Collection[str], cutoff: float = 0.6) -> str | None:
    """The one of `words` that `word` was perhaps meant to be; of very many, those that begin and end most like it."""
    if len(words) > WORDS_COMPARED:
        ends = word[::-1]
        words = heapq.nlargest(
            WORDS_COMPARED, words, key=lambda other: _alike(word, other) + _alike(ends, other[::-1])
        )
    return next(iter(difflib.get_close_matches(word, words, n=1, cutoff=cutoff)), None)


def _alike(a: str, b: str) -> int:
    """How many letters are the same until one differs."""
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def number(
    name: str,
    value: Any,
    *,
    above: float | None = None,
    at_least: float | None = None,
    below: float = math.inf,
) -> float:
    """`value` as a finite float within bounds."""
    if above is not None:
        rule = f"a finite number > {above:g}"
    else:
        rule = f"a finite number >= {at_least:g}" if at_least is not None else "a finite number"
    if below < math.inf:
        rule += f" and < {below:g}"
    if isinstance(value, (bool, str)):
        raise TypeError(f"{name} must be {rule}, got {value!r}")
    try:
        x = float(value)
    except OverflowError:  # a whole number of very many digits
        raise ValueError(f"{name} must be {rule}, got more than 1e308") from None
    except (TypeError, ValueError):
        raise TypeError(f"{name} must be {rule}, got {value!r}") from None
    low = (above is not None and x <= above) or (at_least is not None and x < at_least)
    if not math.isfinite(x) or low or x >= below:
        raise ValueError(f"{name} must be {rule}, got {value!r}")
    return x


def integer(name: str, value: Any, *, at_least: int) -> int:
    """`value` as an int of at least `at_least`."""
    try:
        if isinstance(value, (bool, np.bool_)):
            raise TypeError
        x = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be a whole number >= {at_least}, got {value!r}") from None
    if x < at_least:
        raise ValueError(f"{name} must be a whole number >= {at_least}, got {value!r}")
    return x


def seed(value: Any) -> int:
    """A whole number >= 0; a NumPy Generator draws one."""
    if isinstance(value, np.random.Generator):
        return int(value.integers(2**32))
    return integer("seed", value, at_least=0)


def thread_count(threads: Any) -> int:
    """`threads` as a number of threads; None is one per core this process may use."""
    return parallel.available() if threads is None else integer("threads", threads, at_least=1)


def flag(name: str, value: Any) -> bool:
    """`value`, True or False and nothing else."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} must be True or False, got {value!r}")
    return bool(value)


def column_names(X: Any) -> tuple[str, ...] | None:
    """The names of a data frame's columns; None for anything without named columns."""
    return frames.names_of(X) if frames.is_frame(X) else None


def array(name: str, value: Any) -> NDArray:
    """`value` as an array of real numbers; no copy when it is one already."""
    if isinstance(value, np.ma.MaskedArray) and (masked := int(np.ma.count_masked(value))):
        raise ValueError(
            f"{name} must have no masked values, got {masked}; fill them in, or leave those rows out"
        )
    if hasattr(value, "tocsr"):
        raise TypeError(f"{name} must be dense, got a sparse {type(value).__name__}; pass {name}.toarray()")
    if isinstance(value, (str, bytes, os.PathLike)):
        raise TypeError(f"{name} must be an array or a data frame, got {value!r}; read the file first")
    if other := _no_array(name, value):
        raise TypeError(
            f"{name} must be an array or a data frame, got a {type(value).__name__}; pass {other}"
        )
    if frames.is_frame(value) or hasattr(value, "to_numpy"):
        value = frames.numbers(name, value)
    try:
        a = np.asanyarray(value) if isinstance(value, np.memmap) else np.asarray(value)
    except (TypeError, ValueError) as error:  # ragged lists, mostly
        raise ValueError(f"{name} must be a rectangular array of numbers: {error}") from None
    if a.dtype.kind == "c":
        raise TypeError(
            f"{name} must hold real numbers, got {a.dtype}; pass the real and imaginary parts as columns"
        )
    if a.dtype.kind not in "buif":
        raise TypeError(f"{name} must hold numbers, got {_no_numbers(name, value, a)}")
    check_map(a)
    return a


def _no_array(name: str, value: Any) -> str | None:
    """What to pass in place of something else that has rows."""
    if hasattr(value, "read_all"):  # of Arrow
        return f"{name}.read_all()"
    if hasattr(value, "to_table") and not frames.is_frame(value):
        return f"{name}.to_table()"
    if isinstance(value, Iterator):
        return f"list({name})"
    if isinstance(value, np.lib.npyio.NpzFile):
        return f"one of its arrays: {', '.join(value.files[:3])}"
    records = isinstance(value, Sequence) and len(value) > 0 and isinstance(value[0], Mapping)
    return f"pandas.DataFrame({name})" if isinstance(value, Mapping) or records else None


def _no_numbers(name: str, value: Any, a: NDArray) -> str:
    """What an array holds, and what to do about it."""
    if a.ndim == 0 and a.dtype.kind == "O":
        return f"{type(value).__name__}; pass an array or a data frame"
    if a.dtype.names is not None:
        return f"records of {', '.join(a.dtype.names[:3])}; pass pandas.DataFrame({name})"
    if a.dtype.kind in "mM":
        return f"dtype {a.dtype}; give days, or seconds, since some moment, or pass a data frame"
    return (
        f"dtype {a.dtype}; convert it with astype(float), or pass a data frame, whose columns may hold text, "
        f"such as pandas.DataFrame({name}).infer_objects()"
    )


def matrix(name: str, value: Any, *, min_rows: int = 0) -> NDArray:
    """`value` as a 2-d array of real numbers with at least `min_rows` rows and one column."""
    X = array(name, value)
    if X.ndim != 2:
        hint = "; one row is x[None, :], one column x[:, None]" if X.ndim == 1 else ""
        raise ValueError(f"{name} must have shape (rows, columns), got shape {X.shape}{hint}")
    if X.shape[1] == 0:
        raise ValueError(f"{name} must have at least one column, got shape {X.shape}")
    enough_rows(name, X, min_rows)
    return X


def enough_rows(name: str, X: NDArray, min_rows: int) -> None:
    """Raise if there are fewer rows."""
    if len(X) < min_rows:
        need = f"at least {min_rows} row{'s' if min_rows > 1 else ''}"
        raise ValueError(f"{name} must have {need}, got {len(X)}; a model needs rows that differ")


def by_name(name: str, X: Any, wanted: Sequence[str], known: Collection[str] = ()) -> Any:
    """The columns of a frame that a model was fitted on, in their order, none missing; others may be `known`."""
    given = frames.names_of(X)
    if given == tuple(wanted):
        return X
    there = set(given)
    missing = [c for c in wanted if c not in there]
    if missing:
        near = nearest(missing[0], given)
        hint = f" (nearest: {near!r})" if near is not None else ""
        raise ValueError(
            f"{name} lacks {len(missing)} of the {len(wanted)} columns the model was fitted on: "
            f"{missing[0]!r}{hint}; pass the same columns"
        )
    return frames.chosen(name, X, wanted, known)


def features(name: str, X: Any, n_features: int, names: Sequence[str] | None) -> NDArray:
    """`X` as rows for a model fitted on `n_features` columns, called `names` where they had names."""
    if names is not None and column_names(X) is not None:
        X = by_name(name, X, names)
    rows = matrix(name, X)
    if rows.shape[1] != n_features:
        raise ValueError(
            f"{name} has {rows.shape[1]} columns but the model was fitted on {n_features}; "
            f"pass the same features in the same order"
        )
    return rows


def finite_rows(X: NDArray, largest: float = math.inf) -> NDArray[np.bool_]:
    """Which rows hold finite values only, and none above the `largest`, a part of them at a time."""
    good = np.ones(len(X), bool)
    whole = X.dtype.kind in "iu"
    if not whole and X.dtype.kind != "f":
        return good
    bounded = largest < float((np.iinfo if whole else np.finfo)(X.dtype).max)
    if bounded or not whole:
        for start in range(0, len(X), ROWS_PER_CHECK):
            check_map(X)
            part = slice(start, start + ROWS_PER_CHECK)
            some = X[part].astype(np.float64) if whole else X[part]  # the smallest of int64 has no size in it
            good[part] = (abs(some) <= largest if bounded else np.isfinite(some)).all(axis=1)
    return good


def finite(name: str, a: NDArray) -> None:
    """Raise unless every value of a 1-d or 2-d array is finite; chunked, so memory stays small."""
    if a.dtype.kind != "f":
        return
    for start in range(0, len(a), ROWS_PER_CHECK):
        check_map(a)
        good = np.isfinite(a[start : start + ROWS_PER_CHECK])
        if not good.all():
            raise ValueError(non_finite_message(name, a, start, good))


def non_finite_message(name: str, a: NDArray, start: int, good: NDArray[np.bool_]) -> str:
    """What to say of the first value for which `good`, a test of the rows from `start` on, is False."""
    place = tuple(int(i) for i in np.argwhere(~good)[0])
    where = f"row {start + place[0]}" + (f", column {place[1]}" if len(place) > 1 else "")
    bad = a[(start + place[0], *place[1:])]
    return f"{name} must be finite, got {float(bad)} in {where}; drop or fill in such rows"


def targets(name: str, y: Any, n: int) -> NDArray:
    """`y` as an array (n,) or (n, n_outputs)."""
    Y = array(name, y)
    if Y.ndim not in (1, 2) or len(Y) != n or 0 in Y.shape[1:]:
        raise ValueError(f"{name} must have shape ({n},) or ({n}, outputs) to match X, got shape {Y.shape}")
    return Y


def row_weights(name: str, weights: Any, n: int) -> NDArray[np.float64]:
    """`weights` as (n,) non-negative float64 with a positive sum; ones for None."""
    if weights is None:
        return np.ones(n)
    w = array(name, weights)
    if w.shape != (n,):
        raise ValueError(f"{name} must have shape ({n},) to match X, got shape {w.shape}")
    w = w.astype(np.float64)
    finite(name, w)
    if (w < 0).any():
        i = int(np.argmax(w < 0))
        raise ValueError(f"{name} must be >= 0, got {w[i]} in row {i}; a weight of 0 leaves a row out")
    if np.count_nonzero(w) < 2:
        raise ValueError(
            f"{name} must be positive in at least 2 rows, got {np.count_nonzero(w)}; a weight of zero leaves a row out"
        )
    with np.errstate(over="ignore"):
        total = float(w.sum())
    if not 1e-300 <= total <= 1e300:
        raise ValueError(
            f"{name} must have a sum between 1e-300 and 1e300, got {total:g}; give weights of about 1"
        )
    return w
