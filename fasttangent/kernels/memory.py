"""Arrays that a kernel makes for itself."""

import numpy as np
from numba import types
from numba.extending import intrinsic
from numba.np import arrayobj

from fasttangent.kernels.vectors import INT, INT32, choose

LINE = 64  # bytes of a cache line


def _aligned_definition(n, like):
    room = np.empty(n + LINE // like.itemsize, like.dtype)
    skip = (-room.ctypes.data % LINE) // like.itemsize
    return room[skip : skip + n]


@intrinsic
def _aligned_instruction(typing_context, n, like):
    """n values of the dtype of the array `like`, not initialised, from the beginning of a cache line.

    A vector that crosses a line costs two loads: unaligned buffers took 10-20 % longer.  `np.empty` is compiled anew
    for every process that has a first call.
    """
    kind = types.Array(like.dtype, 1, "C")

    def code(context, builder, signature, args):
        size = INT(context.get_abi_sizeof(context.get_data_type(kind.dtype)))
        memory = context.nrt.meminfo_alloc_aligned(
            builder, builder.mul(args[0], size), INT32(LINE)
        )  # or raises
        array = context.make_array(kind)(context, builder)
        data = builder.bitcast(context.nrt.meminfo_data(builder, memory), array.data.type)
        arrayobj.populate_array(
            array, data=data, shape=(args[0],), strides=(size,), itemsize=size, meminfo=memory
        )
        return array._getvalue()

    return kind(types.intp, like), code


aligned = choose(_aligned_definition, _aligned_instruction)
