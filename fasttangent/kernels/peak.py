"""Fused multiply-adds that stay in the registers: the most that a processor can give."""

from fasttangent.kernels.jit import kernel
from fasttangent.kernels.simd import fma_rounds


@kernel
def spin(n, out):
    """n rounds of multiply-adds that stay in the registers, and their sum in `out`, one vector."""
    fma_rounds(n, out)
