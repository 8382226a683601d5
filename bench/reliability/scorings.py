"""A random score of rows, or a batch, by a model that is good."""

from __future__ import annotations

import functools
import warnings
from typing import Any

import numpy as np

import fasttangent as ft
from bench.reliability.arrays import disguised, poisoned
from bench.reliability.case import Ground, Wrong, check
from bench.reliability.fits import rows
from bench.reliability.judge import Refused, call, finite, same
from fasttangent.active.strategies.table import STRATEGIES
from fasttangent.model.embeddings import EMBEDDINGS

N_FEATURES = 3
NAMES = ("model", "strength", "samples")  # what errors may name beside arguments: properties of the model
NEED_A_TANGENT = {name for name, strategy in STRATEGIES.items() if strategy.weight}
METHODS = ("predict", "sensitivity", "score", "curiosity", "influence", "embed", "posterior")


@functools.cache
def models() -> dict[str, tuple[ft.Model, np.ndarray]]:
    """Models of every kind and the rows they were fitted on."""
    found, rng = {}, np.random.default_rng(0)
    kinds: dict[str, dict[str, Any]] = {
        "float32": {},
        "float64": {"dtype": "float64", "tangents": ("strength", "posterior")},
        "two outputs": {"tangents": ("strength", "posterior"), "activation": "silu"},
        "linear": {"hidden": (), "dtype": "float64"},
        "plain units": {"standardize": False, "loss": "huber"},
        "no tangents": {"tangents": None, "settle": False},
    }
    for name, more in kinds.items():
        X = rows(rng, 40, N_FEATURES) if name != "plain units" else rng.normal(size=(40, N_FEATURES))
        y = np.sin(X[:, 0]) + 0.1 * rng.normal(size=40)
        Y = np.column_stack([y, y**2]) if name == "two outputs" else y
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            options = {"hidden": (5, 4), "epochs": 5, "strength": 1e-2, "samples": 16, **more}
            found[name] = ft.fit(X, Y, **options), X
    return found


def _pool(rng: np.random.Generator, X: np.ndarray) -> np.ndarray:
    n = int(rng.choice([1, 2, 5, 31, 64, 65, 300]))
    return X[rng.integers(len(X), size=n)] * rng.normal(1, 0.3, (n, X.shape[1]))


def score(ground: Ground) -> str:
    rng = ground.rng
    name = str(rng.choice(list(models())))
    model, known = models()[name]
    plain, method = _pool(rng, known), str(rng.choice(METHODS))
    options = _options(rng, method, model, plain)
    poison = disguise = ""
    given: Any = plain
    if rng.random() < 0.5:
        poison, given = poisoned(rng, plain)
    else:
        disguise, given = disguised(rng, plain, ground.place)
    about = f"{name}, {method}, {plain.shape}, {poison}{disguise}; { {k: np.shape(v) for k, v in options.items()} }"
    threads = int(rng.integers(1, 4))
    found = call(getattr(model, method), given, about=about, names=NAMES, **options, threads=threads)
    if isinstance(found, Refused):
        lacks = (
            "no tangent" in str(found.error)
            or "carries" in str(found.error)
            or "model has" in str(found.error)
        )
        if not poison and not lacks:
            raise Wrong(f"good rows refused by {method}", f"{found.error}; {about}")
        return f"{method}: refused"
    arrays = list(found) if method == "score" else [found]
    if poison:
        _poisoned(arrays, given, method, about)
        return f"{method}: poisoned, answered"
    again = call(getattr(model, method), plain, about=about, **options, threads=1)
    for one, other in zip(arrays, list(again) if method == "score" else [again], strict=True):
        finite(method, one, about)
        same(f"{method} of rows in disguise", one, other, about)
    if method in ("predict", "sensitivity", "embed") and len(plain) > 1:
        order, cut = rng.permutation(len(plain)), int(rng.integers(1, len(plain)))
        again = getattr(model, method)(plain[order], **options)
        same(f"{method} in another order", arrays[0][order], again, about)
        again = getattr(model, method)(plain[:cut], **options)
        same(f"{method} of a part", arrays[0][:cut], again, about)
    return f"{method}: right"


