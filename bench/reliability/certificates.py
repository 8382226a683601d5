"""False certificates, hunted: random small fits, their certificates against dense eigenvalues and against refits.

    python -c "from bench.reliability.certificates import hunt; print(hunt(5000, seed=0))"

What a certificate trusts must be so: H + strength C'' positive definite on all but directions on which no prediction
depends, its smallest eigenvalue within the bounds and these within a factor of two, sensitivities those of dense
linear algebra, and of refits at a strength a little larger and smaller.
"""

from __future__ import annotations

import time
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import fasttangent as ft
from fasttangent.common.words import ACTIVATIONS, LOSSES
from fasttangent.model.settling import settle
from fasttangent.problem.curvature import System
from fasttangent.problem.problem import Problem
from fasttangent.solvers.extremes import unfactored

Float = NDArray[np.float64]

SECONDS = 2.0  # of settling
REFIT_EVERY = 20
PRODUCTS_EVERY = 4
FACTOR = 2.0  # that bounds may be apart
AGREES = 2e-2  # relative difference of sensitivities to central differences
UNSEEN = 20  # rows that no model was fitted to


class Case(NamedTuple):
    """Arguments of one `fit`."""

    X: Float
    Y: Float
    w: Float
    settings: dict[str, Any]


def hunt(
    n_cases: int, seed: int = 0, report: Callable[[str], None] | None = None, first: int = 0
) -> dict[str, Any]:
    """Check cases `first` to `first + n_cases`.

    Returns counts ("cases", "trusted", "false", "refused", "refits", ...), "failures", each with the line that repeats
    it, "refusals", the settled fits that were refused though nothing is wrong with them, and "widest", the largest
    ratio of a reported smallest curvature of a trusted case to the dense one.
    """
    counts: Counter[str] = Counter()
    failures, refusals, widest, start = [], [], 1.0, time.perf_counter()
    for number in range(first, first + n_cases):
        found = check(seed, number)
        counts.update(found["counts"])
        widest = max(widest, found["ratio"], 1 / found["ratio"])
        line = f"python -c 'from bench.reliability.certificates import check; print(check({seed}, {number}))'"
        failures += [f"{what}: {line}" for what in found["failures"]]
        refusals += [f"{found['refused']}: {line}"] if found["refused"] else []
        if report is not None and (number + 1) % 50 == 0:
            report(f"{number + 1 - first} of {n_cases}: {dict(counts)}, {len(failures)} failures")
    return {
        "counts": {**counts, "false": len({f.partition(": ")[2] for f in failures})},
        "failures": failures,
        "refusals": refusals,
        "widest": widest,
        "seconds": time.perf_counter() - start,
    }


def check(seed: int, number: int) -> dict[str, Any]:
    """One case: "counts", "failures" (of a trusted model), "refused" (why, though nothing is wrong), "ratio"."""
    case = make(seed, number)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = ft.fit(
            case.X, case.Y, sample_weight=case.w, settle=SECONDS, seed=number, threads=1, **case.settings
        )
        problem = model.problem(case.X, case.Y, case.w, threads=1)
    counts, failures, refused, ratio = ["cases", model.training["stopped"]], [], "", 1.0
    certificate, truth = model.certificate, Truth(problem, model.params, seed + number)
    if number % PRODUCTS_EVERY == 0 and certificate.gradient_norm <= 1e-8:
        failures += wrong_products(problem, model.params, truth)
    if certificate.trusted:
        counts.append("trusted")
        counts += ["flat"] if certificate.flat_directions else []
        ratio = certificate.smallest_curvature / truth.smallest if truth.smallest > 0 else np.inf
        failures += wrong(certificate, truth)
        failures += wrong_scores(model.tangents["strength"], certificate, truth)
        if number % REFIT_EVERY == 0 and problem.objective.strength > 0:
            counts.append("refits")
            failures += wrong_refits(problem, model.params, model.tangents["strength"], truth)
    elif truth.sound and certificate.gradient_norm <= 1e-8 and certificate.tangent_residual <= 1e-6:
        refused = "; ".join(certificate.reasons)
        counts.append("refused")
    return {"counts": counts, "failures": failures, "refused": refused, "ratio": ratio}


