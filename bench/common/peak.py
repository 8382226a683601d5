"""The most that fused multiply-adds can give: what a share of the peak refers to."""

from __future__ import annotations

from bench.common.turns import Contender
from fasttangent.cli.peak import fma_gflops


def peaks(dtypes=("float32",), threads=(1, 2)) -> dict[str, Contender]:
    """Gauges of the peak in GFLOP/s, to run beside the contenders."""
    return {
        peak_name(d, t): Contender(lambda d=d, t=t: fma_gflops(d, t), gauge=True)
        for d in dtypes
        for t in threads
    }


def peak_name(dtype: str, threads: int) -> str:
    return f"FMA peak, {dtype}, {threads} thread" + "s" * (threads > 1)
