"""Products of matrices in register tiles: C = A B + A2 B2."""

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from fasttangent.kernels.processor import TILE_ROWS, tile_vectors
from fasttangent.kernels.vectors import (
    BOOL,
    INT,
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
    splat,
    store,
    vector_type,
)

# Rows of tiles.  Few rows are few chains of sums, each of which waits for the one before it: 8 rows are two tiles of 4,
# and up to FEW_ROWS stand in twice the width where there are registers for it.
HEIGHTS, FEW_ROWS = (TILE_ROWS, 4, 3, 2, 1), 3
WIDTHS = (4, 2, 1)  # vectors


def _strip(module, element, vectors, masked):
    """C = A B + A2 B2, all rows of a strip `vectors` vectors wide; masked: only its first `width` values.

    A (m, q) has any strides (row, column); B (q, strip) and C (m, strip) have contiguous rows.
    """
    pointer = element.as_pointer()
    product = [pointer, INT, INT, pointer, INT, INT]  # A, its strides, B, its row stride, q
    arguments = [pointer, INT, INT, *product, *product, BOOL, pointer, INT]
    kind = vector_type(element)

    def body(builder, args):
        c, c_row, m = args[:3]
        products, (accumulate, scale, width) = (args[3:9], args[9:15]), args[15:]
        mask = first_lanes(builder, width, kind.count) if masked else None

        def tile(first, rows):
            def place_of(u, v):
                start = builder.mul(builder.add(first, INT(u)), c_row)
                return pointer_at(builder, c, builder.add(start, INT(v * kind.count)))

            places = [[place_of(u, v) for v in range(vectors)] for u in range(rows)]
            totals = [[cgutils.alloca_once(builder, kind) for _ in range(vectors)] for _ in range(rows)]
            with builder.if_else(accumulate) as (add, begin):
                with add:
                    for u in range(rows):
                        for v in range(vectors):
                            builder.store(load(builder, places[u][v], mask), totals[u][v])
                with begin:
                    for u in range(rows):
                        for v in range(vectors):
                            builder.store(ir.Constant(kind, [0.0] * kind.count), totals[u][v])
            for a, a_row, a_column, b, b_row, q in products:
                with cgutils.for_range(builder, q) as loop:
                    row = pointer_at(builder, b, builder.mul(loop.index, b_row))
                    x = [
                        load(builder, pointer_at(builder, row, INT(v * kind.count)), mask)
                        for v in range(vectors)
                    ]
                    start = pointer_at(builder, a, builder.mul(loop.index, a_column))
                    for u in range(rows):
                        place = builder.mul(builder.add(first, INT(u)), a_row)
                        w = splat(builder, builder.load(pointer_at(builder, start, place)), kind.count)
                        for v in range(vectors):
                            total = builder.load(totals[u][v])
                            builder.store(emit_fma(builder, w, x[v], total), totals[u][v])
            with builder.if_then(builder.icmp_unsigned("!=", scale, ir.Constant(pointer, None))):
                for u in range(rows):
                    for v in range(vectors):
                        offset = builder.mul(builder.add(first, INT(u)), c_row)
                        place = pointer_at(builder, scale, builder.add(offset, INT(v * kind.count)))
                        total = builder.fmul(builder.load(totals[u][v]), load(builder, place, mask))
                        builder.store(total, totals[u][v])
            for u in range(rows):
                for v in range(vectors):
                    store(builder, builder.load(totals[u][v]), places[u][v], mask)

        first = INT(0)
        for rows in (rows for rows in HEIGHTS if rows * vectors <= TILE_ROWS * tile_vectors()):
            tiles = _whole_tiles(builder, builder.sub(m, first), rows)
            with cgutils.for_range(builder, tiles) as loop:
                tile(builder.add(first, builder.mul(loop.index, INT(rows))), rows)
            first = builder.add(first, builder.mul(tiles, INT(rows)))

    name = own_name(f"strip{vectors}{'m' if masked else ''}", element)
    return own_function(module, name, arguments, body)


