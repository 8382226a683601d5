"""Labelled rows and test rows of a set, as QUALITY_PROTOCOL.md has them."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bench.common.data import load

LABELS = (64, 128, 320, 1000, 3000)
TEST, CHOICE = range(10), range(100, 103)
MOST_TEST, TEST_SHARE = 2000, 0.2


class Split(NamedTuple):
    """Rows to learn from and rows to be tested on."""

    X: np.ndarray
    y: np.ndarray
    X_test: np.ndarray
    y_test: np.ndarray


def split(folder: Path, name: str, number: int, labels: int) -> Split | None:
    """None where the set has too few rows."""
    X, y = load(folder, name)
    order = np.random.default_rng((zlib.crc32(name.encode()), number)).permutation(len(X))
    test = order[-min(MOST_TEST, int(TEST_SHARE * len(X))) :]
    if labels > len(X) - len(test):
        return None
    rows = order[:labels]
    return Split(X[rows], y[rows], X[test], y[test])
