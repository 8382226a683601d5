"""What is measured of one set and split; see the command."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import spearmanr

import fasttangent as ft
from bench.active.data import seeds
from bench.common.data import load
from bench.quality.splits import Split, split
from fasttangent.model.members import member_seeds

M = 5
STRATEGIES = ("sample", "variance", "error")
LABELLED, BATCH, MOST_POOL, DRAWS = 64, 32, 2000, 3


def agreement(folder: Path, set: str, strength: float | str, split: int) -> dict[str, Any]:
    rows = _split(folder, set, split, 320)
    fives = [ft.fit(rows.X, rows.y, strength=strength, members=M, seed=seed) for seed in (0, 1)]
    found: dict[str, Any] = {"trusted": sum(one.certificate.trusted for five in fives for one in five.models)}
    for what in ("curiosity", "sensitivity"):
        several = [abs(getattr(five, what)(rows.X_test)) for five in fives]
        single = [[abs(getattr(one, what)(rows.X_test)) for one in five.models] for five in fives]
        found[f"{what}_five"] = _spearman(*several)
        found[f"{what}_one"] = float(np.mean([_spearman(a, b) for a in single[0] for b in single[1]]))
    return found


def errors(folder: Path, set: str, labels: int, split: int) -> dict[str, Any] | None:
    rows = _split(folder, set, split, labels)
    if rows is None:
        return None
    how = {"tangents": ("strength", "posterior"), "threads": 1}  # so that all CPU seconds are of this process
    began = time.process_time()
    single = [ft.fit(rows.X, rows.y, seed=seed, **how) for seed in member_seeds(0, M)]
    then = time.process_time()
    five = ft.fit(rows.X, rows.y, members=M, **how)
    seconds = {"one": (then - began) / M, "own": then - began, "five": time.process_time() - then}
    each = [one.predict(rows.X_test, return_std=True) for one in single]
    figures = np.array([_figures(rows, *one) for one in each])
    mean = np.mean([f for f, _ in each], axis=0)
    spread = np.sqrt(np.mean([s**2 for _, s in each], axis=0) + np.var([f for f, _ in each], axis=0))
    found = {
        "one": (float(np.exp(np.mean(np.log(figures[:, 0])))), float(np.mean(figures[:, 1]))),
        "own": _figures(rows, mean, spread),
        "five": _figures(rows, *five.predict(rows.X_test, return_std=True)),
    }
    return {
        **{f"rmse_{who}": round(rmse, 5) for who, (rmse, _) in found.items()},
        **{f"nll_{who}": round(nll, 4) for who, (_, nll) in found.items()},
        **{f"seconds_{who}": round(value, 2) for who, value in seconds.items()},
    }


def batches(folder: Path, set: str, split: int) -> dict[str, Any]:
    rows = _split(folder, set, split, LABELLED)
    pool, labels = _pool(folder, set, split)
    chosen = {
        f"random {i}": np.random.default_rng(seed).choice(len(pool), BATCH, replace=False)
        for i, seed in enumerate(seeds(set, split, 0, "select", DRAWS))
    }
    for members in (1, M):
        model = ft.fit(rows.X, rows.y, members=members)
        for strategy in STRATEGIES:
            chosen[f"{strategy} {members}"] = ft.select(
                model, pool, BATCH, strategy=strategy, labeled=rows.X
            ).indices
    found = {}
    for name, picks in chosen.items():
        X, y = np.concatenate([rows.X, pool[picks]]), np.concatenate([rows.y, labels[picks]])
        five = ft.fit(X, y, members=M, tangents=None)
        single = [_rmse(rows, one.predict(rows.X_test)) for one in five.models]
        found[name] = [
            round(_rmse(rows, five.predict(rows.X_test)), 5),
            round(float(np.exp(np.mean(np.log(single)))), 5),
        ]
    return {"rmse": found}


def _split(folder: Path, set: str, number: int, labels: int) -> Any:
    return split(folder, set, number, labels)


def _pool(folder: Path, set: str, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows that may be labelled after the first: neither those nor test rows."""
    X, y = load(folder, set)
    most = split(folder, set, number, LABELLED)
    known = {row.tobytes() for row in (*most.X, *most.X_test)}
    left = np.array([row.tobytes() not in known for row in X])
    order = np.random.default_rng(number).permutation(np.flatnonzero(left))[:MOST_POOL]
    return X[order], y[order]


def _spearman(a: np.ndarray, b: np.ndarray) -> float:
    return round(float(spearmanr(a, b).statistic), 4)


def _rmse(rows: Split, found: np.ndarray) -> float:
    return float(np.sqrt(np.mean((found - rows.y_test) ** 2)) / rows.y_test.std())


def _figures(rows: Split, found: np.ndarray, deviation: np.ndarray) -> tuple[float, float]:
    """Root mean square error and mean negative log likelihood."""
    unit = rows.y_test.std()
    off, s = (found - rows.y_test) / unit, deviation / unit
    nll = np.mean(0.5 * (off / s) ** 2 + np.log(s) + 0.5 * np.log(2 * np.pi))
    return float(np.sqrt(np.mean(off**2))), float(nll)
