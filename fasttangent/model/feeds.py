"""Where minibatches come from: rows in memory, shuffled as a whole, or rows that are read window by window."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fasttangent.common.handing import ahead
from fasttangent.problem.problem import Problem

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fasttangent.kernels.rows import Rows
    from fasttangent.problem.streamed_problem import StreamedProblem

MEASURED = 1 << 14  # rows on which a training that is streamed measures itself


class Window(NamedTuple):
    """Rows that follow one another in an epoch."""

    rows: Rows
    order: NDArray[np.int64]
    share: float  # of all rows; a loss of the window's rows is their sum times one over it


class InMemory:
    """An epoch is one window."""

    def __init__(self, problem: Problem, dtype: np.dtype, batch_size: int) -> None:
        X, Y, w = problem.rows
        self.measured = problem
        self._rows = problem.rows._replace(X=X.astype(dtype, copy=False), Y=Y.astype(dtype, copy=False))
        self.batch_size = min(batch_size, len(w))
        self.n_batches = -(-len(w) // self.batch_size)

    @contextmanager
    def epoch(self, rng: np.random.Generator, threads: int) -> Iterator[Iterator[Window]]:
        """All rows, in random order."""
        yield iter([Window(self._rows, rng.permutation(len(self._rows.w)), 1.0)])


class Streamed:
    """Windows of pieces from all over the file; the next one is read while steps are taken."""

    def __init__(self, problem: StreamedProblem, dtype: np.dtype, batch_size: int) -> None:
        self._stored, self._dtype = problem.stored, dtype
        self.measured = problem.sample(MEASURED)
        self.batch_size = min(batch_size, problem.stored.windows[0])
        self.n_batches = sum(-(-n // self.batch_size) for n in problem.stored.windows)

    @contextmanager
    def epoch(self, rng: np.random.Generator, threads: int) -> Iterator[Iterator[Window]]:
        """All rows, in random order as far as windows go."""
        windows: Any = self._windows(rng)
        with ahead(windows, 1) if threads > 1 else nullcontext(windows) as read:
            yield read

    def _windows(self, rng: np.random.Generator) -> Iterator[Window]:
        from fasttangent.kernels.rows import Rows

        for (X, Y, w), order in self._stored.shuffled(rng, self._dtype):
            share = len(order) / len(self._stored)
            yield Window(Rows(X, Y, w / (self._stored.total * share)), order, share)
