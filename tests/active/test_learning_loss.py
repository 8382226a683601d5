"""Learning Loss and LearningLoss++: heads against slow twins, their gradients, and what they are worth."""

import pickle
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from helpers import naive, relative
from scipy.optimize import minimize_scalar
from scipy.stats import kendalltau, spearmanr

import fasttangent as ft
from fasttangent.active.learned_losses import fit as learning_loss_fit
from fasttangent.active.learned_losses import folds as learning_loss_folds
from fasttangent.active.learned_losses import head as learning_loss_head
from fasttangent.active.learned_losses import training as learning_loss_training
from fasttangent.active.learned_losses.head import HeadLayout, LossHead, kernel_head
from fasttangent.active.learned_losses.measures import close_pairs
from fasttangent.kernels import learning_loss as kernels
from fasttangent.kernels import rows, steps
from fasttangent.model.labelled import Labelled
from fasttangent.problem.network import Network
from fasttangent.problem.scaling import identity_scaling

METHODS = ("learning-loss", "learning-loss++")
HIDDEN = ((7,), (9, 9), (12, 5, 20))


# -----------------------------------------------------------------------------------------------------------------
# Twins


def relu(z):
    return np.maximum(z, 0)


def with_one(h):
    return np.column_stack([h, np.ones(len(h))])


