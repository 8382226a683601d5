"""Write oracle.npz: losses, gradients, curvature products from JAX's automatic differentiation, in float64.

    python -m pip install jax numpy
    python tests/helpers/make_oracle.py

Nothing here is shared with the package: the network and its losses are written again in JAX, and every
derivative is JAX's own.  `test_oracle.py` compares.
"""

from itertools import pairwise
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

jax.config.update("jax_enable_x64", True)

ACTIVATIONS = {
    "tanh": jnp.tanh,
    "silu": jax.nn.silu,
    "relu": jax.nn.relu,
    "softplus": jax.nn.softplus,
    "gelu": lambda z: jax.nn.gelu(z, approximate=False),
    "identity": lambda z: z,
}
LOSSES = {
    "squared": lambda r: r**2 / 2,
    "huber": lambda r: jnp.where(jnp.abs(r) <= DELTA, r**2 / 2, DELTA * (jnp.abs(r) - DELTA / 2)),
    "log-cosh": lambda r: DELTA**2 * jnp.log(jnp.cosh(r / DELTA)),
}
DELTA = 0.7
SIZES = ((3, 1), (2, 5, 1), (3, 4, 3, 5, 3))
DENSE_SIZES = (2, 3, 2, 3, 2)  # three hidden layers: every kind of block of a Hessian
N_ROWS = 9
STRENGTH = 0.05  # of the settled problem
LEVELS = (0.02, 0.05)  # strengths of the problem with users


def n_params(sizes):
    return sum((n_in + 1) * n_out for n_in, n_out in pairwise(sizes))


def predict(theta, X, sizes, activation):
    h, at = X, 0
    for l, (n_in, n_out) in enumerate(pairwise(sizes)):
        W = theta[at : at + n_in * n_out].reshape(n_in, n_out)
        b = theta[at + n_in * n_out : at + (n_in + 1) * n_out]
        at += (n_in + 1) * n_out
        h = h @ W + b
        if l < len(sizes) - 2:
            h = ACTIVATIONS[activation](h)
    return h


def inputs(sizes, seed):
    rng = np.random.default_rng(seed)
    return {
        "X": rng.normal(size=(N_ROWS, sizes[0])),
        "Y": 1.5 * rng.normal(size=(N_ROWS, sizes[-1])),
        "w": rng.uniform(0.1, 3, N_ROWS),
        "theta": 0.6 * rng.normal(size=n_params(sizes)),
        "v": rng.normal(size=n_params(sizes)),
    }


def derivatives(given, sizes, activation, loss):
    X, Y, theta, v = (jnp.asarray(given[name]) for name in ("X", "Y", "theta", "v"))
    weights = jnp.asarray(given["w"] / given["w"].sum())[:, None]

    def outputs(theta):
        return predict(theta, X, sizes, activation)

    def loss_of_outputs(f):
        return jnp.sum(weights * LOSSES[loss](f - Y))

    def objective(theta):
        return loss_of_outputs(outputs(theta))

    f, ft = jax.jvp(outputs, (theta,), (v,))
    _, transposed = jax.vjp(outputs, theta)
    curvature_ft = jax.jvp(jax.grad(loss_of_outputs), (f,), (ft,))[1]
    return {
        "loss": objective(theta),
        "gradient": jax.grad(objective)(theta),
        "hessian": jax.jvp(jax.grad(objective), (theta,), (v,))[1],
        "gauss_newton": transposed(curvature_ft)[0],
        "output_tangent": ft,
    }


def dense(given, sizes, activation, loss):
    """Upper halves of the Hessian and of the Gauss-Newton matrix."""
    X, Y, theta = (jnp.asarray(given[name]) for name in ("X", "Y", "theta"))
    weights = jnp.asarray(given["w"] / given["w"].sum())[:, None]

    def loss_of_outputs(f):
        return jnp.sum(weights * LOSSES[loss](f - Y))

    def outputs(theta):
        return predict(theta, X, sizes, activation)

    H = jax.hessian(lambda theta: loss_of_outputs(outputs(theta)))(theta)
    J = jax.jacrev(outputs)(theta).reshape(-1, theta.size)
    D = jax.hessian(loss_of_outputs)(outputs(theta)).reshape(len(J), len(J))
    upper = np.triu_indices(theta.size)
    return {"dense_hessian": H[upper], "dense_gauss_newton": (J.T @ D @ J)[upper]}


