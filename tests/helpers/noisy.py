"""Batches under everything that may be said of rows, by their definitions, with matrices written out."""

import numpy as np


def covariance(E, rows, noise):
    """Of the weights once rows of E have labels, each of its own noise."""
    F = E[list(rows)]
    return np.linalg.inv(np.eye(E.shape[1]) + (F.T / noise[list(rows)]) @ F)


def whitened(E, known, known_noise):
    """E as rows of a model that has labels of the rows `known`."""
    if known is None:
        return E
    P = covariance(known, range(len(known)), np.broadcast_to(known_noise, len(known)))
    return E @ np.linalg.cholesky(P)


def value(E, T, w, rows, noise, strategy):
    """What labels of some rows are worth: less variance, or information."""
    if strategy == "maxdet":
        F = np.sqrt(w)[list(rows), None] * E[list(rows)]
        return np.linalg.slogdet(np.eye(E.shape[1]) + (F.T / noise[list(rows)]) @ F)[1]
    return -np.sum(w * np.einsum("ij,jk,ik->i", T, covariance(E, rows, noise), T)) / w.sum()


def batch(E, k, strategy, noise, *, targets=None, weight=None, known=None, known_noise=1.0, group=None,
          per_group=10**9, cost=None, max_cost=np.inf):  # fmt: skip
    """Rows picked, and how near the closest decision was to another one, as a share of what was at stake."""
    n = len(E)
    T = E if targets is None else targets
    E, T = whitened(E, known, known_noise), whitened(T, known, known_noise)
    w = np.ones(len(T)) if weight is None else weight
    group = np.zeros(n, int) if group is None else group
    price = np.ones(n) if cost is None else cost

    def forward(k, per_group, max_cost, cost):
        picks, closest = [], np.inf
        while len(picks) < k:
            free = [
                i
                for i in range(n)
                if i not in picks
                and np.sum(group[picks] == group[i]) < per_group
                and cost[picks].sum() + cost[i] <= max_cost
            ]
            if not free:
                break
            now = value(E, T, w, picks, noise, strategy)
            gains = np.array([(value(E, T, w, [*picks, i], noise, strategy) - now) / price[i] for i in free])
            order = np.argsort(-gains, kind="stable")
            if len(order) > 1:
                most, next_most = gains[order[:2]]
                closest = min(closest, (most - next_most) / most if most > 1e-12 else 0.0)
            picks.append(free[order[0]])
        return picks, closest

    if strategy != "bait":
        return forward(k, per_group, max_cost, price)
    dear = np.where(price <= max_cost, price, np.inf)
    picks, closest = forward(min(2 * k, n), 2 * per_group, 2 * max_cost, dear)

    def crowded(rows):
        return [i for i in rows if np.sum(group[rows] == group[i]) > per_group]

    def most(rows):
        return sum(min(per_group, int(np.sum(group[rows] == g))) for g in set(group[rows].tolist()))

    while len(picks) > k or price[picks].sum() > max_cost or crowded(picks):
        any_may = price[picks].sum() > max_cost or most(picks) > k
        may = picks if any_may else crowded(picks)
        now = value(E, T, w, picks, noise, strategy)
        losses = np.array(
            [(now - value(E, T, w, [i for i in picks if i != j], noise, strategy)) / price[j] for j in may]
        )
        order = np.argsort(losses, kind="stable")
        if len(order) > 1:
            least, next_least = losses[order[:2]]
            closest = min(closest, (next_least - least) / next_least if next_least > 1e-12 else 0.0)
        picks.remove(may[order[0]])
    return picks, closest
