"""`fit`: labelled rows in, a trained model with its tangent and certificate out."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fasttangent.common import checks
from fasttangent.common.progress import reporting
from fasttangent.model.certificate import Certificate, certify, unmeasured
from fasttangent.model.minibatch import DTYPES, Schedule, train
from fasttangent.model.model import Model
from fasttangent.model.posterior import draw
from fasttangent.model.scores import slope
from fasttangent.model.settling import settle as settle_down
from fasttangent.problem.network import Network
from fasttangent.problem.objective import Objective
from fasttangent.problem.problem import Problem
from fasttangent.problem.scaling import Scaling, fit_scaling, identity_scaling, transferred

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Float = NDArray[np.float64]

KINDS = ("strength", "posterior")  # of tangents


def fit(
    X: Any,
    y: Any,
    *,
    hidden: Sequence[int] = (64, 64),
    activation: str = "tanh",
    loss: str = "squared",
    delta: float = 1.0,
    strength: float = 1e-3,
    complexity: str = "l2",
    sample_weight: Any = None,
    optimizer: str = "adam",
    learning_rate: float = 1e-2,
    momentum: float = 0.9,
    epochs: int = 200,
    batch_size: int = 64,
    tangents: str | Sequence[str] | None = "strength",
    samples: int = 256,
    curvature: str = "gauss-newton",
    settle: bool | float = True,
    standardize: bool = True,
    validation: float | None = None,
    patience: int = 20,
    start: Model | None = None,
    dtype: str = "float32",
    seed: int = 0,
    threads: int | None = None,
    progress: bool | Callable[..., None] = False,
    feature_names: Sequence[str] | None = None,
) -> Model:
    """Train a multilayer perceptron together with its regularity tangent.

    Minimises F(theta) = (1/S) sum_i w_i loss(f(x_i), y_i) + strength C(theta), S = sum_i w_i, first by minibatch
    steps, then (`settle`) to a stationary point in float64, where tau = d theta / d strength is exact.

    Parameters
    ----------
    X : array_like of shape (n, n_features)
        Labelled rows, any real dtype, in any units.  A data frame's column names are kept and checked later.
    y : array_like of shape (n,) or (n, n_outputs)
        Labels, in any units.
    hidden : sequence of int
        Units of each hidden layer; () for a linear model.
    activation : {"tanh", "silu", "relu", "softplus", "gelu", "identity"}
        relu has kinks, at which a model may end without a gradient and so without a trusted tangent.
    loss : {"squared", "huber", "log-cosh"}
        Of the residual r in standard deviations of y: r^2/2, or robust versions of it.
    delta : float
        Residual at which the robust losses turn from quadratic to linear, in standard deviations of y.
    strength : float
        lambda >= 0.  Small strengths fit closer and settle slower; at 0 there is usually no tangent.
    complexity : {"l2", "l2-weights"}
        C = ||theta||^2 / 2 over all parameters, or over the weights alone (then units that went dead leave the
        tangent undetermined).
    sample_weight : array_like of shape (n,), optional
        w >= 0; 2 means a row twice, 0 no row.
    optimizer : {"adam", "momentum", "sgd"}
        Of the minibatch steps.
    learning_rate : float
        At first; it falls to zero along a cosine.
    momentum : float
        beta of Nesterov momentum, beta_1 of Adam.
    epochs, batch_size : int
        Passes over the rows and rows per step, before settling.
    tangents : "strength", "posterior", a sequence of them, or None
        "strength": the regularity tangent, carried along.  "posterior": tangents of noise, solved for at the end as
        `Model.with_posterior` does, for deviations, draws from the posterior and batches.  None: a plain regressor.
    samples : int
        How many tangents of noise.
    curvature : {"gauss-newton", "hessian"}
        The matrix that propagates the tangent during minibatch steps.
    settle : bool or float
        True: until stationary.  A number: for at most so many seconds, the certificate not counted.  False: not at
        all; such a model scores with the tangent of an early-stopped system and says so.
    standardize : bool
        Fit means and standard deviations of inputs and targets, and work in those units inside.
    validation : float, optional
        Share of the rows to hold back, to end minibatch steps when their loss stops falling.  The rows held back
        take no part in settling either.
    patience : int
        Epochs to wait for a lower validation loss.
    dtype : {"float32", "float64"}
        Of minibatch steps and of scores; settling is always in float64.
    start : Model, optional
        A model of the same network to start from (warm start), in place of random weights; its function is the
        same at first, also if inputs and targets are now scaled otherwise.
    seed : int
        Of initial weights, order of rows, validation split and noise: the same seed gives the same model.
    threads : int, optional
        Default: all cores.  Results do not depend on it.
    progress : bool or callable
        True: bars on stderr.  A callable gets (stage, done, total, **figures).
    feature_names : sequence of str, optional
        Default: the columns of X if it is a data frame.

    Returns
    -------
    Model
        After Ctrl-C, the model as far as it got, marked `interrupted`.

    Raises
    ------
    ValueError, TypeError
        For bad input, before any work starts.
    DivergenceError
        If the minibatch steps ran away.

    Examples
    --------
    >>> import numpy as np
    >>> import fasttangent as ft
    >>> rng = np.random.default_rng(0)
    >>> X = rng.uniform(-1, 1, (100, 2))
    >>> y = np.sin(3 * X[:, 0]) + X[:, 1] ** 2
    >>> model = ft.fit(X, y, hidden=(16,), strength=1e-2)
    >>> model.certificate.trusted
    True
    >>> model.sensitivity(X[:3]).shape
    (3,)

    References
    ----------
    Eaton 2024, "Regularity tangents", arXiv 2411.15292; Pearlmutter 1994 for the dual pass.
    """
    arguments = dict(locals())  # all of the above
    del arguments["progress"]
    return prepare(**arguments).run(progress)


def prepare(
    X: Any,
    y: Any,
    *,
    hidden: Sequence[int],
    activation: str,
    loss: str,
    delta: float,
    strength: float,
    complexity: str,
    sample_weight: Any,
    optimizer: str,
    learning_rate: float,
    momentum: float,
    epochs: int,
    batch_size: int,
    tangents: str | Sequence[str] | None,
    samples: int,
    curvature: str,
    settle: bool | float,
    standardize: bool,
    validation: float | None,
    patience: int,
    start: Model | None,
    dtype: str,
    seed: int,
    threads: int | None,
    feature_names: Sequence[str] | None,
) -> Prepared:
    """Check all arguments of `fit` but `progress`; what is left to do takes little memory until it is run."""
    objective = Objective(loss, delta, complexity, strength)
    schedule = Schedule(
        optimizer, learning_rate, momentum, epochs, batch_size, curvature, validation, patience
    )
    rows = checks.matrix("X", X, min_rows=2)
    Y = checks.targets("y", y, len(rows))
    w = checks.row_weights("sample_weight", sample_weight, len(rows))
    checks.finite("X", rows)
    checks.finite("y", Y)
    names = _names(
        X if feature_names is None else feature_names, rows.shape[1], given=feature_names is not None
    )
    network = _network(hidden, activation, rows.shape[1], 1 if Y.ndim == 1 else Y.shape[1])
    kinds = _kinds(tangents)
    samples = checks.integer("samples", samples, at_least=2)
    _check_start(start, network)
    budget = _seconds(settle)
    kind = np.dtype(checks.choice("dtype", dtype, DTYPES))
    n_threads = checks.thread_count(threads)
    rng = np.random.default_rng(checks.integer("seed", seed, at_least=0))
    standardize = checks.flag("standardize", standardize)

    keep, held_back = _split(len(rows), w, schedule.validation, rng)
    targets = Y.reshape(len(rows), -1)
    scaling = (
        fit_scaling(rows[keep], targets[keep], w[keep], names)
        if standardize
        else identity_scaling(rows.shape[1], targets.shape[1])
    )
    return Prepared(
        network=network,
        objective=objective,
        schedule=schedule,
        X=rows,
        Y=targets,
        w=w,
        keep=keep,
        held_back=held_back,
        scaling=scaling,
        names=names,
        flat_targets=Y.ndim == 1,
        kinds=kinds,
        samples=samples,
        start=start,
        budget=budget,
        kind=kind,
        seed=int(seed),
        rng=rng,
        threads=threads,
        n_threads=n_threads,
    )


@dataclass(eq=False)
class Prepared:
    """A fit whose arguments were checked, to be run once."""

    network: Network
    objective: Objective
    schedule: Schedule
    X: NDArray  # (n, n_features), as given
    Y: NDArray  # (n, n_outputs), as given
    w: Float  # (n,)
    keep: NDArray[np.int64]  # numbers of the rows to train on
    held_back: NDArray[np.int64]  # and of those for early stopping
    scaling: Scaling
    names: tuple[str, ...] | None
    flat_targets: bool
    kinds: tuple[str, ...]  # of tangents
    samples: int
    start: Model | None
    budget: float  # seconds of settling
    kind: np.dtype  # of minibatch steps
    seed: int
    rng: np.random.Generator
    threads: int | None  # as given
    n_threads: int
    _problem: Problem | None = None

    def use(self, n_threads: int) -> None:
        """Run with so many threads, from now on; also while it runs, from another thread."""
        self.n_threads = n_threads
        if self._problem is not None:
            self._problem.threads = n_threads

    def run(self, progress: bool | Callable[..., None]) -> Model:
        """Train, settle, certify."""
        problem = Problem(self.network, self.objective, *self._standard(self.keep), self.n_threads)
        self._problem = problem
        start = (
            self._first_params(),
            np.zeros((self.kinds.count("strength"), self.network.layout.n_params)),
        )
        held_back = self._standard(self.held_back)
        with reporting(progress) as report:
            run = _two_stages(
                problem, self.schedule, start, self.kind, self.rng, self.budget, report, held_back
            )
        tangents = {"strength": run.tangents[0]} if len(run.tangents) else {}
        noise, began = np.nan, time.perf_counter()
        if "posterior" in self.kinds and run.stopped != "interrupted":
            variance = problem.residual_variance(run.theta)
            tangents["posterior"], tangents["bias"], noise = draw(
                problem, run.theta, variance, self.samples, self.seed
            )
        return Model(
            network=self.network,
            objective=self.objective,
            scaling=self.scaling,
            params=run.theta,
            tangents=tangents,
            noise=noise,
            certificate=_certify(problem, run),
            slope_squared=mean_slope_squared(problem, run.theta),
            dtype=self.kind.name,
            feature_names=self.names,
            flat_targets=self.flat_targets,
            interrupted=run.stopped == "interrupted",
            training={
                "rows": problem.n_rows,
                **{name: value for name, value in asdict(self.schedule).items() if value is not None},
                "seed": self.seed,
                "stopped": run.stopped,
                "training_seconds": run.training_seconds,
                "settling_seconds": run.settling_seconds,
                "posterior_seconds": time.perf_counter() - began,
            },
            history={name: np.array(values) for name, values in run.history.items() if len(values)},
            threads=self.threads,
        )

    def _first_params(self) -> Float:
        if self.start is None:
            return self.network.initial_params(self.rng)
        return transferred(self.start.params, self.network.layout, self.start.scaling, self.scaling)

    def _standard(self, chosen: NDArray[np.int64]) -> tuple[Float, Float, Float]:
        """Inputs, targets and weights of the chosen rows, in standard units."""
        X, Y, float64 = self.X[chosen], self.Y[chosen], np.dtype(np.float64)
        return self.scaling.inputs(X, float64), self.scaling.targets(Y, float64), self.w[chosen]


@dataclass
class _Run:
    """What two stages of training end with."""

    theta: Float  # (p,)
    tangents: Float  # (K, p)
    stopped: str
    notes: tuple[str, ...]  # reasons for distrust that no measurement shows
    history: dict[str, list[float]]
    training_seconds: float
    settling_seconds: float


def _two_stages(
    problem: Problem,
    schedule: Schedule,
    start: tuple[Float, Float],
    kind: np.dtype,
    rng: np.random.Generator,
    budget: float,
    report: Callable[..., None],
    held_back: tuple[Float, Float, Float],
) -> _Run:
    """Minibatch steps from `start`, parameters and zero tangents; then settling within the budget."""
    clock = time.perf_counter
    began = clock()
    first = train(problem, schedule, start, kind, rng, report, held_back)
    trained = clock()
    if first.stopped == "interrupted" or budget == 0:
        notes = first.notes
        if first.stopped == "interrupted":
            notes = (*notes, "training was interrupted; fit again, and let it settle")
        return _Run(first.theta, first.tangents, first.stopped, notes, first.history, trained - began, 0.0)
    # A tangent lost in the first stage starts again from zero: settling solves for it.
    tangents = first.tangents if len(first.tangents) == len(start[1]) else start[1]
    second = settle_down(problem, first.theta, tangents, budget, report)
    return _Run(
        second.theta,
        second.tangents,
        second.stopped,
        () if second.stopped == "settled" else (f"settling ended early: {second.stopped}",),
        {**first.history, **second.history},
        trained - began,
        clock() - trained,
    )


def _kinds(tangents: Any) -> tuple[str, ...]:
    """What `tangents` of fit asks for."""
    if tangents is None:
        return ()
    asked = (tangents,) if isinstance(tangents, str) else tuple(tangents)
    for kind in asked:
        checks.choice("tangents", kind, KINDS)
    return asked


def _check_start(start: Any, network: Network) -> None:
    if start is None:
        return
    if not isinstance(start, Model):
        raise TypeError(f"start must be a Model, got {type(start).__name__}; pass what fit or load returned")
    if (start.network.sizes, start.network.activation) != (network.sizes, network.activation):
        raise ValueError(
            f"start must have the network to be fitted, {network}, got {start.network}; pass the same hidden and "
            f"activation, and rows of as many features and outputs"
        )


def _certify(problem: Problem, run: _Run) -> Certificate:
    try:
        return certify(problem, run.theta, run.tangents, run.notes)
    except KeyboardInterrupt:
        return unmeasured("the certificate was not measured, because of an interrupt; fit again")


def mean_slope_squared(problem: Problem, theta: Float) -> Float:
    """Weighted mean of loss'^2 over the training rows, per output: what curiosity takes for E[loss'^2]."""
    residual = problem.predictions(theta) - problem.rows.Y
    return np.sum(problem.rows.w[:, None] * slope(problem.objective, residual) ** 2, axis=0)


def _network(hidden: Any, activation: str, n_features: int, n_outputs: int) -> Network:
    try:
        widths = tuple(hidden)
    except TypeError:
        raise TypeError(
            f"hidden must be a sequence of layer widths, got {hidden!r}; one layer is (64,), a linear model ()"
        ) from None
    return Network((n_features, *widths, n_outputs), activation)


def _names(source: Any, n_features: int, *, given: bool) -> tuple[str, ...] | None:
    names = tuple(map(str, source)) if given else checks.column_names(source)
    if names is not None and len(names) != n_features:
        raise ValueError(f"feature_names must have {n_features} names, one per column of X, got {len(names)}")
    if names is not None and len(set(names)) != len(names):
        twice = next(c for c in names if names.count(c) > 1)
        raise ValueError(f"feature_names must differ, got {twice!r} more than once; rename the columns")
    return names


def _seconds(settle: Any) -> float:
    """The budget of the second stage."""
    if isinstance(settle, (bool, np.bool_)):
        return math.inf if settle else 0.0
    return checks.number("settle", settle, at_least=0)


def _split(
    n: int, w: Float, share: float | None, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Numbers of the rows to train on, those of weight 0 left out, and of those held back."""
    present = np.flatnonzero(w > 0)
    if share is None:
        return present, present[:0]
    n_held_back = round(share * len(present))
    if not 1 <= n_held_back <= len(present) - 2:
        raise ValueError(
            f"validation must leave at least 2 of the {len(present)} rows to train on and hold back 1, got {share}"
        )
    order = rng.permutation(present)
    return np.sort(order[n_held_back:]), np.sort(order[:n_held_back])
