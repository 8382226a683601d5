"""Whether picks depend on how a pool is cut into files, partitions and workers.

    python -m bench cuts [--rows 60000]

A Markdown table of digests of the row numbers picked (the first eight digits of SHA-256): of one array, of 1, 10 and
1,000 Parquet files, of three ways to cut it into partitions of Dask, and of these on 1 and on 2 worker processes.
Strategies compare all rows, part by part where they can; the command ends with an error if a column has two digests.
"""

from __future__ import annotations

import hashlib
import itertools
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import fasttangent as ft
from bench.common import options
from bench.common.machine import processor
from bench.common.markdown import markdown
from fasttangent.active import picking

FEATURES, PICKS = 8, 30
STRATEGIES = ("random", "sample", "error", "variance", "kcenter")
FILES = (1, 10, 1000)
CUTS = {"3 equal ones": 3, "16 of any size": 16, "100 of any size": 100}
Pick = Callable[[str], np.ndarray]


def digest(rows: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(rows, "<i8").tobytes()).hexdigest()[:8]


def pool_of(rows: int) -> np.ndarray:
    """With rows that are missing a value, and copies."""
    X = np.random.default_rng(0).normal(size=(rows, FEATURES))
    X[::997, 3] = np.nan
    X[5::501] = X[4::501][: len(X[5::501])]
    return X


def borders(n: int, parts: int) -> list[int]:
    if parts == 3:
        return [0, n // 3, 2 * n // 3, n]
    inside = np.random.default_rng(parts).choice(np.arange(1, n), parts - 1, replace=False)
    return [0, *sorted(inside.tolist()), n]


def written(X: np.ndarray, files: int, folder: Path) -> Path:
    import pyarrow as pa
    from pyarrow import parquet

    folder.mkdir()
    ends = np.linspace(0, len(X), files + 1).astype(int)
    for i, (low, high) in enumerate(itertools.pairwise(ends)):
        columns = {f"x{j}": X[low:high, j] for j in range(FEATURES)}
        parquet.write_table(pa.table(columns), folder / f"p{i:04}.parquet")
    return folder


def collection(X: np.ndarray, parts: int) -> Any:
    import dask.array

    ends = borders(len(X), parts)
    return dask.array.concatenate(
        [dask.array.from_array(X[a:b], chunks=(b - a, FEATURES)) for a, b in itertools.pairwise(ends)]
    )


def ways(X: np.ndarray, known: np.ndarray, model: ft.Model, here: Path) -> dict[str, Pick]:
    """Every way to hold the pool on one machine and, in this process, in partitions."""

    def select(pool: Any) -> Pick:
        return lambda one: ft.select(model, pool, PICKS, strategy=one, labeled=known, prefilter=None).indices

    def by_dask(parts: int) -> Pick:
        rows = collection(X, parts)
        return lambda one: ft.dask.select(rows, model, PICKS, strategy=one, labeled=known).indices

    found = {"an array": select(X)}
    for files in FILES:
        found[f"{files:,} file{'s' * (files > 1)}"] = select(ft.Pool(written(X, files, here / str(files))))
    return found | {f"Dask, {name}": by_dask(parts) for name, parts in CUTS.items()}


def digests(pick: Pick) -> list[str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return [digest(pick(strategy)) for strategy in STRATEGIES]


def on_workers(picks: dict[str, Pick], workers: int, here: Path) -> list[list[str]]:
    import dask
    from distributed import Client, LocalCluster

    with (
        dask.config.set({"scheduler": None, "temporary-directory": str(here)}),
        LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster),
    ):
        says = f", {workers} worker{'s' * (workers > 1)}"
        return [[name + says, *digests(pick)] for name, pick in picks.items() if name.startswith("Dask")]


def table(rows: int, here: Path) -> list[list[str]]:
    X, known = pool_of(rows), np.random.default_rng(99).normal(size=(100, FEATURES))
    fit = {
        "hidden": (16,),
        "epochs": 30,
        "strength": 0.01,
        "feature_names": [f"x{j}" for j in range(FEATURES)],
    }
    model = ft.fit(
        known, np.sin(2 * known[:, 0]) + known[:, 1], tangents=("strength", "posterior"), samples=32, **fit
    )
    picks = ways(X, known, model, here)
    found = [["the pool is", *STRATEGIES]]
    found += [[name, *digests(pick)] for name, pick in picks.items() if not name.startswith("Dask")]
    for workers in (1, 2):
        found += on_workers(picks, workers, here)
    return found


def main() -> None:
    parser = options.parser(__doc__)
    parser.add_argument("--rows", type=int, default=60_000)
    chosen = parser.parse_args()
    picking.WHOLE = 0  # part by part, as a pool is that is larger than the memory
    with tempfile.TemporaryDirectory() as folder:
        found = table(chosen.rows, Path(folder))
    print(f"{processor()}; {chosen.rows:,} x {FEATURES}, {PICKS} picks\n\n{markdown(found)}")
    if any(len(set(column)) > 1 for column in list(zip(*found[1:], strict=True))[1:]):
        sys.exit("picks depend on how the pool is cut")
