"""`learning_loss`: a head trained on the losses of labelled rows, on top of a model that is left as it is."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from fasttangent.active.learned_losses.folds import (
    FOLDS_MAY,
    cross_fitted_losses,
    fold_numbers,
    losses_of,
)
from fasttangent.active.learned_losses.head import (
    METHODS,
    HeadLayout,
    LossHead,
    check_hidden,
    features_of,
    kernel_head,
    moments,
)
from fasttangent.active.learned_losses.training import LEAST_ROWS, HeadTraining, kernel_pairs
from fasttangent.common import checks
from fasttangent.model.labelled import Labelled
from fasttangent.model.members import refuse_several
from fasttangent.model.model import Model
from fasttangent.model.settings import checked_names

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Float = NDArray[np.float64]

FLATTEST = 1e-3  # the least temperature times spread of v: a head that cannot rank still orders, faintly


def learning_loss(
    model: Model,
    X: Any,
    y: Any,
    *,
    method: str = "learning-loss++",
    folds: int | None = 5,
    repeats: int = 1,
    fold_settings: Mapping[str, Any] | None = None,
    sample_weight: Any = None,
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
        models fitted with the same settings without the row's fold, settled if the model is; the features are
        the model's.
        None: the losses of the model itself, for rows that it was not fitted on.
    repeats : int
        Of the division into folds; the losses are averaged.  Four gained on the sets below and nothing on others.
    fold_settings : dict, optional
        Arguments of `fit` in which the models of the folds are to differ from the model.  They start from random
        weights, so a model that went on from another one in a few epochs needs ``{"epochs": 200}`` here.
    sample_weight : array_like of shape (n,), optional
        The weights the model was fitted with, for the models of the folds.
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
    seeds, hidden (64, 64), not settled, with either method: 0.19 with losses in sample, 0.33 with folds, 0.36 with
    four repeats of them.  Features of each fold's own model, which has not seen the row, do no better: 0.29 if the
    head then reads the model's, 0.34 averaged over the models of all folds, at five times the cost of a prediction.
    Settled models: 0.08 and 0.12 ("learning-loss" and "learning-loss++") with losses in sample, 0.23 and 0.27 with
    settled folds, 0.18 and 0.19 with folds that are not settled, whose losses were thirty times as large as the
    model's on nearly noiseless data.  ``python -m bench learned-losses`` has six other sets, beside deviations.

    References
    ----------
    Yoo & Kweon 2019, "Learning Loss for Active Learning", arXiv 1905.03677; Shukla & Ahmed 2021, "A Mathematical
    Analysis of Learning Loss for Active Learning in Regression", arXiv 2104.09315.
    """
    refuse_several(model, "a head on its activations")
    checks.choice("method", method, METHODS)
    hidden = check_hidden(model.network)
    layout = HeadLayout(method, hidden, checks.integer("width", width, at_least=1))
    rows, Y = model.labelled_rows(X, y)
    checks.finite("X", rows)
    if len(rows) < LEAST_ROWS:
        raise ValueError(f"X must have at least {LEAST_ROWS} rows, to be ranked in pairs, got {len(rows)}")
    margin, epsilon, learning_rate = (
        checks.number(name, value, above=0)
        for name, value in (("margin", margin), ("epsilon", epsilon), ("learning_rate", learning_rate))
    )
    decay = checks.number("decay", decay, at_least=0)
    repeats = checks.integer("repeats", repeats, at_least=1)
    differing = {} if fold_settings is None else checked_names("fold_settings", fold_settings, FOLDS_MAY)
    w = checks.row_weights("sample_weight", sample_weight, len(rows))
    epochs = checks.integer("epochs", epochs, at_least=1)
    batch_size = checks.integer("batch_size", batch_size, at_least=LEAST_ROWS)
    rng = np.random.default_rng(checks.seed(seed))
    n_threads = checks.thread_count(threads)
    if folds is None:
        losses = losses_of(model, rows, Y)
    else:
        data = Labelled(rows, Y, w, model.feature_names, False, model.columns)
        divisions = (fold_numbers(len(rows), folds, rng) for _ in range(repeats))
        losses = np.mean(
            [cross_fitted_losses(model, data, parts, n_threads, differing) for parts in divisions], axis=0
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


def calibrated(head: LossHead, rows: NDArray, losses: Float, epsilon: float) -> LossHead:
    """The head with the level and temperature that suit the losses of labelled rows.

    Temperature b >= 0 minimises the mean of KL(p || q) over pairs with q = sigmoid(b (v_i - v_j)), a convex problem
    in one number; the level makes the mean predicted loss the mean loss.
    """
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
