"""One network for several users: sums, Jacobians and curvature against those of each user's own network."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bench.reliability.kernels import twins
from bench.reliability.kernels.draws import KINK, NearAKink, near
from bench.reliability.kernels.networks import drawn_problem
from fasttangent.problem.deviations import Deviations
from fasttangent.problem.linearized_users import linearized
from fasttangent.problem.users_problem import UsersProblem
from fasttangent.solvers.dual_metric import DualMetric


def users(rng, dtype) -> None:
    """Rows of users of unequal sizes, in no order, some of them without any."""
    one, plain, _ = drawn_problem(rng, most=250)
    n_layers, (X, Y, w) = one.network.layout.n_layers, plain.rows
    layers = tuple(np.flatnonzero(rng.random(n_layers) < 0.4)) or (n_layers - 1,)
    count = int(rng.integers(1, 12))
    deviations = Deviations(one.network.layout, layers, count)
    of = rng.integers(0, int(rng.integers(1, count + 1)), len(X))
    objective = replace(
        plain.objective, strength=plain.objective.strength + 1e-3, users=float(rng.uniform(0.3, 3))
    )
    problem = UsersProblem(one.network, objective, (X, Y, w), plain.threads, deviations, of)
    vector = np.append(one.theta, 0.1 * rng.normal(size=deviations.size - len(one.theta)))
    V = rng.normal(size=(2, deviations.size))
    about = (one.network, objective, layers, count)
    terms = [_of_user(problem, vector, u) for u in np.unique(of)]
    if min(term.kink for _, _, term in terms) < KINK:
        raise NearAKink
    value, gradient = problem.value_and_gradient(vector)
    penalty = objective.strength * problem.mask
    near("the objective", value, sum(t.value for _, _, t in terms) + penalty @ vector**2 / 2, 1e-11, about)
    expected = sum(E.T @ term.gradient() for E, _, term in terms)
    near("the gradient", gradient, expected + penalty * vector, 1e-10, about)
    J, D = _together(terms, len(X), "J"), _together(terms, len(X), "curvature")
    G, large = np.einsum("iop,io,ioq->pq", J, D, J), 1e-3 * float(np.linalg.norm(V))
    H = np.array([sum(E.T @ term.product(E @ v, False) for E, _, term in terms) for v in V])
    near("curvature products", problem.data_product(vector, V), H, 1e-9, about, large)
    near(
        "those of Gauss and Newton",
        problem.data_product(vector, V, gauss_newton=True),
        V @ G,
        1e-9,
        about,
        large,
    )
    near("products with J", problem.jacobian_product(vector, V), np.moveaxis(J @ V.T, 2, 0), 1e-10, about)
    U = rng.normal(size=(2, *Y.shape))
    found = problem.jacobian_transposed_product(vector, U)
    near("transposed products", found, np.einsum("kio,iop->kp", U, J), 1e-10, about)
    near("outputs", problem.predictions(vector), _together(terms, len(X), "network.f"), 1e-11, about)
    at = linearized(problem, vector)
    near("products with what is kept", [at.product(v) - penalty * v for v in V], H, 1e-9, about, large)
    near("products with J^T J", [at.transposed_times(at.times(v)) for v in V], V @ G, 1e-9, about, large)
    metric = DualMetric(at, 1.0)
    if metric.of_all_rows:
        found = np.array([metric.solve(v) for v in V])
        near("the metric", problem.metric * found + found @ G, V, 1e-7, about, large)


def _of_user(problem: UsersProblem, vector, u: int):
    """The expansion E of a vector to the user's parameters, its rows, and their data term."""
    deviations, (X, Y, w) = problem.deviations, problem.rows
    E = np.eye(deviations.n_params, deviations.size)
    first = deviations.n_params + u * len(deviations.chosen)
    E[deviations.chosen, first + np.arange(len(deviations.chosen))] = 1
    mine, network, objective = np.flatnonzero(problem.of == u), problem.network, problem.objective
    twin = twins.Network(E @ vector, X[mine], network.sizes, network.activation)
    return E, mine, twins.DataTerm(twin, Y[mine], w[mine], objective.loss, objective.delta)


def _together(terms, n: int, what: str):
    """An array of all rows from those of each user; of J in the space of all vectors."""
    parts = []
    for E, _, term in terms:
        values = term.network.f if what == "network.f" else getattr(term, what)
        parts.append(values @ E if what == "J" else values)
    order = np.concatenate([mine for _, mine, _ in terms])
    found = np.concatenate(parts)
    back = np.empty_like(found)
    back[order] = found
    assert len(order) == n
    return back
