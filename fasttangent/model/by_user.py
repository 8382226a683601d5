"""A model of several users' rows as one plain model for each of them, and what is done user by user."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

import numpy as np

from fasttangent.model import scores
from fasttangent.model.scores import Scored, Scores
from fasttangent.model.users import SHARED, Users
from fasttangent.problem.objective import Objective
from fasttangent.problem.problem import Problem
from fasttangent.problem.users_problem import UsersProblem

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Float = NDArray[np.float64]
    Rows = NDArray[np.int64]


class OfUsers(scores.Trained, scores.Fitted, Protocol):
    """A model, of users or of none."""

    @property
    def objective(self) -> Objective: ...
    @property
    def users(self) -> Users | None: ...


M = TypeVar("M", bound=OfUsers)


def alone(model: M, number: int) -> M:
    """The model of one user by its number: parameters and tangents are what is shared plus its own."""
    if model.users is None:
        return model
    every = model.users.deviations(model.network.layout)
    tangents = {
        name: every.of_user(np.atleast_2d(values), number).reshape(*values.shape[:-1], every.n_params)
        for name, values in model.tangents.items()
    }
    if "groups" in tangents:
        tangents["groups"] = tangents["groups"][:-1]  # the last is that of users
    (params,) = every.of_user(model.params[None], number)
    objective = replace(model.objective, users=None)
    own = {"params": params, "tangents": tangents, "objective": objective, "users": None, "settings": None}
    return cast(M, replace(cast(Any, model), **own))


def numbers_of(model: OfUsers, users: Any, n: int) -> Rows | None:
    """The number of each row's user, from an argument."""
    if users is None:
        return None
    if model.users is None:
        raise ValueError(
            "users are for a model that was fitted with users=; this one knows none: leave it out"
        )
    return model.users.numbers("users", users, n)


def each(model: M, of: Rows | None, n: int) -> Iterator[tuple[M, Rows]]:
    """The models of the users, and which of n rows are theirs."""
    of = np.full(n, SHARED) if of is None else of
    order = np.argsort(of, kind="stable")
    users, first = np.unique(of[order], return_index=True)
    if not n:
        return
    for user, mine in zip(users, np.split(order, first[1:]), strict=True):
        yield alone(model, int(user)), mine


def each_chunk(
    model: Any,
    tangents: Float,
    rows: NDArray,
    of: Rows | None,
    threads: int,
    finish: Callable[[Any, NDArray, NDArray], None],
) -> Rows:
    """`scores.each_chunk` of users' rows; `finish` gets their numbers."""
    bad = [np.empty(0, np.int64)]
    along = replace(model, tangents={"along": tangents})
    for one, mine in each(along, of, len(rows)):

        def finish_mine(part: slice, f: NDArray, ft: NDArray, mine: Rows = mine) -> None:
            finish(mine[part], f, ft)

        wrong = scores.each_chunk(one, one.tangents["along"], rows[mine], threads, finish_mine)
        bad.append(mine[wrong])
    return np.sort(np.concatenate(bad))


def embedded(model: M, rows: NDArray, of: Rows | None, embed: Callable[[M, NDArray], NDArray]) -> NDArray:
    """Embeddings of users' rows, each by the model of its user."""
    E: NDArray | None = None
    for one, mine in each(model, of, len(rows)):
        own = embed(one, rows[mine])
        E = np.empty((len(rows), own.shape[1]), own.dtype) if E is None else E
        E[mine] = own
    return embed(alone(model, SHARED), rows) if E is None else E


def scored(model: OfUsers, rows: NDArray, of: Rows | None, threads: int | None) -> Scored:
    """`scores.scored`, of rows of one user after another."""
    if of is None or not len(rows):
        return scores.scored(model, rows, threads)
    parts = [(scores.scored(one, rows[mine], threads), mine) for one, mine in each(model, of, len(rows))]
    back = np.argsort(np.concatenate([mine for _, mine in parts]))
    joined = [
        np.concatenate(values)[back] for values in zip(*(part.scores for part, _ in parts), strict=True)
    ]
    return Scored(Scores(*joined), np.sort(np.concatenate([mine[part.bad] for part, mine in parts])))


def problem_of(model: OfUsers, rows: tuple[Float, Float, Float], of: Rows | None, threads: int) -> Problem:
    """The objective on X, Y in standard units and weights."""
    if model.users is None:
        return Problem(model.network, model.objective, *rows, threads)
    if of is None:
        raise ValueError(
            "rows of a model with users need users=, whose they are; where that cannot be passed, as to exact "
            "influence, refits and unlearning, models with users cannot be taken yet"
        )
    if (of == SHARED).any():
        raise ValueError(
            f"users must be ones that the model was fitted on, got another in row {int(np.argmin(of))}; leave such "
            f"rows out, or fit again"
        )
    every = model.users.deviations(model.network.layout)
    return UsersProblem(model.network, model.objective, rows, threads, every, of)
