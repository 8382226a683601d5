"""Vectors in the code that is being emitted, and functions of our own for it: the tools of every instruction.

Everything in `kernels` is Python that Numba compiles, but for a few files that emit LLVM IR: what the compiler does
not find by itself.  These are `products` (register tiles), `sums` (of rows and columns, and transpositions in
registers), `elementwise` (activations as vector arithmetic), `views`, `prefetch`, `scalar`, `waiting`, `denormals`
and `peak`.  Each intrinsic there has a plain twin, its *definition*, which runs in its place under
``NUMBA_DISABLE_JIT`` and with which tests compare it; `choose` takes one of the two.
"""

from functools import partial

import numpy as np
from llvmlite import ir
from numba import config
from numba.core import cgutils
from numba.core.errors import TypingError

from fasttangent.kernels import library
from fasttangent.kernels.processor import has_fma, target, vector_bits

INT, BOOL, INT32 = ir.IntType(64), ir.IntType(1), ir.IntType(32)


def choose(definition, instruction):
    """The intrinsic, or its twin where nothing is compiled."""
    return definition if config.DISABLE_JIT else instruction


class Vector:
    """Vectors of float32 or float64 in the code that is being emitted; arithmetic on them emits arithmetic.

    Parts side by side are chains of instructions that do not wait for each other.
    """

    def __init__(self, builder, *parts):
        self.builder, self.parts = builder, parts

    @property
    def kind(self):
        return self.parts[0].type

    @property
    def single(self):
        return self.kind.element == ir.FloatType()

    def constant(self, x):
        """x in every lane, rounded to the type."""
        x = float(np.float32(x)) if self.single else float(x)
        return Vector(self.builder, *[ir.Constant(self.kind, [x] * self.kind.count)] * len(self.parts))

    def each(self, emit, *others):
        """emit(part, part of each other) of all parts; others may be numbers."""
        rest = (x if isinstance(x, Vector) else self.constant(x) for x in others)
        columns = zip(self.parts, *(x.parts for x in rest), strict=True)
        return Vector(self.builder, *(emit(*column) for column in columns))

    def __add__(self, other):
        return self.each(self.builder.fadd, other)

    def __sub__(self, other):
        return self.each(self.builder.fsub, other)

    def __rsub__(self, other):
        return self.constant(other) - self

    def __mul__(self, other):
        return self.each(self.builder.fmul, other)

    def __truediv__(self, other):
        return self.each(self.builder.fdiv, other)

    def __rtruediv__(self, other):
        return self.constant(other) / self

    def __neg__(self):
        return self.each(self.builder.fneg)

    __radd__, __rmul__ = __add__, __mul__

    def fma(self, factor, addend):
        """self factor + addend, rounded once."""
        return self.each(partial(emit_fma, self.builder), factor, addend)

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

    def in_pairs(self, coefficients, square):
        """The polynomial as one in x^2, whose factors a x + b do not wait for each other."""
        ascending = coefficients[::-1]
        pairs = [self.constant(a).fma(self, b) for a, b in zip(ascending[1::2], ascending[::2], strict=False)]
        total = self.constant(coefficients[0]) if len(coefficients) % 2 else pairs.pop()
        for pair in reversed(pairs):
            total = total.fma(square, pair)
        return total

    def abs(self):
        return self._llvm("fabs")

    def with_sign_of(self, other):
        return self._llvm("copysign", other)

    def _llvm(self, name, *others):
        name = f"llvm.{name}.v{self.kind.count}f{32 if self.single else 64}"
        function_type = ir.FunctionType(self.kind, [self.kind] * (1 + len(others)))
        function = cgutils.get_or_insert_function(self.builder.module, function_type, name)
        return self.each(lambda *parts: self.builder.call(function, parts), *others)

    def compare(self, relation, other):
        """A condition per lane; false where either is NaN, but for "!=", which is true there."""
        emit = self.builder.fcmp_unordered if relation == "!=" else self.builder.fcmp_ordered
        return self.each(partial(emit, relation), other)

    def where(self, condition, other):
        """self where the condition holds, else other."""
        other = other if isinstance(other, Vector) else self.constant(other)
        return condition.each(self.builder.select, self, other)

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
        if not (target().get("avx512f") and has_fma() and vector_bits() == 512):
            return self / divisor
        name, bits = ("rcp14.ps", 16) if self.single else ("rcp14.pd", 8)
        kind, mask = self.kind, ir.IntType(bits)
        function_type = ir.FunctionType(kind, [kind, kind, mask])
        function = cgutils.get_or_insert_function(
            self.builder.module, function_type, f"llvm.x86.avx512.{name}.512"
        )
        rest = [ir.Constant(kind, [0.0] * kind.count), mask(2**bits - 1)]
        r = divisor.each(lambda part: self.builder.call(function, [part, *rest]))
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
        builder, kind = self.builder, self.kind
        whole = ir.VectorType(ir.IntType(32 if self.single else 64), kind.count)
        bias, places = (127, 23) if self.single else (1023, 52)
        bias, places = (ir.Constant(whole, [n] * kind.count) for n in (bias + offset, places))

        def power(part):
            bits = builder.add(builder.bitcast(part, whole), bias)
            return builder.bitcast(builder.shl(bits, places), kind)

        return self.each(power)


