"""`fit_with_learning_loss`: a network and the head that predicts its losses, trained together."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fasttangent.active.learned_losses.fit import calibrated
from fasttangent.active.learned_losses.folds import losses_of
from fasttangent.active.learned_losses.head import METHODS, HeadLayout, LossHead, check_hidden, kernel_head
from fasttangent.active.learned_losses.training import LEAST_ROWS, HeadTraining, adam, kernel_pairs
from fasttangent.common import checks
from fasttangent.common.errors import DivergenceError
from fasttangent.model.certificate import unmeasured
from fasttangent.model.labelled import OF_TABLE
from fasttangent.model.model import Model
from fasttangent.model.prepared import Prepared, prepare
from fasttangent.model.settings import SETTINGS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Float = NDArray[np.float64]


def fit_with_learning_loss(
    X: Any,
    y: Any,
    *,
    hidden: Sequence[int] = (64, 64),
    method: str = "learning-loss",
    weight: float = 1e-4,
    cut_off: float = 0.6,
    width: int = 16,
    margin: float = 1.0,
    epsilon: float = 0.1,
    decay: float = 0.03,
    head_learning_rate: float = 1e-3,
    learning_rate: float = 1e-2,
    epochs: int = 200,
    batch_size: int = 64,
    seed: int = 0,
    **settings: Any,
) -> tuple[Model, LossHead]:
    """Train a network and the head that predicts its losses together, as Learning Loss was published.

    Each step of Adam lowers  (1/S) sum_i w_i loss(f(x_i), y_i) + strength C(theta) + weight (mean loss of a pair),
    the losses l_i of a pair those of the moment and held constant.  The last term reaches the network through the
    hidden activations that the head reads, until its gradient is cut off; then the head alone goes on learning it.
    (The weight scales what reaches the network.  The head's own steps do not depend on it: Adam divides by the size
    of the gradient.)

    The head sees losses on training rows while they fall.  Where the network interpolates they say little of new
    rows, and `learning_loss` with folds ranks better.

    Parameters
    ----------
    X : array_like of shape (n, n_features)
        Labelled rows.
    y : array_like of shape (n,) or (n, n_outputs)
        Labels, in any units.
    hidden : sequence of int
        Units of each hidden layer, at least one.
    method : {"learning-loss", "learning-loss++"}
        As in `learning_loss`.  "learning-loss++" never touches the network, whatever `weight` and `cut_off`.
    weight : float
        Of the pairs' loss in the network; 0 trains the network as if there were no head.  1e-4 is what the authors
        took for squared errors (of poses); for classification it was 1.
    cut_off : float
        Share of the epochs after which the head's gradient no longer reaches the network, from 0 (never does) to
        1 (always does).  The authors took 0.6 (120 of 200 epochs, for images).
    width, margin, epsilon, decay
        As in `learning_loss`; epsilon is a share of the variance of y here.
    head_learning_rate, learning_rate : float
        Of the head and of the network, at first; they fall to zero along a cosine.
    epochs, batch_size : int
    seed : int
        Of initial weights, order of rows and pairs.
    **settings
        Further arguments of `fit`: activation, loss, delta, strength, complexity, sample_weight, momentum,
        standardize, start, dtype, threads, feature_names, categorical, columns.

    Returns
    -------
    model : Model
        Without tangents, and its certificate says so; ``fit(X, y, start=model, ...)`` goes on from it.
    head : LossHead

    Raises
    ------
    ValueError, TypeError
        For bad input, before any work starts.
    DivergenceError
        If the parameters ran away.

    Examples
    --------
    >>> import numpy as np
    >>> import fasttangent as ft
    >>> rng = np.random.default_rng(0)
    >>> X = rng.uniform(-1, 1, (200, 2))
    >>> y = X[:, 1] + np.exp(2 * X[:, 0]) * rng.normal(size=200) / 10
    >>> model, head = ft.fit_with_learning_loss(X, y, hidden=(16, 16), strength=0.1)
    >>> head.predict(X[:3]).shape
    (3,)

    References
    ----------
    Yoo & Kweon 2019, "Learning Loss for Active Learning", arXiv 1905.03677, section 3.
    """
    checks.choice("method", method, METHODS)
    weight = checks.number("weight", weight, at_least=0)
    cut_off = checks.number("cut_off", cut_off, at_least=0)
    if cut_off > 1:
        raise ValueError(f"cut_off must be a share of the epochs, from 0 to 1, got {cut_off}")
    margin, epsilon, head_learning_rate = (
        checks.number(name, value, above=0)
        for name, value in (
            ("margin", margin),
            ("epsilon", epsilon),
            ("head_learning_rate", head_learning_rate),
        )
    )
    decay = checks.number("decay", decay, at_least=0)
    checks.integer("epochs", epochs, at_least=1)
    checks.integer("batch_size", batch_size, at_least=LEAST_ROWS)
    one = _prepared(
        X,
        y,
        hidden=hidden,
        learning_rate=learning_rate,
        epochs=epochs,
        batch_size=batch_size,
        seed=seed,
        **settings,
    )
    layout = HeadLayout(method, check_hidden(one.network), checks.integer("width", width, at_least=1))
    through = weight if method == "learning-loss" else 0.0
    run = _Joint(one, layout, margin, epsilon, decay, head_learning_rate)
    for epoch in range(epochs):
        run.epoch(epoch, through if epoch < cut_off * epochs else 0.0)
    model = run.model()
    zeros, ones = np.zeros(layout.n_features), np.ones(layout.n_features)
    history = {"pair_loss": np.array(run.pair_losses)}
    head = LossHead(model, method, layout, run.head.params, zeros, ones, history=history, threads=one.threads)
    return model, calibrated(head, one.data.X, losses_of(model, one.data.X, one.data.Y), epsilon)


NOT_OURS = (
    "optimizer",
    "tangents",
    "samples",
    "curvature",
    "settle",
    "validation",
    "patience",
    "members",
)  # of fit's settings
OURS = tuple(name for name in SETTINGS if name not in NOT_OURS)
DATA = ("sample_weight", "start", "threads", *OF_TABLE)  # arguments of fit that are no settings


def _prepared(X: Any, y: Any, **given: Any) -> Prepared:
    """All that `fit` checks and standardises."""
    for name in given:
        if name not in (*OURS, *DATA):
            raise TypeError(
                f"{name} is not an argument of joint training; valid are those of its own and "
                f"{', '.join((*OURS, *DATA))}"
            )
    one = prepare(X, y, **given, tangents=None, settle=False)
    one.warn()
    if len(one.keep) < LEAST_ROWS:
        raise ValueError(
            f"X must have at least {LEAST_ROWS} rows, to be ranked in pairs, got {len(one.keep)}"
        )
    return one


class _Joint:
    """A network and its head, stepped by an epoch at a time."""

    def __init__(
        self,
        one: Prepared,
        layout: HeadLayout,
        margin: float,
        epsilon: float,
        decay: float,
        head_learning_rate: float,
    ) -> None:
        from fasttangent.kernels.rows import Rows

        dtype, schedule = one.kind, one.settings.schedule
        self.one, self.layout = one, layout
        self.problem = one.problem()
        X, Y, w = self.problem.rows
        self.rows = Rows(X.astype(dtype, copy=False), Y.astype(dtype, copy=False), w)
        theta = one.first_params()
        mask, strength = self.problem.mask, self.problem.objective.strength
        descent = adam(theta, mask, strength, dtype)
        self.descent = descent._replace(optimizer=descent.optimizer._replace(beta1=schedule.momentum))
        rate = head_learning_rate
        own = np.random.default_rng([one.settings.seed, 1])  # the network is the same for any head
        self.head = HeadTraining(layout, len(w), schedule.batch_size, rate, decay, dtype, own)
        zeros, ones = np.zeros(layout.n_features), np.ones(layout.n_features)
        self.kernel_head = kernel_head(layout, zeros, ones, dtype)
        self.pairs = kernel_pairs(layout.method, margin, epsilon, np.ones(1))
        self.losses: list[float] = []
        self.pair_losses: list[float] = []
        self.began = time.perf_counter()

    def epoch(self, epoch: int, weight: float) -> None:
        """All rows once, in pairs."""
        from fasttangent.kernels.learning_loss import Course, Joint, joint_epoch
        from fasttangent.kernels.rows import DataTerm

        head, schedule, n = self.head, self.one.settings.schedule, len(self.rows.w)
        head_rates = head.rates(schedule.epochs)
        rates = head_rates / head.learning_rate * schedule.learning_rate
        network, loss_of_rows = self.problem.network.kernel_view, self.problem.objective.kernel_loss
        data = DataTerm(self.rows, network, loss_of_rows, False)
        joint = Joint(data, self.kernel_head, self.pairs, weight)
        course = Course(self.one.rng.permutation(n), rates, head.done)
        same_moments = head.descent._replace(optimizer=self.descent.optimizer)
        loss, pair_loss = joint_epoch(self.descent, same_moments, joint, course, head_rates)
        head.done += head.n_batches
        self.losses.append(float(loss))
        self.pair_losses.append(float(pair_loss))
        if not (np.isfinite(loss) and np.isfinite(self.descent.state.theta).all()):
            raise DivergenceError(
                f"training diverged in epoch {epoch + 1} (loss {loss:.1e}, at first {self.losses[0]:.1e}); lower "
                f"the learning_rate, now {schedule.learning_rate:g}"
            )

    def model(self) -> Model:
        """The network as a model without tangents."""
        one, theta, schedule = self.one, self.descent.state.theta.astype(float), self.one.settings.schedule
        return one.model(
            self.problem,
            theta,
            tangents={},
            certificate=unmeasured(
                "trained together with a loss head, which carries no tangent; fit again, starting from this model"
            ),
            training={
                "optimizer": schedule.optimizer,
                "learning_rate": schedule.learning_rate,
                "momentum": schedule.momentum,
                "epochs": schedule.epochs,
                "batch_size": schedule.batch_size,
                "seed": one.settings.seed,
                "stopped": "done",
                "training_seconds": time.perf_counter() - self.began,
                "settling_seconds": 0.0,
            },
            history={"loss": np.array(self.losses)},
        )
