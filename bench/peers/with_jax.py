"""The same work in JAX, written as its users would, each for speed."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

jax.config.update("jax_enable_x64", True)

ACTIVATIONS = {"tanh": jnp.tanh, "silu": jax.nn.silu, "gelu": lambda z: jax.nn.gelu(z, approximate=False)}


def forward(params, X, activation: str):
    """f (n, n_outputs)."""
    for W, b in params[:-1]:
        X = ACTIVATIONS[activation](X @ W + b)
    W, b = params[-1]
    return X @ W + b


def on_device(case, flat):
    return [(jnp.asarray(W), jnp.asarray(b)) for W, b in case.layers(flat)]


def scorer(case, chunk: int, how: str, n: int | None = None):
    """A function without arguments that returns d f / d strength of the first n rows by jvp.

    `how` is "map", one compiled loop over the chunks, or "loop", a Python loop that calls one compiled
    function.  The rows are on the device already, cut into chunks of nearly equal size.  With K tangents the
    jvp is mapped over them.
    """
    X = case.X[:n]
    params, activation = on_device(case, case.theta), case.network.activation
    tangents = [on_device(case, tau) for tau in case.tangents]

    def one(params, tangent, x):
        return jax.jvp(lambda p: forward(p, x, activation), (params,), (tangent,))[1][:, 0]

    if len(tangents) == 1:
        tangent, score = tangents[0], one
    else:
        tangent = jax.tree.map(lambda *t: jnp.stack(t), *tangents)
        score = jax.vmap(one, in_axes=(None, 0, None), out_axes=1)
    n_chunks = -(-len(X) // chunk)
    size = -(-len(X) // n_chunks)
    if how == "loop":
        compiled = jax.jit(score)
        parts = [jnp.asarray(X[at : at + size]) for at in range(0, len(X), size)]
        return lambda: jax.block_until_ready([compiled(params, tangent, x) for x in parts])
    stacked = jnp.asarray(
        np.concatenate([X, np.zeros((n_chunks * size - len(X), X.shape[1]), X.dtype)])
    ).reshape(n_chunks, size, -1)
    mapped = jax.jit(lambda p, t, rows: jax.lax.map(lambda x: score(p, t, x), rows))
    return lambda: jax.block_until_ready(mapped(params, tangent, stacked))


def scores_of(result, n: int):
    """The first n scores, (n,) or (n, K), that a scorer of ours, of JAX or of PyTorch returned."""
    if isinstance(result, list):  # chunks
        return np.concatenate([np.asarray(part) for part in result])[:n]
    scores = np.asarray(result)
    return scores.reshape(-1, *scores.shape[2:])[:n] if isinstance(result, jax.Array) else scores[:n]


def make_epoch(task, with_tangent: bool, epsilon: float | None = None):
    """A function (state, order, rates, done) -> state: an epoch of Adam in one compiled lax.scan.

    state = (theta, m, v, tau, mt) after `done` steps; without a tangent tau and mt are passed through.
    The tangent is the jvp of the gradient, plus theta, the derivative in the strength; v is held constant.
    """
    activation, strength = task.activation, task.strength
    beta1, beta2 = 0.9, 0.999
    if epsilon is None:
        epsilon = 1e-8 if task.dtype == "float64" else 1e-7

    def objective(theta, x, y):
        data = 0.5 * jnp.mean((forward(theta, x, activation)[:, 0] - y) ** 2)
        squares = sum(jnp.sum(leaf * leaf) for leaf in jax.tree.leaves(theta))
        return data + 0.5 * strength * squares

    gradient = jax.grad(objective)
    each = jax.tree.map

    def step(state, batch):
        x, y, eta, correction = batch
        theta, m, v, tau, mt = state
        if with_tangent:
            g, gt = jax.jvp(lambda p: gradient(p, x, y), (theta,), (tau,))
            gt = each(jnp.add, gt, theta)
        else:
            g = gradient(theta, x, y)
        m = each(lambda m, g: beta1 * m + (1 - beta1) * g, m, g)
        v = each(lambda v, g: beta2 * v + (1 - beta2) * g * g, v, g)

        def move(x, m, v):
            return x - eta * m / (jnp.sqrt(v / correction) + epsilon)

        if with_tangent:
            mt = each(lambda m, g: beta1 * m + (1 - beta1) * g, mt, gt)
            tau = each(move, tau, mt, v)
        return (each(move, theta, m, v), m, v, tau, mt), None

    @jax.jit
    def epoch(state, X, y, order, etas, corrections):
        shape = (len(etas), -1)
        batches = X[order].reshape(*shape, X.shape[1]), y[order].reshape(shape), etas, corrections
        return jax.lax.scan(step, state, batches)[0]

    X, y = jnp.asarray(task.X), jnp.asarray(task.y)

    def run(state, order, rates, done: int = 0):
        t = done + 1 + np.arange(len(rates))
        etas, corrections = rates / (1 - beta1**t), 1 - beta2**t
        return epoch(
            state, X, y, order.astype(np.int32), etas.astype(task.dtype), corrections.astype(task.dtype)
        )

    return run


def start_of(task):
    """The state before the first step."""
    theta, tau = task.layers(task.theta), task.layers(task.tau)
    theta, tau = jax.tree.map(jnp.asarray, (theta, tau))
    zero = jax.tree.map(jnp.zeros_like, theta)
    return theta, zero, zero, tau, zero


def flat(params) -> np.ndarray:
    """The flat vector of the library: W_l in C order, then b_l, layer by layer."""
    return np.concatenate([np.asarray(leaf, np.float64).ravel() for layer in params for leaf in layer])


def full_objective(network, X, y, strength: float):
    """Compiled theta (p,) -> (F, gradient), float64, full batch."""
    layout, activation = network.layout, network.activation
    X, y = jnp.asarray(X), jnp.asarray(y)

    def objective(theta):
        params = [(layout.weights(theta, l), layout.biases(theta, l)) for l in range(layout.n_layers)]
        data = 0.5 * jnp.mean((forward(params, X, activation)[:, 0] - y) ** 2)
        return data + 0.5 * strength * jnp.sum(theta * theta)

    return jax.jit(jax.value_and_grad(objective))
