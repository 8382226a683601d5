"""What is minimised: F(theta) = (1/S) sum_i w_i loss(f(x_i), y_i) + strength C(theta)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fasttangent.common import checks
from fasttangent.common.words import COMPLEXITIES, LOSSES
from fasttangent.problem.network import Network

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fasttangent.kernels.rows import Loss

    Float = NDArray[np.float64]


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
    """

    loss: str = "squared"
    delta: float = 1.0
    complexity: str = "l2"
    strength: float = 1e-3

    def __post_init__(self) -> None:
        checks.choice("loss", self.loss, LOSSES)
        checks.choice("complexity", self.complexity, COMPLEXITIES)
        object.__setattr__(self, "delta", checks.number("delta", self.delta, above=0))
        object.__setattr__(self, "strength", checks.number("strength", self.strength, at_least=0))

    def mask(self, network: Network) -> Float:
        """C = 1/2 sum_j mask_j theta_j^2: the diagonal of C'', (p,)."""
        if self.complexity == "l2-weights":
            return network.layout.weight_mask()
        return np.ones(network.layout.n_params)

    @property
    def kernel_loss(self) -> Loss:
        """What kernels know of the loss."""
        from fasttangent.kernels import losses, rows

        return rows.Loss(losses.CODES[self.loss], self.delta)