def matrices(params, method, hidden, width):
    """The head's weights with biases as last row, one by one from the flat vector."""
    if method == "learning-loss":
        shapes = [(n + 1, width) for n in hidden] + [(width * len(hidden) + 1, 1)]
    else:
        shapes = [(a + 1, b) for a, b in pairwise(hidden)]
        n = hidden[-1]
        while n > width:
            shapes.append((n + 1, max(n // 2, width)))
            n = max(n // 2, width)
        shapes.append((n + 1, 1))
    found, at = [], 0
    for shape in shapes:
        found.append(params[at : at + np.prod(shape)].reshape(shape))
        at += np.prod(shape)
    assert at == len(params)
    return found


def head_twin(params, features, method, width):
    """v (n,) from the activations [h_1 ... h_L]."""
    weights = matrices(params, method, [h.shape[1] for h in features], width)
    if method == "learning-loss":
        mapped = [relu(with_one(h) @ A) for h, A in zip(features, weights, strict=False)]
        return (with_one(np.hstack(mapped)) @ weights[-1])[:, 0]
    z = features[0]
    for h, W in zip(features[1:], weights, strict=False):
        z = h + relu(with_one(z) @ W)
    for W in weights[len(features) - 1 : -1]:
        z = relu(with_one(z) @ W)
    return (with_one(z) @ weights[-1])[:, 0]


def hidden_twin(theta, X, sizes, activation):
    """[h_1 ... h_L]."""
    found, h = [], X
    for W, b in naive.unflatten(theta, sizes)[:-1]:
        h = naive.ACTIVATIONS[activation][0](h @ W + b)
        found.append(h)
    return found


def pair_loss_twin(v, losses, batch, method, margin, epsilon):
    """Mean over the pairs (i, B + 1 - i) of a batch of row numbers."""
    total, B = 0.0, len(batch)
    for i in range(B // 2):
        a, b = batch[i], batch[B - 1 - i]
        if method == "learning-loss":
            total += max(0, -np.sign(losses[a] - losses[b]) * (v[a] - v[b]) + margin)
        else:
            p = np.array([losses[a], losses[b]]) + epsilon
            p /= p.sum()
            q = np.exp([v[a], v[b]]) / np.exp([v[a], v[b]]).sum()
            total += np.sum(p * np.log(p / q))
    return total / (B // 2)


def numerical_gradient(function, x, step=1e-6):
    return np.array([naive.central_difference(function, x, e, step) for e in np.eye(len(x))])


# -----------------------------------------------------------------------------------------------------------------
# Kernels, through one step of gradient descent with rate 1: the gradient is what the parameters lose


def descent(start, dtype="float64"):
    found = learning_loss_training.adam(start, np.zeros(len(start)), 0.0, np.dtype(dtype))
    return found._replace(optimizer=found.optimizer._replace(code=steps.SGD))


class Case:
    """A network with a head, rows with losses, and both twins."""

    def __init__(self, method, hidden, n=71, n_outputs=2, seed=0):
        rng = np.random.default_rng(seed)
        self.method, self.width, self.sizes = method, 3, (4, *hidden, n_outputs)
        self.network = Network(self.sizes, "tanh")
        self.layout = HeadLayout(method, hidden, self.width)
        self.theta = 0.7 * rng.normal(size=self.network.layout.n_params)
        self.params = rng.normal(size=self.layout.n_params) / 2
        self.X, self.Y = rng.normal(size=(n, 4)), rng.normal(size=(n, n_outputs))
        self.w = rng.uniform(0.5, 2, n)
        self.w /= self.w.sum()
        self.order = rng.permutation(n)
        self.pairs = kernels.Pairs(kernels.CODES[method], 0.4, 0.05)
        self.centre = rng.normal(size=self.layout.n_features)
        self.spread = rng.uniform(0.5, 2, self.layout.n_features)
        self.head = kernel_head(self.layout, self.centre, self.spread, np.dtype(float))
        self.losses = np.sum((naive.predict(self.theta, self.X, self.sizes, "tanh") - self.Y) ** 2, 1) / 2

    def standard(self, theta, X):
        """[h_1 ... h_L], centred and divided by their spread."""
        parts = np.split(np.arange(self.layout.n_features), np.cumsum([n + 1 for n in self.sizes[1:-1]]))
        activations = hidden_twin(theta, X, self.sizes, "tanh")
        return [
            (h - self.centre[part[:-1]]) / self.spread[part[:-1]]
            for h, part in zip(activations, parts, strict=False)
        ]

    def score(self, theta, params):
        return head_twin(params, self.standard(theta, self.X), self.method, self.width)

    def pair_loss(self, theta, params, batch=None):
        batch = self.order if batch is None else batch
        return pair_loss_twin(
            self.score(theta, params), self.losses, batch, self.method, self.pairs.margin, self.pairs.epsilon
        )

    def features(self):
        return np.hstack([with_one(h) for h in self.standard(self.theta, self.X)])

    def head_epoch(self, rates):
        steps_down = descent(self.params)
        course = kernels.Course(self.order, np.array(rates, float), 0)
        value = kernels.head_epoch(steps_down, self.features(), self.losses, course, self.head, self.pairs)
        return value, steps_down.state.theta

    def joint_epoch(self, weight):
        """(data loss, pair loss, network gradient, head gradient)."""
        of_network, of_head = descent(self.theta), descent(self.params)
        data = rows.DataTerm(
            rows.Rows(self.X, self.Y, self.w), self.network.kernel_view, rows.Loss(0, 1.0), False
        )
        joint = kernels.Joint(data, self.head, self.pairs, weight)
        course = kernels.Course(self.order, np.ones(1), 0)
        found = kernels.joint_epoch(of_network, of_head, joint, course, np.ones(1))
        return *found, self.theta - of_network.state.theta, self.params - of_head.state.theta


@pytest.fixture(params=[(m, h) for m in METHODS for h in HIDDEN], ids=str)
def case(request):
    return Case(*request.param)


def test_the_head_is_its_twin(case):
    data = np.random.default_rng(1).normal(size=(40, 4))
    certificate = ft.Certificate(0.0, 0.0, 1.0, 1.0, 0.0, True, ())
    scaling = identity_scaling(4, 2)
    model = ft.Model(
        case.network, ft.Objective(), scaling, case.theta, {}, certificate, np.ones(2), "float64"
    )
    architecture = case.method, case.layout, case.params, case.centre, case.spread
    head = LossHead(model, *architecture)
    expected = head_twin(case.params, case.standard(case.theta, data), case.method, case.width)
    assert relative(head.score(data), expected) < 1e-13
    single = LossHead(replace(model, dtype="float32"), *architecture)
    assert relative(single.score(data), expected) < 1e-4


def test_the_gradient_of_the_head(case):
    value, after = case.head_epoch([1.0])
    assert value == pytest.approx(case.pair_loss(case.theta, case.params), rel=1e-12)
    expected = numerical_gradient(lambda x: case.pair_loss(case.theta, x), case.params)
    assert relative(case.params - after, expected) < 1e-7


def test_pairs_are_made_from_either_end_of_every_minibatch(case):
    value, after = case.head_epoch([0.0, 0.0, 0.0])
    np.testing.assert_array_equal(after, case.params)
    parts = np.split(case.order, [len(case.order) // 3, 2 * len(case.order) // 3])
    each = [case.pair_loss(case.theta, case.params, part) for part in parts]
    n_pairs = [len(part) // 2 for part in parts]
    assert value == pytest.approx(np.average(each, weights=n_pairs), rel=1e-12)


def test_a_row_without_another_comes_last():
    paired = np.empty(5, np.int64)
    kernels.pair_up(paired, np.array([9, 8, 7, 6, 5, 4, 3]), 1, 6)
    np.testing.assert_array_equal(paired, [8, 4, 7, 5, 6])


@pytest.mark.parametrize("weight", [0.0, 0.3])
def test_the_gradient_of_network_and_head_together(case, weight):
    data_loss, pair_loss, g, G = case.joint_epoch(weight)

    def both(theta):
        data = naive.data_loss(theta, case.X, case.Y, case.w, case.sizes, "tanh", "squared", 1.0)
        return data + weight * case.pair_loss(theta, case.params)

    assert data_loss + weight * pair_loss == pytest.approx(both(case.theta), rel=1e-12)
    assert relative(g, numerical_gradient(both, case.theta)) < 1e-7
    assert relative(G, numerical_gradient(lambda x: case.pair_loss(case.theta, x), case.params)) < 1e-7
    plain = naive.gradient(case.theta, case.X, case.Y, case.w, case.sizes, "tanh", "squared", 1.0)
    assert (relative(g, plain) < 1e-12) == (weight == 0)


def test_the_margin_is_flat_beyond_it_and_for_equal_losses():
    v, l = (
        np.array([[3.0, 0.5], [0.5, 3.0], [0.2, 0.1], [1.0, 2.0]]),
        np.array([[2.0, 1.0]] * 3 + [[1.0, 1.0]]),
    )
    slopes, values = np.empty(4), np.empty(4)
    kernels.pair_slopes(slopes, values, v, l, kernels.Pairs(0, 1.0, 1.0))
    np.testing.assert_allclose(values, [0, 3.5, 0.9, 1.0])
    np.testing.assert_allclose(slopes, [0, -1, -1, 0])


def test_the_divergence_of_extreme_pairs_is_finite_and_vanishes_where_it_is_right():
    v = np.array([[800.0, 0.0], [0.0, 800.0], [np.log(3), 0.0]])
    l = np.array([[0.0, 1.0], [0.0, 1.0], [3.0, 1.0]])
    slopes, values = np.empty(3), np.empty(3)
    kernels.pair_slopes(slopes, values, v, l, kernels.Pairs(1, 1.0, 1e-300))
    np.testing.assert_allclose(values, [800, 0, 0], atol=1e-12)
    np.testing.assert_allclose(slopes, [1, 0, 0], atol=1e-12)


# -----------------------------------------------------------------------------------------------------------------
# What the authors say of gradients


def test_converged_losses_are_close_as_often_as_published():
    distances, published = [0.02, 0.04, 0.06, 0.08, 0.10], [0.094, 0.185, 0.274, 0.358, 0.437]
    exact = close_pairs(distances)
    np.testing.assert_allclose(exact, published, rtol=0.015)
    X, Y = np.random.default_rng(0).gamma(4, 0.066, (2, 1_000_000))
    np.testing.assert_allclose([np.mean(abs(X - Y) <= d) for d in distances], exact, atol=0.002)


def test_gradients_of_the_published_example():
    """A close pair hardly moves LearningLoss++ and a distant one does; Learning Loss takes both for the same."""
    l, v = np.array([0.45, 0.47, 2.87]), np.array([1.48, 1.51, 1.63])
    pairs = np.array([[0, 1], [0, 2]])
    slopes, values = np.empty(2), np.empty(2)
    kernels.pair_slopes(slopes, values, v[pairs], l[pairs], kernels.Pairs(1, 1.0, 1e-12))
    np.testing.assert_allclose(abs(slopes), [0.003, 0.327], atol=5e-4)
    kernels.pair_slopes(slopes, values, v[pairs], l[pairs], kernels.Pairs(0, 1.0, 1e-12))
    np.testing.assert_array_equal(slopes, [1, 1])


# -----------------------------------------------------------------------------------------------------------------
# Heads on models

SETTINGS = {"hidden": (16, 16), "strength": 1e-2, "epochs": 100, "tangents": None, "settle": False}


def crossed_losses(model, X, y, folds, rng, threads, w=None):
    data = Labelled(X, y[:, None], np.ones(len(X)) if w is None else w, None, False)
    return learning_loss_folds.cross_fitted_losses(
        model, data, learning_loss_folds.fold_numbers(len(X), folds, rng), threads
    )


def noisy_rows(n, seed):
    """Noise that grows with the first input, on a smooth function."""
    rng = np.random.default_rng(seed)
    X = rng.uniform(-1, 1, (n, 3))
    return X, 30 + X[:, 1] + np.exp(2.5 * X[:, 0]) * rng.normal(size=n) / 5


@pytest.fixture(scope="module")
def fitted():
    X, y = noisy_rows(300, 0)
    return ft.fit(X, y, **SETTINGS), X, y


@pytest.fixture(scope="module", params=METHODS)
def head(request, fitted):
    return ft.learning_loss(*fitted, method=request.param)


def true_losses(model, seed=1):
    X, y = noisy_rows(2000, seed)
    return X, ((model.predict(X) - y) / model.scaling.y_scale[0]) ** 2 / 2


def test_heads_rank_losses_and_shuffled_losses_teach_nothing(fitted, head):
    model, X, y = fitted
    new, losses = true_losses(model)
    found = ft.loss_ranking(head.predict(new), losses)
    assert found.spearman > 0.5
    assert found.pairwise > 0.65
    assert found.failure_finding > 2
    found = []
    for seed in range(4):
        shuffled = np.random.default_rng(seed).permutation(y - model.predict(X)) + model.predict(X)
        control = ft.learning_loss(model, X, shuffled, method=head.method, folds=None, seed=seed)
        found.append(ft.loss_ranking(control.predict(new), losses).spearman)
    assert abs(np.mean(found)) < 0.2


def test_predicted_losses_have_the_right_size(fitted, head):
    model, X, y = fitted
    predicted = head.predict(X)
    crossed = crossed_losses(model, X, y, 5, np.random.default_rng(0), 1)
    assert predicted.min() > 0
    assert predicted.mean() == pytest.approx(crossed.mean(), rel=1e-6)
    np.testing.assert_array_equal(np.argsort(predicted), np.argsort(head.score(X)))


def test_the_model_is_left_alone(fitted):
    model, X, y = fitted
    before = model.params.copy()
    ft.learning_loss(model, X, y, folds=None)
    np.testing.assert_array_equal(model.params, before)


def test_seeds_and_threads_reproduce(fitted):
    heads = [ft.learning_loss(*fitted, seed=3, threads=threads, epochs=5) for threads in (1, 2, 3)]
    for other in heads[1:]:
        np.testing.assert_array_equal(other.params, heads[0].params)
    assert relative(ft.learning_loss(*fitted, seed=4, epochs=5).params, heads[0].params) > 0.1
    X = np.random.default_rng(0).uniform(-1, 1, (20_000, 3))
    one = heads[0].predict(X, threads=1)
    np.testing.assert_array_equal(heads[0].predict(X, threads=2), one)
    np.testing.assert_array_equal(heads[0].predict(X[::-1][:37]), one[::-1][:37])


def test_losses_are_those_of_models_that_have_not_seen_the_row(fitted):
    model, X, y = fitted
    crossed = crossed_losses(model, X, y, 3, np.random.default_rng(7), 2)
    parts = learning_loss_folds.fold_numbers(len(X), 3, np.random.default_rng(7))
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(len(X)))
    for part in parts:
        others = np.setdiff1d(np.arange(len(X)), part)
        other = ft.fit(X[others], y[others], **SETTINGS)
        expected = ((other.predict(X[part]) - y[part]) / model.scaling.y_scale[0]) ** 2 / 2
        assert relative(crossed[part], expected) < 1e-4


def test_folds_settle_where_the_model_is_settled(fitted):
    _, X, y = fitted
    X, y = X[:60], y[:60]
    how = SETTINGS | {"settle": True, "hidden": (5,)}
    model = ft.fit(X, y, **how)
    crossed = crossed_losses(model, X, y, 2, np.random.default_rng(7), 2)
    for part in learning_loss_folds.fold_numbers(len(X), 2, np.random.default_rng(7)):
        others = np.setdiff1d(np.arange(len(X)), part)
        other = ft.fit(X[others], y[others], **how)
        expected = ((other.predict(X[part]) - y[part]) / model.scaling.y_scale[0]) ** 2 / 2
        assert relative(crossed[part], expected) < 1e-3


@pytest.mark.parametrize("threads", [1, 2])
def test_an_interrupt_or_an_error_in_a_fold_ends_all_folds(fitted, monkeypatch, threads):
    original = learning_loss_folds.trained
    for error in (KeyboardInterrupt, ft.DivergenceError):
        begun = []

        def fail(one, heed, error=error, begun=begun):
            begun.append(one)
            if len(begun) == 1:
                raise error
            return original(one, heed)

        with monkeypatch.context() as patch:
            patch.setattr(learning_loss_folds, "trained", fail)
            with pytest.raises(error):
                ft.learning_loss(*fitted, folds=20, threads=threads)
        assert len(begun) < 5


def test_folds_may_train_longer_than_a_model_that_was_started_from_another(fitted):
    model, X, y = fitted
    short = ft.fit(X, y, **SETTINGS | {"epochs": 1}, start=model)
    long = ft.learning_loss(short, X, y, fold_settings={"epochs": SETTINGS["epochs"]})
    cold = ft.learning_loss(short, X, y)
    assert long.predict(X).mean() == pytest.approx(ft.learning_loss(*fitted).predict(X).mean(), rel=1e-3)
    assert cold.predict(X).mean() != pytest.approx(long.predict(X).mean(), rel=1e-3)


def test_an_interpolating_model_has_losses_only_across_folds():
    X, y = noisy_rows(40, 3)
    model = ft.fit(X, y, hidden=(64, 64), strength=1e-6, tangents=None, settle=False, epochs=500)
    in_sample = learning_loss_folds.losses_of(model, X, y[:, None])
    crossed = crossed_losses(model, X, y, 5, np.random.default_rng(0), 1)
    assert crossed.mean() > 30 * in_sample.mean()


def test_repeats_average_the_losses(fitted):
    once, thrice = (ft.learning_loss(*fitted, repeats=repeats, epochs=1) for repeats in (1, 3))
    rng, (model, X, y) = np.random.default_rng(0), fitted
    mean = np.mean([crossed_losses(model, X, y, 5, rng, 1) for _ in range(3)], axis=0)
    assert thrice.predict(X).mean() == pytest.approx(mean.mean(), rel=1e-6)
    assert once.predict(X).mean() != pytest.approx(mean.mean(), rel=1e-6)


def test_several_outputs_and_dead_units():
    X, y = noisy_rows(80, 5)
    model = ft.fit(X, np.column_stack([y, 3 * X[:, 0] - X[:, 2]]), **SETTINGS | {"activation": "relu"})
    layout = model.network.layout
    layout.weights(model.params, 0)[:, 0] = 0  # unit 0 of the first hidden layer is constant
    for method in METHODS:
        head = ft.learning_loss(model, X, np.column_stack([y, y]), method=method, folds=None)
        assert head.spread[0] == 0
        assert np.isfinite(head.predict(3 * X)).all()


def test_few_and_many_rows_are_learned_from():
    for n in (4, 64, 5000):
        X, y = noisy_rows(n, 8)
        model = ft.fit(X, y, **SETTINGS | {"epochs": 2})
        head = ft.learning_loss(model, X, y, folds=2 if n == 4 else 5, epochs=10)
        assert np.isfinite(head.predict(X)).all()


# -----------------------------------------------------------------------------------------------------------------
# Joint training

JOINT = {"hidden": (16, 16), "strength": 1e-2, "epochs": 60}


def test_the_heads_gradient_is_cut_off():
    X, y = noisy_rows(101, 0)

    def params(**how):
        return ft.fit_with_learning_loss(X, y, **JOINT, **how)[0].params

    plain = params(weight=0)
    np.testing.assert_array_equal(params(weight=0.5, cut_off=0), plain)
    np.testing.assert_array_equal(params(method="learning-loss++", weight=0.5, cut_off=1), plain)
    found = [relative(params(weight=0.5, cut_off=share), plain) for share in (0.1, 0.6, 1)]
    assert min(found) > 1e-3
    assert len(set(found)) == 3
    assert relative(params(weight=1e-4), plain) > 0


def test_without_the_head_it_is_a_fit():
    """The same start and objective, other minibatches: they end near one another on a convex problem."""
    X, y = noisy_rows(300, 0)
    how = JOINT | {"activation": "identity", "strength": 0.1, "epochs": 200}
    together, _ = ft.fit_with_learning_loss(X, y, weight=0, **how)
    alone = ft.fit(X, y, tangents=None, settle=False, **how)
    assert relative(together.predict(X) - 30, alone.predict(X) - 30) < 0.01


@pytest.mark.parametrize("method", METHODS)
def test_joint_training_ranks_losses(method):
    model, head = ft.fit_with_learning_loss(*noisy_rows(300, 0), method=method, **JOINT | {"epochs": 200})
    X, losses = true_losses(model)
    assert ft.loss_ranking(head.predict(X), losses).spearman > 0.4
    assert not model.certificate.trusted
    assert head.history["pair_loss"][-1] < head.history["pair_loss"][0]


def test_joint_training_reproduces_in_both_dtypes():
    X, y = noisy_rows(101, 0)
    for dtype in ("float32", "float64"):
        (a, head_a), (b, head_b) = (
            ft.fit_with_learning_loss(X, y, **JOINT, dtype=dtype, threads=threads) for threads in (1, 2)
        )
        np.testing.assert_array_equal(a.params, b.params)
        np.testing.assert_array_equal(head_a.params, head_b.params)
        np.testing.assert_array_equal(head_a.predict(X), head_b.predict(X))


# -----------------------------------------------------------------------------------------------------------------
# Measures and calibration


def test_ranking_measures():
    rng = np.random.default_rng(0)
    losses = rng.gamma(1, size=200)
    scores = losses + rng.normal(size=200)
    found = ft.loss_ranking(scores, losses, share=0.05)
    assert found.spearman == pytest.approx(spearmanr(scores, losses).statistic, rel=1e-12)
    assert found.pairwise == pytest.approx(0.5 + kendalltau(scores, losses).statistic / 2, rel=1e-12)
    assert found.failure_finding == pytest.approx(losses[np.argsort(scores)[-10:]].mean() / losses.mean())
    constant = ft.loss_ranking(np.ones(200), losses)
    assert np.isnan(constant.spearman)
    assert constant.pairwise == 0.5


def test_the_temperature_is_that_of_a_logistic_regression():
    rng = np.random.default_rng(0)
    v = 5 * rng.normal(size=64)
    losses = np.exp(0.3 * v) * rng.gamma(2, size=64)
    shifts = [1, 2, 4, 8, 16, 32]
    x = np.concatenate([v - np.roll(v, s) for s in shifts])
    p = np.concatenate([losses / (losses + np.roll(losses, s)) for s in shifts])
    best = minimize_scalar(
        lambda b: np.sum(np.logaddexp(0, b * x) - p * b * x), bounds=(0, 2), method="bounded"
    )
    assert learning_loss_fit.temperature(v, losses) == pytest.approx(best.x, rel=1e-4)
    assert learning_loss_fit.temperature(-v, losses) == pytest.approx(-best.x, rel=1e-4)
    assert learning_loss_fit.temperature(np.ones(64), losses) == 0


# -----------------------------------------------------------------------------------------------------------------
# Bad input


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"method": "learning loss"}, "did you mean 'learning-loss'"),
        ({"folds": 1}, "folds must be a whole number >= 2"),
        ({"folds": 151}, "folds must be at most 150"),
        ({"repeats": 0}, "repeats must be"),
        ({"fold_settings": 5}, "fold_settings must be a dict"),
        ({"fold_settings": {"epoch": 5}}, "fold_settings may have .* got 'epoch'"),
        ({"width": 0}, "width must be"),
        ({"margin": 0}, "margin must be"),
        ({"epsilon": -1}, "epsilon must be"),
        ({"epochs": 0}, "epochs must be"),
        ({"batch_size": 3}, "batch_size must be"),
        ({"learning_rate": "fast"}, "learning_rate must be"),
        ({"decay": -1}, "decay must be"),
    ],
)
def test_bad_arguments(fitted, arguments, message):
    with pytest.raises((ValueError, TypeError), match=message):
        ft.learning_loss(*fitted, **arguments)


def test_bad_rows(fitted, head):
    model, X, y = fitted
    with pytest.raises(ValueError, match="7 columns"):
        ft.learning_loss(model, np.ones((5, 7)), np.ones(5))
    with pytest.raises(ValueError, match="X must be finite"):
        ft.learning_loss(model, np.where(X > 0.99, np.nan, X), y)
    with pytest.raises(ValueError, match="at least 4 rows"):
        ft.learning_loss(model, X[:3], y[:3])
    with pytest.raises(ValueError, match=r"fold .* y must vary"):
        ft.learning_loss(model, X[:40], np.append(np.ones(39), 2.0))
    with pytest.raises(ValueError, match="X must be finite"):
        head.predict([[0.0, np.inf, 0.0]])
    with pytest.raises(ValueError, match="must have a hidden layer"):
        ft.learning_loss(ft.fit(X, y, hidden=(), tangents=None, settle=False, epochs=1), X, y)
    with pytest.raises(ValueError, match="got one not made by fit"):
        ft.learning_loss(replace(model, settings=None), X, y)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"cut_off": 1.5}, "cut_off must be a share"),
        ({"weight": -1}, "weight must be"),
        ({"hidden": ()}, "must have a hidden layer"),
        ({"settle": True}, "settle is not an argument of joint training"),
        ({"learning_rates": 1}, "learning_rates is not an argument"),
        ({"epochs": 0}, "epochs must be"),
    ],
)
def test_bad_arguments_of_joint_training(arguments, message):
    with pytest.raises((ValueError, TypeError), match=message):
        ft.fit_with_learning_loss(*noisy_rows(20, 0), **arguments)


