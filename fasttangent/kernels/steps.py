"""Minibatch training steps in one call, each step with the tangents carried along.

With g the gradient of F on the minibatch and gt its derivative along a tangent tau,

    sgd        theta -= eta g                          tau -= eta gt
    momentum   m = beta m + g                          mt = beta mt + gt
               theta -= eta (g + beta m)               tau -= eta (gt + beta mt)            (Nesterov)
    adam       m = b1 m + (1 - b1) g                   mt = b1 mt + (1 - b1) gt
               v = b2 v + (1 - b2) g^2                 (v held constant under differentiation)
               theta -= eta P m / (1 - b1^t)           tau -= eta P mt / (1 - b1^t)
               P = 1 / (sqrt(v / (1 - b2^t)) + eps)

so for sgd and momentum tau is the exact derivative of the trained parameters with respect to the strength.
"""

from typing import NamedTuple

import numpy as np

from fasttangent.kernels.arithmetic import fill
from fasttangent.kernels.jit import kernel
from fasttangent.kernels.network import workspace
from fasttangent.kernels.rows import add_loss

SGD, MOMENTUM, ADAM = range(3)
CODES = {"sgd": SGD, "momentum": MOMENTUM, "adam": ADAM}


class State(NamedTuple):
    """What a step changes, in place."""

    theta: np.ndarray  # (p,)
    m: np.ndarray  # (p,) first moment
    v: np.ndarray  # (p,) second moment
    tangents: np.ndarray  # (K, p)
    mt: np.ndarray  # (K, p) tangent of the first moment


class Optimizer(NamedTuple):
    code: int
    beta1: float  # also the momentum
    beta2: float
    epsilon: float


class Penalty(NamedTuple):
    """strength / 2 sum_j mask_j theta_j^2."""

    mask: np.ndarray  # (p,)
    strength: float


@kernel
def train_steps(
    state, rows, order, batch_size, first, rates, network, loss, penalty, optimizer, gauss_newton, done
):
    """Run len(rates) steps from minibatch `first` of the epoch's `order`; return the sum of row losses.

    rates (steps,) are the learning rates; `done` is the number of steps taken before, for Adam's bias
    correction.  Minibatch b holds rows order[b batch_size : (b + 1) batch_size]; its loss is scaled so that
    its expectation over a random order is the full loss (the last minibatch may be smaller).
    """
    n, K = len(order), len(state.tangents)
    g = np.empty_like(state.theta)
    gt = np.empty_like(state.tangents)
    work = workspace(state.theta, K, network.table)
    total = 0.0
    for s in range(len(rates)):
        start = (first + s) * batch_size
        stop = min(start + batch_size, n)
        scale = n / (stop - start)
        for j in range(g.size):
            g[j] = 0
        fill(gt, 0)
        value = add_loss(
            g,
            gt,
            state.theta,
            state.tangents,
            rows,
            order,
            start,
            stop,
            scale,
            network,
            loss,
            gauss_newton,
            work,
        )
        total += value / scale
        _add_penalty(g, gt, state, penalty)
        _update(state, g, gt, rates[s], optimizer, done + s + 1)
    return total


@kernel
def _add_penalty(g, gt, state, penalty):
    """g += strength mask theta,   gt += strength mask tau + mask theta: the explicit derivative in the strength."""
    strength = state.theta.dtype.type(penalty.strength)
    for j in range(g.size):
        pull = penalty.mask[j] * state.theta[j]
        g[j] += strength * pull
        for k in range(len(gt)):
            gt[k, j] += strength * penalty.mask[j] * state.tangents[k, j] + pull


@kernel
def _update(state, g, gt, rate, optimizer, t):
    real = state.theta.dtype.type
    beta1, beta2, eps = real(optimizer.beta1), real(optimizer.beta2), real(optimizer.epsilon)
    eta, one = real(rate), real(1)
    if optimizer.code == SGD:
        _step(state.theta, g, eta)
        for k in range(len(gt)):
            _step(state.tangents[k], gt[k], eta)
    elif optimizer.code == MOMENTUM:
        _nesterov(state.theta, state.m, g, eta, beta1)
        for k in range(len(gt)):
            _nesterov(state.tangents[k], state.mt[k], gt[k], eta, beta1)
    else:
        correction = real(1 - optimizer.beta2**t)
        eta = real(rate / (1 - optimizer.beta1**t))
        for j in range(g.size):
            state.v[j] = beta2 * state.v[j] + (one - beta2) * g[j] * g[j]
        _adam(state.theta, state.m, state.v, g, eta, beta1, correction, eps)
        for k in range(len(gt)):
            _adam(state.tangents[k], state.mt[k], state.v, gt[k], eta, beta1, correction, eps)


@kernel
def _step(x, g, eta):
    for j in range(x.size):
        x[j] -= eta * g[j]


@kernel
def _nesterov(x, m, g, eta, beta):
    for j in range(x.size):
        m[j] = beta * m[j] + g[j]
        x[j] -= eta * (g[j] + beta * m[j])


@kernel
def _adam(x, m, v, g, eta, beta, correction, eps):
    one = x.dtype.type(1)
    for j in range(x.size):
        m[j] = beta * m[j] + (one - beta) * g[j]
        x[j] -= eta * m[j] / (np.sqrt(v[j] / correction) + eps)
