"""JAX and jaxopt in the comparison of `command.py`, each compiled before it is timed.

A Hessian of all rows and parameters at once needs p x n x width numbers for each activation, so it is also
made of products with blocks of columns of the identity, forward over reverse, summed over chunks of rows.  The
sizes of blocks and chunks are those that are fastest where it runs.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from bench.common.machine import available
from bench.exact.worker import NotEnoughMemory, Problem, best_seconds, divisor, serve

jax.config.update("jax_enable_x64", True)

ROWS = (50, 100, 250, 1000)  # chunks that are tried
COLUMNS = (8, 16, 64)


def network(problem: Problem):
    """f(theta, X) -> (n,)."""
    slices = problem.slices()

    def f(theta, X):
        for l, (weights, biases, shape) in enumerate(slices):
            X = X @ theta[weights].reshape(shape) + theta[biases]
            if l < len(slices) - 1:
                X = jnp.tanh(X)
        return X[:, 0]

    return f


def compiled(function, *arguments):
    """The work: a call of the compiled function, if what XLA says it needs is there."""
    ready = jax.jit(function).lower(*arguments).compile()
    memory = ready.memory_analysis()
    needs = (memory.temp_size_in_bytes + memory.output_size_in_bytes) / 2**20
    if needs > 0.8 * available():
        raise NotEnoughMemory(needs)
    return lambda: jax.block_until_ready(ready(*arguments))


class Curvature:
    """What JAX makes of F on the rows of a problem."""

    def __init__(self, problem: Problem) -> None:
        self.f, self.strength = network(problem), problem.strength
        self.theta, self.X, self.y = (jnp.asarray(a) for a in (problem.theta, problem.X, problem.y))
        self.p, self.n = len(self.theta), len(self.y)

    def data_sum(self, theta, X, y):
        return 0.5 * jnp.sum((self.f(theta, X) - y) ** 2)

    def objective(self, theta, strength):
        return self.data_sum(theta, self.X, self.y) / self.n + 0.5 * strength * jnp.sum(theta**2)

    def mean(self, of_chunk, zero, rows: int):
        """The sum of of_chunk(X, y) over chunks of equally many rows, over n."""
        size = divisor(self.n, rows)
        chunks = self.X.reshape(-1, size, self.X.shape[1]), self.y.reshape(-1, size)
        return jax.lax.scan(lambda total, c: (total + of_chunk(*c), None), zero, chunks)[0] / self.n

    def products(self, theta, V, rows: int):
        """Rows A v: forward over reverse, mapped over V."""

        def of_chunk(X, y):
            gradient = jax.grad(lambda theta: self.data_sum(theta, X, y))
            return jax.vmap(lambda v: jax.jvp(gradient, (theta,), (v,))[1])(V)

        return self.mean(of_chunk, jnp.zeros_like(V), rows) + self.strength * V

    def hessian(self, theta):
        return jax.hessian(self.objective)(theta, self.strength)

    def hessian_by_columns(self, theta, share: int, rows: int, columns: int):
        """Every share-th column, (p / share, p)."""
        E = jnp.eye(self.p)[::share]
        k = len(E)
        blocks = jnp.pad(E, ((0, -k % columns), (0, 0))).reshape(-1, columns, self.p)
        return jax.lax.map(partial(self.products, theta, rows=rows), blocks).reshape(-1, self.p)[:k]

    def gauss_newton(self, theta, rows: int, jacobian: str):
        """J^T J / n + strength I; squared loss."""

        def of_chunk(X, _):
            if jacobian == "jacrev":
                J = jax.jacrev(self.f)(theta, X)
            else:
                J = jax.vmap(lambda row: jax.grad(lambda theta: self.f(theta, row[None])[0])(theta))(X)
            return J.T @ J

        return self.mean(of_chunk, jnp.zeros((self.p, self.p)), rows) + self.strength * jnp.eye(self.p)

    def tangent(self, theta, solver: str):
        """d theta / d strength by jaxopt."""
        from jaxopt import implicit_diff, linear_solve

        options = {
            "default": {},
            "lu": {"solve": linear_solve.solve_lu},
            "cholesky": {"solve": linear_solve.solve_cholesky},
            "cg": {"solve": partial(linear_solve.solve_cg, tol=1e-10)},
        }[solver]
        gradient = jax.grad(self.objective)
        return implicit_diff.root_jvp(gradient, theta, (self.strength,), (1.0,), **options)


def fastest(problem: Problem, columns: tuple[int, ...]) -> dict[str, int]:
    """The chunk of rows, and the number of columns among those given, with the least time per column."""
    some = Curvature(problem.head(max(ROWS)))

    def per_column(setting):
        rows, K = setting
        return (
            best_seconds(compiled(partial(some.products, rows=rows), some.theta, jnp.ones((K, some.p)))) / K
        )

    rows, K = min(((r, k) for r in ROWS if r <= some.n for k in columns), key=per_column)
    return {"rows": rows, "columns": K}


def reference(found: Curvature, problem: Problem, task: str):
    """A tangent or influences from the dense Hessian, refined with residuals of extended precision."""
    A = np.asarray(jax.jit(found.hessian)(found.theta))
    if task == "tangent":
        return refined(A, -problem.theta[:, None])[:, 0]
    train, test = (
        np.asarray(jax.jit(jax.vmap(jax.grad(row_loss(found)), in_axes=(None, 0, 0)))(found.theta, X, y))
        for X, y in ((found.X, found.y), (problem.X_test, problem.y_test))
    )
    return -train @ refined(A, test.T)


def row_loss(found: Curvature):
    return lambda theta, x, y: found.data_sum(theta, x[None], y[None])


def refined(A: np.ndarray, B: np.ndarray) -> np.ndarray:
    """A^-1 B: LU and three steps of refinement."""
    from scipy.linalg import lu_factor, lu_solve

    factors, wide = lu_factor(A), A.astype(np.longdouble)
    X = lu_solve(factors, B)
    for _ in range(3):
        X = X + lu_solve(factors, (B - wide @ X).astype(np.float64))
    return X


def prepare(method: str, problem: Problem):
    task, *option = method.split(":")
    found, few = Curvature(problem), len(problem.y) < min(ROWS)
    if task == "reference":
        return partial(reference, found, problem, option[0]), np.asarray
    if task == "products":
        V = jnp.asarray(problem.V)
        rows = min(ROWS) if few else fastest(problem, (len(V),))["rows"]
        return compiled(partial(found.products, rows=rows), found.theta, V), np.asarray
    if task == "columns":
        blocks = {"rows": min(ROWS), "columns": min(COLUMNS)} if few else fastest(problem, COLUMNS)
        function = partial(found.hessian_by_columns, share=int(option[0]), **blocks)
    else:
        function = {
            "hessian": lambda: found.hessian,
            "gauss_newton": lambda: partial(found.gauss_newton, rows=int(option[1]), jacobian=option[0]),
            "tangent": lambda: partial(found.tangent, solver=option[0]),
        }[task]()
    return compiled(function, found.theta), np.asarray


if __name__ == "__main__":
    serve(prepare)
