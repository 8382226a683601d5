"""Gradients, block by block: of rows, and of what their influence is asked for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from fasttangent.common import checks
from fasttangent.model.scores import slope
from fasttangent.problem.curvature import System
from fasttangent.problem.problem import Problem

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from scipy.sparse import csr_array

    Float = NDArray[np.float64]

BLOCK_TARGETS = 64  # right-hand sides that are solved, and carried through the network, together
BLOCK_VALUES = 2**23  # of gradients, or of tangents of rows, at a time: 64 MB


def influence_of_rows(rows: Problem, theta: Float, V: Float) -> Float:
    """-grad loss . v for every row and every v of V (K, p): one forward pass with K tangents; (n, K)."""
    d = loss_slopes(rows, theta)
    found, size = np.empty((rows.n_rows, len(V))), max(1, BLOCK_VALUES // max(1, V.shape[0] * d.shape[1]))
    for start in range(0, rows.n_rows, size):
        part = slice(start, start + size)
        products = rows.jacobian_product(theta, V, part)
        found[part] = -np.einsum("kio,io->ik", products, d[part])
    return found


def loss_slopes(rows: Problem, theta: Float) -> Float:
    """d loss / d output of every row: (n, n_outputs)."""
    return slope(rows.objective, rows.predictions(theta) - rows.rows.Y)


def jacobians(rows: Problem, theta: Float, most: int = BLOCK_VALUES) -> Iterator[tuple[slice, Float]]:
    """Blocks of at most `most` rows, and the derivatives of their outputs (rows, n_outputs, p)."""
    size = max(1, min(most, BLOCK_VALUES // (len(theta) * rows.rows.Y.shape[1])))
    for start in range(0, rows.n_rows, size):
        part = slice(start, min(start + size, rows.n_rows))
        yield part, rows.jacobian(theta, part)


def prediction_gradients(rows: Problem, theta: Float, unit: Float) -> Iterator[Float]:
    """Blocks (K, p) of gradients of the predictions over a unit of each, row by row and output by output."""
    for _, J in jacobians(rows, theta, BLOCK_TARGETS):
        yield (J * unit[:, None]).reshape(-1, J.shape[2])


def gradients_of(on: Any, system: System) -> Float:
    """The gradient, (p,) or (k, p), of what `Exact.influence` is asked for."""
    theta = system.theta
    if isinstance(on, str):
        checks.choice("on", on, ("complexity",))
        return system.problem.complexity_gradient(theta)
    gradients = checks.array("on", on(theta.copy()) if callable(on) else on).astype(np.float64)
    if gradients.ndim not in (1, 2) or gradients.shape[-1] != len(theta):
        raise ValueError(
            f"on must be 'complexity', a gradient of shape ({len(theta)},) or (k, {len(theta)}), or a function "
            f"that returns one, got shape {gradients.shape}"
        )
    checks.finite("on", gradients)
    return gradients


def blocks(gradients: Float) -> Iterator[Float]:
    for start in range(0, len(gradients), BLOCK_TARGETS):
        yield gradients[start : start + BLOCK_TARGETS]


def members_of(groups: Any, n: int) -> csr_array:
    """(n_groups, n): 1 where a row belongs to a group."""
    from scipy.sparse import csr_array

    labels = np.asarray(groups)
    if labels.shape != (n,):
        raise ValueError(f"groups must hold one label per row, shape ({n},), got shape {labels.shape}")
    names, number = np.unique(labels, return_inverse=True)
    return csr_array((np.ones(n), (number, np.arange(n))), shape=(len(names), n))
