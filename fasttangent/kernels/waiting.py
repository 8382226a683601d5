"""Counters that threads share: adding at once, and waiting."""

import threading
import time

from llvmlite import binding, ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from fasttangent.kernels.processor import is_x86
from fasttangent.kernels.vectors import INT, INT32, choose, pointer_at

SPINS, NAP = 4000, 50  # pauses of the processor (20 to 40 ns each) before a wait naps, microseconds of a nap

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
        return builder.atomic_rmw("add", pointer_at(builder, pointer, args[1]), args[2], "seq_cst")

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
        spins = cgutils.alloca_once_value(builder, INT(0))
        check, wait, done = (builder.append_basic_block(name) for name in ("check", "wait", "done"))
        builder.branch(check)
        builder.position_at_end(check)
        value = builder.load_atomic(pointer_at(builder, pointer, args[1]), "acquire", 8)
        builder.cbranch(builder.icmp_signed(">=", value, args[2]), done, wait)
        builder.position_at_end(wait)
        spun = builder.add(builder.load(spins), INT(1))
        builder.store(spun, spins)
        if is_x86():
            pause = ir.FunctionType(ir.VoidType(), [])
            builder.call(cgutils.get_or_insert_function(builder.module, pause, "llvm.x86.sse2.pause"), [])
        if not windows:
            with builder.if_then(builder.icmp_signed(">", spun, INT(SPINS))):
                nap = ir.FunctionType(INT32, [INT32])
                builder.call(cgutils.get_or_insert_function(builder.module, nap, "usleep"), [INT32(NAP)])
        builder.branch(check)
        builder.position_at_end(done)
        return context.get_dummy_value()

    return types.void(counters, types.intp, types.int64), code


atomic_add = choose(_atomic_add_definition, _atomic_add_instruction)
wait_until = choose(_wait_until_definition, _wait_until_instruction)
