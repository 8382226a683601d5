"""The methods that choose batches, each from a trained network and all that it asks for beside it.

What a method asks for (tangents, further networks, heads) is made when it selects, so that it is charged for it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

import fasttangent as ft
from bench.active.data import seeds
from bench.peers.bmdal import Bmdal
from fasttangent.model.posterior import gauss_newton_solver

SAMPLES = 384  # tangents of noise
SUBSET = 10  # candidates for each pick from which learned losses take the highest
MEMBERS, FOLDS = 5, 5


@dataclass(frozen=True, eq=False)
class Situation:
    """What there is when a batch is to be chosen."""

    model: ft.Model
    X: np.ndarray  # labelled rows
    y: np.ndarray
    candidates: np.ndarray
    k: int
    where: tuple[str, int, int]  # set, seed, step
    fit: Callable[..., ft.Model]  # (X, y, seed) -> a network like the model
    bmdal: Bmdal | None

    def seed(self, stream: str) -> int:
        return seeds(*self.where, stream)[0]

    def rng(self, stream: str) -> np.random.Generator:
        return np.random.default_rng(self.seed(stream))

    def select(self, model: ft.Model, rows: np.ndarray | None = None, **options) -> np.ndarray:
        """Numbers of the picked candidates, among `rows` of them if given."""
        pool = self.candidates if rows is None else self.candidates[rows]
        picks = ft.select(
            model, pool, self.k, seed=self.seed("select"), threads=1, prefilter=None, **options
        ).indices
        return picks if rows is None else rows[picks]


@dataclass(frozen=True)
class Method:
    """A name in the tables and how its batches are chosen."""

    name: str
    pick: Callable[[Situation], np.ndarray]
    group: str = (
        "strategies"  # "strategies", "learned losses", "bmdal": what is run first, and what needs more
    )


def with_tangents(situation: Situation, kinds: tuple[str, ...]) -> ft.Model:
    """The model with tangents solved with the Gauss-Newton matrix; those a settled model has are kept."""
    model = situation.model
    if "strength" in kinds and "strength" not in model.tangents:
        problem = model.problem(situation.X, situation.y, threads=1)
        solver = gauss_newton_solver(problem, model.params)
        tangent = -solver.solve(problem.complexity_gradient(model.params)[None]).x[0]
        model = replace(model, tangents={**model.tangents, "strength": tangent})
    if "posterior" in kinds:
        model = model.with_posterior(
            situation.X, situation.y, samples=SAMPLES, seed=situation.seed("select"), threads=1
        )
    return model


def strategy(
    name: str, embedding: str | None = None, tangents: tuple[str, ...] = (), weight: str | None = None
) -> Callable[[Situation], np.ndarray]:
    """A strategy of `fasttangent.select` as it is."""

    def pick(situation: Situation) -> np.ndarray:
        options = {"embedding": embedding} if embedding else {}
        return situation.select(
            with_tangents(situation, tangents),
            strategy=name,
            weight=weight,
            labeled=situation.X,
            **options,
        )

    return pick


def permuted(situation: Situation) -> np.ndarray:
    """Sampled by curiosities that belong to other candidates."""
    scores = with_tangents(situation, ("strength",)).curiosity(situation.candidates, threads=1)
    scores = situation.rng("permutation").permutation(scores)
    return situation.select(situation.model, strategy="sample", weight=scores, labeled=situation.X)


def learned(kind: str, how: str) -> Callable[[Situation], np.ndarray]:
    """By predicted losses: the highest of a random subset, or as probabilities, or as weights of distances."""

    def pick(situation: Situation) -> np.ndarray:
        head = ft.learning_loss(
            situation.model,
            situation.X,
            situation.y,
            method=kind,
            folds=FOLDS,
            seed=situation.seed("head"),
            threads=1,
        )
        predicted = head.predict(situation.candidates, threads=1)
        if how == "top":
            rows = situation.rng("subset").permutation(len(predicted))[: SUBSET * situation.k]
            return situation.select(situation.model, rows, strategy="top", weight=predicted[rows])
        options = {"embedding": "gradient"} if how == "kmeans++" else {}
        return situation.select(
            situation.model, strategy=how, weight=predicted, labeled=situation.X, **options
        )

    return pick


def ensemble(how: str) -> Callable[[Situation], np.ndarray]:
    """By the variance of five networks' predictions."""

    def pick(situation: Situation) -> np.ndarray:
        others = seeds(*situation.where, "ensemble", MEMBERS - 1)
        members = [situation.model, *(situation.fit(situation.X, situation.y, seed) for seed in others)]
        variance = np.var([np.float64(m.predict(situation.candidates, threads=1)) for m in members], axis=0)
        return situation.select(situation.model, strategy=how, weight=variance, labeled=situation.X)

    return pick


def bmdal(situation: Situation) -> np.ndarray:
    if situation.bmdal is None:
        raise RuntimeError("bmdal-lcmd needs --bmdal PYTHON, that of an environment with bmdal_reg")
    return situation.bmdal.lcmd(
        situation.model, situation.candidates, situation.X, situation.k, situation.seed("select")
    )


STRENGTH, NOISE = ("strength",), ("posterior",)
LEARNED = {"ll": "learning-loss", "ll++": "learning-loss++"}
METHODS = {
    method.name: method
    for method in (
        Method("random", strategy("random")),
        Method("lcmd", strategy("lcmd", "gradient")),
        Method("variance", strategy("variance", "posterior", NOISE)),
        Method("error", strategy("error", None, NOISE)),
        Method("maxdet", strategy("maxdet", "posterior", NOISE)),
        Method("bait", strategy("bait", "posterior", NOISE)),
        Method("lcmd-posterior", strategy("lcmd", "posterior", NOISE)),
        Method("kmeans++", strategy("kmeans++", "gradient")),
        Method("kcenter", strategy("kcenter", "gradient")),
        Method("variance*", strategy("variance", "posterior", (*STRENGTH, *NOISE), "sensitivity")),
        Method("maxdet*", strategy("maxdet", "posterior", (*STRENGTH, *NOISE), "sensitivity")),
        Method("lcmd*", strategy("lcmd", "gradient", STRENGTH, "sensitivity")),
        Method("kmeans++*", strategy("kmeans++", "gradient", STRENGTH, "sensitivity")),
        Method("kcenter*", strategy("kcenter", "gradient", STRENGTH, "sensitivity")),
        Method("top", strategy("top", None, STRENGTH, "curiosity")),
        Method("sample", strategy("sample", None, STRENGTH, "curiosity")),
        Method("permuted", permuted),
        Method("greedy-x", strategy("greedy-x")),
        Method("greedy-y", strategy("greedy-y")),
        Method("egl", strategy("egl", None, NOISE)),
        Method("ensemble-top", ensemble("top")),
        Method("ensemble-sample", ensemble("sample")),
        Method("bmdal-lcmd", bmdal, "bmdal"),
        *(
            Method(f"{short}-{how}", learned(kind, how), "learned losses")
            for how in ("top", "sample", "kmeans++")
            for short, kind in LEARNED.items()
        ),
    )
}
CANDIDATES = (
    "error",
    "kmeans++",
    "lcmd",
    "lcmd-posterior",
    "maxdet",
    "variance",
    "bait",
    "kcenter*",
    "kmeans++*",
    "lcmd*",
    "maxdet*",
    "variance*",
)
LARGE_BATCHES = (
    "error",
    "random",
    "lcmd",
    "variance",
    "maxdet",
    "lcmd-posterior",
    "kmeans++",
    "top",
    "sample",
    "bmdal-lcmd",
)
SETTLED = ("random", "lcmd", "variance", "error", "sample")
