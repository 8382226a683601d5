"""The objective on rows that memory does not hold: sums over blocks of rows that are read for each of them."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from fasttangent.common.handing import ahead
from fasttangent.problem.linearized import Linearized
from fasttangent.problem.network import Network
from fasttangent.problem.objective import Objective
from fasttangent.problem.problem import FLOAT64, Problem
from fasttangent.problem.stored_rows import StoredRows

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Float = NDArray[np.float64]


class StreamedProblem(Problem):
    """A `Problem` whose rows are read block by block in every pass; what needs all of them at once is not there.

    Parameters
    ----------
    network, objective : Network, Objective
    stored : StoredRows
    threads : int
    """

    def __init__(self, network: Network, objective: Objective, stored: StoredRows, threads: int) -> None:
        self._set_objective(network, objective)
        self.stored, self.total, self.threads = stored, stored.total, threads

    def parts(self) -> Iterator[Problem]:
        """Problems of a block of rows each, in order; the next block is read meanwhile."""
        blocks: Any = self.stored.blocks()
        with ahead(blocks) if self.threads > 1 else nullcontext(blocks) as read:
            for X, Y, w in read:
                yield self.with_rows(X, Y, w / self.total, self.threads)

    def with_rows(self, X: Float, Y: Float, w: Float, threads: int) -> Problem:
        return self._template.with_rows(X, Y, w, threads)

    @cached_property
    def _template(self) -> Problem:
        layout = self.network.layout
        one = np.zeros((1, layout.table[0, 0])), np.zeros((1, layout.table[-1, 1])), np.ones(1)
        return Problem(self.network, self.objective, *one, self.threads)

    def some(self, rows: NDArray[np.int64], factor: float) -> Problem:
        X, Y, w = self.stored.read(rows)
        return self.with_rows(X, Y, w / self.total * factor, self.threads)

    def sample(self, most: int, seed: int = 0) -> Problem:
        """So many rows drawn by chance, whose weights stand for all."""
        n = self.n_rows
        rows = np.sort(np.random.default_rng(seed).choice(n, min(most, n), replace=False))
        X, Y, w = self.stored.read(rows)
        return self.with_rows(X, Y, w / max(float(w.sum()), 1e-300), self.threads)

    def at_strength(self, strength: float) -> Problem:
        other = copy.copy(self)
        other.objective = replace(self.objective, strength=strength)
        vars(other).pop("_template", None)
        return other

    def alone(self) -> Problem:
        other = copy.copy(self)
        other.threads = 1
        return other

    def value(self, theta: Float, outputs: Float) -> float:
        value, at = 0.0, 0
        for part in self.parts():
            own = outputs[at : at + part.n_rows]
            value += part.value(theta, own) - part.objective.strength * part.complexity(theta)
            at += part.n_rows
        return value + self.objective.strength * self.complexity(theta)

    def predictions(self, theta: Float) -> Float:
        return np.concatenate([part.predictions(theta) for part in self.parts()])

    def residual_variance(self, theta: Float) -> float:
        return sum(part.residual_variance(theta) for part in self.parts())

    def _sums(self, theta: Float, V: Float, gauss_newton: bool) -> tuple[float, Float, Float]:
        value, g, HV = 0.0, np.zeros(len(theta)), np.zeros((len(V), len(theta)))
        for part in self.parts():
            more = part._sums(theta, V, gauss_newton)
            value += more[0]
            g += more[1]
            HV += more[2]
        return value, g, HV

    @property
    def n_rows(self) -> int:
        return len(self.stored)

    @property
    def n_labels(self) -> int:
        return self.stored.n_labels

    @property
    def n_learned(self) -> int:
        return self.stored.present


class StreamedLinearized(Linearized):
    """Products with the curvature at a point of which nothing is kept."""

    def __init__(self, problem: StreamedProblem, theta: Float, dtype: np.dtype = FLOAT64) -> None:
        self.problem, self.theta, self.dtype = problem, theta, dtype

    def product(self, v: NDArray[Any]) -> NDArray[Any]:
        return self.problem.product(self.theta, np.asarray(v, np.float64)[None])[0]
