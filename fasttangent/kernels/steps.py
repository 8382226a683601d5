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

from fasttangent.kernels.arithmetic import add, fill
from fasttangent.kernels.denormals import flush_denormals, restore
from fasttangent.kernels.jit import kernel, making_arrays
from fasttangent.kernels.network import workspace
from fasttangent.kernels.rows import Part, add_loss
from fasttangent.kernels.views import row, stretch
from fasttangent.kernels.waiting import atomic_add, wait_until

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


class Slabs(NamedTuple):
    """How a step is divided, whatever the number of threads, and where its parts meet."""

    rows: int  # of a minibatch in a slab
    params: int  # of the flat vector in a chunk of the update
    G: np.ndarray  # (slabs, p) gradient of each slab
    GT: np.ndarray  # (slabs, K, p)
    losses: np.ndarray  # (steps, slabs) float64: sum of row losses
    counters: np.ndarray  # (2,) int64: tasks begun, tasks done


class Descent(NamedTuple):
    """Everything about steps but the data."""

    state: State
    penalty: Penalty
    optimizer: Optimizer
    slabs: Slabs


class Minibatches(NamedTuple):
    """Some steps of an epoch: minibatch b holds rows order[b size : (b + 1) size]."""

    order: np.ndarray  # (n,) of the whole epoch
    size: int
    first: int  # minibatch of the first step
    rates: np.ndarray  # (steps,) learning rates
    done: int  # steps taken before, for Adam's bias correction


@making_arrays
def train_steps(descent, data, batches):
    """Run len(batches.rates) steps.

    The loss of a minibatch is scaled so that its expectation over a random order is the full loss (the last one of an
    epoch may be smaller).

    Any number of threads may call this at once with the same arguments.  A step is a row of tasks, gradients of
    slabs and then updates of chunks of the parameters.  Each thread takes the next task, waits until those that
    it depends on are done, and does it; they were taken before, so somebody is at work on them.
    """
    state, penalty, optimizer, slabs = descent
    order, rates = batches.order, batches.rates
    n, p = len(order), state.theta.size
    n_slabs, n_chunks = len(slabs.G), (p + slabs.params - 1) // slabs.params
    per_step = n_slabs + n_chunks
    work = workspace(state.theta, len(state.tangents), data.network.table)
    mode = flush_denormals()
    while True:
        task = atomic_add(slabs.counters, 0, 1)
        s, i = task // per_step, task % per_step
        if s >= len(rates):
            restore(mode)
            return
        wait_until(slabs.counters, 1, s * per_step + (0 if i < n_slabs else n_slabs))
        if i < n_slabs:
            start = (batches.first + s) * batches.size
            stop = min(start + batches.size, n)
            scale = n / (stop - start)
            part = Part(
                order, min(start + i * slabs.rows, stop), min(start + (i + 1) * slabs.rows, stop), scale
            )
            g, gt = slabs.G[i], slabs.GT[i]
            for j in range(p):
                g[j] = 0
            fill(gt, 0)
            slabs.losses[s, i] = add_loss(g, gt, state.theta, state.tangents, data, part, work) / scale
        else:
            begin = (i - n_slabs) * slabs.params
            end = min(begin + slabs.params, p)
            update(state, penalty, optimizer, slabs, begin, end, rates[s], batches.done + s + 1)
        atomic_add(slabs.counters, 1, 1)


@kernel
def update(state, penalty, optimizer, slabs, begin, end, rate, t):
    """Step t of the parameters from `begin` to `end`, from the slabs' gradients, which are overwritten.

    Each loop is over a few vectors that are known to be contiguous, or the compiler does not vectorise it.
    """
    n, strength = end - begin, penalty.strength
    real = state.theta.dtype.type
    theta, mask = stretch(state.theta, begin, n), stretch(penalty.mask, begin, n)
    g = row(slabs.G[:1, begin:end], 0)
    for i in range(1, len(slabs.G)):
        add(g, row(slabs.G[i : i + 1, begin:end], 0))
    beta, eta, m = real(optimizer.beta1), real(rate), stretch(state.m, begin, n)
    for k in range(len(state.tangents)):
        gt = row(slabs.GT[0, k : k + 1, begin:end], 0)
        for i in range(1, len(slabs.G)):
            add(gt, row(slabs.GT[i, k : k + 1, begin:end], 0))
        tau = row(state.tangents[k : k + 1, begin:end], 0)
        _add_penalty_tangent(gt, mask, tau, theta, real(strength))
    _add_penalty(g, mask, theta, real(strength))
    if optimizer.code == ADAM:
        eta = real(rate / (1 - optimizer.beta1**t))
        v, correction = stretch(state.v, begin, n), real(1 / (1 - optimizer.beta2**t))
        _adam_moments(m, v, g, beta, real(optimizer.beta2))
        _adam_scale(g, v, eta, correction, real(optimizer.epsilon))
        _scaled_step(theta, g, m)
    elif optimizer.code == MOMENTUM:
        _nesterov(theta, m, g, eta, beta)
    else:
        _step(theta, g, eta)
    for k in range(len(state.tangents)):
        gt = row(slabs.GT[0, k : k + 1, begin:end], 0)
        tau = row(state.tangents[k : k + 1, begin:end], 0)
        mt = row(state.mt[k : k + 1, begin:end], 0)
        if optimizer.code == ADAM:
            _adam_moment(mt, gt, beta)
            _scaled_step(tau, g, mt)
        elif optimizer.code == MOMENTUM:
            _nesterov(tau, mt, gt, eta, beta)
        else:
            _step(tau, gt, eta)


@kernel
def _add_penalty(g, mask, theta, strength):
    """g += strength mask theta."""
    for j in range(g.size):
        g[j] += strength * mask[j] * theta[j]


@kernel
def _add_penalty_tangent(gt, mask, tau, theta, strength):
    """gt += strength mask tau + mask theta: the second term is the explicit derivative in the strength."""
    for j in range(gt.size):
        gt[j] += mask[j] * (strength * tau[j] + theta[j])


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
def _adam_moments(m, v, g, beta1, beta2):
    one = m.dtype.type(1)
    for j in range(m.size):
        m[j] = beta1 * m[j] + (one - beta1) * g[j]
        v[j] = beta2 * v[j] + (one - beta2) * g[j] * g[j]


@kernel
def _adam_moment(m, g, beta):
    one = m.dtype.type(1)
    for j in range(m.size):
        m[j] = beta * m[j] + (one - beta) * g[j]


@kernel
def _adam_scale(P, v, eta, correction, eps):
    """eta P = eta / (sqrt(v / (1 - b2^t)) + eps), for the parameters and all tangents."""
    for j in range(P.size):
        P[j] = eta / (np.sqrt(v[j] * correction) + eps)


@kernel
def _scaled_step(x, P, m):
    for j in range(x.size):
        x[j] -= P[j] * m[j]
