"""The common factor of the strengths, learned: the one whose settled network has the largest evidence.

At a stationary point theta of F under a strength, f is taken for its linearisation f + J (theta' - theta).  Then the
labels it would have been fitted to, y' = J theta - loss' / loss'' (for the squared loss y - f + J theta), are normal
with covariance

    (noise / S w loss'') I + noise / (S strength) J C''^-1 J^T,

and with R = (w loss'')^1/2, K = R J C''^-1 J^T R and N = S outputs, minus their log evidence for a label is, the noise
at its likeliest,

    E(strength) = 1/2 log q + 1/(2 N) log det(I + K / strength),   q = (R y')^T (I + K / strength)^-1 R y'

(MacKay 1992; Immer et al. 2021, arXiv 2104.04975).  A log-normal hyperprior around the strength to begin with is added:
alone, at 64 labels, the evidence now and then falls all the way to the network that is constant.  The search goes
downhill from strength to strength by a factor of three, each settled from the last, and to the vertex of the parabola
through the three lowest.  With users that of their deviations alone is then learned the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fasttangent.model.given_strengths import FACTOR_ERROR
from fasttangent.model.settling import descend
from fasttangent.model.settling_state import OutOfTime, Settling
from fasttangent.problem.linearized_users import linearized
from fasttangent.problem.users_problem import UsersProblem
from fasttangent.solvers.dual_metric import DualMetric

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fasttangent.problem.problem import Problem

    Float = NDArray[np.float64]

STEP = np.log(3.0)
FEW_LABELS = 1000  # beyond, every point of the path takes seconds
MOST_STEPS, MOST_STEPS_OF_MANY = (
    3,
    1,
)  # either way; of labels without noise, every further one takes longer to settle
LEAST, LARGEST = 1e-9, 1e3  # strengths
CLOSE = 1e-5  # relative gradient at which a point of the path counts as settled
MOST_NEWTON_STEPS, MOST_NEWTON_STEPS_OF_MANY = 500, 150  # until it does
CONSTANT = 2.0  # parameters that the labels determine, below which the network is one
KEPT = ("strength", "criterion", "parameters")  # of a path, in the history of a model


@dataclass(frozen=True)
class Path:
    """Strengths that were tried, ascending, and what was found there.

    Attributes
    ----------
    strength : ndarray of float64, shape (m,)
    criterion : ndarray of float64, shape (m,)
        E, minus the log evidence for a label, with the hyperprior.
    parameters : ndarray of float64, shape (m,)
        Of the linearised network that the labels determine, trace K (K + strength)^-1.
    error : float
        Standard deviation of the log of the strength that was chosen, by the curvature of E: how flat the optimum is.
        inf where E still falls at the last strength that could be tried.
    """

    strength: Float
    criterion: Float
    parameters: Float
    error: float

    @property
    def history(self) -> dict[str, Float]:
        """As a model keeps it."""
        return {f"path_{name}": getattr(self, name) for name in KEPT}

    @classmethod
    def kept(cls, history: Mapping[str, Float], error: float) -> Path:
        """From the history of a model."""
        return cls(**{name: history[f"path_{name}"] for name in KEPT}, error=error)

    @property
    def chosen(self) -> float:
        """The strength of the lowest criterion."""
        return float(self.strength[np.argmin(self.criterion)])


def evidence(problem: Problem, theta: Float) -> tuple[float, float]:
    """E at a stationary point, and the number of parameters that the labels determine."""
    value, metric, roots = minus_log_evidence(problem, theta)
    return value, _determined(metric, roots)


def minus_log_evidence(problem: Problem, theta: Float) -> tuple[float, DualMetric, Float]:
    """E, and what it was computed by: the factored I + K / strength, and R."""
    strength, at = problem.objective.strength, linearized(problem, theta)
    metric = DualMetric(at, strength, whole=True)
    roots = at.kept.roots
    slopes = at.kept.slopes.reshape(at.n_blocks, len(roots), -1).transpose(1, 0, 2)
    y = at.times(theta) - np.divide(slopes, roots, out=np.zeros_like(roots), where=roots > 0)
    labels = problem.total * len(roots)
    q = metric.floor * float(np.sum(y * metric.dual_solution(y)))
    return 0.5 * np.log(max(q, 1e-300)) + metric.log_determinant / (2 * labels), metric, roots


def _determined(metric: DualMetric, roots: Float, probes: int = 32) -> float:
    """trace K (K + floor)^-1, by random vectors."""
    rng, total = np.random.default_rng(0), 0.0
    for _ in range(probes):
        z = rng.choice([-1.0, 1.0], roots.shape) * (roots > 0)
        total += float(np.sum(z * z) - metric.floor * np.sum(z * metric.dual_solution(z)))
    return total / probes


class Search:
    """Downhill in E over the logarithm of the strength."""

    def __init__(
        self,
        problem: Problem,
        theta: Float,
        deadline: float,
        report: Callable[..., None],
        move: Callable[[float], Problem] | None = None,
    ) -> None:
        self._problem, self._deadline, self._report = problem, deadline, report
        self._moved = problem.at_strength if move is None else move
        self._labels = problem.total * problem.rows.Y.shape[1]
        self._many = problem.rows.Y.size > FEW_LABELS
        self._first = np.log(problem.objective.strength)
        self._start = theta
        self._thetas: dict[float, Float] = {}
        self._found: dict[float, tuple[float, float]] = {}

    def run(self) -> None:
        """Raises OutOfTime or KeyboardInterrupt at any point; what was found until then stays."""
        first = self._first
        self._look(first + STEP)  # the way down in strength is the easier one
        self._look(first)
        most = MOST_STEPS_OF_MANY if self._many else MOST_STEPS
        for side in (STEP, -STEP):
            for k in range(1, most + 1):
                at = first + k * side
                if not np.log(LEAST) <= at <= np.log(LARGEST) or not self._look(at) <= self._best():
                    break
        vertex, _ = self._parabola()
        if vertex is not None:
            self._look(vertex)

    def _look(self, log: float) -> float:
        if log in self._found:
            return self._found[log][0]
        # Not from a network that is constant: nothing leads away from theta = 0, whatever the strength.
        near = min(
            (other for other, (_, determined) in self._found.items() if determined >= CONSTANT),
            key=lambda other: abs(other - log),
            default=None,
        )
        start = self._start if near is None else self._thetas[near]
        problem = self._moved(float(np.exp(log)))
        state = Settling(problem, start.copy(), np.empty((0, len(start))), self._deadline, self._tell)
        descend(state, CLOSE, MOST_NEWTON_STEPS_OF_MANY if self._many else MOST_NEWTON_STEPS)
        if state.gradient_norm > CLOSE and len(self._found) > 1:
            return np.inf  # a strength that takes so long is too small
        value, determined = evidence(problem, state.theta)
        if determined < CONSTANT and len(self._found) > 1:
            return np.inf  # and one that leaves a constant too large, whatever the evidence
        value += 0.5 * ((log - self._first) / FACTOR_ERROR) ** 2 / self._labels
        self._thetas[log], self._found[log] = state.theta, (value, determined)
        return self._found[log][0]

    def _tell(self, stage: str, done: int, total: int, **figures: float) -> None:
        self._report("strength", len(self._found), 0, **figures)

    def _best(self) -> float:
        return min((value for value, _ in self._found.values()), default=np.inf)

    def _parabola(self) -> tuple[float | None, float]:
        """Vertex of the parabola through the lowest point and its neighbours, and its second derivative."""
        logs = sorted(self._found)
        i = logs.index(self._lowest) if logs else 0
        if not 0 < i < len(logs) - 1:
            return None, 0.0
        a, b, c = logs[i - 1 : i + 2]
        left, right = ((self._found[x][0] - self._found[b][0]) / (x - b) for x in (a, c))
        bend = (right - left) / (c - a)  # half of the second derivative
        if not bend > 0:
            return None, 0.0
        slope = left + bend * (b - a)  # at b
        return min(max(b - slope / (2 * bend), a), c), 2 * bend

    @property
    def problem(self) -> Problem:
        """Under the best strength found, or the first."""
        if not self._found:
            return self._problem
        return self._moved(float(np.exp(self._lowest)))

    @property
    def theta(self) -> Float:
        """Its parameters, settled to `CLOSE`."""
        return self._thetas[self._lowest] if self._found else self._start

    @property
    def _lowest(self) -> float:
        return min(self._found, key=lambda log: self._found[log][0])

    @property
    def path(self) -> Path:
        """What was found."""
        logs = sorted(self._found)
        values, bend = np.array([self._found[log] for log in logs]).reshape(-1, 2), self._parabola()[1]
        error = 1 / np.sqrt(self._labels * bend) if bend > 0 else np.inf
        return Path(np.exp(logs), values[:, 0], values[:, 1], float(error))


def learned(
    problem: Problem, theta: Float, deadline: float, report: Callable[..., None]
) -> tuple[Problem, Float, Path, str]:
    """The problem under its likeliest strength, parameters near its minimum, the path there, and how it ended."""
    search, stopped = Search(problem, theta, deadline, report), "settled"
    last = search
    try:
        search.run()
        if isinstance(search.problem, UsersProblem):
            last = Search(search.problem, search.theta, deadline, report, _of_users(search.problem))
            last.run()
    except OutOfTime:
        stopped = "out of time"
    except KeyboardInterrupt:
        stopped = "interrupted"
    return last.problem, last.theta, search.path, stopped


def _of_users(problem: UsersProblem) -> Callable[[float], UsersProblem]:
    """The problem with another strength of the users' deviations, times the factor by which `strength` would move."""
    now = problem.objective.strength
    return lambda strength: problem.with_users_ratio(strength / now)
