"""Hypergradients against criteria of fits that were settled anew."""

from dataclasses import replace

import numpy as np
import pytest
from helpers import relative

import fasttangent as ft
from fasttangent.influence.hypergradients import CRITERIA
from fasttangent.model.strengths import evidence


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(5)
    X = rng.normal(size=(90, 3))
    y = np.sin(2 * X[:, 0]) + 0.5 * X[:, 1] * X[:, 0] + 0.3 * rng.normal(size=90)
    return X, y


@pytest.fixture(scope="module")
def labelled(rows):
    return rows[0][:60], rows[1][:60]


@pytest.fixture(scope="module")
def model(labelled):
    strength = {"a": 0.02, "b": 0.05, "c": 0.3, "biases 1": 0.03, "weights 2": 0.01, "biases 2": 0.004}
    return ft.fit(*labelled, hidden=(5,), strength=strength, feature_names="abc", dtype="float64", seed=1)


def settled_under(model, labelled, g, factor):
    """The model under another strength of one group."""
    each = np.array(list(model.strengths.values()))
    each[g] *= factor
    mean = np.exp(np.log(each).mean())
    objective = replace(model.objective, strength=float(mean), ratios=tuple(each / mean))
    return ft.settle(replace(model, objective=objective), *labelled)


@pytest.mark.parametrize("criterion", CRITERIA)
def test_against_fits_that_are_settled_anew(model, rows, labelled, criterion):
    further = {"X_val": rows[0][60:], "y_val": rows[1][60:]} if criterion == "hold-out" else {}
    found = ft.hypergradient(model, *labelled, criterion, folds=3, **further)
    assert list(found.groups) == list(model.strengths)

    def value(g, t):
        other = settled_under(model, labelled, g, np.exp(t))
        return ft.hypergradient(other, *labelled, criterion, folds=3, **further).value

    h = 3e-3
    for g, slope in enumerate(found.groups.values()):
        near, far = value(g, h) - value(g, -h), value(g, 2 * h) - value(g, -2 * h)
        measured = (8 * near - far) / (12 * h)
        assert abs(slope - measured) < 1e-6 * max(map(abs, found.groups.values())), (criterion, g)


def test_values_are_what_they_are_called(model, rows, labelled):
    def value(criterion, **further):
        return ft.hypergradient(model, *labelled, criterion, **further).value

    unit, X, y = model.scaling.y_scale[0], rows[0][60:], rows[1][60:]
    off = (model.predict(X) - y) / unit
    assert relative(value("hold-out", X_val=X, y_val=y), np.mean(off**2) / 2) < 1e-12
    left = ft.exact(model, *labelled).leave_one_out().residual / unit
    assert relative(value("leave-one-out"), np.mean(left**2) / 2) < 1e-10
    problem = model.problem(*labelled)
    assert value("evidence") == evidence(problem, model.params)[0]
    alone = value("folds", folds=len(labelled[0]))  # each row left out indeed, by settling without it
    assert relative(alone, value("leave-one-out")) < 0.2


def test_the_common_factor(model, labelled):
    found, h = ft.hypergradient(model, *labelled, "leave-one-out"), 1e-3
    values = [
        ft.hypergradient(
            ft.settle(model, *labelled, strength=model.objective.strength * np.exp(t)),
            *labelled,
            "leave-one-out",
        ).value
        for t in (h, -h)
    ]
    assert found.common == pytest.approx((values[0] - values[1]) / (2 * h), rel=1e-4)


def test_what_is_refused(model, rows, labelled):
    with pytest.raises(
        ValueError, match=r"criterion must be one of .* got 'evidense'; did you mean 'evidence'"
    ):
        ft.hypergradient(model, *labelled, "evidense")
    with pytest.raises(ValueError, match="y_val must be given for criterion 'hold-out'"):
        ft.hypergradient(model, *labelled, "hold-out", X_val=rows[0][60:])
    with pytest.raises(ValueError, match="folds must be at most the number of rows, 60, got 61"):
        ft.hypergradient(model, *labelled, "folds", folds=61)
    weights = np.r_[np.ones(59), 0]
    weighted = ft.settle(model, *labelled, sample_weight=weights)
    with pytest.raises(ValueError, match="each fold must hold rows with a weight"):
        ft.hypergradient(weighted, *labelled, "folds", folds=60, sample_weight=weights)
    with pytest.warns(ft.UntrustedTangentWarning, match="the model is not stationary on its rows"):
        ft.hypergradient(model, labelled[0], labelled[1] + 1.0, "evidence")
