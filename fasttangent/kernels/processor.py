"""What the processor has that is compiled for, and the sizes of vectors and tiles that follow from it.

The width follows the processor: 512 bits with AVX-512, 256 with AVX2, else 128 (SSE2, NEON).
``$FASTTANGENT_VECTOR_BITS`` sets another, which LLVM splits or leaves partly empty as need be.

A tile holds TILE_ROWS x tile_vectors() accumulators: 24 of the 32 registers of AVX-512 and NEON, 12 of the 16 of
AVX2 and SSE, so that the operands fit beside them.  6 x 4 and 8 x 3 ran at 90 % of the peak of two AVX-512
processors from registers and L1, 14 x 2 and 5 x 5 at 87 %, whether or not loops were unrolled or strides constant.
"""

import os
from functools import cache

import numpy as np
from llvmlite import binding
from numba import config

from fasttangent.common.interrupts import held

TILE_ROWS = 6
WIDTHS = (128, 256, 512)


@cache
def target() -> dict[str, bool]:
    """Features of the processor, as LLVM names them; those of another, where Numba is told to compile for that."""
    if config.CPU_FEATURES is not None:  # $NUMBA_CPU_FEATURES; none for $NUMBA_CPU_NAME=generic
        told = [word.strip() for word in config.CPU_FEATURES.split(",")]
        return {word[1:]: word.startswith("+") for word in told if word}
    with held():  # takes LLVM's lock
        return dict(binding.get_host_cpu_features())


def is_x86() -> bool:
    return binding.get_process_triple().startswith(("x86_64", "i686"))


@cache
def vector_bits() -> int:
    """Width of a vector in bits."""
    if chosen := os.environ.get("FASTTANGENT_VECTOR_BITS"):
        if chosen not in map(str, WIDTHS):
            raise ValueError(f"FASTTANGENT_VECTOR_BITS must be 128, 256 or 512, got {chosen!r}; or unset it")
        return int(chosen)
    return 512 if target().get("avx512f") else 256 if target().get("avx2") else 128


@cache
def tile_vectors() -> int:
    """Vectors side by side in a tile."""
    return 4 if vector_bits() == 512 or not is_x86() else 2


@cache
def has_fma() -> bool:
    """Whether the processor multiplies and adds in one instruction (else llvm.fma is a slow library call)."""
    return bool(target().get("fma")) or not is_x86()


def lanes(dtype) -> int:
    """Values of a dtype in one vector."""
    return vector_bits() // (8 * np.dtype(dtype).itemsize)
