"""The most that fused multiply-adds can give here: what a share of the peak refers to."""

from __future__ import annotations

import time
from statistics import median
from typing import TYPE_CHECKING

import numpy as np

from fasttangent.common import parallel

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

RUNS, SECONDS = 5, 0.03  # of one run, at least


def fma_gflops(dtype: DTypeLike, threads: int) -> float:
    """Multiplications and additions per second, in 10^9, of this many threads at once: the median of a few runs."""
    from fasttangent.kernels.peak import peak_accumulators, spin
    from fasttangent.kernels.processor import lanes

    outs = np.zeros((threads, lanes(dtype)), dtype)

    def seconds(rounds: int) -> float:
        start = time.perf_counter()
        parallel.run(lambda i: spin(rounds, outs[i]), threads, threads)
        return time.perf_counter() - start

    seconds(1)  # compiles
    rounds = 10_000
    while seconds(rounds) < SECONDS:
        rounds *= 2
    return 2e-9 * rounds * peak_accumulators() * outs.size / median(seconds(rounds) for _ in range(RUNS))
