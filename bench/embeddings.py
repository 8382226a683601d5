"""Batches for models from elsewhere: leaves of trees and hidden layers as vectors for `select_embeddings`.

    python -m bench embeddings FOLDER

A table: a line for each model and set, root mean square errors after a batch chosen by each strategy, and by chance.
Needs scikit-learn, LightGBM and torch.  Each function is an example to copy.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

import fasttangent as ft
from bench.common import options
from bench.common.data import parted

LABELLED, BATCH, POOL, NOISE = 60, 60, 1000, 0.1
STRATEGIES = ("random", "lcmd", "kmeans++", "maxdet")


def leaves_as_vectors(leaves: np.ndarray, *others: np.ndarray) -> list[np.ndarray]:
    """(rows, trees) numbers of leaves as vectors whose inner products are the share of trees where two rows meet."""
    from sklearn.preprocessing import OneHotEncoder

    encoder = OneHotEncoder(sparse_output=False, dtype=np.float32, handle_unknown="ignore")
    each = [encoder.fit_transform(leaves), *map(encoder.transform, others)]
    return [one / np.float32(np.sqrt(leaves.shape[1])) for one in each]


def forest(seed, X, y):
    """scikit-learn's random forest: a function that predicts, and one that makes vectors."""
    from sklearn.ensemble import RandomForestRegressor

    model = RandomForestRegressor(100, min_samples_leaf=2, random_state=seed).fit(X, y)
    return model.predict, lambda *rows: leaves_as_vectors(*map(model.apply, rows))


def boosting(seed, X, y):
    """scikit-learn's boosted trees."""
    from sklearn.ensemble import GradientBoostingRegressor

    model = GradientBoostingRegressor(subsample=0.8, random_state=seed).fit(X, y)
    return model.predict, lambda *rows: leaves_as_vectors(*map(model.apply, rows))


def lightgbm(seed, X, y):
    """LightGBM, whose pred_leaf=True gives the leaves."""
    from lightgbm import LGBMRegressor

    model = LGBMRegressor(n_estimators=100, num_leaves=8, min_child_samples=3, random_state=seed, verbose=-1)
    model.fit(X, y)
    return model.predict, lambda *rows: leaves_as_vectors(
        *(model.predict(one, pred_leaf=True) for one in rows)
    )


def torch(seed, X, y):
    """A network of torch: what its last layer sees."""
    import torch
    from torch import nn

    torch.manual_seed(seed)
    mean, scale = X.mean(axis=0), np.where(np.ptp(X, axis=0) > 0, X.std(axis=0), np.inf)
    centre, unit = y.mean(), y.std()

    def tensor(values):
        return torch.from_numpy(np.asarray(values, np.float32))

    hidden = nn.Sequential(nn.Linear(X.shape[1], 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU())
    last = nn.Linear(64, 1)
    optimizer = torch.optim.AdamW([*hidden.parameters(), *last.parameters()], 1e-2, weight_decay=1e-2)
    rows, targets = tensor((X - mean) / scale), tensor((y - centre) / unit)[:, None]
    for _ in range(300):
        optimizer.zero_grad()
        nn.functional.mse_loss(last(hidden(rows)), targets).backward()
        optimizer.step()

    @torch.no_grad()
    def vectors(*each):
        return [hidden(tensor((one - mean) / scale)).numpy() for one in each]

    @torch.no_grad()
    def predict(rows):
        return last(hidden(tensor((rows - mean) / scale))).numpy()[:, 0] * unit + centre

    return predict, vectors


MODELS = {
    "scikit-learn, random forest": forest,
    "scikit-learn, boosting": boosting,
    "LightGBM": lightgbm,
    "torch, hidden layer": torch,
}


def main() -> None:
    parser = options.parser(__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sets", nargs="+", default=["pol", "kin8nm"])
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--seeds", type=int, default=5)
    chosen = parser.parse_args()
    print(f"| model | set | before | {' | '.join(STRATEGIES)} |\n|---|---|---|{'---|' * len(STRATEGIES)}")
    for name in chosen.models:
        make = MODELS[name]
        for data in chosen.sets:
            errors = np.mean(
                [_errors(chosen.folder, data, make, seed) for seed in range(chosen.seeds)], axis=0
            )
            print(f"| {name} | {data} | {' | '.join(f'{one:.3f}' for one in errors)} |", flush=True)


def _errors(folder: Path, name: str, make, seed: int) -> list[float]:
    """Before a batch, and after one of each strategy, in standard deviations of the test targets."""
    X, y, X_new, y_new = parted(folder, name, seed, LABELLED)
    pool, labels, test, wanted = X_new[:POOL], y_new[:POOL], X_new[POOL:], y_new[POOL:]
    predict, vectors = make(seed, X, y)
    E, known = vectors(pool, X)
    found = [_error(predict, test, wanted)]
    for strategy in STRATEGIES:
        if strategy == "random":
            picks = np.random.default_rng(seed).permutation(len(pool))[:BATCH]
        else:
            noise = {"noise": NOISE} if strategy == "maxdet" else {}
            picks = ft.select_embeddings(
                E, BATCH, strategy=strategy, labeled=known, seed=seed, **noise
            ).indices
        again, _ = make(seed, np.vstack([X, pool[picks]]), np.concatenate([y, labels[picks]]))
        found.append(_error(again, test, wanted))
    return found


def _error(predict, X, y) -> float:
    return float(np.sqrt(np.mean((predict(X) - y) ** 2)) / y.std())
