"""What a predictor of losses is worth, and what its authors say of pairs of converged losses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fasttangent.common import checks
from fasttangent.influence.agreement import agreement

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Float = NDArray[np.float64]


class LossRanking(NamedTuple):
    """How well scores order rows by their true loss.

    Attributes
    ----------
    spearman : float
        Rank correlation of score and loss; nan where either is constant.
    pairwise : float
        Share of the pairs with different losses that the scores put in the right order, ties counting one half; 0.5
        for a score that knows nothing.
    failure_finding : float
        Mean loss of the rows with the highest scores over the mean loss of all rows, which is what random rows have.
    """

    spearman: float
    pairwise: float
    failure_finding: float


def loss_ranking(scores: Any, losses: Any, *, share: float = 0.1) -> LossRanking:
    """Compare scores of rows with their true losses.

    Parameters
    ----------
    scores : array_like of shape (n,)
        Higher for rows that are thought to be worse.
    losses : array_like of shape (n,)
    share : float
        Of the rows that count as chosen in `failure_finding`, at least one row.

    Returns
    -------
    LossRanking

    Raises
    ------
    ValueError
        If there are fewer than 2 rows, or a value is not finite.

    Examples
    --------
    >>> import fasttangent as ft
    >>> ft.loss_ranking([0.1, 0.2, 0.9, 0.3], [1.0, 2.0, 4.0, 1.0], share=0.25)
    LossRanking(spearman=0.632..., pairwise=0.8, failure_finding=2.0)

    References
    ----------
    Shukla & Ahmed 2021, arXiv 2104.09315, section 5.
    """
    from scipy.stats import rankdata

    a, b = (checks.array(name, v).astype(np.float64) for name, v in (("scores", scores), ("losses", losses)))
    if a.ndim != 1 or a.shape != b.shape or len(a) < 2:
        raise ValueError(f"scores and losses must both have shape (n,), n >= 2, got {a.shape} and {b.shape}")
    checks.finite("scores", a)
    checks.finite("losses", b)
    share = checks.number("share", share, above=0, below=1)
    if np.ptp(b) == 0:
        raise ValueError(f"losses must vary, got {b[0]:g} in every row; there is nothing to order")
    ranks = rankdata(a), rankdata(b)
    chosen = np.argsort(-a, kind="stable")[: max(1, round(share * len(a)))]
    pairwise = 0.5 + _concordance(ranks[0], ranks[1]) / 2
    return LossRanking(agreement(a, b).spearman, pairwise, float(b[chosen].mean() / b.mean()))


def _concordance(a: Float, b: Float) -> float:
    """Somers' D of a given b: concordant less discordant pairs, over the pairs in which b differs."""
    agree, pairs = 0.0, 0
    for i in range(len(a) - 1):
        sign = np.sign(b[i + 1 :] - b[i])
        agree += float(np.sum(np.sign(a[i + 1 :] - a[i]) * sign))
        pairs += int(np.count_nonzero(sign))
    return agree / pairs


def close_pairs(distances: Any, shape: float = 4.0, scale: float = 0.066) -> NDArray[np.float64]:
    """P(|X - Y| <= d) for two independent losses, Gamma(shape, scale): how often a pair is told apart by chance.

    The margin of "learning-loss" pushes such pairs apart as hard as any other.  2 E[F(Y + d) - F(Y)], by quadrature.

    Parameters
    ----------
    distances : array_like of float
    shape, scale : float
        Default: what the authors fitted to the losses of a converged network.

    Returns
    -------
    ndarray of float64, of the shape of `distances`

    Examples
    --------
    >>> close_pairs([0.02, 0.10]).round(3)
    array([0.094, 0.441])

    References
    ----------
    Shukla & Ahmed 2021, arXiv 2104.09315, table 1.
    """
    from scipy.integrate import quad
    from scipy.stats import gamma

    law = gamma(shape, scale=scale)
    d = np.asarray(distances, np.float64)
    found = [
        2 * quad(lambda y, by=by: law.pdf(y) * (law.cdf(y + by) - law.cdf(y)), 0, np.inf, epsabs=1e-12)[0]
        for by in d.ravel()
    ]
    return np.reshape(found, d.shape)
