"""What a process has for itself alone while it works."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from bench.common.machine import resident


@contextmanager
def watched(every: float) -> Iterator[list[tuple[float, float]]]:
    """(second, MB) before, every so many seconds, and at the end: RssAnon of Linux, without the pages of files."""
    seen, done, began = list[tuple[float, float]](), threading.Event(), time.perf_counter()

    def look() -> None:
        seen.append((time.perf_counter() - began, resident("RssAnon")))

    def watch() -> None:
        while not done.wait(every):
            look()

    look()
    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield seen
    finally:
        done.set()
        watcher.join()
        look()
