"""Ctrl-C while a kernel is compiled or loaded: heard afterwards, and nobody waits for ever."""

import contextlib

import pytest
from helpers import python
from helpers.interrupts import Aim
from numba import config

from fasttangent.kernels import helpers

pytestmark = pytest.mark.skipif(config.DISABLE_JIT, reason="nothing is compiled")

FIRST_CALLS = """
import faulthandler, os, signal, sys, threading
import numpy as np
from llvmlite import binding
from fasttangent.common import parallel
from fasttangent.kernels import arithmetic, jit

faulthandler.dump_traceback_later(150, exit=True)
aims, main = eval(sys.argv[1]), threading.main_thread()
left = 0


def taken():
    '''LLVM's lock, just now: Ctrl-C in the main thread before anybody has promised to give it back.'''
    global left
    if threading.current_thread() is main:
        left -= 1
        if left == 0:
            signal.raise_signal(signal.SIGINT)


def new():
    '''A kernel that has not been called: with a callee, for two kinds of arguments.'''
    def add(c, b):
        arithmetic.add_multiple(c, 2.0, b)
    return jit.kernel(add)


def call(kernel):
    '''First calls in two threads at once, each with arguments of its own kind.'''
    values = [(np.zeros(5), np.ones(5)), (np.zeros(5, "f"), np.ones(5, "f"))]
    barrier = threading.Barrier(2, timeout=60)

    def task(i):
        barrier.wait()
        kernel(*values[i])

    parallel.run(task, 2, 2)
    assert all((c == 2).all() for c, _ in values)


binding.ffi.register_lock_callback(taken, lambda: None)
heard = 0
for aim in aims:
    kernel, left = new(), aim
    try:
        call(kernel)
        assert left > 0, f"Ctrl-C {aim} was lost"
    except KeyboardInterrupt:
        assert left <= 0
        heard += 1
    left = 0
    call(kernel)
print(heard)
"""


@pytest.mark.parametrize(
    ("cache", "aims"),
    [
        ("kept", "range(1, 40, 3)"),
        ("off", "(1, 2, 40, 300)"),
        pytest.param("kept", "range(1, 200)", marks=pytest.mark.slow),
        pytest.param("off", "[*range(1, 60, 2), *range(60, 2000, 60)]", marks=pytest.mark.slow),
    ],
)
def test_sigint_in_first_calls(tmp_path, cache, aims):
    """Aimed where it left LLVM's lock taken for ever, so that the other thread, and then the caller, hung."""
    folder = str(tmp_path) if cache == "kept" else "off"
    assert int(python("-c", FIRST_CALLS, aims, FASTTANGENT_CACHE=folder)) > 3


def test_ctrl_c_beside_helpers_leaves_their_lock_free():
    """Lost between the end of a block and giving it back, it made the next call wait for ever."""

    def block():
        with helpers.beside("fit float32", 2):
            helpers.take_part()

    with Aim([helpers.__file__], 10**9) as every:
        block()
    for at in range(1, every.seen + 1):
        with contextlib.suppress(KeyboardInterrupt), Aim([helpers.__file__], at) as one:
            block()
        assert one.hit
        assert not helpers._lock.locked(), one.where
        helpers._calls.clear()  # what came between `finally` and holding it back may leave its name there
