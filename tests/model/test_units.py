"""Units cost nothing: data times a power of two give the same model, and results times that power, to the bit.

Where float64 ends an error says so before any work: which argument and column, and what to do.
"""

import dataclasses
import functools
import re

import numpy as np
import pytest

import fasttangent as ft
from fasttangent.problem.scaling import LARGEST, SMALLEST, Scaling, fit_scaling, transferred

EXPONENTS = (-996, -700, -300, -130, -100, -90, 90, 100, 130, 300, 700, 996)  # 1.5e-300 to 6.7e299
RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 3)) * [1, 20, 0.03] + [0, 5, 2]
Z = (X - [0, 5, 2]) / [1, 20, 0.03]
Y = 7 + 3 * (np.sin(Z[:, 0]) + 0.5 * Z[:, 1] * Z[:, 2] + 0.1 * RNG.normal(size=40))
NEW = RNG.normal(size=(25, 3)) * [1, 20, 0.03] + [0, 5, 2]
Y_NEW = 7 + 3 * RNG.normal(size=25)
MIXED = np.array([300, -700, 40])  # columns in units that differ

pytestmark = pytest.mark.filterwarnings("ignore::fasttangent.UntrustedTangentWarning")


def fitted(x_exponent=0, y_exponent=0, y=Y, **more):
    options = {
        "hidden": (5,),
        "strength": 1e-2,
        "epochs": 20,
        "tangents": ("strength", "posterior"),
        "samples": 8,
    }
    return ft.fit(np.ldexp(X, x_exponent), np.ldexp(y, y_exponent), **{**options, **more})


@pytest.fixture(scope="module", params=["float32", "float64"])
def plain(request):
    return fitted(dtype=request.param)


@pytest.fixture(scope="module")
def double():
    return fitted(dtype="float64")


def same(found, plain, exponent=0):
    """Whether `found` is `plain` times a power of two, to the bit, in the dtype of `plain`."""
    found, plain = np.asarray(found), np.asarray(plain)
    np.testing.assert_array_equal(np.ldexp(found, -exponent).astype(plain.dtype), plain)


def same_model(model, plain):
    same(model.params, plain.params)
    for name, tangent in plain.tangents.items():
        same(model.tangents[name], tangent)
    same(model.slope_squared, plain.slope_squared)
    assert model.noise == plain.noise
    assert model.certificate == plain.certificate
    assert model.certificate.trusted


def same_scores(model, plain, x_exponent, y_exponent):
    new, y_new = np.ldexp(NEW, x_exponent), np.ldexp(Y_NEW, y_exponent)
    same(model.predict(new), plain.predict(NEW), y_exponent)
    for found, wanted in zip(
        model.predict(new, return_std=True), plain.predict(NEW, return_std=True), strict=True
    ):
        same(found, wanted, y_exponent)
    draws = np.ldexp(model.posterior(new, 4), -y_exponent)
    np.testing.assert_allclose(draws, plain.posterior(NEW, 4), rtol=0 if plain.dtype == "float64" else 1e-6)
    same(model.sensitivity(new), plain.sensitivity(NEW), y_exponent)
    same(model.influence(new, y_new), plain.influence(NEW, Y_NEW))
    same(model.curiosity(new), plain.curiosity(NEW))
    same(model.curiosity(new, "posterior"), plain.curiosity(NEW, "posterior"))
    scores, wanted = model.score(new), plain.score(NEW)
    same(scores.prediction, wanted.prediction, y_exponent)
    same(scores.sensitivity, wanted.sensitivity, y_exponent)
    same(scores.curiosity, wanted.curiosity)
    for kind in ("posterior", "error", "gradient", "hidden", "input"):
        same(model.embed(new, kind), plain.embed(NEW, kind))


@pytest.mark.parametrize("exponent", EXPONENTS)
def test_units_of_the_inputs(plain, exponent):
    model = fitted(x_exponent=exponent, dtype=plain.dtype)
    same_model(model, plain)
    same(model.scaling.x_mean, plain.scaling.x_mean, exponent)
    same(model.scaling.x_scale, plain.scaling.x_scale, exponent)
    same_scores(model, plain, exponent, 0)


