"""Heads on the hidden activations of a network: forward and back.

A head is a list of steps on one stack of units, a block of rows as columns.  The stack begins with the hidden
activations h_1, 1, h_2, 1, ... in the order in which `network.Work` keeps them, each unit less `centre` and times
`scale`; the head's own units follow, each layer with a unit that is always 1.  A step is

    target = added + relu(W^T source),    the last one  v = W^T source,

and both published heads are such lists:

    learning-loss     a_l = relu(A_l^T h_l) side by side,  v = c^T a           (Yoo & Kweon 2019)
    learning-loss++   z_1 = h_1,  z_{l+1} = h_{l+1} + relu(W_l^T z_l), then a narrowing stack   (Shukla & Ahmed 2021)

W ends with the biases.  D holds the adjoints of all units; `e` the adjoint of the network's activations.
"""

from typing import NamedTuple

import numpy as np

from fasttangent.kernels.activations import RELU, activate
from fasttangent.kernels.arithmetic import add_product
from fasttangent.kernels.denormals import flush_denormals, restore
from fasttangent.kernels.jit import kernel, making_arrays
from fasttangent.kernels.layer import add_gradient, affine, tangent_through
from fasttangent.kernels.memory import aligned
from fasttangent.kernels.network import (
    block_rows,
    forward,
    load_rows,
    matrix,
    padded_rows,
    workspace,
)
from fasttangent.kernels.views import row, stretch, window


class Head(NamedTuple):
    """What kernels know of a head's architecture."""

    steps: (
        np.ndarray
    )  # (n, 6): n_in, n_out, offset of W, first unit of source, of target, of added (-1: none)
    centre: np.ndarray  # (features,) of the hidden activations and their ones
    scale: np.ndarray  # (features,) 1 / standard deviation


class Room(NamedTuple):
    """Room for one block."""

    stack: np.ndarray
    slopes: np.ndarray  # relu' of each unit of the head
    D: np.ndarray  # adjoints
    rows: np.ndarray  # a transposed adjoint
    sums: np.ndarray  # a value per unit
    offsets: np.ndarray  # where the units of a layer begin
    starts: np.ndarray  # where the block's rows begin in a table of features


@making_arrays
def room_for(head, like):
    """Buffers of the dtype of `like`."""
    lanes, units, widest, last = block_rows(like), 0, 0, len(head.steps) - 1
    for s in range(last + 1):
        widest = max(widest, head.steps[s, 0] + 1, head.steps[s, 1])
    units = head.steps[last, 4] + 2  # the output ends the stack
    padded = (widest + 2 * (64 // like.itemsize)) * lanes
    stack = aligned(units * lanes, like)
    for i in range(stack.size):
        stack[i] = 1
    offsets = np.arange(widest) * lanes
    return Room(
        stack,
        aligned(units * lanes, like),
        aligned(units * lanes, like),
        aligned(padded, like),
        aligned(widest, like),
        offsets,
        np.empty(lanes, np.int64),
    )


@kernel
def head_forward(room, width, params, head):
    """From the features in the stack to v, the unit at the stack's end."""
    last = len(head.steps) - 1
    for s in range(last + 1):
        n_in, n_out, at = head.steps[s, 0], head.steps[s, 1], head.steps[s, 2]
        source, target, added = head.steps[s, 3], head.steps[s, 4], head.steps[s, 5]
        x, z = matrix(room.stack, source, n_in + 1, width), matrix(room.stack, target, n_out, width)
        affine(z, window(params, at, n_in + 1, n_out, n_out), x)
        if s < last:
            activate(z, matrix(room.slopes, target, n_out, width), x[:0], z, RELU)
            if added >= 0:
                _add_rows(z, matrix(room.stack, added, n_out, width))


@kernel
def head_backward(G, room, n_rows, width, params, head, through):
    """Add the gradient to G (p,), from the adjoint of v in D, whose other units are zero; `through`: find the
    adjoints of the features, too.
    """
    last, n_features, lanes = len(head.steps) - 1, len(head.centre), block_rows(params)
    for s in range(last, -1, -1):
        n_in, n_out, at = head.steps[s, 0], head.steps[s, 1], head.steps[s, 2]
        source, target, added = head.steps[s, 3], head.steps[s, 4], head.steps[s, 5]
        d, x = matrix(room.D, target, n_out, width), matrix(room.stack, source, n_in + 1, width)
        if s < last:
            if added >= 0:
                _add_rows(matrix(room.D, added, n_out, width), d)
            tangent_through(d, matrix(room.slopes, target, n_out, width), d)
        rows = padded_rows(room.rows, 0, n_rows, n_out)
        flat = stretch(room.D, target * lanes, n_out * lanes)
        add_gradient(window(G, at, n_in + 1, n_out, n_out), x, flat, rows, room.offsets, room.sums)
        if through or source >= n_features:
            W = window(params, at, n_in + 1, n_out, n_out)
            add_product(matrix(room.D, source, n_in, width), W[:n_in], d)


@kernel
def _add_rows(A, B):
    """A += B."""
    for u in range(len(B)):
        a, b = row(A, u), row(B, u)
        for j in range(a.size):
            a[j] += b[j]


@kernel
def load_features(room, work, width, n_features, head):
    """The stack's features <- (hidden activations - centre) scale; a network keeps its inputs before them."""
    for u in range(len(head.centre)):
        a = row(matrix(room.stack, u, 1, width), 0)
        b = row(matrix(work.room, work.h + n_features + 1 + u, 1, width), 0)
        centre, scale = head.centre[u], head.scale[u]
        for j in range(a.size):
            a[j] = (b[j] - centre) * scale


@making_arrays
def hidden_rows(H, theta, X, every, network, head):
    """H (n, features): hidden activations of rows of X, as the head takes them."""
    none = np.empty((0, theta.size), theta.dtype)
    work, room, mode = workspace(theta, 0, network.table), room_for(head, theta), flush_denormals()
    block, exact = block_rows(theta), len(none) > 0  # a variable: a literal would compile `forward` again
    for start in range(0, len(H), block):
        stop = min(start + block, len(H))
        width = load_rows(work, X, X.shape[1], every, start, stop)
        forward(work, width, theta, none, network, exact)
        load_features(room, work, width, X.shape[1], head)
        for u in range(H.shape[1]):
            for j in range(stop - start):
                H[start + j, u] = room.stack[u * block + j]
    restore(mode)


@making_arrays
def head_outputs(v, params, theta, X, every, network, head):
    """v (n,) of rows of X."""
    none = np.empty((0, theta.size), theta.dtype)
    work, room, mode = workspace(theta, 0, network.table), room_for(head, theta), flush_denormals()
    block, exact, out = block_rows(theta), len(none) > 0, head.steps[len(head.steps) - 1, 4]
    for start in range(0, len(v), block):
        stop = min(start + block, len(v))
        width = load_rows(work, X, X.shape[1], every, start, stop)
        forward(work, width, theta, none, network, exact)
        load_features(room, work, width, X.shape[1], head)
        head_forward(room, width, params, head)
        for j in range(stop - start):
            v[start + j] = room.stack[out * block + j]
    restore(mode)
