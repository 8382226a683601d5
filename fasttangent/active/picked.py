"""What `select` returns: the rows that were picked, and how."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fasttangent.active.pools import Pool
from fasttangent.common import frames

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Float = NDArray[np.float64]
    Rows = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Selection:
    """Rows picked from a pool.

    Attributes
    ----------
    indices : ndarray of int64, shape (k,), or fewer where `max_cost` ends a batch
        Row numbers in the pool, no number twice; in the order of picking, for "top" and "egl" by falling score.
    scores : ndarray of float64, shape (k,)
        Curiosity of each picked row; nan for a model without the tangent of the strength.
    strategy : str
    trusted : bool
        Whether the model's certificate vouches for the scores.
    candidates : int
        Rows that took part after the prefilter.
    embedding : str or None
        What the strategy measured distances or covariances in.
    weight : str or None
        "curiosity", "sensitivity", "given" or None.
    cost : float or None
        What the picks cost together; None where costs were not given.
    passes : int
        How often the embeddings of the candidates were made: more than once of a pool compared in parts.
    verified : bool or None
        Whether the picks are those that the strategy makes of the whole pool; None where it was not asked for all of
        it: the pool was thinned, or candidates were drawn.
    shortfall : float or None
        Where a bound on `passes` came first: by which share, at the most, a row of the pool would have gained more at
        any step than the row picked, in the strategy's own measure (what the mean variance falls by, the variance, the
        squared distance, all per cost and noise; of "lcmd" the sum of the cluster, and in the same cluster that), given
        the picks before.  0.0 where verified; infinite where nothing is known.
    """

    indices: Rows
    scores: Float
    strategy: str
    trusted: bool
    candidates: int
    embedding: str | None = None
    weight: str | None = None
    cost: float | None = None
    passes: int = 1
    verified: bool | None = None
    shortfall: float | None = None

    def __len__(self) -> int:
        return len(self.indices)

    def to_frame(self, pool: Any) -> Any:
        """The picked rows of a table.

        Parameters
        ----------
        pool : data frame, Arrow table or batch, or Pool
            That they were picked from.

        Returns
        -------
        data frame, Arrow table or batch
            Of the same kind, with all columns of the pool, in the order of picking; of pandas with the rows' index.
            Of a `Pool` an Arrow table.

        Raises
        ------
        TypeError
            If the pool is no table.
        ValueError
            If it has fewer rows than were picked from.

        Examples
        --------
        >>> import numpy as np, pandas as pd, fasttangent as ft
        >>> pool = pd.DataFrame({"x": np.linspace(-2, 2, 101)}, index=[f"sample {i}" for i in range(101)])
        >>> model = ft.fit(pool[30:], np.sin(pool["x"][30:]), hidden=(4,), strength=1e-2)
        >>> picks = ft.select(model, pool, 2, strategy="top")
        >>> picks.to_frame(pool).index.tolist() == [f"sample {i}" for i in picks.indices]
        True
        """
        if isinstance(pool, Pool):
            return pool.rows(self.indices)
        if not frames.is_frame(pool):
            raise TypeError(
                f"pool must be a data frame, got {type(pool).__name__}; the rows of an array are pool[picks.indices]"
            )
        if len(self) and (n := frames.height(pool)) <= self.indices.max():
            raise ValueError(
                f"pool must have the rows that were picked from, got {n} and row {self.indices.max()} was picked"
            )
        return frames.rows_of(pool, self.indices)
