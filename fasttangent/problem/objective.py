"""What is minimised: F(theta) = (1/S) sum_i w_i loss(f(x_i), y_i) + strength C(theta).

With a strength for each group, strength_g = strength ratio_g, C(theta) = sum_g ratio_g C_g(theta): all that is said of
one strength holds for the common factor of several.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from fasttangent.common import checks
from fasttangent.common.words import COMPLEXITIES, LOSSES
from fasttangent.problem import groups
from fasttangent.problem.network import Network

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fasttangent.kernels.rows import Loss

    Float = NDArray[np.float64]


def checked_numbers(of_inputs: Sequence[int]) -> tuple[int, ...]:
    """Numbers of columns, ascending from 0 without a gap."""
    found = tuple(checks.integer("of_inputs", number, at_least=0) for number in of_inputs)
    if any(b - a not in (0, 1) for a, b in pairwise((0, *found))):
        raise ValueError(f"of_inputs must number columns 0, 1, ... in their order, got {found[:8]}")
    return found


@dataclass(frozen=True)
class Objective:
    """Loss, complexity and the strength that weighs them.

    Parameters
    ----------
    loss : {"squared", "huber", "log-cosh"}
        Of the residual r = f - y in standard units: r^2/2; r^2/2 up to delta, then linear;
        delta^2 log cosh(r/delta).
    delta : float
        Where the Huber and log-cosh losses turn from quadratic to linear, in standard deviations of y.
    complexity : {"l2", "l2-weights"}
        C = ||theta||^2 / 2 over all parameters, or over the weights alone.
    strength : float
        lambda, the weight of C.
    groups : {"one", "layers", "inputs"} or tuple of int
        Of parameters: all in one; weights and biases of each layer; the weights of each input column, and weights and
        biases of the layers but for these; or the number of each parameter's group.
    ratios : tuple of float
        rho_g, the strength of each group over `strength`; () for 1.
    of_inputs : tuple of int
        The number of the column that each input was made of, whose weights are one group; () where every column is one
        input.
    users : float or None
        The same of one more group, "users": the deviations of users from what they share; None: there are no users.
    """

    loss: str = "squared"
    delta: float = 1.0
    complexity: str = "l2"
    strength: float = 1e-3
    groups: groups.Groups = "one"
    ratios: tuple[float, ...] = ()
    of_inputs: tuple[int, ...] = ()
    users: float | None = None

    def __post_init__(self) -> None:
        checks.choice("loss", self.loss, LOSSES)
        checks.choice("complexity", self.complexity, COMPLEXITIES)
        object.__setattr__(self, "delta", checks.number("delta", self.delta, above=0))
        object.__setattr__(self, "strength", checks.number("strength", self.strength, at_least=0))
        object.__setattr__(self, "groups", groups.checked(self.groups))
        each = [checks.number("ratios", ratio, above=0) for ratio in self.ratios]
        object.__setattr__(self, "ratios", tuple(each))
        object.__setattr__(self, "of_inputs", checked_numbers(self.of_inputs))
        if self.users is not None:
            object.__setattr__(self, "users", checks.number("users", self.users, above=0))

    def ratio_of_each(self, network: Network) -> Float:
        """The ratio of the group of each parameter.

        Parameters
        ----------
        network : Network

        Returns
        -------
        ndarray of float64, shape (p,)
        """
        numbers = groups.numbers(self.groups, network.layout, self.of_inputs)
        if not self.ratios:
            return np.ones(len(numbers))
        if len(self.ratios) != numbers.max() + 1:
            raise ValueError(
                f"ratios must be one for each of {numbers.max() + 1} groups, got {len(self.ratios)}"
            )
        return np.array(self.ratios)[numbers]

    def by_group(self, network: Network, columns: Sequence[str] | None) -> dict[str, float]:
        """The strength of each group.

        Parameters
        ----------
        network : Network
        columns : sequence of str, optional
            Their names.

        Returns
        -------
        dict of str to float
            By the names of `groups.names`.
        """
        names = groups.names(self.groups, network.layout, columns)
        ratios = self.ratios or (1.0,) * len(names)
        found = {name: self.strength * ratio for name, ratio in zip(names, ratios, strict=True)}
        return found if self.users is None else {**found, groups.USERS: self.strength * self.users}

    def with_strengths(self, each: Float) -> Objective:
        """The same under other strengths: `strength` is their geometric mean.

        Parameters
        ----------
        each : ndarray of float64, shape (K,)
            > 0, of the groups in their order; where there are users, theirs is the last.

        Returns
        -------
        Objective
        """
        if self.users is None and (each == each[0]).all():
            return replace(self, strength=float(each[0]), ratios=())
        strength = float(np.exp(np.mean(np.log(each))))
        ratios = list(map(float, each / strength))
        users = None if self.users is None else ratios.pop()
        return replace(self, strength=strength, ratios=tuple(ratios), users=users)

    def mask(self, network: Network) -> Float:
        """C = 1/2 sum_j mask_j theta_j^2: the diagonal of C'', (p,)."""
        each = self.ratio_of_each(network)
        return each * network.layout.weight_mask() if self.complexity == "l2-weights" else each

    @property
    def kernel_loss(self) -> Loss:
        """What kernels know of the loss."""
        from fasttangent.kernels import losses, rows

        return rows.Loss(losses.CODES[self.loss], self.delta)
