"""The estimator of scikit-learn: its own checks, its tools around it, and the values of `fit` to the bit."""

import inspect
import pickle
import subprocess
import sys

import joblib
import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_array
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import BaggingRegressor
from sklearn.exceptions import NotFittedError
from sklearn.inspection import permutation_importance
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import fasttangent as ft
from fasttangent.model import stages
from fasttangent.sklearn import TangentRegressor

SMALL = {"hidden": (4,), "epochs": 10, "strength": 0.1, "threads": 1}
BOTH = {"tangents": ("strength", "posterior"), "samples": 8}
RNG = np.random.default_rng(0)
X, POOL = RNG.normal(size=(40, 3)), RNG.normal(size=(200, 3))
Y = np.sin(X[:, 0]) + X[:, 1]
TWO = np.column_stack([Y, X[:, 2] ** 2])
W = RNG.integers(0, 3, 40)

# A learned strength takes weights relative to their mean, so that their unit does not matter: 2 is not a row twice.
# Nor is it to so many digits the same for rows in another order.
EXCUSED = {"check_sample_weight_equivalence_on_dense_data", "check_sample_weights_invariance"}


@pytest.fixture
def array_api(monkeypatch):
    """Without it scikit-learn leaves a check out."""
    monkeypatch.setenv("SCIPY_ARRAY_API", "1")


@parametrize_with_checks([TangentRegressor(**SMALL), TangentRegressor(**SMALL, **BOTH, members=2)])
def test_a_check_of_scikit_learn(estimator, check, array_api):
    check(estimator)


def failing(estimator):
    """Names of the checks that an estimator fails."""
    found = []
    for fresh, check in parametrize_with_checks([estimator]).args[1]:
        try:
            check(fresh)
        except Exception:
            found.append(check.func.__name__)
    return found


def test_checks_with_learned_strengths_but_for_one(array_api):
    (failed,) = failing(TangentRegressor(hidden=(4,), epochs=10))
    assert failed in EXCUSED


def regressor(**more):
    return TangentRegressor(**{**SMALL, **more})


def fitted(**more):
    return regressor(**more).fit(X, Y)


def test_parameters_are_those_of_fit():
    wanted = {p.name: p.default for p in inspect.signature(ft.fit).parameters.values()}
    other = {"seed": "random_state", "transform": "input_transform"}
    wanted = {other.get(name, name): default for name, default in wanted.items()}
    for data in ("X", "y", "sample_weight", "users", "user_layers"):
        del wanted[data]
    assert TangentRegressor().get_params() == wanted


SETTINGS = {
    "plain": {},
    "seed": {"random_state": 7},
    "more": {"activation": "silu", "validation": 0.2, "dtype": "float64", "groups": "layers", **BOTH},
    "learned": {"strength": "auto"},
    "members": {"members": 2, **BOTH},
}


@pytest.mark.parametrize("y", [Y, TWO, Y[:, None]], ids=["flat", "two", "column"])
@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_everything_is_what_fit_gives_to_the_bit(settings, y):
    told = {**SMALL, **settings}
    model = ft.fit(
        X, y, sample_weight=W, **{"seed" if name == "random_state" else name: v for name, v in told.items()}
    )
    ours = TangentRegressor(**told).fit(X, y, sample_weight=W)
    assert (ours.n_features_in_, ours.n_outputs_) == (3, y[0].size)
    pairs = [
        (ours.predict(POOL), model.predict(POOL)),
        (ours.sensitivity(POOL), model.sensitivity(POOL)),
        (ours.curiosity(POOL), model.curiosity(POOL)),
        (ours.curiosity(POOL, variance=2.0), model.curiosity(POOL, 2.0)),
        (ours.select(POOL, 5, labeled=X).indices, ft.select(model, POOL, 5, labeled=X).indices),
    ]
    if "posterior" in told.get("tangents", ()):
        pairs += zip(ours.predict(POOL, return_std=True), model.predict(POOL, return_std=True), strict=True)
    for got, wanted in pairs:
        np.testing.assert_array_equal(got, wanted)


def test_predictions_are_of_float64():
    assert {values.dtype for values in fitted(**BOTH).predict(X, return_std=True)} == {np.dtype("float64")}


def test_sensitivity_by_group():
    found = fitted(tangents=("strength", "groups"), groups="layers")
    group = next(iter(found.model_.strengths))
    np.testing.assert_array_equal(found.sensitivity(X, group), found.model_.sensitivity(X, group=group))


