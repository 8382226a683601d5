"""Ctrl-C in a public call: KeyboardInterrupt, or a result that is marked; never a result as if nothing had been."""

import random
import signal
import warnings
from pathlib import Path

import numpy as np
import pytest
from helpers.interrupts import Aim

import fasttangent as ft
from fasttangent.common import interrupts
from fasttangent.model import posterior, prepared, stages
from fasttangent.problem.curvature import System

FILES = [str(p) for p in Path(ft.__file__).parent.rglob("*.py") if str(p) != interrupts.__file__]
RNG = np.random.default_rng(0)
X, POOL = RNG.normal(size=(40, 3)), RNG.normal(size=(200, 3))
Y = np.sin(X[:, 0]) + X[:, 1]
BOTH = {"tangents": ("strength", "posterior"), "samples": 3}


def fit(**more):
    return ft.fit(X, Y, hidden=(4,), epochs=5, strength=0.02, threads=2, **more)


def pressed_before(function):
    def press(*arguments, **named):
        signal.raise_signal(signal.SIGINT)
        return function(*arguments, **named)

    return press


def test_in_the_certificate(monkeypatch):
    whole = fit()
    monkeypatch.setattr(stages, "certify", pressed_before(stages.certify))
    model = fit()
    assert model.interrupted
    assert model.training["stopped"] == "interrupted"
    assert not model.certificate.trusted
    (reason,) = model.certificate.reasons
    assert "the certificate was not measured, because of an interrupt" in reason
    np.testing.assert_array_equal(model.params, whole.params)


def test_in_the_draws(monkeypatch):
    monkeypatch.setattr(prepared, "draw", pressed_before(prepared.draw))
    model = fit(**BOTH)
    assert model.interrupted
    assert set(model.tangents) == {"strength"}
    assert np.isnan(model.noise)


def test_in_the_solver_of_the_draws(monkeypatch):
    """It ends with a solution as far as it got, which is none."""
    model = fit()
    monkeypatch.setattr(posterior, "DUAL_UP_TO", 0)
    prepare = posterior.prepare
    monkeypatch.setattr(posterior, "prepare", lambda system, *a, **k: prepare(system, "cg", tolerance=1e-8))
    assert "posterior" in model.with_posterior(X, Y, samples=3).tangents
    monkeypatch.setattr(System, "product", pressed_before(System.product))
    with pytest.raises(KeyboardInterrupt):
        model.with_posterior(X, Y, samples=3)


@pytest.fixture(scope="module")
def calls():
    model = fit(dtype="float64")
    several = fit(members=2)
    leave_out = [ft.Change.leave_out(i) for i in range(3)]
    return {
        "fit": lambda: fit(**BOTH),
        "with_posterior": lambda: model.with_posterior(X, Y, samples=4),
        "select": lambda: ft.select(model, POOL, k=3, labeled=X, threads=2),
        "score": lambda: model.score(POOL),
        "exact": lambda: ft.exact(model, X, Y),
        "refit": lambda: ft.refit(model, X, Y, leave_out, threads=2),
        "refit by cg": lambda: ft.refit(model, X, Y, leave_out, threads=2, solver="cg"),
        "unlearn by cg": lambda: ft.unlearn(model, X, Y, remove=[0, 1], steps=3, solver="cg"),
        "refit_curves": lambda: ft.refit_curves(model, X, Y, leave_out[:1], threads=2),
        "fit_many": lambda: ft.fit_many([{"X": X, "y": Y, "hidden": (3,), "epochs": 3}] * 2, threads=2),
        "fit members": lambda: ft.fit(X, Y, hidden=(4,), epochs=5, members=3, threads=2),
        "select by members": lambda: ft.select(several, POOL, k=3, labeled=X, threads=2),
    }


NAMES = ("fit", "with_posterior", "select", "score", "exact", "refit", "refit by cg", "unlearn by cg",
         "refit_curves", "fit_many", "fit members", "select by members")  # fmt: skip


@pytest.mark.parametrize("times", [15, pytest.param(500, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", NAMES)
def test_at_any_moment(calls, name, times):
    """At random events of our own Python in the caller's thread."""
    call, rng, heard = calls[name], random.Random(1), 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        call()
        with Aim(FILES, 10**9) as aim:
            call()
        for _ in range(times):
            at = rng.randrange(1, aim.seen + 1)
            try:
                with Aim(FILES, at) as one:
                    found = call()
                if one.hit:  # how often some lines run depends on threads
                    assert getattr(found, "interrupted", False), f"Ctrl-C was lost at {one.where}"
                    heard += 1
            except KeyboardInterrupt:
                assert one.hit
                heard += 1
    assert heard > times // 2
