"""The first stage: tangents carried along, schedules, early ends, reproducibility."""

import os
import signal
import threading

import numpy as np
import pytest
from helpers import naive, quiet, random_problem, relative

import fasttangent as ft
from fasttangent.model import minibatch
from fasttangent.model.minibatch import Schedule, train
from fasttangent.model.prepared import prepare
from fasttangent.model.settings import FitSettings
from fasttangent.model.settling import settle
from fasttangent.problem.problem import Problem
from fasttangent.solvers.lissa import lissa

RNG = np.random.default_rng(11)
X = RNG.normal(size=(50, 3))
Y = np.sin(X[:, 0]) + X[:, 1] * X[:, 2] + 0.1 * RNG.normal(size=50)


def trained(problem, schedule, theta, *, seed=0, report=quiet, held_back=None):
    start = theta, np.zeros((1, len(theta)))
    return train(problem, schedule, start, np.dtype(float), np.random.default_rng(seed), report, held_back)


# ---- the carried tangent ----


@pytest.mark.parametrize("complexity", ["l2", "l2-weights"])
@pytest.mark.parametrize("activation", ["tanh", "gelu"])
@pytest.mark.parametrize("optimizer", ["sgd", "momentum"])
def test_the_carried_tangent_is_the_derivative_of_the_whole_run(optimizer, activation, complexity):
    """Two short runs with the same seed at strength +- h; batches of 8, 8, ... and one of 2."""

    def run(strength):
        return ft.fit(
            X, np.column_stack([Y, X[:, 0]]), hidden=(5,), activation=activation, loss="log-cosh",
            complexity=complexity, strength=strength, optimizer=optimizer, curvature="hessian",
            learning_rate=0.1, epochs=6, batch_size=8, settle=False, dtype="float64",
        )  # fmt: skip

    h = 1e-5
    difference = (run(0.02 + h).params - run(0.02 - h).params) / (2 * h)
    assert relative(run(0.02).tangents["strength"], difference) <= 1e-6


@pytest.mark.parametrize("rows", ["all", "drawn"])
def test_at_a_minimum_the_tangent_of_sgd_is_lissa(rows):
    """tau <- tau - eta (A tau + grad C) is x <- x + eta (grad C - A x) with tau = -x, whatever rows A is of."""
    network, objective = ft.Network((3, 5, 1), "tanh"), ft.Objective(strength=0.05)
    problem = Problem(network, objective, X, Y[:, None], np.ones(50), 1)
    start = network.initial_params(np.random.default_rng(0))
    theta = settle(problem, start, np.zeros((1, len(start))), np.inf, quiet).theta
    eta, pull, steps = 0.2, problem.complexity_gradient(theta), 25
    rng, drawn = np.random.default_rng(3), []
    for _ in range(steps):
        i = np.arange(50) if rows == "all" else rng.integers(50, size=20)
        drawn.append(problem.with_rows(X[i], Y[i, None], np.full(len(i), 1 / len(i)), 1))
    x, tau = np.zeros((1, len(theta))), np.zeros((1, len(theta)))
    if rows == "all":
        lissa(lambda V: problem.product(theta, V), pull[None], eta, np.zeros(1), steps, x)
    else:
        for one in drawn:
            x += eta * (pull - one.product(theta, x))
    for one in drawn:  # a step at theta, where the parameters are put back to
        schedule = Schedule("sgd", eta, epochs=1, batch_size=50, curvature="hessian")
        tau = train(
            one, schedule, (theta, tau), np.dtype(float), np.random.default_rng(0), quiet, None
        ).tangents
    assert relative(tau, -x) <= 1e-12
    assert relative(tau, np.linalg.solve(problem.product(theta, np.eye(len(theta))), -pull)[None]) > 1e-3


