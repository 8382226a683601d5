"""Cost curves of fits by rows and by parameters, beside scikit-learn's `partial_fit` on the same file.

    python -m bench big DATA_FOLDER -o bench/results/big.jsonl [--rows 100000 1000000 10000000] [--passes] [--settle]
    python -m bench big --table bench/results/big.jsonl      # Markdown of what was measured

32 uniform columns of float32 in a .npy file that is mapped; it is made in DATA_FOLDER where it is missing, 128 bytes a
row.  One epoch of minibatches of 64, Adam, one thread, every cell a process of its own, contenders in turn.  Errors
are of 20,000 rows without noise.  Memory is anonymous memory (RssAnon) at its height over what the process had after
a small fit: pages of the map are the system's to take back.  scikit-learn gets chunks of 131,072 rows, in random order
and shuffled, from the same map, standardised by `StandardScaler.partial_fit`; its learning rate stays 1e-3, ours falls.
With --passes some numbers of epochs and strengths, with --settle both stages, too, these on two threads.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

import fasttangent as ft
from bench.common import options, results
from bench.common.machine import processor
from bench.common.markdown import markdown
from bench.common.memory import watched
from bench.common.places import environment, threads

FEATURES, CHUNK, NOISE = 32, 1 << 17, 0.1
ALPHA = 1e-4  # of scikit-learn, which divides it by the rows of a minibatch: a strength of 1.6e-6
ROWS, NETWORKS = (100_000, 1_000_000, 10_000_000), ("32-32", "64-64", "256-256")
OURS, PLAIN, PEER = "fasttangent", "fasttangent, no tangent", "scikit-learn"
PASSES = (2, 7, 27, 54)  # epochs of 1,000,000 rows: 27 are 420,000 steps
STRENGTHS = (1e-3, 1e-4, 1e-5)


def truth(X: np.ndarray) -> np.ndarray:
    """Products, squares and a sum that saturates, of the first columns."""
    x = X.astype(float)
    return (
        np.sin(3 * x[:, 0] * x[:, 1]) + x[:, 2] ** 2 + np.tanh(2 * x[:, 3:8].sum(1)) + 0.3 * x[:, 8] * x[:, 9]
    )


def rows_of(rng: np.random.Generator, n: int) -> np.ndarray:
    return rng.uniform(-1, 1, (n, FEATURES)).astype(np.float32)


def data(folder: Path, n: int) -> tuple[np.ndarray, np.ndarray]:
    """The mapped rows, and the labels."""
    at, labels = folder / f"big-x-{n}.npy", folder / f"big-y-{n}.npy"
    if not labels.exists():
        rng, y = np.random.default_rng(0), np.empty(n, np.float32)
        X = np.lib.format.open_memmap(at, "w+", np.float32, (n, FEATURES))
        for start in range(0, n, CHUNK):
            some = slice(start, min(start + CHUNK, n))
            X[some] = rows_of(rng, some.stop - start)
            y[some] = truth(X[some]) + NOISE * rng.normal(size=some.stop - start)
        X.flush()
        np.save(labels, y)
    return np.load(at, mmap_mode="r"), np.load(labels, mmap_mode="r")


def ours(
    cell: dict[str, Any], X: np.ndarray, y: np.ndarray
) -> tuple[Callable[..., np.ndarray], dict[str, Any]]:
    model = ft.fit(
        X,
        y,
        hidden=cell["hidden"],
        epochs=cell["epochs"],
        settle=cell["settle"],
        strength=cell["strength"],
        tangents=None if cell["contender"] == PLAIN else "strength",
        threads=cell["threads"],
    )
    certificate = model.certificate
    return model.predict, {
        "gradient_norm": certificate.gradient_norm,
        "tangent_residual": certificate.tangent_residual,
        "trusted": certificate.trusted,
        "stopped": model.training["stopped"],
        "training_seconds": model.training["training_seconds"],
        "settling_seconds": model.training["settling_seconds"],
    }


def theirs(
    cell: dict[str, Any], X: np.ndarray, y: np.ndarray
) -> tuple[Callable[..., np.ndarray], dict[str, Any]]:
    from sklearn.neural_network import MLPRegressor
    from sklearn.preprocessing import StandardScaler

    network = MLPRegressor(
        hidden_layer_sizes=cell["hidden"], activation="tanh", batch_size=64, random_state=0
    )
    inputs, labels, rng = StandardScaler(), StandardScaler(), np.random.default_rng(0)
    starts = np.arange(0, len(X), CHUNK)
    for start in starts:
        inputs.partial_fit(X[start : start + CHUNK])
        labels.partial_fit(y[start : start + CHUNK, None])
    for _ in range(cell["epochs"]):
        for start in rng.permutation(starts):
            rows = inputs.transform(X[start : start + CHUNK])
            network.partial_fit(rows, labels.transform(y[start : start + CHUNK, None])[:, 0])

    def predict(rows: np.ndarray) -> np.ndarray:
        return labels.inverse_transform(network.predict(inputs.transform(rows))[:, None])[:, 0]

    return predict, {}


def one(folder: str, cell: dict[str, Any]) -> None:
    """Print the figures of a cell, in this process."""
    X, y = data(Path(folder), cell["rows"])
    fit = theirs if cell["contender"] == PEER else ours
    warm = rows_of(np.random.default_rng(1), 300)
    fit({**cell, "epochs": 1, "settle": False}, warm, truth(warm))
    with watched(0.05) as memory:
        clock, cpu = time.perf_counter(), time.process_time()
        predict, more = fit(cell, X, y)
        seconds, cpu = time.perf_counter() - clock, time.process_time() - cpu
    held_out = rows_of(np.random.default_rng(99), 20_000)
    error = float(np.sqrt(np.mean((predict(held_out) - truth(held_out)) ** 2)))
    base, steps = memory[0][1], max(1, len(memory) // 40)
    curve = [[round(at, 1), round(mb - base)] for at, mb in memory[::steps]]
    peak = max(mb for _, mb in memory) - base
    print(
        json.dumps(
            {**cell, "seconds": seconds, "cpu": cpu, "mb": peak, "error": error, "curve": curve, **more}
        )
    )


def cells(chosen: Namespace) -> Iterator[dict[str, Any]]:
    """What is to be measured, contenders next to each other."""
    common = {"epochs": 1, "settle": False, "threads": 1, "strength": ALPHA / 64}
    for n in chosen.rows:
        for hidden in (tuple(map(int, one.split("-"))) for one in chosen.networks):
            for _ in range(chosen.repeats):
                for contender in chosen.contenders:
                    yield {"contender": contender, "rows": n, "hidden": hidden, **common}
    if chosen.passes:
        of_both = {"contender": OURS, "rows": 1_000_000, "hidden": (64, 64), **common}
        for strength in STRENGTHS:
            yield {**of_both, "strength": strength, "epochs": 5}
        for epochs in PASSES:
            yield {**of_both, "epochs": epochs}
    for n, hidden, settle in ((1_000_000, (32, 32), 200.0), (10_000_000, (64, 64), 300.0)):
        if chosen.settle and n in chosen.rows:
            settled = {"epochs": None, "settle": settle, "threads": 2, "strength": 1e-3}
            yield {"contender": OURS, "rows": n, "hidden": hidden, **settled}


def measure(chosen: Namespace) -> None:
    for cell in cells(chosen):
        task = f"from bench.scale import big; big.one({str(chosen.folder)!r}, {cell!r})"
        shown = subprocess.run(
            [sys.executable, "-c", task],
            env=environment(**{**os.environ, **threads(cell["threads"])}),
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
        found = {**json.loads(shown.stdout.splitlines()[-1]), "processor": processor()}
        results.add(chosen.output, found)
        print({name: value for name, value in found.items() if name != "curve"}, flush=True)


def name_of(hidden: list[int]) -> str:
    return "-".join(map(str, hidden))


def curves(found: list[dict[str, Any]]) -> str:
    """One epoch: CPU seconds, memory and error of each contender, by rows and network."""
    table = [["rows", "network", "contender", "CPU s", "CPU us a row", "memory MB", "error"]]
    once = [cell for cell in found if cell["epochs"] == 1]
    for key in dict.fromkeys((cell["rows"], tuple(cell["hidden"]), cell["contender"]) for cell in once):
        same = [cell for cell in once if (cell["rows"], tuple(cell["hidden"]), cell["contender"]) == key]
        cpu, mb, error = (float(np.median([cell[name] for cell in same])) for name in ("cpu", "mb", "error"))
        figures = [f"{cpu:.1f}", f"{1e6 * cpu / key[0]:.1f}", f"{mb:.0f}", f"{error:.3f}"]
        table.append([f"{key[0]:,}", name_of(list(key[1])), key[2], *figures])
    return markdown(table)


def passes(found: list[dict[str, Any]]) -> str:
    """Error by the number of epochs, and by the strength."""
    table = [["rows", "network", "strength", "epochs", "steps", "CPU s", "error"]]
    for cell in found:
        if cell["epochs"] not in (None, 1) and not cell["settle"]:
            steps = cell["epochs"] * -(-cell["rows"] // 64)
            figures = [
                f"{cell['strength']:.1e}",
                str(cell["epochs"]),
                f"{steps:,}",
                f"{cell['cpu']:.0f}",
                f"{cell['error']:.4f}",
            ]
            table.append([f"{cell['rows']:,}", name_of(cell["hidden"]), *figures])
    return markdown(table)


def settled(found: list[dict[str, Any]]) -> str:
    """What both stages end with, on two threads."""
    table = [
        [
            "rows",
            "network",
            "first stage s",
            "settling s",
            "ended",
            "gradient",
            "tangent",
            "trusted",
            "MB",
            "error",
        ]
    ]
    for cell in found:
        if cell["settle"]:
            seconds = [f"{cell[f'{stage}_seconds']:.0f}" for stage in ("training", "settling")]
            certificate = [
                cell["stopped"],
                *(f"{cell[name]:.1e}" for name in ("gradient_norm", "tangent_residual")),
            ]
            figures = ["yes" if cell["trusted"] else "no", f"{cell['mb']:.0f}", f"{cell['error']:.3f}"]
            table.append([f"{cell['rows']:,}", name_of(cell["hidden"]), *seconds, *certificate, *figures])
    return markdown(table)


def memory_curve(found: list[dict[str, Any]]) -> str:
    """MB by seconds of the fit of most rows with both stages, or else of one epoch."""
    of_ours = [cell for cell in found if cell["contender"] == OURS]
    cell = max(of_ours, key=lambda cell: (cell["rows"], bool(cell["settle"]), cell["hidden"]))
    curve = cell["curve"][:: max(1, len(cell["curve"]) // 12)]
    head = f"{cell['rows']:,} rows, {name_of(cell['hidden'])}"
    return markdown([[head, *(f"{at:.0f} s" for at, _ in curve)], ["MB", *(str(mb) for _, mb in curve)]])


def main() -> None:
    parser = options.parser(__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=ROWS)
    parser.add_argument("--networks", nargs="*", default=NETWORKS)
    parser.add_argument("--contenders", nargs="*", default=(OURS, PLAIN, PEER))
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--passes", action="store_true", help="some numbers of epochs of 1,000,000 rows")
    parser.add_argument("--settle", action="store_true", help="both stages, too")
    chosen = results.measured_or_shown(parser)
    if chosen.table is None:
        return measure(chosen)
    found = results.read(chosen.table)
    print(
        "\n\n".join(
            [found[0]["processor"], *(part(found) for part in (curves, passes, settled, memory_curve))]
        )
    )