@pytest.mark.parametrize("exponent", EXPONENTS)
def test_units_of_the_labels(plain, exponent):
    model = fitted(y_exponent=exponent, dtype=plain.dtype)
    same_model(model, plain)
    same(model.scaling.y_mean, plain.scaling.y_mean, exponent)
    same(model.scaling.y_scale, plain.scaling.y_scale, exponent)
    same_scores(model, plain, 0, exponent)


def test_columns_in_units_of_their_own(plain):
    model = fitted(x_exponent=MIXED, y_exponent=-996, dtype=plain.dtype)
    same_model(model, plain)
    same_scores(model, plain, MIXED, -996)


@pytest.mark.parametrize("exponent", [-996, 0, 996])
def test_units_of_several_outputs(exponent):
    y = np.column_stack([Y, Z[:, 1] ** 2])
    w = np.random.default_rng(1).uniform(0.5, 2, len(y))
    options = {"y": y, "dtype": "float64", "sample_weight": w}
    plain, model = fitted(**options), fitted(y_exponent=[exponent, 30], **options)
    same(model.params, plain.params)
    np.testing.assert_array_equal(np.ldexp(model.predict(NEW), [-exponent, -30]), plain.predict(NEW))
    scaled = np.ldexp(y, [exponent, 30])
    found = ft.exact(model, X, scaled, sample_weight=w).influence_on_predictions(X, scaled, NEW[:3])
    wanted = ft.exact(plain, X, y, sample_weight=w).influence_on_predictions(X, y, NEW[:3])
    np.testing.assert_array_equal(np.ldexp(found, [-exponent, -30]), wanted)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("factor", [1e-300, 1e-200, 1e-45, 1e-38, 1e38, 1e200, 1e300])
def test_units_that_are_no_powers_of_two(factor, dtype):
    plain, options = fitted(dtype="float64"), {"tangents": "strength", "dtype": dtype}
    for a, b in ((factor, 1), (1, factor), (factor, factor)):
        model = ft.fit(X * a, Y * b, hidden=(5,), strength=1e-2, epochs=20, **options)
        assert model.certificate.trusted
        np.testing.assert_allclose(model.predict(NEW * a) / b, plain.predict(NEW), rtol=1e-4)


def test_what_float32_holds_stays_float32_and_else_results_are_float64():
    for exponent, dtype in (
        (0, "float32"),
        (90, "float32"),
        (-90, "float32"),
        (110, "float64"),
        (-110, "float64"),
    ):
        model = fitted(y_exponent=exponent)
        prediction, deviation = model.predict(X, return_std=True)
        several = (prediction, deviation, model.sensitivity(X), model.posterior(X), *model.score(X)[:2])
        assert {str(a.dtype) for a in several} == {dtype}
        assert model.embed(X).dtype == "float32"


def test_rows_in_float32_of_its_largest_numbers():
    """Kernels take numbers below the normal range for zero: weights over scales of 1e37 would be."""
    wide = (Z * 1e37).astype(np.float32)
    model = ft.fit(wide, Y, hidden=(5,), strength=1e-2, epochs=20)
    plain = ft.fit(Z, Y, hidden=(5,), strength=1e-2, epochs=20, dtype="float64")
    np.testing.assert_allclose(model.predict(wide), plain.predict(Z), rtol=1e-5)
    np.testing.assert_allclose(model.embed(wide, "input"), plain.embed(Z, "input"), rtol=1e-5, atol=1e-5)


def test_a_constant_column_in_any_unit(plain):
    with pytest.warns(UserWarning, match="constant in column 1"):
        model = ft.fit(
            np.insert(X, 1, 1e303, axis=1), Y, hidden=(5,), strength=1e-2, epochs=20, dtype=plain.dtype
        )
    assert np.isinf(model.scaling.x_scale[1])
    other = np.insert(NEW, 1, -3e302, axis=1)
    np.testing.assert_array_equal(model.predict(other), model.predict(np.insert(NEW, 1, 1e303, axis=1)))
    assert np.isfinite(model.predict(other)).all()


# ---- what is made of a model ----


