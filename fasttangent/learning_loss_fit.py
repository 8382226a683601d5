"""`learning_loss`: a head trained on the losses of labelled rows, on top of a model that is left as it is."""

from __future__ import annotations

import math
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from fasttangent import checks
from fasttangent.fitting import Prepared, prepare
from fasttangent.fitting_many import SIGNATURE
from fasttangent.influence import outputs_of_rows
from fasttangent.learning_loss_head import (
    METHODS,
    HeadLayout,
    LossHead,
    check_hidden,
    features_of,
    kernel_head,
    moments,
)
from fasttangent.objective import Problem
from fasttangent.training import train

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fasttangent.kernels.steps import Optimizer, Penalty, Slabs, State
    from fasttangent.model import Model

    Float = NDArray[np.float64]

LEAST_ROWS = 4  # two pairs
FLATTEST = 1e-3  # the least temperature times spread of v: a head that cannot rank still orders, faintly


def learning_loss(
    model: Model,
    X: Any,
    y: Any,
    *,
    method: str = "learning-loss++",
    folds: int | None = 5,
    repeats: int = 1,
    width: int = 16,
    margin: float = 1.0,
    epsilon: float = 0.1,
    epochs: int = 100,
    batch_size: int = 64,
    learning_rate: float = 1e-3,
    decay: float = 0.03,
    seed: int = 0,
    threads: int | None = None,
) -> LossHead:
    """Train a head on the hidden activations of a model to predict the loss of a row: learned failure finding.

    The head gives v(x) from the activations h_1 ... h_L, standardised, and is trained on pairs of rows, the i-th
    from either end of a shuffled minibatch, to order their losses l:

    * "learning-loss" (Yoo & Kweon 2019): v = c . [relu(A_1 h_1), ..., relu(A_L h_L)], and a pair costs
      max(0, -sign(l_i - l_j) (v_i - v_j) + margin);
    * "learning-loss++" (Shukla & Ahmed 2021): z_1 = h_1, z_{l+1} = h_{l+1} + relu(W_l z_l), a narrowing stack of
      relu layers down to one value, and a pair costs KL(p || q) with p_i = (l_i + eps) / (l_i + l_j + 2 eps) and
      q_i = exp(v_i) / (exp(v_i) + exp(v_j)): its gradient (q_i - p_i) grad (v_i - v_j) weighs a pair by how much
      its losses differ, where the margin counts every pair alike.

    The model stays as it is; `fit_with_learning_loss` trains both together.

    Parameters
    ----------
    model : Model
        With at least one hidden layer.
    X : array_like of shape (n, n_features)
        Labelled rows; those that the model was fitted on, where `folds` is given.
    y : array_like of shape (n,) or (n, n_outputs)
        Labels, in the units of y.
    method : {"learning-loss++", "learning-loss"}
    folds : int or None
        A model that interpolates has no losses left on its training rows.  With folds, the losses are those of
        models of the same settings, fitted without the row's fold and not settled; the features are the model's.
        None: the losses of the model itself, for rows that it was not fitted on.
    repeats : int
        Of the division into folds; the losses are averaged.  Four rank a little better and take four times as long.
    width : int
        "learning-loss": units that each hidden layer is mapped to.  "learning-loss++": units at which the stack
        stops narrowing.
    margin : float
        Of "learning-loss".
    epsilon : float
        eps of "learning-loss++", as a share of the mean loss: below it, losses count as equal.
    epochs, batch_size : int
    learning_rate : float
        Of Adam, at first; it falls to zero along a cosine.
    decay : float
        Weight decay: decay ||weights||^2 / 2 is added to the mean loss of a pair.
    seed : int
        Of folds, initial weights and pairs.
    threads : int, optional
        Default: all cores.  They share the folds; the head itself is trained by one.  Results do not depend on it.

    Returns
    -------
    LossHead

    Raises
    ------
    ValueError, TypeError
        For bad input, before any work starts.
    DivergenceError
        If the fit of a fold ran away.

    Examples
    --------
    >>> import numpy as np
    >>> import fasttangent as ft
    >>> rng = np.random.default_rng(0)
    >>> X = rng.uniform(-1, 1, (200, 2))
    >>> y = X[:, 1] + np.exp(2 * X[:, 0]) * rng.normal(size=200) / 10
    >>> model = ft.fit(X, y, hidden=(16, 16), strength=1e-2, settle=False)
    >>> head = ft.learning_loss(model, X, y)
    >>> left, right = head.predict([[-0.9, 0.0], [0.9, 0.0]])
    >>> bool(left < right)
    True

    Notes
    -----
    Spearman correlation with the true losses of 3,000 new rows, mean over three data sets of 300 labels and two
    seeds, hidden (64, 64): 0.19 with losses in sample, 0.33 with folds, 0.36 with four repeats of them ("learning-loss"
    and "learning-loss++" alike).  Features of each fold's own model, which has not seen the row, come out no better:
    0.29 if the head then reads the model's, 0.34 averaged over the models of all folds, at five times the cost of
    a prediction.

    References
    ----------
    Yoo & Kweon 2019, "Learning Loss for Active Learning", arXiv 1905.03677; Shukla & Ahmed 2021, "A Mathematical
    Analysis of Learning Loss for Active Learning in Regression", arXiv 2104.09315.
    """
    checks.choice("method", method, METHODS)
    hidden = check_hidden(model.network)
    layout = HeadLayout(method, hidden, checks.integer("width", width, at_least=1))
    rows, Y = model._labelled(X, y)
    checks.finite("X", rows)
    if len(rows) < LEAST_ROWS:
        raise ValueError(f"X must have at least {LEAST_ROWS} rows, to be ranked in pairs, got {len(rows)}")
    margin, epsilon, learning_rate = (
        checks.number(name, value, above=0)
        for name, value in (("margin", margin), ("epsilon", epsilon), ("learning_rate", learning_rate))
    )
    decay = checks.number("decay", decay, at_least=0)
    repeats = checks.integer("repeats", repeats, at_least=1)
    epochs = checks.integer("epochs", epochs, at_least=1)
    batch_size = checks.integer("batch_size", batch_size, at_least=LEAST_ROWS)
    rng = np.random.default_rng(checks.integer("seed", seed, at_least=0))
    n_threads = checks.thread_count(threads)
    if folds is None:
        losses = losses_of(model, rows, Y)
    else:
        losses = np.mean(
            [cross_fitted_losses(model, rows, Y, folds, rng, n_threads) for _ in range(repeats)], axis=0
        )
    dtype = np.dtype(model.dtype)
    inputs = model.scaling.inputs(rows, dtype)
    plain = kernel_head(layout, np.zeros(layout.n_features), np.ones(layout.n_features), dtype)
    centre, spread = moments(features_of(model, inputs, layout, plain))
    head = kernel_head(layout, centre, spread, dtype)
    H = features_of(model, inputs, layout, head)
    training = HeadTraining(layout, len(losses), batch_size, learning_rate, decay, dtype, rng)
    pairs = kernel_pairs(method, margin, epsilon, losses)
    history = [training.epoch(H, losses, head, pairs, epochs) for _ in range(epochs)]
    found = LossHead(
        model,
        method,
        layout,
        training.params,
        centre,
        spread,
        folds=folds,
        history={"pair_loss": np.array(history)},
        threads=threads,
    )
    return calibrated(found, rows, losses, epsilon)


