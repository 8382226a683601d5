"""Which files a source is: a file, a folder, a glob, URLs, or a list of those; each in the order of their names."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from fasttangent.common.tables.reading import place_of
from fasttangent.common.tables.stores import Place, Remote, is_url, store_of
from fasttangent.common.tables.table import SUFFIXES, suffix
from fasttangent.common.tables.words import either

WILD = frozenset("*?[")


def places(source: Any, options: Mapping[str, Any] | None = None) -> list[Place]:
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
    given = [source] if isinstance(source, (str, os.PathLike, Remote)) else list(source)
    found = [place for one in given for place in _of_one(one, options)]
    if not found:
        raise FileNotFoundError("source names no files; give a file, a folder or a glob")
    seen = set[str]()
    for place in found:
        if str(place) in seen:
            raise ValueError(f"{place} is named twice; name each file once")
        seen.add(str(place))
        suffix(place)
    return found


def is_several(source: Any) -> bool:
    """Whether a source is more than a file of its name: a folder or a glob, whatever it holds."""
    text = os.fspath(source)
    if is_url(text):
        return bool(WILD & set(text)) or text.endswith("/")
    return os.path.isdir(text) or (bool(WILD & set(text)) and not os.path.exists(text))


def _of_one(source: Any, options: Mapping[str, Any] | None) -> list[Place]:
    if isinstance(source, Remote):
        return [source]
    if not isinstance(source, (str, os.PathLike)):
        raise TypeError(f"source must name files, got {type(source).__name__} among them")
    if is_url(source):
        return _in_store(str(source), options)
    text = os.fspath(source)
    if os.path.isdir(text):
        return _or_none(_below(text), f"{text} holds no table (a file ending in {either(SUFFIXES)})")
    if WILD & set(text) and not os.path.exists(text):
        matches = sorted(path for path in glob.glob(text, recursive=True) if not os.path.isdir(path))
        return _or_none(
            map(Path, matches), f"{text} matches no file; check the spelling and the current folder"
        )
    if not os.path.exists(text):
        raise FileNotFoundError(f"{text} does not exist; check the spelling and the current folder")
    return [place_of(text)]


def _or_none(found: Iterable[Place], message: str) -> list[Place]:
    if there := list(found):
        return there
    raise FileNotFoundError(message)


def _below(folder: str) -> list[Path]:
    def refuse(error: OSError) -> None:
        raise error

    found = list[str]()
    for here, below, names in os.walk(folder, onerror=refuse, followlinks=True):
        below[:] = [name for name in below if not name.startswith((".", "_"))]
        found += [os.path.join(here, name) for name in names if _is_table(name)]
    return [Path(path) for path in sorted(found)]


def _in_store(url: str, options: Mapping[str, Any] | None) -> list[Place]:
    store, path = store_of(url, options)
    whole = Remote(store, path)
    if WILD & set(path):
        found = whole.ask(lambda: store.glob(path))
    elif whole.ask(lambda: store.isdir(path)):
        found = [one for one in whole.ask(lambda: store.find(path)) if _is_table(one.rsplit("/", 1)[-1])]
    else:
        return [whole]
    there = [Remote(store, one) for one in sorted(found)]
    return _or_none(there, f"{url} holds no table (a file ending in {either(SUFFIXES)})")


def _is_table(name: str) -> bool:
    return name.lower().endswith(SUFFIXES) and not name.startswith((".", "_"))
