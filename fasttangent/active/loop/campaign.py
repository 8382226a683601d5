"""A campaign of active learning on disk: what it was begun with, what was asked and told, and its model.

The folder holds

    manifest.json     format and version; fingerprints of the pool and of the first labels; settings
    journal.jsonl     one line per event, each on disk before the next step begins (see `Journal`)
    model-0007.npz    the model of the last "fit" in the journal
    lock              held while a process works on the campaign

Everything else is worked out from the events (see `State`), so a campaign is wherever its journal ends.
"""

from __future__ import annotations

import hashlib
import json
import os
import weakref
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fasttangent._version import __version__
from fasttangent.active.loop.events import FORMAT, check_event, check_manifest
from fasttangent.active.loop.folder import JOURNAL, MANIFEST, lock, make, tidy
from fasttangent.active.loop.journal import Journal, read, sync_folder, uninterrupted
from fasttangent.active.loop.state import Label, State
from fasttangent.common.errors import CampaignError
from fasttangent.common.files import replacing
from fasttangent.common.maps import check_map
from fasttangent.common.records import parsed, shown
from fasttangent.problem.scaling import LARGEST

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fasttangent.model.model import Model

_HERE: weakref.WeakValueDictionary[str, Campaign] = weakref.WeakValueDictionary()  # open in this process


class Campaign:
    """An open campaign; with the folder None, one that is kept in memory only.

    Parameters
    ----------
    folder : path or None
        Made if it does not exist.
    manifest : mapping, optional
        What the campaign is about, in values that JSON can hold.  Compared with that of a campaign that has begun.
        Without it the campaign must have begun.

    Raises
    ------
    CampaignError
        If another process works on it, its journal is damaged, or there is none.
    ValueError
        If the manifest is another one; the message says what changed.
    OSError
        If the folder cannot be written.
    """

    def __init__(
        self, folder: str | os.PathLike[str] | None, manifest: Mapping[str, Any] | None = None
    ) -> None:
        self.folder = None if folder is None else Path(os.path.realpath(folder))
        self.state = State()
        self.model: Model | None = None
        self._journal: Journal | None = None
        self._lock: int | None = None
        self._closed = ""
        if self.folder is None:
            self.manifest = dict(manifest or {})
            return
        make(self.folder, begun=manifest is None)
        if (mine := _HERE.get(str(self.folder))) is not None:
            mine.close("a later one of this process took the folder over")
        self._lock = lock(self.folder)
        try:
            self.manifest = _manifest(self.folder, manifest)
            self._journal = Journal(self.folder / JOURNAL)
            _replay(self._journal.records, self.state, self.manifest, self.folder / JOURNAL)
            self._sweep()
        except BaseException:
            self.close()
            raise
        _HERE[str(self.folder)] = self

    def __del__(self) -> None:
        self.close()

    def close(self, why: str = "it was closed") -> None:
        """Let go of the folder; nothing needs to be written for that."""
        self._closed = self._closed or why
        if self._journal is not None:
            self._journal.close()
        if self._lock is not None:
            handle, self._lock = self._lock, None
            os.close(handle)  # which unlocks it

    def record(self, event: str, **values: Any) -> None:
        """Note an event, on disk when this returns."""
        if self._closed:
            raise CampaignError(
                f"this campaign cannot be used any more: {self._closed}; open {self.folder} again"
            )
        record = {"event": event, **plain(values)}
        with uninterrupted():
            if self._journal is not None:
                self._journal.append(record)
            self.state.apply(record)

    def save_model(self, model: Model, **values: Any) -> None:
        """Save a model and note the fit; the model before it is removed."""
        file = f"model-{len(self.state.fits):04d}.npz"
        digest = None
        if self.folder is not None:
            model.save(self.folder / file)
            sync_folder(self.folder)
            digest = _digest(self.folder / file)
        self.record("fit", file=file, sha256=digest, **values)
        self.model = model
        self._sweep()

    @property
    def model_path(self) -> Path | None:
        """Where the model of the last fit is; None before the first one, and in memory."""
        if self.folder is None or not self.state.fits:
            return None
        return self.folder / self.state.fits[-1]["file"]

    def last_model(self) -> Model | None:
        """The model of the last fit, None before the first one.

        Raises
        ------
        CampaignError
            If its file is gone or is another one.
        """
        from fasttangent.model.loading import load

        if self.model is None and (path := self.model_path) is not None:
            if not path.exists() or _digest(path) != self.state.fits[-1]["sha256"]:
                raise CampaignError(f"{path} is gone or is not the model that was saved there")
            self.model = load(path)
        return self.model

    def _sweep(self) -> None:
        """Remove models before the last one and what a killed process left half written."""
        if self.folder is not None:
            tidy(self.folder, self.state.fits[-1]["file"] if self.state.fits else None)


def status(folder: str | os.PathLike[str]) -> tuple[dict[str, Any], State]:
    """Manifest and state of a campaign, also while a process works on it.

    Raises
    ------
    CampaignError
        If there is no campaign, or its journal is damaged.
    """
    path = Path(os.path.realpath(folder))
    make(path, begun=True)
    state, manifest = State(), _manifest(path, None)
    _replay(read(path / JOURNAL)[0], state, manifest, path / JOURNAL)
    return manifest, state


def _replay(
    events: Sequence[Mapping[str, Any]], state: State, manifest: Mapping[str, Any], path: Path
) -> None:
    """Take the state to where the events lead; every one of them must be one that a campaign writes."""
    for line, event in enumerate(events, start=1):
        try:
            check_event(dict(event), state, manifest["pool"]["rows"])
        except ValueError as error:
            raise CampaignError(
                f"{path} holds in line {line} what no campaign writes: {error}; put back a copy of the file"
            ) from None
        state.apply(event)