def settled():
    """A minimum of a tiny network and its implicit tangent, by plain Newton steps and dense solves."""
    sizes = (2, 3, 1)
    rng = np.random.default_rng(7)
    X = rng.normal(size=(20, 2))
    Y = np.sin(2 * X[:, :1]) + 0.5 * X[:, 1:] ** 2

    def objective(theta):
        data = jnp.sum((predict(theta, X, sizes, "tanh") - Y) ** 2) / (2 * len(X))
        return data + STRENGTH * jnp.sum(theta**2) / 2

    gradient, hessian = jax.jit(jax.grad(objective)), jax.jit(jax.hessian(objective))
    theta = 0.5 * rng.normal(size=n_params(sizes))
    for _ in range(20_000):
        theta = theta - 0.2 * gradient(theta)
    for _ in range(10):
        theta = theta - jnp.linalg.solve(hessian(theta), gradient(theta))
    assert jnp.linalg.norm(gradient(theta)) < 1e-14
    assert jnp.linalg.eigvalsh(hessian(theta))[0] > 0
    return {"X": X, "Y": Y, "theta": theta, "tangent": -jnp.linalg.solve(hessian(theta), theta)}


def users():
    """A minimum of a tiny network with deviations of its last layer for four users, and the tangents of both levels.

    The deviations stand behind the shared parameters, and biases count for a third, as three weights lead to the unit.
    """
    sizes, q, n_users = (2, 3, 1), 4, 4
    p, rng = n_params(sizes), np.random.default_rng(8)
    X, of = rng.normal(size=(24, 2)), rng.integers(0, n_users, 24)
    Y = (1 + 0.3 * of[:, None]) * np.sin(2 * X[:, :1]) + 0.4 * (of[:, None] - 1.5)
    held = jnp.asarray(np.tile([1, 1, 1, 1 / 3], n_users))

    def of_one(vector, x, user):
        own = jax.lax.dynamic_slice(vector, (p + user * q,), (q,))
        return predict(vector[:p].at[p - q :].add(own), x, sizes, "tanh")

    def data(vector):
        f = jax.vmap(of_one, in_axes=(None, 0, 0))(vector, jnp.asarray(X), jnp.asarray(of))
        return jnp.sum((f - Y) ** 2) / (2 * len(X))

    def complexities(vector):
        return jnp.array([jnp.sum(vector[:p] ** 2), jnp.sum(held * vector[p:] ** 2)]) / 2

    def objective(vector):
        return data(vector) + jnp.dot(jnp.array(LEVELS), complexities(vector))

    gradient, hessian = jax.jit(jax.grad(objective)), jax.jit(jax.hessian(objective))
    vector = 0.5 * rng.normal(size=p + n_users * q)
    for _ in range(20_000):
        vector = vector - 0.2 * gradient(vector)
    for _ in range(10):
        vector = vector - jnp.linalg.solve(hessian(vector), gradient(vector))
    assert jnp.linalg.norm(gradient(vector)) < 1e-14
    assert jnp.linalg.eigvalsh(hessian(vector))[0] > 0
    tangents = -jnp.linalg.solve(hessian(vector), jax.jacrev(complexities)(vector).T).T
    return {"X": X, "Y": Y, "of": of, "vector": vector, "hessian": hessian(vector), "tangents": tangents}


def main():
    arrays = {}
    for seed, sizes in enumerate(SIZES):
        given, name = inputs(sizes, seed), "-".join(map(str, sizes))
        arrays |= {f"{name}/{key}": value for key, value in given.items()}
        for activation in ACTIVATIONS:
            for loss in LOSSES:
                found = derivatives(given, sizes, activation, loss)
                arrays |= {f"{name}/{activation}/{loss}/{key}": value for key, value in found.items()}
    given, name = inputs(DENSE_SIZES, len(SIZES)), "-".join(map(str, DENSE_SIZES))
    arrays |= {f"{name}/{key}": value for key, value in given.items()}
    for activation in ACTIVATIONS:
        for loss in LOSSES:
            found = dense(given, DENSE_SIZES, activation, loss)
            arrays |= {f"{name}/{activation}/{loss}/{key}": value for key, value in found.items()}
    arrays |= {f"settled/{key}": value for key, value in settled().items()}
    arrays |= {f"users/{key}": value for key, value in users().items()}
    path = Path(__file__).parents[1] / "model" / "oracle.npz"
    np.savez_compressed(path, **{name: np.asarray(value, np.float64) for name, value in arrays.items()})
    print(f"{path}: {len(arrays)} arrays, {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
