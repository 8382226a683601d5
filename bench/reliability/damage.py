"""Files that are damaged: bytes flipped, cut, swapped, repeated; and archives whose entries are forged."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Rng = np.random.Generator


def _span(rng: Rng, content: bytes) -> tuple[int, int]:
    start = int(rng.integers(len(content)))
    return start, min(len(content), start + int(rng.choice([1, 2, 8, 64, 1024])))


def _flip(rng: Rng, content: bytes) -> bytes:
    found = bytearray(content)
    for _ in range(int(rng.choice([1, 1, 2, 10, 100]))):
        found[int(rng.integers(len(found)))] ^= 1 << int(rng.integers(8))
    return bytes(found)


def _cut(rng: Rng, content: bytes) -> bytes:
    return content[: int(rng.integers(len(content)))]


def _drop(rng: Rng, content: bytes) -> bytes:
    start, stop = _span(rng, content)
    return content[:start] + content[stop:]


def _insert(rng: Rng, content: bytes) -> bytes:
    start = int(rng.integers(len(content)))
    return content[:start] + rng.bytes(int(rng.choice([1, 4, 100]))) + content[start:]


def _repeat(rng: Rng, content: bytes) -> bytes:
    start, stop = _span(rng, content)
    return content[:stop] + content[start:stop] * int(rng.choice([1, 2, 50])) + content[stop:]


def _zero(rng: Rng, content: bytes) -> bytes:
    start, stop = _span(rng, content)
    return content[:start] + bytes(stop - start) + content[stop:]


def _swap(rng: Rng, content: bytes) -> bytes:
    (a, b), (c, d) = sorted([_span(rng, content), _span(rng, content)])
    b = min(b, c)
    return content[:a] + content[c:d] + content[b:c] + content[a:b] + content[d:]


def _noise(rng: Rng, content: bytes) -> bytes:
    return rng.bytes(len(content))


def _pickle(rng: Rng, content: bytes) -> bytes:
    return pickle.dumps({"model": 1})


DAMAGES: dict[str, Callable[[Rng, bytes], bytes]] = {
    "flipped": _flip,
    "cut": _cut,
    "dropped": _drop,
    "inserted": _insert,
    "repeated": _repeat,
    "zeroed": _zero,
    "swapped": _swap,
    "noise": _noise,
    "nothing": lambda rng, content: b"",
    "pickled": _pickle,
}
WEIGHTS = np.array([8, 4, 3, 3, 3, 3, 3, 0.5, 0.3, 0.3])


def damaged(rng: Rng, path: Path) -> str:
    """Damage a file; what was done."""
    name = str(rng.choice(list(DAMAGES), p=WEIGHTS / WEIGHTS.sum()))
    content = path.read_bytes()
    if content:
        path.write_bytes(DAMAGES[name](rng, content))
    return name


class Planted:
    """Whose unpickling writes a file: no code of a file may run."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.marker,)


VALUES = (
    None, True, False, 0, -1, 1, 2**63, 10**30, 1e400, float("nan"), -0.5, "", "yes", "no", "tanh", "../x", [], [0],
    [1e9, 1e9], {}, {"a": 1}, "\u0000", "x" * 10_000,
)  # fmt: skip


