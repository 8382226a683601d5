"""What a tangent is worth: how stationary the model is, how exact its tangent, how safe the system behind it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fasttangent.problem.curvature import System
from fasttangent.problem.problem import Problem
from fasttangent.solvers import Metric, norm
from fasttangent.solvers.lanczos import curvature_bracket, largest_curvature

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Float = NDArray[np.float64]

LARGEST_GRADIENT = 1e-8
LARGEST_RESIDUAL = 1e-6
LARGEST_ERROR = 1e-3
FLAT = 1e-12  # share of the largest curvature; what is smaller is zero to rounding
PRECONDITIONER_RANK = (
    600  # of the metric in Newton and Lanczos systems, where an iteration costs a product with H
)
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
        Smallest eigenvalue of H + strength C'' (Lanczos).  The tangent exists where it is positive.  nan if it was
        not found.
    condition : float
        Largest over smallest eigenvalue; inf where the smallest is not positive.
    tangent_error : float
        Bound on ||tau - tau*|| / ||tau||, tau* the exact tangent at these parameters: tangent_residual
        ||grad C|| / (smallest curvature ||tau||); trusted up to 1e-3.
    trusted : bool
        All of the above hold.
    reasons : tuple of str
        What does not hold and what to do; empty when trusted.
    """

    gradient_norm: float
    tangent_residual: float
    smallest_curvature: float
    condition: float
    tangent_error: float
    trusted: bool
    reasons: tuple[str, ...]

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


def certify(problem: Problem, theta: Float, tangents: Float, notes: tuple[str, ...] = ()) -> Certificate:
    """Measure the certificate of parameters (p,) and tangents (K, p); `notes` are further reasons for distrust."""
    gradient_norm, _ = gradient_at(problem, theta)
    pull = norm(problem.complexity_gradient(theta))
    system, metric = System(problem, theta), Metric(problem, theta, PRECONDITIONER_RANK)
    # Far from a stationary point the number is a hint at most and not worth more than a hundred products.
    bracket = curvature_bracket(system, metric, restarts=10 if gradient_norm <= 1e-3 else 2)
    smallest = bracket.rayleigh
    largest = largest_curvature(system)
    if abs(smallest) <= FLAT * largest:
        smallest = 0.0
    condition = largest / smallest if smallest > 0 else (np.nan if np.isnan(smallest) else np.inf)
    residual = error = np.nan
    if len(tangents) and pull > 0:
        off = max(norm(r) for r in problem.tangent_residual(theta, tangents))
        residual = off / pull
        length = min(norm(t) for t in tangents)
        error = off / (bracket.lower * length) if bracket.lower > 0 and length > 0 else np.inf
    reasons = (
        *notes,
        *_reasons(problem, theta, gradient_norm, residual, smallest, error, len(tangents) > 0),
    )
    return Certificate(
        float(gradient_norm),
        float(residual),
        float(smallest),
        float(condition),
        float(error),
        not reasons,
        reasons,
    )


def unmeasured(reason: str) -> Certificate:
    """The certificate of a model that could not be examined."""
    return Certificate(np.nan, np.nan, np.nan, np.nan, np.nan, False, (reason,))


def _reasons(
    problem: Problem,
    theta: Float,
    gradient_norm: float,
    residual: float,
    smallest: float,
    error: float,
    has_tangent: bool,
) -> list[str]:
    """What does not hold, each with what to do about it."""
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
    if np.isnan(smallest):
        reasons.append(
            "the smallest curvature was not found within the steps allowed; settle longer, or raise the strength"
        )
    elif not smallest > 0:
        reasons.append(
            f"smallest curvature {smallest:.1e} is not positive, so the tangent is not unique; raise the strength"
            + _why_flat(problem)
        )
    if not has_tangent:
        reasons.append('no tangent was carried; fit with tangents="strength"')
    elif not norm(problem.complexity_gradient(theta)) > 1e-6:
        reasons.append(
            "the model has shrunk to a constant, so no row can change its complexity; lower the strength"
        )
    elif not residual <= LARGEST_RESIDUAL:
        reasons.append(
            f"tangent residual {residual:.1e} > {LARGEST_RESIDUAL:.0e}: the tangent of an early-stopped system; settle"
        )
    elif smallest > 0 and not error <= LARGEST_ERROR:
        reasons.append(
            f"the tangent may be off by {error:.0e} of its length; raise the strength, or settle longer"
        )
    return reasons


def _why_flat(problem: Problem) -> str:
    """Two settings under which a curvature of zero is no accident."""
    if problem.objective.complexity == "l2-weights":
        return ', or use complexity="l2" (biases of units that fit nothing are held by nothing)'
    if problem.network.activation == "identity" and problem.network.layout.n_layers > 1:
        return ", or use hidden=() (several linear layers in a row have a continuum of minima)"
    return ""


def _kinks(problem: Problem, theta: Float) -> int:
    """Number of (row, unit) pairs whose pre-activation is zero to rounding while the unit is in use."""
    layout, h, kinks = problem.network.layout, problem.rows.X, 0
    for l in range(layout.n_layers - 1):
        W = layout.weights(theta, l)
        z = h @ W + layout.biases(theta, l)
        kinks += int(np.count_nonzero((np.abs(z) <= KINK) & (np.abs(W).max(axis=0) > KINK)))
        h = np.maximum(z, 0)
    return kinks