def make(seed: int, number: int) -> Case:
    """The arguments of a case, from its number alone."""
    rng = np.random.default_rng([seed, number])
    n, features, outputs = int(np.exp(rng.uniform(np.log(2), np.log(300)))), int(rng.integers(1, 9)), 1
    outputs = int(rng.choice([1, 1, 1, 2, 3]))
    X = (
        rng.normal(size=(n, features))
        if rng.random() < 0.8
        else rng.integers(0, 3, (n, features)).astype(float)
    )
    X[0, 0] += 0.5  # so that it varies
    direction = rng.normal(size=(features, outputs))
    Y = [
        lambda: X @ direction,
        lambda: np.sin(3 * X[:, :1]) + X @ direction / 3,
        lambda: np.sign(np.sin(3 * X[:, :1]) + rng.normal(size=(n, outputs))),
        lambda: rng.normal(size=(n, outputs)),
        lambda: np.exp(X @ direction / 2),
        lambda: X[:, :1] ** 2 + rng.standard_t(2, size=(n, outputs)),
    ][rng.integers(6)]()
    Y = np.broadcast_to(Y, (n, outputs)) + 0.01 * rng.normal(size=(n, outputs))
    w = [
        np.ones(n),
        rng.uniform(0.1, 2, n),
        np.exp(2 * rng.normal(size=n)),
        (np.arange(n) % 3 != 1) * 1.0 + (n < 6),
    ][rng.choice(4, p=[0.55, 0.15, 0.15, 0.15])]
    settings = {
        "hidden": _hidden(rng, features, outputs),
        "activation": str(rng.choice(ACTIVATIONS)),
        "loss": str(rng.choice(LOSSES)),
        "delta": float(np.exp(rng.normal() / 2)),
        "complexity": str(rng.choice(["l2", "l2-weights"])),
        "strength": float(10 ** rng.uniform(-4, 0)) if rng.random() < 0.97 else 0.0,
        "epochs": int(rng.integers(1, 8)),
        "standardize": bool(rng.random() < 0.9),
        "dtype": str(rng.choice(["float32", "float64"])),
    }
    return Case(X, Y, w, settings)


def _hidden(rng: np.random.Generator, features: int, outputs: int) -> tuple[int, ...]:
    """Layers of 5 to 2,000 parameters in all, as many of a few as of many."""
    layers, wanted = int(rng.choice([0, 1, 1, 1, 2, 2, 3])), np.exp(rng.uniform(np.log(5), np.log(2000)))
    hidden: tuple[int, ...] = ()
    for width in range(1, 300):
        wider = (width,) * layers
        sizes = (features, *wider, outputs)
        if sum((a + 1) * b for a, b in pairwise(sizes)) > wanted:
            break
        hidden = wider
    return hidden


