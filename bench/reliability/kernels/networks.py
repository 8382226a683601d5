"""Scores, sums over rows, curvature, training steps, embeddings: what goes through a network."""

from __future__ import annotations

import numpy as np

import fasttangent as ft
from bench.reliability.kernels import twins
from bench.reliability.kernels.draws import KINK, NearAKink, near, net, rounded, rounding, size
from fasttangent.kernels import embedding, losses, scoring
from fasttangent.model.minibatch import Schedule, train
from fasttangent.problem.dense_curvature import dense_curvature, dual_matrix
from fasttangent.problem.linearized import Linearized
from fasttangent.problem.problem import Problem
from fasttangent.solvers.dual_metric import DualMetric


def scores(rng, dtype) -> None:
    """Outputs and tangents of rows that stand apart in a table, some of them not finite."""
    one = net(rng, dtype)
    twin, n, d = one.twin, *one.X.shape
    if twin.kink() < KINK and len(one.V):
        raise NearAKink
    step = d + int(rng.integers(0, 4))
    table = np.full((n, step), np.nan)
    centre = rounded(rng, dtype, d)
    table[:, :d] = one.X + centre  # rounded once more
    flat = one.cast(table.ravel()[: (n - 1) * step + d])
    exact = np.append(flat.astype(float), np.zeros(step - d)).reshape(n, step)[:, :d] - centre
    twin = twins.Network(one.theta, exact, one.network.sizes, one.network.activation)
    F, FT = np.empty(twin.f.shape, dtype), np.empty((n, len(one.V), twin.f.shape[1]), dtype)
    bad = int(rng.integers(n)) if rng.random() < 0.3 else None
    if bad is not None:
        flat[bad * step + int(rng.integers(d))] = rng.choice([np.nan, np.inf, -np.inf])
    turned = one.network.layout.transposed
    scoring.outputs(F, FT, one.cast(turned(one.theta)), one.cast(turned(one.V)), flat, step, one.cast(centre),
                    one.network.kernel_view)  # fmt: skip
    f = twin.f.copy()
    ft_ = np.array([twin.tangents(v)[-1] for v in one.V]).reshape(len(one.V), *f.shape).swapaxes(0, 1).copy()
    if bad is not None:
        f[bad] = ft_[bad] = np.nan
    near("outputs", F, f, rounding(dtype), one.network)
    near("tangents of outputs", FT, ft_, 10 * rounding(dtype), one.network)


def drawn_problem(rng, *, smooth: bool = False, most: int = 700):
    one = net(rng, np.dtype(np.float64), smooth=smooth, most=most)
    twin, n = one.twin, len(one.X)
    loss, delta = str(rng.choice(sorted(twins.LOSSES))), float(rng.uniform(0.3, 2))
    Y = twin.f + rng.normal(size=twin.f.shape)
    w = rng.uniform(0, 3, n) * (rng.random(n) < 0.9) + 1e-3
    objective = ft.Objective(loss, delta, str(rng.choice(["l2", "l2-weights"])), float(rng.uniform(0, 0.1)))
    problem = Problem(one.network, objective, one.X, Y, w, int(rng.integers(1, 4)))
    term = twins.DataTerm(twin, Y, w / w.sum(), loss, delta)
    if term.kink < KINK:
        raise NearAKink
    return one, problem, term


def sums(rng, dtype) -> None:
    """Value, gradient, products with the curvature, Jacobian and its products."""
    one, problem, term = drawn_problem(rng)
    about, theta = (one.network, problem.objective), one.theta
    V = one.V if len(one.V) else rng.normal(size=(1, len(theta)))
    mask = problem.mask
    value, gradient = problem.value_and_gradient(theta)
    strength = problem.objective.strength
    near("the objective", value, term.value + strength * np.sum(mask * theta**2) / 2, 1e-11, about)
    near("the value", problem.value(theta, problem.predictions(theta)), value, 1e-11, about)
    near("the gradient", gradient, term.gradient() + strength * mask * theta, 1e-10, about)
    for gauss_newton in (False, True):
        found = problem.data_product(theta, V, gauss_newton=gauss_newton)
        expected = np.array([term.product(v, gauss_newton) for v in V])
        near("curvature products", found, expected, 1e-9, about, 1e-3 * float(np.linalg.norm(V)))
    near("the Jacobian", problem.jacobian(theta), term.J, 1e-11, about)
    near(
        "products with the Jacobian",
        problem.jacobian_product(theta, V),
        np.moveaxis(term.J @ V.T, 2, 0),
        1e-10,
        about,
    )
    U = rng.normal(size=(int(rng.integers(1, 4)), *term.slope.shape))
    found = problem.jacobian_transposed_product(theta, U)
    near("transposed products", found, np.einsum("kio,iop->kp", U, term.J), 1e-10, about)
    near("weights of outputs", problem.output_weights(theta), term.curvature, 1e-10, about)
    r, slopes = rng.normal(size=size(rng)), np.empty(0)
    slopes = np.empty(len(r))
    losses.loss_slopes(slopes, r, problem.objective.kernel_loss.code, problem.objective.delta)
    near("slopes", slopes, twins.LOSSES[problem.objective.loss](r, problem.objective.delta)[1], 1e-12, about)