@pytest.mark.parametrize("exponents", [(996, -996), (-996, 996)])
def test_picks(plain, exponents):
    a, b = exponents
    model = fitted(a, b, dtype=plain.dtype)
    for strategy in (
        "error",
        "variance",
        "maxdet",
        "lcmd",
        "kmeans++",
        "greedy-x",
        "greedy-y",
        "sample",
        "top",
        "egl",
    ):
        found = ft.select(model, np.ldexp(NEW, a), 6, strategy=strategy, labeled=np.ldexp(X, a), seed=3)
        wanted = ft.select(plain, NEW, 6, strategy=strategy, labeled=X, seed=3)
        np.testing.assert_array_equal(found.indices, wanted.indices)
        same(found.scores, wanted.scores)


@pytest.mark.parametrize("exponents", [(996, -996), (-996, 996)])
def test_exact_influence(double, exponents):
    a, b = exponents
    model, x, y, new = fitted(a, b, dtype="float64"), np.ldexp(X, a), np.ldexp(Y, b), np.ldexp(NEW, a)
    found, wanted = ft.exact(model, x, y), ft.exact(double, X, Y)
    same(found.sensitivity(new), wanted.sensitivity(NEW), b)
    same(found.influence(x, y), wanted.influence(X, Y))
    same(found.self_influence(x, y), wanted.self_influence(X, Y))
    same(found.influence_on_predictions(x, y, new), wanted.influence_on_predictions(X, Y, NEW), b)
    groups = np.arange(len(X)) % 3
    same(
        found.influence_on_predictions(x, y, new, groups=groups),
        wanted.influence_on_predictions(X, Y, NEW, groups=groups), b,
    )  # fmt: skip
    on, unit = np.stack([double.params, Z[:26, 0]]), np.array([0, b])
    same(
        found.influence(x, y, on * np.ldexp(1.0, unit)[:, None]) / np.ldexp(1.0, unit),
        wanted.influence(X, Y, on),
    )
    top, other = found.top(x, y, new, 4), wanted.top(X, Y, NEW, 4)
    np.testing.assert_array_equal(top.rows, other.rows)
    same(top.influence, other.influence, b)
    left, other = found.leave_one_out(), wanted.leave_one_out()
    same(left.prediction, other.prediction, b)
    same(left.residual, other.residual, b)
    iterative = ft.exact(model, x, y, solver="cg").influence_on_predictions(x, y, new)
    assert np.isfinite(iterative).all()
    same(iterative, ft.exact(double, X, Y, solver="cg").influence_on_predictions(X, Y, NEW), b)


@pytest.mark.parametrize("exponents", [(996, -996), (-996, 996)])
def test_refits_and_unlearning(double, exponents):
    a, b = exponents
    model, x, y = fitted(a, b, dtype="float64"), np.ldexp(X, a), np.ldexp(Y, b)

    def changes(a, b):
        return [ft.Change.leave_out(1), ft.Change.add(np.ldexp(NEW[0], a), np.ldexp(Y_NEW[0], b))]

    found = ft.refit(model, x, y, changes(a, b), at=np.ldexp(NEW, a))
    wanted = ft.refit(double, X, Y, changes(0, 0), at=NEW)
    same(found.complexity, wanted.complexity)
    same(found.predictions, wanted.predictions, b)
    same(found.predictions_second, wanted.predictions_second, b)
    assert found.agreement(of="predictions") == wanted.agreement(of="predictions")
    new_X, new_y = X[3:4] * 1.01, Y[3:4] + 0.2
    found = ft.unlearn(model, x, y, correct=[3], new_X=np.ldexp(new_X, a), new_y=np.ldexp(new_y, b))
    wanted = ft.unlearn(double, X, Y, correct=[3], new_X=new_X, new_y=new_y)
    same(found.model.params, wanted.model.params)
    assert found.gradient_after == wanted.gradient_after


@pytest.mark.parametrize("exponents", [(996, -996), (-996, 996)])
def test_files(plain, tmp_path, exponents):
    model = fitted(*exponents, dtype=plain.dtype)
    model.save(tmp_path / "m.npz")
    again = ft.load(tmp_path / "m.npz")
    same_model(again, plain)
    same_scores(again, plain, *exponents)


