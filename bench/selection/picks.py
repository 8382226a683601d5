"""LCMD of bmdal_reg and ours on the same features: are the batches the same?

    python -m bench selection-picks DATA --python BMDAL/bin/python

DATA is a folder of NAME.csv.gz, the last column the target; BMDAL an environment with bmdal_reg
(`peers/bmdal_worker.py` says how).  Features are float64 sketches of gradients of a network fitted to the known rows.
Largest cluster, maximum distance, known rows as centres (TP mode), ties to the first row; picks are compared one by
one, in order.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np

import fasttangent as ft
from bench.common import options
from bench.common.data import load
from bench.common.places import environment_elsewhere

SETS = ("kin8nm", "pol", "kin40k")
KNOWN, BATCH, DIM = 256, 64, 512

WORKER = """
import sys
import numpy as np, torch
from bmdal_reg.bmdal.feature_data import TensorFeatureData
from bmdal_reg.bmdal.feature_maps import IdentityFeatureMap
from bmdal_reg.bmdal.features import Features
from bmdal_reg.bmdal.selection import LargestClusterMaxDistSelectionMethod
folder, k = sys.argv[1], int(sys.argv[2])
pool, known = (
    Features(IdentityFeatureMap(n_features=E.shape[1]), TensorFeatureData(torch.from_numpy(E)))
    for E in (np.load(f"{folder}/{name}.npy") for name in ("pool", "known"))
)
method = LargestClusterMaxDistSelectionMethod(pool, known, sel_with_train=True, dist_weight_mode="sq-dist", verbosity=0)
np.save(f"{folder}/picks.npy", method.select(k).numpy())
"""


def peer(python: str, pool: np.ndarray, known: np.ndarray, k: int) -> np.ndarray:
    """The picks of bmdal_reg, made by another interpreter."""
    with tempfile.TemporaryDirectory() as folder:
        np.save(f"{folder}/pool.npy", pool)
        np.save(f"{folder}/known.npy", known)
        env = environment_elsewhere()
        subprocess.run([python, "-W", "ignore", "-c", WORKER, folder, str(k)], check=True, env=env)
        return np.load(f"{folder}/picks.npy")


def features(folder: Path, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Float64 embeddings of the pool and of the known rows."""
    X, y = load(folder, name)
    order = np.random.default_rng(0).permutation(len(X))
    known, pool = order[:KNOWN], order[KNOWN:]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        model = ft.fit(X[known], y[known], activation="silu", epochs=100, settle=False, dtype="float64")
    return model.embed(X[pool], "gradient", dim=DIM), model.embed(X[known], "gradient", dim=DIM)


def main() -> None:
    parser = options.parser(__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--python", required=True, help="interpreter that has bmdal_reg")
    parser.add_argument("--sets", nargs="+", default=SETS)
    arguments = parser.parse_args()
    print(f"| set | candidates | known | picks | the same, in order | float32 |\n|{'---|' * 6}")
    different = False
    for name in arguments.sets:
        pool, known = features(arguments.folder, name)
        theirs = peer(arguments.python, pool, known, BATCH)
        ours = ft.select_embeddings(pool, BATCH, labeled=known).indices
        narrow = ft.select_embeddings(pool.astype(np.float32), BATCH, labeled=known).indices
        same, same32 = int((ours == theirs).sum()), int((narrow == theirs).sum())
        different |= same < BATCH
        print(f"| {name} | {len(pool):,} | {KNOWN} | {BATCH} | {same} | {same32} |", flush=True)
    sys.exit(1 if different else 0)
