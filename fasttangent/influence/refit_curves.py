"""Changes that are made in part, from an infinitesimal one to the whole."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fasttangent.common import checks
from fasttangent.influence.changes import Change, listed
from fasttangent.influence.refits import refit
from fasttangent.model.members import refuse_several, refuse_transformed
from fasttangent.model.model import Model

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Float = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class RefitCurves:
    """The effect of m changes, from an infinitesimal part of each to all of it.

    Attributes
    ----------
    fractions : ndarray, shape (k,)
        Ascending.
    eps : ndarray, shape (m,)
        Of the whole change.
    complexity, complexity_first, complexity_second : ndarray, shape (m, k)
        Change of C, measured and predicted, as in `Refits`.
    derivative : ndarray, shape (m,)
        d C / d eps at 0: the central difference over plus and minus the smallest fraction.
    jumped : ndarray of bool, shape (m, k)
    interrupted : bool
    """

    fractions: Float
    eps: Float
    complexity: Float
    complexity_first: Float
    complexity_second: Float
    derivative: Float
    jumped: NDArray[np.bool_]
    interrupted: bool


def refit_curves(
    model: Model,
    X: Any,
    y: Any,
    changes: Sequence[Change],
    fractions: Sequence[float] = (1e-4, 1e-3, 1e-2, 0.1, 0.2, 0.5, 1.0),
    *,
    sample_weight: Any = None,
    solver: str = "auto",
    threads: int | None = None,
    progress: bool | Callable[..., None] = False,
) -> RefitCurves:
    """C along changes that are made in part: where the derivative ends to predict them.

    Parameters
    ----------
    model, X, y, changes
        As for `refit`.
    fractions : sequence of float
        Parts of each change, > 0; the smallest is also made in the opposite direction.
    sample_weight, solver, threads, progress
        As for `refit`.

    Returns
    -------
    RefitCurves

    Examples
    --------
    >>> import numpy as np
    >>> import fasttangent as ft
    >>> rng = np.random.default_rng(0)
    >>> X = rng.uniform(-1, 1, (60, 2))
    >>> y = np.sin(3 * X[:, 0]) + X[:, 1] ** 2
    >>> model = ft.fit(X, y, hidden=(8,), strength=1e-2, dtype="float64")
    >>> curves = ft.refit_curves(model, X, y, [ft.Change.leave_out(3)])
    >>> bool(abs(curves.derivative / model.influence(X, y)[3] - 1) < 1e-5)
    True
    """
    refuse_several(model, "refits")
    refuse_transformed(model, "refits")
    parts = np.unique([checks.number("fractions", f, above=0) for f in fractions])
    if len(parts) == 0:
        raise ValueError("fractions must have at least 1 number > 0, got none")
    signed = [*parts, -parts[0]]
    given = listed(changes)
    every = [change.times(f) for change in given for f in signed]
    out = refit(
        model,
        X,
        y,
        every,
        sample_weight=sample_weight,
        solver=solver,
        threads=threads,
        progress=progress,
    )

    def table(values: NDArray) -> NDArray:
        return values.reshape(len(given), len(signed))

    C, eps = table(out.complexity), table(out.eps)
    return RefitCurves(
        fractions=parts,
        eps=eps[:, 0] / parts[0],
        complexity=C[:, :-1],
        complexity_first=table(out.complexity_first)[:, :-1],
        complexity_second=table(out.complexity_second)[:, :-1],
        derivative=(C[:, 0] - C[:, -1]) / (eps[:, 0] - eps[:, -1]),
        jumped=table(out.jumped)[:, :-1],
        interrupted=out.interrupted,
    )