def _whole_tiles(builder, m, rows):
    """How many tiles of so many rows to begin with: one less of the highest where 1, 2 or 5 rows would be left."""
    tiles = builder.udiv(m, INT(rows))
    if rows < TILE_ROWS:
        return tiles
    left = builder.sub(m, builder.mul(tiles, INT(rows)))
    low = [builder.icmp_signed("==", left, INT(n)) for n in (1, 2, 5)]
    again = builder.and_(builder.or_(low[0], builder.or_(*low[1:])), builder.icmp_signed(">", tiles, INT(0)))
    return builder.sub(tiles, builder.zext(again, INT))


def _whole(module, element):
    """C = A B + A2 B2, times P where that has rows: strip by strip."""
    pointer = element.as_pointer()
    product = [pointer, INT, INT, pointer, INT, INT]  # A, its strides, B, its row stride, q
    arguments = [pointer, INT, INT, INT, *product, *product, BOOL, pointer, INT]
    count = vector_type(element).count

    def body(builder, args):
        c, c_row, m, n = args[:4]
        (*a, b, b_row, q), (*a2, b2, b2_row, q2), (accumulate, p, p_rows) = args[4:10], args[10:16], args[16:]
        scaled = builder.icmp_signed(">", p_rows, INT(0))

        def strip(j, vectors, masked):
            place = builder.select(scaled, pointer_at(builder, p, j), ir.Constant(pointer, None))
            builder.call(
                _strip(builder.module, element, vectors, masked),
                [pointer_at(builder, c, j), c_row, m, *a, pointer_at(builder, b, j), b_row, q, *a2,
                 pointer_at(builder, b2, j), b2_row, q2, accumulate, place, builder.sub(n, j)],
            )  # fmt: skip

        j = INT(0)
        few = builder.icmp_signed("<=", m, INT(FEW_ROWS))
        for vectors in WIDTHS:
            size = INT(vectors * count)
            whole = builder.udiv(builder.sub(n, j), size)
            if vectors > tile_vectors():
                whole = builder.select(few, whole, INT(0))
            with cgutils.for_range(builder, whole) as loop:
                strip(builder.add(j, builder.mul(loop.index, size)), vectors, False)
            j = builder.add(j, builder.mul(whole, size))
        with builder.if_then(builder.icmp_signed("<", j, n)):
            strip(j, 1, True)

    return own_function(module, own_name("product", element), arguments, body)


def _product_definition(C, A, B, A2, B2, P, accumulate):
    with np.errstate(invalid="ignore"):  # NaN stays where it belongs; some BLAS raise the flag for it
        total = A @ B + A2 @ B2
        if accumulate:
            total += C
        C[:] = total * P if len(P) else total


@intrinsic
def _product_instruction(typing_context, C, A, B, A2, B2, P, accumulate):
    """C = A B + A2 B2, plus C if `accumulate`, times P elementwise if P is not empty.

    C, P (m, n), B (q, n), B2 (q2, n) have contiguous rows, C and P the same strides; A (m, q), A2 (m, q2) any.
    Every element is one chain of fused multiply-adds, A B first, in the order of q, whatever m and n are, so a
    result does not depend on how rows were grouped.
    """

    def code(context, builder, signature, args):
        kinds = signature.args
        (c, (c_row, _)), (a, a_steps), (b, (b_row, _)), (a2, a2_steps), (b2, (b2_row, _)), (p, _) = (
            array_of(context, builder, kinds[i], args[i]) for i in range(6)
        )
        m, n = shape_of(context, builder, kinds[0], args[0])
        q, q2 = (shape_of(context, builder, kinds[i], args[i])[1] for i in (1, 3))
        rows, _ = shape_of(context, builder, kinds[5], args[5])
        builder.call(
            _whole(builder.module, c.type.pointee),
            [c, c_row, m, n, a, *a_steps, b, b_row, q, a2, *a2_steps, b2, b2_row, q2, args[6], p, rows],
        )
        return context.get_dummy_value()

    check_rows(C, B, B2, P)
    return types.void(C, A, B, A2, B2, P, types.boolean), code


for count in WIDTHS:
    keep(_strip, count, False)
keep(_strip, 1, True)
keep(_whole)
provide("products")

product = choose(_product_definition, _product_instruction)
