"""Fits side by side: the same models as one by one, and nothing lost when some fail or Ctrl-C comes."""

import signal
import sys
import threading
import time
import weakref

import numpy as np
import pandas as pd
import pytest

import fasttangent as ft
from fasttangent.common import forked, parallel
from fasttangent.model import prepared, stages
from fasttangent.model.certificate import unmeasured

rng = np.random.default_rng(0)
X = rng.normal(size=(60, 3))
Y = np.sin(X[:, 0]) + X[:, 1] * X[:, 2] + 0.1 * rng.normal(size=60)
QUICK = {"X": X, "y": Y, "hidden": (4,), "epochs": 5, "strength": 0.1}
WILD = {**QUICK, "optimizer": "sgd", "learning_rate": 1e9}

DIFFERENT = [
    QUICK,
    {**QUICK, "seed": 1, "dtype": "float64"},
    {**QUICK, "X": X[:40, :2], "y": Y[:40], "hidden": (), "optimizer": "momentum"},
    {**QUICK, "y": np.column_stack([Y, X[:, 0]]), "hidden": (3, 2), "activation": "silu"},
    {**QUICK, "X": np.tile(X, (4, 1)), "y": np.tile(Y, 4), "seed": 7, "validation": 0.2, "epochs": 15},
    {**QUICK, "X": pd.DataFrame(X, columns=["a", "b", "c"]), "settle": False, "tangents": None},
    {**QUICK, "loss": "huber", "sample_weight": np.arange(60.0), "standardize": False},
]


@pytest.fixture(scope="module")
def one_by_one():
    return [ft.fit(**arguments, threads=1) for arguments in DIFFERENT]


def same(model, other):
    assert model.summary()["objective"] == other.summary()["objective"]
    assert model.feature_names == other.feature_names
    np.testing.assert_equal(vars(model.certificate), vars(other.certificate))  # nan is nan
    np.testing.assert_array_equal(model.params, other.params)
    assert model.tangents.keys() == other.tangents.keys()
    for name, tangent in other.tangents.items():
        np.testing.assert_array_equal(model.tangents[name], tangent)
    rows = X[:, : model.n_features]
    np.testing.assert_array_equal(model.predict(rows), other.predict(rows))
    if model.certificate.trusted:
        np.testing.assert_array_equal(model.curiosity(rows), other.curiosity(rows))


@pytest.fixture
def in_threads(monkeypatch):
    """Fits run in threads, which a test can look into."""
    monkeypatch.setattr(forked, "possible", lambda n: False)


@pytest.fixture(params=["threads", "children"])
def either(request, monkeypatch):
    """Fits run in threads, and where the system has it in forked children."""
    apart = request.param == "children" and sys.platform == "linux"
    monkeypatch.setattr(forked, "possible", lambda n: apart)


@pytest.mark.parametrize("threads", [1, 2, 3, 16])
def test_the_same_as_one_by_one(threads, one_by_one, either):
    models = ft.fit_many(DIFFERENT, threads=threads)
    assert sum(model.certificate.trusted for model in models) >= 5
    for model, other in zip(models, one_by_one, strict=True):
        same(model, other)
        assert model.threads == threads


def test_fits_run_at_once(monkeypatch, in_threads):
    barrier = threading.Barrier(3, timeout=60)

    def train(*arguments):
        barrier.wait()
        return stage(*arguments)

    stage = stages.train
    monkeypatch.setattr(stages, "train", train)
    assert len(ft.fit_many([QUICK] * 3, threads=3)) == 3


UNSETTLED = {**QUICK, "epochs": 1, "settle": False}


@pytest.mark.parametrize(
    ("n", "threads", "shares"),
    [(1, 1, [1]), (1, 5, [5]), (2, 5, [2, 3]), (3, 5, [1, 2, 2]), (5, 5, [1] * 5), (6, 3, [1] * 3)],
)
def test_threads_are_shared(n, threads, shares, monkeypatch, in_threads):
    used, barrier, stage = [], threading.Barrier(len(shares), timeout=60), stages.train

    def train(problem, *arguments):
        barrier.wait()  # as many fits run as may
        used.append(problem.threads)
        barrier.wait()
        return stage(problem, *arguments)

    monkeypatch.setattr(stages, "train", train)
    ft.fit_many([UNSETTLED] * n, threads=threads)
    assert sorted(used[: len(shares)]) == shares


