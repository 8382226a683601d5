"""The record of what `fit` was told: the same names and defaults everywhere, kept by the model."""

import dataclasses
import inspect

import numpy as np
import pytest

import fasttangent as ft
from fasttangent.model.settings import SETTINGS, FitSettings

TABLE = ("feature_names", "categorical", "transform", "columns")
DATA = ("X", "y", "sample_weight", "users", "start", "threads", "progress", *TABLE)
RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 2))
Y = X[:, 0] - X[:, 1] ** 2


def test_every_argument_of_fit_is_data_or_a_setting_with_the_same_default():
    parameters = inspect.signature(ft.fit).parameters
    assert set(parameters) == {*DATA, *SETTINGS}
    assert FitSettings(**{name: parameters[name].default for name in SETTINGS}) == FitSettings()


def test_a_model_knows_what_it_was_told():
    told = {
        "hidden": [5, 3],
        "strength": np.float32(0.25),
        "tangents": None,
        "settle": 2,
        "seed": np.int64(3),
    }
    settings = ft.fit(X, Y, epochs=2, standardize=False, **told).settings
    wanted = FitSettings((5, 3), strength=0.25, tangents=(), settle=2.0, seed=3, epochs=2, standardize=False)
    assert settings == wanted
    assert all(
        type(getattr(settings, f.name)) is type(getattr(wanted, f.name)) for f in dataclasses.fields(wanted)
    )


def test_settings_cannot_be_changed_and_are_checked():
    with pytest.raises(dataclasses.FrozenInstanceError):
        FitSettings().strength = 1.0
    with pytest.raises(ValueError, match="strength must be a finite number >= 0, got -1"):
        FitSettings(strength=-1)


def test_a_saved_model_keeps_them(tmp_path):
    model = ft.fit(X, Y, hidden=(3,), epochs=1, settle=False, tangents=("strength", "posterior"), samples=4)
    model.save(tmp_path / "m.npz")
    assert ft.load(tmp_path / "m.npz").settings == model.settings


def test_the_models_of_folds_have_the_weights_of_the_rows():
    """Rows of weight 0 teach no fold; without the weights they would."""
    wrong = np.append(Y, 100 * np.ones(10))
    rows, w = np.vstack([X, RNG.normal(size=(10, 2))]), np.append(np.ones(40), np.zeros(10))
    model = ft.fit(rows, wrong, hidden=(4,), strength=0.05, sample_weight=w, epochs=20, tangents=None)
    how = {"folds": 4, "epochs": 1}
    weighted, plain = (
        ft.learning_loss(model, rows, wrong, **how, sample_weight=given).predict(X).mean()
        for given in (w, None)
    )
    assert weighted != plain
    alone = ft.learning_loss(model, rows, wrong, **how, sample_weight=w)
    assert np.isfinite(alone.predict(X)).all()
