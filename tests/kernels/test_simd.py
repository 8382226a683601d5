"""Every vector and atomic instruction against its plain twin, at the edges of its memory, at every width."""

import functools
import itertools
import json
import mmap
import os
import platform
import re
import sys
import threading
import time
from pathlib import Path

import numba
import numpy as np
import pytest
from helpers import naive, outputs, quiet, random_problem, relative, side_by_side
from llvmlite import ir
from numba.core.compiler_lock import global_compiler_lock
from numba.core.registry import cpu_target

from fasttangent.kernels import denormals, library, peak, processor, products, scalar, sums, views, waiting
from fasttangent.kernels.jit import kernel
from fasttangent.model import minibatch as training
from fasttangent.model.scores import outputs_of_rows
from fasttangent.problem.problem import Problem
from fasttangent.problem.scaling import identity_scaling

JIT = not numba.config.DISABLE_JIT
X86 = platform.machine().lower() in ("x86_64", "amd64")
DTYPES = ("float32", "float64")
WIDTHS = (1, 2, 3, 5, 7, 17, 63, 65)
HEIGHTS = [*range(1, 2 * processor.TILE_ROWS + 2), 100]
SENTINEL = -77.0
BEFORE = 19  # values in front of an array


def around_vectors(dtype):
    """Widths around one, two, four and more vectors."""
    lanes = processor.lanes(dtype)
    return sorted({*WIDTHS, *(k * lanes + d for k in (1, 2, 4, 7) for d in (-1, 0, 1))} - {0})


# --- memory that notices ---------------------------------------------------------------------------------


class Guarded:
    """A matrix between values that must not be read (nan) or written: behind it is the end of the memory.

    Rows are `step` apart, and what lies between them is guarded too.  On Linux the page behind the last value
    cannot be accessed at all, so a vector that reads across the end is a segmentation fault.
    """

    def __init__(self, values, step=None, guard=SENTINEL):
        values = np.atleast_2d(values)
        m, n = values.shape
        step = step or n + 3
        size = BEFORE + (max((m - 1) * step + n, 0) if n else 0)
        self.flat = _last_values_before_a_wall(size, values.dtype)
        self.flat[:] = guard
        self.shape, self.steps = values.shape, (step * values.itemsize, values.itemsize)
        self.before = self.flat.copy()
        self.array = self._matrix(self.flat)
        self.array[:] = values

    def _matrix(self, flat):
        return np.lib.stride_tricks.as_strided(flat[BEFORE:], self.shape, self.steps)

    def check(self, values):
        """The matrix holds `values`, and everything around it is as it was."""
        self._matrix(self.before)[:] = values
        np.testing.assert_array_equal(self.flat, self.before)


