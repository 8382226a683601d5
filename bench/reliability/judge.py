"""Whether a call of the library ended as it may: with an answer, or with an error that names an argument."""

from __future__ import annotations

import inspect
import re
import traceback
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import fasttangent
from bench.reliability.case import Wrong, check

HOME = str(Path(fasttangent.__file__).parent)


class Refused(NamedTuple):
    """The error of a call that was refused as it may be."""

    error: Exception


def call(
    function: Callable[..., Any], *arguments: Any, about: object, names: Iterable[str] = (), **more: Any
) -> Any:
    """What it returns, or `Refused`.

    A refusal is a ValueError or a TypeError, or one of their kind, in a line that names a parameter of the function
    or one of `names`.  Warnings of NumPy are errors: a number overflowed where nobody looked.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        warnings.simplefilter("error", RuntimeWarning)
        try:
            return function(*arguments, **more)
        except (ValueError, TypeError) as error:
            _refusal(function, error, names, about)
            return Refused(error)
        except RuntimeWarning as warning:
            raise Wrong("warning of NumPy", f"{warning}, {_where(warning)}; {about}") from None
        except Exception as error:
            raise Wrong(f"{type(error).__name__}", f"{error}, {_where(error)}; {about}") from error


def _refusal(function: Callable[..., Any], error: Exception, names: Iterable[str], about: object) -> None:
    message = str(error)
    known = [*inspect.signature(function).parameters, *names]
    named = any(re.search(rf"\b{re.escape(name)}\b", message) for name in known)
    check(named, f"{type(error).__name__} that names no argument", f"{message!r}, {_where(error)}; {about}")
    check("\n" not in message, "error of several lines", f"{message!r}; {about}")


def _where(error: BaseException) -> str:
    """The last place inside the library."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename.startswith(HOME)]
    return f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "outside of the library"


def finite(what: str, found: Any, about: object, shape: tuple[int, ...] | None = None) -> np.ndarray:
    """An answer as an array, which must be finite and of the shape that is promised."""
    values = np.asarray(found)
    if shape is not None:
        check(values.shape == shape, f"shape of {what}", f"{values.shape}, not {shape}; {about}")
    check(np.isfinite(values).all(), f"silent nan in {what}", about)
    return values


def same(what: str, one: Any, other: Any, about: object) -> None:
    """Raise unless two answers are equal to the bit."""
    a, b = np.asarray(one), np.asarray(other)
    equal = a.shape == b.shape and a.dtype == b.dtype and a.tobytes() == b.tobytes()
    check(equal, f"other bits: {what}", about)
