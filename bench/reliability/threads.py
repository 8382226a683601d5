"""Forks after use, processes that are spawned, 32 threads at once, any number of threads in a call: the same bits."""

from __future__ import annotations

import functools
import multiprocessing
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from bench.common.forks import in_fork
from bench.reliability.case import Ground, Wrong, check
from bench.reliability.interrupts import CALLS, digest, quietly

AT_ONCE = 32
QUICK = tuple(
    name for name in CALLS if name not in ("fit_many", "ActiveLearner.run", "learning_loss", "fit with noise")
)


@functools.cache
def expected(name: str) -> str:
    return result(name)


def result(name: str) -> str:
    return digest(quietly(CALLS[name]))


def case(ground: Ground) -> str:
    rng = ground.rng
    way = str(
        rng.choice(["at once", "forked", "forked from a thread", "forked while others work", "spawned"])
    )
    names = [str(name) for name in rng.choice(QUICK, size=AT_ONCE if way == "at once" else 3)]
    found = WAYS[way](names)
    for name, one in zip(names, found, strict=True):
        check(one == expected(name), f"other bits, {way}", name)
    return way


def _at_once(names: list[str]) -> list[str]:
    with warnings.catch_warnings(), ThreadPoolExecutor(AT_ONCE) as pool:
        warnings.simplefilter("ignore")  # filters are those of all threads
        return list(pool.map(lambda name: digest(CALLS[name]()), names))


def _forked(names: list[str]) -> list[str]:
    """In a child that has the parent's memory and none of its threads."""
    found, status = in_fork(lambda: " ".join(result(name) for name in names))
    if status:
        raise Wrong("a forked child failed", f"status {status}; {names}")
    return found.split()


def _forked_from_a_thread(names: list[str]) -> list[str]:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(_forked, names).result()


def _forked_while_others_work(names: list[str]) -> list[str]:
    expected("predict")  # Python itself loses the locks of modules that another thread imports during a fork
    with ThreadPoolExecutor(2) as pool:
        beside = [pool.submit(result, "predict") for _ in range(2)]
        found = _forked(names)
        for one in beside:
            check(one.result() == expected("predict"), "other bits beside a fork")
    return found


def _spawned(names: list[str]) -> list[str]:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.map(result, names)


WAYS: dict[str, Callable[[list[str]], list[str]]] = {
    "at once": _at_once,
    "forked": _forked,
    "forked from a thread": _forked_from_a_thread,
    "forked while others work": _forked_while_others_work,
    "spawned": _spawned,
}
