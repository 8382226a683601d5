"""How fast rows are scored, and what the first call waits for.

    python -m bench scoring [--rows 1000000] [--repeats 5]

One Markdown table: rows per second of `curiosity` for (rows, 16) float32 and a network 16-64-64-1, with one
thread and with two, medians of turns taken in one process after the results were found bit-identical; the
memory that scoring needs above the input, as the highest resident size during the call less the size before
it (VmHWM and VmRSS of Linux); and, in processes of their own, the time of the import and of the first fit and
score with an empty and with a filled cache of compiled code.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time

import numpy as np

import fasttangent as ft
from bench.common import options
from bench.common.machine import forget_peak, resident
from bench.common.markdown import markdown
from bench.common.places import environment

FEATURES, HIDDEN, THREADS = 16, (64, 64), (1, 2)

TIME_IMPORT = """
import sys, time
start = time.perf_counter()
import fasttangent
print(time.perf_counter() - start)
assert not {"numba", "scipy"} & set(sys.modules)
"""

TIME_FIRST_CALL = """
import time
import numpy as np
import fasttangent as ft
rng = np.random.default_rng(0)
X = rng.normal(size=(100, 16))
start = time.perf_counter()
model = ft.fit(X, X[:, 0] * X[:, 1], hidden=(4,), epochs=2, strength=0.1)
fitted = time.perf_counter()
model.curiosity(X.astype(np.float32))
print(fitted - start, time.perf_counter() - fitted)
"""


def small_model():
    """A trusted model of the shape that is timed: what it learned does not matter."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, FEATURES))
    return ft.fit(X, np.sin(X[:, 0]) + X[:, 1] * X[:, 2], hidden=HIDDEN, strength=0.1)


def candidates(n: int):
    return np.random.default_rng(1).normal(size=(n, FEATURES)).astype(np.float32)


def seconds_of(function) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def scoring_seconds(model, X, repeats: int) -> dict[int, float]:
    """Median seconds of `curiosity` by number of threads, once the results are known to be the same."""
    first = model.curiosity(X, threads=THREADS[0])
    for threads in THREADS[1:]:
        assert first.tobytes() == model.curiosity(X, threads=threads).tobytes(), threads
    taken: dict[int, list[float]] = {threads: [] for threads in THREADS}
    for _ in range(repeats):
        for threads in THREADS:
            taken[threads].append(seconds_of(lambda threads=threads: model.curiosity(X, threads=threads)))
    return {threads: float(np.median(values)) for threads, values in taken.items()}


def child(arguments: list[str], **more: str) -> list[float]:
    """The numbers that another Python prints."""
    command = [sys.executable, *arguments]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment(**more))
    return [float(word) for word in done.stdout.split()]


def first_calls(repeats: int) -> dict[str, list[float]]:
    """Seconds of the import, and of the first fit and first score without and with a cache."""
    imports = [child(["-c", TIME_IMPORT])[0] for _ in range(repeats)]
    with tempfile.TemporaryDirectory() as cache:
        cold = child(["-c", TIME_FIRST_CALL], FASTTANGENT_CACHE=cache)
        warm = [child(["-c", TIME_FIRST_CALL], FASTTANGENT_CACHE=cache) for _ in range(repeats)]
    return {"import": [float(np.median(imports))], "cold": cold, "cached": list(np.median(warm, axis=0))}


def print_memory(n: int, threads: int) -> None:
    """The child's side of the memory figure: MB above the input."""
    model, X = small_model(), candidates(n)
    model.curiosity(X[:20_000], threads=threads)
    before = resident("VmRSS")
    forget_peak()
    model.curiosity(X, threads=threads)
    print(resident("VmHWM") - before)


def table(n: int, repeats: int) -> list[list[str]]:
    rows = [["what", "figure"]]
    X = candidates(n)
    size = X.nbytes / 2**20
    seconds = scoring_seconds(small_model(), X, repeats)
    for threads, taken in seconds.items():
        shown = f"{n / taken / 1e6:.2f} million rows/s ({taken:.3f} s)"
        rows.append([f"curiosity of {n:,} x {FEATURES}, {HIDDEN}, float32, threads={threads}", shown])
    rows.append(["the same, two threads over one", f"{seconds[1] / seconds[2]:.2f} times as fast"])
    rows.append(["results for 1 and 2 threads", "bit-identical"])
    for threads in THREADS:
        extra = child(["-c", f"from bench.cost import scoring; scoring.print_memory({n}, {threads})"])[0]
        rows.append([f"memory above the input of {size:.0f} MB, threads={threads}", f"{extra:.0f} MB"])
    calls = first_calls(repeats)
    rows.append(["import fasttangent", f"{1000 * calls['import'][0]:.0f} ms"])
    for name in ("cold", "cached"):
        fit, score = calls[name]
        rows.append([f"first call, {name}", f"fit {fit:.2f} s, then curiosity {score:.2f} s"])
    return rows


def main() -> None:
    parser = options.parser(__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=5)
    chosen = parser.parse_args()
    print(f"{os.cpu_count()} cores, fasttangent {ft.__version__}, numpy {np.__version__}\n")
    print(markdown(table(chosen.rows, chosen.repeats)))
