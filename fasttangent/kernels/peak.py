"""The most that fused multiply-adds can give here: what a share of the peak refers to."""

import time
from statistics import median

import numpy as np
from numpy.typing import DTypeLike

from fasttangent.kernels.jit import kernel
from fasttangent.kernels.simd import fma_rounds, lanes, peak_accumulators
from fasttangent.kernels.threads import run

RUNS, SECONDS = 5, 0.03  # of one run, at least


@kernel
def spin(n, out):
    """n rounds of multiply-adds that stay in the registers, and their sum in `out`, one vector."""
    fma_rounds(n, out)


def fma_gflops(dtype: DTypeLike, threads: int) -> float:
    """Multiplications and additions per second, in 10^9, of this many threads at once: the median of a few runs."""
    outs = np.zeros((threads, lanes(dtype)), dtype)

    def seconds(rounds: int) -> float:
        start = time.perf_counter()
        run(lambda i: spin(rounds, outs[i]), threads, threads)
        return time.perf_counter() - start

    seconds(1)  # compiles
    rounds = 10_000
    while seconds(rounds) < SECONDS:
        rounds *= 2
    return 2e-9 * rounds * peak_accumulators() * outs.size / median(seconds(rounds) for _ in range(RUNS))