def forged(rng: Rng, path: Path, marker: Path) -> str:
    """Rewrite an archive of arrays with something else in it, valid as an archive; what was done."""
    with np.load(path, allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    entries = {name: _npy(values) for name, values in arrays.items()}
    what = str(
        rng.choice(["header", "header", "header", "array", "array", "array", "entries", "pickle", "bomb"])
    )
    name = str(rng.choice([name for name in arrays if name != "fasttangent"]))
    compression, twice = zipfile.ZIP_STORED, ""
    if what == "header":
        header = json.loads(arrays["fasttangent"].tobytes())
        what = f"header: {_changed(rng, header)}"
        entries["fasttangent"] = _npy(np.frombuffer(json.dumps(header).encode(), np.uint8))
    elif what == "array":
        kind, values = _other(rng, arrays[name])
        what, entries[name] = f"{name}: {kind}", _npy(values)
    elif what == "entries":
        what = str(rng.choice(["missing", "renamed", "more", "twice", "empty"]))
        if what == "missing":
            del entries[name]
        elif what == "renamed":
            entries[f"{name}x"] = entries.pop(name)
        elif what == "more":
            entries[
                str(rng.choice(["tangent/other", "history/loss2", "../../evil", "/tmp/evil", "x.py"]))
            ] = entries[name]
        elif what == "twice":
            twice = name
        else:
            entries[name] = b""
        what = f"{name} {what}"
    elif what == "pickle":
        objects = np.empty(arrays[name].shape or 1, object)
        objects[...] = Planted(marker)
        entries[name], what = _npy(objects), f"{name} pickled"
    else:
        compression, what = zipfile.ZIP_DEFLATED, f"{name} of 2 GB"
        entries[name] = b""
    with zipfile.ZipFile(path, "w", compression) as target:
        for entry, content in entries.items():
            if what.endswith("2 GB") and entry == name:
                _bomb(target, entry)
            else:
                target.writestr(f"{entry}.npy", content)
        if twice:
            target.writestr(f"{twice}.npy", _npy(arrays[twice] * 0))
    return what


def _bomb(target: zipfile.ZipFile, entry: str) -> None:
    """Two GB of zeros, which are two MB in the file."""
    with target.open(f"{entry}.npy", "w", force_zip64=True) as stream:
        np.lib.format.write_array_header_1_0(
            stream, {"descr": "<f8", "fortran_order": False, "shape": (2**28,)}
        )
        for _ in range(2**7):
            stream.write(bytes(2**24))


def _npy(values: np.ndarray) -> bytes:
    room = io.BytesIO()
    np.lib.format.write_array(room, values, allow_pickle=True)
    return room.getvalue()


def _changed(rng: Rng, header: dict[str, Any]) -> str:
    """Another value somewhere in a header, one key less or one more."""
    inside, path = header, ""
    while True:
        key = str(rng.choice(list(inside)))
        path += f"/{key}"
        if isinstance(inside[key], dict) and inside[key] and rng.random() < 0.8:
            inside = inside[key]
            continue
        break
    what = str(rng.choice(["other", "other", "other", "missing", "more"]))
    if what == "missing":
        del inside[key]
        return f"{path} missing"
    value = VALUES[int(rng.integers(len(VALUES)))]
    if what == "more":
        path, key = f"{path}x", f"{key}x"
    elif isinstance(inside[key], list) and inside[key] and rng.random() < 0.5:
        changed = list(inside[key])
        changed[int(rng.integers(len(changed)))] = value
        value = changed
    inside[key] = value
    return f"{path} = {str(value)[:50]!r}"


def _other(rng: Rng, a: np.ndarray) -> tuple[str, np.ndarray]:
    """Another array in its place."""

    def put(value: float) -> np.ndarray:
        found = a.astype(float)
        if found.size:
            found.flat[int(rng.integers(found.size))] = value
        return found

    ways: dict[str, Callable[[], np.ndarray]] = {
        "nan": lambda: put(np.nan),
        "inf": lambda: put(np.inf),
        "1e300": lambda: put(1e300),
        "zeros": lambda: a * 0,
        "negative": lambda: -abs(a.astype(float)) - 1,
        "float32": lambda: a.astype(np.float32),
        "int64": lambda: np.nan_to_num(a, posinf=0, neginf=0).astype(np.int64),
        "other byte order": lambda: a.astype(a.dtype.newbyteorder()),
        "complex": lambda: a + 1j,
        "strings": lambda: a.astype(str),
        "flat": lambda: a.ravel(),
        "an axis more": lambda: a[None],
        "a value more": lambda: np.append(a, 1.0),
        "a value less": lambda: a.ravel()[:-1],
        "none": lambda: a.ravel()[:0],
        "columns first": lambda: np.asfortranarray(np.vstack([a, a])),
    }
    name = str(rng.choice(list(ways)))
    return name, ways[name]()
