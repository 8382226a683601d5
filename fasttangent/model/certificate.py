"""What a tangent is worth: how stationary the model is, how exact its tangent, how safe the system behind it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from fasttangent.common.blas import one_thread
from fasttangent.problem.curvature import System
from fasttangent.problem.dead_units import DEAD
from fasttangent.problem.problem import Problem
from fasttangent.solvers import norm
from fasttangent.solvers.extremes import curvature_bracket, largest_curvature

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fasttangent.solvers.bracket import Bracket

    Float = NDArray[np.float64]

LARGEST_GRADIENT = 1e-8
LARGEST_RESIDUAL = 1e-6
LARGEST_ERROR = 1e-3
NEAR = 1e-3  # gradient norm above which the smallest curvature is a hint at most
NEAR_PRODUCTS, FAR_PRODUCTS = 5000, 100  # with the curvature at the most, to find it
KINK = 1e-9  # a pre-activation of relu this small, in standard units, lies on the kink


@dataclass(frozen=True)
class Certificate:
    """Whether a model's scores are what they claim, and if not, why and what to do.

    Attributes
    ----------
    gradient_norm : float
        ||grad F|| / (strength ||grad C||): how well the pull of the data and that of the regulariser balance.
        0 at a stationary point; trusted up to 1e-8.
    tangent_residual : float
        ||(H + strength C'') tau + grad C|| / ||grad C|| on all training rows, in float64, with the exact
        Hessian; 0 for the implicit tangent, 1 for no tangent at all; trusted up to 1e-6.  nan without a tangent.
    smallest_curvature : float
        Smallest eigenvalue of H + strength C'' over all parameters but flat directions, from above, within a factor of
        two where trusted.  The tangent exists where it is positive.  nan if it was not found.
    condition : float
        Largest over smallest eigenvalue; inf where the smallest is not positive.
    tangent_error : float
        Bound on ||tau - tau*|| / ||tau||, tau* the exact tangent at these parameters: tangent_residual
        ||grad C|| / (smallest curvature ||tau||); trusted up to 1e-3.
    trusted : bool
        All of the above hold.
    reasons : tuple of str
        What does not hold and what to do; empty when trusted.
    curvature_bound : float
        Lower bound on the smallest eigenvalue: by a Cholesky factor, or for large networks by conjugate gradients,
        wrong with a probability of one in a billion.  nan if none was found.
    flat_directions : int
        Biases of dead units that complexity "l2-weights" leaves free: directions without curvature, on which no
        prediction and no score depends.
    strength_error : float
        Of a strength that was learned: standard deviation of its logarithm by the curvature of the criterion, that is
        how flat the optimum is; inf if it is at none, as the criterion still falls at the last strength tried.  None of
        a strength that was given.  Scores are what they claim at any strength: `trusted` does not depend on it.
    curvature_rows : int, optional
        Of a model of many rows, if there was no time for all of them: how many rows, drawn by chance, the curvature was
        measured on, and with it the condition and the bound on the tangent's error.  It is not trusted then.  None:
        all rows, as for gradient and tangent always.
    """

    gradient_norm: float
    tangent_residual: float
    smallest_curvature: float
    condition: float
    tangent_error: float
    trusted: bool
    reasons: tuple[str, ...]
    curvature_bound: float = np.nan
    flat_directions: int = 0
    strength_error: float | None = None
    curvature_rows: int | None = None

    @property
    def warning(self) -> str:
        """What is said when scores of a model that is not trusted are used."""
        return "scores are not to be trusted: " + "; ".join(self.reasons)


def relative_gradient(problem: Problem, theta: Float, gradient: Float) -> float:
    """||grad F|| / (strength ||grad C||), the denominator at least 1e-6.

    At a stationary point grad of the data term is -strength grad C, so this is a relative imbalance.  The least
    denominator (in standard units gradients are of order 1) serves strength 0 and models that are all zero.
    """
    pull = problem.objective.strength * norm(problem.complexity_gradient(theta))
    return norm(gradient) / max(pull, 1e-6)


def gradient_at(problem: Problem, theta: Float) -> tuple[float, Float]:
    """The relative gradient norm, and the gradient (p,)."""
    _, gradient = problem.value_and_gradient(theta)
    return relative_gradient(problem, theta, gradient), gradient


def certify(
    problem: Problem,
    theta: Float,
    tangents: Float,
    notes: tuple[str, ...] = (),
    *,
    bracket: Bracket | None = None,
    deadline: float = np.inf,
    curvature_of: System | None = None,
) -> Certificate:
    """Measure the certificate of parameters (p,) and tangents (K, p).

    Parameters
    ----------
    problem : Problem
    theta, tangents : ndarray of float64
    notes : tuple of str
        Further reasons for distrust.
    bracket : Bracket, optional
        Of the smallest curvature there, if known.
    deadline : float
        Of `time.perf_counter`.  Once time is up the smallest curvature is no longer looked for; all else is measured.
    curvature_of : System, optional
        Whose `bracket` it is, of a sample of the rows.
    """
    system = System(problem, theta)
    gradient_norm, _ = gradient_at(problem, theta)
    if bracket is None:
        most = NEAR_PRODUCTS if gradient_norm <= NEAR else FAR_PRODUCTS
        bracket = curvature_bracket(system, most=most, deadline=deadline)
    smallest, condition = _smallest(bracket), np.nan
    if not np.isnan(smallest):
        condition = largest_curvature(curvature_of or system) / smallest if smallest > 0 else np.inf
    tangent = _tangent(system, tangents, bracket.lower)
    reasons = (
        *notes,
        *_why_not_of_all(problem, curvature_of),
        *_why_not_stationary(problem, theta, gradient_norm),
        *_why_not_definite(problem, bracket, gradient_norm),
        *_why_not_exact(problem, theta, tangent, smallest > 0),
    )
    return Certificate(
        float(gradient_norm),
        tangent.residual if tangent else np.nan,
        smallest,
        float(condition),
        tangent.error if tangent else np.nan,
        not reasons,
        reasons,
        float(bracket.lower) if np.isfinite(bracket.lower) else np.nan,
        len(system.flat_biases),
        curvature_rows=None if curvature_of is None else curvature_of.problem.n_rows,
    )


def unmeasured(reason: str) -> Certificate:
    """The certificate of a model that could not be examined."""
    return Certificate(np.nan, np.nan, np.nan, np.nan, np.nan, False, (reason,))


def _smallest(bracket: Bracket) -> float:
    """The smallest curvature as far as it is known: nan where it may be anything below a positive number."""
    if bracket.positive or bracket.negative:
        return float(bracket.rayleigh)
    return 0.0 if abs(bracket.rayleigh) <= 2 * bracket.zero else np.nan


class _Tangent(NamedTuple):
    residual: float
    error: float


def _tangent(system: System, tangents: Float, lower: float) -> _Tangent | None:
    """The largest residual and bound on the error of the tangents; None without any, or if they have nothing to do.

    The parts along flat biases are no error.  To scores they add what weights of dead units, which are zero
    to rounding, let through: at most DEAD times their length, which is counted as an error.
    """
    pull, flat = norm(system.problem.complexity_gradient(system.theta)), system.flat_biases
    if not len(tangents) or not pull > 0:
        return None
    held = tangents.copy()
    held[:, flat] = 0
    residual = off = max(norm(r) for r in system.problem.tangent_residual(system.theta, tangents))
    if len(flat):
        off = max(norm(r) for r in system.problem.tangent_residual(system.theta, held))
    length, astray = min(norm(t) for t in held), max(norm(t) for t in tangents[:, flat])
    if not (lower > 0 and length > 0):
        return _Tangent(float(residual / pull), np.inf)
    return _Tangent(float(residual / pull), float((off / lower + DEAD * astray) / length))


def _why_not_of_all(problem: Problem, curvature_of: System | None) -> list[str]:
    if curvature_of is None:
        return []
    return [
        f"the smallest curvature is that of {curvature_of.problem.n_rows:,} of {problem.n_rows:,} rows, as the time "
        f"allowed was up; settle longer (settle=seconds)"
    ]


def _why_not_stationary(problem: Problem, theta: Float, gradient_norm: float) -> list[str]:
    reasons = []
    if not gradient_norm <= LARGEST_GRADIENT:
        reasons.append(
            f"not stationary: relative gradient norm {gradient_norm:.1e} > {LARGEST_GRADIENT:.0e}; "
            f"settle (longer), or raise the strength"
        )
    if problem.network.activation == "relu" and (kinks := _kinks(problem, theta)):
        reasons.append(
            f"{kinks} pre-activations of training rows lie on the kink of relu, where no gradient exists; "
            f"use a smooth activation (softplus, silu, tanh)"
        )
    return reasons


def _why_not_definite(problem: Problem, bracket: Bracket, gradient_norm: float) -> list[str]:
    smallest = _smallest(bracket)
    if smallest > 0:
        return []
    if not np.isnan(smallest):
        return [
            f"smallest curvature {smallest:.1e} is not positive, so the tangent is not unique; raise the strength"
            + _why_flat(problem)
        ]
    if bracket.stopped == "out of time":
        return [
            "the smallest curvature was not measured, as the time allowed was up; settle longer (settle=seconds)"
        ]
    if gradient_norm > NEAR:
        return []  # says little there, and that it is far from a stationary point is said already
    return [
        "the smallest curvature was not found within the steps allowed; settle longer, or raise the strength"
    ]


def _why_not_exact(problem: Problem, theta: Float, tangent: _Tangent | None, definite: bool) -> list[str]:
    if not norm(problem.complexity_gradient(theta)) > 1e-6:
        return ["the model has shrunk to a constant, so no row can change its complexity; lower the strength"]
    if tangent is None:
        return ['no tangent was carried; fit with tangents="strength"']
    if not tangent.residual <= LARGEST_RESIDUAL:
        return [
            f"tangent residual {tangent.residual:.1e} > {LARGEST_RESIDUAL:.0e}: the tangent of an early-stopped "
            f"system; settle"
        ]
    if definite and not tangent.error <= LARGEST_ERROR:
        return [
            f"the tangent may be off by {tangent.error:.0e} of its length; raise the strength, or settle longer"
        ]
    return []


def _why_flat(problem: Problem) -> str:
    """Two settings under which a curvature of zero is no accident."""
    if problem.network.activation == "identity" and problem.network.layout.n_layers > 1:
        return ", or use hidden=() (several linear layers in a row have a continuum of minima)"
    if problem.objective.complexity == "l2-weights":
        return ', or use complexity="l2" (biases of units that fit nothing are held by nothing)'
    return ""


def _kinks(problem: Problem, theta: Float) -> int:
    """Number of (row, unit) pairs whose pre-activation is zero to rounding while the unit is in use."""
    layout, kinks = problem.network.layout, 0
    for part in problem.parts():
        for rows, theta_u in part.each_user(theta):
            h = part.rows.X[rows]
            for l in range(layout.n_layers - 1):
                W = layout.weights(theta_u, l)
                with one_thread():
                    z = h @ W + layout.biases(theta_u, l)
                kinks += int(np.count_nonzero((np.abs(z) <= KINK) & (np.abs(W).max(axis=0) > KINK)))
                h = np.maximum(z, 0)
    return kinks