def _last_values_before_a_wall(size, dtype):
    if sys.platform != "linux":
        return np.empty(size, dtype)
    n_bytes, page = size * np.dtype(dtype).itemsize, mmap.PAGESIZE
    pages = -(-n_bytes // page)
    memory = np.frombuffer(_walled(pages), np.uint8, pages * page)
    return memory[pages * page - n_bytes :].view(dtype)


def _walled(pages):
    """Memory of some pages, with one behind it that must not be accessed."""
    import ctypes

    memory = mmap.mmap(-1, (pages + 1) * mmap.PAGESIZE)
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    libc = ctypes.CDLL(None, use_errno=True)
    wall = ctypes.c_void_p(address + pages * mmap.PAGESIZE)
    assert libc.mprotect(wall, ctypes.c_size_t(mmap.PAGESIZE), 0) == 0, os.strerror(ctypes.get_errno())
    return memory


def inputs(values, step=None):
    return Guarded(values, step, guard=np.nan).array


def whole_numbers(rng, *shape, dtype):
    """Small enough that sums of their products are exact in any order."""
    return rng.integers(-8, 9, shape).astype(dtype)


# --- wrappers, compiled once per dtype: strides of any kind ----------------------------------------------


def of_matrices(form):
    """A kernel with a signature per dtype, {} in `form`; arrays of any layout are taken as such of any strides."""

    def decorate(function):
        @functools.cache
        def compiled():
            found = kernel(function)
            if JIT:
                for real in DTYPES:
                    found.compile(form.format(real=real))
                found.disable_compile()
            return found

        return lambda *arguments: compiled()(*arguments)

    return decorate


M, V, INTS = "{real}[:,:]", "{real}[:]", "int64[::1]"


@of_matrices(f"void({M}, {M}, {M}, {M}, {M}, {M}, boolean)")
def product(C, A, B, A2, B2, P, accumulate):
    products.product(C, A, B, A2, B2, P, accumulate)


@of_matrices(f"void({M}, {M}, {M}, {M}, {M}, {M}, boolean)")
def chains(C, A, B, A2, B2, P, accumulate):
    """What `product` promises: each element one chain of fused multiply-adds in this order."""
    for i in range(C.shape[0]):
        for j in range(C.shape[1]):
            total = C[i, j] if accumulate else C.dtype.type(0)
            for k in range(A.shape[1]):
                total = scalar.fma(A[i, k], B[k, j], total)
            for k in range(A2.shape[1]):
                total = scalar.fma(A2[i, k], B2[k, j], total)
            C[i, j] = total * P[i, j] if P.shape[0] else total


@of_matrices(f"void({M}, {{real}}[::1], {INTS})")
def gather_columns(T, flat, offsets):
    sums.gather_columns(T, flat, offsets)


@of_matrices(f"void({{real}}[::1], {M}, {{real}}[::1])")
def add_row_sums(s, A, b):
    sums.add_row_sums(s, A, b)


@of_matrices(f"void({{real}}[::1], {M}, {M})")
def add_column_dots(s, A, B):
    sums.add_column_dots(s, A, B)


@of_matrices("void({real}[:,::1], int64, int64, int64, int64)")
def fill_window(array, start, rows, step, columns):
    view = views.window(array, start, rows, step, columns)
    for i in range(view.shape[0]):
        for j in range(view.shape[1]):
            view[i, j] = 100 * i + j


@of_matrices("void({real}[:,::1], int64, int64)")
def fill_stretch(array, start, n):
    view = views.stretch(array, start, n)
    for j in range(view.size):
        view[j] = j


@of_matrices("void({real}[:,:], int64)")
def fill_row(array, i):
    view = views.row(array, i)
    for j in range(view.size):
        view[j] = j + 1


@of_matrices("void({real}[::1], {real}[::1], int64)")
def square_and_flush(out, x, flush):
    """x^2, of numbers small enough to lose it, with and without the mode in which they do."""
    before = denormals.flush_denormals() if flush else 0
    for j in range(x.size):
        out[j] = x[j] * x[j]
    if flush:
        denormals.restore(before)


@of_matrices("{real}({real}, {real}, {real})")
def fma(a, b, c):
    return scalar.fma(a, b, c)


@kernel
def count(counters, seen, n):
    for i in range(n):
        seen[i] = waiting.atomic_add(counters, 0, 1)


@kernel
def take_turns(counters, unprotected, turn, n):
    """Two of these with turn = 0 and 1 add in strict alternation."""
    for i in range(n):
        waiting.wait_until(counters, 0, 2 * i + turn)
        unprotected[0] += 1
        waiting.atomic_add(counters, 0, 1)


# --- products --------------------------------------------------------------------------------------------


def laid_out(values, layout):
    """A left factor with rows, columns or neither contiguous."""
    if layout == "rows":
        return inputs(values)
    if layout == "columns":
        return inputs(np.ascontiguousarray(values.T)).T
    m, n = values.shape
    spread = np.full((m, 2 * n), np.nan, values.dtype)
    spread[:, 1::2] = values
    return inputs(spread)[:, 1::2]


@pytest.mark.parametrize("layout", ["rows", "columns", "neither"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_product_at_all_sizes(dtype, layout):
    rng = np.random.default_rng(0)
    depths = itertools.cycle([(1, 0), (2, 1), (5, 7), (0, 3), (17, 0), (64, 65), (0, 0)])
    forms = itertools.cycle(itertools.product([False, True], repeat=2))
    for m, n in itertools.product(HEIGHTS, around_vectors(dtype)):
        (q, q2), (accumulate, scaled) = next(depths), next(forms)
        draw = functools.partial(whole_numbers, rng, dtype=dtype)
        A, B, A2, B2 = draw(m, q), draw(q, n), draw(m, q2), draw(q2, n)
        P = draw(m, n) if scaled else draw(0, n)
        C = Guarded(draw(m, n) if accumulate else np.full((m, n), np.nan, dtype), n + 5)
        expected = C.array.copy()
        products._product_definition(expected, A, B, A2, B2, P, accumulate)
        product(C.array, laid_out(A, layout), inputs(B), laid_out(A2, layout), inputs(B2, n + 2),
                inputs(P, n + 5), accumulate)  # fmt: skip
        C.check(expected)


@pytest.mark.skipif(not JIT, reason="the twin adds in another order")
@pytest.mark.parametrize(("q", "q2"), [(9, 0), (0, 9), (13, 6)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_product_is_one_chain_per_element_whatever_stands_around_it(dtype, q, q2):
    rng = np.random.default_rng(1)
    m, n = 2 * processor.TILE_ROWS + 3, 7 * processor.lanes(dtype) + 3
    A, B, A2, B2, P, start = (
        rng.normal(size=s).astype(dtype) for s in ((m, q), (q, n), (m, q2), (q2, n), (m, n), (m, n))
    )
    for accumulate, scaled in itertools.product([False, True], repeat=2):
        whole, expected = start.copy(), start.copy()
        scale = P if scaled else P[:0]
        product(whole, A, B, A2, B2, scale, accumulate)
        chains(expected, A, B, A2, B2, scale, accumulate)
        np.testing.assert_array_equal(whole, expected)
        for _ in range(10):
            (i, i_end), (j, j_end) = (np.sort(rng.choice(size + 1, 2, replace=False)) for size in (m, n))
            part = start.copy()
            product(part[i:i_end, j:j_end], A[i:i_end], B[:, j:j_end], A2[i:i_end], B2[:, j:j_end],
                    scale[i:i_end, j:j_end], accumulate)  # fmt: skip
            np.testing.assert_array_equal(part[i:i_end, j:j_end], whole[i:i_end, j:j_end])


@pytest.mark.parametrize("dtype", DTYPES)
def test_nan_and_infinity_stay_where_they_belong(dtype):
    m, q, n = processor.TILE_ROWS + 1, 3, processor.lanes(dtype) + 1
    A, B, C = np.ones((m, q), dtype), np.ones((q, n), dtype), np.zeros((m, n), dtype)
    A[2, 1], B[0, n - 1] = np.nan, np.inf
    product(C, A, B, A[:, :0], B[:0], C[:0], False)
    expected = np.full((m, n), q, dtype)
    expected[:, n - 1], expected[2] = np.inf, np.nan
    np.testing.assert_array_equal(C, expected)


@pytest.mark.parametrize("definition", ["product", "add_row_sums", "add_column_dots"])
def test_definitions_are_silent_where_nan_belongs(definition):
    """0 inf and inf - inf raise a flag on every processor; NaN and infinity alone do with some BLAS only."""
    zero, infinite, none = np.zeros((2, 2)), np.full((2, 2), np.inf), np.empty((0, 2))
    found = np.full((2, 2), np.inf) if definition == "product" else np.zeros(2)
    arguments = {
        "product": (zero, infinite, none.T, none, none, False),
        "add_row_sums": (zero, infinite[0]),
        "add_column_dots": (zero, infinite),
    }[definition]
    home = products if definition == "product" else sums
    getattr(home, f"_{definition}_definition")(found, *arguments)
    assert np.isnan(found).all()


# --- transpositions, sums of rows ------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
def test_gather_columns(dtype):
    """Rows of a table in any order become columns; the room up to a whole vector repeats the last."""
    rng, lanes = np.random.default_rng(2), processor.lanes(dtype)
    for m, n in itertools.product(around_vectors(dtype), [1, 2, 17, 63, 64]):
        width, n_table = -(-n // lanes) * lanes, 20
        table = whole_numbers(rng, n_table, m, dtype=dtype)
        order = rng.integers(0, n_table, n)
        order[n // 2] = n_table - 1  # whose last values are the last of the memory
        offsets = Guarded(order * m, guard=-(10**15)).array[0]
        expected = table[np.concatenate([order, np.full(width - n, order[-1])])].T.copy()
        flat = Guarded(table.reshape(-1), guard=np.nan).array[0]
        for shown in (width, n):
            T = Guarded(np.zeros((m, width), dtype))
            gather_columns(T.array[:, :shown], flat, offsets)
            if not JIT:
                expected[:, shown:] = 0  # NumPy does not write behind the last column
            T.check(expected)


@pytest.mark.parametrize("dtype", DTYPES)
def test_add_row_sums(dtype):
    rng, lanes = np.random.default_rng(3), processor.lanes(dtype)
    for m, vectors in itertools.product(around_vectors(dtype), [0, 1, 2, 5]):
        n = vectors * lanes
        A, b, s = (whole_numbers(rng, *shape, dtype=dtype) for shape in ((m, n), (n,), (m,)))
        expected = s.copy()
        sums._add_row_sums_definition(expected, A, b)
        found = Guarded(s)
        add_row_sums(found.array[0], inputs(A), inputs(b)[0])
        found.check(expected[None])


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_sum_of_a_row_does_not_depend_on_other_rows(dtype):
    rng, lanes = np.random.default_rng(4), processor.lanes(dtype)
    A, b = rng.normal(size=(2 * lanes + 3, 4 * lanes)).astype(dtype), rng.normal(size=4 * lanes).astype(dtype)
    whole = np.zeros(len(A), dtype)
    add_row_sums(whole, A, b)
    np.testing.assert_allclose(whole, A.astype(float) @ b, atol=40 * np.finfo(dtype).eps)
    for i in range(len(A)):
        one = np.zeros(1, dtype)
        add_row_sums(one, A[i : i + 1], b)
        assert one[0] == whole[i] or not JIT


@pytest.mark.parametrize("dtype", DTYPES)
def test_add_column_dots(dtype):
    rng, lanes = np.random.default_rng(5), processor.lanes(dtype)
    for m, vectors in itertools.product([0, 1, 2, 7, 100], [1, 2, 3, 4, 5, 9]):
        n = vectors * lanes
        A, B, s = (whole_numbers(rng, *shape, dtype=dtype) for shape in ((m, n), (m, n), (n,)))
        expected = s.copy()
        sums._add_column_dots_definition(expected, A, B)
        found = Guarded(s)
        add_column_dots(found.array[0], inputs(A), inputs(B))
        found.check(expected[None])


# --- views and scalars -----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "view", [(0, 1, 1, 1), (5, 3, 7, 4), (11, 2, 12, 12), (59, 1, 0, 1), (60, 0, 3, 5), (7, 4, 9, 0)]
)
def test_window(view, dtype):
    array, expected = np.zeros((2, 5, 12), dtype)
    fill_window(array, *view)
    W = views._window_definition(expected, *view)
    W[:] = 100 * np.arange(W.shape[0])[:, None] + np.arange(W.shape[1])
    np.testing.assert_array_equal(array, expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("view", [(0, 60), (13, 17), (59, 1), (60, 0), (3, 0)])
def test_stretch(view, dtype):
    array, expected = np.zeros((2, 5, 12), dtype)
    fill_stretch(array, *view)
    views._stretch_definition(expected, *view)[:] = np.arange(view[1])
    np.testing.assert_array_equal(array, expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", ["contiguous", "padded"])
def test_row(layout, dtype):
    array = np.zeros((4, 7), dtype)
    view = array if layout == "contiguous" else array[:, :5]
    for i in range(len(view)):
        array[:] = 0
        fill_row(view, i)
        expected = np.zeros((4, 7))
        views._row_definition(expected, i)[: view.shape[1]] = 1 + np.arange(view.shape[1])
        np.testing.assert_array_equal(array, expected)


@pytest.mark.parametrize("dtype", DTYPES)
def test_denormals_are_flushed_until_restored(dtype):
    tiny = np.finfo(dtype).tiny
    small = np.full(17, np.sqrt(tiny) / 4, dtype)
    expected, found = small * small, np.empty(17, dtype)
    assert (expected > 0).all()
    assert (expected < tiny).all()
    for flush in (0, 1, 0):
        square_and_flush(found, small, flush)
        np.testing.assert_array_equal(found, 0 if flush and JIT and X86 else expected)
        np.testing.assert_array_equal(small * small, expected)


@pytest.mark.parametrize("dtype", DTYPES)
def test_fma_rounds_once(dtype):
    e = np.finfo(dtype).eps
    one, minus = np.array([1 + e, 1 - e], dtype)
    found = fma(one, minus, np.dtype(dtype).type(-1))
    assert found == (-(e**2) if JIT and processor.has_fma() else 0)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_loop_of_the_peak_runs(dtype):
    """Every chain tends to its fixed point 1; `out` is their sum."""
    out = np.zeros(processor.lanes(dtype), dtype)
    fma_rounds(20_000, out)
    np.testing.assert_allclose(out, peak.peak_accumulators() if JIT else 1, rtol=1e-3)


@of_matrices("void(int64, {real}[::1])")
def fma_rounds(n, out):
    peak.fma_rounds(n, out)


# --- atomics ---------------------------------------------------------------------------------------------


def at_once(*tasks):
    helpers = [threading.Thread(target=task, daemon=True) for task in tasks]
    for helper in helpers:
        helper.start()
    for helper in helpers:
        helper.join(timeout=60)
        assert not helper.is_alive()


def test_no_number_is_given_twice():
    n, counters = 100_000, np.zeros(3, np.int64)
    seen = np.full((2, n), -1)
    at_once(*(functools.partial(count, counters, mine, n) for mine in seen))
    assert counters.tolist() == [2 * n, 0, 0]
    np.testing.assert_array_equal(np.sort(seen.ravel()), np.arange(2 * n))
    assert (np.diff(seen) > 0).all()


def test_turns_are_waited_for():
    """What one thread wrote before its turn ended the other reads: the plain counter loses nothing."""
    n, counters, unprotected = 2000, np.zeros(1, np.int64), np.zeros(1, np.int64)
    at_once(*(functools.partial(take_turns, counters, unprotected, turn, n) for turn in (0, 1)))
    assert counters[0] == unprotected[0] == 2 * n


def test_a_long_wait_ends():
    """Longer than it spins: the waiter naps, and is released."""
    counters, unprotected = np.zeros(1, np.int64), np.zeros(1, np.int64)

    def release():
        time.sleep(0.05)
        assert unprotected[0] == 0
        unprotected[0] = 7
        count(counters, np.zeros(1, np.int64), 1)

    at_once(functools.partial(take_turns, counters, unprotected, 1, 1), release)
    assert (counters[0], unprotected[0]) == (2, 8)


# --- the whole network -----------------------------------------------------------------------------------


@pytest.mark.parametrize("n_rows", [1, 17, 70])
@pytest.mark.parametrize("sizes", [(2, 4, 1), (3, 65, 65, 2), (5, 1, 7)])
def test_a_network_against_its_twin(sizes, n_rows):
    problem, theta, V = random_problem(sizes, n_rows, "tanh", "huber", unequal=True)
    about = (*problem.rows, sizes, "tanh", "huber", problem.objective.delta)
    assert relative(problem.value_and_gradient(theta)[1], naive.gradient(theta, *about)) <= 1e-11
    difference = naive.central_difference(lambda t: naive.gradient(t, *about), theta, V[0])
    assert relative(problem.product(theta, V)[0], difference) <= 1e-6
    X = problem.rows.X
    for dtype, rounding in (("float32", 1e-5), ("float64", 1e-11)):
        F, FT = outputs(problem.network, theta, V, X, dtype)
        assert relative(F, naive.predict(theta, X, sizes, "tanh")) <= rounding
        expected = naive.output_tangent(theta, V[1], X, sizes, "tanh")
        assert relative(FT[:, 1], expected) <= 10 * rounding


def trained(dtype, optimizer="adam", threads=1, n_rows=700, epochs=2):
    """(theta, tangents) after some minibatch steps, with a last minibatch that is smaller."""
    problem, theta, V = random_problem((3, 9, 6, 2), n_rows, "silu", "huber", strength=0.1, unequal=True)
    problem = Problem(problem.network, problem.objective, *problem.rows, threads)
    schedule = training.Schedule(optimizer, 0.01, epochs=epochs, batch_size=320)
    run = training.train(problem, schedule, (theta, V[:1]), np.dtype(dtype), np.random.default_rng(0), quiet)
    return run.theta, run.tangents[0]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("optimizer", training.OPTIMIZERS)
def test_steps_do_not_depend_on_the_number_of_threads(optimizer, dtype, monkeypatch):
    monkeypatch.setattr(training, "UPDATE_CHUNK", 41)
    monkeypatch.setattr(training, "SLAB_PRODUCTS", 10**12)
    assert training._slabs(320, 116)[1] == 1
    in_one = trained(dtype, optimizer)
    monkeypatch.setattr(training, "SLAB_PRODUCTS", 1000)
    assert training._slabs(320, 116)[1] == 5
    alone = trained(dtype, optimizer)
    for threads in (2, 3):
        for mine, other in zip(alone, trained(dtype, optimizer, threads), strict=True):
            np.testing.assert_array_equal(mine, other)
    for slabs, whole in zip(alone, in_one, strict=True):
        assert relative(slabs, whole) <= (1e-4 if dtype == "float32" else 1e-11)


def test_training_and_scoring_leave_denormals_to_others():
    trained("float32")
    problem, theta, V = random_problem((3, 9, 6, 2), 5, "silu")
    outputs(problem.network, theta, V, problem.rows.X, "float32")
    assert (np.full(17, np.finfo("float32").tiny) / np.float32(4) > 0).all()


# --- other widths, no compiler ---------------------------------------------------------------------------


@functools.cache
def results():
    """Trained parameters, and scores with others, the same for 1 and 2 threads: as nested lists."""
    found = {}
    for dtype in DTYPES:
        problem, theta, V = random_problem((3, 9, 6, 2), 20_000, "silu")
        X, scaling = problem.rows.X.astype(dtype), identity_scaling(3, 2)
        alone, together = (
            [*trained(dtype, threads=threads),
             *outputs_of_rows(problem.network, scaling, theta, V[:1], X, np.dtype(dtype), threads)[:2]]
            for threads in (1, 2)
        )  # fmt: skip
        for mine, other in zip(alone, together, strict=True):
            np.testing.assert_array_equal(mine, other)
        found[dtype] = [a.ravel()[::7].tolist() for a in alone]
    return found


def this_file(pick):
    return ["-m", "pytest", "-p", "no:cacheprovider", __file__, "-k", pick]


@pytest.mark.skipif(not JIT, reason="the twins have no width")
@pytest.mark.slow
@pytest.mark.parametrize("bits", [bits for bits in processor.WIDTHS if bits != processor.vector_bits()])
def test_another_width_of_vectors(bits):
    """This file at another width; and training and scores agree with ours to rounding."""
    scores = ["-c", "import json, test_simd; print(json.dumps(test_simd.results()))"]
    tests = this_file("not width and not registers")
    there, _ = side_by_side([scores, tests], file=__file__, FASTTANGENT_VECTOR_BITS=str(bits))
    for dtype, here in results().items():
        for value, other in zip(here, json.loads(there)[dtype], strict=True):
            assert relative(np.array(value), np.array(other)) <= (1e-5 if dtype == "float32" else 1e-10)


def found_in_files(pattern):
    """(file, name) of every match in a file of kernels."""
    files = Path(library.__file__).parent.glob("*.py")
    return {
        (file.stem, name) for file in files for name in re.findall(pattern, file.read_text(), re.MULTILINE)
    }


def chosen():
    return found_in_files(r"^(\w+) = choose\(")


def test_every_instruction_has_its_twin():
    """An intrinsic stands beside its definition, and kernels see the one that `choose` took of the two."""
    intrinsics = found_in_files(r"^@intrinsic\ndef (\w+)")
    assert intrinsics == {(file, f"_{name}_instruction") for file, name in chosen()}
    assert len(intrinsics) >= 13
    assert found_in_files(r"^ +@intrinsic\n +def (\w+)") == {("elementwise", "instruction")}  # takes its twin
    definitions = found_in_files(r"^def (_\w+_definition)\(")
    assert {(file, f"_{name}_definition") for file, name in chosen()} <= definitions


@pytest.mark.skipif(not JIT, reason="is what this test starts")
def test_twins_run_without_the_compiler_at_any_width():
    names = chosen()
    assert {("products", "product"), ("waiting", "wait_until")} <= names
    check = ";".join(f"assert {file}.{name} is {file}._{name}_definition" for file, name in sorted(names))
    files = ", ".join(sorted({file for file, _ in names}))
    identity = ["-c", f"from fasttangent.kernels import {files};{check}"]
    side_by_side([identity, this_file("not width and not steps")], file=__file__, NUMBA_DISABLE_JIT="1")


def test_the_width_can_be_chosen(monkeypatch):
    measured = processor.vector_bits.__wrapped__
    for bits in processor.WIDTHS:
        monkeypatch.setenv("FASTTANGENT_VECTOR_BITS", str(bits))
        assert measured() == bits
    monkeypatch.setenv("FASTTANGENT_VECTOR_BITS", "64")
    with pytest.raises(ValueError, match="must be 128, 256 or 512, got '64'; or unset it"):
        measured()
    monkeypatch.delenv("FASTTANGENT_VECTOR_BITS")
    assert measured() in processor.WIDTHS


# --- the machine code ------------------------------------------------------------------------------------


def loops(assembly):
    """Innermost loops of x86 assembly: the lines between a label and the jump back to it."""
    lines = [line.strip() for line in assembly.splitlines()]
    labels = {line.split(":")[0]: i for i, line in enumerate(lines) if re.match(r"\.L\w+:", line)}
    for i, line in enumerate(lines):
        jump = re.match(r"j\w+\s+(\.L\w+)", line)
        if jump and labels.get(jump[1], i) < i:
            body = lines[labels[jump[1]] + 1 : i]
            if not any(re.match(r"\.LBB\w+:", inner) for inner in body):
                yield body


@pytest.mark.skipif(
    not (JIT and processor.target().get("avx512f") and processor.vector_bits() == 512),
    reason="registers are counted on x86 processors with AVX-512",
)
@pytest.mark.parametrize("real", DTYPES)
def test_a_whole_tile_stays_in_the_registers(real):
    """Compiled anew: a library from the cache has no assembly to look at."""
    name, element = f"{library.PREFIX}tile", ir.FloatType() if real == "float32" else ir.DoubleType()
    with global_compiler_lock:
        tile = cpu_target.target_context.codegen().create_library(name)
        module = tile.create_ir_module(name)
        products._strip(module, element, processor.tile_vectors(), False)
        tile.add_ir_module(module)
        tile.finalize()
    assembly = tile.get_asm_str()
    size = processor.TILE_ROWS * processor.tile_vectors()
    counted = [(sum("vfmadd" in line for line in body), body) for body in loops(assembly)]
    whole = [body for n, body in counted if n > 0 and n % size == 0]  # unrolled for some processors
    assert len(whole) >= 2, "one loop for A B and one for A2 B2"
    for body in whole:
        stored = [line for line in body if re.search(r"^(?!cmp).*,\s*-?\w*\(%r[sb]p", line)]  # not compared
        assert not stored, stored
