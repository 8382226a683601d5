"""Vector and atomic instructions: the one place that emits LLVM IR.

Everything else in `kernels` is Python that Numba compiles.  What is here is what the compiler does not find by
itself: register tiles for products of matrices, transpositions in registers, activations as vector arithmetic.
Each intrinsic has a plain twin, its *definition*, which runs in its place under ``NUMBA_DISABLE_JIT`` and with
which tests compare it.

The width follows the processor: 512 bits with AVX-512, 256 with AVX2, else 128 (SSE2, NEON).
``$FASTTANGENT_VECTOR_BITS`` sets another, which LLVM splits or leaves partly empty as need be.

A tile holds TILE_ROWS x tile_vectors() accumulators: 24 of the 32 registers of AVX-512 and NEON, 12 of the 16 of
AVX2 and SSE, so that the operands fit beside them.  6 x 4 and 8 x 3 ran at 90 % of the peak of two AVX-512
processors from registers and L1, 14 x 2 and 5 x 5 at 87 %, whether or not loops were unrolled or strides constant.
"""

import os
import threading
import time
from functools import cache, partial

import numpy as np
from llvmlite import binding, ir
from numba import config, types
from numba.core import cgutils
from numba.core.errors import TypingError
from numba.extending import intrinsic
from numba.np import arrayobj

from fasttangent.kernels import library

TILE_ROWS = 6
SPINS, NAP = 4000, 50  # pauses of the processor (20 to 40 ns each) before a wait naps, microseconds of a nap
WIDTHS = (128, 256, 512)

_INT, _BOOL, _INT32 = ir.IntType(64), ir.IntType(1), ir.IntType(32)


@cache
def host() -> dict[str, bool]:
    """Features of the processor, as LLVM names them."""
    return dict(binding.get_host_cpu_features())


def _is_x86() -> bool:
    return binding.get_process_triple().startswith(("x86_64", "i686"))


@cache
def vector_bits() -> int:
    """Width of a vector in bits."""
    if chosen := os.environ.get("FASTTANGENT_VECTOR_BITS"):
        if chosen not in map(str, WIDTHS):
            raise ValueError(f"FASTTANGENT_VECTOR_BITS must be 128, 256 or 512, got {chosen!r}; or unset it")
        return int(chosen)
    return 512 if host().get("avx512f") else 256 if host().get("avx2") else 128


@cache
def tile_vectors() -> int:
    """Vectors side by side in a tile."""
    return 4 if vector_bits() == 512 or not _is_x86() else 2


@cache
def has_fma() -> bool:
    """Whether the processor multiplies and adds in one instruction (else llvm.fma is a slow library call)."""
    return bool(host().get("fma")) or not _is_x86()


def lanes(dtype) -> int:
    """Values of a dtype in one vector."""
    return vector_bits() // (8 * np.dtype(dtype).itemsize)


# ---------------------------------------------------------------------------------------------------------------
# Vectors while code is emitted


