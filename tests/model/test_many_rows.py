"""Fits of rows that are read in blocks; here so few that all can be held beside them."""

import signal
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

import fasttangent as ft
from fasttangent.model import prepared_many, settling_many
from fasttangent.model.prepared_many import PreparedMany, prepare_fit, usual_epochs
from fasttangent.problem import stored_rows
from fasttangent.problem.streamed_problem import StreamedProblem
from fasttangent.solvers import extremes

N = 3000
QUICK = {"hidden": (6,), "strength": 1e-2, "epochs": 4, "threads": 2}


def labelled(n, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.uniform(-1, 1, (n, 3)).astype(np.float32)
    return X, np.sin(3 * X[:, 0]) + X[:, 1].astype(float) ** 2 + 0.1 * rng.normal(size=n)


X, Y = labelled(N)


@pytest.fixture
def many(monkeypatch):
    """A thousand rows are many, and settling knows a sample of 500."""
    monkeypatch.setattr(prepared_many, "MANY", 1000)
    monkeypatch.setattr(prepared_many, "MOST_KEPT", 0)
    monkeypatch.setattr(settling_many, "sample_rows", lambda problem: 500)
    monkeypatch.setattr(stored_rows, "BLOCK_VALUES", 3 * 512)
    monkeypatch.setattr(stored_rows, "PIECE_VALUES", 3 * 64)


@pytest.fixture
def mapped(tmp_path):
    np.save(tmp_path / "x.npy", X)
    np.save(tmp_path / "y.npy", Y)
    return tuple(np.load(tmp_path / name, mmap_mode="r") for name in ("x.npy", "y.npy"))


def same(a, b):
    assert np.array_equal(a.params, b.params)
    assert np.array_equal(a.tangents["strength"], b.tangents["strength"])
    assert np.array_equal(a.slope_squared, b.slope_squared)
    assert repr(a.certificate) == repr(b.certificate)  # nan is not itself


def test_a_map_gives_the_bits_of_an_array_for_any_number_of_threads(many, mapped):
    wanted = ft.fit(X, Y, **QUICK)
    assert wanted.certificate.trusted, wanted.certificate
    same(ft.fit(*mapped, **QUICK), wanted)
    same(ft.fit(X.astype(float), Y, **{**QUICK, "threads": 1}), wanted)
    same(ft.fit(np.asfortranarray(X), list(Y), **{**QUICK, "threads": 3}), wanted)


@pytest.mark.parametrize("more", [{}, {"activation": "silu", "loss": "huber"}, {"complexity": "l2-weights"}])
def test_settled_it_is_a_minimum_on_all_rows(many, more):
    model = ft.fit(X, Y, **{**QUICK, **more})
    assert model.certificate.trusted, model.certificate
    problem = model.problem(X, Y)
    gradient = problem.value_and_gradient(model.params)[1]
    assert np.linalg.norm(gradient) < 1e-8 * 1e-2 * np.linalg.norm(problem.complexity_gradient(model.params))
    again = ft.settle(model, X, Y)  # in memory, from there
    assert again.certificate.trusted
    np.testing.assert_allclose(again.predict(X[:50]), model.predict(X[:50]), atol=1e-6)
    scale = np.abs(again.sensitivity(X[:50])).max()
    np.testing.assert_allclose(again.sensitivity(X[:50]), model.sensitivity(X[:50]), atol=1e-4 * scale)
    np.testing.assert_allclose(
        again.certificate.smallest_curvature, model.certificate.smallest_curvature, rtol=0.5
    )


def test_settle_reads_many_rows_in_blocks(many, mapped, monkeypatch):
    first = ft.fit(*mapped, **QUICK, settle=False)
    monkeypatch.setattr(ft.Model, "problem", lambda *_, **__: pytest.fail("rows were held"))
    model = ft.settle(first, *mapped)
    assert model.certificate.trusted
    np.testing.assert_allclose(model.predict(X[:50]), ft.fit(*mapped, **QUICK).predict(X[:50]), atol=1e-6)


def test_what_knows_training_rows_by_other_means_works_on_such_a_model(many, mapped):
    model = ft.fit(*mapped, **QUICK)
    scale = np.abs(model.influence(X[:20], Y[:20])).max()
    exact = ft.exact(model, *mapped).influence(X[:20], Y[:20])
    np.testing.assert_allclose(exact, model.influence(X[:20], Y[:20]), atol=1e-4 * scale)
    assert model.with_posterior(*mapped, samples=4).predict(X[:3], return_std=True)[1].shape == (3,)
    refitted = ft.refit(model, *mapped, [ft.Change.leave_out(0).times(0.1)])
    assert np.isfinite(refitted.complexity).all()


def test_large_networks_settle_too(many, monkeypatch):
    """Of more parameters than are factored, the metric is of Gauss-Newton."""
    from fasttangent.solvers import sampled_metric

    monkeypatch.setattr(sampled_metric, "FOLLOWED_DENSE_UP_TO", 10)
    monkeypatch.setattr(sampled_metric, "ROWS", 300)
    assert ft.fit(X, Y, **QUICK).certificate.trusted


def test_several_outputs_and_weights(many):
    w = np.random.default_rng(1).uniform(0, 2, N)
    w[::7] = 0
    model = ft.fit(X, np.stack([Y, -2 * X[:, 2]], axis=1), sample_weight=w, **QUICK)
    assert model.certificate.trusted, model.certificate
    assert model.training["rows"] == np.count_nonzero(w)
    left = w > 0
    Y2 = np.stack([Y, -2 * X[:, 2]], axis=1)
    again = ft.fit(X[left], Y2[left], sample_weight=w[left], start=model, **{**QUICK, "epochs": 0})
    np.testing.assert_allclose(again.predict(X[:50]), model.predict(X[:50]), atol=1e-5)
    assert again.certificate.trusted


def test_rows_held_back_end_the_first_stage(many):
    more = {"validation": 0.2, "patience": 2, "epochs": 60, "settle": False}
    model = ft.fit(X, Y, **{**QUICK, **more, "hidden": (30,)})
    assert model.training["rows"] == N - 600
    assert len(model.history["validation_loss"]) == len(model.history["epoch"]) < 60


def test_without_standardizing(many):
    model = ft.fit(X, Y, **QUICK, standardize=False)
    assert model.certificate.trusted
    bad = X.astype(float)
    bad[1234, 1] = 1e30
    with pytest.raises(ValueError, match=r"at most 1.2e\+18 in size.*got 1e\+30 in row 1234, column 1"):
        ft.fit(bad, Y, **QUICK, standardize=False)


def test_members_and_a_start(many):
    several = ft.fit(X, Y, **QUICK, members=2)
    assert all(one.certificate.trusted for one in several.models)
    same(several.models[0], ft.fit(X, Y, **QUICK))
    assert ft.fit(X, Y, **{**QUICK, "epochs": 0}, start=several.models[1]).certificate.trusted


@pytest.mark.parametrize("which", ["X", "y"])
def test_a_value_that_is_not_finite_is_named_before_any_work(many, mapped, which):
    rows, labels = X.copy(), Y.copy()
    (rows if which == "X" else labels)[2345] = np.nan
    with pytest.raises(ValueError, match=f"{which} must be finite, got nan in row 2345"):
        ft.fit(rows, labels, **QUICK, progress=lambda *_, **__: pytest.fail("work was begun"))


def test_too_few_labels_are_refused(many, mapped):
    with pytest.raises(ValueError, match=rf"y must have shape \({N},\)"):
        ft.fit(mapped[0], mapped[1][:-1], **QUICK)


def test_a_map_that_is_cut_short_meanwhile_is_an_error(many, mapped, tmp_path):
    def cut(stage, *_, **__):
        with open(tmp_path / "x.npy", "r+b") as file:
            file.truncate(200)

    with pytest.raises(OSError, match="was cut short meanwhile"):
        ft.fit(*mapped, **{**QUICK, "threads": 1}, progress=cut)


@pytest.mark.parametrize("stage", ["training", "settling"])
def test_ctrl_c_leaves_a_model_that_says_so(many, stage):
    def press(at, done, *_, **__):
        if at == stage and (done or stage == "settling"):
            signal.raise_signal(signal.SIGINT)

    model = ft.fit(X, Y, **QUICK, progress=press)
    assert model.interrupted
    assert not model.certificate.trusted
    assert any("interrupted" in reason for reason in model.certificate.reasons)
    assert np.isfinite(model.predict(X[:3])).all()


def test_ctrl_c_in_the_first_pass_of_settling(many, monkeypatch):
    whole = StreamedProblem._sums

    def pressed(*arguments):
        monkeypatch.setattr(StreamedProblem, "_sums", whole)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(StreamedProblem, "_sums", pressed)
    model = ft.fit(X, Y, **QUICK)
    assert model.interrupted
    assert model.certificate.gradient_norm > 0


def test_what_there_was_no_time_for_is_not_vouched_for(many, monkeypatch):
    monkeypatch.setattr(extremes, "AT_ONCE", 0)  # as of so many rows
    model = ft.fit(X, Y, **QUICK, settle=1e-9)
    assert model.training["stopped"] == "out of time"
    reasons = " ".join(model.certificate.reasons)
    assert "settling ended early: out of time" in reasons
    assert "smallest curvature was not measured" in reasons
    first = ft.fit(X, Y, **QUICK, settle=False)
    assert "smallest curvature was not measured" in " ".join(first.certificate.reasons)
    assert first.certificate.gradient_norm > 0


def test_a_curvature_of_a_sample_is_told_and_not_trusted(many, monkeypatch, tmp_path):
    monkeypatch.setattr(settling_many, "sample_rows", lambda problem: 2000)
    whole = ft.fit(X, Y, **QUICK)

    def late(*arguments):
        return replace(settling_many_unfactored(*arguments), lower=-np.inf, stopped="out of time")

    settling_many_unfactored = settling_many.unfactored
    monkeypatch.setattr(settling_many, "unfactored", late)
    model = ft.fit(X, Y, **QUICK)
    certificate = model.certificate
    assert certificate.curvature_rows == 2000
    (reason,) = certificate.reasons
    assert "the smallest curvature is that of 2,000 of 3,000 rows" in reason
    assert not certificate.trusted
    assert certificate.gradient_norm == whole.certificate.gradient_norm
    assert certificate.tangent_residual == whole.certificate.tangent_residual
    assert 0.3 < certificate.smallest_curvature / whole.certificate.smallest_curvature < 3
    model.save(tmp_path / "m.npz")
    assert ft.load(tmp_path / "m.npz").certificate == certificate
    whole.save(tmp_path / "w.npz")
    assert ft.load(tmp_path / "w.npz").certificate == whole.certificate
    header = bytes(np.load(tmp_path / "w.npz")["fasttangent"])
    assert b"curvature_rows" not in header  # which older versions do not know
    monkeypatch.setattr(settling_many, "sample_rows", lambda problem: 200)  # whose own is not positive
    model = ft.fit(X, Y, **QUICK)
    assert np.isnan(model.certificate.smallest_curvature)
    assert model.certificate.curvature_rows is None


def test_rows_are_not_held(many, mapped):
    ft.fit(*mapped, **QUICK, settle=False)
    n, d = 250_000, 40
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(n, d)).astype(np.float32)
    labels = rows[:, 0].copy()
    for module, name, values in ((stored_rows, "BLOCK_VALUES", 2**16), (stored_rows, "PIECE_VALUES", 2**13)):
        setattr(module, name, values)  # `many` puts them back
    tracemalloc.start()
    ft.fit(rows, labels, **{**QUICK, "epochs": 1}, settle=False)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < rows.nbytes / 2


def test_epochs_are_those_that_take_about_as_many_steps(many):
    assert [usual_epochs(n) for n in (131_072, 131_073, 10**6, 10**7, 10**9)] == [200, 200, 27, 3, 1]
    assert ft.fit(X, Y, **{**QUICK, "epochs": None}, settle=False).settings.epochs == 200
    assert prepare_fit(X[:100], Y[:100]).settings.epochs == 200


def test_what_needs_all_rows_at_once_holds_them(many):
    assert isinstance(prepare_fit(X, Y), PreparedMany)
    assert not isinstance(prepare_fit(X, Y, tangents="posterior"), PreparedMany)
    assert not isinstance(prepare_fit(X, Y, users=np.arange(N) % 3), PreparedMany)
