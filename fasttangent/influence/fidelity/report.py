"""The fidelity report: how far cheap influence scores are from the exact ones, and from really refitting."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fasttangent.common import checks
from fasttangent.common.encoded import encoded, whole
from fasttangent.common.learned_columns import learned
from fasttangent.common.progress import reporting
from fasttangent.influence.agreement import Agreement, agreement
from fasttangent.influence.changes import Change
from fasttangent.influence.fidelity.comparison import Comparison, aligned, compared, verdict
from fasttangent.influence.fidelity.methods import (
    EXACT,
    FIRST_STAGES,
    SETTLED,
    TANGENTS,
    Case,
    Scored,
    by_tangent,
    first_stage,
    settled,
    warm_up,
)
from fasttangent.influence.refit_curves import RefitCurves, refit_curves
from fasttangent.model.model import Model

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Float = NDArray[np.float64]

FRACTION = 1e-3  # of a row that is given to a candidate, and taken away, for the derivative
MOST_ROWS, LEAST_CANDIDATES = 500, 10


class WholeRows(NamedTuple):
    """Predicted against measured changes of C for whole rows; `jumped` of them went to another minimum."""

    first: Agreement
    second: Agreement
    jumped: int


@dataclass(frozen=True, eq=False)
class Fidelity:
    """How well each method scores the candidates of one data set.

    Attributes
    ----------
    rows : list of Comparison
        One per method.
    scores : dict of str to ndarray (n_candidates,)
        Influence d C / d eps of the candidates by method; "exact solve" is what others are compared with.
    trained_on, candidates : ndarray of int64
        Rows of X.
    refitted : ndarray of int64, shape (m,)
        Places among the candidates.
    refits : RefitCurves
        Of the m candidates refitted: ``refits.derivative`` is d C / d eps, ``refits.complexity[:, 1]`` what
        adding the whole row does to C.
    model : Model
        The settled model.
    seconds : float
        Of it all.
    """

    rows: list[Comparison]
    scores: dict[str, Float]
    trained_on: NDArray[np.int64]
    candidates: NDArray[np.int64]
    refitted: NDArray[np.int64]
    refits: RefitCurves
    model: Model
    seconds: float

    def __repr__(self) -> str:
        trusted, agree = sum(row.trusted for row in self.rows), sum(row.agrees for row in self.rows)
        return f"Fidelity({len(self.rows)} methods, {trusted} trusted, {agree} agree with refits)"

    @property
    def verdict(self) -> str:
        """Whether the certificate was right, in a sentence or two."""
        return verdict(self.rows)

    def columns(self) -> dict[str, NDArray]:
        """The table as columns, memory in bytes; ``table_output.write_table`` writes them."""
        names = Comparison._fields[:-1]
        found = {name: np.array([getattr(row, name) for row in self.rows]) for name in names}
        return {**found, "reasons": np.array(["; ".join(row.reasons) for row in self.rows])}

    def table(self) -> str:
        """The table, what whole rows do, and the verdict, as plain text."""
        model, n = self.model, len(self.refitted)
        head = (
            f"Influence on complexity of {len(self.candidates):,} candidates; {model.network}, strength "
            f"{model.objective.strength:g}, {len(self.trained_on):,} rows"
        )
        whole = self.whole_rows()
        orders = [
            f"  {name + ' order':<12}  Pearson {one.pearson:.4f}, Spearman {one.spearman:.4f}, slope {one.slope:.3f}"
            for name, one in (("first", whole.first), ("second", whole.second))
        ]
        added = f"{n} candidates added as whole rows, change of C against the predicted one"
        jumped = f"  ({whole.jumped} jumped to another minimum and are left out)" if whole.jumped else ""
        return "\n".join([head, "", *aligned(self.rows), "", added + jumped, *orders, "", self.verdict])

    def summary(self) -> dict[str, Any]:
        """The table, what whole rows do, and the verdict, as plain Python values."""
        whole = self.whole_rows()
        return {
            "rows": len(self.trained_on),
            "candidates": len(self.candidates),
            "refits": len(self.refitted),
            "network": list(self.model.network.sizes),
            "strength": self.model.objective.strength,
            "methods": [row._asdict() for row in self.rows],
            "whole_rows": {
                "first_order": whole.first._asdict(),
                "second_order": whole.second._asdict(),
                "jumped": whole.jumped,
            },
            "verdict": self.verdict,
            "seconds": self.seconds,
        }

    def whole_rows(self) -> WholeRows:
        """How well first and second order predict what adding one whole row does to C."""
        curves, stayed = self.refits, ~self.refits.jumped[:, 1]
        measured = curves.complexity[stayed, 1]
        return WholeRows(
            agreement(curves.complexity_first[stayed, 1], measured),
            agreement(curves.complexity_second[stayed, 1], measured),
            int(np.count_nonzero(~stayed)),
        )


def fidelity(
    X: Any,
    y: Any,
    *,
    sample_weight: Any = None,
    rows: int | None = None,
    candidates: int = 2000,
    refits: int = 50,
    hidden: Sequence[int] = (32, 32),
    activation: str = "tanh",
    loss: str = "squared",
    delta: float = 1.0,
    strength: float = 1e-2,
    complexity: str = "l2",
    epochs: int = 200,
    batch_size: int = 64,
    standardize: bool = True,
    dtype: str = "float32",
    seed: int = 0,
    threads: int | None = None,
    progress: bool | Callable[..., None] = False,
) -> Fidelity:
    """Compare cheap influence scores with the exact ones and with refits, on one data set.

    Some rows are trained on, others are candidates whose influence d C / d eps is scored: by the tangent of a
    model after its first stage (SGD, momentum, Adam); by the tangent that settled; and at the settled model by exact
    solves, conjugate gradients to several tolerances, LiSSA, the Gauss-Newton matrix, and the gradient alone.  The
    reference is the exact influence at one model, the one that settles from Adam.  First stages are compared with it
    as a user would meet them: they stop at other parameters, and those of SGD and momentum might settle elsewhere.

    The truth is refitting that model: some candidates are given, and are taken, a thousandth of a row, F is
    minimised again, and C has changed; and they are added as a whole.

    Parameters
    ----------
    X : array_like of shape (n, n_features)
        All rows; they are shuffled.
    y : array_like of shape (n,) or (n, n_outputs)
        Their labels, those of candidates included.
    sample_weight : array_like of shape (n,), optional
        Weights of the rows trained on; candidates have weight 1.
    rows : int, optional
        Rows to train on.  Default: 500, or half of them all if that is less.
    candidates : int
        At the most; the rows that are left.
    refits : int
        Candidates to refit, at the most.
    hidden, activation, loss, delta, strength, complexity, epochs, batch_size, standardize, dtype
        As for `fit`.
    seed : int
        Of the split, of the candidates refitted, and of all fits.
    threads : int, optional
        Default: all cores.
    progress : bool or callable
        True: bars on stderr.  A callable gets (stage, done, total, **figures).

    Returns
    -------
    Fidelity

    Raises
    ------
    ValueError, TypeError
        For bad input, before any work starts.
    IndefiniteError
        If the model does not settle at a minimum, so that there is nothing to compare with.
    KeyboardInterrupt
        After Ctrl-C.

    Examples
    --------
    >>> import numpy as np
    >>> import fasttangent as ft
    >>> rng = np.random.default_rng(0)
    >>> X = rng.uniform(-1, 1, (160, 2))
    >>> y = np.sin(3 * X[:, 0]) + X[:, 1] ** 2 + 0.1 * rng.normal(size=160)
    >>> found = ft.fidelity(X, y, hidden=(6,), refits=20)
    >>> tangent = next(row for row in found.rows if row.method == "settled tangent")
    >>> tangent.trusted, tangent.agrees, tangent.spearman > 0.9999
    (True, True, True)
    >>> print(found.verdict)  # doctest: +ELLIPSIS
    The certificate was right: ...

    References
    ----------
    Eaton 2024, arXiv 2411.15292; Koh & Liang 2017, arXiv 1703.04730; LiSSA: Agarwal, Bullins & Hazan 2017, JMLR 18.
    """
    settings = {
        "hidden": hidden,
        "activation": activation,
        "loss": loss,
        "delta": delta,
        "strength": strength,
        "complexity": complexity,
        "epochs": epochs,
        "batch_size": batch_size,
        "standardize": standardize,
        "dtype": dtype,
        "seed": seed,
        "threads": threads,
    }
    started = time.perf_counter()
    columns = learned(X, sample_weight)
    features = checks.matrix("X", X) if columns is None else whole(encoded("X", X, columns))
    labels = checks.targets("y", y, len(features))
    w = checks.row_weights("sample_weight", sample_weight, len(features))
    checks.finite("X", features)
    checks.finite("y", labels)
    rng = np.random.default_rng(checks.seed(seed))
    train, new = _split(len(features), rows, candidates, rng)
    m = min(checks.integer("refits", refits, at_least=LEAST_CANDIDATES), len(new))
    settings["columns"] = columns
    case = Case(features[train], labels[train], w[train], features[new], labels[new], settings)
    case.prepared("adam", True)  # refuses what `fit` would refuse
    chosen = np.sort(rng.choice(len(new), m, replace=False))
    with reporting(progress) as report:
        model, scored = _all_scored(case, threads, report)
        changes = [Change.add(case.X_new[i], case.y_new[i]) for i in chosen]
        curves = refit_curves(
            model, case.X, case.y, changes, (FRACTION, 1.0), sample_weight=case.w, threads=threads,
            progress=report,
        )  # fmt: skip
    if curves.interrupted:
        raise KeyboardInterrupt
    exact, truth = scored[EXACT].scores, np.where(curves.jumped[:, 0], np.nan, curves.derivative)
    return Fidelity(
        rows=[compared(name, one, exact, chosen, truth) for name, one in scored.items()],
        scores={name: one.scores for name, one in scored.items()},
        trained_on=train,
        candidates=new,
        refitted=chosen,
        refits=curves,
        model=model,
        seconds=time.perf_counter() - started,
    )


def _all_scored(
    case: Case, threads: int | None, report: Callable[..., None]
) -> tuple[Model, dict[str, Scored]]:
    """The settled model, and every method by name."""
    warm_up(threads)
    model, own = settled(case, report)
    scored = {name: first_stage(case, optimizer, report) for optimizer, name in FIRST_STAGES.items()}
    scored[SETTLED] = own
    for done, (name, tangent) in enumerate(TANGENTS.items()):
        report("solving", done, len(TANGENTS))
        scored[name] = by_tangent(case, model, tangent)
    report("solving", len(TANGENTS), len(TANGENTS))
    return model, scored


def _split(
    n: int, rows: int | None, candidates: int, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Numbers of the rows to train on and of the candidates."""
    most = checks.integer("candidates", candidates, at_least=LEAST_CANDIDATES)
    n_train = min(MOST_ROWS, n // 2) if rows is None else checks.integer("rows", rows, at_least=2)
    if n_train < 2 or n - n_train < LEAST_CANDIDATES:
        least = LEAST_CANDIDATES + max(n_train, LEAST_CANDIDATES)
        raise ValueError(
            f"X must have at least {least} rows, {least - LEAST_CANDIDATES} to train on and {LEAST_CANDIDATES} "
            f"candidates, got {n}" + ("; ask for fewer rows to train on" if rows is not None else "")
        )
    order = rng.permutation(n)
    return np.sort(order[:n_train]), np.sort(order[n_train : n_train + most])
