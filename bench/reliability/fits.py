"""A random `fit`, with good arguments, with arrays in disguise, with poisoned ones, or with a bad word."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

import fasttangent as ft
from bench.reliability.arrays import disguised, poisoned
from bench.reliability.case import Ground, Wrong, check
from bench.reliability.judge import Refused, call, finite, same

GOOD: dict[str, tuple] = {
    "activation": ("tanh", "silu", "relu", "softplus", "gelu", "identity"),
    "loss": ("squared", "huber", "log-cosh"),
    "delta": (0.1, 1.0, 30),
    "strength": ("auto", 0, 1e-8, 1e-3, 0.1, 10),
    "groups": ("inputs", "layers", "one"),
    "complexity": ("l2", "l2-weights"),
    "optimizer": ("adam", "momentum", "sgd"),
    "learning_rate": (None, 1e-3),
    "momentum": (0, 0.5, 0.9),
    "epochs": (0, 1, 5, np.int64(3)),
    "batch_size": (1, 7, 64, 10**9),
    "tangents": ("strength", None, "posterior", ("strength", "posterior"), ("groups",), []),
    "samples": (2, 8),
    "curvature": ("gauss-newton", "hessian"),
    "settle": (True, False, 0),
    "standardize": (True, False),
    "validation": (None, 0.3),
    "patience": (1, 20),
    "dtype": ("float32", "float64"),
    "seed": (0, 12345678901234567890),
}
BAD: dict[str, tuple] = {
    "hidden": (3, "3", (0,), (-1,), (2.5,), None, (np.nan,), ("a",), ((1,),), True, {2: 3}),
    "activation": (None, "tan", 3, b"tanh", ["tanh"], ""),
    "loss": (None, "l2", 0),
    "delta": (0, -1, np.nan, np.inf, "1", None, 10**400, [1.0], 1j),
    "strength": (
        -1e-9,
        np.nan,
        np.inf,
        "0.1",
        None,
        True,
        10**400,
        [1e-3, 1e-2],
        np.array([1.0, 2.0]),
        {},
        {"a": 1},
    ),
    "groups": (3, None, "rows", [], [0, 2], [0.5], [[0, 1]], [0, 1], {}, ["inputs"], True, np.array(["a"])),
    "complexity": (None, "l1", 2),
    "optimizer": ("lbfgs", None, len),
    "learning_rate": (0, -1, np.nan, np.inf, "fast", 1e300),
    "momentum": (1, -0.1, 2, np.nan, None, "0.9"),
    "epochs": (-1, 1.5, "5", None, np.nan, True),
    "batch_size": (0, -3, 2.0, None, "64"),
    "tangents": ("both", 3, ("strength", 3), {"strength": 1}, True, ("strength", "strength"), b"strength"),
    "samples": (0, 1, -5, None, 2.5, "many"),
    "curvature": (None, "hesse", 1),
    "settle": (-1, "yes", None, np.nan, -np.inf, [True]),
    "standardize": (None, 1, "no", np.array([True, False])),
    "validation": (0, 1, -0.1, 2, np.nan, "a third", True, 1e-9),
    "patience": (0, -1, 1.5, None),
    "start": (3, "m.npz", np.zeros(5), {}),
    "dtype": (None, "float16", np.float32, float, "f4", 32),
    "seed": (-1, 1.5, "0", None, np.nan, True),
    "threads": (0, -1, 1.5, "2", True),
    "progress": (3, "yes"),
    "feature_names": (["a"], "abc", 3, ["a", "a"], [None, None]),
    "sample_weight": ("w", 3.0, [], [1.0], {}),
}


def rows(rng: np.random.Generator, n: int, d: int) -> np.ndarray:
    """Rows in odd units."""
    return rng.normal(size=(n, d)) * 10.0 ** rng.integers(-3, 4, d) + 10.0 ** rng.integers(-3, 2, d)


def fit(ground: Ground) -> str:
    rng = ground.rng
    n, d, m = int(rng.choice([2, 3, 5, 17, 64, 65, 130])), int(rng.integers(1, 6)), int(rng.integers(1, 3))
    X = rows(rng, n, d)
    Z = (X - X.mean(axis=0)) / X.std(axis=0)
    y = np.sin(Z[:, :1]) + 0.3 * rng.normal(size=(n, m))
    y = y[:, 0] if m == 1 and rng.random() < 0.7 else y
    options = options_of(rng, n)
    poisons, given = [], {"X": X, "y": y}
    for name in ("X", "y", "sample_weight"):
        if name == "sample_weight" and rng.random() < 0.7:
            continue
        a = given.get(name, rng.uniform(0.5, 2, n))
        if rng.random() < 0.2:
            poison, given[name] = poisoned(rng, a)
            poisons.append(f"{name}: {poison}")
        else:
            given[name] = a
    if rng.random() < 0.2:
        name = str(rng.choice(list(BAD)))
        options[name] = BAD[name][int(rng.integers(len(BAD[name])))]
        poisons.append(f"{name}={options[name]!r}"[:100])
    about = f"n {n}, d {d}, y {y.shape}, {', '.join(poisons) or 'good'}; {options}"
    disguises = {}
    for name, a in list(given.items()):
        if isinstance(a, np.ndarray) and type(a) is np.ndarray and not poisons and rng.random() < 0.4:
            disguises[name], given[name] = disguised(rng, a, ground.place)
    about = f"{about}, {disguises}"
    X_given, y_given = given.pop("X"), given.pop("y")
    model = call(ft.fit, X_given, y_given, about=about, **{**given, **options})
    if isinstance(model, Refused):
        diverged = isinstance(model.error, ft.DivergenceError)
        undetermined = isinstance(model.error, ft.IndefiniteError) and (
            options.get("complexity") == "l2-weights" or options.get("strength") in (0, 1e-8)
        )
        if not poisons and not diverged and not undetermined:
            raise Wrong("good arguments of fit refused", f"{model.error}; {about}")
        return "fit: diverged, said so" if diverged else "fit: refused"
    _check_model(model, X if any(p.startswith("X") for p in poisons) else X_given, X, about)
    if not poisons:
        weights = {"sample_weight": np.asarray(given["sample_weight"])} if "sample_weight" in given else {}
        again = call(ft.fit, X, y, about=about, **{**weights, **options, "threads": 3})
        if isinstance(again, Refused):
            raise Wrong("good arguments of fit refused the second time", f"{again.error}; {about}")
        same("fit of plain rows with 3 threads", model.params, again.params, about)
        for name, tangent in model.tangents.items():
            same(f"tangent {name} of plain rows with 3 threads", tangent, again.tangents[name], about)
    return "fit: poisoned, a finite model" if poisons else "fit: right"


def options_of(rng: np.random.Generator, n: int) -> dict[str, Any]:
    """Good ones, some of them."""
    options: dict[str, Any] = {
        "hidden": tuple(int(h) for h in rng.integers(1, 12, int(rng.integers(0, 3)))),
        "epochs": 3,
        "settle": bool(rng.integers(2)),
        "threads": 1,
        "samples": 8,
    }
    for name, values in GOOD.items():
        if rng.random() < 0.3:
            options[name] = values[int(rng.integers(len(values)))]
    if n < 8:
        options.pop("validation", None)
    return options


def _check_model(model: ft.Model, X: Any, plain: np.ndarray, about: str) -> None:
    """Finite numbers of the right shape, that do not depend on order, chunks or threads; and a summary."""
    finite("parameters", model.params, about)
    for name, tangent in model.tangents.items():
        finite(f"tangent {name}", tangent, about)
    json.dumps(model.summary(), default=str)
    n = len(plain)
    if model.n_features != plain.shape[1]:
        return
    found = call(model.predict, X, about=about)
    if isinstance(found, Refused):  # beyond the range of float32
        return
    shape = (n,) if model.flat_targets else (n, model.n_outputs)
    found = finite("predictions", found, about, shape)
    again = call(model.predict, plain, about=about, threads=2)
    if found is not again and X is not plain:
        same("predictions of rows in disguise", found, again, about)
    order = np.random.default_rng(0).permutation(n)
    same("predictions in another order", found[order], model.predict(plain[order]), about)
    same("the prediction of one row", found[-1:], model.predict(plain[-1:]), about)
    check(model.certificate.trusted or model.certificate.reasons, "no reason for mistrust", about)
