"""Arrays in disguise, which hold the same numbers, and poisoned ones, which hold others or are none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

Rng = np.random.Generator


def _strided(a: np.ndarray) -> np.ndarray:
    wide = np.full(tuple(2 * n for n in a.shape), np.nan)
    part = wide[tuple(slice(1, None, 2) for _ in a.shape)]
    part[...] = a
    return part


def _read_only(a: np.ndarray) -> np.ndarray:
    found = a.copy()
    found.flags.writeable = False
    return found


def _odd_address(a: np.ndarray) -> np.ndarray:
    room = np.zeros(a.nbytes + 1, np.uint8)
    found = room[1:].view(a.dtype).reshape(a.shape)
    found[...] = a
    return found


def _mapped(a: np.ndarray, place: Path) -> np.ndarray:
    path = place / f"mapped{len(list(place.iterdir()))}.npy"
    np.save(path, a)
    return np.load(path, mmap_mode="r")


DISGUISES: dict[str, Callable[[np.ndarray, Path], Any]] = {
    "as it is": lambda a, _: a,
    "columns first": lambda a, _: np.asfortranarray(a),
    "strided": lambda a, _: _strided(a),
    "backwards": lambda a, _: np.ascontiguousarray(a[::-1])[::-1],
    "read only": lambda a, _: _read_only(a),
    "at an odd address": lambda a, _: _odd_address(a),
    "other byte order": lambda a, _: a.astype(a.dtype.newbyteorder()),
    "list": lambda a, _: a.tolist(),
    "memory map": _mapped,
    "masked without a mask": lambda a, _: np.ma.array(a),
    "subclass": lambda a, _: a.view(Subclass),
    "frame": lambda a, _: pd.DataFrame(a).rename(columns=str) if a.ndim == 2 else pd.Series(a),
}


class Subclass(np.ndarray):
    pass


def _at_random(value: float) -> Callable[[Rng, np.ndarray], Any]:
    def put(rng: Rng, a: np.ndarray) -> np.ndarray:
        found = a.copy()
        if found.size:
            found.flat[rng.integers(found.size, size=int(rng.integers(1, 4)))] = value
        return found

    return put


def _masked(rng: Rng, a: np.ndarray) -> Any:
    return np.ma.array(a, mask=rng.random(a.shape) < 0.2)


def _constant(rng: Rng, a: np.ndarray) -> np.ndarray:
    found = a.copy()
    found[..., -1] = 3.0
    return found


NUMBERS = {  # other numbers: a right answer to them, or an error that says what is wrong with them
    "nan": _at_random(np.nan),
    "inf": _at_random(np.inf),
    "-inf": _at_random(-np.inf),
    "1e308": _at_random(1e308),
    "-1e200": _at_random(-1e200),
    "1e39": _at_random(1e39),
    "5e-324": _at_random(5e-324),
    "all times 1e-300": lambda rng, a: a * 1e-300,
    "all times 1e300": lambda rng, a: a * 1e300,
    "all times 1e-160": lambda rng, a: a * 1e-160,
    "all plus 1e12": lambda rng, a: a + 1e12,
    "all plus 1e17": lambda rng, a: a + 1e17,
    "zeros": lambda rng, a: np.zeros_like(a),
    "a constant column": _constant,
    "all rows equal": lambda rng, a: np.repeat(a[:1], len(a), axis=0),
    "float16": lambda rng, a: a.clip(-6e4, 6e4).astype(np.float16),
    "int8": lambda rng, a: a.clip(-100, 100).astype(np.int8),
    "uint64": lambda rng, a: (abs(a).clip(0, 1e6)).astype(np.uint64) + np.uint64(2**63),
    "bool": lambda rng, a: a > 0,
    "hidden by a mask": _masked,
    "one row": lambda rng, a: a[:1],
}
OTHERS = {  # no numbers, or of another shape
    "no rows": lambda rng, a: a[:0],
    "a row more": lambda rng, a: np.concatenate([a, a[:1]]),
    "flat": lambda rng, a: a.ravel(),
    "an axis more": lambda rng, a: a[None],
    "turned": lambda rng, a: a.T,
    "no columns": lambda rng, a: a[..., :0],
    "a column more": lambda rng, a: np.concatenate([a, a], axis=-1),
    "complex": lambda rng, a: a + 1j,
    "objects": lambda rng, a: a.astype(object),
    "objects and None": lambda rng, a: np.where(rng.random(a.shape) < 0.5, a, None),
    "strings": lambda rng, a: a.astype(str),
    "bytes": lambda rng, a: a.astype("S8"),
    "dates": lambda rng, a: a.clip(-1e6, 1e6).astype("datetime64[s]"),
    "records": lambda rng, a: np.zeros(len(a), [("x", float), ("y", int)]),
    "ragged": lambda rng, a: [[1.0], [1.0, 2.0]],
    "None": lambda rng, a: None,
    "a number": lambda rng, a: 3.0,
    "a word": lambda rng, a: "rows.csv",
    "bytes object": lambda rng, a: b"1,2,3",
    "a dictionary": lambda rng, a: {0: a},
    "a set": lambda rng, a: {1.0, 2.0},
    "a generator": lambda rng, a: (row for row in a),
    "a function": lambda rng, a: len,
    "a class": lambda rng, a: np.ndarray,
    "nested without end": lambda rng, a: _endless(),
}
POISONS = {**NUMBERS, **OTHERS}


def _endless() -> list:
    found: list = []
    found.append(found)
    return found


def disguised(rng: Rng, a: np.ndarray, place: Path) -> tuple[str, Any]:
    """The same numbers in some form, and what it is called."""
    name = str(rng.choice(list(DISGUISES)))
    return name, DISGUISES[name](a, place)


def poisoned(rng: Rng, a: np.ndarray) -> tuple[str, Any]:
    """Other numbers or none, and what was done."""
    name = str(rng.choice(list(POISONS)))
    with np.errstate(all="ignore"):
        return name, POISONS[name](rng, a)
