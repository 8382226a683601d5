"""The folder of a campaign: its records, which are files of its own and no links, and who may write to them."""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path

from fasttangent.common.errors import CampaignError
from fasttangent.common.files import irregular, sweep

MANIFEST, JOURNAL, LOCK = "manifest.json", "journal.jsonl", "lock"
REMEMBERED = "command.json"  # what `fasttangent next` was given when the campaign began
MODEL = re.compile(r"model-\d{4,}\.npz")
OWNER = b"process "  # how the content of the lock begins


def records(folder: str | os.PathLike[str]) -> list[Path]:
    """The files of the campaign in a folder; none if there is no campaign."""
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return []
    return [Path(folder) / name for name in names if _is_record(name)] if MANIFEST in names else []


def _is_record(name: str) -> bool:
    return name in (MANIFEST, JOURNAL, LOCK, REMEMBERED) or MODEL.fullmatch(name) is not None


def check_records(folder: str | os.PathLike[str]) -> None:
    """Raise where a name that a campaign writes to is a link, which would lead the writing elsewhere, or no file."""
    try:
        names = os.listdir(folder)
    except OSError:
        return
    for path in (Path(folder) / name for name in names if _is_record(name)):
        what = irregular(path, follow=False)
        if what is not None:
            raise CampaignError(
                f"{path} is {what} and no file of the campaign's own; put the file itself there"
            )


def make(folder: Path, *, begun: bool) -> None:
    """Make the folder unless the campaign must have begun."""
    if begun and not (folder / MANIFEST).exists():
        raise CampaignError(
            f"{folder} holds no campaign ({MANIFEST} is not there); begin one, or name its folder"
        )
    try:
        folder.mkdir(exist_ok=True)
    except FileNotFoundError:
        raise FileNotFoundError(f"the folder {folder.parent} does not exist; create it first") from None
    except FileExistsError:
        raise FileExistsError(f"{folder} is a file; name a folder") from None
    check_records(folder)
    for name in (JOURNAL, REMEMBERED):
        if not (folder / MANIFEST).exists() and (folder / name).exists():
            raise CampaignError(
                f"{folder} has a {name} but no {MANIFEST}; put the manifest back, or use another folder"
            )


def lock(folder: Path) -> int:
    """Hold the lock of the folder, for as long as the file stays open."""
    path = folder / LOCK
    handle = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
    try:
        _lock_file(handle)
    except OSError:
        owner = os.pread(handle, 200, 0).decode(errors="replace").strip() if hasattr(os, "pread") else ""
        os.close(handle)
        raise CampaignError(
            f"{folder} is in use by {owner or 'another process'}; wait for it, or end it, or use another folder"
        ) from None
    try:
        if not OWNER.startswith(os.read(handle, len(OWNER))):  # some of it is there after a kill
            raise CampaignError(f"{path} is not the lock of a campaign; move it away, or use another folder")
        os.ftruncate(handle, 0)
        os.lseek(handle, 0, os.SEEK_SET)
        os.write(handle, OWNER + f"{os.getpid()} on {socket.gethostname()}\n".encode())
    except BaseException:
        os.close(handle)
        raise
    return handle


def _lock_file(handle: int) -> None:
    try:
        import fcntl
    except ImportError:  # Windows
        import msvcrt

        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
    else:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


def tidy(folder: Path, last: str | None) -> None:
    """Remove models before the last one and what a killed process left half written."""
    for path in folder.glob("model-*.npz"):
        if MODEL.fullmatch(path.name) and path.name != last:
            path.unlink(missing_ok=True)
    sweep(folder)