class Truth:
    """What dense linear algebra says, without looking at how the certificate was made."""

    def __init__(self, problem: Problem, theta: Float, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.problem, self.theta = problem, theta
        self.rows = 1.5 * rng.normal(size=(UNSEEN, problem.rows.X.shape[1]))
        self.J = problem.unlabelled(self.rows, 1).jacobian(theta).reshape(-1, len(theta))
        self.values, self.V = np.linalg.eigh(System(problem, theta).dense())
        self.pull = problem.complexity_gradient(theta)
        self.rounding = 2e-16 * len(theta) * abs(self.values).sum() + 1e-10 * abs(self.values).max()
        idle = self._idle()
        self.flat = int(idle.sum())
        self.rest = self.values[~idle]
        self.smallest, self.largest = float(self.rest[0]), float(self.rest[-1])
        self.sound = self.smallest > 10 * self.rounding and float(np.linalg.norm(self.pull)) > 1e-6
        self.W = self.V[:, ~idle]

    def _idle(self) -> NDArray[np.bool_]:
        """Eigenvectors without curvature, along which neither predictions nor the complexity change."""
        moves = np.abs(self.J @ self.V).max(axis=0) / max(1e-300, np.abs(self.J).max())
        pulls = np.abs(self.pull @ self.V) / max(1e-300, np.abs(self.pull).max())
        return (np.abs(self.values) <= self.rounding) & (moves <= 1e-6) & (pulls <= 1e-6)

    def sensitivities(self) -> Float:
        """Of rows that are not in the data, by the pseudo-inverse over all but idle directions."""
        tau = -self.W @ ((self.pull @ self.W) / self.rest)
        return self.J @ tau


def wrong(certificate: ft.Certificate, truth: Truth) -> list[str]:
    """What a trusted certificate says of the curvature and is not so."""
    found, slack = [], truth.rounding
    if not truth.smallest > 0:
        found.append(f"trusted, but an eigenvalue is {truth.smallest:.1e}")
    if certificate.flat_directions != truth.flat:
        found.append(f"{certificate.flat_directions} flat directions, truly {truth.flat}")
    if not certificate.curvature_bound <= truth.smallest + slack:
        found.append(f"lower bound {certificate.curvature_bound:.3e} > {truth.smallest:.3e}")
    if not truth.smallest <= certificate.smallest_curvature + slack:
        found.append(f"upper bound {certificate.smallest_curvature:.3e} < {truth.smallest:.3e}")
    if not certificate.smallest_curvature <= FACTOR * truth.smallest + slack:
        found.append(f"smallest curvature {certificate.smallest_curvature:.3e}, truly {truth.smallest:.3e}")
    condition = truth.largest / truth.smallest
    if not 1 / FACTOR <= certificate.condition / condition <= FACTOR:
        found.append(f"condition {certificate.condition:.3e}, truly {condition:.3e}")
    return found


def wrong_scores(tau: Float, certificate: ft.Certificate, truth: Truth) -> list[str]:
    """Sensitivities of a trusted tangent against dense linear algebra."""
    exact, ours = truth.sensitivities(), truth.J @ tau
    allowed = (2 * certificate.tangent_error + 1e-7) * np.linalg.norm(truth.J) * np.linalg.norm(tau)
    off = np.linalg.norm(ours - exact)
    return [] if off <= allowed else [f"sensitivities are off by {off:.1e}, more than {allowed:.1e}"]


def wrong_products(problem: Problem, theta: Float, truth: Truth) -> list[str]:
    """The bounds of large networks, which are made of products alone, at this small one."""
    system, found = System(problem, theta), []
    if len(system.flat_biases) != truth.flat:
        return []  # a continuum of minima, which no structure shows: its zeros are the smallest eigenvalues
    bracket = unfactored(system, deadline=time.perf_counter() + SECONDS)
    if bracket.positive and not bracket.lower <= truth.smallest + truth.rounding:
        found.append(f"by products: lower bound {bracket.lower:.3e} > {truth.smallest:.3e}")
    if not bracket.rayleigh >= truth.smallest - truth.rounding:
        found.append(f"by products: upper bound {bracket.rayleigh:.3e} < {truth.smallest:.3e}")
    if truth.sound and not bracket.positive and bracket.stopped != "out of time":
        found.append(f"by products: nothing found, {bracket.stopped or bracket.rayleigh}")
    return found


def wrong_refits(problem: Problem, theta: Float, tau: Float, truth: Truth) -> list[str]:
    """Sensitivities against the difference of two fits from here, at strengths a little apart."""
    scores, off = truth.J @ tau, []
    for share in (1e-3, 1e-4, 1e-2):
        h = share * problem.objective.strength
        ends = [_predictions_at(problem, theta, truth, side * h) for side in (1, -1)]
        if ends[0] is None or ends[1] is None:
            continue
        measured = (ends[0] - ends[1]) / (2 * h)
        off.append(float(np.linalg.norm(measured - scores) / max(1e-300, np.linalg.norm(scores))))
        if off[-1] <= AGREES:
            return []
    return [f"sensitivities differ from refits by {min(off):.1e}"] if off else []


def _predictions_at(problem: Problem, theta: Float, truth: Truth, change: float) -> Float | None:
    """Of the unseen rows, refitted from theta at another strength; None if that did not settle."""
    objective = replace(problem.objective, strength=problem.objective.strength + change)
    X, Y, w = problem.rows
    other = Problem(problem.network, objective, X, Y, w, 1)
    there = settle(other, theta, np.empty((0, len(theta))), SECONDS, lambda *_, **__: None)
    if there.stopped != "settled":
        return None
    return other.unlabelled(truth.rows, 1).predictions(there.theta).ravel()
