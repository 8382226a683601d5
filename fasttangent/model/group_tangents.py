"""Tangents of the strengths of groups: tau_g = d theta / d strength_g, of which tau = sum_g ratio_g tau_g."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fasttangent.model.settling import solve_tangents
from fasttangent.problem import groups
from fasttangent.problem.problem import Problem

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Float = NDArray[np.float64]


def group_tangents(problem: Problem, theta: Float) -> Float:
    """tau_g (K, p) at a stationary point: (H + strength C'') tau_g = -grad C_g, all in one block solve."""
    sides = pulls(problem, theta)
    return solve_tangents(problem, theta, sides, np.zeros_like(sides))


def pulls(problem: Problem, theta: Float) -> Float:
    """grad C_g of every group (K, p)."""
    objective = problem.objective
    of = groups.numbers(objective.groups, problem.network.layout, objective.of_inputs)
    own = len(theta) - len(of)  # deviations of users, the last group
    ratios = np.append(objective.ratio_of_each(problem.network), np.full(own, objective.users or 1.0))
    of = np.append(of, np.full(own, of.max() + 1))
    return np.where(of == np.arange(of.max() + 1)[:, None], problem.complexity_gradient(theta) / ratios, 0.0)
