"""`target_transform`: the network learns a transform of y, and what a user sees is in units of y."""

import json

import numpy as np
import pytest

import fasttangent as ft
from fasttangent.common.powers import Power, inverse, slopes, transformed
from fasttangent.model import saving
from fasttangent.problem.target_scaling import power_of, with_power

RNG = np.random.default_rng(0)
X = RNG.uniform(-1, 1, (120, 2))
Y = np.exp(2 * np.sin(2 * X[:, 0]) + X[:, 1] + 0.2 * RNG.normal(size=120))
NEW = RNG.uniform(-1.2, 1.2, (40, 2))
HOW = {"hidden": (8,), "strength": 1e-2, "dtype": "float64"}
WITH = {**HOW, "target_transform": "yeo-johnson"}


@pytest.fixture(scope="module")
def model():
    return ft.fit(X, Y, tangents=("strength", "posterior"), **WITH)


@pytest.fixture(scope="module")
def by_hand(model):
    """The model of labels that were transformed beforehand."""
    return ft.fit(X, transformed(Y, power(model)), tangents=("strength", "posterior"), **HOW)


def power(model):
    return Power(*power_of(model.scaling))


def test_the_same_network_as_of_labels_that_were_transformed(model, by_hand):
    np.testing.assert_array_equal(model.params, by_hand.params)
    np.testing.assert_array_equal(model.tangents["strength"], by_hand.tangents["strength"])
    assert 0 <= power(model).power < 0.5  # near a logarithm, as it was made
    assert model.certificate.trusted


def test_predictions_are_medians_and_deviations_half_of_the_middle(model, by_hand):
    """Against draws of labels."""
    found, deviation = model.predict(NEW, return_std=True)
    np.testing.assert_array_equal(found, inverse(by_hand.predict(NEW), power(model)))
    np.testing.assert_array_equal(model.predict(NEW), found)
    m, s = by_hand.predict(NEW, return_std=True)
    labels = inverse(m + s * np.random.default_rng(1).normal(size=(200_000, 1)), power(model))
    low, middle, high = np.quantile(labels, [0.158655, 0.5, 0.841345], axis=0)
    np.testing.assert_allclose(found, middle, rtol=0.02, atol=1e-3)
    np.testing.assert_allclose(deviation, (high - low) / 2, rtol=0.02)


def test_draws_are_functions_in_the_units_of_y(model, by_hand):
    np.testing.assert_array_equal(model.posterior(NEW, 9), inverse(by_hand.posterior(NEW, 9), power(model)))


def test_sensitivity_is_the_derivative_of_the_prediction():
    h, strength = 1e-3, WITH["strength"]
    middle, above, below = (ft.fit(X, Y, **{**WITH, "strength": strength * f}) for f in (1, 1 + h, 1 - h))
    assert power(above) == power(below)
    found = middle.sensitivity(NEW)
    difference = (above.predict(NEW) - below.predict(NEW)) / (2 * h * strength)
    near = np.abs(difference - found) < 1e-2 * np.abs(found).max()
    assert near.all()
    np.testing.assert_array_equal(middle.score(NEW).sensitivity, found)
    np.testing.assert_array_equal(middle.score(NEW).prediction, middle.predict(NEW))


def test_the_chain_rule(model, by_hand):
    """To rounding; and influence and curiosity are those of the network."""
    prediction = model.predict(NEW)
    wanted = by_hand.sensitivity(NEW) / slopes(prediction, power(model))
    np.testing.assert_allclose(model.sensitivity(NEW), wanted, rtol=1e-12)
    t = transformed(Y, power(model))
    np.testing.assert_array_equal(model.influence(X, Y), by_hand.influence(X, t))
    np.testing.assert_array_equal(model.curiosity(NEW), by_hand.curiosity(NEW))
    np.testing.assert_array_equal(model.curiosity(NEW, "posterior"), by_hand.curiosity(NEW, "posterior"))
    np.testing.assert_array_equal(model.embed(NEW), by_hand.embed(NEW))
    ours, theirs = model.problem(X, Y), by_hand.problem(X, t)
    one, other = ours.value_and_gradient(model.params), theirs.value_and_gradient(by_hand.params)
    assert one[0] == other[0]
    np.testing.assert_array_equal(one[1], other[1])


