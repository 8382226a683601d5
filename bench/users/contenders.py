"""What one would do with rows of several users."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

import fasttangent as ft
from bench.users.cases import Rows

HIDDEN = (32, 32)


def _without(X: np.ndarray, column: int | None) -> np.ndarray:
    return X if column is None else np.delete(X, column, axis=1)


def one_for_all(rows: Rows) -> np.ndarray:
    """Nobody says whose a row is."""
    model = ft.fit(_without(rows.X, rows.column), rows.y, hidden=HIDDEN)
    return model.predict(_without(rows.X_test, rows.column))


def one_each(rows: Rows) -> np.ndarray:
    """A model for every user; its mean where there is nothing to learn from."""
    X, X_test, found = (
        _without(rows.X, rows.column),
        _without(rows.X_test, rows.column),
        np.empty(len(rows.y_test)),
    )
    for user in np.unique(rows.users_test):
        mine, theirs = rows.users == user, rows.users_test == user
        try:
            found[theirs] = ft.fit(X[mine], rows.y[mine], hidden=HIDDEN).predict(X_test[theirs])
        except ValueError:
            found[theirs] = rows.y[mine].mean() if mine.any() else rows.y.mean()
    return found


def indicators(rows: Rows) -> np.ndarray:
    """One model with a column for every user, 1 in its rows."""
    known = np.unique(rows.users)
    X, X_test = (
        np.hstack([_without(A, rows.column), (of[:, None] == known).astype(float)])
        for A, of in ((rows.X, rows.users), (rows.X_test, rows.users_test))
    )
    return ft.fit(X, rows.y, hidden=HIDDEN).predict(X_test)


def column_kept(rows: Rows) -> np.ndarray:
    """One model that has the column as a number, where there is one."""
    if rows.column is None:
        return np.full(len(rows.y_test), np.nan)
    return ft.fit(rows.X, rows.y, hidden=HIDDEN).predict(rows.X_test)


def hierarchy(rows: Rows) -> np.ndarray:
    """`fit(users=)`, the strengths of both levels learned."""
    model = ft.fit(_without(rows.X, rows.column), rows.y, users=rows.users, hidden=HIDDEN)
    return model.predict(_without(rows.X_test, rows.column), users=rows.users_test)


CONTENDERS: dict[str, Callable[[Rows], np.ndarray]] = {
    "one for all": one_for_all,
    "one each": one_each,
    "indicators": indicators,
    "column kept": column_kept,
    "hierarchy": hierarchy,
}


def compared(rows: Rows) -> dict[str, dict[str, float]]:
    """Of each: error over the standard deviation of the test labels, and seconds of the processor."""
    found = {}
    for name, predict in CONTENDERS.items():
        began = time.process_time()
        error = predict(rows).astype(float) - rows.y_test
        rmse = float(np.sqrt(np.mean(error**2)) / rows.y_test.std())
        found[name] = {"rmse": rmse, "seconds": time.process_time() - began}
    return found