def curvature(rng, dtype) -> None:
    """The dense Hessian, the Gauss-Newton matrix and the dual one."""
    one, problem, term = drawn_problem(rng, most=300)
    about = (one.network, problem.objective)
    G = dense_curvature(problem, one.theta, gauss_newton=True)
    near("the Gauss-Newton matrix", G, term.gauss_newton(), 1e-9, about, 1e-6)
    H = dense_curvature(problem, one.theta, gauss_newton=False)
    V = rng.normal(size=(3, len(one.theta)))
    expected = np.array([term.product(v, False) for v in V])
    near("the Hessian", V @ H, expected, 1e-9, about, 1e-3 * float(np.linalg.norm(V)))
    near("the Hessian's other half", H, H.T, 0.0, about)
    half = (np.sqrt(np.maximum(term.curvature, 0))[:, :, None] * term.J).reshape(-1, len(one.theta))
    near("the dual matrix", dual_matrix(problem, one.theta), half @ half.T, 1e-9, about, 1e-6)
    _kept(problem, one.theta, V, expected, G)


def _kept(problem, theta, V, expected, G) -> None:
    """The same at parameters for which what products share is kept, in one part or several, and the metric."""
    about, large = (problem.network, problem.objective), 1e-3 * float(np.linalg.norm(V))
    at = Linearized(problem, theta)
    found = np.array([at.product(v) for v in V]) - problem.objective.strength * problem.mask * V
    near("products with what is kept", found, expected, 1e-9, about, large)
    found = np.array([at.transposed_times(at.times(v)) for v in V])
    near("products with J^T J", found, V @ G, 1e-9, about, large)
    metric = DualMetric(at, 1.0)
    if metric.of_all_rows:
        found = np.array([metric.solve(v) for v in V])
        near("the metric", found + found @ G, V, 1e-7, about, large)


def steps(rng, dtype) -> None:
    """A few epochs with tangents."""
    one, problem, _ = drawn_problem(rng, smooth=True, most=400)
    if problem.objective.loss == "huber":
        raise NearAKink
    optimizer = str(rng.choice(["sgd", "momentum", "adam"]))
    gauss_newton, K, n = bool(rng.integers(2)), int(rng.integers(0, 3)), len(one.X)
    schedule = Schedule(
        optimizer, 0.01, epochs=2, batch_size=int(rng.integers(1, n + 1)),
        curvature="gauss-newton" if gauss_newton else "hessian",
    )  # fmt: skip
    start, seed = 0.1 * rng.normal(size=(K, len(one.theta))), int(rng.integers(1000))
    told = lambda *_, **__: None  # noqa: E731
    found = train(
        problem, schedule, (one.theta.copy(), start.copy()), dtype, np.random.default_rng(seed), told
    )
    theta, tau = _descent(problem, one, schedule, start, np.random.default_rng(seed), gauss_newton)
    about = (one.network, problem.objective, schedule)
    allowed = 2e-3 if dtype == np.float32 else 1e-6
    if optimizer == "adam" and dtype == np.float32:
        allowed = 1.0  # its first steps have the length of the rate, whatever rounding
    near("training steps", found.theta, theta, allowed, about)
    if len(found.tangents) == K:  # not dropped, as one that runs away is
        near("tangents of steps", found.tangents, tau, 100 * allowed, about, 1.0)