class Vector:
    """A vector of float32 or float64 in the code that is being emitted; arithmetic on it emits arithmetic."""

    def __init__(self, builder, value):
        self.builder, self.value = builder, value

    @property
    def single(self):
        return self.value.type.element == ir.FloatType()

    @property
    def count(self):
        return self.value.type.count

    def constant(self, x):
        """x in every lane, rounded to the type."""
        x = float(np.float32(x)) if self.single else float(x)
        return Vector(self.builder, ir.Constant(self.value.type, [x] * self.count))

    def _both(self, other):
        return other.value if isinstance(other, Vector) else self.constant(other).value

    def __add__(self, other):
        return Vector(self.builder, self.builder.fadd(self.value, self._both(other)))

    def __sub__(self, other):
        return Vector(self.builder, self.builder.fsub(self.value, self._both(other)))

    def __rsub__(self, other):
        return Vector(self.builder, self.builder.fsub(self._both(other), self.value))

    def __mul__(self, other):
        return Vector(self.builder, self.builder.fmul(self.value, self._both(other)))

    def __truediv__(self, other):
        return Vector(self.builder, self.builder.fdiv(self.value, self._both(other)))

    def __rtruediv__(self, other):
        return Vector(self.builder, self.builder.fdiv(self._both(other), self.value))

    def __neg__(self):
        return Vector(self.builder, self.builder.fneg(self.value))

    __radd__, __rmul__ = __add__, __mul__

    def fma(self, factor, addend):
        """self factor + addend, rounded once."""
        return Vector(self.builder, _fma(self.builder, self.value, self._both(factor), self._both(addend)))

    def polynomial(self, coefficients):
        """Highest power first: Horner's rule, but for the first steps of a long one, which `halved` does."""
        if len(coefficients) > 6:
            *rest, next_to_last, last = coefficients
            return self.halved(rest).fma(self, next_to_last).fma(self, last)
        total = self.constant(coefficients[0])
        for c in coefficients[1:]:
            total = total.fma(self, c)
        return total

    def halved(self, coefficients):
        """The polynomial as even(x^2) + x odd(x^2): half the latency, and half the roundings in a row.

        A processor looks ahead over some hundred instructions, that is two or three vectors.
        """
        square = self * self
        even, odd = (square.polynomial(coefficients[::-1][i::2][::-1]) for i in (0, 1))
        return odd.fma(self, even)

    def abs(self):
        return self._llvm("fabs")

    def with_sign_of(self, other):
        return self._llvm("copysign", other)

    def _llvm(self, name, *others):
        kind = self.value.type
        name = f"llvm.{name}.v{kind.count}f{32 if self.single else 64}"
        function_type = ir.FunctionType(kind, [kind] * (1 + len(others)))
        function = cgutils.get_or_insert_function(self.builder.module, function_type, name)
        return Vector(self.builder, self.builder.call(function, [self.value, *map(self._both, others)]))

    def compare(self, relation, other):
        """A condition per lane; false where either is NaN, but for "!=", which is true there."""
        if relation == "!=":
            return self.builder.fcmp_unordered(relation, self.value, self._both(other))
        return self.builder.fcmp_ordered(relation, self.value, self._both(other))

    def where(self, condition, other):
        """self where the condition holds, else other."""
        return Vector(self.builder, self.builder.select(condition, self.value, self._both(other)))

    def at_least(self, low):
        """The larger of self and low; NaN stays NaN."""
        return self.constant(low).where(self.compare("<", low), self)

    def at_most(self, high):
        return self.constant(high).where(self.compare(">", high), self)

    def quotient(self, divisor):
        """self / divisor, for a normal divisor whose reciprocal is normal; within 0.6 ulp.

        AVX-512 divides in 16 cycles, and estimates a reciprocal to 14 bits in 2.  Newton's step, r + r (1 - b r),
        doubles the bits; the last one, q + r (a - b q), corrects the quotient itself.
        """
        if not (host().get("avx512f") and has_fma() and vector_bits() == 512):
            return self / divisor
        name, bits = ("rcp14.ps", 16) if self.single else ("rcp14.pd", 8)
        kind, mask = divisor.value.type, ir.IntType(bits)
        function_type = ir.FunctionType(kind, [kind, kind, mask])
        function = cgutils.get_or_insert_function(
            self.builder.module, function_type, f"llvm.x86.avx512.{name}.512"
        )
        arguments = [divisor.value, ir.Constant(kind, [0.0] * self.count), mask(2**bits - 1)]
        r = Vector(self.builder, self.builder.call(function, arguments))
        if not self.single:
            r = r.fma((-divisor).fma(r, 1), r)
        q = self * r
        return r.fma((-divisor).fma(q, self), q)

    def square(self):
        """(high, low): the rounded square and what rounding took from it."""
        high = self * self
        if has_fma():
            return high, self.fma(self, -high)
        # Dekker: two halves of the digits have exact products.
        scaled = self * (2**12 + 1 if self.single else 2**27 + 1)
        top = scaled - (scaled - self)
        rest = self - top
        return high, (top * top - high) + 2 * (top * rest) + rest * rest

    def power_of_two(self, offset=0):
        """2^(k + offset) for self = k + SHIFT of the type, k + offset a whole number in the range of exponents.

        Adding SHIFT to a small number rounds it to a whole one, which then stands in the last bits; moved to the
        place of the exponent they are the result.
        """
        whole = ir.VectorType(ir.IntType(32 if self.single else 64), self.count)

        def number(n):
            return ir.Constant(whole, [n] * self.count)

        bias = number((127 if self.single else 1023) + offset)
        bits = self.builder.add(self.builder.bitcast(self.value, whole), bias)
        bits = self.builder.shl(bits, number(23 if self.single else 52))
        return Vector(self.builder, self.builder.bitcast(bits, self.value.type))


def shift(single):
    """The SHIFT of `Vector.power_of_two`."""
    return 1.5 * 2**23 if single else 1.5 * 2**52


