"""Several members as one: the means of single models, computed here by hand; files, threads, interrupts, refusals."""

import dataclasses
import io
import json
import pickle
import signal
import sys
import warnings

import numpy as np
import pytest

import fasttangent as ft
from fasttangent.common import forked
from fasttangent.model import saving, stages
from fasttangent.model.members import Members, member_seeds
from fasttangent.model.settings import FitSettings
from fasttangent.problem import rows as problem_rows

rng = np.random.default_rng(0)
X = rng.normal(size=(60, 3))
Y = np.sin(X[:, 0]) + X[:, 1] * X[:, 2] + 0.1 * rng.normal(size=60)
TWO = np.column_stack([Y, np.cos(X[:, 0])])
POOL = rng.normal(size=(300, 3))
QUICK = {"hidden": (4,), "epochs": 20, "strength": 0.05}
NOISE = {"tangents": ("strength", "posterior"), "samples": 30}
WILD = {"optimizer": "sgd", "learning_rate": 1e9}
MEAN = {"rtol": 1e-12, "atol": 1e-300}


@pytest.fixture(scope="module")
def three():
    return ft.fit(X, Y, members=3, dtype="float64", **QUICK, **NOISE)


@pytest.fixture(scope="module")
def two_outputs():
    return ft.fit(X, TWO, members=3, **QUICK, **NOISE)


@pytest.fixture(scope="module", params=["float64, one output", "float32, two outputs"])
def several(request, three, two_outputs):
    return three if request.param.startswith("float64") else two_outputs


def by_hand(several, of):
    return np.mean([of(one) for one in several.models], axis=0, dtype=np.float64)


def same_bits(a, b):
    np.testing.assert_array_equal(a.params, b.params)
    np.testing.assert_array_equal(a.tangents["strength"], b.tangents["strength"])
    np.testing.assert_equal(vars(a.certificate), vars(b.certificate))


# ---- how they are made ----


def test_one_member_is_a_model():
    one, plain = ft.fit(X, Y, members=1, seed=3, **QUICK), ft.fit(X, Y, seed=3, **QUICK)
    assert type(one) is ft.Model
    assert one.models == (one,)
    same_bits(one, plain)


def test_members_are_single_fits_with_seeds_drawn_from_the_seed():
    found = ft.fit(X, Y, members=4, seed=7, **QUICK)
    seeds = member_seeds(7, 4)
    assert seeds[0] == 7
    assert len(set(seeds)) == 4
    assert member_seeds(7, 9)[:4] == seeds
    assert [one.settings.seed for one in found.models] == seeds
    for one, seed in zip(found.models, seeds, strict=True):
        same_bits(one, ft.fit(X, Y, seed=seed, **QUICK))
    assert found.settings == FitSettings(members=4, seed=7, **QUICK)
    assert {one.settings.members for one in found.models} == {1}


def test_a_learned_strength_is_handed_on():
    """The first member is the model of the seed alone; the others are minima of its objective."""
    found, alone = ft.fit(X, Y, members=3, hidden=(4,)), ft.fit(X, Y, hidden=(4,))
    same_bits(found.models[0], alone)
    assert {one.objective for one in found.models} == {alone.objective}
    assert found.strengths == alone.strengths
    assert found.path.strength.tolist() == alone.path.strength.tolist()
    assert all(one.path.strength.tolist() == alone.path.strength.tolist() for one in found.models)
    assert {one.certificate.strength_error for one in found.models} == {alone.path.error}
    assert found.certificate.trusted
    assert found.certificate.strength_error == alone.certificate.strength_error > 0
    other = ft.fit(X, Y, hidden=(4,), strength=alone.strengths, seed=member_seeds(0, 3)[2])
    np.testing.assert_allclose(found.models[2].params, other.params, rtol=1e-6, atol=1e-9)


def test_without_settling_nothing_is_handed_on():
    found = ft.fit(X, Y, members=2, hidden=(4,), settle=False)
    same_bits(found.models[1], ft.fit(X, Y, hidden=(4,), settle=False, seed=member_seeds(0, 2)[1]))


