"""Every public call once, on data large enough for BLAS to share: what came out, and what its threads did meanwhile.

    python public_calls.py BLAS_THREADS THREADS [CALL ...]

A line of JSON for each call whose name begins with a CALL, or for all: its name, a digest of every bit of the result,
how often threads of BLAS were woken, and the limits on BLAS afterwards.  The first line is of calls of BLAS that nobody
holds to one thread.
"""

import hashlib
import json
import sys
import threading
import time
import warnings
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path

import numpy as np
import scipy.linalg
from threadpoolctl import ThreadpoolController, threadpool_limits

import fasttangent as ft
from fasttangent.active.strategies.table import STRATEGIES
from fasttangent.common import forked
from fasttangent.solvers import SOLVERS
from fasttangent.solvers.preconditioners import PRECONDITIONERS

BLAS, THREADS, WANTED = int(sys.argv[1]), int(sys.argv[2]), tuple(sys.argv[3:]) or ("",)
TIMED = {"seconds", "history", "training"}  # attributes that a clock decides
LIBRARIES = ThreadpoolController().select(user_api="blas").lib_controllers
threadpool_limits(BLAS, user_api="blas")
TASKS = Path("/proc/self/task")
forked.possible = lambda n: (
    False
)  # a fork ends the threads of BLAS; small fits then share threads, as elsewhere
BY_BLAS = [task for task in TASKS.iterdir() if task.name != str(threading.get_native_id())]


def parts(value):
    """Every bit of a result, in order."""
    if isinstance(value, np.ndarray):
        yield f"{value.dtype.str}{value.shape}".encode() + np.ascontiguousarray(value).tobytes()
    elif isinstance(value, dict | list | tuple):
        for one in sorted(value.items()) if isinstance(value, dict) else value:
            yield from parts(one)
    elif isinstance(value, ft.Model):
        yield from parts([value.params, value.tangents, value.slope_squared, value.noise, value.certificate])
    elif is_dataclass(value):
        for field in fields(value):
            if field.name not in TIMED and not field.name.startswith("_"):
                yield from parts(getattr(value, field.name))
    else:
        yield repr(value).encode()


def wakes():
    """How often threads of BLAS have been woken, once all of them sleep: for a while they wait with open eyes."""
    before = None
    while True:
        texts = [(task / "status").read_text() for task in BY_BLAS]
        lines = [line.split() for text in texts for line in text.splitlines()]
        total = sum(int(words[1]) for words in lines if words[0].endswith("ctxt_switches:"))
        if total == before and not any(words[:2] == ["State:", "R"] for words in lines):
            return total
        before = total
        time.sleep(0.03)


def report(name, function):
    before = wakes()
    digest = hashlib.sha256(b"".join(parts(function()))).hexdigest()
    limits = sorted({one.num_threads for one in LIBRARIES})
    print(json.dumps([name, digest[:24], wakes() - before, limits]), flush=True)


def unheld():
    A = np.random.default_rng(0).normal(size=(600, 600))
    return (A @ A).shape, scipy.linalg.eigh(A + A.T)[0].shape


def rows(n, d, seed):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d))
    return X, np.sin(X[:, 0]) + 0.5 * X[:, 1] * X[:, 2] + 0.1 * rng.normal(size=n)


X, y = rows(150, 40, 0)
POOL, TRUTH = rows(900, 40, 1)
NETWORK = {"strength": 0.02, "epochs": 20}
HOW = {"threads": THREADS}


@cache
def wide():
    return ft.fit(
        X, y, hidden=(256,), settle=False, tangents=("strength", "posterior"), samples=200, **NETWORK, **HOW
    )


@cache
def small(**settings):
    """Of 447 parameters: more than have their eigenvalues computed, few enough for every solver."""
    return ft.fit(X, y, hidden=(10, 3), dtype="float64", **NETWORK, **HOW, **settings)


@cache
def members():
    return ft.fit(
        X, y, hidden=(40,), members=3, tangents=("strength", "posterior"), samples=90, **NETWORK, **HOW
    )


def flat():
    return small(complexity="l2-weights")


def exact(model, solver, **options):
    try:
        truth = ft.exact(model, X, y, solver=solver, **HOW, **options)
        return (
            truth.influence(POOL[:200], TRUTH[:200]),
            truth.leave_one_out(),
            truth.influence_on_predictions(X, y, POOL[:40]),
        )
    except ft.IndefiniteError as error:
        return str(error)


@cache
def head():
    return ft.learning_loss(wide(), X, y, epochs=5, folds=2, **HOW)


def campaign():
    learner = ft.ActiveLearner(
        POOL, X, y, oracle=TRUTH, batch=10, budget=20, fit={"hidden": (8,), **NETWORK}, **HOW
    )
    learner.run()
    return [record["rows"] for record in learner.history], learner.model