def test_random_states():
    def params(random_state):
        return fitted(random_state=random_state).model_.params

    np.testing.assert_array_equal(params(np.int64(3)), params(3))
    np.testing.assert_array_equal(params(np.random.RandomState(3)), params(np.random.RandomState(3)))
    np.testing.assert_array_equal(
        params(np.random.default_rng(3)), ft.fit(X, Y, seed=np.random.default_rng(3), **SMALL).params
    )
    for state in (np.random.RandomState(3), np.random.default_rng(3)):
        assert not np.array_equal(params(state), params(state))
    assert not np.array_equal(params(None), params(None))
    several = BaggingRegressor(regressor(), n_estimators=2, random_state=0).fit(X, Y)
    assert len({one.random_state for one in several.estimators_}) == 2


def test_frames_keep_their_names():
    frame, pool = pd.DataFrame(X, columns=list("abc")), pd.DataFrame(POOL, columns=list("abc"))
    found = regressor(groups="inputs").fit(frame, pd.Series(Y))
    assert list(found.feature_names_in_) == list(found.model_.feature_names) == list("abc")
    for wrong in (pool[list("cab")], pool.rename(columns={"b": "d"})):
        for method in (found.predict, found.sensitivity, found.curiosity, lambda rows: found.select(rows, 2)):
            with pytest.raises(ValueError, match="feature names should match"):
                method(wrong)
    np.testing.assert_array_equal(found.select(pool, 3, labeled=frame).indices, found.select(
        pool, 3, labeled=X).indices)  # fmt: skip
    assert not hasattr(found.fit(X, Y), "feature_names_in_")
    assert found.model_.feature_names is None
    assert found.set_params(feature_names=["u", "v", "w"]).fit(X, Y).model_.feature_names == ("u", "v", "w")


def test_pipelines_searches_and_importances():
    steps = make_pipeline(StandardScaler(), regressor()).set_output(transform="pandas")
    frame = pd.DataFrame(X, columns=list("abc"))
    search = GridSearchCV(steps, {"tangentregressor__strength": [1e-3, 0.1, 10.0]}, cv=3).fit(frame, Y)
    assert search.best_params_ != {"tangentregressor__strength": 10.0}
    assert list(search.best_estimator_[-1].feature_names_in_) == list("abc")
    assert search.score(frame, Y) > 0.8
    assert cross_val_score(regressor(), X, Y, cv=3).mean() > 0.5
    importance = permutation_importance(fitted(), X, Y, n_repeats=3, random_state=0).importances_mean
    assert np.argmin(importance) == 2
    weighted = make_pipeline(StandardScaler(), regressor()).fit(X, Y, tangentregressor__sample_weight=W)
    np.testing.assert_array_equal(
        weighted[-1].model_.params, regressor().fit(StandardScaler().fit_transform(X), Y, W).model_.params
    )


@pytest.mark.parametrize("y", [Y, TWO], ids=["flat", "two"])
def test_targets_transformed_outside(y):
    found = TransformedTargetRegressor(regressor(), func=np.sinh, inverse_func=np.arcsinh).fit(X, y)
    np.testing.assert_array_equal(
        found.predict(POOL), np.arcsinh(regressor().fit(X, np.sinh(y)).predict(POOL))
    )


@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_two_jobs_give_what_one_gives(backend):
    one = cross_val_score(regressor(), X, Y, cv=2)
    with joblib.parallel_backend(backend, n_jobs=2):
        np.testing.assert_array_equal(cross_val_score(regressor(), X, Y, cv=2), one)


@pytest.mark.parametrize("members", [1, 2])
def test_pickles_and_copies(members):
    found = fitted(**BOTH, members=members)
    again = pickle.loads(pickle.dumps(found))
    for got, wanted in zip(again.predict(X, True), found.predict(X, True), strict=True):
        np.testing.assert_array_equal(got, wanted)
    np.testing.assert_array_equal(again.select(POOL, 4).indices, found.select(POOL, 4).indices)
    assert again.model_.certificate.trusted == found.model_.certificate.trusted
    copy = clone(found)
    assert not hasattr(copy, "model_")
    assert copy.get_params() == found.get_params()