def test_rows_held_back_are_the_same_for_all():
    found = ft.fit(X, Y, members=3, validation=0.2, **QUICK)
    same_bits(found.models[0], ft.fit(X, Y, validation=0.2, **QUICK))
    assert len({one.scaling.y_mean[0] for one in found.models}) == 1
    assert len({one.params.tobytes() for one in found.models}) == 3


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("apart", [False, True])
def test_threads_and_forks_change_no_bit(threads, apart, three, monkeypatch):
    monkeypatch.setattr(forked, "possible", lambda n: apart and sys.platform == "linux")
    again = ft.fit(X, Y, members=3, dtype="float64", threads=threads, **QUICK, **NOISE)
    for one, other in zip(again.models, three.models, strict=True):
        same_bits(one, other)
        np.testing.assert_array_equal(one.tangents["posterior"], other.tangents["posterior"])


def test_among_other_fits():
    fits = [
        {"X": X, "y": Y, "members": 2, **QUICK},
        {"X": X, "y": Y, **QUICK},
        {"X": X, "y": Y, "members": 3, "hidden": (3,)},
    ]
    seen = []
    found = ft.fit_many(fits, progress=lambda *a, **k: seen.append(a))
    assert [type(one).__name__ for one in found] == ["Members", "Model", "Members"]
    assert seen == [("fits", done, 6) for done in range(7)]
    for one, arguments in zip(found, fits, strict=True):
        for member, other in zip(one.models, ft.fit(**arguments).models, strict=True):
            same_bits(member, other)


def test_a_warm_start_from_members(three):
    again = ft.fit(
        X, Y, members=3, start=three, epochs=0, **{k: v for k, v in QUICK.items() if k != "epochs"}
    )
    for one, before in zip(again.models, three.models, strict=True):
        np.testing.assert_allclose(one.params, before.params, rtol=1e-6, atol=1e-9)


# ---- means ----


@pytest.mark.parametrize("what", ["predict", "sensitivity"])
def test_means_in_the_units_of_y(what, several):
    found, expected = getattr(several, what)(POOL), by_hand(several, lambda one: getattr(one, what)(POOL))
    assert found.dtype == several.models[0].predict(POOL).dtype
    np.testing.assert_array_equal(found, expected.astype(found.dtype))


def test_means_of_influence_and_curiosity(several):
    labels = several.predict(POOL) + 0.5
    found = several.influence(POOL, labels)
    np.testing.assert_allclose(found, by_hand(several, lambda one: one.influence(POOL, labels)), **MEAN)
    for variance in (None, 0.3, np.linspace(0, 1, len(POOL))):
        found = several.curiosity(POOL, variance)
        np.testing.assert_allclose(found, by_hand(several, lambda one: one.curiosity(POOL, variance)), **MEAN)  # noqa: B023


def test_a_deviation_is_within_and_between(several):
    f = [one.predict(POOL).astype(float) for one in several.models]
    s = [one.predict(POOL, return_std=True)[1].astype(float) for one in several.models]
    mean, deviation = several.predict(POOL, return_std=True)
    np.testing.assert_array_equal(mean, several.predict(POOL))
    expected = np.sqrt(np.mean(np.square(s), axis=0) + np.var(f, axis=0))
    np.testing.assert_allclose(deviation, expected, rtol=1e-12 if several.dtype == "float64" else 1e-5)
    believed = several.curiosity(POOL, "posterior")
    given = several.curiosity(POOL, np.square(expected))
    np.testing.assert_allclose(believed, given, rtol=1e-11 if several.dtype == "float64" else 1e-5)


def test_sensitivity_is_the_derivative_of_the_mean_prediction(three):
    h, ends = 1e-4, []
    for strength in (0.05 + h, 0.05 - h):
        ends.append(
            ft.fit(
                X, Y, members=3, start=three, dtype="float64", **{**QUICK, "strength": strength, "epochs": 0}
            )
        )
    slope = (ends[0].predict(POOL) - ends[1].predict(POOL)) / (2 * h)
    np.testing.assert_allclose(three.sensitivity(POOL), slope, rtol=1e-3, atol=1e-4 * abs(slope).max())


def test_groups_have_means_too():
    found = ft.fit(X, Y, members=2, tangents=("strength", "groups"), groups="layers", **QUICK)
    expected = by_hand(found, lambda one: one.sensitivity(POOL, group="weights 1"))
    np.testing.assert_array_equal(found.sensitivity(POOL, group="weights 1"), expected.astype(np.float32))


