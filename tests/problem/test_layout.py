"""The flat vector: views, offsets, masks; initial parameters."""

import numpy as np
import pytest
from helpers import naive

from fasttangent.problem.layout import Layout
from fasttangent.problem.network import ACTIVATIONS, Network

SIZES = [(1, 1), (3, 2), (4, 1, 1), (2, 5, 3), (3, 4, 3, 5, 2)]


@pytest.mark.parametrize("sizes", SIZES)
def test_views_cover_the_flat_vector_once_and_in_order(sizes):
    layout = Layout(sizes)
    flat = np.arange(layout.n_params, dtype=float)
    pieces = []
    for l in range(layout.n_layers):
        pieces += [layout.weights(flat, l).ravel(), layout.biases(flat, l)]
    np.testing.assert_array_equal(np.concatenate(pieces), flat)
    for l, (W, b) in enumerate(naive.unflatten(flat, sizes)):
        np.testing.assert_array_equal(layout.weights(flat, l), W)
        np.testing.assert_array_equal(layout.biases(flat, l), b)
        assert W.shape == (sizes[l], sizes[l + 1])


@pytest.mark.parametrize("sizes", SIZES)
def test_views_write_through_also_into_stacks(sizes):
    layout = Layout(sizes)
    stack = np.zeros((3, layout.n_params))
    for l in range(layout.n_layers):
        layout.weights(stack, l)[1] = 1 + l
        layout.biases(stack, l)[1] = -1 - l
        layout.weights(stack[2], l)[:] = 7
        layout.biases(stack[2], l)[:] = 7
    assert (stack[0] == 0).all()
    assert (stack[1] != 0).all()
    assert (stack[2] == 7).all()
    assert layout.weights(stack, 0).shape == (3, sizes[0], sizes[1])


@pytest.mark.parametrize("sizes", SIZES)
def test_weight_mask(sizes):
    layout = Layout(sizes)
    mask = layout.weight_mask()
    for l in range(layout.n_layers):
        assert (layout.weights(mask, l) == 1).all()
        assert (layout.biases(mask, l) == 0).all()


def test_table():
    layout = Layout((3, 4, 2))
    assert layout.table.dtype == np.int64
    assert layout.table.tolist() == [[3, 4, 0, 12, 0], [4, 2, 16, 24, 4]]
    assert layout.n_params == 26
    assert repr(layout) == "Layout((3, 4, 2))"


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_initial_parameters(activation):
    network = Network((300, 200, 1), activation)
    flat = network.initial_params(np.random.default_rng(0))
    np.testing.assert_array_equal(flat, network.initial_params(np.random.default_rng(0)))
    assert (flat != network.initial_params(np.random.default_rng(1))).any()
    for l in range(2):
        assert (network.layout.biases(flat, l) == 0).all()
    glorot = activation in ("tanh", "identity")
    first, last = network.layout.weights(flat, 0), network.layout.weights(flat, 1)
    assert first.std() == pytest.approx(np.sqrt(2 / (500 if glorot else 300)), rel=0.02)
    assert last.std() == pytest.approx(np.sqrt(2 / 201), rel=0.15)
    assert abs(first).max() <= np.sqrt(6 / 500) or not glorot


def test_networks_say_what_is_wrong():
    with pytest.raises(ValueError, match="did you mean 'tanh'"):
        Network((2, 3, 1), "tan")
    with pytest.raises(ValueError, match="hidden must be a whole number >= 1, got 0"):
        Network((2, 0, 1), "tanh")
    with pytest.raises(TypeError, match=r"hidden must be a whole number >= 1, got 2\.5"):
        Network((2, 2.5, 1), "tanh")
    assert repr(Network((2, 3, 1), "tanh")) == "Network((2, 3, 1), 'tanh')"