@pytest.mark.parametrize("exponents", [(996, -996), (-996, 996)])
def test_warm_starts(double, exponents):
    a, b = exponents
    model = fitted(a, b, dtype="float64")
    warm = fitted(a, b, dtype="float64", start=model, epochs=0, settle=False)
    np.testing.assert_allclose(np.ldexp(warm.predict(np.ldexp(NEW, a)), -b), double.predict(NEW), rtol=1e-12)
    part = slice(0, 30)
    options = {"hidden": (5,), "strength": 1e-2, "epochs": 5, "dtype": "float64", "settle": False}
    found = ft.fit(np.ldexp(X[part], a), np.ldexp(Y[part], b), start=model, **options)
    same(found.params, ft.fit(X[part], Y[part], start=double, **options).params)


def test_a_start_in_other_units(double):
    """The function stays what it is, in whatever units rows now come; where it has no numbers there, an error."""
    with pytest.raises(
        ValueError, match=r"start must be a model of rows in comparable units.*or leave start out"
    ):
        fitted(0, -996, dtype="float64", start=fitted(0, 996, dtype="float64"))
    with pytest.raises(ValueError, match="start must be a model of rows in comparable units"):
        fitted(996, 0, dtype="float64", start=double)
    found = fitted(0, 996, dtype="float64", start=double, epochs=0, settle=False)
    assert np.isfinite(found.params).all()
    assert np.ptp(np.ldexp(found.predict(NEW), -996)) < 1e-200  # next to labels of 1e300, as it should be


@pytest.mark.parametrize("exponents", [(996, -996), (-996, 996)])
def test_learned_losses(double, exponents):
    a, b = exponents
    model, x, y = fitted(a, b, dtype="float64"), np.ldexp(X, a), np.ldexp(Y, b)
    for folds in (None, 3):
        options = {"folds": folds, "epochs": 2, "fold_settings": {"epochs": 2, "settle": False}}
        head, wanted = ft.learning_loss(model, x, y, **options), ft.learning_loss(double, X, Y, **options)
        np.testing.assert_allclose(head.predict(np.ldexp(NEW, a)), wanted.predict(NEW), rtol=1e-6)


def test_joint_training():
    options = {"hidden": (5,), "epochs": 2, "dtype": "float64"}
    _, plain = ft.fit_with_learning_loss(X, Y, **options)
    for a, b in ((996, -996), (-996, 996)):
        _, head = ft.fit_with_learning_loss(np.ldexp(X, a), np.ldexp(Y, b), **options)
        same(head.params, plain.params)
        np.testing.assert_allclose(head.predict(np.ldexp(NEW, a)), plain.predict(NEW), rtol=1e-6)


def test_a_variance_in_units_of_y_squared(plain):
    for exponent in (-500, 500):
        model = fitted(0, exponent, dtype=plain.dtype)
        same(model.curiosity(NEW, np.ldexp(2.0, 2 * exponent)), plain.curiosity(NEW, 2.0))
    tiny = fitted(0, -996, dtype=plain.dtype)
    with pytest.raises(
        ValueError, match=r"variance must be a number in variances of y, got 2 .*units of y squared"
    ):
        tiny.curiosity(NEW, 2.0)


# ---- where float64 ends ----


def column_of(a, value, j=1):
    a = np.array(a)
    a[3, j] = value
    return a


@pytest.mark.parametrize("value", [1e305, -1.7e308])
def test_values_too_large_to_learn_from(value):
    for options in ({}, {"dtype": "float64"}, {"feature_names": ["a", "speed", "c"]}):
        column = "'speed'" if "feature_names" in options else "1"
        words = f"X must be at most 1.1e+304 in size, got {value:g} in column {column}; divide it by 1e100"
        with pytest.raises(ValueError, match=re.escape(words)):
            ft.fit(column_of(X, value), Y, **options)
    y = Y.copy()
    y[3] = value
    with pytest.raises(ValueError, match=r"y must be at most 1\.1e\+304 in size, got .*; divide it by 1e100"):
        ft.fit(X, y)
    with pytest.raises(
        ValueError, match=r"y must be at most 1\.1e\+304 in size, got .* in output 1; divide it"
    ):
        ft.fit(X, column_of(np.column_stack([Y, Y]), value))
    w = np.ones(len(X))
    w[3] = 0
    ft.fit(column_of(X, value), y, sample_weight=w, hidden=(2,), epochs=1, settle=False)


