"""How often labels of new rows lie within the deviations of the posterior: 68 % and 95 % if these are right.

    python -m bench calibration DATA_FOLDER

Six data sets, three seeds, 300 labelled rows, up to 2,000 new ones; networks 32-32: under strength 1e-2, after
minibatch steps and settled, and under strengths that are learned.  DATA_FOLDER holds the sets as .csv.gz without
header, the target in the last column.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np

import fasttangent as ft
from bench.common import options
from bench.common.data import MOST_NEW, SIX, load

SEEDS, LABELLED = range(3), 300
STAGES: dict[str, dict[str, Any]] = {
    "1e-2, minibatch steps": {"strength": 1e-2, "settle": False},
    "1e-2, settled": {"strength": 1e-2},
    "learned (default)": {},
}


def measured(folder: Path, name: str, seed: int, options: dict[str, Any]) -> tuple[float, float, float]:
    """Shares within 1 and 1.96 deviations, and the root mean square of error over deviation."""
    X, y = load(folder, name)
    order = np.random.default_rng(seed).permutation(len(X))
    rows, new = order[:LABELLED], order[LABELLED : LABELLED + MOST_NEW]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        model = ft.fit(X[rows], y[rows], hidden=(32, 32), tangents="posterior", seed=seed, **options)
    mean, deviation = model.predict(X[new], return_std=True)
    off = abs(y[new] - mean) / deviation
    return float(np.mean(off <= 1)), float(np.mean(off <= 1.96)), float(np.sqrt(np.mean(off**2)))


def main() -> None:
    parser = options.parser(__doc__)
    parser.add_argument("folder", type=Path, metavar="DATA_FOLDER")
    folder = parser.parse_args().folder
    print("| set | strength | within 1 deviation | within 1.96 | rms of error over deviation |")
    print("|---|---|---|---|---|")
    for name in SIX:
        for stage, given in STAGES.items():
            found = np.mean([measured(folder, name, seed, given) for seed in SEEDS], axis=0)
            print(f"| {name} | {stage} | {found[0]:.0%} | {found[1]:.0%} | {found[2]:.2f} |", flush=True)