def test_a_warm_start():
    first = fitted().model_
    np.testing.assert_array_equal(
        clone(regressor(start=first)).fit(X, Y).model_.params,
        ft.fit(X, Y, start=first, **SMALL).params,
    )


def with_nan():
    rows = X.copy()
    rows[3, 1] = np.nan
    return rows


MASKED = np.ma.MaskedArray(X, mask=X > 2)
BAD = {
    "parameter": (lambda: regressor(activation="tan").fit(X, Y), ValueError, "did you mean 'tanh'"),
    "hidden": (lambda: regressor(hidden=4).fit(X, Y), TypeError, "hidden must be a sequence"),
    "generator": (lambda: regressor(random_state="x").fit(X, Y), ValueError, "'x' cannot be used to seed"),
    "negative": (lambda: regressor(random_state=-1).fit(X, Y), ValueError, "random_state must be a whole number >= 0"),
    "nan": (lambda: regressor().fit(with_nan(), Y), ValueError, "contains NaN"),
    "nan in y": (lambda: regressor().fit(X, with_nan()[:, 1]), ValueError, "y contains NaN"),
    "text": (lambda: regressor().fit([["a"], ["b"]], [1, 2]), ValueError, "arrays of bytes/strings"),
    "text in y": (lambda: regressor().fit(X[:2], ["a", "b"]), TypeError, "y must hold numbers"),
    "sparse": (lambda: regressor().fit(csr_array(X), Y), TypeError, "Sparse data was passed.*toarray"),
    "sparse y": (lambda: regressor().fit(X, csr_array(TWO)), TypeError, "y must be dense.*toarray"),
    "masked": (lambda: regressor().fit(MASKED, Y), ValueError, "X must have no masked values"),
    "masked y": (lambda: regressor().fit(X, MASKED), ValueError, "y must have no masked values"),
    "one row": (lambda: regressor().fit(X[:1], Y[:1]), ValueError, "1 sample.*minimum of 2"),
    "weights": (lambda: regressor().fit(X, Y, -W), ValueError, "sample_weight must be >= 0"),
    "no weights": (lambda: regressor().fit(X, Y, 0 * W), ValueError, "a weight of zero leaves a row out"),
    "unfitted": (lambda: regressor().predict(X), NotFittedError, "is not fitted yet"),
    "unfitted, select": (lambda: regressor().select(X, 2), NotFittedError, "is not fitted yet"),
    "columns": (lambda: fitted().curiosity(X[:, :2]), ValueError, "X has 2 features, but"),
    "masked rows": (lambda: fitted().predict(MASKED), ValueError, "X must have no masked values"),
    "no deviations": (lambda: fitted().predict(X, return_std=True), ValueError, 'tangents=."strength", "post'),
    "no noise": (lambda: fitted().select(POOL, 2), ValueError, "pass the rows it was fitted on .labeled="),
    "strategy": (lambda: fitted().select(POOL, 2, strategy="tpo"), ValueError, "did you mean 'top'"),
}  # fmt: skip


@pytest.mark.parametrize(("call", "error", "words"), BAD.values(), ids=BAD)
def test_bad_input_is_named(call, error, words):
    with pytest.raises(error, match=words):
        call()


def test_candidates_that_are_not_finite_are_never_picked():
    found = fitted(**BOTH)
    with pytest.warns(UserWarning, match="not finite"):
        picks = found.select(with_nan(), 39)
    assert set(picks.indices) == set(range(40)) - {3}


def test_a_search_ends_at_an_interrupt_and_the_model_is_there(monkeypatch):
    def press(*_arguments, **_named):
        raise KeyboardInterrupt

    monkeypatch.setattr(stages, "certify", press)
    stopped = regressor()
    with pytest.raises(KeyboardInterrupt):
        stopped.fit(X, Y)
    assert stopped.model_.interrupted
    assert stopped.predict(X).shape == (40,)
    with pytest.raises(KeyboardInterrupt):
        cross_val_score(regressor(), X, Y, cv=2)


def test_scikit_learn_is_asked_for_only_here():
    code = """
import sys
sys.modules["sklearn"] = None
import fasttangent
[getattr(fasttangent, name) for name in fasttangent.__all__]
try:
    import fasttangent.sklearn
except ImportError as error:
    print(error.name, error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == (
        "sklearn fasttangent.sklearn needs scikit-learn: pip install 'fasttangent[sklearn]'\n",
        "",
    )