def _fma(builder, a, b, c):
    if not has_fma():
        return builder.fadd(builder.fmul(a, b), c)
    kind = a.type
    element = kind.element if isinstance(kind, ir.VectorType) else kind
    suffix = "f32" if element == ir.FloatType() else "f64"
    if isinstance(kind, ir.VectorType):
        suffix = f"v{kind.count}{suffix}"
    function_type = ir.FunctionType(kind, [kind] * 3)
    return builder.call(
        cgutils.get_or_insert_function(builder.module, function_type, f"llvm.fma.{suffix}"), [a, b, c]
    )


def _vector_type(element):
    return ir.VectorType(element, vector_bits() // (32 if element == ir.FloatType() else 64))


def _at(builder, pointer, offset):
    return builder.gep(pointer, [offset])


def _load(builder, pointer, mask=None):
    """A vector from a pointer to its first element; lanes without a mask bit are not read and are zero."""
    kind = _vector_type(pointer.type.pointee)
    vector_pointer = builder.bitcast(pointer, kind.as_pointer())
    align = 4 if kind.element == ir.FloatType() else 8
    if mask is None:
        value = builder.load(vector_pointer)
        value.align = align
        return value
    name = f"llvm.masked.load.v{kind.count}f{8 * align}.p0"
    function_type = ir.FunctionType(kind, [vector_pointer.type, _INT32, mask.type, kind])
    function = cgutils.get_or_insert_function(builder.module, function_type, name)
    zero = ir.Constant(kind, [0.0] * kind.count)
    return builder.call(function, [vector_pointer, _INT32(align), mask, zero])


def _store(builder, value, pointer, mask=None):
    kind = value.type
    vector_pointer = builder.bitcast(pointer, kind.as_pointer())
    align = 4 if kind.element == ir.FloatType() else 8
    if mask is None:
        builder.store(value, vector_pointer).align = align
        return
    name = f"llvm.masked.store.v{kind.count}f{8 * align}.p0"
    function_type = ir.FunctionType(ir.VoidType(), [kind, vector_pointer.type, _INT32, mask.type])
    function = cgutils.get_or_insert_function(builder.module, function_type, name)
    builder.call(function, [value, vector_pointer, _INT32(align), mask])


def _splat(builder, scalar, count):
    kind = ir.VectorType(scalar.type, count)
    undefined = ir.Constant(kind, ir.Undefined)
    first = builder.insert_element(undefined, scalar, _INT32(0))
    return builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(_INT32, count), [0] * count))


def _first_lanes(builder, n, count):
    """A mask of the lanes below n."""
    numbers = ir.Constant(ir.VectorType(_INT, count), list(range(count)))
    return builder.icmp_signed("<", numbers, _splat(builder, n, count))


def _check_rows(*kinds):
    """Refuse, while types are inferred, matrices that cannot have contiguous rows."""
    for kind in kinds:
        if kind.layout == "F":
            raise TypingError(
                "rows must be contiguous, got an array in Fortran order; pass a copy in C order"
            )


def _array(context, builder, kind, value):
    """(pointer to the first element, strides in elements) of an array argument."""
    array = context.make_array(kind)(context, builder, value)
    size = 4 if array.data.type.pointee == ir.FloatType() else 8
    strides = [builder.sdiv(builder.extract_value(array.strides, i), _INT(size)) for i in range(kind.ndim)]
    return array.data, strides


_pending: list = []  # what `provide` is to compile


def _function(module, name, argument_types, body):
    """An own function, for a call from the module; its body, body(builder, arguments), goes into the library."""
    found = module.globals.get(name)
    if found is None:
        found = ir.Function(module, ir.FunctionType(ir.VoidType(), argument_types), name)
        if library.defines(module):
            builder = ir.IRBuilder(found.append_basic_block("entry"))
            body(builder, found.args)
            builder.ret_void()
    return found


def _keep(emit, *choices):
    """Have emit(module, element, *choices) compiled for both types of numbers."""
    for element in (ir.FloatType(), ir.DoubleType()):
        _pending.append(partial(_emitted, emit, element, choices))


def _emitted(emit, element, choices, module):
    return emit(module, element, *choices)


def provide(name):
    """Make the functions that were kept since the last call a library, before any kernel calls them."""
    if not config.DISABLE_JIT:
        library.provide(name, _pending)
    _pending.clear()


def _name(what, element):
    return f"fasttangent_{what}_{_vector_type(element).count}x{'f32' if element == ir.FloatType() else 'f64'}"


