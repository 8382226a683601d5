"""A fit of more rows than are held in float64 beside what is kept of each of them: both stages read them in blocks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from fasttangent.model.given_strengths import objective_of
from fasttangent.model.labelled import Labelled
from fasttangent.model.members import Members
from fasttangent.model.model import Model
from fasttangent.model.prepared import Prepared, checked
from fasttangent.model.settings import EPOCHS, FitSettings
from fasttangent.model.stages import Stages, two_stages
from fasttangent.problem.network import Network
from fasttangent.problem.scaling import Scaling, check_squares, identity_scaling
from fasttangent.problem.stored_rows import StoredRows, blocks, stored_scaling
from fasttangent.problem.streamed_problem import StreamedProblem

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fasttangent.problem.problem import Problem

MANY = 1 << 17  # rows, from which on they are read in blocks where memory would have to hold more than
MOST_KEPT = 1 << 30  # bytes of activations and their like, which settling keeps of every row
PASSED = (
    EPOCHS * MANY
)  # rows that steps are taken with, if epochs are not given: as many as of the most rows held


def many(n_rows: int, network: Network) -> bool:
    """Whether rows are to be read in blocks: their number and the units decide, not where they are."""
    units = int(np.sum(network.layout.table[:, 0] + 1))
    return n_rows > MANY and 40 * units * n_rows > MOST_KEPT


def is_many(settings: FitSettings, data: Labelled) -> bool:
    """Whether a fit is to read rows in blocks; users, and tangents of noise, need them all at once."""
    network = settings.network(data.X.shape[1], data.Y.shape[1])
    return data.users is None and "posterior" not in settings.tangents and many(len(data.X), network)


def usual_epochs(n_rows: int) -> int:
    """Where the caller does not say: steps count, not passes."""
    return max(1, min(EPOCHS, -(-PASSED // n_rows)))


class PreparedMany(Prepared):
    """`Prepared` of many rows."""

    def _divide(self) -> None:
        self._w = self._held_back_w = self.data.w
        if self.settings.validation is None:
            return
        super()._divide()
        out = np.zeros(len(self.data.w), bool)
        out[self.held_back] = True
        self._w, self._held_back_w = np.where(out, 0.0, self._w), np.where(out, self._w, 0.0)
        del self.keep, self.held_back

    def _scaling(self) -> Scaling:
        X, Y, w = self.data.X, self.data.Y, self._w
        if self.settings.standardize:
            return stored_scaling(X, Y, w, self.data.inputs)
        for name, A in (("X", X), ("y", Y)):
            for part in blocks(A):
                check_squares(name, A[part], self.data.w[part] > 0, self.kind, part.start)
        return identity_scaling(X.shape[1], Y.shape[1])

    @property
    def learns(self) -> bool:
        return False

    def _stored(self, w: NDArray[np.float64]) -> StoredRows:
        return StoredRows(self.data.X, self.data.Y, w, self.scaling)

    def problem(self) -> Problem:
        """The objective on the rows to train on."""
        of_rows = self.data.X[:0], self.data.Y, self._w  # their number is what it depends on
        objective = self.objective or objective_of(self.settings, self.network, self.data.groups, of_rows)
        return StreamedProblem(self.network, objective, self._stored(self._w), self.n_threads)

    def train(self, problem: Problem, tangents: int, report: Callable[..., None]) -> Stages:
        """Both stages, without the certificate."""
        start = self.first_params(), np.zeros((tangents, self.network.layout.n_params))
        held_back = None if self.settings.validation is None else self._stored(self._held_back_w)
        return two_stages(problem, self.settings, start, self.rng, report, held_back=held_back)


def prepare_fit(
    X: Any,
    y: Any,
    sample_weight: Any = None,
    start: Model | Members | None = None,
    threads: int | None = None,
    users: Any = None,
    **others: Any,
) -> Prepared:
    """As `prepare`, and of many rows one that reads them in blocks."""
    given = others.pop("epochs", None)
    if given is not None:
        others["epochs"] = given
    settings, data = checked(X, y, sample_weight, start, users, **others)
    if not is_many(settings, data):
        return Prepared(settings, data, start, threads)
    if sample_weight is None:
        data = replace(data, w=np.broadcast_to(np.ones(1), data.w.shape))  # which takes no memory
    if given is None:
        settings = replace(settings, epochs=usual_epochs(len(data.X)))
    return PreparedMany(settings, data, start, threads)
