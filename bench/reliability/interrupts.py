"""SIGINT at a random moment of a call of the library: it ends, says so, and the next call is as if nothing had been."""

from __future__ import annotations

import functools
import hashlib
import os
import signal
import threading
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

import fasttangent as ft
from bench.reliability.case import Ground, check

_RNG = np.random.default_rng(0)
X, POOL = _RNG.normal(size=(300, 3)), _RNG.normal(size=(200_000, 3))
Y = np.sin(X[:, 0]) + X[:, 1] * X[:, 2] + 0.1 * _RNG.normal(size=300)
FIT: dict[str, Any] = {"hidden": (16, 16), "epochs": 30, "strength": 1e-2, "threads": 2}
MANY = [
    {"X": X, "y": y, **{name: value for name, value in FIT.items() if name != "threads"}}
    for y in (Y, Y**2, -Y)
]


@functools.cache
def model() -> ft.Model:
    return ft.fit(X, Y, **FIT)


@functools.cache
def posterior() -> ft.Model:
    return model().with_posterior(X, Y, samples=64)


def _campaign() -> list[int]:
    fit = {"hidden": (16, 16), "epochs": 5, "strength": 1e-2}
    settings = {"fit": fit, "batch": 5, "budget": 15, "threads": 2}
    learner = ft.ActiveLearner(POOL[:2000], oracle=lambda rows: rows[:, 0], **settings).run()
    if learner.stopped == "interrupted":
        raise KeyboardInterrupt
    return [int(row) for row in learner.campaign.state.labels]


CALLS: dict[str, Callable[[], Any]] = {
    "fit": lambda: ft.fit(X, Y, **FIT),
    "fit with noise": lambda: ft.fit(X, Y, **{**FIT, "tangents": ("strength", "posterior"), "samples": 64}),
    "fit_many": lambda: [one.params for one in ft.fit_many(MANY, threads=2)],
    "predict": lambda: model().predict(POOL, threads=2),
    "score": lambda: model().score(POOL, threads=2).curiosity,
    "embed": lambda: posterior().embed(POOL[:50_000], "posterior", threads=2),
    "with_posterior": lambda: model().with_posterior(X, Y, samples=64).tangents["posterior"],
    "select": lambda: ft.select(posterior(), POOL[:20_000], 20, labeled=X, threads=2).indices,
    "select by distance": lambda: ft.select(model(), POOL[:50_000], 20, strategy="lcmd", labeled=X).indices,
    "learning_loss": lambda: ft.learning_loss(model(), X, Y, threads=2).params,
    "ActiveLearner.run": _campaign,
}


def case(ground: Ground) -> str:
    rng = ground.rng
    name = str(rng.choice(list(CALLS)))
    expected, seconds = _undisturbed(name)
    moment = float(rng.uniform(0, 1.1 * seconds))
    about = f"{name}, SIGINT after {moment:.3f} of about {seconds:.3f} s"
    how, found = _interrupted(CALLS[name], moment)
    if how == "ended":
        check(digest(found) == expected, "another result after SIGINT, without a word", about)
    check(digest(quietly(CALLS[name])) == expected, "another result in the call after SIGINT", about)
    return f"SIGINT in {name}: {how}"


def _interrupted(call: Callable[[], Any], moment: float) -> tuple[str, Any]:
    """How a call ended while SIGINT was on its way, and what it returned."""

    def strike() -> None:
        time.sleep(moment)
        os.kill(os.getpid(), signal.SIGINT)

    found, how, striker = None, "interrupted", threading.Thread(target=strike, daemon=True)
    try:
        try:
            striker.start()
            found = quietly(call)
            how = "interrupted, a model that says so" if getattr(found, "interrupted", False) else "ended"
        finally:
            striker.join()  # the signal may come here, too
            time.sleep(0.01)
    except KeyboardInterrupt:
        striker.join()
    return how, found


def quietly(call: Callable[[], Any]) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return call()


@functools.cache
def _undisturbed(name: str) -> tuple[str, float]:
    """The digest of a call's result, and about how long it takes."""
    found = digest(quietly(CALLS[name]))
    began = time.monotonic()
    quietly(CALLS[name])
    return found, time.monotonic() - began


def digest(found: Any) -> str:
    if isinstance(found, ft.Model):
        found = [found.params, *found.tangents.values()]
    parts = found if isinstance(found, list) else [found]
    return hashlib.sha256(b"".join(np.ascontiguousarray(part).tobytes() for part in parts)).hexdigest()
