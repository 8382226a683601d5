"""Fused multiply-adds that stay in the registers: the most that a processor can give."""

from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from fasttangent.kernels.jit import kernel
from fasttangent.kernels.processor import tile_vectors
from fasttangent.kernels.vectors import Vector, array_of, choose, load, store, vector_type

PEAK_ACCUMULATORS = 24


def _fma_rounds_definition(n, out):
    for _ in range(n):
        out[:] = 0.999 * out + 1e-3


@intrinsic
def _fma_rounds_instruction(typing_context, n, out):
    """n rounds of PEAK_ACCUMULATORS (12 where registers are 16) vector FMAs that never leave the registers."""

    def code(context, builder, signature, args):
        n, array = args
        pointer, _ = array_of(context, builder, signature.args[1], array)
        kind = vector_type(pointer.type.pointee)
        first = Vector(builder, load(builder, pointer))
        totals = [
            cgutils.alloca_once_value(builder, (first + 0.1 * i).parts[0]) for i in range(peak_accumulators())
        ]
        with cgutils.for_range(builder, n):
            for total in totals:
                value = Vector(builder, builder.load(total)).fma(0.999, 1e-3)
                builder.store(value.parts[0], total)
        value = Vector(builder, builder.load(totals[0]))
        for total in totals[1:]:
            value = value + Vector(builder, builder.load(total))
        assert value.parts[0].type == kind
        store(builder, value.parts[0], pointer)
        return context.get_dummy_value()

    return types.void(types.intp, out), code


def peak_accumulators():
    """Independent chains in `fma_rounds`: as many as registers leave room for the two operands."""
    return PEAK_ACCUMULATORS if tile_vectors() == 4 else PEAK_ACCUMULATORS // 2


fma_rounds = choose(_fma_rounds_definition, _fma_rounds_instruction)


@kernel
def spin(n, out):
    """n rounds of multiply-adds that stay in the registers, and their sum in `out`, one vector."""
    fma_rounds(n, out)
