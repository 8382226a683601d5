"""A function of every value of an array, as vector arithmetic."""

from numba import config, types
from numba.core import cgutils
from numba.extending import intrinsic

from fasttangent.kernels.vectors import (
    INT,
    Vector,
    array_of,
    keep,
    load,
    own_function,
    own_name,
    pointer_at,
    store,
    vector_type,
)

# Vectors of a row at a time, then one by one.  A formula is a long chain of instructions that wait for each other, and
# a processor looks ahead over some hundred: two chains in turn made silu a sixth and gelu a twentieth faster.
ABREAST = (2, 1)


def elementwise(name, formula, definition):
    """An intrinsic f(outputs, z): every array of the tuple `outputs` is filled by formula(Vector) of z's values.

    Arrays (m, n) of one dtype have contiguous rows with room up to the next whole vector, which is written too.
    `definition` takes the same arguments, and is the twin.
    """
    if config.DISABLE_JIT:
        return definition

    def emit(module, element, n_outputs):
        pointer, kind = element.as_pointer(), vector_type(element)

        def body(builder, args):
            z, z_row, m, n, *outputs = args

            def fill(i, j, abreast):
                def places(matrix, row):
                    start = builder.add(builder.mul(i, row), builder.mul(j, INT(kind.count)))
                    steps = (builder.add(start, INT(v * kind.count)) for v in range(abreast))
                    return [pointer_at(builder, matrix, step) for step in steps]

                values = formula(Vector(builder, *(load(builder, place) for place in places(z, z_row))))
                for matrix, row, value in zip(outputs[::2], outputs[1::2], values, strict=False):
                    for part, place in zip(value.parts, places(matrix, row), strict=True):
                        store(builder, part, place)

            with cgutils.for_range(builder, m) as down:
                j = INT(0)
                for abreast in ABREAST:
                    whole = builder.udiv(builder.sub(n, j), INT(abreast))
                    with cgutils.for_range(builder, whole) as across:
                        fill(down.index, builder.add(j, builder.mul(across.index, INT(abreast))), abreast)
                    j = builder.mul(whole, INT(abreast))

        arguments = [pointer, INT, INT, INT] + [pointer, INT] * n_outputs
        return own_function(module, own_name(f"{name}{n_outputs}", element), arguments, body)

    for n_outputs in (1, 2, 3):
        keep(emit, n_outputs)

    @intrinsic
    def instruction(typing_context, outputs, z):
        def code(context, builder, signature, args):
            tuple_kind, z_kind = signature.args
            z, (z_row, _) = array_of(context, builder, z_kind, args[1])
            shape = context.make_array(z_kind)(context, builder, args[1]).shape
            m, n = (builder.extract_value(shape, i) for i in range(2))
            count = vector_type(z.type.pointee).count
            whole = builder.udiv(builder.add(n, INT(count - 1)), INT(count))
            places = []
            for i, kind in enumerate(tuple_kind):
                place, (row, _) = array_of(context, builder, kind, builder.extract_value(args[0], i))
                places += [place, row]
            function = emit(builder.module, z.type.pointee, len(tuple_kind))
            builder.call(function, [z, z_row, m, whole, *places])
            return context.get_dummy_value()

        return types.void(outputs, z), code

    return instruction