def kernel_pairs(method: str, margin: float, epsilon: float, losses: Float) -> Any:
    """What kernels know of the loss of a pair; epsilon in units of the losses."""
    from fasttangent.kernels.learning_loss import CODES, Pairs

    return Pairs(CODES[method], margin, max(epsilon * float(losses.mean()), np.finfo(float).tiny))


class HeadTraining:
    """A head's weights and the moments of Adam, stepped by an epoch at a time."""

    def __init__(
        self,
        layout: HeadLayout,
        n_rows: int,
        batch_size: int,
        learning_rate: float,
        decay: float,
        dtype: np.dtype,
        rng: np.random.Generator,
    ) -> None:
        self.n_rows, self.n_batches = n_rows, -(-n_rows // batch_size)
        self.learning_rate, self.done, self.rng = learning_rate, 0, rng
        start, mask = layout.initial_params(rng), layout.weight_mask()
        self.state, self.penalty, self.optimizer, self.slabs = adam(start, mask, decay, dtype)

    @property
    def params(self) -> Float:
        return self.state.theta.astype(float)

    def rates(self, epochs: int) -> Float:
        """Learning rates of the steps of the next epoch."""
        at = (self.done + np.arange(self.n_batches)) / (epochs * self.n_batches)
        return self.learning_rate * 0.5 * (1 + np.cos(np.pi * at))

    def epoch(self, H: NDArray, losses: Float, head: Any, pairs: Any, epochs: int) -> float:
        """All rows once, in pairs; the mean loss of a pair."""
        from fasttangent.kernels.learning_loss import Course, head_epoch

        course = Course(self.rng.permutation(self.n_rows), self.rates(epochs), self.done)
        mean = head_epoch(
            self.state, H, losses, course, head, pairs, self.penalty, self.optimizer, self.slabs
        )
        self.done += self.n_batches
        return float(mean)


def adam(
    start: Float, mask: Float, strength: float, dtype: np.dtype
) -> tuple[State, Penalty, Optimizer, Slabs]:
    """Adam from `start` without tangents, gradients in a single slab."""
    from fasttangent.kernels import steps

    p = len(start)
    none = np.empty((0, p), dtype)
    state = steps.State(
        start.astype(dtype), np.zeros(p, dtype), np.zeros(p, dtype), none, np.empty((0, p), dtype)
    )
    optimizer = steps.Optimizer(steps.ADAM, 0.9, 0.999, 1e-8 if dtype == np.float64 else 1e-7)
    slabs = steps.Slabs(
        0, p, np.empty((1, p), dtype), np.empty((1, 0, p), dtype), np.empty((0, 0)), np.zeros(2, np.int64)
    )
    return state, steps.Penalty(mask.astype(dtype), strength), optimizer, slabs


def losses_of(model: Model, rows: NDArray, Y: NDArray) -> Float:
    """The loss of each row, in the units of the model's objective, summed over outputs."""
    return standard_losses(model, model.predict(rows).reshape(len(rows), -1), Y)


def standard_losses(model: Model, predictions: NDArray, Y: NDArray) -> Float:
    """The losses of predictions (n, n_outputs) in units of y, as the model's objective counts them."""
    from fasttangent.kernels.learning_loss import row_losses

    float64 = np.dtype(np.float64)
    f, losses = model.scaling.targets(predictions, float64), np.empty(len(Y))
    row_losses(losses, f, model.scaling.targets(Y, float64), model.objective.kernel_loss)
    return losses


def cross_fitted_losses(
    model: Model, rows: NDArray, Y: NDArray, folds: Any, rng: np.random.Generator, threads: int
) -> Float:
    """The loss of each row under a network of the same settings that was trained without the row's fold."""
    from fasttangent.kernels import threads as pool

    parts = fold_numbers(len(rows), folds, rng)
    runs, predictions = prepared_folds(model, rows, Y, parts), np.empty(Y.shape)

    def task(k: int) -> None:
        theta, none = trained(runs[k]), np.empty((0, model.network.layout.n_params))
        network, scaling, kind = runs[k].network, runs[k].scaling, runs[k].kind
        found = outputs_of_rows(network, scaling, theta, none, rows[parts[k]], kind, 1)
        predictions[parts[k]] = scaling.predictions(found.f)

    pool.run(task, len(parts), threads)
    return standard_losses(model, predictions, Y)


def fold_numbers(n: int, folds: Any, rng: np.random.Generator) -> list[NDArray[np.int64]]:
    """Row numbers of each fold."""
    folds = checks.integer("folds", folds, at_least=2)
    if folds > n // 2:
        raise ValueError(f"folds must be at most {n // 2}, half the rows, got {folds}")
    return [np.sort(part) for part in np.array_split(rng.permutation(n), folds)]


def prepared_folds(model: Model, rows: NDArray, Y: NDArray, parts: list[NDArray[np.int64]]) -> list[Prepared]:
    """For each fold the fit of all other rows, checked and not yet run."""
    every, settings, found = np.arange(len(rows)), settings_of(model), []
    with warnings.catch_warnings():  # a column that varies in all rows together may be constant in four folds
        warnings.filterwarnings("ignore", "X is constant in column", UserWarning)
        for k, part in enumerate(parts):
            others = np.setdiff1d(every, part)
            bound = SIGNATURE.bind(rows[others], Y[others], **settings)
            bound.apply_defaults()
            del bound.arguments["progress"]
            try:
                found.append(prepare(**bound.arguments))
            except ValueError as error:
                raise ValueError(f"without the rows of fold {k}, {error}") from None
    return found


def trained(one: Prepared) -> Float:
    """Parameters after the minibatch steps of a fit: no settling and no certificate, which takes longer than they."""
    problem = Problem(one.network, one.objective, *one._standard(one.keep), 1)
    start = one.network.initial_params(one.rng), np.empty((0, one.network.layout.n_params))
    held_back = one._standard(one.held_back)
    run = train(problem, one.schedule, start, one.kind, one.rng, lambda *_, **__: None, held_back)
    if run.stopped == "interrupted":
        raise KeyboardInterrupt
    return run.theta


def settings_of(model: Model) -> dict[str, Any]:
    """The arguments of `fit` for another model like this one, without tangents and not settled."""
    training = model.training
    if "epochs" not in training:
        raise ValueError(
            "folds needs a model that knows how it was trained, got one not made by fit; pass folds=None and rows "
            "that it was not fitted on"
        )
    scaling = model.scaling
    standard = not (
        np.all(scaling.x_scale == 1) and np.all(scaling.y_scale == 1) and not scaling.x_mean.any()
    )
    names = (
        "optimizer",
        "learning_rate",
        "momentum",
        "epochs",
        "batch_size",
        "validation",
        "patience",
        "seed",
    )
    return {
        "hidden": model.network.sizes[1:-1],
        "activation": model.network.activation,
        "loss": model.objective.loss,
        "delta": model.objective.delta,
        "strength": model.objective.strength,
        "complexity": model.objective.complexity,
        "standardize": standard,
        "dtype": model.dtype,
        "tangents": None,
        "settle": False,
        **{name: training[name] for name in names if name in training},
    }


def calibrated(head: LossHead, rows: NDArray, losses: Float, epsilon: float) -> LossHead:
    """The head with the level and temperature that suit the losses of labelled rows.

    Temperature b >= 0 minimises the mean of KL(p || q) over pairs with q = sigmoid(b (v_i - v_j)), a convex problem
    in one number; the level makes the mean predicted loss the mean loss.
    """
    from dataclasses import replace

    v = head.score(rows)
    b = temperature(v, losses + max(epsilon * float(losses.mean()), np.finfo(float).tiny))
    spread = float(v.std())
    b = max(b, FLATTEST / spread) if spread > 0 else 1.0
    mean, top = float(losses.mean()), float((b * v).max())
    log_mean = top + math.log(float(np.exp(b * v - top).mean()))
    level = math.log(max(mean, np.finfo(float).tiny)) - log_mean
    return replace(head, level=level, temperature=b)


def temperature(v: Float, losses: Float) -> float:
    """The slope b of a logistic regression of p_i = l_i / (l_i + l_j) on v_i - v_j, by Newton steps.

    Pairs are each row with those 1, 2, 4, ... places on: n log n of them, which is enough for one number.
    """
    n = len(v)
    shifts = [2**k for k in range(int(math.log2(n - 1)) + 1)]
    x = np.concatenate([v - np.roll(v, shift) for shift in shifts])
    p = np.concatenate([losses / (losses + np.roll(losses, shift)) for shift in shifts])
    scale = float(np.abs(x).max())
    if scale == 0:
        return 0.0
    x, b = x / scale, 0.0
    for _ in range(50):
        q = 1 / (1 + np.exp(-b * x))
        step = float(np.sum((p - q) * x) / np.sum(q * (1 - q) * x * x))
        b += max(-2.0, min(step, 2.0))
        if abs(step) < 1e-9 * (1 + abs(b)):
            break
    return b / scale
