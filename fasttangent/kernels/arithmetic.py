"""What every kernel is made of: two instructions, emitted as LLVM IR, and a product that accumulates.

The instructions work on scalars of float32 or float64, and LLVM vectorises them in loops.  Each has a plain
twin that defines it and runs in its place under ``NUMBA_DISABLE_JIT``.
"""

import numpy as np
from llvmlite import ir
from numba import config
from numba.core import cgutils
from numba.extending import intrinsic

from fasttangent.kernels.jit import kernel


def _fma_definition(a, b, c):
    return a * b + c


@intrinsic
def _fma_instruction(typing_context, a, b, c):
    """a * b + c, rounded once: one instruction, which LLVM vectorises in loops."""

    def code(context, builder, signature, args):
        kind = args[0].type
        name = "llvm.fma.f32" if kind == ir.FloatType() else "llvm.fma.f64"
        return builder.call(
            cgutils.get_or_insert_function(builder.module, ir.FunctionType(kind, [kind] * 3), name), args
        )

    return a(a, a, a), code


def _power_of_two_definition(t):
    return np.exp2(t - t.dtype.type(SHIFT_32 if t.itemsize == 4 else SHIFT_64))


@intrinsic
def _power_of_two_instruction(typing_context, t):
    """2^k for t = k + SHIFT, k a whole number in the range of normal numbers.

    The last bits of t are those of k: moved to the place of the exponent they are the result.
    """

    def code(context, builder, signature, args):
        single = args[0].type == ir.FloatType()
        whole = ir.IntType(32 if single else 64)
        bits = builder.add(builder.bitcast(args[0], whole), whole(127 if single else 1023))
        bits = builder.shl(bits, whole(23 if single else 52))
        return builder.bitcast(bits, args[0].type)

    return t(t), code


# Adding it to a small number rounds that to a whole one, which then stands in the last bits.
SHIFT_32, SHIFT_64 = 1.5 * 2**23, 1.5 * 2**52

fma = _fma_definition if config.DISABLE_JIT else _fma_instruction
power_of_two = _power_of_two_definition if config.DISABLE_JIT else _power_of_two_instruction


@kernel
def add_product(C, A, B):
    """C += A B, for C (m, n), A (m, q), B (q, n); rows of C and B contiguous, A in any layout.

    Every element of C is one chain of `fma` in the order of q, whatever m and n are, so a result does not
    depend on how rows were grouped.  Two rows of C and four of B at a time: 64 x 64 x 64 runs at 90
    (float32) and 54 (float64) GFLOP/s on one AVX-512 core, twice the rate of one row at a time.
    """
    m, q = A.shape
    for i in range(0, m - m % 2, 2):
        c, d = C[i], C[i + 1]
        for k in range(0, q - q % 4, 4):
            a0, a1, a2, a3 = A[i, k], A[i, k + 1], A[i, k + 2], A[i, k + 3]
            e0, e1, e2, e3 = A[i + 1, k], A[i + 1, k + 1], A[i + 1, k + 2], A[i + 1, k + 3]
            b0, b1, b2, b3 = B[k], B[k + 1], B[k + 2], B[k + 3]
            for j in range(c.size):
                x0, x1, x2, x3 = b0[j], b1[j], b2[j], b3[j]
                c[j] = fma(a3, x3, fma(a2, x2, fma(a1, x1, fma(a0, x0, c[j]))))
                d[j] = fma(e3, x3, fma(e2, x2, fma(e1, x1, fma(e0, x0, d[j]))))
        for k in range(q - q % 4, q):
            add_multiple(c, A[i, k], B[k])
            add_multiple(d, A[i + 1, k], B[k])
    for i in range(m - m % 2, m):
        c = C[i]
        for k in range(0, q - q % 4, 4):
            a0, a1, a2, a3 = A[i, k], A[i, k + 1], A[i, k + 2], A[i, k + 3]
            b0, b1, b2, b3 = B[k], B[k + 1], B[k + 2], B[k + 3]
            for j in range(c.size):
                c[j] = fma(a3, b3[j], fma(a2, b2[j], fma(a1, b1[j], fma(a0, b0[j], c[j]))))
        for k in range(q - q % 4, q):
            add_multiple(c, A[i, k], B[k])


@kernel
def add_multiple(c, a, b):
    """c += a b, for a scalar a and vectors b and c."""
    for j in range(c.size):
        c[j] = fma(a, b[j], c[j])


@kernel
def fill(A, value):
    """A = value, for a 2-d A; a slice assignment would do the same after a second of compilation."""
    for i in range(A.shape[0]):
        for j in range(A.shape[1]):
            A[i, j] = value


@kernel
def transpose(T, A):
    """T = A^T."""
    m, n = A.shape
    for j in range(n):
        for i in range(m):
            T[j, i] = A[i, j]
