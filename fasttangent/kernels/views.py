"""Views of parts of an array that cost nothing: `window`, `stretch` and `row`."""

import numpy as np
from numba import types
from numba.extending import intrinsic
from numba.np import arrayobj

from fasttangent.kernels.vectors import INT, array_of, check_rows, choose, pointer_at


def _window_definition(array, start, rows, step, columns):
    flat, size = array.reshape(-1), array.itemsize
    shape, strides = (rows, columns), (step * size, size)
    if rows * columns:
        assert start >= 0
        assert start + (rows - 1) * step + columns <= flat.size
    return np.lib.stride_tricks.as_strided(flat[min(start, flat.size) :], shape, strides)


@intrinsic
def _window_instruction(typing_context, array, start, rows, step, columns):
    """(rows, columns) of a contiguous array from its value `start` on, `step` values from one row to the next.

    The view does not keep its array alive and costs nothing: counting references took 30 % of the backward pass
    of a 64-64 network.  So it must not outlive the array, nor be returned to Python.
    """
    kind = types.Array(array.dtype, 2, "A")

    def code(context, builder, signature, args):
        base = context.make_array(signature.args[0])(context, builder, args[0])
        start, rows, step, columns = args[1:]
        size = INT(context.get_abi_sizeof(context.get_data_type(kind.dtype)))
        view = context.make_array(kind)(context, builder)
        arrayobj.populate_array(
            view,
            data=pointer_at(builder, base.data, start),
            shape=(rows, columns),
            strides=(builder.mul(step, size), size),
            itemsize=size,
            meminfo=None,
        )
        return view._getvalue()

    return kind(array, types.intp, types.intp, types.intp, types.intp), code


def _stretch_definition(array, start, n):
    return array.reshape(-1)[start : start + n]


@intrinsic
def _stretch_instruction(typing_context, array, start, n):
    """n values of a contiguous array from its value `start` on: a view like `window`."""
    kind = types.Array(array.dtype, 1, "C")

    def code(context, builder, signature, args):
        base = context.make_array(signature.args[0])(context, builder, args[0])
        size = INT(context.get_abi_sizeof(context.get_data_type(kind.dtype)))
        view = context.make_array(kind)(context, builder)
        data = pointer_at(builder, base.data, args[1])
        arrayobj.populate_array(
            view, data=data, shape=(args[2],), strides=(size,), itemsize=size, meminfo=None
        )
        return view._getvalue()

    return kind(array, types.intp, types.intp), code


def _row_definition(A, i):
    return A[i]


@intrinsic
def _row_instruction(typing_context, A, i):
    """Row i of a matrix with contiguous rows: a view like `window`, and loops over it are vectorised."""
    kind = types.Array(A.dtype, 1, "C")

    def code(context, builder, signature, args):
        base = context.make_array(signature.args[0])(context, builder, args[0])
        pointer, (step, _) = array_of(context, builder, signature.args[0], args[0])
        size = INT(context.get_abi_sizeof(context.get_data_type(kind.dtype)))
        view = context.make_array(kind)(context, builder)
        arrayobj.populate_array(
            view,
            data=pointer_at(builder, pointer, builder.mul(args[1], step)),
            shape=(builder.extract_value(base.shape, 1),),
            strides=(size,),
            itemsize=size,
            meminfo=None,
        )
        return view._getvalue()

    check_rows(A)
    return kind(A, types.intp), code


window = choose(_window_definition, _window_instruction)
stretch = choose(_stretch_definition, _stretch_instruction)
row = choose(_row_definition, _row_instruction)
