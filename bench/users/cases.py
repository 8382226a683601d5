"""Rows of several users: a set with gains and offsets that are made up, and sets split on one of their columns."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from bench.common.data import table

MOST_TEST_ROWS = 2000
SYNTHETIC_USERS = 24


class Rows(NamedTuple):
    """Of a split: what is learned from, and what is predicted."""

    X: np.ndarray
    y: np.ndarray
    users: np.ndarray
    X_test: np.ndarray
    y_test: np.ndarray
    users_test: np.ndarray
    column: int | None  # of the set, from which the users were made and which the others do not have


SPLIT_ON = {"bike_noleak by hour": ("bike_noleak", 5), "concrete by age": ("concrete", 7)}
SPREADS = {"kin8nm, users differ": 0.5, "kin8nm, users are alike": 0.0}


def rows_of(folder: Path, case: str, each: int, seed: int) -> Rows:
    """Up to `each` rows of every user to learn from, at most half of what it has, and others to predict."""
    rng = np.random.default_rng(seed)
    if case in SPREADS:
        A = rng.permutation(table(folder, "kin8nm"))
        users, y = rng.integers(0, SYNTHETIC_USERS, len(A)), A[:, -1]
        gain, offset = 1 + SPREADS[case] * rng.normal(size=24), SPREADS[case] * rng.normal(size=24)
        X, y, column = A[:, :-1], y.mean() + gain[users] * (y - y.mean()) + offset[users] * y.std(), None
    else:
        name, column = SPLIT_ON[case]
        A = rng.permutation(table(folder, name))
        users = np.unique(A[:, column], return_inverse=True)[1]
        X, y = A[:, :-1], A[:, -1]
    train, test = [], []
    for user in np.unique(users):
        mine = np.flatnonzero(users == user)
        n = min(each, len(mine) // 2)
        train.append(mine[:n])
        test.append(mine[n:])
    learned, others = np.concatenate(train), rng.permutation(np.concatenate(test))[:MOST_TEST_ROWS]
    return Rows(X[learned], y[learned], users[learned], X[others], y[others], users[others], column)
