"""Data sets: NAME.csv.gz without header, the target in the last column."""

from __future__ import annotations

from pathlib import Path

import numpy as np

THREE = ("kin8nm", "concrete", "energy")
SIX = ("concrete", "energy", "kin8nm", "power_plant", "pol", "kin40k")
LABELLED, MOST_NEW = 500, 2000


def table(folder: Path, name: str) -> np.ndarray:
    """The rows of a set; of those with equal inputs the first is kept."""
    rows = np.loadtxt(folder / f"{name}.csv.gz", delimiter=",")
    _, first = np.unique(rows[:, :-1], axis=0, return_index=True)
    return rows[np.sort(first)]


def load(folder: Path, name: str) -> tuple[np.ndarray, np.ndarray]:
    """(X, y) of a set."""
    rows = table(folder, name)
    return rows[:, :-1], rows[:, -1]


def parted(folder: Path, name: str, seed: int, labelled: int = LABELLED):
    """(X, y) to train on and (X, y) of up to 2,000 others, in an order that the seed decides."""
    rows = np.random.default_rng(seed).permutation(table(folder, name))
    train, rest = rows[:labelled], rows[labelled : labelled + MOST_NEW]
    return train[:, :-1], train[:, -1], rest[:, :-1], rest[:, -1]
