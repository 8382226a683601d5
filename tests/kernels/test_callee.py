"""Kernels that kernels call: compiled as part of their callers, and whole once they are called from Python."""

import tracemalloc

import numba
import numpy as np
import pytest

from fasttangent.active import rehearsal
from fasttangent.kernels.jit import kernel
from fasttangent.problem.curvature import System

pytestmark = pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="nothing is compiled")


def family():
    """A kernel, one that calls it twice with different types, and one that calls that."""

    @kernel
    def scaled(a, factor):
        return a * factor

    @kernel
    def both(c, a):
        c[0] = scaled(a, 2.0) + scaled(a, 3)

    @kernel
    def thrice(c, a):
        for _ in range(3):
            both(c, a)
            c[1] += c[0]

    return scaled, both, thrice


def test_what_is_called_by_kernels_only_has_no_code_of_its_own():
    scaled, both, thrice = family()
    c = np.zeros(2)
    thrice(c, 1.5)
    np.testing.assert_array_equal(c, [7.5, 22.5])
    assert len(thrice.overloads) == 1
    assert not scaled.overloads
    assert not both.overloads


def test_what_is_called_from_python_as_well_gives_the_same():
    scaled, both, thrice = family()
    c, alone = np.zeros(2), np.zeros(2)
    thrice(c, 0.1)
    both(alone, 0.1)
    assert alone[0] == c[0] == scaled(0.1, 2.0) + scaled(0.1, 3)
    assert len(scaled.overloads) == 2
    again = np.zeros(2)
    thrice(again, 0.1)
    np.testing.assert_array_equal(again, c)


def test_arguments_that_do_not_fit_are_an_error_of_the_caller():
    @kernel
    def first(a):
        return a[0]

    @kernel
    def of_a_number(a):
        return first(a)

    with pytest.raises(numba.TypingError, match="getitem"):
        of_a_number(1.0)


def test_the_dense_hessian_gives_its_memory_back():
    """Kernels that count no references must not be given one: arrays of every call were kept."""
    system = System(*rehearsal._problem())
    system.dense()
    tracemalloc.start()
    try:
        for _ in range(20):
            system.dense()
        assert tracemalloc.get_traced_memory()[0] < 1e5  # 20 times the chunks are 1 MB
    finally:
        tracemalloc.stop()