# ---------------------------------------------------------------------------------------------------------------
# Views


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
        size = _INT(context.get_abi_sizeof(context.get_data_type(kind.dtype)))
        view = context.make_array(kind)(context, builder)
        arrayobj.populate_array(
            view,
            data=_at(builder, base.data, start),
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
        size = _INT(context.get_abi_sizeof(context.get_data_type(kind.dtype)))
        view = context.make_array(kind)(context, builder)
        data = _at(builder, base.data, args[1])
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
        pointer, (step, _) = _array(context, builder, signature.args[0], args[0])
        size = _INT(context.get_abi_sizeof(context.get_data_type(kind.dtype)))
        view = context.make_array(kind)(context, builder)
        arrayobj.populate_array(
            view,
            data=_at(builder, pointer, builder.mul(args[1], step)),
            shape=(builder.extract_value(base.shape, 1),),
            strides=(size,),
            itemsize=size,
            meminfo=None,
        )
        return view._getvalue()

    _check_rows(A)
    return kind(A, types.intp), code


# ---------------------------------------------------------------------------------------------------------------
# Products: C = A B + A2 B2 in register tiles


def _strip(module, element, vectors, masked):
    """C = A B + A2 B2, all rows of a strip `vectors` vectors wide; masked: only its first `width` values.

    A (m, q) has any strides (row, column); B (q, strip) and C (m, strip) have contiguous rows.
    """
    pointer = element.as_pointer()
    product = [pointer, _INT, _INT, pointer, _INT, _INT]  # A, its strides, B, its row stride, q
    arguments = [pointer, _INT, _INT, *product, *product, _BOOL, pointer, _INT]
    kind = _vector_type(element)

    def body(builder, args):
        c, c_row, m = args[:3]
        products, (accumulate, scale, width) = (args[3:9], args[9:15]), args[15:]
        mask = _first_lanes(builder, width, kind.count) if masked else None

        def tile(first, rows):
            places = [
                [_at(builder, c, builder.add(builder.mul(builder.add(first, _INT(u)), c_row), _INT(v * kind.count)))
                 for v in range(vectors)]
                for u in range(rows)
            ]  # fmt: skip
            totals = [[cgutils.alloca_once(builder, kind) for _ in range(vectors)] for _ in range(rows)]
            with builder.if_else(accumulate) as (add, begin):
                with add:
                    for u in range(rows):
                        for v in range(vectors):
                            builder.store(_load(builder, places[u][v], mask), totals[u][v])
                with begin:
                    for u in range(rows):
                        for v in range(vectors):
                            builder.store(ir.Constant(kind, [0.0] * kind.count), totals[u][v])
            for a, a_row, a_column, b, b_row, q in products:
                with cgutils.for_range(builder, q) as loop:
                    row = _at(builder, b, builder.mul(loop.index, b_row))
                    x = [
                        _load(builder, _at(builder, row, _INT(v * kind.count)), mask) for v in range(vectors)
                    ]
                    start = _at(builder, a, builder.mul(loop.index, a_column))
                    for u in range(rows):
                        place = builder.mul(builder.add(first, _INT(u)), a_row)
                        w = _splat(builder, builder.load(_at(builder, start, place)), kind.count)
                        for v in range(vectors):
                            total = builder.load(totals[u][v])
                            builder.store(_fma(builder, w, x[v], total), totals[u][v])
            with builder.if_then(builder.icmp_unsigned("!=", scale, ir.Constant(pointer, None))):
                for u in range(rows):
                    for v in range(vectors):
                        offset = builder.mul(builder.add(first, _INT(u)), c_row)
                        place = _at(builder, scale, builder.add(offset, _INT(v * kind.count)))
                        total = builder.fmul(builder.load(totals[u][v]), _load(builder, place, mask))
                        builder.store(total, totals[u][v])
            for u in range(rows):
                for v in range(vectors):
                    _store(builder, builder.load(totals[u][v]), places[u][v], mask)

        whole = builder.udiv(m, _INT(TILE_ROWS))
        with cgutils.for_range(builder, whole) as loop:
            tile(builder.mul(loop.index, _INT(TILE_ROWS)), TILE_ROWS)
        first = builder.mul(whole, _INT(TILE_ROWS))
        for rows in (4, 2, 1):
            with builder.if_then(builder.icmp_signed(">=", builder.sub(m, first), _INT(rows))):
                tile(first, rows)
            done = builder.icmp_signed(">=", builder.sub(m, first), _INT(rows))
            first = builder.select(done, builder.add(first, _INT(rows)), first)

    name = _name(f"strip{vectors}{'m' if masked else ''}", element)
    return _function(module, name, arguments, body)


def _product_definition(C, A, B, A2, B2, P, accumulate):
    with np.errstate(
        invalid="ignore"
    ):  # NaN and infinity stay where they belong; some BLAS raise the flag for them
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
            _array(context, builder, kinds[i], args[i]) for i in range(6)
        )
        element = c.type.pointee
        shape = context.make_array(kinds[0])(context, builder, args[0]).shape
        m, n = (builder.extract_value(shape, i) for i in range(2))
        q = builder.extract_value(context.make_array(kinds[1])(context, builder, args[1]).shape, 1)
        q2 = builder.extract_value(context.make_array(kinds[3])(context, builder, args[3]).shape, 1)
        p_rows = builder.extract_value(context.make_array(kinds[5])(context, builder, args[5]).shape, 0)
        none = ir.Constant(p.type, None)
        scaled = builder.icmp_signed(">", p_rows, _INT(0))
        count = _vector_type(element).count

        def strip(j, vectors, masked):
            place = builder.select(scaled, _at(builder, p, j), none)
            builder.call(
                _strip(builder.module, element, vectors, masked),
                [_at(builder, c, j), c_row, m, a, *a_steps, _at(builder, b, j), b_row, q, a2, *a2_steps,
                 _at(builder, b2, j), b2_row, q2, args[6], place, builder.sub(n, j)],
            )  # fmt: skip

        j = _INT(0)
        vectors = tile_vectors()
        while vectors:
            size = _INT(vectors * count)
            whole = builder.udiv(builder.sub(n, j), size)
            with cgutils.for_range(builder, whole) as loop:
                strip(builder.add(j, builder.mul(loop.index, size)), vectors, False)
            j = builder.add(j, builder.mul(whole, size))
            vectors //= 2
        with builder.if_then(builder.icmp_signed("<", j, n)):
            strip(j, 1, True)
        return context.get_dummy_value()

    _check_rows(C, B, B2, P)
    return types.void(C, A, B, A2, B2, P, types.boolean), code


