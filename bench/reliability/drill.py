"""Cases that go wrong in every way, by their seed: what the campaign must make of them is tested."""

from __future__ import annotations

import ctypes
import os
import time

import numpy as np

from bench.reliability.case import Ground, Wrong, check
from bench.reliability.guard import guarded

WAYS = ("good", "wrong", "error", "crash", "end", "hang", "memory", "before", "behind")


def case(ground: Ground) -> str:
    way = WAYS[ground.seed % len(WAYS)]
    if way == "wrong":
        raise Wrong("wrong on purpose", "as it should be")
    if way == "error":
        raise LookupError("raised on purpose")
    if way == "crash":
        with guarded(behind=True):
            ctypes.c_double.from_address(np.zeros(5).ctypes.data + 40).value  # noqa: B018
    if way == "end":
        os._exit(3)
    if way == "hang":
        time.sleep(1000)
    if way == "memory":
        bytearray(2**31)
    if way in ("before", "behind"):
        with guarded(behind=way == "before") as guard:
            a = np.zeros(5)
            ctypes.c_double.from_address(a.ctypes.data + (-8 if way == "before" else 40)).value = 1.0
            del a
        check(not guard.damaged, "outside of an array", guard.damaged)
    return way
