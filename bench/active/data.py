"""Rows of the active learning benchmark: who is labelled at first, who can be picked, who is tested on."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.common.data import load

SETS = (
    "yacht",
    "energy",
    "concrete",
    "kin8nm",
    "power_plant",
    "grid_stability",
    "naval",
    "pol",
    "bike_noleak",
    "kin40k",
)
INITIAL, MOST_BATCHES = 64, {32: 8, 128: 4}  # labels at first; batches by their size
MOST_POOL, MOST_TEST, TEST_SHARE = 5000, 5000, 0.2
LEAST_CHOICE = 2  # candidates for each pick
STREAMS = {"split": 0, "fit": 1, "select": 2, "permutation": 3, "subset": 4, "ensemble": 5, "head": 6}


@dataclass(frozen=True, eq=False)
class Split:
    """The rows of one set and seed; `pool` begins with the rows that are labelled at first."""

    X: np.ndarray  # (n_pool, n_features)
    y: np.ndarray
    X_test: np.ndarray
    y_test: np.ndarray


def split(X: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> Split:
    """At most 64 + 5,000 rows to label, and at least a fifth, at most 5,000, to test on."""
    order = rng.permutation(len(X))
    n_pool = min(INITIAL + MOST_POOL, int((1 - TEST_SHARE) * len(X)))
    pool, test = order[:n_pool], order[n_pool : n_pool + MOST_TEST]
    return Split(X[pool], y[pool], X[test], y[test])


def n_batches(n_pool: int, size: int) -> int:
    """How many batches leave, at every selection, twice as many candidates as are picked."""
    candidates = n_pool - INITIAL
    return int(np.clip((candidates - LEAST_CHOICE * size) // size + 1, 0, MOST_BATCHES[size]))


def seeds(name: str, seed: int, step: int, stream: str, count: int = 1) -> list[int]:
    """Seeds that depend on the set, the seed and the step, and on no method."""
    entropy = (zlib.crc32(name.encode()), seed, step, STREAMS[stream])
    return [int(s) for s in np.random.SeedSequence(entropy).generate_state(count)]


def rows_of(folder: Path, name: str, seed: int) -> Split:
    """The split of a set and a seed."""
    return split(*load(folder, name), np.random.default_rng(seeds(name, seed, 0, "split")[0]))