def test_the_last_fit_gets_the_threads_of_the_others(monkeypatch, in_threads):
    late, stage = threading.Event(), stages.train

    def train(problem, schedule, *arguments):
        if schedule.epochs == 2:
            assert late.wait(60)
            assert problem.threads == 3
        return stage(problem, schedule, *arguments)

    def listen(stage, done, total, **figures):
        if done == 2:
            late.set()

    monkeypatch.setattr(stages, "train", train)
    ft.fit_many([{**UNSETTLED, "epochs": 2}, UNSETTLED, UNSETTLED], threads=3, progress=listen)


def test_no_fits():
    seen = []
    assert ft.fit_many([], progress=lambda *a, **k: seen.append(a)) == []
    assert ft.fit_many(iter(())) == []
    assert seen == []


def test_a_generator_and_defaults():
    models = ft.fit_many({**QUICK, "seed": seed, "settle": False} for seed in range(3))
    assert [model.training["seed"] for model in models] == [0, 1, 2]
    assert all(model.threads is None and not model.interrupted for model in models)


def no_work(*_, **__):
    raise AssertionError("work was done before the check")


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"strength": -1}, ValueError, "fits[3]: strength must be a finite number >= 0, got -1"),
        ({"epochs": 1.5}, TypeError, "fits[3]: epochs must be a whole number >= 0, got 1.5"),
        ({"y": Y[:7]}, ValueError, "fits[3]: y must have shape (60,)"),
        ({"y": np.ones(60)}, ValueError, "fits[3]: y must vary"),
        ({"hiden": (3,)}, TypeError, "fits[3]: got an unexpected keyword argument 'hiden'"),
        ({"threads": 2}, TypeError, "fits[3]: threads is for all fits together; pass it to fit_many"),
        ({"progress": True}, TypeError, "fits[3]: progress is for all fits together; pass it to fit_many"),
    ],
)
def test_errors_name_the_fit_before_any_work(changes, error, message, monkeypatch):
    monkeypatch.setattr(stages, "train", no_work)
    with pytest.raises(error) as caught:
        ft.fit_many([*[QUICK] * 3, {**QUICK, **changes}, QUICK])
    assert type(caught.value) is error
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("fits", "message"),
    [
        (QUICK, "fits must be an iterable of dicts, each with arguments of fit, got dict"),
        (3, "fits must be an iterable of dicts, each with arguments of fit, got int"),
        ("Xy", "got str"),
        ([QUICK, (X, Y)], r"fits\[1\]: a fit must be a dict of arguments of fit, .*got tuple"),
        ([{"X": X}], r"fits\[0\]: missing a required argument: 'y'"),
    ],
)
def test_what_is_no_fit(fits, message):
    with pytest.raises(TypeError, match=message):
        ft.fit_many(fits)


@pytest.mark.parametrize("options", [{"threads": 0}, {"threads": "two"}, {"progress": "yes"}])
def test_other_arguments(options, monkeypatch):
    monkeypatch.setattr(stages, "train", no_work)
    with pytest.raises((ValueError, TypeError), match=f"^{next(iter(options))} must be"):
        ft.fit_many([QUICK], **options)


@pytest.mark.parametrize("function", [lambda arguments: ft.fit(**arguments), lambda a: ft.fit_many([a])])
def test_a_constant_column_warns_the_caller(function):
    constant = np.column_stack([X, np.ones(60)])
    with pytest.warns(UserWarning, match="X is constant in column 3") as seen:
        function({**QUICK, "X": constant, "epochs": 1, "settle": False})
    assert [w.filename for w in seen] == [__file__]


@pytest.mark.parametrize("threads", [1, 2])
def test_one_that_diverges_does_not_take_the_others_along(threads, either):
    with pytest.raises(ft.DivergenceError, match=r"^fits\[1\]: training diverged.*learning_rate") as caught:
        ft.fit_many([QUICK, WILD, QUICK], threads=threads)
    first, none, last = caught.value.models
    assert none is None
    same(first, last)
    assert first.certificate.trusted
    assert "also" not in str(caught.value)


def test_several_that_diverge(either):
    with pytest.raises(ft.DivergenceError, match=r"^fits\[0\]: .*\(7 of 8 fits failed, also fits\[1\], .*"):
        ft.fit_many([*[WILD] * 3, QUICK, *[WILD] * 4], threads=2)