# ---------------------------------------------------------------------------------------------------------------
# Transpositions, sums of rows and of columns


def _transposed(builder, rows):
    """The square of vectors transposed, by log2(lanes) rounds of interleaving."""
    count = len(rows)
    mask = ir.VectorType(_INT32, count)
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
    pointer, kind = element.as_pointer(), _vector_type(element)
    arguments = [pointer, _INT, pointer, _INT.as_pointer(), _INT, _INT]

    def body(builder, args):
        t, t_row, flat, offsets, rows, columns = args
        mask = _first_lanes(builder, columns, kind.count)
        last = builder.sub(rows, _INT(1))
        loaded = []
        for r in range(kind.count):
            r = builder.select(builder.icmp_signed("<", _INT(r), last), _INT(r), last)
            loaded.append(_load(builder, _at(builder, flat, builder.load(_at(builder, offsets, r))), mask))
        for i, vector in enumerate(_transposed(builder, loaded)):
            with builder.if_then(builder.icmp_signed("<", _INT(i), columns)):
                _store(builder, vector, _at(builder, t, builder.mul(t_row, _INT(i))))

    return _function(module, _name("square", element), arguments, body)


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
        (t, (t_row, _)), (flat, _) = (_array(context, builder, kinds[i], args[i]) for i in range(2))
        numbers = context.make_array(kinds[2])(context, builder, args[2])
        m = builder.extract_value(context.make_array(kinds[0])(context, builder, args[0]).shape, 0)
        n = builder.extract_value(numbers.shape, 0)
        element = t.type.pointee
        count = _INT(_vector_type(element).count)

        def up(x):
            return builder.udiv(builder.add(x, builder.sub(count, _INT(1))), count)

        with cgutils.for_range(builder, up(n)) as across:
            j = builder.mul(across.index, count)
            with cgutils.for_range(builder, up(m)) as down:
                i = builder.mul(down.index, count)
                place = _at(builder, t, builder.add(builder.mul(i, t_row), j))
                arguments = [place, t_row, _at(builder, flat, i), _at(builder, numbers.data, j)]
                arguments += [builder.sub(n, j), builder.sub(m, i)]
                builder.call(_square(builder.module, element), arguments)
        return context.get_dummy_value()

    _check_rows(T)
    return types.void(T, flat, offsets), code


