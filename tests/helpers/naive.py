"""Slow twins of the kernels, written for reading: NumPy, float64, one row of a matrix per row of data.

h_0 = X,  z_l = h_{l-1} W_l + b_l,  h_l = phi(z_l), the last layer linear, as `fasttangent.Network` says.

`t` marks tangents, `d` adjoints.  Nothing here is shared with the package.
"""

from itertools import pairwise

import numpy as np
from scipy.special import erf


def normal_density(z):
    return np.exp(-z * z / 2) / np.sqrt(2 * np.pi)


def normal_distribution(z):
    return (1 + erf(z / np.sqrt(2))) / 2


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


# name: (phi, phi', phi'')
ACTIVATIONS = {
    "identity": (lambda z: z, np.ones_like, np.zeros_like),
    "tanh": (
        np.tanh,
        lambda z: 1 - np.tanh(z) ** 2,
        lambda z: -2 * np.tanh(z) * (1 - np.tanh(z) ** 2),
    ),
    "silu": (
        lambda z: z * sigmoid(z),
        lambda z: sigmoid(z) + z * sigmoid(z) * sigmoid(-z),
        lambda z: sigmoid(z) * sigmoid(-z) * (2 + z * (1 - 2 * sigmoid(z))),
    ),
    "relu": (lambda z: np.maximum(z, 0), lambda z: (z > 0) * 1.0, np.zeros_like),
    "softplus": (
        lambda z: np.log1p(np.exp(z)),
        sigmoid,
        lambda z: sigmoid(z) * sigmoid(-z),
    ),
    "gelu": (
        lambda z: z * normal_distribution(z),
        lambda z: normal_distribution(z) + z * normal_density(z),
        lambda z: normal_density(z) * (2 - z * z),
    ),
}

# name: (loss, loss', loss'') of the residual r and the scale delta
LOSSES = {
    "squared": (lambda r, delta: r * r / 2, lambda r, delta: r, lambda r, delta: np.ones_like(r)),
    "huber": (
        lambda r, delta: np.where(abs(r) <= delta, r * r / 2, delta * (abs(r) - delta / 2)),
        lambda r, delta: np.clip(r, -delta, delta),
        lambda r, delta: (abs(r) <= delta) * 1.0,
    ),
    "log-cosh": (
        lambda r, delta: delta**2 * np.log(np.cosh(r / delta)),
        lambda r, delta: delta * np.tanh(r / delta),
        lambda r, delta: 1 - np.tanh(r / delta) ** 2,
    ),
}


def unflatten(flat, sizes):
    """[(W_0, b_0), ...] from the flat vector: W_l (n_in, n_out) in C order, then b_l."""
    layers, at = [], 0
    for n_in, n_out in pairwise(sizes):
        W = flat[at : at + n_in * n_out].reshape(n_in, n_out)
        b = flat[at + n_in * n_out : at + (n_in + 1) * n_out]
        layers.append((W, b))
        at += (n_in + 1) * n_out
    return layers


def flatten(layers):
    return np.concatenate([np.concatenate([W.ravel(), b]) for W, b in layers])


def predict(theta, X, sizes, activation):
    phi = ACTIVATIONS[activation][0]
    layers = unflatten(theta, sizes)
    h = X
    for W, b in layers[:-1]:
        h = phi(h @ W + b)
    W, b = layers[-1]
    return h @ W + b


def output_tangent(theta, tangent, X, sizes, activation):
    phi, slope, _ = ACTIVATIONS[activation]
    layers, directions = unflatten(theta, sizes), unflatten(tangent, sizes)
    h, ht = X, np.zeros_like(X)
    for l, ((W, b), (V, c)) in enumerate(zip(layers, directions, strict=True)):
        z = h @ W + b
        zt = ht @ W + h @ V + c
        if l == len(layers) - 1:
            return zt
        h, ht = phi(z), slope(z) * zt
    raise AssertionError("a network has at least one layer")


def data_loss(theta, X, Y, w, sizes, activation, loss, delta):
    """sum_i w_i sum_o loss(f_io - y_io)."""
    residual = predict(theta, X, sizes, activation) - Y
    return np.sum(w[:, None] * LOSSES[loss][0](residual, delta))


def gradient(theta, X, Y, w, sizes, activation, loss, delta):
    """Gradient of `data_loss`, by the backward pass alone."""
    phi, slope, _ = ACTIVATIONS[activation]
    layers = unflatten(theta, sizes)
    hs, zs = [X], []
    for W, b in layers:
        zs.append(hs[-1] @ W + b)
        hs.append(phi(zs[-1]))
    d = w[:, None] * LOSSES[loss][1](zs[-1] - Y, delta)
    gradients = []
    for l in range(len(layers) - 1, -1, -1):
        gradients.append((hs[l].T @ d, d.sum(axis=0)))
        if l > 0:
            d = (d @ layers[l][0].T) * slope(zs[l - 1])
    return flatten(gradients[::-1])


def row_jacobian(theta, X, sizes, activation):
    """d f_io / d theta, shape (n, n_outputs, p), one backward pass per row and output."""
    n_outputs = sizes[-1]
    J = np.empty((len(X), n_outputs, len(theta)))
    for i in range(len(X)):
        f = predict(theta, X[i : i + 1], sizes, activation)
        for o in range(n_outputs):
            unit = np.zeros((1, n_outputs))
            unit[0, o] = 1
            # the gradient of the squared loss at residual e_o is the Jacobian's row o
            J[i, o] = gradient(theta, X[i : i + 1], f - unit, np.ones(1), sizes, activation, "squared", 1.0)
    return J


def gauss_newton(theta, X, Y, w, sizes, activation, loss, delta):
    """sum_i w_i sum_o loss''(r_io) J_io J_io^T, shape (p, p)."""
    J = row_jacobian(theta, X, sizes, activation)
    residual = predict(theta, X, sizes, activation) - Y
    curvature = w[:, None] * LOSSES[loss][2](residual, delta)
    return np.einsum("iop,io,ioq->pq", J, curvature, J)


def central_difference(function, x, direction, step=1e-5):
    """d function(x + eps direction) / d eps at 0."""
    return (function(x + step * direction) - function(x - step * direction)) / (2 * step)
