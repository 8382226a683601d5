"""Minibatch steps of a head alone, on features that stay as they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fasttangent.active.learned_losses.head import HeadLayout
    from fasttangent.kernels.steps import Descent

    Float = NDArray[np.float64]

LEAST_ROWS = 4  # two pairs


def kernel_pairs(method: str, margin: float, epsilon: float, losses: Float) -> Any:
    """What kernels know of the loss of a pair; epsilon in units of the losses."""
    from fasttangent.kernels.learning_loss import CODES, Pairs

    return Pairs(CODES[method], margin, max(epsilon * float(losses.mean()), np.finfo(float).tiny))


class HeadTraining:
    """A head's weights and the moments of Adam, stepped by an epoch at a time."""

    def __init__(
        self,
        layout: HeadLayout,
        n_rows: int,
        batch_size: int,
        learning_rate: float,
        decay: float,
        dtype: np.dtype,
        rng: np.random.Generator,
    ) -> None:
        self.n_rows, self.n_batches = n_rows, -(-n_rows // batch_size)
        self.learning_rate, self.done, self.rng = learning_rate, 0, rng
        start, mask = layout.initial_params(rng), layout.weight_mask()
        self.descent = adam(start, mask, decay, dtype)

    @property
    def params(self) -> Float:
        return self.descent.state.theta.astype(float)

    def rates(self, epochs: int) -> Float:
        """Learning rates of the steps of the next epoch."""
        at = (self.done + np.arange(self.n_batches)) / (epochs * self.n_batches)
        return self.learning_rate * 0.5 * (1 + np.cos(np.pi * at))

    def epoch(self, H: NDArray, losses: Float, head: Any, pairs: Any, epochs: int) -> float:
        """All rows once, in pairs; the mean loss of a pair."""
        from fasttangent.kernels.learning_loss import Course, head_epoch

        course = Course(self.rng.permutation(self.n_rows), self.rates(epochs), self.done)
        mean = head_epoch(self.descent, H, losses, course, head, pairs)
        self.done += self.n_batches
        return float(mean)


def adam(start: Float, mask: Float, strength: float, dtype: np.dtype) -> Descent:
    """Adam from `start` without tangents, gradients in a single slab."""
    from fasttangent.kernels import steps

    p = len(start)
    none = np.empty((0, p), dtype)
    state = steps.State(
        start.astype(dtype), np.zeros(p, dtype), np.zeros(p, dtype), none, np.empty((0, p), dtype)
    )
    optimizer = steps.Optimizer(steps.ADAM, 0.9, 0.999, 1e-8 if dtype == np.float64 else 1e-7)
    slabs = steps.Slabs(
        0, p, np.empty((1, p), dtype), np.empty((1, 0, p), dtype), np.empty((0, 0)), np.zeros(2, np.int64)
    )
    return steps.Descent(state, steps.Penalty(mask.astype(dtype), strength), optimizer, slabs)
