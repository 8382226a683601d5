"""The other end of `python -m bench exact`: a process of its own for each contender, which answers line by line.

Its packages are those of any environment: nothing but NumPy is imported here, and of fasttangent nothing at
all.  A file calls `serve(prepare)` and is started as

    python -m bench.exact.FILE METHOD PROBLEM.npz RESULT.npy THREADS

`prepare(method, problem)` does what a user would do once, compile above all, and returns two functions: the
work that is timed, without arguments, and one that turns what it returned into an array in the parameter order
of the library, untimed.  The process prepares when it reads its first line, and answers with a line of JSON; and
with another for each line `{"times": k, "keep": false}` it reads: seconds of one call, and its memory in MB.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

from bench.common.machine import timed

WARM_ROWS = 10  # of the problem that a contender works on before it starts


class NotEnoughMemory(Exception):
    """The work would need more memory than the machine has; the argument is the number of MB."""


@dataclass
class Problem:
    """F(theta) = mean of (f - y)^2 / 2 over the rows + strength / 2 ||theta||^2, a tanh network, float64."""

    sizes: tuple[int, ...]
    theta: object  # (p,): W_l (n_in, n_out) in C order, then b_l, layer by layer
    strength: float
    X: object  # (n, n_features)
    y: object  # (n,)
    V: object  # (K, p), directions
    X_test: object  # (m, n_features)
    y_test: object  # (m,)

    @classmethod
    def load(cls, path: str) -> Problem:
        import numpy as np

        with np.load(path) as saved:
            arrays = {name: saved[name] for name in saved.files}
        sizes = tuple(int(size) for size in arrays.pop("sizes"))
        return cls(sizes, strength=float(arrays.pop("strength")), **arrays)

    def save(self, path: Path) -> None:
        import numpy as np

        np.savez(path, **vars(self))

    def head(self, n: int = WARM_ROWS) -> Problem:
        """The first rows, with what the network says of them as labels: the Hessian is positive definite."""
        import numpy as np

        few = slice(n)
        h = self.X[few]
        for l, (weights, biases, shape) in enumerate(self.slices()):
            h = h @ self.theta[weights].reshape(shape) + self.theta[biases]
            if l < len(self.sizes) - 2:
                h = np.tanh(h)
        return replace(self, X=self.X[few], y=h[:, 0], X_test=self.X_test[few], y_test=self.y_test[few])

    def slices(self) -> list[tuple[slice, slice, tuple[int, int]]]:
        """Of each layer: where its weights and its biases are in theta, and the shape of the weights."""
        found, at = [], 0
        for shape in pairwise(self.sizes):
            n_weights, n_biases = shape[0] * shape[1], shape[1]
            weights, biases = slice(at, at + n_weights), slice(at + n_weights, at + n_weights + n_biases)
            found.append((weights, biases, shape))
            at = biases.stop
        return found


def divisor(n: int, most: int) -> int:
    """The largest divisor of n that is not above `most`: chunks of equal size."""
    return next(size for size in range(min(n, most), 0, -1) if n % size == 0)


def best_seconds(work: Callable[[], object]) -> float:
    """The shortest of two calls after one that does not count: for choosing a setting, not for a table."""
    return min(timed(work, 1)["seconds"] for _ in range(3))


def serve(prepare: Callable[[str, Problem], tuple[Callable, Callable]]) -> None:
    """Answer until the input ends."""
    method, path, result_path, threads = sys.argv[1:]
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: int(threads)])
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what packages print is not an answer
    import numpy as np

    problem = Problem.load(path)
    sys.stdin.readline()
    try:
        small_work, _ = prepare(method, problem.head())
        small_work()  # loads libraries, starts threads
        work, as_array = prepare(method, problem)
    except NotEnoughMemory as error:
        print(json.dumps({"needs_mb": error.args[0]}), file=answers)
        return
    print(json.dumps({"ready": True}), file=answers)
    for line in sys.stdin:
        order = json.loads(line)
        answer = timed(work, order["times"])
        result = answer.pop("result")
        if order["keep"]:
            np.save(result_path, np.asarray(as_array(result), np.float64))
        del result
        print(json.dumps(answer), file=answers)
