"""PyTorch, curvlinops and captum in the comparison of `command.py`.

Their loss is the mean of (f - y)^2, without the half and without the regulariser: what this changes is put
right after the clock has stopped, in their favour.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from bench.common.machine import timed
from bench.exact.worker import WARM_ROWS, Problem, serve

ROWS = (1000, 10_000)  # batches that are tried
COLUMNS = (16, 64, 512)
MOST_ITERATIONS = 1000  # of conjugate gradients


def module(problem: Problem) -> nn.Sequential:
    """Linear layers and tanh with the parameters of the problem, float64."""
    layers: list[nn.Module] = []
    for weights, biases, shape in problem.slices():
        linear = nn.Linear(*shape, dtype=torch.float64)
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(problem.theta[weights].reshape(shape).T))
            linear.bias.copy_(torch.from_numpy(problem.theta[biases]))
        layers += [linear, nn.Tanh()]
    return nn.Sequential(*layers[:-1])


def order_of(problem: Problem) -> np.ndarray:
    """Where each of PyTorch's parameters, (n_out, n_in) for weights, is in theta."""
    positions, parts = np.arange(len(problem.theta)), []
    for weights, biases, shape in problem.slices():
        parts += [positions[weights].reshape(shape).T.ravel(), positions[biases]]
    return np.concatenate(parts)


def rows_of(problem: Problem):
    """X (n, n_features) and y (n, 1), of the training and of the test rows."""
    pairs = (problem.X, problem.y), (problem.X_test, problem.y_test)
    return [(torch.from_numpy(X), torch.from_numpy(y)[:, None]) for X, y in pairs]


def prepare(method: str, problem: Problem):
    task, *option = method.split(":")
    return {"operator": operator, "influence": captum_influence}[task](problem, *option)


def make_operator(problem: Problem, rows: int):
    """The Hessian operator of curvlinops, with batches of so many rows."""
    from curvlinops import HessianLinearOperator

    (X, y), _ = rows_of(problem)
    net, data = module(problem), list(zip(X.split(rows), y.split(rows), strict=True))
    return HessianLinearOperator(net, nn.MSELoss(), list(net.parameters()), data, check_deterministic=False)


def fastest(problem: Problem, columns: tuple[int, ...]) -> tuple[int, int]:
    """The batch of rows, and the number of columns among those given, with the least time per column."""
    rows = [r for r in ROWS if r <= len(problem.y)] or ROWS[:1]

    def per_column(setting):
        A, block = make_operator(problem, setting[0]), torch.ones(len(problem.theta), setting[1])
        return timed(lambda: A @ block.double(), 1)["seconds"] / setting[1]

    return min(((r, k) for r in rows for k in columns), key=per_column)


def operator(problem: Problem, task: str, share: str = "1"):
    """Every share-th column of a dense matrix, products, or a tangent by SciPy's conjugate gradients."""
    order, few = order_of(problem), len(problem.y) <= WARM_ROWS
    back, strength = np.argsort(order), problem.strength
    if task == "tangent":
        A = make_operator(problem, len(problem.y))
        most = 3 if few else MOST_ITERATIONS
        return lambda: tangent(A, problem.theta[order], strength, most), lambda tau: tau[back]
    E = problem.V if task == "products" else np.eye(len(order))[:: int(share)]
    most = COLUMNS[-1] if len(problem.y) <= min(ROWS) else COLUMNS[-2]
    widths = (len(E),) if task == "products" else tuple(width for width in COLUMNS if width <= most)
    rows, columns = (min(ROWS), min(COLUMNS)) if few else fastest(problem, widths)
    A, blocks = make_operator(problem, rows), torch.from_numpy(E[:, order].T.copy()).split(columns, dim=1)
    return (
        lambda: torch.cat([A @ block for block in blocks], dim=1),
        lambda AE: AE.numpy().T[:, back] / 2 + strength * E,
    )


def tangent(A, theta: np.ndarray, strength: float, most: int) -> np.ndarray:
    """(A / 2 + strength I) tau = -theta, to a relative residual of 1e-10 or `most` iterations."""
    from scipy.sparse.linalg import LinearOperator, cg

    half = A.to_scipy()
    system = LinearOperator(half.shape, matvec=lambda v: half @ v / 2 + strength * v, dtype=np.float64)
    return cg(system, -theta, rtol=1e-10, atol=0.0, maxiter=most)[0]


def captum_influence(problem: Problem):
    """Naive influence of captum: eigendecomposition of the dense Hessian, no eigenvalue dropped.

    Its Hessian is the sum over rows of (f - y)^2, so 2 n times ours, and both gradients have a factor 2.
    """
    from captum.influence import NaiveInfluenceFunction
    from torch.utils.data import TensorDataset

    train, test = rows_of(problem)
    net, n = module(problem), len(problem.y)

    def work():
        influence = NaiveInfluenceFunction(
            net,
            TensorDataset(*train),
            checkpoint="",
            checkpoints_load_func=lambda *_: 1.0,
            loss_fn=nn.MSELoss(reduction="none"),
            batch_size=n,
            projection_dim=None,
            hessian_reg=2 * n * problem.strength,
            hessian_inverse_tol=0.0,
        )
        return influence.influence(test)

    return work, lambda found: -found.numpy().T * n / 2


if __name__ == "__main__":
    serve(prepare)
