"""What messages about tables are made of."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")


def kind_of(dtype: np.dtype) -> str:
    names = {"c": "complex numbers", "O": "Python objects", "V": "records", "M": "dates", "m": "durations"}
    return names.get(dtype.kind, "text")


def either(words: Sequence[str]) -> str:
    return ", ".join(words[:-1]) + " or " + words[-1] if len(words) > 1 else words[0]


def listed(names: Sequence[str], most: int = 12) -> str:
    shown = ", ".join(repr(name) for name in names[:most])
    return shown + (f" and {len(names) - most} more" if len(names) > most else "")