def slow_training(optimizer, gauss_newton, about, theta, rate, momentum, epochs, batch_size, strength, seed):
    """The recurrence of `kernels.steps` for parameters and tangent, written for reading."""
    rows, targets, w, *form = about
    n, rng = len(rows), np.random.default_rng(seed)
    tau, m, v, mt = (np.zeros_like(theta) for _ in range(4))
    total, t = epochs * -(-n // batch_size), 0
    for _ in range(epochs):
        order = rng.permutation(n)
        for start in range(0, n, batch_size):
            batch = order[start : start + batch_size]
            scale = n / len(batch)
            given = (rows[batch], targets[batch], scale * w[batch], *form)
            g = naive.gradient(theta, *given) + strength * theta
            if gauss_newton:
                product = naive.gauss_newton(theta, *given) @ tau
            else:
                product = naive.central_difference(
                    lambda x, given=given: naive.gradient(x, *given), theta, tau
                )
            gt = product + strength * tau + theta
            eta = rate * (1 + np.cos(np.pi * t / total)) / 2
            t += 1
            if optimizer == "sgd":
                theta, tau = theta - eta * g, tau - eta * gt
            elif optimizer == "momentum":
                m, mt = momentum * m + g, momentum * mt + gt
                theta, tau = theta - eta * (g + momentum * m), tau - eta * (gt + momentum * mt)
            else:
                m, mt = momentum * m + (1 - momentum) * g, momentum * mt + (1 - momentum) * gt
                v = 0.999 * v + 0.001 * g**2
                P = 1 / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
                theta = theta - eta * P * m / (1 - momentum**t)
                tau = tau - eta * P * mt / (1 - momentum**t)
    return theta, tau


@pytest.mark.parametrize("curvature", ["gauss-newton", "hessian"])
@pytest.mark.parametrize("optimizer", ["adam", "momentum", "sgd"])
def test_parameters_and_tangent_follow_the_recurrence(optimizer, curvature):
    sizes, strength = (3, 4, 2), 0.03
    problem, theta, _ = random_problem(sizes, 20, "silu", "huber", strength=strength, unequal=True)
    schedule = Schedule(optimizer, 0.05, 0.8, epochs=4, batch_size=6, curvature=curvature)
    found = trained(problem, schedule, theta, seed=9)
    about = (*problem.rows, sizes, "silu", "huber", problem.objective.delta)
    gauss_newton = curvature == "gauss-newton"
    expected, tangent = slow_training(optimizer, gauss_newton, about, theta, 0.05, 0.8, 4, 6, strength, 9)
    assert relative(found.theta, expected) <= 1e-10
    assert relative(found.tangents[0], tangent) <= (1e-10 if gauss_newton else 1e-6)


@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adam"])
def test_carrying_a_tangent_does_not_change_the_parameters(optimizer):
    options = {"hidden": (5,), "optimizer": optimizer, "epochs": 4, "learning_rate": 0.02, "settle": False}
    with_tangent = ft.fit(X, Y, **options)
    without = ft.fit(X, Y, tangents=None, **options)
    np.testing.assert_array_equal(with_tangent.params, without.params)
    assert without.tangents == {}
    with pytest.raises(ValueError, match="carries no tangent"):
        without.sensitivity(X)


def test_long_training_of_a_linear_model_reaches_the_implicit_tangent():
    """Full batches: the fixed point of the recurrence is the solution of the system."""
    model = ft.fit(
        X, Y, hidden=(), optimizer="sgd", learning_rate=0.5, epochs=2000, batch_size=50, strength=0.1,
        settle=False, dtype="float64",
    )  # fmt: skip
    assert model.certificate.tangent_residual <= 1e-6
    residuals = model.history["tangent_residual"]
    assert len(residuals) == len(model.history["residual_epoch"])
    assert residuals[-1] == pytest.approx(model.certificate.tangent_residual, rel=1e-6, abs=1e-12)


# ---- the schedule ----


def test_the_learning_rate_falls_to_zero():
    model = ft.fit(X, Y, hidden=(4,), epochs=40, learning_rate=0.03, settle=False)
    rates = model.history["learning_rate"]
    assert len(rates) == len(model.history["loss"]) == 40
    assert rates[0] <= 0.03
    assert rates[19] == pytest.approx(0.015, rel=0.1)
    assert (np.diff(rates) < 0).all()
    assert 0 < rates[-1] <= 1e-3 * 0.03 * 4
    assert model.history["loss"][-1] < model.history["loss"][0]


def test_how_steps_are_shared_between_calls_does_not_matter(monkeypatch):
    options = {"hidden": (4,), "epochs": 6, "batch_size": 3, "settle": False}
    one = ft.fit(X, Y, **options)
    monkeypatch.setattr("fasttangent.model.minibatch.CALL_SECONDS", 0.0)  # one step in every call
    other = ft.fit(X, Y, **options)
    np.testing.assert_array_equal(one.params, other.params)
    np.testing.assert_array_equal(one.history["loss"], other.history["loss"])
    np.testing.assert_array_equal(one.tangents["strength"], other.tangents["strength"])


# ---- early ends ----


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("optimizer", ["sgd", "momentum"])
def test_runaway_parameters_are_never_returned(optimizer, dtype):
    with pytest.raises(ft.DivergenceError, match="lower the learning_rate, now 100"):
        ft.fit(X, Y, hidden=(5,), optimizer=optimizer, learning_rate=100, epochs=50, dtype=dtype)
    with pytest.raises(ValueError, match="lower the learning_rate, now 50"):
        ft.fit(X, 1e3 * Y, hidden=(), optimizer=optimizer, learning_rate=50, epochs=50, dtype=dtype)


@pytest.mark.parametrize("hidden", [(512, 512), (1024, 1024), (1024, 1024, 1024)])
@pytest.mark.parametrize("activation", ["tanh", "relu", "silu"])
def test_wide_networks_begin_slowly_and_do_not_diverge(hidden, activation):
    """Two epochs are too few to get below the loss at first, which such networks leave by their first steps."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(500, 64))
    labels = rows[:, 0] * rows[:, 1] + np.sin(rows[:, 2]) + 0.1 * rng.normal(size=500)
    one = prepare(rows, labels, hidden=hidden, activation=activation, epochs=2, tangents=None, settle=False)
    assert one.settings.learning_rate == pytest.approx(2.56 / hidden[0])
    run = one.train(one.problem(), 0, quiet)
    assert np.isfinite(run.theta).all()
    assert all("above" in note and "more epochs" in note for note in run.notes)


def test_the_default_learning_rate():
    assert (
        FitSettings().learning_rate
        == FitSettings(hidden=(256,)).learning_rate
        == FitSettings(hidden=()).learning_rate
    )
    assert FitSettings().learning_rate == 1e-2
    assert FitSettings(hidden=(64, 1024), learning_rate=0.5).learning_rate == 0.5


def test_a_runaway_tangent_is_dropped_with_a_reason():
    """Adam in long steps survives what its tangent, propagated with an indefinite Hessian, does not."""
    model = ft.fit(
        X, Y, hidden=(16, 16), optimizer="adam", curvature="hessian", learning_rate=0.3, epochs=100,
        strength=1e-6, batch_size=10, settle=False,
    )  # fmt: skip
    assert max(model.history["tangent_residual"]) > 1e6
    assert model.tangents == {}
    assert np.isfinite(model.params).all()
    assert not model.certificate.trusted
    assert any("the tangent diverged" in r and "gauss-newton" in r for r in model.certificate.reasons)
    with pytest.raises(ValueError, match=r"carries no tangent.*gauss-newton"):
        model.curiosity(X)


def test_settling_solves_for_a_tangent_that_was_dropped(monkeypatch):
    options = {"hidden": (4,), "epochs": 5, "strength": 0.05, "dtype": "float64"}
    carried = ft.fit(X, Y, **options)
    monkeypatch.setattr("fasttangent.model.minibatch.LOST_TANGENT", 0.0)
    assert ft.fit(X, Y, settle=False, **options).tangents == {}
    dropped = ft.fit(X, Y, **options)
    assert dropped.certificate.trusted, dropped.certificate.reasons
    assert relative(dropped.tangents["strength"], carried.tangents["strength"]) <= 1e-6


def test_early_stopping():
    rng = np.random.default_rng(2)
    noise = rng.normal(size=50)  # nothing to learn: the validation loss soon rises
    model = ft.fit(
        X, noise, hidden=(30,), epochs=500, validation=0.3, patience=5, strength=1e-6, learning_rate=0.05,
        settle=False,
    )  # fmt: skip
    losses = model.history["validation_loss"]
    assert model.training["stopped"] == "early"
    assert model.training["rows"] == 35
    assert len(losses) < 500
    assert len(losses) == np.argmin(losses) + 1 + 5


def test_early_stopping_keeps_the_best_parameters():
    """Cut the same run off at its best epoch: rates depend on `epochs`, so compare with a recorded run."""
    problem, theta, _ = random_problem((3, 20, 1), 30, strength=1e-6)
    held_back, _, _ = random_problem((3, 20, 1), 20, strength=1e-6, seed=1)
    schedule = Schedule("momentum", 0.05, epochs=100, batch_size=10, validation=0.4, patience=4)

    def train_until(last_epoch):
        def report(stage, done, total, **figures):
            if done == last_epoch:
                raise KeyboardInterrupt

        return trained(problem, schedule, theta, report=report)

    stopped = trained(problem, schedule, theta, held_back=tuple(held_back.rows))
    seen = stopped.history["validation_loss"]
    assert stopped.stopped == "early"
    best = train_until(int(np.argmin(seen)) + 1)
    np.testing.assert_array_equal(stopped.theta, best.theta)
    np.testing.assert_array_equal(stopped.tangents, best.tangents)


class Interrupt:
    """A progress callable that interrupts in a stage, once or each time."""

    def __init__(self, stage, after):
        self.stage, self.after, self.calls = stage, after, 0

    def __call__(self, stage, done, total, **figures):
        self.calls += stage == self.stage
        if stage == self.stage and self.calls >= self.after:
            raise KeyboardInterrupt


@pytest.mark.parametrize(("stage", "after"), [("training", 1), ("training", 4), ("settling", 1)])
def test_an_interrupt_returns_what_there_is(stage, after):
    model = ft.fit(X, Y, hidden=(5,), epochs=10, progress=Interrupt(stage, after))
    assert model.interrupted
    assert np.isfinite(model.params).all()
    assert any("interrupted" in reason for reason in model.certificate.reasons)
    assert not model.certificate.trusted
    assert model.predict(X).shape == (50,)
    assert model.training["stopped"] == "interrupted"
    if stage == "training":
        assert len(model.history["loss"]) == after


@pytest.mark.parametrize("what", ["tangents", "theta"])
def test_an_interrupt_right_after_an_overflow_returns_no_nan(monkeypatch, what, tmp_path):
    """Ctrl-C is noticed when a kernel returns, before anybody has looked at what it left."""
    steps = minibatch._Run._steps

    def interrupted(run, order, first, rates):
        steps(run, order, first, rates)
        getattr(run.state, what)[:] = np.nan
        raise KeyboardInterrupt

    monkeypatch.setattr(minibatch._Run, "_steps", interrupted)
    if what == "theta":
        with pytest.raises(ft.DivergenceError, match="training diverged in epoch 1"):
            ft.fit(X, Y, hidden=(5,), epochs=10)
    else:
        model = ft.fit(X, Y, hidden=(5,), epochs=10)
        assert model.interrupted
        assert model.tangents == {}
        model.save(tmp_path / "m.npz")
        assert ft.load(tmp_path / "m.npz").interrupted


@pytest.mark.parametrize("validation", [None, 0.2])
def test_ctrl_c_ends_training(validation):
    """A real SIGINT from outside, in a run that would never end by itself."""
    started = threading.Event()

    def press():
        started.wait()
        os.kill(os.getpid(), signal.SIGINT)

    hand = threading.Thread(target=press)
    hand.start()

    def progress(stage, done, total, **figures):
        if done == 3:
            started.set()

    model = ft.fit(
        X, Y, hidden=(5,), epochs=10**7, progress=progress, validation=validation, patience=10**7
    )  # fmt: skip
    hand.join()
    assert model.interrupted
    assert len(model.history["loss"]) >= 2


def test_other_errors_of_a_progress_callable_are_the_callers():
    def progress(stage, done, total, **figures):
        raise RuntimeError("full")

    with pytest.raises(RuntimeError, match="full"):
        ft.fit(X, Y, hidden=(5,), epochs=10, progress=progress)


def test_progress_is_told_of_both_stages():
    seen = []
    ft.fit(
        X,
        Y,
        hidden=(),
        epochs=4,
        progress=lambda stage, done, total, **f: seen.append((stage, done, total, f)),
    )
    epochs = [(done, total) for stage, done, total, _ in seen if stage == "training"]
    assert epochs == [(1, 4), (2, 4), (3, 4), (4, 4)]
    settling = [(done, total) for stage, done, total, _ in seen if stage == "settling"]
    assert all(0 <= done <= total for done, total in settling)
    assert settling[-1][0] == settling[-1][1]
    assert all("loss" in figures for stage, _, _, figures in seen if stage == "training")


# ---- reproducibility ----


def fingerprint(model, rows):
    scores = model.score(rows)
    arrays = (model.params, model.tangents["strength"], *scores, model.history["loss"])
    return b"".join(np.ascontiguousarray(a).tobytes() for a in arrays)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_same_seed_gives_the_same_model(dtype):
    options = {"hidden": (5,), "epochs": 5, "strength": 0.02, "dtype": dtype}
    models = [ft.fit(X, Y, seed=seed, **options) for seed in (3, 3, 4)]
    assert fingerprint(models[0], X) == fingerprint(models[1], X)
    assert fingerprint(models[0], X) != fingerprint(models[2], X)


@pytest.mark.parametrize("validation", [None, 0.25])
def test_results_are_bit_identical_for_any_number_of_threads(validation):
    """Enough rows for several chunks, in training and in scoring."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(300, 3))
    targets = np.column_stack([np.sin(rows[:, 0]), rows[:, 1] * rows[:, 2]])
    pool = rng.normal(size=(20_000, 3))
    prints = set()
    for threads in (1, 2, 3):
        model = ft.fit(
            rows, targets, hidden=(6,), epochs=5, strength=0.03, validation=validation, threads=threads
        )  # fmt: skip
        assert model.certificate.trusted, model.certificate.reasons
        prints.add(fingerprint(model, pool))
    assert len(prints) == 1


def test_the_callers_arrays_are_not_changed():
    rows, targets, w = X.copy(), Y.copy(), np.ones(50)
    for array in (rows, targets, w):
        array.flags.writeable = False
    model = ft.fit(rows, targets, hidden=(3,), epochs=2, sample_weight=w, settle=False)
    with pytest.warns(ft.UntrustedTangentWarning):
        model.score(rows)
    np.testing.assert_array_equal(rows, X)


def test_the_global_generator_is_left_alone():
    np.random.seed(0)  # noqa: NPY002
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    ft.fit(X, Y, hidden=(3,), epochs=2, settle=False)
    np.testing.assert_array_equal(before, np.random.get_state()[1])  # noqa: NPY002
