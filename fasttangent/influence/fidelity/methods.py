"""Ways to score candidates by influence, cheap and exact ones, each with its price and its certificate."""

from __future__ import annotations

import inspect
import time
import tracemalloc
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fasttangent.common.errors import DivergenceError, IndefiniteError, UntrustedTangentWarning
from fasttangent.common.progress import silent
from fasttangent.model.certificate import LARGEST_GRADIENT, Certificate, certify, unmeasured
from fasttangent.model.fit import fit
from fasttangent.model.model import Model
from fasttangent.model.prepared import Prepared, prepare
from fasttangent.problem.curvature import System
from fasttangent.problem.problem import Problem
from fasttangent.solvers import prepare as prepare_solver

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Float = NDArray[np.float64]
    Report = Callable[..., None]

FIRST_STAGES = {"sgd": "SGD first stage", "momentum": "momentum first stage", "adam": "Adam first stage"}
RATES = {"sgd": 0.05, "momentum": 0.02, "adam": 0.01}  # learning rates of the first stages
LISSA_PRODUCTS = 1000
EXACT, SETTLED = "exact solve", "settled tangent"
_DEFAULTS = {
    name: parameter.default
    for name, parameter in inspect.signature(fit).parameters.items()
    if name not in ("X", "y", "progress")
}


@dataclass(frozen=True, eq=False)
class Case:
    """Rows to train on, candidates with labels, and settings of `fit`."""

    X: NDArray
    y: NDArray
    w: Float
    X_new: NDArray
    y_new: NDArray
    settings: dict[str, Any]

    def prepared(self, optimizer: str, settle: bool, **other: Any) -> Prepared:
        """A fit whose arguments were checked."""
        own = {"sample_weight": self.w, "optimizer": optimizer, "learning_rate": RATES[optimizer]}
        return prepare(self.X, self.y, **{**_DEFAULTS, **self.settings, **own, "settle": settle, **other})

    def problem(self, model: Model) -> Problem:
        """The objective on the rows to train on."""
        return model.problem(self.X, self.y, self.w)


class Scored(NamedTuple):
    """What one method says of the candidates."""

    scores: Float  # (n,) d C / d eps; nan where the method has no answer
    seconds: float
    memory: int  # bytes at the peak, above those in use before
    certificate: Certificate


def first_stage(case: Case, optimizer: str, report: Report) -> Scored:
    """Scores of a model that was not settled: other parameters as well as another tangent."""
    try:
        model = _run(case.prepared(optimizer, False), report)
        memory = _memory_of_fit(case.prepared(optimizer, False, epochs=2), "training")
    except DivergenceError as error:
        return Scored(np.full(len(case.X_new), np.nan), np.nan, 0, unmeasured(str(error)))
    return Scored(_scores(model, case), model.training["training_seconds"], memory, model.certificate)


def settled(case: Case, report: Report) -> tuple[Model, Scored]:
    """The settled model, from Adam, that all others are compared with, and its own scores.

    Raises
    ------
    IndefiniteError
        If it is at no minimum.
    """
    model = _run(case.prepared("adam", True), report)
    certificate = model.certificate
    if not (certificate.gradient_norm <= LARGEST_GRADIENT and certificate.smallest_curvature > 0):
        raise IndefiniteError(
            "the model did not settle at a minimum, so there is neither an exact influence nor a refit to compare "
            f"with: {'; '.join(certificate.reasons)}"
        )
    memory = _memory_of_fit(case.prepared("adam", True), "settling")
    seconds = model.training["training_seconds"] + model.training["settling_seconds"]
    return model, Scored(_scores(model, case), seconds, memory, certificate)


def by_tangent(case: Case, model: Model, tangent: Tangent) -> Scored:
    """Scores of the settled model with another tangent, which gets a certificate like the model's own."""
    problem, theta = case.problem(model), model.params

    def work() -> tuple[Float, Float]:
        tau = tangent(problem, theta)
        return tau, _scores(replace(model, tangents={"strength": tau}, dtype="float64"), case)

    started = time.perf_counter()
    tau, scores = work()
    seconds = time.perf_counter() - started
    with _traced() as peak:
        work()
        memory = peak()
    return Scored(scores, seconds, memory, certify(problem, theta, tau[None]))


def warm_up(threads: int | None) -> None:
    """Compile everything, on a problem so small that it takes no time."""
    X = np.random.default_rng(0).normal(size=(20, 2))
    settings = {"hidden": (2,), "strength": 0.1, "epochs": 1, "threads": threads}
    for dtype in ("float32", "float64"):
        case = Case(X, X[:, 0], np.ones(20), X, X[:, 0], {**settings, "dtype": dtype})
        for optimizer in RATES:
            first_stage(case, optimizer, silent)
        model, _ = settled(case, silent)
    for tangent in TANGENTS.values():
        by_tangent(case, model, tangent)


# Tangents at the parameters of the settled model

Tangent = Callable[[Problem, "Float"], "Float"]


def _solved(solver: str, gauss_newton: bool = False, **options: Any) -> Tangent:
    """tau = -A^-1 grad C by a solver, as far as it gets."""

    def tangent(problem: Problem, theta: Float) -> Float:
        system = System(problem, theta, gauss_newton)
        found = prepare_solver(system, solver, **options).solve(-problem.complexity_gradient(theta)[None])
        if found.stopped == "interrupted":
            raise KeyboardInterrupt
        return found.x[0]

    return tangent


def _gradient(problem: Problem, theta: Float) -> Float:
    """-grad C: the identity in place of A^-1, so that a score is -grad C . grad loss."""
    return -problem.complexity_gradient(theta)


TANGENTS: dict[str, Tangent] = {
    EXACT: _solved("auto"),
    "CG to 1e-8": _solved("cg", tolerance=1e-8),
    "CG to 1e-4": _solved("cg", tolerance=1e-4),
    "CG to 1e-2": _solved("cg", tolerance=1e-2),
    f"LiSSA {LISSA_PRODUCTS} products": _solved("lissa", most=LISSA_PRODUCTS),
    "Gauss-Newton solve": _solved("auto", gauss_newton=True),
    "gradient product": _gradient,
}


# Fits and their memory


def _run(prepared: Prepared, report: Report) -> Model:
    model = prepared.run(report)
    if model.interrupted:
        raise KeyboardInterrupt
    return model


def _scores(model: Model, case: Case) -> Float:
    """Influence of the candidates on C; nan without a tangent."""
    if not model.tangents:
        return np.full(len(case.X_new), np.nan)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UntrustedTangentWarning)  # the certificate is told in the table
        return model.influence(case.X_new, case.y_new)


def _memory_of_fit(prepared: Prepared, stage: str) -> int:
    """Bytes at the peak up to the end of a stage; the certificate that follows needs more than most of them."""
    highest = 0
    with _traced() as peak:

        def watch(name: str, *_: Any, **__: Any) -> None:
            nonlocal highest
            if name == stage:
                highest = peak()

        _run(prepared, watch)
    return highest


@contextmanager
def _traced() -> Iterator[Callable[[], int]]:
    """Give a function that says how many bytes of Python and NumPy were in use at the peak since."""
    ours = not tracemalloc.is_tracing()
    if ours:
        tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    tracemalloc.reset_peak()
    try:
        yield lambda: max(0, tracemalloc.get_traced_memory()[1] - before)
    finally:
        if ours:
            tracemalloc.stop()