def _row_sums(module, element):
    """s[:rows] += sum over j < n of A[:, j] b[j], for up to one vector of rows; n a multiple of the lanes."""
    pointer, kind = element.as_pointer(), _vector_type(element)

    def body(builder, args):
        s, a, a_row, b, n, rows = args
        last = builder.sub(rows, _INT(1))
        totals = [cgutils.alloca_once(builder, kind) for _ in range(kind.count)]
        for total in totals:
            builder.store(ir.Constant(kind, [0.0] * kind.count), total)
        with cgutils.for_range(builder, builder.udiv(n, _INT(kind.count))) as loop:
            j = builder.mul(loop.index, _INT(kind.count))
            y = _load(builder, _at(builder, b, j))
            for r, total in enumerate(totals):
                r = builder.select(builder.icmp_signed("<", _INT(r), last), _INT(r), last)
                x = _load(builder, _at(builder, a, builder.add(builder.mul(r, a_row), j)))
                builder.store(_fma(builder, x, y, builder.load(total)), total)
        sums = _transposed(builder, [builder.load(total) for total in totals])
        while len(sums) > 1:
            sums = [builder.fadd(x, y) for x, y in zip(sums[::2], sums[1::2], strict=True)]
        mask = _first_lanes(builder, rows, kind.count)
        _store(builder, builder.fadd(_load(builder, s, mask), sums[0]), s, mask)

    arguments = [pointer, pointer, _INT, pointer, _INT, _INT]
    return _function(module, _name("row_sums", element), arguments, body)


def _add_row_sums_definition(s, A, b):
    with np.errstate(invalid="ignore"):
        s += A @ b


@intrinsic
def _add_row_sums_instruction(typing_context, s, A, b):
    """s += A b, for A (m, n) with contiguous rows, n a multiple of the lanes, and contiguous s (m,) and b (n,)."""

    def code(context, builder, signature, args):
        kinds = signature.args
        (s, _), (a, (a_row, _)), (b, _) = (_array(context, builder, kinds[i], args[i]) for i in range(3))
        shape = context.make_array(kinds[1])(context, builder, args[1]).shape
        m, n = (builder.extract_value(shape, i) for i in range(2))
        element = s.type.pointee
        count = _INT(_vector_type(element).count)
        with cgutils.for_range(
            builder, builder.udiv(builder.add(m, builder.sub(count, _INT(1))), count)
        ) as loop:
            i = builder.mul(loop.index, count)
            arguments = [_at(builder, s, i), _at(builder, a, builder.mul(i, a_row)), a_row, b, n]
            builder.call(_row_sums(builder.module, element), [*arguments, builder.sub(m, i)])
        return context.get_dummy_value()

    _check_rows(A)
    return types.void(s, A, b), code


def _column_dots(module, element, vectors):
    """s += sum over i < m of A[i] B[i], for a strip `vectors` vectors wide."""
    pointer, kind = element.as_pointer(), _vector_type(element)

    def body(builder, args):
        s, first, first_row, second, second_row, m = args
        steps = [_INT(v * kind.count) for v in range(vectors)]
        totals = [cgutils.alloca_once_value(builder, _load(builder, _at(builder, s, v))) for v in steps]
        with cgutils.for_range(builder, m) as loop:
            x = _at(builder, first, builder.mul(loop.index, first_row))
            y = _at(builder, second, builder.mul(loop.index, second_row))
            for step, total in zip(steps, totals, strict=True):
                a, b = (_load(builder, _at(builder, place, step)) for place in (x, y))
                builder.store(_fma(builder, a, b, builder.load(total)), total)
        for step, total in zip(steps, totals, strict=True):
            _store(builder, builder.load(total), _at(builder, s, step))

    arguments = [pointer, pointer, _INT, pointer, _INT, _INT]
    return _function(module, _name(f"column_dots{vectors}", element), arguments, body)


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
            _array(context, builder, kinds[i], args[i]) for i in range(3)
        )
        shape = context.make_array(kinds[1])(context, builder, args[1]).shape
        m, n = (builder.extract_value(shape, i) for i in range(2))
        element, j = s.type.pointee, _INT(0)
        for vectors in (4, 1):
            size = _INT(vectors * _vector_type(element).count)
            whole = builder.udiv(builder.sub(n, j), size)
            with cgutils.for_range(builder, whole) as loop:
                at = builder.add(j, builder.mul(loop.index, size))
                places = [_at(builder, s, at), _at(builder, a, at), a_row, _at(builder, b, at), b_row, m]
                builder.call(_column_dots(builder.module, element, vectors), places)
            j = builder.add(j, builder.mul(whole, size))
        return context.get_dummy_value()

    _check_rows(A, B)
    return types.void(s, A, B), code


# ---------------------------------------------------------------------------------------------------------------
# A function of every value


