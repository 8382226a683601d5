"""Changes of the weights of rows, as a user gives them and as they enter the objective."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from fasttangent.common import checks, frames
from fasttangent.common.blas import one_thread
from fasttangent.influence.following import solved
from fasttangent.model.model import Model
from fasttangent.model.scores import slope
from fasttangent.problem.problem import Problem
from fasttangent.solvers import Solver

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Float = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Change:
    """One experiment: what is done to the weights of rows.  Made by `up_weight`, `leave_out` and `add`.

    Attributes
    ----------
    kind : {"up-weight", "leave out", "add"}
    amount : float
        eps of each row; or the share of a whole row that is left out or added.
    rows : tuple of int
        Numbers of training rows; empty for "add".
    X, y : array or None
        The rows to add.

    Examples
    --------
    >>> Change.leave_out([3, 5]).times(0.1)
    Change(leave out 0.1 of rows 3, 5)
    """

    kind: str
    amount: float
    rows: tuple[int, ...] = ()
    X: Any = None
    y: Any = None

    @staticmethod
    def up_weight(rows: int | Sequence[int], eps: float) -> Change:
        """Add eps loss to F for a training row, or for each of several; eps may be negative."""
        return Change("up-weight", checks.number("eps", eps), _numbers(rows))

    @staticmethod
    def leave_out(rows: int | Sequence[int]) -> Change:
        """Take a training row, or several together, out of F."""
        return Change("leave out", 1.0, _numbers(rows))

    @staticmethod
    def add(X: Any, y: Any, weight: float = 1.0) -> Change:
        """Add a new row (n_features,), or several together (k, n_features), each with a sample weight."""
        return Change("add", checks.number("weight", weight), X=X, y=y)

    def times(self, fraction: float) -> Change:
        """The same, a fraction of it; negative: the opposite."""
        return replace(self, amount=self.amount * checks.number("fraction", fraction))

    def __repr__(self) -> str:
        what = f" of rows {', '.join(map(str, self.rows))}" if self.rows else ""
        return f"Change({self.kind} {self.amount:g}{what})"


@dataclass(frozen=True, eq=False)
class Experiment:
    """A change that was checked, in standard units: F + sum_i eps_i loss_i, the divisor of F kept."""

    base: Problem
    numbers: NDArray[np.int64]  # training rows whose weight changes by eps (k,)
    X: Float  # or new rows (k, n_features) that come with the weights eps; (0, n_features) where there are none
    Y: Float
    eps: Float

    def problem(self, t: float) -> Problem:
        """F + t sum_i eps_i loss_i."""
        X, Y, w = self.base.rows
        if len(self.X):
            X, Y = np.concatenate([X, self.X]), np.concatenate([Y, self.Y])
            w = np.concatenate([w, t * self.eps])
        else:
            w = w.copy()
            w[self.numbers] += t * self.eps
        return self.base.with_rows(X, Y, w, 1)

    def alone(self) -> Problem:
        """sum_i eps_i loss_i as the data term of a problem of its own."""
        X, Y, _ = self.base.rows
        if len(self.X):
            X, Y = self.X, self.Y
        else:
            X, Y = X[self.numbers], Y[self.numbers]
        return self.base.with_rows(X, Y, self.eps, 1)

    def predicted(self, theta: Float, curvature: Solver) -> Float:
        """Change of the minimum theta to first and to second order, by the curvature of F there: (2, p).

        With U the Jacobian of the rows' outputs, s = eps loss' and E = eps loss'':

            first     -A^-1 U^T s
            second    -(A + U^T E U)^-1 U^T s = -A^-1 U^T (1 + E U A^-1 U^T)^-1 s
        """
        alone = self.alone()
        _, Y, eps = alone.rows
        U = alone.jacobian(theta).reshape(-1, len(theta))
        s = (eps[:, None] * slope(alone.objective, alone.predictions(theta) - Y)).ravel()
        E = alone.output_weights(theta).reshape(-1, 1)
        Z = solved(curvature, U)
        leverage = np.eye(len(U)) + E * np.einsum("kp,lp->kl", U, Z)
        with one_thread():
            second = np.linalg.solve(leverage, s)
        return -np.einsum("ck,kp->cp", np.stack([s, second]), Z)


def experiment(model: Model, base: Problem, c: int, change: Change) -> Experiment:
    """Check changes[c] against the training rows."""
    X, Y, w = base.rows
    if change.kind == "add":
        new, labels = _new_rows(model, c, change)
        return Experiment(
            base, np.empty(0, np.int64), new, labels, np.full(len(new), change.amount / base.total)
        )
    rows = np.array(change.rows, np.int64)
    check_numbers(f"changes[{c}]", rows, len(X))
    if change.kind == "up-weight":
        return Experiment(base, rows, X[:0], Y[:0], np.full(len(rows), change.amount))
    if not np.delete(w, rows).any():
        raise ValueError(
            f"changes[{c}] leaves out all {len(rows)} rows; leave at least 1 of positive weight in"
        )
    return Experiment(base, rows, X[:0], Y[:0], -change.amount * w[rows])


def _new_rows(model: Model, c: int, change: Change) -> tuple[Float, Float]:
    X, y = change.X, change.y
    if not frames.is_frame(X) and np.ndim(X) == 1:
        X, y = np.asarray(X)[None], np.reshape(y, (1, -1))
    try:
        rows, labels = model.labelled_rows(X, y)
        checks.finite("X", rows)
        near = model.scaling.near_inputs("X", rows), model.scaling.near_targets("y", labels)
    except (TypeError, ValueError) as error:
        raise type(error)(f"changes[{c}]: {error}") from None
    if len(rows) == 0:
        raise ValueError(f"changes[{c}] must add at least 1 row, got none")
    return near


def listed(changes: Any) -> list[Change]:
    if isinstance(changes, Change):
        raise TypeError("changes must be a sequence of Change, got one; pass [change]")
    listed = list(changes)
    for c, change in enumerate(listed):
        if not isinstance(change, Change):
            raise TypeError(
                f"changes[{c}] must be a Change, got {type(change).__name__}; make one with Change.leave_out, "
                f"Change.up_weight or Change.add"
            )
    return listed


def _numbers(rows: Any) -> tuple[int, ...]:
    """Row numbers, given as one or as several."""
    listed = np.atleast_1d(np.asarray(rows))
    if listed.ndim != 1 or len(listed) == 0 or listed.dtype.kind not in "iu":
        raise TypeError(f"rows must be a row number or a sequence of them, got {rows!r}")
    return tuple(int(i) for i in listed)


def check_numbers(name: str, rows: NDArray[np.int64], n: int) -> None:
    for i in rows:
        if not 0 <= i < n:
            raise ValueError(
                f"{name} must hold row numbers from 0 to {n - 1}, got {i}; they count the rows of X"
            )
    numbers, counts = np.unique(rows, return_counts=True)
    if (counts > 1).any():
        raise ValueError(f"{name} must hold each row number once, got {numbers[counts > 1][0]} twice or more")