CHANGES = [ft.Change.leave_out(list(range(100))), ft.Change.add(POOL[0], 5.0)]

FITS = {
    "fit wide": wide,
    "fit small": small,
    "fit l2-weights": flat,
    "fit relu": lambda: ft.fit(
        X, np.column_stack([y, -y]), hidden=(40,), activation="relu", **NETWORK, **HOW
    ),
    "fit members": members,
    "fit warm": lambda: ft.fit(
        POOL[:99] + 0.1, TRUTH[:99], hidden=(256,), settle=False, start=wide(), **NETWORK, **HOW
    ),
    "fit_many": lambda: ft.fit_many([{"X": X, "y": y, "hidden": (8,), **NETWORK}] * 2, **HOW),
    "fit_with_learning_loss": lambda: (
        ft.fit_with_learning_loss(X, y, hidden=(64,), epochs=5, **HOW)[1].params
    ),
}

SCORES = {
    "with_posterior": lambda: small().with_posterior(X, y, samples=64, **HOW),
    "score": lambda: wide().score(POOL, **HOW),
    "predict": lambda: wide().predict(POOL, return_std=True, **HOW),
    "curiosity": lambda: wide().curiosity(POOL, "posterior", **HOW),
    "influence": lambda: wide().influence(POOL, TRUTH, **HOW),
    "posterior": lambda: wide().posterior(POOL, **HOW),
    "members": lambda: (
        members().score(POOL, **HOW),
        members().predict(POOL, return_std=True, **HOW),
        members().curiosity(POOL, "posterior", **HOW),
        members().influence(POOL, TRUTH, **HOW),
        members().posterior(POOL, **HOW),
        members().embed(POOL, "error", **HOW),
        members().with_posterior(X, y, samples=30, **HOW),
    ),
    "learning_loss": lambda: head().params,
    "loss_ranking": lambda: ft.loss_ranking(head().predict(POOL), abs(TRUTH)),
    **{
        f"embed {kind}": lambda kind=kind: wide().embed(POOL, kind, **HOW)
        for kind in ("posterior", "error", "gradient", "hidden", "input")
    },
}

SELECTIONS = {
    **{
        f"select {name}{how}": lambda name=name, known=known: ft.select(
            wide(), POOL, 120, strategy=name, labeled=known, **HOW
        )
        for name in STRATEGIES
        for how, known in (("", None), (" labeled", X))
    },
    "select members": lambda: [
        ft.select(members(), POOL, 60, strategy=name, labeled=X, **HOW) for name in ("error", "lcmd", "egl")
    ],
    "select variance gradient": lambda: ft.select(
        wide(), POOL, 20, strategy="variance", embedding="gradient", labeled=X, **HOW
    ),
}

INFLUENCES = {
    **{
        f"exact {solver}": lambda solver=solver: exact(
            small(), solver, curvature="gauss-newton" if solver == "dual" else "hessian"
        )
        for solver in SOLVERS
    },
    **{
        f"exact {solver} {name}": lambda solver=solver, name=name: exact(small(), solver, preconditioner=name)
        for solver in ("cg", "block-cg")
        for name in PRECONDITIONERS
    },
    "exact spectrum l2-weights": lambda: exact(flat(), "spectrum"),
    "exact refused": lambda: exact(small(settle=False), "cholesky"),
    "refit": lambda: ft.refit(small(), X, y, CHANGES, keep_params=True, **HOW),
    "refit_curves": lambda: ft.refit_curves(small(), X, y, CHANGES, **HOW),
    "perturbations": lambda: [
        of.of_predictions(ft.exact(small(), X, y, **HOW), POOL[:9])
        for of in (
            ft.Perturbation.labels(),
            ft.Perturbation.weights(),
            ft.Perturbation.input_scales(),
        )
    ],
    "hypergradient": lambda: [
        ft.hypergradient(small(), X, y, criterion, folds=3, **HOW)
        for criterion in ("evidence", "leave-one-out", "folds")
    ],
    "jackknife": lambda: ft.jackknife(ft.exact(small(), X, y, **HOW), POOL[:9]),
    "unlearn": lambda: ft.unlearn(small(), X, y, remove=[3, 4], **HOW),
    "fidelity": lambda: [
        row._replace(seconds=0.0, memory=0)
        for row in ft.fidelity(
            X, y, hidden=(8,), strength=0.05, epochs=20, candidates=200, refits=10, **HOW
        ).rows
    ],
    "ActiveLearner": campaign,
}


def main():
    warnings.simplefilter("ignore")
    report("unheld", unheld)
    calls = {**FITS, **SCORES, **SELECTIONS, **INFLUENCES}
    wanted = [name for name in calls if name.startswith(WANTED)]
    if not set(wanted) & FITS.keys():
        wide(), small(), flat(), small(settle=False), members()  # models are what these calls begin with
    for name in wanted:
        report(name, calls[name])


if __name__ == "__main__":
    main()
