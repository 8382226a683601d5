"""The estimator inside other libraries of active learning: one loop of each, and what it did.

    python -m bench estimators
    python -m bench estimators --rounds 10 --batch 5

Labels of a smooth function of two columns, 20 at first, and the error on 2,000 fresh rows after each batch.
scikit-activeml chooses by distances of predictions (GreedySamplingTarget) and by the variance that would be left over
the pool after each of 20 candidates (ExpectedModelVarianceReduction, which asks for deviations); modAL's learner by
`TangentRegressor.select`, and its committee of three by the deviation between them.  Random labels stand beside them.

    pip install scikit-activeml modAL-python "scikit-learn<1.8"

modAL 0.4.2 calls scikit-learn by a name that 1.8 took away.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import numpy as np

from bench.common import options

LABELED, POOL, FRESH = 20, 300, 2000
CANDIDATES = 20  # of a strategy that fits anew for each

Choose = Callable[[np.ndarray, int], np.ndarray]  # labels (nan: none), how many -> rows of the pool


def main() -> None:
    parser = options.parser(__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    told = parser.parse_args()
    rng = np.random.default_rng(told.seed)
    X, fresh = rng.uniform(-2, 2, (POOL, 2)), rng.uniform(-2, 2, (FRESH, 2))
    heads = " | ".join(str(LABELED + told.batch * i) for i in range(told.rounds + 1))
    print(f"| chosen by; RMSE at so many labels: | {heads} | seconds |\n|{'---|' * (told.rounds + 3)}")
    for name, loop in (("random", _random), *_activeml(), *_modal()):
        began = time.perf_counter()
        errors = [
            float(np.sqrt(np.mean((predict(fresh) - truth(fresh)) ** 2)))
            for predict in loop(X, told.rounds, told.batch, told.seed)
        ]
        assert len(errors) == told.rounds + 1
        seconds = time.perf_counter() - began
        print(f"| {name} | {' | '.join(f'{e:.4f}' for e in errors)} | {seconds:.1f} |", flush=True)


def truth(X: np.ndarray) -> np.ndarray:
    return np.sin(2 * X[:, 0]) + 0.3 * X[:, 1] ** 2


def regressor(seed: int):
    """Small, with what `predict(return_std=True)` and `select` need."""
    from fasttangent.sklearn import TangentRegressor

    return TangentRegressor(
        hidden=(16,),
        strength=1e-3,
        epochs=50,
        tangents=("strength", "posterior"),
        samples=64,
        random_state=seed,
    )


def _random(X: np.ndarray, rounds: int, batch: int, seed: int) -> Iterator[Callable]:
    rows = np.r_[:LABELED, LABELED + np.random.default_rng(seed).permutation(POOL - LABELED)]
    for i in range(rounds + 1):
        known = rows[: LABELED + i * batch]
        yield regressor(seed).fit(X[known], truth(X[known])).predict


def _activeml() -> Iterator[tuple[str, Callable]]:
    from skactiveml import pool
    from skactiveml.regressor import SklearnNormalRegressor, SklearnRegressor

    for wrapper, strategy, candidates in (
        (SklearnRegressor, pool.GreedySamplingTarget, None),
        (SklearnNormalRegressor, pool.ExpectedModelVarianceReduction, CANDIDATES),
    ):

        def loop(X, rounds, batch, seed, wrapper=wrapper, strategy=strategy, candidates=candidates):
            y, draw = np.full(POOL, np.nan), np.random.default_rng(seed)
            y[:LABELED] = truth(X[:LABELED])
            query = strategy(random_state=seed).query
            for i in range(rounds + 1):
                wrapped = wrapper(regressor(seed)).fit(X, y)
                yield wrapped.predict
                if i < rounds:
                    free = np.flatnonzero(np.isnan(y))
                    free = free if candidates is None else draw.choice(free, candidates, replace=False)
                    picks = query(X, y, reg=wrapped, fit_reg=False, candidates=free, batch_size=batch)
                    y[picks] = truth(X[picks])

        yield f"scikit-activeml, {strategy.__name__}", loop


def _modal() -> Iterator[tuple[str, Callable]]:
    from modAL.disagreement import max_std_sampling
    from modAL.models import ActiveLearner, CommitteeRegressor

    def selected(learner, pool, n):
        found = learner.estimator.select(pool, n, labeled=learner.X_training)
        return found.indices, found.scores

    def learner(X, seed):
        return ActiveLearner(regressor(seed), selected, X[:LABELED], truth(X[:LABELED]))

    def of_one(X, rounds, batch, seed):
        yield from taught(learner(X, seed), X, rounds, batch)

    def of_three(X, rounds, batch, seed):
        members = [learner(X, seed + i) for i in range(3)]
        yield from taught(CommitteeRegressor(members, max_std_sampling), X, rounds, batch, n_instances=batch)

    def taught(asked, X, rounds, batch, **how):
        pool = X[LABELED:]
        for i in range(rounds + 1):
            yield asked.predict
            if i < rounds:
                picks, rows = asked.query(pool, **how) if how else asked.query(pool, batch)
                asked.teach(rows, truth(rows))
                pool = np.delete(pool, picks, axis=0)

    yield "modAL, ActiveLearner, select", of_one
    yield "modAL, CommitteeRegressor, max_std_sampling", of_three