def elementwise(name, formula, definition):
    """An intrinsic f(outputs, z): every array of the tuple `outputs` is filled by formula(Vector) of z's values.

    Arrays (m, n) of one dtype have contiguous rows with room up to the next whole vector, which is written too.
    `definition` takes the same arguments, and is the twin.
    """
    if config.DISABLE_JIT:
        return definition

    def emit(module, element, n_outputs):
        pointer, kind = element.as_pointer(), _vector_type(element)

        def body(builder, args):
            z, z_row, m, n, *outputs = args
            with cgutils.for_range(builder, m) as down, cgutils.for_range(builder, n) as across:
                j = builder.mul(across.index, _INT(kind.count))
                start = builder.add(builder.mul(down.index, z_row), j)
                values = formula(Vector(builder, _load(builder, _at(builder, z, start))))
                for place, row, value in zip(outputs[::2], outputs[1::2], values, strict=False):
                    start = builder.add(builder.mul(down.index, row), j)
                    _store(builder, value.value, _at(builder, place, start))

        arguments = [pointer, _INT, _INT, _INT] + [pointer, _INT] * n_outputs
        return _function(module, _name(f"{name}{n_outputs}", element), arguments, body)

    for n_outputs in (1, 2, 3):
        _keep(emit, n_outputs)

    @intrinsic
    def instruction(typing_context, outputs, z):
        def code(context, builder, signature, args):
            tuple_kind, z_kind = signature.args
            z, (z_row, _) = _array(context, builder, z_kind, args[1])
            shape = context.make_array(z_kind)(context, builder, args[1]).shape
            m, n = (builder.extract_value(shape, i) for i in range(2))
            count = _vector_type(z.type.pointee).count
            whole = builder.udiv(builder.add(n, _INT(count - 1)), _INT(count))
            places = []
            for i, kind in enumerate(tuple_kind):
                place, (row, _) = _array(context, builder, kind, builder.extract_value(args[0], i))
                places += [place, row]
            function = emit(builder.module, z.type.pointee, len(tuple_kind))
            builder.call(function, [z, z_row, m, whole, *places])
            return context.get_dummy_value()

        return types.void(outputs, z), code

    return instruction


# ---------------------------------------------------------------------------------------------------------------
# Scalars


def _fma_definition(a, b, c):
    return a * b + c


@intrinsic
def _fma_instruction(typing_context, a, b, c):
    """a b + c, rounded once: one instruction, which LLVM vectorises in loops."""

    def code(context, builder, signature, args):
        return _fma(builder, *args)

    return a(a, a, a), code


def _fma_rounds_definition(n, out):
    for _ in range(n):
        out[:] = 0.999 * out + 1e-3


PEAK_ACCUMULATORS = 24


@intrinsic
def _fma_rounds_instruction(typing_context, n, out):
    """n rounds of PEAK_ACCUMULATORS (12 where registers are 16) vector FMAs that never leave the registers."""

    def code(context, builder, signature, args):
        n, array = args
        pointer, _ = _array(context, builder, signature.args[1], array)
        kind = _vector_type(pointer.type.pointee)
        first = Vector(builder, _load(builder, pointer))
        totals = [
            cgutils.alloca_once_value(builder, (first + 0.1 * i).value) for i in range(peak_accumulators())
        ]
        with cgutils.for_range(builder, n):
            for total in totals:
                value = Vector(builder, builder.load(total)).fma(0.999, 1e-3)
                builder.store(value.value, total)
        value = Vector(builder, builder.load(totals[0]))
        for total in totals[1:]:
            value = value + Vector(builder, builder.load(total))
        assert value.value.type == kind
        _store(builder, value.value, pointer)
        return context.get_dummy_value()

    return types.void(types.intp, out), code


def peak_accumulators():
    """Independent chains in `fma_rounds`: as many as registers leave room for the two operands."""
    return PEAK_ACCUMULATORS if tile_vectors() == 4 else PEAK_ACCUMULATORS // 2


_lock = threading.Lock()


def _atomic_add_definition(counters, i, n):
    with _lock:
        before = counters[i]
        counters[i] += n
    return before


@intrinsic
def _atomic_add_instruction(typing_context, counters, i, n):
    """Add n to counters[i], an array of int64, and return what stood there before; other threads see it at once.

    What a thread wrote before, another reads after: n = 0 is a load that makes such writes visible.
    """

    def code(context, builder, signature, args):
        pointer = context.make_array(signature.args[0])(context, builder, args[0]).data
        return builder.atomic_rmw("add", _at(builder, pointer, args[1]), args[2], "seq_cst")

    return types.int64(counters, types.intp, types.int64), code


def _wait_until_definition(counters, i, n):
    while counters[i] < n:
        time.sleep(0)


