"""What is lost where "error" compares some of many candidates in full, drawn by their variance, and not all of them.

    python -m bench selection-loss [DATA] [--quick]

Pools: normal features, dense clumps before a wide background, Student's t with 2.5 degrees of freedom (few rows
matter), and kin40k of DATA, a folder of NAME.csv.gz.  300 known rows, a silu network 64-64, 384 tangents of noise.
The figure is the mean variance and squared bias over the whole pool that is left after the picks, beside that after
the picks of comparing all.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np

import fasttangent as ft
from bench.common import options
from bench.common.data import load
from fasttangent.active.covariances import moments
from fasttangent.active.strategies import informing

KNOWN, ROWS, PICKS, SEEDS = 300, 100_000, (16, 64, 256), 2


def pools(n: int, folder: Path | None) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Known and other rows and their targets, by name."""
    rng = np.random.default_rng(0)
    clumps = rng.normal(size=(n, 8))
    dense = int(0.6 * n)
    clumps[:dense] = 0.2 * clumps[:dense] + 2 * rng.normal(size=(6, 8))[rng.integers(6, size=dense)]
    found = {}
    for name, X in (("normal, 32", rng.normal(size=(n, 32))), ("clumps, 8", rng.permutation(clumps))):
        found[name] = X, np.sin(X[:, 0]) + X[:, 1] * X[:, 2]
    X = rng.standard_t(2.5, size=(n, 8))
    found["heavy tails, 8"] = X, np.tanh(X[:, 0]) + np.tanh(X[:, 1]) * np.tanh(X[:, 2])
    return found | ({"kin40k": load(folder, "kin40k")} if folder else {})


def left(E: np.ndarray, M: np.ndarray, picks: np.ndarray, noise: float) -> float:
    """Mean error over the pool once the picks have labels."""
    F = E[picks].astype(float)
    return float(np.sum(M * np.linalg.inv(np.eye(len(M)) + F.T @ F / noise)))


def losses(X: np.ndarray, y: np.ndarray, seed: int) -> list[list[float]]:
    """Of each number of picks: error left, and how much more it is with drawn candidates and with picks by chance."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(X))
    known, pool = X[order[:KNOWN]], X[order[KNOWN:]].astype(np.float32)
    given = {"hidden": (64, 64), "activation": "silu", "epochs": 100, "settle": False, "tangents": None}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        model = ft.fit(known, y[order[:KNOWN]], **given, seed=seed)
    model = model.with_posterior(known, y[order[:KNOWN]], samples=384)
    E = model.embed(pool, "error")
    M = moments(E, None, None)
    every, some = (
        ft.select(model, pool, PICKS[-1], strategy="error", seed=seed, prefilter=prefilter).indices
        for prefilter in (None, len(pool))
    )
    found = []
    for k in PICKS:
        least = left(E, M, every[:k], model.noise)
        by_chance = left(E, M, rng.choice(len(pool), k, replace=False), model.noise)
        found.append([least, left(E, M, some[:k], model.noise) / least - 1, by_chance / least - 1])
    return found


def main() -> None:
    parser = options.parser(__doc__)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--quick", action="store_true", help="a fifth of the rows")
    arguments = parser.parse_args()
    n = ROWS // 5 if arguments.quick else ROWS
    informing.COMPARED = informing.COMPARED // 5 if arguments.quick else informing.COMPARED
    print(
        "| pool | rows | seed | picks | error left | drawn candidates | picks by chance |\n"
        + "|---" * 7
        + "|"
    )
    for name, (X, y) in pools(n, arguments.folder).items():
        for seed in range(SEEDS):
            for k, (least, more, chance) in zip(PICKS, losses(X, y, seed), strict=True):
                cells = f"{len(X) - KNOWN:,} | {seed} | {k} | {least:.4g} | {more:+.1%} | {chance:+.0%}"
                print(f"| {name} | {cells} |", flush=True)
