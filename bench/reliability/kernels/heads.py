"""Heads that rank losses: what they say, and an epoch of them alone and together with the network."""

from __future__ import annotations

import numpy as np

from bench.reliability.case import check
from bench.reliability.kernels import twins
from bench.reliability.kernels.draws import NearAKink, near, net, rounding
from fasttangent.active.learned_losses.head import HeadLayout, features_of, kernel_head
from fasttangent.kernels import learning_loss as kernels
from fasttangent.kernels import loss_heads, rows, steps

STEP = 1e-6


class Case:
    """A network with a head on it, in the dtype of the kernels and in float64."""

    def __init__(self, rng, dtype) -> None:
        self.net = one = net(rng, dtype, smooth=True, most=600, hidden=1)
        self.method, self.width = str(rng.choice(sorted(kernels.CODES))), int(rng.integers(1, 9))
        self.layout = HeadLayout(self.method, one.network.sizes[1:-1], self.width)
        self.params = self.layout.initial_params(rng) + 0.1 * rng.normal(size=self.layout.n_params)
        self.params = self.params.astype(dtype).astype(float)
        self.centre, self.spread = (
            0.1 * rng.normal(size=self.layout.n_features),
            np.exp(0.2 * rng.normal(size=self.layout.n_features)),
        )
        self.head = kernel_head(self.layout, self.centre, self.spread, dtype)

    def features(self, theta):
        """[h_1 ... h_L], standardised."""
        twin = twins.Network(theta, self.net.X, self.net.network.sizes, self.net.network.activation)
        ends = np.cumsum([h.shape[1] + 1 for h in twin.h[1:-1]])
        parts = [slice(end - h.shape[1] - 1, end - 1) for h, end in zip(twin.h[1:-1], ends, strict=True)]
        return [(h - self.centre[p]) / self.spread[p] for h, p in zip(twin.h[1:-1], parts, strict=True)]

    def v(self, theta, params):
        return twins.head(params, self.features(theta), self.method, self.width)

    def descent(self, flat, dtype):
        """Steps of length rate along the gradient: what changes is the gradient."""
        flat = flat.astype(dtype)
        p, none, zeros = len(flat), np.empty((0, len(flat)), dtype), np.zeros(len(flat), dtype)
        state = steps.State(flat.copy(), zeros.copy(), zeros.copy(), none, none.copy())
        slabs = steps.Slabs(
            0, p, np.empty((1, p), dtype), np.empty((1, 0, p), dtype), np.empty((0, 0)), np.zeros(2, np.int64)
        )
        return steps.Descent(
            state, steps.Penalty(zeros, 0.0), steps.Optimizer(steps.SGD, 0.0, 0.999, 1e-8), slabs
        )


def outputs(rng, dtype) -> None:
    """v of rows, and the features it is made of."""
    case = Case(rng, dtype)
    one, n = case.net, len(case.net.X)
    v, X, every = np.empty(n, dtype), one.cast(one.X), np.arange(n)
    theta, params = one.cast(one.theta), one.cast(case.params)
    loss_heads.head_outputs(v, params, theta, X, every, one.network.kernel_view, case.head)
    about, allowed = (one.network, case.layout), 10 * rounding(dtype)
    near("a head", v, case.v(one.theta, case.params), allowed, about, 0.1)
    H = np.empty((n, case.layout.n_features), dtype)
    loss_heads.hidden_rows(H, theta, X, every, one.network.kernel_view, case.head)
    expected = np.hstack([twins.with_one(h) for h in case.features(one.theta)])
    near("features of a head", H, expected, allowed, about)


def pairs(rng, dtype) -> None:
    """An epoch of a head alone, then of network and head together: losses, and gradients against differences."""
    case = Case(rng, np.dtype(np.float64))
    one, n = case.net, len(case.net.X)
    if n < 4:
        raise NearAKink
    losses, order = rng.gamma(1.0, size=n), rng.permutation(n)
    terms = kernels.Pairs(kernels.CODES[case.method], 0.7, 0.2)

    def pair_loss(theta, params):
        return twins.pair_loss(case.v(theta, params), losses, order, case.method, 0.7, 0.2)

    class Trained:
        params = one.theta
        network = one.network

    H = features_of(Trained, one.X, case.layout, case.head)  # type: ignore[arg-type]
    alone, course, about = case.descent(case.params, float), kernels.Course(order, np.ones(1), 0), case.layout
    found = kernels.head_epoch(alone, H, losses, course, case.head, terms)
    near("the loss of pairs", found, pair_loss(one.theta, case.params), 1e-9, about, 1e-3)
    gradient = case.params - alone.state.theta
    _against_differences(rng, lambda x: pair_loss(one.theta, x), case.params, gradient, "a head", about)

    Y, w, weight = rng.normal(size=(n, one.network.sizes[-1])), rng.uniform(0.1, 2, n), 0.4
    twin = twins.Network(one.theta, one.X, one.network.sizes, one.network.activation)
    losses[:] = np.sum(twins.LOSSES["squared"](twin.f - Y, 1.0)[0], axis=1)
    kept = np.empty(n)
    kernels.row_losses(kept, twin.f, Y, rows.Loss(0, 1.0))
    near("losses of rows", kept, losses, 1e-12)
    data = rows.DataTerm(rows.Rows(one.X, Y, w), one.network.kernel_view, rows.Loss(0, 1.0), False)
    network, head = case.descent(one.theta, float), case.descent(case.params, float)
    joint = kernels.Joint(data, case.head, terms, weight)
    total, found = kernels.joint_epoch(network, head, joint, course, np.ones(1))
    near("the loss of pairs, jointly", found, pair_loss(one.theta, case.params), 1e-9, about, 1e-3)
    near("the loss of rows, jointly", total, np.sum(w * losses), 1e-9, about)

    def both(theta):
        f = twins.Network(theta, one.X, one.network.sizes, one.network.activation).f
        return np.sum(w[:, None] * (f - Y) ** 2) / 2 + weight * pair_loss(theta, case.params)

    gradient = case.params - head.state.theta
    _against_differences(
        rng, lambda x: pair_loss(one.theta, x), case.params, gradient, "a head, jointly", about
    )
    _against_differences(rng, both, one.theta, one.theta - network.state.theta, "a network, jointly", about)


def _against_differences(rng, function, x, gradient, what, about) -> None:
    """Along a direction, from either side: where the two differ there is a kink between."""
    u = rng.normal(size=len(x))
    ahead, here, behind = (function(x + s * STEP * u) for s in (1, 0, -1))
    if abs(ahead - 2 * here + behind) > 1e-9 * max(abs(here), 1):
        return
    expected, found = (ahead - behind) / (2 * STEP), float(gradient @ u)
    scale = float(np.linalg.norm(gradient) * np.linalg.norm(u)) + abs(here)
    check(abs(found - expected) <= 1e-5 * scale, f"gradient of {what}", f"{found}, not {expected}; {about}")
