"""Work handed from thread to thread: what is read ahead of its use, and what is written behind it.

No handler of a signal wants a lock that is held here: `get` and `put` of a SimpleQueue are made for that.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Any, Generic, TypeVar

T = TypeVar("T")


def _every(_: Any) -> bool:
    return True


class AbandonedError(Exception):
    """What a writer meets in place of its next item when the work before it has failed."""


@contextmanager
def ahead(items: Iterable[T], most: int = 2, counts: Callable[[T], bool] = _every) -> Iterator[Iterator[T]]:
    """The items, made by a thread of their own, up to so many before they are asked for.

    Items that do not count, as what says that a file begins, hold no memory and hold nobody up.  At the end of the
    block the thread has ended; a generator that was not finished is closed.
    """
    reader = _Reader(items, most, counts)
    try:
        yield reader.items()
    finally:
        reader.stop()


@contextmanager
def behind(
    consume: Callable[[Iterator[T]], object], most: int = 2, counts: Callable[[T], bool] = _every
) -> Iterator[Callable[[T], None]]:
    """``put(item)``: hand on what `consume(items)` gets in a thread of its own, up to so many after they were put.

    Items that do not count are put without waiting.

    The end of the block waits for it.  What it raises is raised by the next ``put``, or at the end; if the block fails,
    its next item is an AbandonedError.
    """
    writer = _Writer(consume, most, counts)
    try:
        yield writer.put
        writer.finish()
    except BaseException:
        writer.abandon()
        raise


class _Reader(Generic[T]):
    def __init__(self, items: Iterable[T], most: int, counts: Callable[[T], bool]) -> None:
        self._source, self._stopped, self._counts = items, False, counts
        self._made: SimpleQueue[tuple[bool, Any]] = SimpleQueue()
        self._slots: SimpleQueue[None] = SimpleQueue()
        for _ in range(most):
            self._slots.put(None)
        self._thread = threading.Thread(target=self._make, name="reading", daemon=True)
        self._thread.start()

    def _make(self) -> None:
        error: BaseException | None = None
        try:
            self._slots.get()
            for item in self._source:
                counts = self._counts(item)
                self._made.put((True, item))
                del item
                if counts:
                    self._slots.get()
                if self._stopped:
                    break
        except BaseException as failed:
            error = failed
        try:
            if hasattr(self._source, "close"):
                self._source.close()
        except BaseException as failed:
            error = error or failed
        self._made.put((False, error))

    def items(self) -> Iterator[T]:
        while True:
            more, item = self._made.get()
            if not more:
                self._made.put((False, None))
                if item is not None:
                    raise item
                return
            counts = self._counts(item)
            yield item
            del item
            if counts:
                self._slots.put(None)

    def stop(self) -> None:
        self._stopped = True
        self._slots.put(None)
        self._thread.join()


class _Writer(Generic[T]):
    def __init__(
        self, consume: Callable[[Iterator[T]], object], most: int, counts: Callable[[T], bool]
    ) -> None:
        self._consume, self._abandoned, self._counts = consume, False, counts
        self._error: BaseException | None = None
        self._ended = False
        self._given: SimpleQueue[tuple[bool, Any]] = SimpleQueue()
        self._slots: SimpleQueue[None] = SimpleQueue()
        for _ in range(most):
            self._slots.put(None)
        self._thread = threading.Thread(target=self._work, name="writing", daemon=True)
        self._thread.start()

    def _work(self) -> None:
        try:
            self._consume(self._items())
        except BaseException as error:
            self._error = error
        self._ended = True
        self._slots.put(None)

    def _items(self) -> Iterator[T]:
        while True:
            more, item = self._given.get()
            if self._abandoned:
                raise AbandonedError
            if not more:
                return
            counts = self._counts(item)
            yield item
            del item
            if counts:
                self._slots.put(None)

    def put(self, item: T) -> None:
        if self._counts(item):
            self._slots.get()
        if self._ended:
            self._slots.put(None)
            raise self._error or AbandonedError
        self._given.put((True, item))

    def finish(self) -> None:
        self._given.put((False, None))
        self._thread.join()
        if self._error is not None:
            raise self._error

    def abandon(self) -> None:
        self._abandoned = True
        self._given.put((False, None))
        self._thread.join()
