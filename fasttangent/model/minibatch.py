"""The first stage of training: minibatch steps with a falling learning rate, the tangents carried along."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from fasttangent.common import checks, parallel
from fasttangent.common.errors import DivergenceError
from fasttangent.common.words import CURVATURES, OPTIMIZERS
from fasttangent.model.feeds import InMemory, Streamed, Window
from fasttangent.problem.problem import Problem
from fasttangent.problem.stored_rows import StoredRows
from fasttangent.problem.streamed_problem import StreamedProblem
from fasttangent.solvers import norm

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fasttangent.kernels.steps import Descent, State

    Float = NDArray[np.float64]
    Report = Callable[..., None]

CALL_SECONDS = 0.2  # of steps in one call of a kernel: how long Ctrl-C and the progress bar may wait
RESIDUALS = 20  # measurements of the tangent's residual in a training; each costs about a pass over the data
BLOW_UP = 1e6  # a loss this many times the first one cannot come back
SLOW_BEGINNING = 30  # times the first loss, from where steps too long are the reason and not too few
SLAB_ROWS = 64  # the least a thread is given of a minibatch: a block of rows
SLAB_PRODUCTS = 2_000_000  # and multiplications, some 20 microseconds
MOST_SLABS = 16
LARGE_NETWORK = (
    50_000  # parameters; from there on, adding up the gradients of many slabs takes longer than it saves
)
UPDATE_CHUNK = 8_192  # parameters that a thread updates at a time
LOST_TANGENT = 1e4  # relative residual; no tangent at all has 1, noise of minibatches up to 40 on the way


@dataclass(frozen=True)
class Schedule:
    """How the first stage steps.

    Parameters
    ----------
    optimizer : {"sgd", "momentum", "adam"}
        Plain, with Nesterov momentum, or Adam (Kingma & Ba 2015).
    learning_rate : float
        eta_0; step t of T uses eta_0 (1 + cos(pi t / T)) / 2.
    momentum : float
        beta of Nesterov momentum and beta_1 of Adam.
    epochs, batch_size : int
    curvature : {"gauss-newton", "hessian"}
        The matrix that propagates the tangent.  The Gauss-Newton matrix is positive semi-definite, so the
        tangent cannot run away where the network is not convex; with the Hessian the tangent of sgd and
        momentum is the exact derivative of the trained parameters.
    validation : float or None
        Share of the rows held back to stop early; None for none.
    patience : int
        Epochs without a better validation loss before training stops.
    """

    optimizer: str = "adam"
    learning_rate: float = 1e-2
    momentum: float = 0.9
    epochs: int = 200
    batch_size: int = 64
    curvature: str = "gauss-newton"
    validation: float | None = None
    patience: int = 20

    def __post_init__(self) -> None:
        def put(name: str, value: object) -> None:
            object.__setattr__(self, name, value)

        checks.choice("optimizer", self.optimizer, OPTIMIZERS)
        checks.choice("curvature", self.curvature, CURVATURES)
        put("learning_rate", checks.number("learning_rate", self.learning_rate, above=0))
        put("momentum", checks.number("momentum", self.momentum, at_least=0, below=1))
        put("epochs", checks.integer("epochs", self.epochs, at_least=0))
        put("batch_size", checks.integer("batch_size", self.batch_size, at_least=1))
        put("patience", checks.integer("patience", self.patience, at_least=1))
        if self.validation is not None:
            put("validation", checks.number("validation", self.validation, above=0, below=1))


@dataclass
class Trained:
    """What the first stage ends with, in float64."""

    theta: Float  # (p,)
    tangents: Float  # (K, p); (0, p) when none was carried or it diverged
    stopped: str  # "done", "early" or "interrupted"
    notes: tuple[str, ...] = ()
    history: dict[str, list[float]] = field(default_factory=dict)


def train(
    problem: Problem,
    schedule: Schedule,
    start: tuple[Float, Float],
    dtype: np.dtype,
    rng: np.random.Generator,
    report: Report,
    held_back: tuple[Float, Float, Float] | StoredRows | None = None,
) -> Trained:
    """Run minibatch steps, with the tangents carried along.

    Parameters
    ----------
    problem : Problem
        The training rows in standard units.
    schedule : Schedule
    start : (ndarray of float64, shape (p,), ndarray of float64, shape (K, p))
        Parameters and tangents with respect to the strength; K = 0 or 1.
    dtype : numpy.dtype
        Of the arithmetic.
    rng : numpy.random.Generator
        For the order of rows.
    report : callable
        Called as report("training", epoch, epochs, loss=...).
    held_back : (X, Y, w) or StoredRows, optional
        Rows for early stopping; none, or no rows, for none.

    Raises
    ------
    DivergenceError
        If the parameters run away.
    """
    run = _Run(problem, schedule, start, dtype, rng, report)
    watch = None
    if isinstance(held_back, StoredRows):
        other = StreamedProblem(problem.network, problem.objective, held_back, problem.threads)
        watch = _EarlyStopping(other, schedule.patience)
    elif held_back and len(held_back[0]):
        watch = _EarlyStopping(
            Problem(problem.network, problem.objective, *held_back, problem.threads), schedule.patience
        )
    stopped = "done"
    try:
        for epoch in range(schedule.epochs):
            run.epoch(epoch)
            if watch is not None and watch.seen(run, epoch):
                stopped = "early"
                break
    except KeyboardInterrupt:
        stopped = "interrupted"
    if watch is not None:
        watch.restore(run)
    return run.result(stopped)


def _slabs(batch_size: int, n_params: int) -> tuple[int, int]:
    """(rows in a slab, slabs in a minibatch): what a thread is given of a step.

    It depends on the problem alone, and so do the results.
    """
    rows = SLAB_ROWS if n_params < LARGE_NETWORK else 2 * SLAB_ROWS
    by_work = 3 * batch_size * n_params // SLAB_PRODUCTS
    n_slabs = max(1, min(batch_size // rows, by_work, MOST_SLABS))
    rows = SLAB_ROWS * -(-batch_size // (SLAB_ROWS * n_slabs))
    return rows, -(-batch_size // rows)


class _Run:
    def __init__(
        self,
        problem: Problem,
        schedule: Schedule,
        start: tuple[Float, Float],
        dtype: np.dtype,
        rng: np.random.Generator,
        report: Report,
    ) -> None:
        from fasttangent.kernels import helpers, rows, steps

        theta, tangents = start
        self.kernels = steps  # looked up once: a small network's epoch takes 40 microseconds
        self.given, self.schedule, self.rng, self.report = problem, schedule, rng, report
        self.state: State = steps.State(
            theta.astype(dtype),
            np.zeros(theta.shape, dtype),
            np.zeros(theta.shape, dtype),
            tangents.astype(dtype),
            np.zeros(tangents.shape, dtype),
        )
        self.feed: InMemory | Streamed
        if isinstance(problem, StreamedProblem):
            self.feed = Streamed(problem, dtype, schedule.batch_size)
        else:
            self.feed = InMemory(problem, dtype, schedule.batch_size)
        #: what first and last losses and residuals of the tangent are measured on
        self.problem = self.feed.measured
        self.data = rows.DataTerm(  # of no rows yet
            rows.Rows(*(np.empty((0, 0), dtype),) * 2, np.empty(0)),
            problem.network.kernel_view,
            problem.objective.kernel_loss,
            schedule.curvature == "gauss-newton",
        )
        self.penalty = steps.Penalty(problem.mask.astype(dtype), problem.objective.strength)
        self.optimizer = steps.Optimizer(
            steps.CODES[schedule.optimizer], schedule.momentum, 0.999, 1e-8 if dtype == np.float64 else 1e-7
        )
        self.batch_size, self.n_batches = self.feed.batch_size, self.feed.n_batches
        self.slab_rows, self.n_slabs = _slabs(self.batch_size, problem.network.layout.n_params)
        self.done = 0
        self.steps_per_call = 1
        self.kept: Descent | None = None
        self.first_loss = self.problem.value_and_gradient(theta)[0]
        helpers.take_part()
        self.notes: tuple[str, ...] = ()
        self.history: dict[str, list[float]] = {
            name: []
            for name in (
                "epoch",
                "loss",
                "learning_rate",
                "validation_loss",
                "residual_epoch",
                "tangent_residual",
            )
        }
        every = max(1, schedule.epochs // RESIDUALS)
        self.residual_epochs = set(range(every - 1, schedule.epochs, every)) | {schedule.epochs - 1}

    def epoch(self, epoch: int) -> None:
        """All minibatches once, in random order, in calls short enough to be interrupted between."""
        loss, rate = 0.0, 0.0
        with self.feed.epoch(self.rng, self.given.threads) as windows:
            for window in windows:
                loss, rate = self._window(window, loss, epoch)
        self._record(epoch, loss, rate)

    def _window(self, window: Window, loss: float, epoch: int) -> tuple[float, float]:
        """The minibatches of some rows: the losses of the epoch so far, added up, and the last learning rate."""
        self.data = self.data._replace(rows=window.rows)
        total_steps = self.schedule.epochs * self.n_batches
        first, n_batches, rates = 0, -(-len(window.order) // self.batch_size), np.empty(0)
        while first < n_batches:
            n_steps = min(self.steps_per_call, n_batches - first)
            at = self.done + np.arange(n_steps)
            rates = self.schedule.learning_rate * 0.5 * (1 + np.cos(np.pi * at / total_steps))
            start = time.perf_counter()
            for of_step in self._steps(
                window.order, first, rates
            ):  # one by one: a call may hold any number of them
                loss += of_step * window.share
            first, self.done = first + n_steps, self.done + n_steps
            if time.perf_counter() - start < CALL_SECONDS / 2:
                self.steps_per_call *= 2
            self._check(loss, epoch)
        return loss, float(rates[-1])

    def _steps(self, order: NDArray[np.int64], first: int, rates: Float) -> list[float]:
        """Steps of one call of a kernel, in as many threads as have something to do; each step's sum of row losses."""
        descent = self._descent(len(rates))
        batches = self.kernels.Minibatches(order, self.batch_size, first, rates, self.done)

        def steps(_: int) -> None:
            self.kernels.train_steps(descent, self.data, batches)

        n_threads = min(self.given.threads, self.n_slabs)
        parallel.run(steps, n_threads, n_threads)
        return descent.slabs.losses.sum(axis=1).tolist()

    def _descent(self, n_steps: int) -> Descent:
        """Everything about the next steps but the data; made anew where their number or the state is another."""
        kept = self.kept
        if kept is not None and kept.state is self.state and len(kept.slabs.losses) == n_steps:
            kept.slabs.counters[:] = 0
            return kept
        dtype, (K, p) = self.state.theta.dtype, self.state.tangents.shape
        slabs = self.kernels.Slabs(
            self.slab_rows,
            UPDATE_CHUNK,
            np.empty((self.n_slabs, p), dtype),
            np.empty((self.n_slabs, K, p), dtype),
            np.empty((n_steps, self.n_slabs)),
            np.zeros(2, np.int64),
        )
        self.kept = self.kernels.Descent(self.state, self.penalty, self.optimizer, slabs)
        return self.kept

    def _check(self, loss: float, epoch: int) -> None:
        """Stop at once when the parameters have run away; drop a tangent that has."""
        worst = BLOW_UP * max(self.first_loss, 1.0)
        if not loss < worst or not np.isfinite(self.state.theta).all():
            raise self._diverged(epoch, loss)
        if not np.isfinite(self.state.tangents).all():
            self._drop_tangent(f"the tangent overflowed in epoch {epoch + 1} of the first stage")

    def _judge(self, theta: Float) -> None:
        """Tell divergence from a slow beginning: few steps of a wide network may leave some times the first loss."""
        loss = self.problem.value_and_gradient(theta)[0]
        if loss <= 1.5 * self.first_loss:
            return
        if not loss < SLOW_BEGINNING * self.first_loss:
            raise self._diverged(self.schedule.epochs - 1, loss)
        self.notes = (
            *self.notes,
            f"the first stage ended at a loss of {loss:.1e}, above the {self.first_loss:.1e} at first; train for more "
            f"epochs, settle, or lower the learning_rate, now {self.schedule.learning_rate:g}",
        )

    def _diverged(self, epoch: int, loss: float) -> DivergenceError:
        return DivergenceError(
            f"training diverged in epoch {epoch + 1} (loss {loss:.1e}, at first {self.first_loss:.1e}); lower the "
            f"learning_rate, now {self.schedule.learning_rate:g}"
        )

    def _drop_tangent(self, why: str) -> None:
        self.state = self.state._replace(tangents=self.state.tangents[:0], mt=self.state.mt[:0])
        advice = 'settle, use curvature="gauss-newton", or lower the learning_rate'
        self.notes = (*self.notes, f"{why}; {advice}")

    def _record(self, epoch: int, loss: float, rate: float) -> None:
        self.history["epoch"].append(epoch)
        self.history["loss"].append(loss)
        self.history["learning_rate"].append(rate)
        if len(self.state.tangents) and epoch in self.residual_epochs:
            self.history["residual_epoch"].append(epoch)
            self.history["tangent_residual"].append(self._residual())
        self.report("training", epoch + 1, self.schedule.epochs, loss=loss)

    def _residual(self) -> float:
        """Relative residual of the tangent in the system that propagates it."""
        theta, tau = self.state.theta.astype(float), self.state.tangents.astype(float)
        gauss_newton = self.schedule.curvature == "gauss-newton"
        residual = self.problem.tangent_residual(theta, tau, gauss_newton=gauss_newton)
        pull = norm(self.problem.complexity_gradient(theta))
        return max(norm(r) for r in residual) / pull if pull > 0 else 0.0

    def result(self, stopped: str) -> Trained:
        theta = self.state.theta.astype(float)
        if not np.isfinite(theta).all():  # an interrupt came before `_check` did
            raise self._diverged(len(self.history["epoch"]), np.nan)
        if stopped == "done" and self.schedule.epochs:
            self._judge(theta)
        if not np.isfinite(self.state.tangents).all():
            self._drop_tangent("the tangent overflowed in the first stage")
        elif len(self.state.tangents) and self.done and self._residual() > LOST_TANGENT:
            self._drop_tangent(f"the tangent diverged in the first stage (residual {self._residual():.1e})")
        return Trained(theta, self.state.tangents.astype(float), stopped, self.notes, self.history)


class _EarlyStopping:
    """Keep the parameters with the lowest validation loss; stop when it has not fallen for `patience` epochs."""

    def __init__(self, problem: Problem, patience: int) -> None:
        self.problem, self.patience = problem, patience
        self.best, self.best_epoch = np.inf, -1
        self.kept: tuple[NDArray, NDArray] | None = None

    def seen(self, run: _Run, epoch: int) -> bool:
        """Measure after an epoch; True when it is time to stop."""
        theta = run.state.theta.astype(float)
        penalty = self.problem.objective.strength * self.problem.complexity(theta)
        loss = self.problem.value_and_gradient(theta)[0] - penalty
        run.history["validation_loss"].append(loss)
        if loss < self.best:
            self.best, self.best_epoch = loss, epoch
            self.kept = (run.state.theta.copy(), run.state.tangents.copy())
        return epoch - self.best_epoch >= self.patience

    def restore(self, run: _Run) -> None:
        if self.kept is not None:
            theta, tangents = self.kept
            run.state = run.state._replace(theta=theta)
            if len(run.state.tangents):  # not dropped since
                run.state = run.state._replace(tangents=tangents)
