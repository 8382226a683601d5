"""Workers of Dask that are killed at random moments: a retry, and the same result."""

from __future__ import annotations

import os
import random
import signal
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

import fasttangent as ft
from bench.scale.killing import Report, WrongError

PARTITIONS, ROWS = 12, 10_000
NAMES = [f"x{i}" for i in range(8)]


def label(x: Any) -> Any:
    return np.sin(2 * x)


def part(i: int) -> np.ndarray:
    return np.random.default_rng(i).normal(size=(ROWS, len(NAMES)))


def collection() -> Any:
    import dask.array
    from dask import delayed

    shape = (ROWS, len(NAMES))
    blocks = [dask.array.from_delayed(delayed(part)(i), shape, np.float64) for i in range(PARTITIONS)]
    return dask.array.concatenate(blocks)


def works() -> dict[str, Callable[[], bytes]]:
    """What is done on a cluster, as bytes that must always be the same."""
    X = np.random.default_rng(99).normal(size=(80, len(NAMES)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = ft.fit(X, label(X[:, 0]), hidden=(8,), epochs=20, strength=0.01)

    def select(strategy: str) -> bytes:
        return bytes(ft.dask.select(collection(), model, 20, strategy=strategy, labeled=X).indices.tobytes())

    def score() -> bytes:
        return b"".join(one.compute().tobytes() for one in ft.dask.score(collection(), model))

    return {
        "Dask: select, sample": lambda: select("sample"),
        "Dask: select, kcenter": lambda: select("kcenter"),
        "Dask: score": score,
    }


@contextmanager
def cluster() -> Iterator[Any]:
    """Two processes, which need not have this package."""
    import cloudpickle
    import dask
    from distributed import Client, LocalCluster

    cloudpickle.register_pickle_by_value(sys.modules[__name__])

    with (
        tempfile.TemporaryDirectory() as folder,
        dask.config.set({"scheduler": None, "temporary-directory": str(Path(folder))}),
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as two,
        Client(two),
    ):
        yield two


def killed(name: str, work: Callable[[], bytes], most: int, seed: int = 0) -> Report:
    """Kill a worker so many times; `midway` counts kills that came before the result.

    Each time of a new cluster: the workers of one that had a dozen kills within a minute were not replaced any more.
    """
    rng, found = random.Random(seed), Report()
    with cluster():
        expected = work()
        began = time.monotonic()
        work()
        seconds = time.monotonic() - began
    for _ in range(most):
        struck, done = list[bool](), threading.Event()
        with cluster() as two:

            def strike(struck: list[bool] = struck, done: threading.Event = done, two: Any = two) -> None:
                time.sleep(rng.uniform(0, seconds))
                pids = [nanny.pid for nanny in two.workers.values() if nanny.pid]
                struck.append(not done.is_set())
                os.kill(rng.choice(pids), signal.SIGKILL)

            striking = threading.Thread(target=strike)
            striking.start()
            result = work()
            done.set()
            striking.join()
        if result != expected:
            raise WrongError(f"{name}: another result")
        found = Report(found.kills + 1, found.midway + sum(struck), found.runs + 1)
    return found


def on_a_cluster(most: int, seed: int = 0) -> dict[str, Report]:
    """Every work."""
    return {name: killed(name, work, most, seed) for name, work in works().items()}


def table(most: int, seed: int) -> list[list[str]]:
    rows = [[name, *map(str, one), "0", "0"] for name, one in on_a_cluster(most, seed).items()]
    print(rows, file=sys.stderr, flush=True)
    return rows