def test_joint_training_goes_on_from_a_model():
    X, y = noisy_rows(101, 0)
    first = ft.fit(X, y, **SETTINGS)
    again, _ = ft.fit_with_learning_loss(X, y, **JOINT | {"epochs": 1}, learning_rate=1e-9, start=first)
    assert relative(again.params, first.params) < 1e-5


def test_joint_training_that_runs_away_says_so():
    with pytest.raises(ft.DivergenceError, match="lower the learning_rate"), np.errstate(all="ignore"):
        ft.fit_with_learning_loss(*noisy_rows(50, 0), learning_rate=1e30, activation="identity")


def test_measures_refuse_what_cannot_be_ranked():
    with pytest.raises(ValueError, match="losses must vary"):
        ft.loss_ranking([1.0, 2.0], [1.0, 1.0])
    with pytest.raises(ValueError, match="shape"):
        ft.loss_ranking([1.0, 2.0], [1.0, 1.0, 2.0])
    with pytest.raises(ValueError, match="scores must be finite"):
        ft.loss_ranking([1.0, np.nan], [1.0, 2.0])


def test_a_head_survives_pickling(head):
    X, _ = noisy_rows(10, 9)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(head)).predict(X), head.predict(X))


def test_a_head_says_what_it_is(head):
    assert repr(head) == f"LossHead({head.method!r}, {len(head.params)} parameters, 5 folds)"
    assert learning_loss_head.METHODS[0] == "learning-loss++"