@intrinsic
def _wait_until_instruction(typing_context, counters, i, n):
    """Wait until counters[i] >= n: busily for some 150 microseconds, then with naps of 50.

    Waits are short, while another thread ends its task.  Unless that thread has lost its core to another process:
    then it needs ours, and a step that only spun took 5 ms instead of 0.2.
    """

    def code(context, builder, signature, args):
        pointer = context.make_array(signature.args[0])(context, builder, args[0]).data
        windows = "windows" in binding.get_process_triple()
        spins = cgutils.alloca_once_value(builder, _INT(0))
        check, wait, done = (builder.append_basic_block(name) for name in ("check", "wait", "done"))
        builder.branch(check)
        builder.position_at_end(check)
        value = builder.load_atomic(_at(builder, pointer, args[1]), "acquire", 8)
        builder.cbranch(builder.icmp_signed(">=", value, args[2]), done, wait)
        builder.position_at_end(wait)
        spun = builder.add(builder.load(spins), _INT(1))
        builder.store(spun, spins)
        if _is_x86():
            pause = ir.FunctionType(ir.VoidType(), [])
            builder.call(cgutils.get_or_insert_function(builder.module, pause, "llvm.x86.sse2.pause"), [])
        if not windows:
            with builder.if_then(builder.icmp_signed(">", spun, _INT(SPINS))):
                nap = ir.FunctionType(_INT32, [_INT32])
                builder.call(cgutils.get_or_insert_function(builder.module, nap, "usleep"), [_INT32(NAP)])
        builder.branch(check)
        builder.position_at_end(done)
        return context.get_dummy_value()

    return types.void(counters, types.intp, types.int64), code


def _flush_denormals_definition():
    return 0


@intrinsic
def _flush_denormals_instruction(typing_context):
    """From here on this thread takes numbers below the normal range for zero; returns what `restore` needs.

    A regulariser drives weights that nothing holds to zero through that range, where an x86 processor takes a
    hundred times as long: epochs of a 64-64 network took 215 microseconds a step instead of 28.
    Elsewhere than on x86 nothing happens.
    """

    def code(context, builder, signature, args):
        if not _is_x86():
            return _INT(0)
        place = cgutils.alloca_once(builder, _INT32)
        _control(builder, "stmxcsr", place)
        before = builder.load(place)
        flush_results, operands_are_zero = 1 << 15, 1 << 6
        builder.store(builder.or_(before, _INT32(flush_results | operands_are_zero)), place)
        _control(builder, "ldmxcsr", place)
        return builder.zext(before, _INT)

    return types.int64(), code


def _restore_definition(before):
    pass


@intrinsic
def _restore_instruction(typing_context, before):
    """End what `flush_denormals` began."""

    def code(context, builder, signature, args):
        if _is_x86():
            place = cgutils.alloca_once_value(builder, builder.trunc(args[0], _INT32))
            _control(builder, "ldmxcsr", place)
        return context.get_dummy_value()

    return types.void(types.int64), code


def _control(builder, name, place):
    """Store or load the control register of SSE and AVX."""
    byte = ir.IntType(8).as_pointer()
    function_type = ir.FunctionType(ir.VoidType(), [byte])
    function = cgutils.get_or_insert_function(builder.module, function_type, f"llvm.x86.sse.{name}")
    builder.call(function, [builder.bitcast(place, byte)])


for count in (1, 2, 4):
    if count <= tile_vectors():
        _keep(_strip, count, False)
_keep(_strip, 1, True)
_keep(_square)
_keep(_row_sums)
for count in (1, 4):
    _keep(_column_dots, count)
provide("products")


def _choose(definition, instruction):
    return definition if config.DISABLE_JIT else instruction


window = _choose(_window_definition, _window_instruction)
stretch = _choose(_stretch_definition, _stretch_instruction)
row = _choose(_row_definition, _row_instruction)
product = _choose(_product_definition, _product_instruction)
gather_columns = _choose(_gather_columns_definition, _gather_columns_instruction)
add_row_sums = _choose(_add_row_sums_definition, _add_row_sums_instruction)
add_column_dots = _choose(_add_column_dots_definition, _add_column_dots_instruction)
fma = _choose(_fma_definition, _fma_instruction)
fma_rounds = _choose(_fma_rounds_definition, _fma_rounds_instruction)
atomic_add = _choose(_atomic_add_definition, _atomic_add_instruction)
wait_until = _choose(_wait_until_definition, _wait_until_instruction)
flush_denormals = _choose(_flush_denormals_definition, _flush_denormals_instruction)
restore = _choose(_restore_definition, _restore_instruction)
