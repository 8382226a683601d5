"""Quick versions of the benchmarks for pytest-benchmark, so that one revision can be held against another:

    pytest bench --benchmark-only --benchmark-autosave
    pytest bench --benchmark-only --benchmark-compare

Each checks its result against an independent one before it is timed.
"""

from __future__ import annotations

import functools
import warnings

import numpy as np
import pytest

import fasttangent as ft
from bench.common import networks, ours
from bench.speed import scoring, training

pytest.importorskip("pytest_benchmark")


check_training = functools.lru_cache(training.check)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(("sizes", "activation", "dtype"), scoring.CASES, ids=str)
def test_scoring(benchmark, sizes, activation, dtype, threads):
    case = networks.make_case(sizes, 48_000, activation, dtype)
    model = case.model()

    def score():
        return model.sensitivity(case.X, threads=threads)

    scoring.check(case, score, "fasttangent")
    benchmark.pedantic(score, rounds=7, warmup_rounds=1)


@pytest.mark.parametrize("K", [1, 8])
def test_tangents(benchmark, K):
    case = networks.make_case((16, 64, 64, 1), 48_000, K=K)
    score = ours.scorer(case, threads=2)
    networks.check_equal(score()[:1000, 0], case.reference(1000), 2e-5, f"{K} tangents")
    benchmark.pedantic(score, rounds=7, warmup_rounds=1)


@pytest.mark.parametrize("label", training.CURVATURE)
@pytest.mark.parametrize(("sizes", "batch_size"), training.CASES, ids=str)
def test_training_epoch(benchmark, sizes, batch_size, label):
    check_training(sizes, batch_size)
    task = training.make_task(sizes, batch_size, training.BATCHES)
    epoch = ours.epoch_after(task, training.RATE, training.CURVATURE[label], threads=2)
    benchmark.pedantic(epoch, rounds=7, warmup_rounds=1)


def test_settling(benchmark):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 4))
    y = np.sin(X[:, 0]) + X[:, 1] * X[:, 2]

    def fit() -> ft.Model:
        return ft.fit(X, y, hidden=(16, 16), strength=1e-2, epochs=50)

    assert fit().certificate.trusted
    benchmark.pedantic(fit, rounds=3)


@pytest.fixture(autouse=True)
def _peers_may_warn():
    """Deprecations inside JAX and PyTorch are not ours to fail on."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
