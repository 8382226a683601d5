"""What a strategy is: one record, from which `select`, the command line and the documentation know it.

Nothing here is imported before a strategy works, so that the command line can list them at once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from fasttangent.active.cluster_parts import Clustering
    from fasttangent.active.limits import Limits
    from fasttangent.active.pool import Pool, Usable
    from fasttangent.active.smallest import Ranks
    from fasttangent.active.two_level import Comparison
    from fasttangent.model.members import Members
    from fasttangent.model.model import Model

    Float = NDArray[np.float64]
    Rows = NDArray[np.int64]
    Keys = NDArray[np.uint64]

WEIGHTS = ("curiosity", "sensitivity")
LEAST_NOISE = 1e-12  # variance in standard units: a model may fit its rows without any residual


@dataclass(frozen=True)
class Strategy:
    """A way to pick rows.

    Attributes
    ----------
    name : str
    what : str
        What it picks, greedily.
    source : str
        Who it is from, and what it costs for n rows of D values.
    help : str
        A few words for the command line; strategies with the same words share them.
    pick : callable or None
        From a `Batch` to the places of its k rows among the usable ones; None where it goes by `rank`.
    rank : callable or None
        From a `Batch` and some rows that can be picked to where they stand: the first k are picked, however many there
        are.
    parted : callable or None
        From a `Batch` to how it compares the rows of a pool part by part; None where it cannot.
    drawn : callable or None
        Whether of the candidates of a `Batch` only some are compared in full.
    embedding : str or None
        What it compares rows by, if nothing else is asked for; None if it has no use for embeddings.
    any_embedding : bool
        Whether another embedding may be asked for.
    weight : str or None
        The score it picks by, if none is given.
    takes_weight, takes_targets, takes_noise : bool
        Whether it has a use for those.
    needs_noise : bool
        Whether it needs tangents of noise whatever the embedding.
    linear : bool
        Whether, on embeddings without noise, rows are taken for those of a linear model with the labels of `labeled`.
    """

    name: str
    what: str
    source: str
    help: str
    pick: Callable[[Batch], Rows] | None = None
    rank: Callable[[Batch, Usable], Ranks] | None = None
    parted: Callable[[Batch], Comparison | Clustering] | None = None
    drawn: Callable[[Batch], bool] | None = None
    embedding: str | None = None
    any_embedding: bool = False
    weight: str | None = None
    takes_weight: bool = True
    takes_targets: bool = False
    takes_noise: bool = False
    needs_noise: bool = False
    linear: bool = False

    @property
    def thinned(self) -> bool:
        """Whether a prefilter limits its candidates; else it sees every row."""
        return self.rank is None


@dataclass(frozen=True, eq=False)
class Batch:
    """What every strategy is given: k rows are to be picked of those that are usable."""

    model: Model | Members
    pool: Pool
    usable: Rows  # numbers of rows in the pool, ascending
    k: int
    known: NDArray | None  # rows with a label
    targets: NDArray | None
    embedding: str | None
    weight: str | Float | None  # the name of a score, or a score of every row of the pool
    seed: int
    threads: int | None
    limits: Limits | None = None  # of the usable rows
    every: bool = False  # whether all usable rows are to be compared in full, whatever it takes
    keys: Keys | None = None  # of the usable rows, to which their chance belongs

    def candidates(self) -> NDArray:
        """The usable rows, in memory unless they are the whole of a mapped pool."""
        return self.pool.take(self.usable)

    def weights(self) -> Float | None:
        """A weight for every usable row; None: all are alike."""
        if isinstance(self.weight, str):
            return self.score(self.weight, self.candidates())
        return None if self.weight is None else self.weight[self.usable]

    def weigh(self, numbers: Rows, rows: NDArray) -> Float | None:
        """A weight for each of some rows; None: all are alike."""
        if isinstance(self.weight, str):
            return self.score(self.weight, rows)
        return None if self.weight is None else self.weight[numbers]

    def some_weights(self) -> Float | None:
        """The same, above 0 for some row."""
        weights = self.weights()
        return None if weights is None else somewhere(weights)

    def score(self, name: str, rows: NDArray) -> Float:
        """Curiosity, or the length of s(x) in standard units, of rows."""
        import numpy as np

        from fasttangent.model.scores import scored

        scores = scored(self.model, rows, self.threads).scores
        if name == WEIGHTS[0]:
            return scores.curiosity
        s = scores.sensitivity.reshape(len(rows), -1).astype(np.float64)
        s = self.model.scaling.standard_changes(s, scores.prediction.reshape(s.shape))
        found: Float = np.sqrt(np.sum(s * s, axis=1))
        return found

    def embedded(self, rows: NDArray, kind: str, dim: int | None = None) -> NDArray:
        """Rows in an embedding of that many tangents, default all of them; all of it finite."""
        from fasttangent.common import checks
        from fasttangent.model.embeddings import EMBEDDINGS

        model = self.model
        if EMBEDDINGS[kind].of_noise:
            model = _with_some_noise(model)
        E = model.embed(rows, kind, dim, seed=self.seed, threads=self.threads)
        checks.finite(f"the {kind} embedding of the rows", E)
        return E

    def with_known(self, of: Callable[[NDArray], Any]) -> tuple[Any, Any]:
        """(of the candidates, of the rows with a label or None)."""
        return of(self.candidates()), None if self.known is None else of(self.known)


def somewhere(weights: Float) -> Float:
    """Weights of rows, above 0 for some."""
    if not weights.any():
        raise ValueError("weight must be above 0 for some row that can be picked, got 0 for all")
    return weights


def _with_some_noise(model: Model | Members) -> Model | Members:
    from fasttangent.model.members import Members

    each = [replace(one, noise=max(one.noise, LEAST_NOISE)) for one in model.models]
    return each[0] if len(each) == 1 else Members(tuple(each))
