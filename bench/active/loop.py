"""One run: a set, a seed and a method, from the initial labels to the last batch."""

from __future__ import annotations

import time
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

import numpy as np

import fasttangent as ft
from bench.active.data import INITIAL, Split, n_batches, seeds
from bench.active.methods import METHODS, Situation
from bench.peers.bmdal import Bmdal
from fasttangent.model import fit as fitting
from fasttangent.model.certificate import unmeasured

SETTINGS = {
    "hidden": (64, 64),
    "activation": "silu",
    "strength": 1e-3,
    "learning_rate": 1e-2,
    "epochs": 300,
    "batch_size": 32,
    "threads": 1,
}
STAGES = {
    "first": {"settle": False, "tangents": None},
    "settled": {"settle": 10.0, "tangents": "strength"},  # at most so many seconds
}
FIGURES = ("rmse", "mae", "q99")
FAILURES = (ValueError, ArithmeticError, RuntimeError, np.linalg.LinAlgError)  # of a method, not of this file


@dataclass(eq=False)
class Task:
    """A set and a seed; the initial network is the same for all methods and trained once."""

    name: str
    seed: int
    stage: str
    batch: int
    rows: Split
    bmdal: Bmdal | None = None

    def fit(self, X: np.ndarray, y: np.ndarray, seed: int) -> ft.Model:
        """The network of the benchmark; warnings speak of constant inputs and of tangents that did not settle."""
        with warnings.catch_warnings(), without_certificate(self.stage == "first"):
            warnings.simplefilter("ignore", UserWarning)
            return ft.fit(X, y, seed=seed, **SETTINGS, **STAGES[self.stage])

    @cached_property
    def initial(self) -> Trained:
        return self.train(np.arange(INITIAL), 0)

    def train(self, labeled: np.ndarray, step: int) -> Trained:
        """Raises DivergenceError, also where the errors on test rows are not finite."""
        start = time.perf_counter()
        model = self.fit(
            self.rows.X[labeled], self.rows.y[labeled], seeds(self.name, self.seed, step, "fit")[0]
        )
        seconds = time.perf_counter() - start
        return Trained(model, errors(model, self.rows), seconds)

    def choose(self, method: str, model: ft.Model, labeled: np.ndarray, step: int) -> np.ndarray:
        """Row numbers of the next batch among all rows."""
        rest = np.setdiff1d(np.arange(len(self.rows.X)), labeled)
        situation = Situation(
            model,
            self.rows.X[labeled],
            self.rows.y[labeled],
            self.rows.X[rest],
            self.batch,
            (self.name, self.seed, step),
            self.fit,
            self.bmdal,
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            picks = np.asarray(METHODS[method].pick(situation))
        if picks.shape != (self.batch,) or len(np.unique(picks)) != self.batch:
            raise ValueError(f"{method} returned {len(np.unique(picks))} different rows, not {self.batch}")
        return rest[picks]


@dataclass(frozen=True, eq=False)
class Trained:
    """A network, its errors on the test rows by name, and what it took."""

    model: ft.Model
    errors: dict[str, float]
    seconds: float


def errors(model: ft.Model, rows: Split) -> dict[str, float]:
    """In units of y."""
    off = abs(np.float64(model.predict(rows.X_test, threads=1)) - rows.y_test)
    found = (np.sqrt(np.mean(off**2)), np.mean(off), np.quantile(off, 0.99))
    if not np.isfinite(found).all():
        raise ft.DivergenceError("errors on test rows are not finite")
    return dict(zip(FIGURES, map(float, found), strict=True))


def run(task: Task, method: str, say: Callable[[str], None] = lambda message: None) -> dict:
    """The line of one method: errors after the initial fit and after each batch, seconds, and failures."""
    trained, labeled = task.initial, np.arange(INITIAL)
    history, selecting, failures = [trained], [], []
    for step in range(1, n_batches(len(task.rows.X), task.batch) + 1):
        start = time.perf_counter()
        try:
            picks = task.choose(method, trained.model, labeled, step)
        except FAILURES as error:
            if method == "random":
                raise
            failures.append(f"selection {step}: {type(error).__name__}: {error}"[:300])
            say(failures[-1])
            picks = task.choose("random", trained.model, labeled, step)
        selecting.append(time.perf_counter() - start)
        labeled = np.concatenate([labeled, picks])
        try:
            trained = task.train(labeled, step)
        except ft.DivergenceError as error:
            failures.append(f"training {step}: {error}"[:300])
            say(failures[-1])
        history.append(trained)
    return {
        "set": task.name,
        "seed": task.seed,
        "method": method,
        "stage": task.stage,
        "batch": task.batch,
        **{name: [float(f"{t.errors[name]:.7g}") for t in history] for name in FIGURES},
        "fit_seconds": [round(t.seconds, 4) for t in history],
        "select_seconds": [round(s, 4) for s in selecting],
        "stopped": [t.model.training["stopped"] for t in history] if task.stage == "settled" else [],
        "picks": zlib.crc32(labeled.astype(np.int64).tobytes()),
        "failures": failures,
    }


@contextmanager
def without_certificate(wanted: bool) -> Iterator[None]:
    """First-stage fits without their certificate, which says nothing here and would take thrice the training."""
    certify = fitting.certify
    if wanted:
        fitting.certify = lambda *_, **__: unmeasured("not measured: a benchmark of first-stage models")
    try:
        yield
    finally:
        fitting.certify = certify