@pytest.mark.parametrize("strategy", ["top", "lcmd", "sample", "egl", "maxdet"])
@pytest.mark.parametrize("weight", ["curiosity", "sensitivity"])
def test_batches_are_those_of_the_network(model, by_hand, strategy, weight):
    if strategy == "egl":  # whose spread is in units of y, to first order those of the network
        assert len(ft.select(model, NEW, 5, strategy=strategy)) == 5
        return
    picks = [
        ft.select(one, NEW, 5, strategy=strategy, weight=weight, labeled=X).indices
        for one in (model, by_hand)
    ]
    np.testing.assert_array_equal(*picks)


def test_what_gains_nothing_is_not_transformed():
    y = RNG.normal(size=120)
    plain, asked = ft.fit(X, y, **HOW), ft.fit(X, y, **WITH)
    assert power_of(asked.scaling) is None
    np.testing.assert_array_equal(asked.params, plain.params)


def test_units_cost_nothing(model):
    for unit in (2.0**40, 2.0**-40):
        one = ft.fit(X, unit * Y, tangents=("strength", "posterior"), **WITH)
        np.testing.assert_allclose(one.predict(NEW) / unit, model.predict(NEW), rtol=1e-6)
        assert one.predict(NEW).dtype == np.float64


@pytest.mark.parametrize("largest", [1e12, 1e100, 1e300])
def test_a_label_far_from_all_others(largest):
    """The transform takes it nearer; what is beyond the range of numbers is inf, without a word of NumPy's."""
    one = ft.fit(X, np.append(Y[:-1], largest), tangents=("strength", "posterior"), **WITH)
    assert (power_of(one.scaling) is None) == (largest == 1e300)  # whose square is no number: as it is
    far = np.vstack([NEW, [[1e6, -1e6]], [[-1e6, 1e6]]])
    prediction, deviation = one.predict(far, return_std=True)
    assert not np.isnan(prediction).any()
    assert (deviation > 0).all()
    assert np.isfinite(prediction[:40]).all()
    one.score(far)


def test_predictions_beyond_the_range_are_infinite(model):
    F = np.array([[1e3], [-1e3], [0.0]])
    scaling = with_power(model.scaling, (0.0, 0.0, 1e300))
    np.testing.assert_array_equal(np.isinf(scaling.predictions(F))[:, 0], [True, False, False])
    assert np.isinf(scaling.deviations(F, np.ones((3, 1)))[0])
    assert not np.isnan(scaling.changes_at(F, np.ones((3, 1)))).any()


def test_weights_are_rows():
    w = RNG.integers(0, 3, 120)
    twice = ft.fit(np.repeat(X, w, axis=0), np.repeat(Y, w), **WITH)
    np.testing.assert_allclose(power(ft.fit(X, Y, sample_weight=w, **WITH)), power(twice), rtol=1e-3)


def test_a_warm_start_keeps_the_transform(model):
    again = ft.fit(X[:60], Y[:60], start=model, epochs=0, settle=False, **WITH)
    assert power(again) == power(model)
    np.testing.assert_allclose(again.predict(NEW), model.predict(NEW), rtol=1e-10)
    with pytest.raises(
        ValueError, match="start must be a model without a transform of the target, got one with"
    ):
        ft.fit(X, Y, start=model, **HOW)
    plain = ft.fit(X, Y, **HOW)
    assert power_of(ft.fit(X, Y, start=plain, **WITH).scaling) is None


def test_users_and_columns_and_huber_losses():
    who = np.arange(120) % 2
    users = ft.fit(X, Y * (1 + who), users=who, hidden=(8,), strength=1e-2, target_transform="yeo-johnson")
    one = users.of_user(1)
    np.testing.assert_array_equal(users.predict(NEW, users=np.ones(40, int)), one.predict(NEW))
    np.testing.assert_array_equal(users.score(NEW, users=np.ones(40, int)).sensitivity, one.sensitivity(NEW))
    robust = ft.fit(X, Y, loss="huber", **WITH)
    by_hand = ft.fit(X, transformed(Y, power(robust)), loss="huber", **HOW)
    np.testing.assert_array_equal(robust.curiosity(NEW), by_hand.curiosity(NEW))