def tell(campaign: Campaign, labels: Mapping[int, Any], *, correct: bool = False, **values: Any) -> int:
    """Check labels of rows that were asked and note those that are new; all of them or, after an error, none.

    Parameters
    ----------
    labels : mapping
        Row number to label; None or nan where the row failed.
    correct : bool
        Whether a label may replace another one.
    values
        More for the record.

    Returns
    -------
    int
        How many were new.
    """
    state = campaign.state
    outputs = campaign.manifest.get("outputs")
    new = {int(row): _label(row, label, outputs) for row, label in labels.items()}
    unasked = [row for row in new if row not in state.place]
    if unasked:
        raise ValueError(
            f"row {unasked[0]} was not asked{_more(unasked)}; tell rows by their numbers in the pool"
        )
    shapes = {np.shape(label) for label in (*state.labels.values(), *new.values()) if label is not None}
    if len(shapes) > 1:
        raise ValueError(f"labels must have the same number of outputs, got shapes {sorted(shapes)}")
    fresh = {}
    for row, label in new.items():
        told = row in state.labels or row in state.failed
        if not told or (label is not None and row in state.failed):
            fresh[row] = label  # a label that comes after all is welcome
        elif label != state.labels.get(row):
            if not correct:
                was = state.labels[row]
                raise ValueError(
                    f"row {row} has the label {was} and was now told {'failed' if label is None else label}; "
                    f"leave it out, or say that this is a correction (correct=True, --correct)"
                )
            fresh[row] = label
    if fresh:
        campaign.record("told", rows=list(fresh), labels=list(fresh.values()), **values)
    return len(fresh)


def _label(row: int, value: Any, outputs: Sequence[int] | None) -> Label:
    """A label as it is written, of the shape `outputs` if that is known; None for nan in any output."""
    if value is None:
        return None
    try:
        label = np.asarray(value, np.float64)
    except (TypeError, ValueError):
        raise TypeError(
            f"the label of row {row} must be a number, got {value!r}; nan or None: it failed"
        ) from None
    if label.ndim > 1 or label.size == 0:
        raise ValueError(
            f"the label of row {row} must be a number or one per output, got shape {label.shape}"
        )
    if outputs is not None and label.size != int(np.prod(outputs)):
        rule = f"have {outputs[0]} outputs" if outputs else "be one number"
        raise ValueError(f"the label of row {row} must {rule}, got shape {label.shape}")
    if np.isinf(label).any():
        raise ValueError(f"the label of row {row} must be finite, got {value}; nan or None: it failed")
    if np.isnan(label).any():
        return None
    if abs(label).max() > LARGEST:
        raise ValueError(
            f"the label of row {row} must be at most {LARGEST:.1e} in size, got {value}; tell all labels in a larger "
            f"unit, or None: it failed"
        )
    return (label if outputs is None else label.reshape(outputs)).tolist()


def _more(rows: Sequence[int]) -> str:
    return f", nor were {len(rows) - 1} others" if len(rows) > 1 else ""


def _manifest(folder: Path, wanted: Mapping[str, Any] | None) -> dict[str, Any]:
    """The manifest of a campaign, written if it begins now."""
    path = folder / MANIFEST
    if not path.exists():
        manifest = {"format": FORMAT, "version": __version__, **plain(wanted)}
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(manifest, indent=2, allow_nan=False) + "\n")
        sync_folder(folder)
        return manifest
    try:
        manifest = parsed(path.read_text())
        number = manifest.get("format")
        if type(number) is not int or number <= FORMAT:
            check_manifest(manifest)
    except (ValueError, AttributeError, RecursionError) as error:
        raise CampaignError(f"{path} is damaged ({error}); put back a copy of it") from None
    if number > FORMAT:
        raise CampaignError(
            f"{path} was written by fasttangent {shown(manifest.get('version'))[1:-1]} (format {number}); this is "
            f"{__version__}, which reads up to format {FORMAT}: upgrade fasttangent"
        )
    changed = list(_changes(manifest, plain(wanted), ())) if wanted is not None else []
    if changed:
        raise ValueError(
            f"the campaign in {folder} began with something else: {'; '.join(changed)}. Pass the same as before, or "
            f"begin another campaign in a new folder (its labels so far can be given to it as X and y)"
        )
    return manifest


def _changes(old: Any, new: Any, path: tuple[str, ...]) -> Iterator[str]:
    """What differs, in words."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in [*new, *(key for key in old if key not in new and path)]:
            yield from _changes(old.get(key), new.get(key), (*path, key))
    elif old != new:
        name = " ".join(part for part in path if part != "settings")
        if path[-1] == "sha256":
            yield f"the values of {path[-2]} are not the same"
        else:
            yield f"{name} was {json.dumps(old)} and is {json.dumps(new)}"


def fingerprint(*arrays: NDArray) -> str:
    """SHA-256 of shapes and values, whatever the dtype: equal numbers give equal fingerprints."""
    digest = hashlib.sha256()
    for a in arrays:
        digest.update(repr(a.shape).encode())
        for start in range(0, len(a), 65_536):
            check_map(a)
            digest.update(np.ascontiguousarray(a[start : start + 65_536], "<f8").tobytes())
    return digest.hexdigest()


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def plain(value: Any) -> Any:
    """A value in terms that JSON can hold; nan is None, an array its shape and fingerprint if it is long."""
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, np.ndarray) and value.size > 10_000:
        return {"shape": list(value.shape), "sha256": fingerprint(value)}
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(one) for one in value]
    if isinstance(value, float):
        return value if np.isfinite(value) else None
    if callable(value):
        return getattr(value, "__qualname__", type(value).__qualname__)
    return value if value is None or isinstance(value, bool | int | str) else str(value)