def _descent(problem, one, schedule, tau, rng, gauss_newton):
    """The definition of the steps."""
    X, Y, w = problem.rows
    theta, tau, n, size_ = one.theta.copy(), tau.copy(), len(X), min(schedule.batch_size, len(X))
    m, v, mt, beta, t = np.zeros_like(theta), np.zeros_like(theta), np.zeros_like(tau), schedule.momentum, 0
    total, epsilon = schedule.epochs * -(-n // size_), 1e-8
    mask, strength = problem.mask, problem.objective.strength
    for _ in range(schedule.epochs):
        order = rng.permutation(n)
        for first in range(0, n, size_):
            some = order[first : first + size_]
            eta = schedule.learning_rate * 0.5 * (1 + np.cos(np.pi * t / total))
            t += 1
            network = twins.Network(theta, X[some], one.network.sizes, one.network.activation)
            weights = w[some] * n / len(some)
            term = twins.DataTerm(network, Y[some], weights, problem.objective.loss, problem.objective.delta)
            g = term.gradient() + strength * mask * theta
            products = np.array([term.product(one_, gauss_newton) for one_ in tau]).reshape(tau.shape)
            gt = products + mask * (strength * tau + theta)
            if schedule.optimizer == "sgd":
                theta, tau = theta - eta * g, tau - eta * gt
            elif schedule.optimizer == "momentum":
                m, mt = beta * m + g, beta * mt + gt
                theta, tau = theta - eta * (g + beta * m), tau - eta * (gt + beta * mt)
            else:
                m, mt = beta * m + (1 - beta) * g, beta * mt + (1 - beta) * gt
                v = 0.999 * v + 0.001 * g * g
                P = eta / (1 - beta**t) / (np.sqrt(v / (1 - 0.999**t)) + epsilon)
                theta, tau = theta - P * m, tau - P * mt
    return theta, tau


def embeddings(rng, dtype) -> None:
    """All kinds, from inputs that are standardised on the way."""
    one = net(rng, dtype)
    (n, d), sizes, p = one.X.shape, one.network.sizes, len(one.theta)
    step, n_outputs, last = d + int(rng.integers(0, 3)), sizes[-1], len(sizes) - 2
    table = np.zeros((n, step))
    table[:, :d] = one.X
    flat = one.cast(table.ravel()[: (n - 1) * step + d])
    centre, inverse, shift = (rounded(rng, dtype, d, scale=s) for s in (1.0, 0.5, 0.1))
    standard = (one.X - centre) * inverse + shift
    twin = twins.Network(one.theta, standard, sizes, one.network.activation)
    if twin.kink() < KINK:
        raise NearAKink
    inputs = embedding.Inputs(flat, step, *map(one.cast, (centre, inverse, shift)))
    theta, view, about, near_enough = (
        one.cast(one.theta),
        one.network.kernel_view,
        one.network,
        10 * rounding(dtype),
    )
    J, K = twin.jacobian(), int(rng.integers(1, 6))
    V = rounded(rng, dtype, K, p, scale=1 / np.sqrt(p))
    VT = [np.swapaxes(one.network.layout.weights(V, l), 1, 2) for l in range(last + 1)]
    VT = [np.dstack([W, one.network.layout.biases(V, l)]) for l, W in enumerate(VT)]
    VT[last] = VT[last].swapaxes(0, 1)
    E = np.empty((n, n_outputs * K), dtype)
    embedding.posterior(E, one.cast(np.concatenate([W.ravel() for W in VT])), theta, inputs, view)
    near("posterior embeddings", E, (J @ V.T).reshape(n, -1), near_enough, about)
    squares = np.empty(n)
    embedding.norms(squares, theta, inputs, view)
    near("norms of gradients", squares, np.sum(J**2, axis=(1, 2)), near_enough, about)
    l = int(rng.integers(0, last + 1))
    H = np.empty((n, sizes[l]), dtype)
    embedding.inputs_of_layer(H, l, theta, inputs, view)
    near("inputs of a layer", H, twin.h[l], near_enough, about)
    D = size(rng, 130)
    P = [rounded(rng, dtype, D, a + 1, scale=0.3) for a in sizes[:-1]]
    Q = [rounded(rng, dtype, D, n_outputs * b, scale=0.3) for b in sizes[1:-1]]
    d_all = [a.reshape(n, -1) for a in twin.adjoints()]
    phi = sum((twins.with_one(twin.h[i]) @ P[i].T) * (d_all[i] @ Q[i].T) for i in range(last)) + (
        twins.with_one(twin.h[last]) @ P[last].T
    )
    E = np.empty((n, D), dtype)
    flat_P, flat_Q = (one.cast(np.concatenate([np.empty(0), *(a.ravel() for a in some)])) for some in (P, Q))
    embedding.gradient(E, flat_P, flat_Q, theta, inputs, view)
    near("gradient embeddings", E, phi, near_enough, about)