def test_one_pass_gives_all_means(several):
    rows = POOL.copy()
    rows[[3, 90], 1] = np.nan
    with pytest.warns(UserWarning, match="2 rows hold a value that is not finite") as seen:
        found = several.score(rows)
    assert len(seen) == 1
    good = np.delete(np.arange(len(rows)), [3, 90])
    for name, values in found._asdict().items():
        what = "predict" if name == "prediction" else name
        np.testing.assert_array_equal(values[good], getattr(several, what)(rows[good]))
        assert np.isnan(values[[3, 90]]).all()


KINDS = ("posterior", "error", "gradient", "hidden", "input")


@pytest.mark.parametrize("kind", KINDS)
def test_inner_products_are_means(kind, several):
    E = several.embed(POOL, kind).astype(float)
    seeds = member_seeds(0, 3)
    dim = -(-512 // 3) if kind == "gradient" else None
    parts = zip(several.models, seeds, strict=True)
    each = [one.embed(POOL, kind, dim, seed=seed).astype(float) for one, seed in parts]
    size = 1e-13 if several.dtype == "float64" else 1e-5
    expected = np.mean([e @ e.T for e in each], axis=0)
    np.testing.assert_allclose(E @ E.T, expected, rtol=0, atol=size * abs(expected).max())


def test_dimensions_are_shared_out(three, two_outputs):
    assert three.embed(POOL).shape == (300, 30)
    assert three.embed(POOL, dim=10).shape == (300, 12)
    assert three.embed(POOL, "error").shape == (300, 33)
    assert three.embed(POOL, "gradient", 100).shape == (300, 102)
    assert three.embed(POOL, "hidden").shape == (300, 12)
    assert two_outputs.embed(POOL, "error").shape == (300, 66)
    assert {len(one.tangents["posterior"]) for one in three.models} == {10}


def test_no_rows(several):
    none = POOL[:0]
    assert several.predict(none).shape == several.models[0].predict(none).shape
    assert [several.embed(none, kind).shape for kind in KINDS] == [
        (0, several.embed(POOL, kind).shape[1]) for kind in KINDS
    ]
    assert several.curiosity(none).shape == several.influence(none, several.predict(none)).shape == (0,)
    assert several.posterior(none, 4).shape[:2] == (4, 0)


def test_draws_take_turns(several):
    drawn = several.posterior(POOL)
    assert len(drawn) == 30
    for i, one in enumerate(several.models):
        np.testing.assert_array_equal(drawn[i::3], one.posterior(POOL, 10))
    rounding = {"rtol": 0, "atol": (1e-13 if several.dtype == "float64" else 1e-5) * abs(drawn).max()}
    np.testing.assert_allclose(several.posterior(POOL, 2), drawn[:2], **rounding)
    np.testing.assert_allclose(several.posterior(POOL[7:9], 5), drawn[:5, 7:9], **rounding)
    with pytest.raises(
        ValueError, match=r"samples must be at most 30, the members' tangents .* samples=31\)"
    ):
        several.posterior(POOL, 31)


def test_tangents_of_noise_afterwards():
    plain = ft.fit(X, Y, members=3, **QUICK)
    with pytest.raises(ValueError, match="with_posterior"):
        plain.predict(POOL, return_std=True)
    assert np.isnan(plain.noise)
    found = plain.with_posterior(X, Y, samples=20, seed=4)
    for one, before, seed in zip(found.models, plain.models, member_seeds(4, 3), strict=True):
        expected = before.with_posterior(X, Y, samples=7, seed=seed)
        np.testing.assert_array_equal(one.tangents["posterior"], expected.tangents["posterior"])
    assert found.noise == np.mean([one.noise for one in found.models])
    assert found.settings == plain.settings


CALLS = {
    "predict": lambda m, t: m.predict(POOL, return_std=True, threads=t),
    "sensitivity": lambda m, t: m.sensitivity(POOL, threads=t),
    "influence": lambda m, t: m.influence(POOL, m.predict(POOL), threads=t),
    "curiosity": lambda m, t: m.curiosity(POOL, "posterior", threads=t),
    "score": lambda m, t: m.score(POOL, threads=t),
    "posterior": lambda m, t: m.posterior(POOL, threads=t),
    "embed": lambda m, t: [m.embed(POOL, kind, threads=t) for kind in KINDS],
    "with_posterior": lambda m, t: m.with_posterior(X, m.predict(X), samples=9, threads=t).embed(POOL),
}


@pytest.mark.parametrize("name", CALLS)
def test_threads_and_chunks_change_no_bit(name, several, monkeypatch):
    expected = CALLS[name](several, 1)
    monkeypatch.setattr(problem_rows, "CHUNK", 70)
    for found in (CALLS[name](several, 1), CALLS[name](several, 3)):
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("unit", [1e-250, 1e250])
def test_units_of_any_size(unit, three):
    found = ft.fit(X, unit * Y, members=3, dtype="float64", **QUICK, **NOISE)
    plain, plain_deviation = three.predict(POOL, return_std=True)
    mean, deviation = found.predict(POOL, return_std=True)
    np.testing.assert_allclose(mean / unit, plain, rtol=1e-6)
    np.testing.assert_allclose(deviation / unit, plain_deviation, rtol=1e-6)
    np.testing.assert_allclose(
        found.curiosity(POOL, "posterior"), three.curiosity(POOL, "posterior"), rtol=1e-5
    )


# ---- trust ----


def test_trusted_where_all_are(three):
    assert three.certificate.trusted
    first, second, third = three.models
    doubted = dataclasses.replace(
        second.certificate, trusted=False, reasons=("it is bad",), gradient_norm=3.0, smallest_curvature=-1.0
    )
    mixed = Members((first, dataclasses.replace(second, certificate=doubted), third))
    assert not mixed.certificate.trusted
    assert mixed.certificate.reasons == ("member 1: it is bad",)
    assert mixed.certificate.gradient_norm == 3.0
    assert mixed.certificate.smallest_curvature == -1.0
    assert "2 trusted" in repr(mixed)
    worse = Members(tuple(dataclasses.replace(one, certificate=doubted) for one in three.models))
    assert worse.certificate.reasons == (
        "member 0: it is bad",
        "nor can members 1, 2 be trusted: see models[i].certificate",
    )
    for call in (
        mixed.sensitivity,
        mixed.curiosity,
        mixed.score,
        lambda rows: mixed.influence(rows, rows[:, 0]),
    ):
        with pytest.warns(ft.UntrustedTangentWarning, match="member 1: it is bad") as seen:
            call(POOL)
        assert len(seen) == 1
        assert seen[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mixed.predict(POOL)


# ---- files ----


def saved_and_loaded(several, path):
    several.save(path)
    return ft.load(path)


def test_a_file_holds_all_members(several, tmp_path):
    again = saved_and_loaded(several, tmp_path / "m.npz")
    assert type(again) is Members
    assert again.settings == several.settings
    assert again.summary() == several.summary()
    assert repr(again) == repr(several)
    for call in CALLS.values():
        for a, b in zip(call(again, 1), call(several, 1), strict=True):
            np.testing.assert_array_equal(a, b)
    with np.load(tmp_path / "m.npz", allow_pickle=False) as archive:
        header = json.loads(archive[saving.HEADER].tobytes())
        assert all(archive[name].dtype != object for name in archive.files)
    assert header["format"] == saving.SEVERAL == 4
    assert "'members'" not in json.dumps(header["members"])


def test_one_model_is_written_as_before(tmp_path):
    """Older versions read it: its format, and settings that they know."""
    ft.fit(X, Y, **QUICK).save(tmp_path / "m.npz")
    with np.load(tmp_path / "m.npz") as archive:
        header = json.loads(archive[saving.HEADER].tobytes())
    assert header["format"] == 3
    assert "members" not in {*header, *header["settings"]}


def broken(several, tmp_path, change):
    several.save(tmp_path / "m.npz")
    with np.load(tmp_path / "m.npz") as archive:
        entries = dict(archive)
    header = json.loads(entries[saving.HEADER].tobytes())
    change(header, entries)
    entries[saving.HEADER] = np.frombuffer(json.dumps(header).encode(), np.uint8)
    np.savez(tmp_path / "broken.npz", **entries)
    return tmp_path / "broken.npz"


BROKEN = {
    "no member": (lambda h, e: h.update(members=[]), "members"),
    "no list": (lambda h, e: h.update(members={"0": h["members"][0]}), "members"),
    "one too many": (lambda h, e: h["members"].append(h["members"][0]), "lacks"),
    "one too few": (lambda h, e: h["members"].pop(), "it has the entry '2/"),
    "an array of none": (lambda h, e: e.update(params=e["0/params"]), "it has the entry 'params'"),
    "an array less": (lambda h, e: e.pop("1/params"), "it lacks params"),
    "an array of another shape": (
        lambda h, e: e.update({"1/params": np.zeros(3)}),
        "'1/params' must have shape",
    ),
    "other units": (
        lambda h, e: e.update({"1/y_mean": e["1/y_mean"] + 1}),
        "same units of rows, got another in place 1",
    ),
    "another objective": (lambda h, e: h["members"][2]["objective"].update(strength=0.5), "same objective"),
    "other names": (lambda h, e: h["members"][1].update(feature_names=["a", "b", "c"]), "same feature names"),
    "members of a member": (lambda h, e: h["members"][0].update(format=4), "'format'"),
    "settings": (lambda h, e: h["settings"].update(members=0), "members must be"),
    "a field of another kind": (lambda h, e: h.update(interrupted="no"), "'interrupted'"),
    "a field less": (lambda h, e: h.pop("settings"), "settings"),
    "an older format": (lambda h, e: h.update(format=3), "'format'"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_files_that_are_refused(name, three, tmp_path):
    change, message = BROKEN[name]
    with pytest.raises(ft.ModelFileError) as caught:
        ft.load(broken(three, tmp_path, change))
    assert message in str(caught.value)


def test_pickles_and_copies(three):
    again = pickle.loads(pickle.dumps(three))
    np.testing.assert_array_equal(again.curiosity(POOL), three.curiosity(POOL))
    assert dataclasses.replace(three, interrupted=True).interrupted


def test_summary_is_plain(several):
    summary = json.loads(json.dumps(several.summary()))
    assert len(summary["members"]) == 3
    assert summary["members"][0] == "seed 0: settled, trusted"
    assert summary["certificate"]["trusted"]
    assert summary["training"]["rows"] == 60


# ---- refusals, failures, interrupts ----


@pytest.mark.parametrize("members", [0, -1, 2.5, True, "5", None, [2]])
def test_what_is_no_number_of_members(members, monkeypatch):
    monkeypatch.setattr(stages, "train", lambda *_: pytest.fail("work was done before the check"))
    with pytest.raises((ValueError, TypeError), match="members must be a whole number >= 1, got"):
        ft.fit(X, Y, members=members)
    with pytest.raises((ValueError, TypeError), match=r"fits\[0\]: members must be a whole number >= 1, got"):
        ft.fit_many([{"X": X, "y": Y, "members": members}])


def test_starts_that_do_not_fit(three):
    for members, start, message in (
        (2, three, "start must be 2 members for members=2, got 3 members"),
        (
            3,
            three.models[0],
            "start must be 3 members for members=3, got Model; from one model all would end in one",
        ),
        (1, three, r"start must be a Model, got 3 members; .*start.models\[0\], or members=3"),
    ):
        with pytest.raises(TypeError, match=message):
            ft.fit(X, Y, members=members, start=start, **QUICK)


def test_models_that_do_not_go_together(three, two_outputs):
    other = ft.fit(X[:50], Y[:50], dtype="float64", **QUICK)
    for models, error, message in (
        ((), ValueError, "models must have at least 1 model, got none"),
        ((three.models[0], 3), TypeError, "models must be of Model, got int in place 1"),
        ((three.models[0], two_outputs.models[0]), ValueError, "same network, got another in place 1"),
        ((three.models[0], other), ValueError, r"same units of rows, got another .* fit\(..., members=2\)"),
    ):
        with pytest.raises(error, match=message):
            Members(models)


ALONE = {
    "exact": lambda m: ft.exact(m, X, Y),
    "refit": lambda m: ft.refit(m, X, Y, [ft.Change.leave_out(0)]),
    "refit_curves": lambda m: ft.refit_curves(m, X, Y, [ft.Change.leave_out(0)]),
    "unlearn": lambda m: ft.unlearn(m, X, Y, remove=[0]),
    "learning_loss": lambda m: ft.learning_loss(m, X, Y),
}


@pytest.mark.parametrize("name", ALONE)
def test_what_is_about_one_minimum_wants_one_model(name, three):
    with pytest.raises(
        TypeError, match=r"model must be one Model for .*, got 3 members; .* model.models\[0\]"
    ):
        ALONE[name](three)


def test_attributes_of_one_model_say_so(three):
    for name in ("params", "tangents", "history", "training", "problem", "slope_squared"):
        with pytest.raises(
            AttributeError, match=rf"'{name}' is of one model, and there are 3; .* model.models\[0\]"
        ):
            getattr(three, name)
    assert not hasattr(three, "params")
    with pytest.raises(AttributeError, match="'Members' object has no attribute 'nothing'"):
        three.nothing  # noqa: B018
    with pytest.raises(TypeError, match="members"):
        ft.fit_with_learning_loss(X, Y, members=2)


@pytest.mark.parametrize("threads", [1, 2])
def test_a_member_that_fails(threads, monkeypatch):
    """Its error names it, and the others are kept."""
    monkeypatch.setattr(forked, "possible", lambda n: False)
    stage, bad = stages.train, member_seeds(0, 4)[2]

    def train(problem, schedule, start, dtype, rng, *more):
        if (
            np.random.default_rng(bad).bit_generator.state["state"]["inc"]
            == rng.bit_generator.state["state"]["inc"]
        ):
            raise ft.DivergenceError("training diverged")
        return stage(problem, schedule, start, dtype, rng, *more)

    monkeypatch.setattr(stages, "train", train)
    with pytest.raises(ft.DivergenceError, match=r"^member 2: training diverged$") as caught:
        ft.fit(X, Y, members=4, threads=threads, **QUICK)
    assert [one is None for one in caught.value.models] == [False, False, True, False]
    with pytest.raises(ft.DivergenceError, match=r"^fits\[1\]: member 2: training diverged$") as caught:
        ft.fit_many([{"X": X, "y": Y, "members": n, **QUICK} for n in (2, 4)], threads=threads)
    assert isinstance(caught.value.models[0], Members)
    assert caught.value.models[1] is None


def test_all_members_fail():
    with pytest.raises(
        ft.DivergenceError, match=r"^member 0: .*\(3 of 3 members failed, also member 1, member 2\)"
    ):
        ft.fit(X, Y, members=3, **QUICK, **WILD)
    with pytest.raises(ft.DivergenceError, match=r"^member 0: "):
        ft.fit(X, Y, members=3, hidden=(4,), **WILD)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("strength", [0.05, "auto"])
def test_ctrl_c_keeps_the_members_that_there_are(threads, strength):
    def listen(stage, done, total, **figures):
        assert (stage, total) == ("members", 4)
        if done == 2:
            signal.raise_signal(signal.SIGINT)

    found = ft.fit(X, Y, members=4, progress=listen, threads=threads, **{**QUICK, "strength": strength})
    assert found.interrupted
    assert 2 <= len(found.models) <= 4
    assert found.models[0].certificate.trusted
    assert np.isfinite(found.predict(POOL)).all()
    file = io.BytesIO()
    pickle.dump(found, file)


def test_ctrl_c_before_any_member(monkeypatch):
    def train(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(forked, "possible", lambda n: False)
    monkeypatch.setattr(stages, "train", train)
    with pytest.raises(KeyboardInterrupt):
        ft.fit(X, Y, members=4, **QUICK)


def test_an_interrupt_is_kept_in_the_file(three, tmp_path):
    two = Members(three.models[:2], three.settings, interrupted=True)
    again = saved_and_loaded(two, tmp_path / "m.npz")
    assert again.interrupted
    assert len(again.models) == 2
    assert again.summary()["training"]["interrupted"]


@pytest.mark.parametrize(("threads", "rounds"), [(1, 6), (2, 3), (4, 2), (9, 1)])
def test_a_budget_is_for_all_members(threads, rounds):
    found = ft.fit(X, Y, members=6, settle=60.0, threads=threads, **QUICK)
    assert found.settings.settle == 60.0
    assert {one.settings.settle for one in found.models} == {60.0 / rounds}


def test_a_budget_with_a_search():
    """Half for the member that learns; what it leaves for the others."""
    found = ft.fit(X, Y, members=5, settle=60.0, threads=2, hidden=(4,))
    first, *others = found.models
    assert first.settings.settle == 30.0
    left = (60.0 - first.training["settling_seconds"]) / 2
    assert {one.settings.settle for one in others} == {left}
    assert found.certificate.trusted
    short = ft.fit(X, Y, members=2, settle=1e-6, hidden=(4,))
    assert not short.certificate.trusted
