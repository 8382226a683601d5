"""Embeddings against dense Jacobians: what they are, what their inner products mean, and how rows may be passed."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
from helpers import naive, relative

import fasttangent as ft
from fasttangent.model import embeddings
from fasttangent.model import scores as influence
from fasttangent.model.embeddings import GRADIENT_DIM, KINDS, embed, gradient_norms, gradient_sketch
from fasttangent.problem import rows as rows_module
from fasttangent.problem.network import ACTIVATIONS, Network
from fasttangent.problem.objective import Objective
from fasttangent.problem.problem import Problem
from fasttangent.problem.scaling import Scaling

# no hidden layer, one, three; widths around a tile and a vector; more outputs than one
SIZES = [(3, 1), (3, 2), (3, 7, 1), (5, 1, 1), (4, 9, 65, 6, 1), (4, 49, 5, 17, 3)]
ROWS = 150  # two blocks of float32 and a part of one


def made(sizes, activation="tanh", dtype="float64", K=6, seed=0):
    """What embeddings need of a model, with random parameters, tangents and scales."""
    rng, network = np.random.default_rng(seed), Network(sizes, activation)
    p = network.layout.n_params
    return SimpleNamespace(
        network=network,
        scaling=Scaling(
            rng.normal(0, 5, sizes[0]), rng.uniform(0.2, 3, sizes[0]), np.zeros(sizes[-1]), np.ones(sizes[-1])
        ),
        params=network.initial_params(rng) + 0.1 * rng.normal(size=p),
        tangents={"posterior": rng.normal(size=(K, p)), "bias": rng.normal(size=p)},
        noise=0.3,
        dtype=dtype,
    )


def rows_of(model, n=ROWS, seed=1):
    rng = np.random.default_rng(seed)
    return model.scaling.x_mean + 2 * model.scaling.x_scale * rng.normal(size=(n, model.network.sizes[0]))


def standard(model, X):
    return (X - model.scaling.x_mean) / model.scaling.x_scale


def jacobian(model, X):
    """(n, n_outputs, p) in standard units."""
    Z, n_outputs = standard(model, X), model.network.sizes[-1]
    problem = Problem(model.network, Objective(), Z, np.zeros((len(X), n_outputs)), np.ones(len(X)), 1)
    return problem.jacobian(model.params)


def sketched(model, X, dim, seed):
    """The sketch of explicit gradients: sum_l sum_o sum_ab P_l[., a] (d f_o / d W_l[a, b]) Q_l[., o, b] / sqrt(D)."""
    J, layout, total = jacobian(model, X), model.network.layout, 0.0
    for l, (P, Q) in enumerate(zip(*gradient_sketch(model.network.sizes, dim, seed), strict=True)):
        n_in, n_out, at, _, _ = layout.table[l]
        G = J[:, :, at : at + (n_in + 1) * n_out].reshape(len(X), -1, n_in + 1, n_out)
        if l == layout.n_layers - 1:
            Q = Q * np.eye(n_out)
        total = total + np.einsum("ioab,ka,kob->ik", G, P, Q) / np.sqrt(dim)
    return total


# ---- definitions ----


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("sizes", SIZES)
def test_posterior_is_the_jacobian_times_the_tangents(sizes, activation):
    model = made(sizes, activation)
    X, K = rows_of(model), len(model.tangents["posterior"])
    J = jacobian(model, X)
    along = np.einsum("iop,kp->iok", J, model.tangents["posterior"]) * np.sqrt(model.noise / K)
    E = embed(model, X, "posterior").E
    assert E.shape == (len(X), sizes[-1] * K)
    assert relative(E, along.reshape(len(X), -1)) <= 1e-12  # outputs side by side
    bias = J @ model.tangents["bias"]
    with_bias = np.concatenate([along, bias[:, :, None]], axis=2)
    assert relative(embed(model, X, "error").E, with_bias.reshape(len(X), -1)) <= 1e-12


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("sizes", SIZES)
def test_gradient_is_the_sketch_of_the_jacobian(sizes, activation):
    model = made(sizes, activation)
    X = rows_of(model)
    for dim in (1, 53):
        E = embed(model, X, "gradient", dim=dim, seed=4).E
        assert E.shape == (len(X), dim)
        assert relative(E, sketched(model, X, dim, 4)) <= 1e-12


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("sizes", SIZES)
def test_gradient_norms(sizes, activation):
    model = made(sizes, activation)
    X = rows_of(model)
    squares = gradient_norms(model, X)
    assert squares.dtype == np.float64
    np.testing.assert_allclose(squares, np.sum(jacobian(model, X) ** 2, axis=(1, 2)), rtol=1e-12)


@pytest.mark.parametrize("sizes", SIZES)
def test_hidden_and_input_are_what_layers_see(sizes):
    model = made(sizes, "softplus")
    X = rows_of(model)
    h = standard(model, X)
    np.testing.assert_allclose(embed(model, X, "input").E, h, rtol=1e-12, atol=1e-14)
    for W, b in naive.unflatten(model.params, sizes)[:-1]:
        h = naive.ACTIVATIONS["softplus"][0](h @ W + b)
    np.testing.assert_allclose(embed(model, X, "hidden").E, h, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sizes", SIZES)
def test_float32_agrees_with_float64(kind, sizes):
    double, single = made(sizes), made(sizes, dtype="float32")
    X = rows_of(double)
    E = embed(single, X, kind).E
    assert E.dtype == np.float32
    assert E.flags.c_contiguous
    assert relative(E, embed(double, X, kind).E) <= 2e-6
    np.testing.assert_allclose(gradient_norms(single, X), gradient_norms(double, X), rtol=1e-5)


def test_posterior_equals_the_forward_pass_with_tangents():
    model = made((4, 9, 65, 6, 1), dtype="float32")
    X = rows_of(model)
    tangents = model.tangents["posterior"] * np.sqrt(model.noise / 6)
    forward = influence.outputs_of_rows(
        model.network, model.scaling, model.params, tangents, X, np.dtype("float32"), 1
    )
    assert relative(embed(model, X, "posterior").E, forward.ft[:, :, 0]) <= 2e-6


def test_fewer_tangents_are_the_first_ones():
    model = made((3, 7, 2))
    X = rows_of(model)
    all_of_them = embed(model, X, "posterior").E.reshape(len(X), 2, 6)
    some = embed(model, X, "posterior", dim=4).E.reshape(len(X), 2, 4)
    np.testing.assert_allclose(some, all_of_them[:, :, :4] * np.sqrt(6 / 4), rtol=1e-13)


# ---- what inner products mean ----


@pytest.mark.parametrize("sizes", [(3, 2), (3, 7, 1), (3, 6, 5, 3)])
def test_the_sketch_is_unbiased(sizes):
    """The mean over seeds is J J^T, within its statistical error, and a deviation is at most 3 / sqrt(D).

    It is sqrt(8 / D) where there is one layer: products of two normals have the fourth moment 9.
    """
    model, dim = made(sizes), 16
    X = rows_of(model, 5)
    J = jacobian(model, X)
    kernel = np.einsum("iop,jop->ij", J, J)
    found = []
    for seed in range(2000):
        E = embed(model, X, "gradient", dim=dim, seed=seed).E
        found.append(E @ E.T)
    mean, deviation = np.mean(found, axis=0), np.std(found, axis=0)
    assert np.max(abs(mean - kernel) / deviation) <= 4.5 / np.sqrt(len(found))
    lengths = np.sqrt(np.diag(kernel))
    assert np.max(deviation / np.outer(lengths, lengths)) <= 1.1 * 3 / np.sqrt(dim)


def test_the_sketch_does_not_depend_on_the_dtype_nor_on_chance():
    P, Q = gradient_sketch((3, 7, 2), 5, 11)
    assert [p.shape for p in P] == [(5, 4), (5, 8)]
    assert [q.shape for q in Q] == [(5, 2, 7), (5, 2, 1)]
    rng = np.random.default_rng(11)
    for p, q in zip(P, Q, strict=True):
        np.testing.assert_array_equal(p, rng.standard_normal(p.shape))
        np.testing.assert_array_equal(q, rng.standard_normal(q.shape))


@pytest.fixture(scope="module")
def noisy(model, data):
    return model.with_posterior(*data, samples=20)


@pytest.fixture(scope="module")
def noisy2(model2, data):
    X, y = data
    Y = np.column_stack([y, np.cos(X[:, 0]) + 0.1 * X[:, 1]])
    return model2.with_posterior(X, Y, samples=20)


def test_posterior_inner_products_are_covariances_of_posterior_draws(noisy, data):
    X, _ = data
    draws = (noisy.posterior(X) - noisy.predict(X)) / noisy.scaling.y_scale
    assert relative(noisy.embed(X) @ noisy.embed(X).T, draws.T @ draws / len(draws)) <= 1e-11
    variance = np.sum(noisy.embed(X) ** 2, axis=1) + noisy.noise
    deviation = noisy.predict(X, return_std=True)[1] / noisy.scaling.y_scale
    np.testing.assert_allclose(np.sqrt(variance), deviation, rtol=1e-11)


def test_posterior_covariances_of_several_outputs_add_up(noisy2, data):
    X, _ = data
    draws = (noisy2.posterior(X) - noisy2.predict(X)) / noisy2.scaling.y_scale
    E = noisy2.embed(X)
    assert E.shape == (len(X), 40)
    assert relative(E @ E.T, np.einsum("kio,kjo->ij", draws, draws) / 20) <= 1e-11


def test_a_model_embeds_in_its_dtype(noisy, data):
    X, _ = data
    single = dataclasses.replace(noisy, dtype="float32")
    columns = {"posterior": 20, "error": 21, "gradient": GRADIENT_DIM, "hidden": 5, "input": 3}
    for kind in KINDS:
        E = single.embed(X, kind)
        assert E.dtype == np.float32
        assert E.shape == (60, columns[kind])
        assert relative(E, noisy.embed(X, kind)) <= 1e-5
        np.testing.assert_array_equal(E, single.embed(X, kind, threads=1))
    assert relative(single.embed(X, "gradient", seed=1), noisy.embed(X, "gradient")) > 1


# ---- how rows are passed ----


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", [*KINDS, "norms"])
def test_chunks_and_threads_change_no_bit(kind, dtype, monkeypatch):
    model = made((4, 33, 18, 2), dtype=dtype)
    X = rows_of(model, 700).astype(dtype)

    def found(rows, threads=1):
        if kind == "norms":
            return gradient_norms(model, rows, threads=threads)
        return embed(model, rows, kind, threads=threads).E

    expected = found(X)
    np.testing.assert_array_equal(found(X[37:38]), expected[37:38])
    np.testing.assert_array_equal(found(X[5:222]), expected[5:222])
    for chunk in (1, 33, 300):
        monkeypatch.setattr(rows_module, "CHUNK", chunk)
        np.testing.assert_array_equal(found(X), expected)
        np.testing.assert_array_equal(found(X, threads=3), expected)


@pytest.mark.parametrize("kind", [*KINDS, "norms"])
def test_rows_of_any_dtype_and_layout(kind, tmp_path):
    model = made((4, 20, 1), dtype="float32")
    whole = np.random.default_rng(3).integers(-9, 9, (300, 4))
    np.save(tmp_path / "pool.npy", whole.astype("float32"))
    wide = np.zeros((300, 9), "float32")
    wide[:, 2:6] = whole

    def found(rows):
        return gradient_norms(model, rows) if kind == "norms" else embed(model, rows, kind).E

    expected = found(whole.astype("float32"))
    for rows in (
        whole,
        whole.astype("float64"),
        whole.astype("int8"),
        whole.astype(">f4"),
        np.asfortranarray(whole, "float32"),
        wide[:, 2:6],
        np.load(tmp_path / "pool.npy", mmap_mode="r"),
    ):
        np.testing.assert_array_equal(found(rows), expected)
    np.testing.assert_array_equal(found(whole[::-3]), expected[::-3])
    assert len(found(whole[:0])) == 0


def test_a_column_of_years_keeps_its_digits():
    """Far from zero and hardly varying: what rounding takes from its mean is given back."""
    double, single = made((2, 9, 1)), made((2, 9, 1), dtype="float32")
    for model in (double, single):
        model.scaling = Scaling(np.array([2019.3, 0]), np.array([0.01, 1]), np.zeros(1), np.ones(1))
    X = np.column_stack([2019.25 + np.arange(12) / 128, np.arange(12)]).astype("float32")
    for kind in KINDS:
        assert relative(embed(single, X, kind).E, embed(double, X, kind).E) <= 1e-5


def test_constant_columns_and_scales_beyond_the_range():
    double, single = made((3, 9, 1)), made((3, 9, 1), dtype="float32")
    for small in (2.0**-166, 1e-50):
        for model in (double, single):
            model.scaling = Scaling(np.zeros(3), np.array([1.0, np.inf, small]), np.zeros(1), np.ones(1))
        X = np.column_stack([np.arange(5.0), [7, 1, -3, 0, 1e30], small * np.arange(5)])
        for kind in KINDS:
            assert relative(embed(single, X, kind).E, embed(double, X, kind).E) <= 1e-5
        found = embed(single, X, "input").E
        if small == 2.0**-166:
            np.testing.assert_array_equal(found, np.column_stack([range(5), [0] * 5, range(5)]))
        single.scaling = Scaling(
            np.zeros(3), np.array([1.0, np.inf, small * 2**166]), np.zeros(1), np.ones(1)
        )
        np.testing.assert_array_equal(
            found, embed(single, X * [1, 1, 2.0**166], "input").E
        )  # in units near 1


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sizes", [(3, 2), (3, 7, 1)])
def test_rows_that_are_not_finite_are_nan_and_reported(kind, dtype, sizes):
    model = made(sizes, dtype=dtype)
    X = rows_of(model, 300)
    clean = embed(model, X, kind).E
    X[3, 0], X[3, 1], X[130, 2], X[299, 1] = np.inf, -np.inf, np.nan, np.inf
    found = embed(model, X, kind)
    assert found.bad.dtype == np.int64
    assert found.bad.tolist() == [3, 130, 299]
    assert np.isnan(found.E[found.bad]).all()
    good = np.delete(np.arange(300), found.bad)
    np.testing.assert_array_equal(found.E[good], clean[good])
    squares = gradient_norms(model, X)
    assert np.flatnonzero(np.isnan(squares)).tolist() == [3, 130, 299]


def test_a_model_refuses_rows_that_are_not_finite(noisy, data):
    X = data[0].copy()
    X[7, 1] = np.nan
    for kind in KINDS:
        with pytest.raises(ValueError, match="X must be finite, got nan in row 7, column 1"):
            noisy.embed(X, kind)
    X[7, 1] = 1e300
    single = dataclasses.replace(noisy, dtype="float32")
    for kind in KINDS:
        with pytest.raises(ValueError, match=r"within the range of float32.* got 1e\+300 in row 7"):
            single.embed(X, kind)


# ---- refusals ----


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kind": "gradients"}, "kind must be one of .*did you mean 'gradient'"),
        ({"kind": "gradient", "dim": 0}, "dim must be a whole number >= 1, got 0"),
        ({"kind": "gradient", "dim": 2.5}, "dim must be a whole number >= 1, got 2.5"),
        ({"kind": "gradient", "seed": -1}, "seed must be a whole number >= 0, got -1"),
        ({"kind": "hidden", "dim": 5}, "dim must be None for 'hidden' embeddings"),
        ({"kind": "input", "dim": 3}, "dim must be None for 'input' embeddings"),
        ({"kind": "posterior", "dim": 21}, r"dim must be at most 20,.* got 21; draw more: .*samples=21"),
        ({"kind": "hidden", "threads": 0}, "threads must be a whole number >= 1, got 0"),
    ],
)
def test_refuses_arguments(noisy, data, arguments, message):
    with pytest.raises((ValueError, TypeError), match=message):
        noisy.embed(data[0], **arguments)


def test_refuses_other_rows_and_models_without_a_posterior(model, noisy, data):
    X, _ = data
    with pytest.raises(ValueError, match="X has 2 columns but the model was fitted on 3"):
        noisy.embed(X[:, :2])
    with pytest.raises(ValueError, match=r"without tangents of noise.*model.with_posterior\(X, y\)"):
        model.embed(X)
    assert model.embed(X, "hidden").shape == (60, 5)


def test_kinds_are_listed_once():
    assert tuple(embeddings.EMBEDDINGS) == KINDS
    assert ft.Model.embed.__doc__ is not None