def test_values_that_vary_too_little():
    with pytest.raises(
        ValueError, match=r"X must have a standard deviation of .*9\.1e-305, .* in column 0; multiply"
    ):
        ft.fit(X * [1e-306, 1, 1], Y)
    with pytest.raises(
        ValueError, match=r"y must have a standard deviation of .*9\.1e-305, .*; multiply it by 1e100"
    ):
        ft.fit(X, Y * 1e-306)
    with pytest.raises(ValueError, match=r"y must vary, got .*e-321 in every row"):
        ft.fit(X, np.full(len(X), 1e-320))


@pytest.mark.skipif(
    np.finfo(np.longdouble).max == np.finfo(float).max, reason="long doubles are doubles here"
)
def test_long_doubles_beyond_float64():
    with pytest.raises(ValueError, match=r"X must be at most 1\.1e\+304 in size, got inf in column 1"):
        ft.fit(column_of(X.astype(np.longdouble), np.longdouble("1e400")), Y)


@pytest.mark.parametrize(("dtype", "value"), [("float32", 1e19), ("float64", 1e151)])
def test_values_taken_as_they_are(dtype, value):
    options = {"standardize": False, "dtype": dtype, "hidden": (2,), "epochs": 1, "settle": False}
    with pytest.raises(
        ValueError, match=rf"X must be .* standardize=False.* in {dtype}, got .* in row 3, column 1"
    ):
        ft.fit(column_of(X, value), Y, **options)
    y = Y.copy()
    y[3] = -value
    with pytest.raises(
        ValueError, match=r"y must be at most .* got -1e\+\d+ in row 3, column 0; leave standardize=True"
    ):
        ft.fit(X, y, **options)
    ft.fit(X, y, **{**options, "standardize": True})


def test_numbers_of_half_precision_taken_as_they_are():
    options = {"standardize": False, "hidden": (2,), "epochs": 1, "settle": False}
    half = ft.fit(X.astype(np.float16), Y.astype(np.float16), **options)
    double = ft.fit(*(a.astype(np.float16).astype(float) for a in (X, Y)), **options)
    np.testing.assert_array_equal(half.params, double.params)


def test_rows_too_far_to_compute_with(double):
    far, y = column_of(NEW, 1e160), Y_NEW.copy()
    y[3] = -1e300
    with pytest.raises(
        ValueError, match=r"X must be within 3\.3e\+150 standard deviations .* got 1e\+160 in row 3, column 1"
    ):
        double.problem(far, Y_NEW)
    for use in (double.influence, double.problem, lambda X, y: ft.exact(double, X, y)):
        with pytest.raises(
            ValueError, match=r"y must be within .* got -1e\+300 in row 3, output 0; drop or correct"
        ):
            use(NEW, y)
    with pytest.raises(ValueError, match=r"changes\[0\]: y must be within"):
        ft.refit(double, X, Y, [ft.Change.add(NEW[0], 1e300)])
    with pytest.raises(ValueError, match="new_y must be within"):
        ft.unlearn(double, X, Y, correct=[1], new_y=[1e300])


def test_rows_too_far_for_the_dtype():
    model = fitted(x_exponent=-996)
    for use in (model.predict, model.sensitivity, model.embed):
        with pytest.raises(
            ValueError, match=r"range of float32, .*, in standard deviations .* got 1 in row 3; fit with"
        ):
            use(column_of(np.ldexp(NEW, -996), 1.0))
    with pytest.warns(
        UserWarning, match="1 row holds a value that is not finite, or too far away for float32"
    ):
        assert np.isnan(model.score(column_of(np.ldexp(NEW, -996), 1.0)).prediction).sum() == 1
    wide = fitted(x_exponent=-996, dtype="float64")
    assert np.isfinite(wide.predict(column_of(np.ldexp(NEW, -996), 1e-10))).all()


@pytest.mark.parametrize("far", [np.uint64(2**63 + 7), np.int64(-(2**63))])
def test_rows_of_whole_numbers_too_far_for_float32(far):
    model = fitted(tangents=("strength", "posterior"))
    pool = np.random.default_rng(5).integers(0, 9, (40, X.shape[1])).astype(far.dtype)
    pool[3, 2] = far
    with pytest.warns(UserWarning, match=r"1 row holds .* too far from all training rows \(first: row 3\)"):
        assert 3 not in ft.select(model, pool, 5, strategy="variance").indices


