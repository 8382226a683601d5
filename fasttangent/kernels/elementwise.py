"""A function of every value of an array, as vector arithmetic."""

from numba import config, types
from numba.core import cgutils
from numba.extending import intrinsic

from fasttangent.kernels.vectors import (
    INT,
    Vector,
    array_of,
    check_rows,
    keep,
    load,
    own_function,
    own_name,
    pointer_at,
    shape_of,
    store,
    vector_type,
)

# Vectors of a row at a time, then one by one.  A formula is a long chain of instructions that wait for each other, and
# a processor looks ahead over some hundred: two chains in turn made silu a sixth and gelu a twentieth faster.
ABREAST = (2, 1)


def elementwise(formulas, definition):
    """An intrinsic f(h, p, q, z, code), or its twin, the definition.

    Formula number `code` of z's values fills h, p and q: each of `formulas`, (name, formula), makes three vectors of
    one.  Only h is filled where p and q have no rows, and not q where that has none.  Arrays (m, n) of one dtype have
    contiguous rows with room up to the next whole vector, which is written too.
    """
    if config.DISABLE_JIT:
        return definition
    for name, formula in formulas:
        for n_outputs in (1, 2, 3):
            keep(_one, name, formula, n_outputs)
    keep(_any, formulas)

    @intrinsic
    def instruction(typing_context, h, p, q, z, code):
        def emit(context, builder, signature, args):
            kinds = signature.args
            places = []
            for i in (3, 0, 1, 2):
                place, (row, _) = array_of(context, builder, kinds[i], args[i])
                places += [place, row]
            m, n = shape_of(context, builder, kinds[3], args[3])
            element = places[0].type.pointee
            count = vector_type(element).count
            whole = builder.udiv(builder.add(n, INT(count - 1)), INT(count))
            with_p, with_q = (
                builder.icmp_signed(">", shape_of(context, builder, kinds[i], args[i])[0], INT(0))
                for i in (1, 2)
            )
            outputs = builder.select(with_q, INT(3), builder.select(with_p, INT(2), INT(1)))
            function = _any(builder.module, element, formulas)
            builder.call(function, [args[4], outputs, m, whole, *places])
            return context.get_dummy_value()

        check_rows(h, p, q, z)
        return types.void(h, p, q, z, types.int64), emit

    return instruction


def _any(module, element, formulas):
    """Of the formula and the number of outputs that are asked for."""
    matrices = [element.as_pointer(), INT] * 4

    def body(builder, args):
        code, n_outputs, m, n, *places = args
        number = builder.add(builder.mul(code, INT(3)), n_outputs)
        end = builder.append_basic_block("end")
        choice = builder.switch(number, end)
        for at, (name, formula) in enumerate(formulas):
            for outputs in (1, 2, 3):
                block = builder.append_basic_block(f"{name}{outputs}")
                choice.add_case(INT(3 * at + outputs), block)
                builder.position_at_end(block)
                builder.call(
                    _one(builder.module, element, name, formula, outputs), [m, n, *places[: 2 + 2 * outputs]]
                )
                builder.branch(end)
        builder.position_at_end(end)

    return own_function(module, own_name("any", element), [INT] * 4 + matrices, body)


def _one(module, element, name, formula, n_outputs):
    """Of one formula."""
    pointer, kind = element.as_pointer(), vector_type(element)

    def body(builder, args):
        m, n, z, z_row, *outputs = args

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

    arguments = [INT, INT] + [pointer, INT] * (1 + n_outputs)
    return own_function(module, own_name(f"{name}{n_outputs}", element), arguments, body)
