"""A multiply-add that is rounded once."""

from numba.extending import intrinsic

from fasttangent.kernels.vectors import choose, emit_fma


def _fma_definition(a, b, c):
    return a * b + c


@intrinsic
def _fma_instruction(typing_context, a, b, c):
    """a b + c, rounded once: one instruction, which LLVM vectorises in loops."""

    def code(context, builder, signature, args):
        return emit_fma(builder, *args)

    return a(a, a, a), code


fma = choose(_fma_definition, _fma_instruction)
