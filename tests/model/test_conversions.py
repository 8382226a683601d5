"""Models from weights, from torch (by layers that look like torch's) and from scikit-learn, and the way back."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from helpers import naive, relative
from scipy.special import erf, expit

import fasttangent as ft
from fasttangent.common.words import ACTIVATIONS
from fasttangent.model.exports import layers

RNG = np.random.default_rng(0)
X = RNG.normal(size=(80, 3)) * [1.0, 50.0, 0.02] + [0.0, 5.0, -1.0]
Y = 40 + 10 * np.sin(X[:, 0]) + 0.1 * X[:, 1] + RNG.normal(size=80)
PHI = {
    "tanh": np.tanh,
    "silu": lambda z: z * expit(z),
    "relu": lambda z: np.maximum(z, 0),
    "softplus": lambda z: np.logaddexp(z, 0),
    "gelu": lambda z: z * (1 + erf(z / np.sqrt(2))) / 2,
    "identity": lambda z: z,
    "sigmoid": expit,
}


def weights(*sizes, seed=0):
    rng = np.random.default_rng(seed)
    W = [rng.normal(size=(i, o)) / np.sqrt(i) for i, o in pairwise(sizes)]
    return W, [rng.normal(size=w.shape[1]) for w in W]


def forward(X, W, b, phi):
    h = X
    for l, (one, bias) in enumerate(zip(W, b, strict=True)):
        h = h @ one + bias
        h = phi(h) if l < len(W) - 1 else h
    return h


# ---- arrays ----


@pytest.mark.parametrize("activation", [*ACTIVATIONS, "sigmoid"])
@pytest.mark.parametrize("sizes", [(3, 1), (3, 7, 1), (3, 5, 4, 2)])
def test_predictions(activation, sizes):
    W, b = weights(*sizes)
    model, Z = ft.from_arrays(W, b, activation), X / [1, 50, 0.02]
    assert model.network.activation == ("tanh" if activation == "sigmoid" else activation)
    found = model.predict(Z)
    assert found.shape == ((80,) if sizes[-1] == 1 else (80, 2))
    assert relative(found.reshape(80, -1), forward(Z, W, b, PHI[activation])) <= 1e-12
    assert not model.certificate.trusted
    assert "settle" in model.certificate.reasons[0]


def test_it_settles_and_is_what_a_fit_settles_to():
    model = ft.fit(X, Y, hidden=(5,), strength=1e-2, dtype="float64")
    first = ft.fit(X, Y, hidden=(5,), strength=1e-2, dtype="float64", settle=False)
    layout = first.network.layout
    W, b = zip(
        *((layout.weights(first.params, l), layout.biases(first.params, l)) for l in (0, 1)), strict=True
    )
    other = ft.from_arrays(W, b, "tanh", objective=first.objective, scaling=first.scaling)
    found = ft.settle(other, X, Y)
    assert found.certificate.trusted
    assert relative(found.params, model.params) <= 1e-8
    assert relative(found.sensitivity(X), model.sensitivity(X)) <= 1e-6
    assert relative(found.curiosity(X), model.curiosity(X)) <= 1e-6
    assert found.training["stopped"] == "settled"
    assert ft.exact(found, X, Y).influence(X, Y).shape == (80,)
    assert len(ft.select(found, X, 3, strategy="top")) == 3


def test_it_is_kept_in_a_file(tmp_path):
    W, b = weights(3, 7, 1)
    model = ft.from_arrays(W, b, "silu", feature_names="abc")
    for one in (model, ft.settle(model, X / [1, 50, 0.02], Y)):
        one.save(tmp_path / "m.npz")
        again = ft.load(tmp_path / "m.npz")
        np.testing.assert_array_equal(again.predict(X), one.predict(X))
        assert again.certificate.trusted == one.certificate.trusted
        assert again.feature_names == ("a", "b", "c")
        np.testing.assert_array_equal(again.slope_squared, one.slope_squared)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda W, b: (W, b[:1]), "as many, and at least 1, got 2 and 1"),
        (lambda W, b: ([], []), "at least 1, got 0 and 0"),
        (
            lambda W, b: ([W[0], W[1].T], b),
            r"weights\[1\] must have 7 rows, the units of weights\[0\], got \(1, 7\)",
        ),
        (lambda W, b: (W, [b[1], b[0]]), r"biases\[0\] must have shape \(7,\), got \(1,\)"),
        (lambda W, b: ([W[0] * np.nan, W[1]], b), r"weights\[0\]"),
        (lambda W, b: (W, [b[0], b[1] * np.inf]), r"biases\[1\]"),
        (lambda W, b: ([W[0][0], W[1]], b), r"weights\[0\]"),
    ],
)
def test_bad_arrays(change, words):
    with pytest.raises(ValueError, match=words):
        ft.from_arrays(*change(*weights(3, 7, 1)))


def test_bad_words():
    with pytest.raises(ValueError, match="activation must be one of"):
        ft.from_arrays(*weights(3, 7, 1), "swish")
    with pytest.raises(ValueError, match="dtype must be one of"):
        ft.from_arrays(*weights(3, 7, 1), dtype="float16")
    with pytest.raises(ValueError, match="feature_names must be 3 different names"):
        ft.from_arrays(*weights(3, 7, 1), feature_names=["a", "a", "b"])


# ---- settling again ----


@pytest.mark.parametrize("groups", ["one", "inputs"])
def test_a_further_strength(groups):
    options = {"hidden": (5,), "dtype": "float64", "groups": groups}
    model = ft.fit(X, Y, strength=1e-2, **options)
    found = ft.settle(model, X, Y, strength=2e-2)
    again = ft.fit(X, Y, strength=2e-2, start=model, epochs=0, **options)
    assert found.certificate.trusted
    assert relative(found.params, again.params) <= 1e-8
    assert found.settings.strength == found.objective.strength == 2e-2
    assert model.objective.strength == 1e-2


def test_ratios_of_groups_stay():
    model = ft.fit(X, Y, hidden=(5,), dtype="float64", strength="auto")
    found = ft.settle(model, X, Y, strength=3 * model.objective.strength)
    assert found.objective.ratios == model.objective.ratios
    assert found.settings.strength == pytest.approx({name: 3 * s for name, s in model.strengths.items()})


def test_time_is_a_bound():
    model = ft.fit(X, Y, hidden=(64, 64), strength=1e-4, settle=False)
    found = ft.settle(model, X, Y, seconds=1e-6)
    assert found.training["stopped"] == "out of time"
    assert not found.certificate.trusted
    for wrong in (0, -1, np.nan):
        with pytest.raises(ValueError, match="seconds must be"):
            ft.settle(model, X, Y, seconds=wrong)
    with pytest.raises(ValueError, match="strength must be a finite number > 0"):
        ft.settle(model, X, Y, strength=0)


# ---- torch ----


class Tensor(np.ndarray):
    """What is asked of a torch.Tensor."""

    detach = cpu = double = numpy = lambda self: self


def layer(kind, **attributes):
    """An object of a class of that name."""
    one = type(kind, (), {"named_children": lambda self: self.children.items()})()
    for name, value in attributes.items():
        setattr(one, name, value.view(Tensor) if isinstance(value, np.ndarray) else value)
    return one


def linear(W, b):
    return layer("Linear", weight=W.T, bias=b)


def sequential(*children):
    return layer("Sequential", children={str(i): child for i, child in enumerate(children)})


@pytest.mark.parametrize(
    ("kind", "phi"),
    [("Tanh", "tanh"), ("SiLU", "silu"), ("ReLU", "relu"), ("GELU", "gelu"), ("Sigmoid", "sigmoid")],
)
def test_of_torch(kind, phi):
    W, b = weights(3, 6, 5, 2)
    between, Z = layer(kind), X / [1, 50, 0.02]
    inner = sequential(linear(W[1], None), layer("Dropout"), between)
    module = sequential(layer("Flatten"), linear(W[0], b[0]), between, inner, linear(W[2], b[2]))
    expected = forward(Z, W, [b[0], 0 * b[1], b[2]], PHI[phi])
    assert relative(ft.from_torch(module).predict(Z), expected) <= 1e-12


def test_of_torch_with_norms():
    W, b = weights(3, 6, 1)
    mean, variance, gain, shift = (
        RNG.normal(size=6),
        RNG.uniform(0.5, 2, 6),
        RNG.normal(size=6),
        RNG.normal(size=6),
    )
    norm = layer("BatchNorm1d", running_mean=mean, running_var=variance, weight=gain, bias=shift, eps=1e-5)
    module = sequential(linear(W[0], b[0]), norm, layer("Tanh"), linear(W[1], b[1]))
    Z = X / [1, 50, 0.02]
    z = (Z @ W[0] + b[0] - mean) / np.sqrt(variance + 1e-5) * gain + shift
    assert relative(ft.from_torch(module).predict(Z), (np.tanh(z) @ W[1] + b[1])[:, 0]) <= 1e-12


def test_of_torch_without_activations():
    W, b = weights(3, 6, 1)
    for module in (linear(W[0][:, :1], b[0][:1]), sequential(linear(W[0], b[0]), linear(W[1], b[1]))):
        assert np.isfinite(ft.from_torch(module).predict(X)).all()


@pytest.mark.parametrize(
    ("modules", "words"),
    [
        (lambda a, b: [a, layer("Softmax"), b], r"layer 1 \(Softmax\): none of Linear"),
        (
            lambda a, b: [a, layer("GELU", approximate="tanh"), b],
            r"layer 1 \(GELU\): approximate must be 'none'",
        ),
        (lambda a, b: [a, layer("Softplus", beta=2), b], r"layer 1 \(Softplus\): beta must be 1, got 2"),
        (lambda a, b: [layer("Tanh"), a, b], r"layer 0 \(Tanh\): an activation must follow a Linear"),
        (lambda a, b: [a, layer("Tanh"), b, layer("Tanh")], "the last layer must be Linear, tanh follows it"),
        (
            lambda a, b: [a, layer("Tanh"), linear(*map(np.ones, [(6, 6), 6])), layer("ReLU"), b],
            "must be the same",
        ),
        (lambda a, b: [a, layer("LSTM"), layer("Conv1d"), b], r"layer 1 \(LSTM\).*layer 2 \(Conv1d\)"),
        (lambda a, b: [layer("BatchNorm1d"), a, b], r"layer 0 \(BatchNorm1d\): must follow a Linear"),
        (lambda a, b: [a, layer("BatchNorm1d", running_mean=None), b], "has no running statistics"),
        (lambda a, b: [layer("Tanh")], "there is no Linear"),
    ],
)
def test_layers_that_cannot_be_converted_are_named(modules, words):
    W, b = weights(3, 6, 1)
    with pytest.raises(ValueError, match=words):
        ft.from_torch(sequential(*modules(linear(W[0], b[0]), linear(W[1], b[1]))))


# ---- scikit-learn ----


@pytest.fixture(scope="module")
def sklearn():
    import sklearn

    return sklearn


@pytest.mark.filterwarnings("ignore:.*Maximum iterations")
@pytest.mark.parametrize("activation", ["tanh", "relu", "logistic", "identity"])
def test_of_sklearn(activation, sklearn):
    from sklearn.neural_network import MLPRegressor

    Z = X / [1, 50, 0.02]
    mlp = MLPRegressor(
        hidden_layer_sizes=(6, 4), activation=activation, max_iter=20, random_state=0, alpha=0.5
    ).fit(Z, Y)
    model = ft.from_sklearn(mlp)
    assert relative(model.predict(Z), mlp.predict(Z)) <= 1e-12
    assert (model.objective.complexity, model.objective.strength) == ("l2-weights", pytest.approx(0.5 / 80))
    both = MLPRegressor(hidden_layer_sizes=(4,), max_iter=20, random_state=0).fit(
        Z, np.column_stack([Y, Z[:, 0]])
    )
    assert relative(ft.from_sklearn(both).predict(Z), both.predict(Z)) <= 1e-12


@pytest.mark.filterwarnings("ignore:.*Maximum iterations")
def test_the_objective_is_that_of_sklearn(sklearn):
    """Where its own optimiser ends the gradient of ours is small; under twice the strength it would be `pull`."""
    from sklearn.neural_network import MLPRegressor

    Z, target = X / [1, 50, 0.02], Y / 10
    options = {"hidden_layer_sizes": (4,), "activation": "tanh", "alpha": 2.0, "random_state": 0}
    mlp = MLPRegressor(solver="lbfgs", max_iter=20_000, max_fun=10**6, tol=1e-14, **options).fit(Z, target)
    assert ft.from_sklearn(mlp).objective.strength == 1e-3
    steps = MLPRegressor(max_iter=3, **options).fit(Z, target)
    model = ft.from_sklearn(mlp, objective=ft.from_sklearn(steps).objective)
    assert model.objective.strength == pytest.approx(2.0 / 80)
    problem = model.problem(Z, target)
    gradient = problem.value_and_gradient(model.params)[1]
    pull = model.objective.strength * np.linalg.norm(problem.complexity_gradient(model.params))
    assert np.linalg.norm(gradient) <= 0.1 * pull


@pytest.mark.filterwarnings("ignore:.*Maximum iterations")
def test_of_sklearn_with_scalers(sklearn):
    from sklearn.compose import TransformedTargetRegressor
    from sklearn.neural_network import MLPRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import MaxAbsScaler, MinMaxScaler, RobustScaler, StandardScaler

    for scalers in ([StandardScaler()], [MinMaxScaler(), RobustScaler()], [MaxAbsScaler()], ["passthrough"]):
        steps = make_pipeline(*scalers, MLPRegressor(hidden_layer_sizes=(6,), max_iter=30, random_state=0))
        for target in (None, StandardScaler(), MinMaxScaler()):
            one = steps if target is None else TransformedTargetRegressor(steps, transformer=target)
            one.fit(X, Y)
            assert relative(ft.from_sklearn(one).predict(X), one.predict(X)) <= 1e-12


@pytest.mark.filterwarnings("ignore:.*Maximum iterations")
def test_what_of_sklearn_cannot_be_converted_is_named(sklearn):
    from sklearn.linear_model import Ridge
    from sklearn.neural_network import MLPRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import PowerTransformer, StandardScaler

    with pytest.raises(ValueError, match="must end with an MLPRegressor, got Ridge"):
        ft.from_sklearn(Ridge())
    with pytest.raises(ValueError, match="must be fitted"):
        ft.from_sklearn(MLPRegressor())
    mlp = MLPRegressor(hidden_layer_sizes=(3,), max_iter=3, random_state=0).fit(X, Y)
    with pytest.raises(ValueError, match="step 'powertransformer' must be one of StandardScaler"):
        ft.from_sklearn(make_pipeline(PowerTransformer(), mlp))
    with pytest.raises(ValueError, match="step 'standardscaler' must be fitted"):
        ft.from_sklearn(make_pipeline(StandardScaler(), mlp))


# ---- the way back ----


@pytest.mark.filterwarnings("ignore:X is constant")
@pytest.mark.parametrize("hidden", [(), (5,), (6, 4)])
def test_folded_layers_take_and_give_the_units_of_the_user(hidden):
    constant = np.column_stack([X, np.full(80, 7.0)])
    model = ft.fit(constant, np.column_stack([Y, X[:, 1]]), hidden=hidden, strength=1e-2, dtype="float64")
    assert relative(forward(constant, *layers(model), np.tanh), model.predict(constant)) <= 1e-12


def test_to_sklearn_and_back(sklearn):
    model = ft.fit(X, Y, hidden=(5,), strength=1e-2, dtype="float64", feature_names="abc")
    there = model.to_sklearn()
    there.feature_names_in_ = there.feature_names_in_  # it knows them
    assert list(there.feature_names_in_) == ["a", "b", "c"]
    del there.feature_names_in_
    assert relative(there.predict(X), model.predict(X)) <= 1e-12
    assert relative(ft.from_sklearn(there, objective=model.objective).predict(X), model.predict(X)) <= 1e-12
    with pytest.raises(ValueError, match="activation must be one of tanh, relu, identity"):
        ft.fit(X, Y, hidden=(5,), activation="silu", strength=1e-2).to_sklearn()


def test_the_slow_twin_agrees():
    model = ft.from_arrays(*weights(3, 6, 1), "gelu")
    other = replace(model, dtype="float32")
    Z = X / [1, 50, 0.02]
    assert (
        relative(other.predict(Z), naive.predict(model.params, Z, model.network.sizes, "gelu")[:, 0]) <= 1e-5
    )
