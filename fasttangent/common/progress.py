"""Progress of long work: ``progress=False | True | function`` turned into one function to call.

The stages of the work call ``report(stage, done, total, **figures)`` and need not know who listens.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

Report = Callable[..., None]


@contextmanager
def reporting(progress: bool | Report) -> Iterator[Report]:
    """Give the function that long work calls to say how far it is.

    Parameters
    ----------
    progress : bool or callable
        False reports nothing. True shows a bar on standard error, or, where that is no terminal (a log
        file, a cron job), one line at the end of each stage. A function is used as it is and is called
        as ``progress(stage, done, total, **figures)``.

    Yields
    ------
    callable
        ``report(stage: str, done: int, total: int, **figures: float)``. A total of 0 means that nobody
        knows how much there is; a new stage ends the one before.

    Raises
    ------
    ImportError
        For ``progress=True`` without rich, before any work is done.
    TypeError
        If `progress` is something else.

    Examples
    --------
    >>> seen = []
    >>> with reporting(lambda stage, done, total, **figures: seen.append((stage, done))) as report:
    ...     report("training", 1, 10, loss=0.5)
    >>> seen
    [('training', 1)]
    """
    if progress is True:
        stages = _stages_on_stderr()
        try:
            yield stages.report
        finally:
            stages.close()
    elif progress is False:
        yield silent
    elif callable(progress):
        yield progress
    else:
        raise TypeError(
            "progress must be False, True or a function called as progress(stage, done, total, **figures), "
            f"not {progress!r}; pass True to see a bar"
        )


def silent(stage: str, done: int, total: int, **figures: float) -> None:
    """Report nothing."""


def _stages_on_stderr() -> _Stages:
    """Bars on a terminal, lines elsewhere; rich is needed for both, so a script behaves alike."""
    try:
        from rich.console import Console
    except ImportError:
        raise ImportError(
            "progress=True needs rich: pip install 'fasttangent[cli]', or pass a function"
        ) from None
    # Jupyter's stderr is no terminal either, and rich's widgets would need one more package there.
    console = Console(stderr=True, force_jupyter=False, highlight=False, soft_wrap=True)
    if sys.stderr is None or not sys.stderr.isatty() or console.is_dumb_terminal:
        return _Stages()
    return _Bars(console)


class _Stages:
    """Follow the stages and write one line at the end of each."""

    def __init__(self) -> None:
        self.stage: str | None = None
        self.done = 0
        self.total = 0
        self.figures: dict[str, float] = {}
        self.started = self.reported = 0.0

    def report(self, stage: str, done: int, total: int, **figures: float) -> None:
        # Going back is no new stage (a gradient norm may rise again), unless all was done before.
        if self.stage is not None and (stage != self.stage or (done < self.done and self.done >= self.total)):
            self.end()
        if self.stage is None:
            self.stage, self.started = stage, time.perf_counter()
            self.begin()
        self.done, self.total, self.figures, self.reported = done, total, figures, time.perf_counter()
        self.step()

    def begin(self) -> None:
        """Called at the first report of a stage."""

    def step(self) -> None:
        """Called at every report, after the numbers were stored."""

    def end(self) -> None:
        """Called once per stage, complete or not."""
        self.write_line(self.line())
        self.stage = None

    def close(self) -> None:
        if self.stage is not None:
            self.end()

    def line(self) -> str:
        parts = [f"{self.stage:<12}", _counted(self.done, self.total), _shown(self.figures)]
        return "  ".join(part for part in parts if part) + f"  {self.reported - self.started:.1f} s"

    def write_line(self, line: str) -> None:
        if sys.stderr is not None:
            print(line, file=sys.stderr, flush=True)


class _Bars(_Stages):
    """A moving bar for the running stage; a finished stage becomes a line above it.

    One bar per finished stage would not do: forty stages are taller than a terminal, and what is cut
    off there is the one that runs.
    """

    def __init__(self, console: Any) -> None:
        super().__init__()
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        self.console = console
        self.bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[counted]}"),
            TimeRemainingColumn(compact=True),
            TextColumn("{task.fields[figures]}"),
            console=console,
            transient=True,
        )
        self.task: Any = None

    def begin(self) -> None:
        self.task = self.bars.add_task(f"{self.stage:<12}", total=None, counted="", figures="")
        self.bars.start()

    def step(self) -> None:
        self.bars.update(
            self.task,
            completed=self.done,
            total=self.total or None,
            counted=_counted(self.done, self.total),
            figures=_shown(self.figures),
        )

    def end(self) -> None:
        self.bars.stop()
        self.bars.remove_task(self.task)
        super().end()


def _counted(done: int, total: int) -> str:
    return f"{done:,}/{total:,}" if total else f"{done:,}"


def _shown(figures: dict[str, float]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {value:.4g}" for name, value in figures.items())