def test_progress_counts_fits(either):
    seen = []

    def listen(stage, done, total, **figures):
        assert threading.current_thread() is threading.main_thread()
        seen.append((stage, done, total, figures))

    with pytest.raises(ft.DivergenceError):
        ft.fit_many([QUICK, WILD, QUICK, QUICK], threads=2, progress=listen)
    assert [s[:3] for s in seen] == [("fits", done, 4) for done in range(5)]
    assert seen[0][3] == {}
    assert seen[-1][3] == {"trusted": 3, "failed": 1}


def test_a_bar(capsys):
    ft.fit_many([QUICK, QUICK], progress=True)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].split()[:2] == ["fits", "2/2"]


LONG = {**QUICK, "epochs": 10**7}


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_ctrl_c(threads, either):
    """Fits that run stop where they are, later ones never start, those that ended are kept."""

    def listen(stage, done, total, **figures):
        if done == 1:
            time.sleep(0.3)  # on a busy machine another child may not have begun
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt) as caught:
        ft.fit_many([QUICK, *[LONG] * 20], threads=threads, progress=listen)
    first, *others = caught.value.models
    assert len(others) == 20
    assert first.certificate.trusted
    started = [model for model in others if model is not None]
    assert len(started) <= threads
    assert threads == 1 or started
    for model in started:
        assert model.interrupted
        assert "training was interrupted; fit again, and let it settle" in model.certificate.reasons
        assert np.isfinite(model.predict(X)).all()


def test_ctrl_c_while_fits_run(either):
    """The main thread hears it though no fit has ended."""
    timer = threading.Timer(0.3, lambda: signal.pthread_kill(threading.main_thread().ident, signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt) as caught:
        ft.fit_many([LONG] * 3, threads=2)
    assert [model is None for model in caught.value.models] == [False, False, True]


def test_ctrl_c_twice(monkeypatch):
    """The second one does not wait."""
    measured, go = threading.Event(), threading.Event()

    def certify(*_, **__):
        measured.set()
        go.wait(60)
        return unmeasured("")

    def interrupt():
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    def listen(stage, done, total, **figures):
        threading.Thread(target=lambda: (measured.wait(60), interrupt())).start()
        interrupt()

    monkeypatch.setattr(stages, "certify", certify)
    try:
        with pytest.raises(KeyboardInterrupt) as caught:
            ft.fit_many([LONG], progress=listen)
        assert not go.is_set()
        assert caught.value.models == [None]
    finally:
        go.set()


def test_an_error_in_progress_stops_all(either):
    def listen(stage, done, total, **figures):
        if done == 1:
            raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match=r"^enough$") as caught:
        ft.fit_many([QUICK, *[LONG] * 5], threads=2, progress=listen)
    assert caught.value.models[0].certificate.trusted
    assert caught.value.models[-1] is None


@pytest.mark.skipif(sys.platform != "linux", reason="children are forked on Linux only")
def test_small_fits_run_in_children_and_large_ones_in_threads(monkeypatch):
    class Done(Exception):
        """Where the fits were to run."""

    def told(where):
        def run(*_):
            raise Done(where)

        return run

    monkeypatch.setattr(forked, "possible", lambda n: True)
    monkeypatch.setattr(forked, "_map_after_the_first", told("children"))
    monkeypatch.setattr(forked, "map", told("children"))
    monkeypatch.setattr(parallel, "map", told("threads"))
    for fits, threads, where in (
        ([QUICK] * 2, 2, "children"),
        ([QUICK] * 2, 1, "threads"),
        ([QUICK], 2, "threads"),
        ([QUICK, {**QUICK, "hidden": (300, 300)}], 2, "threads"),
    ):
        with pytest.raises(Done, match=where):
            ft.fit_many(fits, threads=threads)


def test_from_another_thread():
    found = []
    thread = threading.Thread(target=lambda: found.extend(ft.fit_many([QUICK, QUICK], threads=2)))
    thread.start()
    thread.join()
    same(*found)


def test_copies_of_the_data_go_when_a_fit_ends(monkeypatch, in_threads):
    """Standardised copies of all fits at once might not fit into memory."""
    living, most, problem = weakref.WeakSet(), [], prepared.Problem

    class Watched(problem):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            living.add(self)
            most.append(len(living))

    monkeypatch.setattr(prepared, "Problem", Watched)
    ft.fit_many([{**QUICK, "epochs": 1, "settle": False}] * 8, threads=2)
    assert max(most) <= 4
