"""Transpositions in registers, and sums of rows and of columns."""

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from fasttangent.kernels.processor import lanes
from fasttangent.kernels.vectors import (
    INT,
    INT32,
    array_of,
    check_rows,
    choose,
    emit_fma,
    first_lanes,
    keep,
    load,
    own_function,
    own_name,
    pointer_at,
    provide,
    shape_of,
    store,
    vector_type,
)

DOTS_ABREAST = (4, 1)  # vectors


def _transposed(builder, rows):
    """The square of vectors transposed, by log2(lanes) rounds of interleaving."""
    count = len(rows)
    mask = ir.VectorType(INT32, count)
    low = ir.Constant(mask, [x for i in range(count // 2) for x in (i, count + i)])
    high = ir.Constant(mask, [x for i in range(count // 2, count) for x in (i, count + i)])
    for _ in range(count.bit_length() - 1):
        half = count // 2
        rows = [
            builder.shuffle_vector(rows[i], rows[i + half], side) for i in range(half) for side in (low, high)
        ]
    return rows


def _square(module, element):
    """T[i, j] = flat[offsets[j] + i] for one square; rows beyond the last repeat it."""
    pointer, kind = element.as_pointer(), vector_type(element)
    arguments = [pointer, INT, pointer, INT.as_pointer(), INT, INT]

    def body(builder, args):
        t, t_row, flat, offsets, rows, columns = args
        mask = first_lanes(builder, columns, kind.count)
        last = builder.sub(rows, INT(1))
        loaded = []
        for r in range(kind.count):
            r = builder.select(builder.icmp_signed("<", INT(r), last), INT(r), last)
            loaded.append(
                load(builder, pointer_at(builder, flat, builder.load(pointer_at(builder, offsets, r))), mask)
            )
        for i, vector in enumerate(_transposed(builder, loaded)):
            with builder.if_then(builder.icmp_signed("<", INT(i), columns)):
                store(builder, vector, pointer_at(builder, t, builder.mul(t_row, INT(i))))

    return own_function(module, own_name("square", element), arguments, body)


def _squares(module, element):
    """T[i, j] = flat[offsets[j] + i], square by square."""
    pointer, count = element.as_pointer(), INT(vector_type(element).count)
    arguments = [pointer, INT, pointer, INT.as_pointer(), INT, INT]

    def body(builder, args):
        t, t_row, flat, offsets, m, n = args
        with cgutils.for_range(builder, _vectors(builder, n, count)) as across:
            j = builder.mul(across.index, count)
            with cgutils.for_range(builder, _vectors(builder, m, count)) as down:
                i = builder.mul(down.index, count)
                place = pointer_at(builder, t, builder.add(builder.mul(i, t_row), j))
                given = [place, t_row, pointer_at(builder, flat, i), pointer_at(builder, offsets, j)]
                builder.call(_square(builder.module, element), [*given, builder.sub(n, j), builder.sub(m, i)])

    return own_function(module, own_name("squares", element), arguments, body)


def _vectors(builder, n, count):
    """How many vectors hold n values."""
    return builder.udiv(builder.add(n, builder.sub(count, INT(1))), count)


def _gather_columns_definition(T, flat, offsets):
    m, n = len(T), len(offsets)
    for j in range(min(T.shape[1], -(-n // lanes(T.dtype)) * lanes(T.dtype))):
        start = offsets[min(j, n - 1)]
        T[:, j] = flat[start : start + m]


@intrinsic
def _gather_columns_instruction(typing_context, T, flat, offsets):
    """T[i, j] = flat[offsets[j] + i], for T (m, n) with contiguous rows, j < len(offsets) <= n.

    With offsets = order * n_features rows of a table become columns.  Columns up to the next whole vector
    repeat the last one, so T needs that room.
    """

    def code(context, builder, signature, args):
        kinds = signature.args
        (t, (t_row, _)), (flat, _) = (array_of(context, builder, kinds[i], args[i]) for i in range(2))
        offsets = context.make_array(kinds[2])(context, builder, args[2]).data
        (m, _), (n,) = (shape_of(context, builder, kinds[i], args[i]) for i in (0, 2))
        builder.call(_squares(builder.module, t.type.pointee), [t, t_row, flat, offsets, m, n])
        return context.get_dummy_value()

    check_rows(T)
    return types.void(T, flat, offsets), code


def _row_sums(module, element):
    """s[:rows] += sum over j < n of A[:, j] b[j], for up to one vector of rows; n a multiple of the lanes."""
    pointer, kind = element.as_pointer(), vector_type(element)

    def body(builder, args):
        s, a, a_row, b, n, rows = args
        last = builder.sub(rows, INT(1))
        totals = [cgutils.alloca_once(builder, kind) for _ in range(kind.count)]
        for total in totals:
            builder.store(ir.Constant(kind, [0.0] * kind.count), total)
        with cgutils.for_range(builder, builder.udiv(n, INT(kind.count))) as loop:
            j = builder.mul(loop.index, INT(kind.count))
            y = load(builder, pointer_at(builder, b, j))
            for r, total in enumerate(totals):
                r = builder.select(builder.icmp_signed("<", INT(r), last), INT(r), last)
                x = load(builder, pointer_at(builder, a, builder.add(builder.mul(r, a_row), j)))
                builder.store(emit_fma(builder, x, y, builder.load(total)), total)
        sums = _transposed(builder, [builder.load(total) for total in totals])
        while len(sums) > 1:
            sums = [builder.fadd(x, y) for x, y in zip(sums[::2], sums[1::2], strict=True)]
        mask = first_lanes(builder, rows, kind.count)
        store(builder, builder.fadd(load(builder, s, mask), sums[0]), s, mask)

    arguments = [pointer, pointer, INT, pointer, INT, INT]
    return own_function(module, own_name("row_sums", element), arguments, body)


def _all_row_sums(module, element):
    """s[:m] += A b."""
    pointer, count = element.as_pointer(), INT(vector_type(element).count)

    def body(builder, args):
        s, a, a_row, b, m, n = args
        with cgutils.for_range(builder, _vectors(builder, m, count)) as loop:
            i = builder.mul(loop.index, count)
            places = pointer_at(builder, s, i), pointer_at(builder, a, builder.mul(i, a_row))
            builder.call(_row_sums(builder.module, element), [*places, a_row, b, n, builder.sub(m, i)])

    arguments = [pointer, pointer, INT, pointer, INT, INT]
    return own_function(module, own_name("all_row_sums", element), arguments, body)


def _add_row_sums_definition(s, A, b):
    with np.errstate(invalid="ignore"):
        s += A @ b


@intrinsic
def _add_row_sums_instruction(typing_context, s, A, b):
    """s += A b, for A (m, n) with contiguous rows, n a multiple of the lanes, and contiguous s (m,) and b (n,)."""

    def code(context, builder, signature, args):
        kinds = signature.args
        (s, _), (a, (a_row, _)), (b, _) = (array_of(context, builder, kinds[i], args[i]) for i in range(3))
        m, n = shape_of(context, builder, kinds[1], args[1])
        builder.call(_all_row_sums(builder.module, s.type.pointee), [s, a, a_row, b, m, n])
        return context.get_dummy_value()

    check_rows(A)
    return types.void(s, A, b), code


def _column_dots(module, element, vectors):
    """s += sum over i < m of A[i] B[i], for a strip `vectors` vectors wide."""
    pointer, kind = element.as_pointer(), vector_type(element)

    def body(builder, args):
        s, first, first_row, second, second_row, m = args
        steps = [INT(v * kind.count) for v in range(vectors)]
        totals = [cgutils.alloca_once_value(builder, load(builder, pointer_at(builder, s, v))) for v in steps]
        with cgutils.for_range(builder, m) as loop:
            x = pointer_at(builder, first, builder.mul(loop.index, first_row))
            y = pointer_at(builder, second, builder.mul(loop.index, second_row))
            for step, total in zip(steps, totals, strict=True):
                a, b = (load(builder, pointer_at(builder, place, step)) for place in (x, y))
                builder.store(emit_fma(builder, a, b, builder.load(total)), total)
        for step, total in zip(steps, totals, strict=True):
            store(builder, builder.load(total), pointer_at(builder, s, step))

    arguments = [pointer, pointer, INT, pointer, INT, INT]
    return own_function(module, own_name(f"column_dots{vectors}", element), arguments, body)


def _all_column_dots(module, element):
    """s[:n] += sum over i < m of A[i] B[i]."""
    pointer = element.as_pointer()

    def body(builder, args):
        s, a, a_row, b, b_row, m, n = args
        j = INT(0)
        for vectors in DOTS_ABREAST:
            size = INT(vectors * vector_type(element).count)
            whole = builder.udiv(builder.sub(n, j), size)
            with cgutils.for_range(builder, whole) as loop:
                at = builder.add(j, builder.mul(loop.index, size))
                s_at, a_at, b_at = (pointer_at(builder, place, at) for place in (s, a, b))
                builder.call(
                    _column_dots(builder.module, element, vectors), [s_at, a_at, a_row, b_at, b_row, m]
                )
            j = builder.add(j, builder.mul(whole, size))

    arguments = [pointer, pointer, INT, pointer, INT, INT, INT]
    return own_function(module, own_name("all_column_dots", element), arguments, body)


def _add_column_dots_definition(s, A, B):
    with np.errstate(invalid="ignore"):
        s += np.sum(A * B, axis=0)


@intrinsic
def _add_column_dots_instruction(typing_context, s, A, B):
    """s[j] += sum_i A[i, j] B[i, j], for contiguous s (n,) and A, B (m, n) with contiguous rows.

    n is a multiple of the lanes.  Every element is one chain of fused multiply-adds in the order of the rows.
    """

    def code(context, builder, signature, args):
        kinds = signature.args
        (s, _), (a, (a_row, _)), (b, (b_row, _)) = (
            array_of(context, builder, kinds[i], args[i]) for i in range(3)
        )
        m, n = shape_of(context, builder, kinds[1], args[1])
        builder.call(_all_column_dots(builder.module, s.type.pointee), [s, a, a_row, b, b_row, m, n])
        return context.get_dummy_value()

    check_rows(A, B)
    return types.void(s, A, B), code


for emit in (_square, _squares, _row_sums, _all_row_sums, _all_column_dots):
    keep(emit)
for count in DOTS_ABREAST:
    keep(_column_dots, count)
provide("sums")

gather_columns = choose(_gather_columns_definition, _gather_columns_instruction)
add_row_sums = choose(_add_row_sums_definition, _add_row_sums_instruction)
add_column_dots = choose(_add_column_dots_definition, _add_column_dots_instruction)
