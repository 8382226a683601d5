"""Scores of one method against the exact ones and against refits: figures, verdict, table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from fasttangent.influence.agreement import agreement
from fasttangent.influence.fidelity.methods import Scored

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Float = NDArray[np.float64]

AGREES = 0.99  # Spearman correlation with refits from which a score is said to agree with them
TOP = 0.01  # of the candidates


class Comparison(NamedTuple):
    """One method against the exact influence and against refits.

    Attributes
    ----------
    method : str
    pearson, spearman : float
        Correlation with the exact influence over all candidates; nan without scores.
    top : float
        Share of the 1 % of candidates with the largest absolute exact influence that this method's 1 % holds.
    refit_pearson, refit_spearman : float
        Correlation with d C / d eps by refitting, over the candidates refitted.
    residual : float
        ||A tau + grad C|| / ||grad C|| of its tangent, as its certificate measures it.
    seconds, memory : float, int
        Time to the scores, and bytes at the peak (Python and NumPy) above those before.  Of fits both are of the
        stages of training, from the rows; of all other methods on top of the settled model.
    trusted : bool
        What the certificate of its parameters and its tangent says.
    agrees : bool
        Whether refit_spearman >= 0.99.
    reasons : tuple of str
        Why the certificate does not trust it.
    """

    method: str
    pearson: float
    spearman: float
    top: float
    refit_pearson: float
    refit_spearman: float
    residual: float
    seconds: float
    memory: int
    trusted: bool
    agrees: bool
    reasons: tuple[str, ...]


def compared(name: str, one: Scored, exact: Float, chosen: NDArray[np.int64], truth: Float) -> Comparison:
    """The figures of one method; `truth` is d C / d eps by refitting of the candidates `chosen`."""
    pearson, spearman = _correlations(one.scores, exact)
    refit_pearson, refit_spearman = _correlations(one.scores[chosen], truth)
    return Comparison(
        method=name,
        pearson=pearson,
        spearman=spearman,
        top=_overlap(one.scores, exact),
        refit_pearson=refit_pearson,
        refit_spearman=refit_spearman,
        residual=one.certificate.tangent_residual,
        seconds=one.seconds,
        memory=one.memory,
        trusted=one.certificate.trusted,
        agrees=bool(refit_spearman >= AGREES),
        reasons=one.certificate.reasons,
    )


def _correlations(a: Float, b: Float) -> tuple[float, float]:
    """Pearson and Spearman of the pairs that are finite; nan where either is constant, or there are less than 3."""
    found = agreement(a, b)
    return (found.pearson, found.spearman) if found.n >= 3 else (np.nan, np.nan)


def _overlap(scores: Float, exact: Float) -> float:
    """Share of the candidates of largest |exact| that are among as many of largest |scores|."""
    if not np.isfinite(scores).all():
        return np.nan
    k = max(1, round(TOP * len(exact)))
    top, truth = (set(np.argsort(-abs(s), kind="stable")[:k].tolist()) for s in (scores, exact))
    return len(top & truth) / k


def verdict(rows: Sequence[Comparison]) -> str:
    """Whether the certificate was right about the methods that it trusted, and what of the others."""
    trusted, others = ([row for row in rows if row.trusted is wanted] for wanted in (True, False))
    wrong = [f"{row.method} ({row.refit_spearman:.4f})" for row in trusted if not row.agrees]
    cautious = [row.method for row in others if row.agrees]
    agree = f"{len(trusted) - len(wrong)} of {len(trusted)} methods that it trusted agree with refits"
    if not trusted:
        first = "The certificate trusted no method"
    elif wrong:
        first = f"The certificate was wrong: {agree} (Spearman >= {AGREES}), but not {', '.join(wrong)}"
    else:
        first = f"The certificate was right: {agree} (Spearman >= {AGREES})"
    if not others:
        return f"{first}."
    second = f"Of {len(others)} that it did not trust, {len(cautious)} agree"
    return f"{first}. {second}" + (f" all the same: {', '.join(cautious)}." if cautious else ".")


HEADS = (
    ("", "exact", "exact", "exact", "refits", "refits", "", "", "", "", ""),
    (
        "method", "Pearson", "Spearman", "top 1 %", "Pearson", "Spearman", "residual", "seconds", "MB",
        "trusted", "agrees",
    ),
)  # fmt: skip


def aligned(rows: Sequence[Comparison]) -> list[str]:
    """Two lines of heads and a line for each method, figures below each other."""
    lines = [*HEADS, *map(_cells, rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [
        "  ".join(
            [line[0].ljust(widths[0]), *(cell.rjust(k) for cell, k in zip(line[1:], widths[1:], strict=True))]
        ).rstrip()
        for line in lines
    ]


def _cells(row: Comparison) -> tuple[str, ...]:
    def number(value: float, form: str) -> str:
        return "-" if np.isnan(value) else format(value, form)

    correlations = [number(v, ".4f") for v in (row.pearson, row.spearman)]
    return (
        row.method,
        *correlations,
        number(100 * row.top, ".0f"),
        *(number(v, ".4f") for v in (row.refit_pearson, row.refit_spearman)),
        number(row.residual, ".0e"),
        number(row.seconds, ".2f"),
        number(row.memory / 1e6 if row.memory else np.nan, ".1f"),
        "yes" if row.trusted else "no",
        "yes" if row.agrees else "no",
    )
