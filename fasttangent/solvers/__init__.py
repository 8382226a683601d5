"""Linear systems in H behind one small interface: prepare once, solve many.

    solver = prepare(System(problem, theta), "cholesky")
    found = solver.solve(-problem.complexity_gradient(theta)[None])
    found.x, found.residuals, found.stopped

| name | what it does | where it serves |
|---|---|---|
| cholesky | A = L L^T, dense | up to several thousand parameters; refuses an indefinite A |
| spectrum | eigendecomposition, dense | every strength for the price of one; A may be indefinite |
| dual | m x m, m = n outputs | Gauss-Newton with fewer rows than parameters |
| cg | conjugate gradients in lockstep | any size; stops at negative curvature |
| block-cg | one Krylov space for all right-hand sides | many right-hand sides that are alike |
| minres | minimal residuals in lockstep | indefinite systems of any size |
| lissa | x <- x + eta (b - A x) | to compare with: needs as many products as the condition number |
"""

from __future__ import annotations

import inspect
import time
from typing import Any

from fasttangent.common import checks
from fasttangent.common.vectors import dot, norm
from fasttangent.problem.curvature import System
from fasttangent.solvers import limits
from fasttangent.solvers.base import Solved, Solver
from fasttangent.solvers.direct import CholeskySolver, Dual, Spectrum
from fasttangent.solvers.iterative import BlockConjugateGradients, ConjugateGradients, Lissa, Minres
from fasttangent.solvers.krylov import Solution, conjugate_gradients
from fasttangent.solvers.memory import allowed
from fasttangent.solvers.metric import Metric

__all__ = [
    "SOLVERS",
    "Metric",
    "Solution",
    "Solved",
    "Solver",
    "conjugate_gradients",
    "dot",
    "norm",
    "prepare",
]

_CLASSES = (CholeskySolver, Spectrum, Dual, ConjugateGradients, BlockConjugateGradients, Minres, Lissa)
SOLVERS: dict[str, type[Solver]] = {each.name: each for each in _CLASSES}


def prepare(system: System, solver: str = "auto", **options: Any) -> Solver:
    """Prepare a system A = H + strength C'' for many right-hand sides.

    Parameters
    ----------
    system : System
    solver : {"auto", "cholesky", "spectrum", "dual", "cg", "block-cg", "minres", "lissa"}
        "auto" is "cholesky" up to 8000 parameters where the memory allows it, then "cg".
    **options
        tolerance : float, of "cg", "block-cg", "minres" and "lissa" (default 1e-10)
            Relative residual ||A x - b|| / ||b|| at which a right-hand side is done.
        most : int, of the same (default 5000; of "lissa" 10,000)
            Products with A at the most, each of all right-hand sides that are not done.
        preconditioner : {"gauss-newton", "nystroem", "jacobi", "none"}, of "cg", "block-cg" and "minres"
        rank : int, of the preconditioners "gauss-newton" (default 600) and "nystroem" (200)
        memory : float, of "cholesky", "spectrum" and "dual"
            GB allowed for dense matrices; default: half of the machine's memory.
        residuals : bool, of the same and of "cg" (default True)
            False: residuals are not measured, which saves a product with A, and nothing is refined.
        strict : bool, of "cholesky" (default True)
            False: A may be positive definite by no more than rounding; the error where it is not costs nothing.

    Returns
    -------
    Solver
        With ``solve(B, strength=None)``, ``name``, ``system``, ``seconds``; of "spectrum" also
        ``path(b, strengths)`` and ``eigenvalues``.

    Raises
    ------
    ValueError
        If an argument is wrong, the solver does not suit the system, or a dense matrix would not fit.
    IndefiniteError
        If A is not positive definite and the solver needs it to be.

    Examples
    --------
    >>> import numpy as np
    >>> from fasttangent import Network, Objective
    >>> from fasttangent.problem.problem import Problem
    >>> network, objective = Network((1, 1), "identity"), Objective(strength=0.5)
    >>> X = np.array([[-1.0], [1.0]])
    >>> problem = Problem(network, objective, X, 2 * X, np.ones(2), threads=1)
    >>> theta = np.array([4 / 3, 0.0])  # (1 + strength) weight = 2
    >>> found = prepare(System(problem, theta), "cholesky").solve(-problem.complexity_gradient(theta)[None])
    >>> round(float(found.x[0, 0]), 4), found.stopped  # d weight / d strength = -2 / (1 + strength)^2
    (-0.8889, 'direct')
    """
    checks.choice("solver", solver, ("auto", *SOLVERS))
    checks.finite("system.theta", system.theta)
    if solver == "auto":
        dense = system.size <= limits.FACTORED_UP_TO and CholeskySolver.needed(system) <= allowed(
            options.get("memory")
        )
        solver = "cholesky" if dense else "cg"
        known = {name for each in (CholeskySolver, ConjugateGradients) for name in _options(each)}
        _refuse_others("auto", options, known)
        options = {name: value for name, value in options.items() if name in _options(SOLVERS[solver])}
    _refuse_others(solver, options, _options(SOLVERS[solver]))
    start = time.perf_counter()
    prepared: Solver = SOLVERS[solver](system, **options)
    prepared.seconds, prepared.options = time.perf_counter() - start, options
    return prepared


def _options(solver: type[Solver]) -> set[str]:
    return set(inspect.signature(solver).parameters) - {"system"}


def _refuse_others(solver: str, options: dict[str, Any], known: set[str]) -> None:
    for name in options:
        if name not in known:
            raise ValueError(f"solver {solver!r} has no option {name!r}; it has {', '.join(sorted(known))}")
