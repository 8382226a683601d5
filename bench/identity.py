"""Cases of what a user can see, as digests of every bit: run in two checkouts and compare.

    python bench/identity.py > before.txt    # with one checkout on the path
    python bench/identity.py > after.txt     # with another, on the same machine
    diff before.txt after.txt

`python -m bench identity` is the same.  The file needs nothing else of the bench and of fasttangent only what is
public, so it runs beside an older checkout too.

A change of structure must leave every line as it is.  Digests hold for one kind of processor and one set of versions.
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

import fasttangent as ft

CASES: dict[str, Callable[[], Any]] = {}
TIMED = {"seconds", "history", "training"}  # attributes that a clock decides
LATER = {"curvature_rows"}  # and those that an older checkout lacks, left out where they say nothing


def case(function: Callable[[], Any]) -> Callable[[], Any]:
    CASES[function.__name__] = function
    return function


def parts(value: Any) -> Iterator[bytes]:
    """Every bit of a result, in order."""
    if isinstance(value, np.ndarray):
        yield f"{value.dtype.str}{value.shape}".encode()
        yield np.ascontiguousarray(value).tobytes()
    elif isinstance(value, dict):
        for name in sorted(value):
            yield str(name).encode()
            yield from parts(value[name])
    elif isinstance(value, (list, tuple)):
        for one in value:
            yield from parts(one)
    elif isinstance(value, ft.Model):
        yield from parts([value.params, value.tangents, value.slope_squared, value.noise, value.certificate])
    elif is_dataclass(value):
        for field in fields(value):
            untold = field.name in LATER and getattr(value, field.name) is None
            if field.name not in TIMED and not field.name.startswith("_") and not untold:
                yield field.name.encode()
                yield from parts(getattr(value, field.name))
    else:
        yield repr(value).encode()


def digest(value: Any) -> str:
    found = hashlib.sha256()
    for part in parts(value):
        found.update(part)
    return found.hexdigest()[:24]


def rows(n: int, seed: int, d: int = 4) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d)) * [1, 20, 0.03, 5][:d] + [0, 5, -1, 100][:d]
    Z = (X - [0, 5, -1, 100][:d]) / [1, 20, 0.03, 5][:d]
    return X, 40 + 10 * (np.sin(Z[:, 0]) + 0.5 * Z[:, 1] * Z[:, 2] + 0.1 * rng.normal(size=n))


X, y = rows(120, 0)
TWO = np.column_stack([y, np.cos(X[:, 0])])
WEIGHTS = np.random.default_rng(1).uniform(0.2, 2, len(X))
POOL, _ = rows(3000, 2)
POOL[[5, 700], 1] = np.nan
POOL[900:920] = POOL[:20]
CLEAN, TRUTH = rows(2000, 3)


@cache
def posterior_model() -> ft.Model:
    return ft.fit(
        X, y, hidden=(12, 8), strength=1e-2, epochs=60, tangents=("strength", "posterior"), samples=64
    )


@cache
def double_model() -> ft.Model:
    return ft.fit(X, y, hidden=(6,), strength=2e-2, epochs=40, dtype="float64")


@case
def fit_posterior() -> Any:
    return posterior_model()


@case
def fit_float64() -> Any:
    return double_model()


@case
def fit_two_outputs_weighted() -> Any:
    return ft.fit(X, TWO, hidden=(8,), activation="gelu", loss="huber", sample_weight=WEIGHTS, strength=1e-2,
                  optimizer="momentum", epochs=50)  # fmt: skip


@case
def fit_early_stopping() -> Any:
    return ft.fit(X, y, hidden=(10,), activation="silu", complexity="l2-weights", validation=0.2, patience=5,
                  strength=1e-2, loss="log-cosh")  # fmt: skip


@case
def fit_without_settling() -> Any:
    return ft.fit(X, y, hidden=(16, 16), settle=False, curvature="hessian", optimizer="sgd", epochs=30)


@case
def fit_warm_and_plain() -> Any:
    warm = ft.fit(
        X[:100], y[:100], hidden=(6,), strength=2e-2, epochs=10, dtype="float64", start=double_model()
    )
    return warm, ft.fit(X, y, hidden=(), tangents=None, strength=0.1, epochs=20, standardize=True)


@case
def fit_many() -> Any:
    return ft.fit_many([{"X": X, "y": y, "hidden": (5,), "seed": s, "strength": 0.02} for s in range(3)])


@case
def members() -> Any:
    found = ft.fit(
        X, y, hidden=(5,), strength=0.02, epochs=40, members=3, tangents=("strength", "posterior"), samples=30
    )
    scores = found.score(POOL), found.predict(CLEAN, return_std=True), found.influence(CLEAN, TRUTH)
    picks = [ft.select(found, CLEAN, 9, strategy=name, labeled=X) for name in ("error", "lcmd", "top")]
    return found.models, scores, found.embed(CLEAN, "error"), found.posterior(CLEAN[:50]), picks


@case
def scores_with_gaps() -> Any:
    return (
        posterior_model().score(POOL),
        double_model().score(POOL.astype(np.float32)),
        posterior_model().score(POOL[:, ::1][::-2]),
    )


@case
def scores_by_name() -> Any:
    plain = (
        posterior_model().sensitivity(CLEAN),
        posterior_model().curiosity(CLEAN),
        posterior_model().influence(CLEAN, TRUTH),
    )
    with_noise = (
        posterior_model().curiosity(CLEAN, "posterior"),
        posterior_model().predict(CLEAN, return_std=True),
    )
    return plain, with_noise, posterior_model().posterior(CLEAN[:50], 7)


@case
def embeddings() -> Any:
    return [
        posterior_model().embed(CLEAN, kind) for kind in ("posterior", "error", "gradient", "hidden", "input")
    ]


@case
def select_every_strategy() -> Any:
    from itertools import product

    names = [
        "error",
        "variance",
        "bait",
        "maxdet",
        "lcmd",
        "kmeans++",
        "kcenter",
        "greedy-x",
        "greedy-y",
        "sample",
        "top",
        "egl",
        "random",
    ]
    return [
        ft.select(posterior_model(), POOL, 20, strategy=s, labeled=k, seed=7)
        for s, k in product(names, (None, X))
    ]


@case
def select_with_settings() -> Any:
    how = [{"strategy": "variance", "embedding": "gradient", "labeled": X},
           {"strategy": "error", "targets": CLEAN[:99]},
           {"strategy": "lcmd", "weight": "sensitivity"}, {"strategy": "kmeans++", "weight": abs(TRUTH)},
           {"strategy": "error", "prefilter": ("curiosity", 300)}, {"strategy": "maxdet", "prefilter": 200},
           {"strategy": "sample", "weight": "sensitivity"}]  # fmt: skip
    return [ft.select(posterior_model(), CLEAN, 16, seed=3, **one) for one in how]


@case
def exact_influence() -> Any:
    found = ft.exact(double_model(), X, y)
    return found.influence(CLEAN[:40], TRUTH[:40]), found.leave_one_out(), found.self_influence(X, y)


@case
def refits() -> Any:
    changes = [ft.Change.leave_out(i) for i in range(6)]
    return ft.refit(double_model(), X, y, changes, at=CLEAN[:5], keep_params=True), ft.refit_curves(
        double_model(), X, y, changes[:2]
    )


@case
def unlearned() -> Any:
    return ft.unlearn(double_model(), X, y, remove=[3, 4])


@case
def learned_loss() -> Any:
    head = ft.learning_loss(posterior_model(), X, y, epochs=20, folds=3)
    return head.params, head.level, head.temperature, head.predict(CLEAN)


@case
def learned_loss_jointly() -> Any:
    model, head = ft.fit_with_learning_loss(X, y, hidden=(8, 8), epochs=20)
    return model, head.params, head.predict(CLEAN)


@case
def loop() -> Any:
    learner = ft.ActiveLearner(
        CLEAN, oracle=TRUTH, batch=10, budget=40, fit={"hidden": (6,), "strength": 0.02, "epochs": 40}, seed=4
    )
    learner.run()
    return [record["rows"] for record in learner.history], learner.model


@case
def saved() -> Any:
    with tempfile.TemporaryDirectory() as folder:
        posterior_model().save(Path(folder) / "m.npz")
        again = ft.load(Path(folder) / "m.npz")
    return again, again.summary()["objective"], again.predict(CLEAN)


@case
def command_line() -> Any:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        np.savetxt(folder / "d.csv", np.column_stack([X, y]), delimiter=",", header="a,b,c,d,y", comments="")
        np.savetxt(folder / "p.csv", CLEAN, delimiter=",", header="a,b,c,d", comments="")

        def run(*words: object) -> None:
            subprocess.run([sys.executable, "-m", "fasttangent", *map(str, words)], check=True, cwd=folder,
                           capture_output=True)  # fmt: skip

        run(
            "fit",
            "d.csv",
            "--target",
            "y",
            "-o",
            "m.npz",
            "--hidden",
            "6",
            "--strength",
            "0.02",
            "--epochs",
            "40",
        )
        run("score", "m.npz", "p.csv", "-o", "s.csv")
        for strategy in ("error", "lcmd", "top", "sample", "random"):
            run(
                "select",
                "m.npz",
                "p.csv",
                "-k",
                "9",
                "-o",
                f"{strategy}.csv",
                "--labeled",
                "d.csv",
                "--strategy",
                strategy,
            )
        return {path.name: path.read_text() for path in sorted(folder.glob("*.csv"))}


def main() -> None:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog=sys.argv[0], description=__doc__, formatter_class=form)
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"all if none is named: {', '.join(CASES)}")
    warnings.simplefilter("ignore")
    for name in parser.parse_args().cases or CASES:
        print(f"{name:28}{digest(CASES[name]())}", flush=True)


if __name__ == "__main__":
    main()