def test_files(model, tmp_path):
    model.save(tmp_path / "m.npz")
    again = ft.load(tmp_path / "m.npz")
    for one, other in zip(
        model.predict(NEW, return_std=True), again.predict(NEW, return_std=True), strict=True
    ):
        np.testing.assert_array_equal(one, other)
    assert again.settings == model.settings
    assert again.summary()["target_power"] == list(power(model))
    ft.fit(X, Y, **HOW).save(tmp_path / "plain.npz")
    header = json.loads(np.load(tmp_path / "plain.npz")[saving.HEADER].tobytes())
    assert header["format"] == saving.SINGLE
    assert "target_transform" not in header["settings"]


@pytest.mark.parametrize(
    ("power", "version", "words"),
    [
        ([0.5, 0.0, 0.0], 6, "target_power.*must be a power from 0 to 2"),
        ([2.5, 0.0, 1.0], 6, "target_power.*must be a power from 0 to 2"),
        ([0.5, 1.0], 6, "target_power.*must be a power from 0 to 2"),
        ([0.5, 0.0, 1.0], 3, "'format' must be 5 .* 6 where the target is transformed"),
        (None, 6, "'format' must be 5 .* 6 where the target is transformed"),
    ],
)
def test_a_changed_file_is_refused(model, tmp_path, power, version, words):
    model.save(tmp_path / "m.npz")
    with np.load(tmp_path / "m.npz") as file:
        arrays = dict(file)
    header = json.loads(arrays[saving.HEADER].tobytes())
    header |= {"target_power": power, "format": version}
    if power is None:
        del header["target_power"]
    arrays[saving.HEADER] = np.frombuffer(json.dumps(header).encode(), np.uint8)
    np.savez(tmp_path / "changed.npz", **arrays)
    with pytest.raises(ft.ModelFileError, match=words):
        ft.load(tmp_path / "changed.npz")


@pytest.mark.parametrize("p", [0.0, 0.4, 1.0, 2.0])
@pytest.mark.filterwarnings("ignore:overflow")
def test_onnx(model, p):
    pytest.importorskip("onnx")
    from dataclasses import replace

    from onnx.reference import ReferenceEvaluator

    one = replace(model, scaling=with_power(model.scaling, (p, 0.5, 2.0)))
    (found,) = ReferenceEvaluator(one.to_onnx()).run(None, {"X": NEW})
    wanted = one.predict(NEW)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-12 * abs(wanted).max())


def test_inverses():
    values = np.concatenate([-np.logspace(-12, 8, 60), [0.0], np.logspace(-12, 8, 60), [np.nan]])
    for p in (0.0, 1e-12, 1e-3, 0.5, 1.0, 1.7, 2 - 1e-12, 2.0):
        how = Power(p, 3.0, 2.0)
        np.testing.assert_allclose(inverse(transformed(values, how), how), values, rtol=1e-9, atol=1e-14)


NOT_YET = "is not there yet for a model with a transform of the target; fit without target_transform"
REFUSED = {
    "several outputs": (lambda m: ft.fit(X, np.column_stack([Y, Y]), **WITH), "y must have one output .* got 2"),
    "members": (lambda m: ft.fit(X, Y, members=2, **WITH), "members must be 1 with target_transform, got 2"),
    "another word": (lambda m: ft.fit(X, Y, **{**HOW, "target_transform": "log"}), "target_transform must be .*'log'"),
    "exact influence": (lambda m: ft.exact(m, X, Y), f"exact influence {NOT_YET}"),
    "refits": (lambda m: ft.refit(m, X, Y, []), f"refits {NOT_YET}"),
    "unlearning": (lambda m: ft.unlearn(m, X, Y, remove=[0]), f"unlearning {NOT_YET}"),
    "to_torch": (lambda m: m.to_sklearn(), f"to_torch or to_sklearn {NOT_YET}, or use to_onnx"),
    "a variance": (lambda m: m.curiosity(NEW, 0.5), f"variance must be None or 'posterior' .*{NOT_YET}"),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_not_there_yet_is_named(model, what):
    call, words = REFUSED[what]
    with pytest.raises(ValueError, match=words):
        call(model)


def test_in_a_loop():
    """A learner takes it as any argument of `fit`, also where one fit starts from the one before."""
    for start in ("cold", "warm"):
        learner = ft.ActiveLearner(
            NEW, X, Y, oracle=np.exp(NEW[:, 0]), batch=5, start=start, fit={**WITH, "epochs": 20}, threads=1
        )
        learner.run(2)
        assert power_of(learner.model.scaling) is not None