def _poisoned(arrays: list[Any], given: Any, method: str, about: str) -> None:
    """Only `score` answers to rows that are not finite: nan there, numbers elsewhere."""
    a = np.asarray(given, np.float64)
    check(not np.ma.is_masked(given), "a mask was ignored", about)
    good = np.isfinite(a).all(axis=1)
    for found in arrays:
        values = np.asarray(found)
        ok = np.isfinite(values)
        if method == "score":
            ok = ok.all(axis=tuple(range(1, ok.ndim)))
            check((ok <= good).all(), "a number for a row that is not finite", about)
            beyond = abs(a).max(axis=1) > 3e38
            check(ok[good & ~beyond].all(), f"silent nan in {method}", about)
        else:
            check(ok.all(), f"silent nan in {method}", about)


def _options(rng: np.random.Generator, method: str, model: ft.Model, plain: np.ndarray) -> dict[str, Any]:
    n = len(plain)
    if method == "influence":
        return {"y": rng.normal(size=(n,) if model.flat_targets else (n, model.n_outputs))}
    if method == "curiosity" and rng.random() < 0.5:
        return {"variance": [0.5, rng.uniform(0, 2, n), np.zeros(n)][int(rng.integers(3))]}
    if method == "embed":
        kinds = [
            kind
            for kind, record in EMBEDDINGS.items()
            if not record.of_noise or "posterior" in model.tangents
        ]
        return {"kind": str(rng.choice(kinds))}
    if method == "posterior" and "posterior" in model.tangents:
        return {"samples": int(rng.integers(1, 17))}
    return {}


def select(ground: Ground) -> str:
    rng = ground.rng
    name = str(rng.choice(list(models())))
    model, known = models()[name]
    pool = np.vstack([_pool(rng, known), known[:3]])
    pool = pool[rng.permutation(len(pool))]
    strategy = str(rng.choice(list(STRATEGIES)))
    left = len(
        {row.tobytes() for row in pool} - {row.tobytes() for row in known}
    )  # of each kind of equals one
    k = int(rng.choice([1, min(left, 5), left] if rng.random() < 0.9 else [-1, 0, left + 1, len(pool) + 1]))
    good = 1 <= k <= left and (strategy not in NEED_A_TANGENT or "strength" in model.tangents)
    options: dict[str, Any] = {"strategy": strategy, "labeled": known, "seed": int(rng.integers(5))}
    if rng.random() < 0.1:
        options["prefilter"] = [None, 10, ("curiosity", 20), ("random", 3), (1, 2, 3), "all"][
            int(rng.integers(6))
        ]
    if rng.random() < 0.1:
        options["embedding"] = [*EMBEDDINGS, "none", 3][int(rng.integers(len(EMBEDDINGS) + 2))]
    if rng.random() < 0.1:
        options["weight"] = ["curiosity", "sensitivity", rng.uniform(0, 1, len(pool)), -1.0, "x"][
            int(rng.integers(5))
        ]
    if rng.random() < 0.1:
        options["targets"] = [pool[:2], known[:0], "x", pool[:, :1]][int(rng.integers(4))]
    which = str(rng.choice(["pool", "labeled"])) if rng.random() < 0.3 else ""
    poison, given = "", {"pool": pool, "labeled": options.pop("labeled")}
    if which:
        poison, given[which] = poisoned(rng, given[which])
    shown = {name: str(value)[:40] for name, value in options.items()}
    about = f"{name}, {strategy}, pool {pool.shape}, k {k}, {which} {poison}, {shown}"
    found = call(
        ft.select, model, given["pool"], k, about=about, names=NAMES, **options, labeled=given["labeled"]
    )
    if isinstance(found, Refused):
        if good and not poison and len(options) == 2:
            raise Wrong("good arguments of select refused", f"{found.error}; {about}")
        return "select: refused"
    picks = found.indices
    check(len(picks) == k == len(set(picks.tolist())), "picks twice or too few", about)
    rows_ = np.asarray(given["pool"], np.float64)
    check(((picks >= 0) & (picks < len(rows_))).all(), "picks outside of the pool", about)
    check(np.isfinite(rows_[picks]).all(), "a row that is not finite was picked", about)
    check(not any(np.ma.is_masked(a) for a in given.values()), "a mask was ignored", about)
    if not poison:
        check(not (pool[picks][:, None] == known[None]).all(axis=2).any(), "a labelled row was picked", about)
        again = ft.select(model, pool, k, **options, labeled=known, threads=3)
        same("picks with 3 threads", picks, again.indices, about)
    return f"select: {strategy}"
