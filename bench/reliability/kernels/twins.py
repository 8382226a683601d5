"""Networks, losses and heads in NumPy and float64, as their definitions say; nothing of it is the library's.

h_0 = X,  z_l = h_l W_l + b_l,  h_l+1 = phi(z_l), the last layer linear.  `t` marks derivatives along a direction v.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from scipy.special import erf, expit

SQRT_2PI = np.sqrt(2 * np.pi)


def _density(z):
    return np.exp(-z * z / 2) / SQRT_2PI


def _share(z):
    return (1 + erf(z / np.sqrt(2))) / 2


def _bell(z):
    return expit(z) * expit(-z)


ACTIVATIONS = {  # value and two derivatives
    "identity": (lambda z: z, np.ones_like, np.zeros_like),
    "tanh": (np.tanh, lambda z: 1 - np.tanh(z) ** 2, lambda z: -2 * np.tanh(z) * (1 - np.tanh(z) ** 2)),
    "relu": (lambda z: np.maximum(z, 0), lambda z: (z > 0) * 1.0, np.zeros_like),
    "softplus": (lambda z: np.logaddexp(z, 0), expit, _bell),
    "silu": (
        lambda z: z * expit(z),
        lambda z: expit(z) + z * _bell(z),
        lambda z: _bell(z) * (2 + z * (1 - 2 * expit(z))),
    ),
    "gelu": (
        lambda z: z * _share(z),
        lambda z: _share(z) + z * _density(z),
        lambda z: _density(z) * (2 - z * z),
    ),
}
LOSSES = {  # of the residual, value and two derivatives
    "squared": lambda r, delta: (r * r / 2, r, np.ones_like(r)),
    "huber": lambda r, delta: (
        np.where(abs(r) <= delta, r * r / 2, delta * (abs(r) - delta / 2)),
        np.clip(r, -delta, delta),
        (abs(r) <= delta) * 1.0,
    ),
    "log-cosh": lambda r, delta: (
        delta**2 * (np.logaddexp(r / delta, -r / delta) - np.log(2)),
        delta * np.tanh(r / delta),
        1 - np.tanh(r / delta) ** 2,
    ),
}


def layers(flat: np.ndarray, sizes: Sequence[int]) -> list[np.ndarray]:
    """W_l with b_l as last row, (n_in + 1, n_out), one after another."""
    found, at = [], 0
    for n_in, n_out in pairwise(sizes):
        found.append(flat[at : at + (n_in + 1) * n_out].reshape(n_in + 1, n_out))
        at += (n_in + 1) * n_out
    return found


def with_one(h: np.ndarray) -> np.ndarray:
    return np.column_stack([h, np.ones(len(h))])


class Network:
    """A network at some rows X."""

    def __init__(self, theta, X, sizes, activation) -> None:
        self.W, self.sizes, self.activation = layers(theta, sizes), sizes, activation
        self.h, self.z = [X], []
        phi = ACTIVATIONS[activation][0]
        for W in self.W:
            self.z.append(with_one(self.h[-1]) @ W)
            self.h.append(phi(self.z[-1]))
        self.f = self.z[-1]

    def slope(self, l, order=1):
        return ACTIVATIONS[self.activation][order](self.z[l])

    def kink(self) -> float:
        """How near a hidden unit is to a kink."""
        hidden = [float(abs(z).min()) for z in self.z[:-1]]
        return min(hidden, default=1.0) if self.activation == "relu" and len(self.f) else 1.0

    def tangents(self, v):
        """zt of each layer."""
        ht, found = np.zeros_like(self.h[0]), []
        for l, V in enumerate(layers(v, self.sizes)):
            found.append(ht @ self.W[l][:-1] + with_one(self.h[l]) @ V)
            ht = self.slope(l) * found[-1]
        return found

    def adjoints(self):
        """d f_o / d z_l, (n, outputs, units), of each layer."""
        n, o = self.f.shape
        found = [np.broadcast_to(np.eye(o), (n, o, o))]
        for l in range(len(self.W) - 2, -1, -1):
            found.append((found[-1] @ self.W[l + 1][:-1].T) * self.slope(l)[:, None])
        return found[::-1]

    def jacobian(self):
        """(n, outputs, p)."""
        return self._outer([(with_one(h), d) for h, d in zip(self.h[:-1], self.adjoints(), strict=True)])

    def bend(self, v):
        """The derivative of the Jacobian along v, (n, outputs, p)."""
        zt, d, V = self.tangents(v), self.adjoints(), layers(v, self.sizes)
        dt = [np.zeros_like(d[-1])]
        for l in range(len(self.W) - 2, -1, -1):
            e, et = (
                d[l + 1] @ self.W[l + 1][:-1].T,
                dt[-1] @ self.W[l + 1][:-1].T + d[l + 1] @ V[l + 1][:-1].T,
            )
            dt.append(et * self.slope(l)[:, None] + e * (self.slope(l, 2) * zt[l])[:, None])
        dt.reverse()
        total = 0.0
        for l in range(len(self.W)):
            ht = np.zeros_like(self.h[0]) if l == 0 else self.slope(l - 1) * zt[l - 1]
            ht = np.column_stack([ht, np.zeros(len(ht))])
            pairs = [
                (np.zeros((len(ht), n + 1)), np.zeros((*self.f.shape, m))) for n, m in pairwise(self.sizes)
            ]
            total = total + self._outer([*pairs[:l], (ht, d[l]), *pairs[l + 1 :]])
            total = total + self._outer([*pairs[:l], (with_one(self.h[l]), dt[l]), *pairs[l + 1 :]])
        return total

    def _outer(self, pairs):
        n, o = self.f.shape
        parts = [(h[:, None, :, None] * d[:, :, None, :]).reshape(n, o, -1) for h, d in pairs]
        return np.concatenate(parts, axis=2)


class DataTerm:
    """sum_i w_i loss(f_i - y_i) of a network."""

    def __init__(self, network: Network, Y, w, loss, delta) -> None:
        value, slope, curvature = LOSSES[loss](network.f - Y, delta)
        w = w[:, None]
        self.network, self.value = network, float(np.sum(w * value))
        self.slope, self.curvature, self.J = w * slope, w * curvature, network.jacobian()
        kink = abs(abs(network.f - Y) - delta).min() if loss == "huber" and len(Y) else 1.0
        self.kink = min(float(kink), network.kink())

    def gradient(self):
        return np.einsum("io,iop->p", self.slope, self.J)

    def product(self, v, gauss_newton):
        """H v, or that of the Gauss-Newton matrix."""
        found = np.einsum("io,iop->p", self.curvature * (self.J @ v), self.J)
        if gauss_newton:
            return found
        return found + np.einsum("io,iop->p", self.slope, self.network.bend(v))

    def gauss_newton(self):
        return np.einsum("iop,io,ioq->pq", self.J, self.curvature, self.J)


def head(params, features, method: str, width: int):
    """v (n,) of a head on the activations [h_1 ... h_L], which are standardised."""
    hidden, relu = [h.shape[1] for h in features], ACTIVATIONS["relu"][0]
    if method == "learning-loss":
        shapes = [(n + 1, width) for n in hidden] + [(width * len(hidden) + 1, 1)]
    else:
        narrowing = [hidden[-1]]
        while narrowing[-1] > width:
            narrowing.append(max(narrowing[-1] // 2, width))
        shapes = [(a + 1, b) for a, b in pairwise([*hidden, *narrowing[1:], 1])]
    ends = np.cumsum([a * b for a, b in shapes])
    W = [params[e - a * b : e].reshape(a, b) for (a, b), e in zip(shapes, ends, strict=True)]
    if method == "learning-loss":
        mapped = [relu(with_one(h) @ A) for h, A in zip(features, W[:-1], strict=True)]
        return (with_one(np.hstack(mapped)) @ W[-1])[:, 0]
    z = features[0]
    for l, A in enumerate(W[:-1]):
        z = relu(with_one(z) @ A) + (features[l + 1] if l + 1 < len(hidden) else 0)
    return (with_one(z) @ W[-1])[:, 0]


def pair_loss(v, losses, order, method: str, margin: float, epsilon: float) -> float:
    """Mean loss of the pairs of a minibatch, made from either end of its order."""
    half = len(order) // 2
    a, b = order[:half], order[::-1][:half]
    x, l_a, l_b = v[a] - v[b], losses[a], losses[b]
    if method == "learning-loss":
        return float(np.mean(np.maximum(margin - np.sign(l_a - l_b) * x, 0)))
    p = (l_a + epsilon) / (l_a + l_b + 2 * epsilon)
    cross = -p * -np.logaddexp(0, -x) - (1 - p) * -np.logaddexp(0, x)
    entropy = sum(np.where(q > 0, q * np.log(np.maximum(q, 1e-300)), 0) for q in (p, 1 - p))
    return float(np.mean(cross + entropy))