def shift(single):
    """The SHIFT of `Vector.power_of_two`."""
    return 1.5 * 2**23 if single else 1.5 * 2**52


def emit_fma(builder, a, b, c):
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


def vector_type(element):
    return ir.VectorType(element, vector_bits() // (32 if element == ir.FloatType() else 64))


def pointer_at(builder, pointer, offset):
    return builder.gep(pointer, [offset])


def load(builder, pointer, mask=None):
    """A vector from a pointer to its first element; lanes without a mask bit are not read and are zero."""
    kind = vector_type(pointer.type.pointee)
    vector_pointer = builder.bitcast(pointer, kind.as_pointer())
    align = 4 if kind.element == ir.FloatType() else 8
    if mask is None:
        value = builder.load(vector_pointer)
        value.align = align
        return value
    name = f"llvm.masked.load.v{kind.count}f{8 * align}.p0"
    function_type = ir.FunctionType(kind, [vector_pointer.type, INT32, mask.type, kind])
    function = cgutils.get_or_insert_function(builder.module, function_type, name)
    zero = ir.Constant(kind, [0.0] * kind.count)
    return builder.call(function, [vector_pointer, INT32(align), mask, zero])


def store(builder, value, pointer, mask=None):
    kind = value.type
    vector_pointer = builder.bitcast(pointer, kind.as_pointer())
    align = 4 if kind.element == ir.FloatType() else 8
    if mask is None:
        builder.store(value, vector_pointer).align = align
        return
    name = f"llvm.masked.store.v{kind.count}f{8 * align}.p0"
    function_type = ir.FunctionType(ir.VoidType(), [kind, vector_pointer.type, INT32, mask.type])
    function = cgutils.get_or_insert_function(builder.module, function_type, name)
    builder.call(function, [value, vector_pointer, INT32(align), mask])


def splat(builder, scalar, count):
    kind = ir.VectorType(scalar.type, count)
    undefined = ir.Constant(kind, ir.Undefined)
    first = builder.insert_element(undefined, scalar, INT32(0))
    return builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(INT32, count), [0] * count))


def first_lanes(builder, n, count):
    """A mask of the lanes below n."""
    numbers = ir.Constant(ir.VectorType(INT, count), list(range(count)))
    return builder.icmp_signed("<", numbers, splat(builder, n, count))


def check_rows(*kinds):
    """Refuse, while types are inferred, matrices that cannot have contiguous rows."""
    for kind in kinds:
        if kind.layout == "F":
            raise TypingError(
                "rows must be contiguous, got an array in Fortran order; pass a copy in C order"
            )


def array_of(context, builder, kind, value):
    """(pointer to the first element, strides in elements) of an array argument."""
    array = context.make_array(kind)(context, builder, value)
    size = 4 if array.data.type.pointee == ir.FloatType() else 8
    strides = [builder.sdiv(builder.extract_value(array.strides, i), INT(size)) for i in range(kind.ndim)]
    return array.data, strides


def shape_of(context, builder, kind, value):
    """Lengths of the axes of an array argument."""
    shape = context.make_array(kind)(context, builder, value).shape
    return [builder.extract_value(shape, i) for i in range(kind.ndim)]


_pending: list = []  # what `provide` is to announce


def own_function(module, name, argument_types, body):
    """An own function, for a call from the module; its body, body(builder, arguments), goes into the library."""
    found = module.globals.get(name)
    if found is None:
        found = ir.Function(module, ir.FunctionType(ir.VoidType(), argument_types), name)
        if library.defines(module):
            builder = ir.IRBuilder(found.append_basic_block("entry"))
            body(builder, found.args)
            builder.ret_void()
    return found


def keep(emit, *choices):
    """Have emit(module, element, *choices) compiled, for both types of numbers, where it is called."""
    _pending.append((emit, choices))


def _emitted(emit, element, choices, module):
    return emit(module, element, *choices)


def provide(name):
    """Make the functions that were kept since the last call libraries, one for each type of numbers."""
    for element in (ir.FloatType(), ir.DoubleType()):
        if not config.DISABLE_JIT:
            emitters = [partial(_emitted, emit, element, choices) for emit, choices in _pending]
            library.announce(f"{name}-{_real(element)}", emitters)
    _pending.clear()


def own_name(what, element):
    return f"fasttangent_{what}_{vector_type(element).count}x{_real(element)}"


def _real(element):
    return "f32" if element == ir.FloatType() else "f64"