def test_rows_too_far_for_a_linear_model():
    """Without an activation to bound them, outputs grow with the rows, and squares of outputs overflow."""
    model = fitted(hidden=(), dtype="float64", tangents=("strength", "posterior"))
    far = column_of(NEW, 1e300)
    uses = {
        "predict": model.predict,
        "sensitivity": model.sensitivity,
        "curiosity": model.curiosity,
        "influence": lambda X: model.influence(X, Y_NEW),
        "posterior": model.posterior,
        **{
            kind: functools.partial(model.embed, kind=kind)
            for kind in ("posterior", "gradient", "hidden", "input")
        },
    }
    for use in uses.values():
        with pytest.raises(ValueError, match=r"X must be so near .* got 1e\+300 in row 3; drop or correct"):
            use(far)
    with pytest.warns(UserWarning, match=r"1 row holds .* or too far away for float64 \(first: row 3\)"):
        scores = model.score(far)
    for found in scores:
        assert np.isnan(found[3])
        assert np.isfinite(np.delete(found, 3)).all()


@pytest.mark.parametrize("hidden", [(), (4,)])
@pytest.mark.parametrize(("dtype", "far"), [("float32", 1e30), ("float32", 1e300), ("float64", 1e300)])
@pytest.mark.parametrize(
    "strategy", ["variance", "error", "bait", "lcmd", "egl", "top", "kmeans++", "greedy-x"]
)
def test_rows_of_a_pool_too_far_to_compute_with(hidden, dtype, far, strategy):
    model = fitted(hidden=hidden, dtype=dtype, tangents=("strength", "posterior"))
    pool = column_of(np.random.default_rng(5).normal(size=(40, X.shape[1])), far)
    with pytest.warns(
        UserWarning, match=r"1 row holds a value .* or too far from all training rows \(first: row 3\)"
    ):
        picks = ft.select(model, pool, 5, strategy=strategy)
    assert len(set(picks.indices)) == 5
    assert 3 not in picks.indices
    with pytest.raises(ValueError, match=r"labeled must be within .* got 1e\+300 in row 3, column 1"):
        ft.select(model, NEW, 2, strategy=strategy, labeled=column_of(NEW, 1e300))


def test_predictions_beyond_float64_are_infinite():
    y = np.where(np.arange(len(X)) % 2, 1e304, -1e304)
    model = ft.fit(X[:, :1], y + X[:, 0] * 1e302, hidden=(), strength=1e-6)
    assert np.isinf(model.predict([[1e9]])).all()
    assert np.isfinite(model.predict(X[:, :1])).all()


@pytest.mark.parametrize("w", [1e308, 1e-309])
def test_weights_whose_sum_is_no_number(w):
    with pytest.raises(
        ValueError, match=r"sample_weight must have a sum between 1e-300 and 1e300, got .* about 1"
    ):
        ft.fit(X, Y, sample_weight=np.full(len(X), w))


# ---- parts ----


def test_moments_in_any_unit_and_those_of_before():
    w = RNG.uniform(0, 1, len(X))
    for exponent in (-996, -300, 0, 300, 996):
        found = fit_scaling(np.ldexp(X, exponent), Y[:, None], w)
        v = (w / w.sum())[:, None]
        mean = np.sum(v * X, axis=0)
        same(found.x_mean, mean, exponent)
        same(found.x_scale, np.sqrt(np.sum(v * (X - mean) ** 2, axis=0)), exponent)
    assert SMALLEST * LARGEST == 1


def test_transferred_parameters_in_any_unit():
    layout = ft.fit(X, Y, hidden=(4,), epochs=0, settle=False).network.layout
    theta = RNG.normal(size=layout.n_params)
    old, new = fit_scaling(X, Y[:, None], np.ones(40)), fit_scaling(X[:30], Y[:30, None], np.ones(30))
    wanted = transferred(theta, layout, old, new)
    for a, b in ((996, -996), (-996, 996)):
        one, two = (
            Scaling(*(np.ldexp(v, e) for v, e in zip(vars(s).values(), (a, a, b, b), strict=True)))
            for s in (old, new)
        )
        same(transferred(theta, layout, one, two), wanted)


def test_dataclass_fields_of_scaling_are_those_of_files():
    assert [f.name for f in dataclasses.fields(Scaling)] == ["x_mean", "x_scale", "y_mean", "y_scale"]
