"""Which files a source is: a file, a folder, a glob, URLs, or a list of those; each in the order of their names."""

from __future__ import annotations

import glob
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from fasttangent.common.tables.stores import Place, Remote, is_url, store_of
from fasttangent.common.tables.table import SUFFIXES, suffix
from fasttangent.common.tables.words import either

WILD = frozenset("*?[")


class Found(NamedTuple):
    """A file, and its name as seen from the folder that was named, or that a glob begins with."""

    place: Place
    name: str


def places(source: Any, options: Mapping[str, Any] | None = None) -> list[Place]:
    """The files that a source names, none of them opened; see `found`."""
    return [one.place for one in found(source, options)]


def found(source: Any, options: Mapping[str, Any] | None = None) -> list[Found]:
    """The files that a source names, none of them opened.

    Parameters
    ----------
    source : path, URL or iterable of those
        Of a folder all tables in it and in folders below, but not what begins with a dot or an underscore; of a glob
        (``*``, ``**``) all files that match it.  A list keeps its order; what it finds in one place is in the order of
        names, so that the same files have the same numbers everywhere.
    options : mapping, optional
        For the stores of URLs, as fsspec takes them.

    Raises
    ------
    FileNotFoundError
        If there is no file.
    ValueError
        If a file is named twice, or is no table.
    """
    given = [source] if isinstance(source, (str, os.PathLike)) else list(source)
    files = [one for name in given for one in _of_one(name, options)]
    if not files:
        raise FileNotFoundError("source names no files; give a file, a folder or a glob")
    seen = set[str]()
    for place, _ in files:
        if str(place) in seen:
            raise ValueError(f"{place} is named twice; name each file once")
        seen.add(str(place))
        suffix(place)
    return files


def is_several(source: str | os.PathLike[str]) -> bool:
    """Whether a source is more than the file of its name: a folder or a glob, whatever it holds."""
    text = os.fspath(source)
    if is_url(text):
        return bool(WILD & set(text)) or text.endswith("/")
    return os.path.isdir(text) or _is_glob(text)


def _is_glob(text: str) -> bool:
    return bool(WILD & set(text)) and not os.path.exists(text)


def _of_one(source: Any, options: Mapping[str, Any] | None) -> list[Found]:
    if not isinstance(source, (str, os.PathLike)):
        raise TypeError(f"source must name files, got {type(source).__name__} among them")
    if isinstance(source, Remote):
        return [Found(source, source.path.rsplit("/", 1)[-1])]
    text = os.fspath(source)
    if is_url(text):
        return _in_store(text, options)
    if os.path.isdir(text):
        files, message = _below(text), f"{text} holds no table (a file ending in {either(SUFFIXES)})"
    elif _is_glob(text):
        files = sorted(path for path in glob.glob(text, recursive=True) if not os.path.isdir(path))
        message = f"{text} matches no file; check the spelling and the current folder"
    elif os.path.exists(text):
        return [Found(Path(text), Path(text).name)]
    else:
        raise FileNotFoundError(f"{text} does not exist; check the spelling and the current folder")
    if not files:
        raise FileNotFoundError(message)
    begin = text if os.path.isdir(text) else _before_wild(text, os.sep) or os.curdir
    return [Found(Path(one), Path(os.path.relpath(one, begin)).as_posix()) for one in files]


def _below(folder: str) -> list[str]:
    def refuse(error: OSError) -> None:
        raise error

    files = list[str]()
    for here, below, names in os.walk(folder, onerror=refuse, followlinks=True):
        below[:] = [name for name in below if not name.startswith((".", "_"))]
        files += [os.path.join(here, name) for name in names if _is_table(name)]
    return sorted(files)


def _in_store(url: str, options: Mapping[str, Any] | None) -> list[Found]:
    store, path = store_of(url, options)
    whole = Remote(store, path)
    if WILD & set(path):
        files, begin = whole.ask(lambda: store.glob(path)), _before_wild(path, "/")
    elif whole.ask(lambda: store.isdir(path)):
        files = [one for one in whole.ask(lambda: store.find(path)) if _is_table(one.rsplit("/", 1)[-1])]
        begin = path
    else:
        return [Found(whole, path.rsplit("/", 1)[-1])]
    if not files:
        raise FileNotFoundError(f"{url} holds no table (a file ending in {either(SUFFIXES)})")
    first = len(begin.rstrip("/")) + 1
    return [Found(Remote(store, one), one[first:]) for one in sorted(files)]


def _before_wild(text: str, separator: str) -> str:
    """The folder that a glob begins with."""
    first = min(text.index(letter) for letter in WILD & set(text))
    return text[: text.rfind(separator, 0, first) + 1]


def _is_table(name: str) -> bool:
    return name.lower().endswith(SUFFIXES) and not name.startswith((".", "_"))
