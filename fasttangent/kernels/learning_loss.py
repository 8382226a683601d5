"""Heads that predict a row's loss from the hidden activations of a network: forward, back, and training steps.

A head is a list of steps on one stack of units, a block of rows as columns.  The stack begins with the hidden
activations h_1, 1, h_2, 1, ... in the order in which `network.Work` keeps them, each unit less `centre` and times
`scale`; the head's own units follow, each layer with a unit that is always 1.  A step is

    target = added + relu(W^T source),    the last one  v = W^T source,

and both published heads are such lists:

    learning-loss     a_l = relu(A_l^T h_l) side by side,  v = c^T a           (Yoo & Kweon 2019)
    learning-loss++   z_1 = h_1,  z_{l+1} = h_{l+1} + relu(W_l^T z_l), then a narrowing stack   (Shukla & Ahmed 2021)

W ends with the biases.  D holds the adjoints of all units; `e` the adjoint of the network's activations.

Rows (a, b) of a pair stand side by side, so every block holds whole pairs and nothing is kept between blocks.
"""

import math
from typing import NamedTuple

import numpy as np

from fasttangent.kernels.activations import RELU, activate
from fasttangent.kernels.arithmetic import add_product, fill
from fasttangent.kernels.denormals import flush_denormals, restore
from fasttangent.kernels.jit import kernel
from fasttangent.kernels.layer import add_gradient, affine, back, tangent_through, weights
from fasttangent.kernels.losses import loss_terms
from fasttangent.kernels.network import (
    aligned,
    block_rows,
    forward,
    load_rows,
    matrix,
    padded_rows,
    whole_vectors,
    workspace,
)
from fasttangent.kernels.rows import _output_adjoints
from fasttangent.kernels.steps import _update
from fasttangent.kernels.sums import gather_columns
from fasttangent.kernels.views import row, stretch, window

LEARNING_LOSS, LEARNING_LOSS_PP = range(2)
CODES = {"learning-loss": LEARNING_LOSS, "learning-loss++": LEARNING_LOSS_PP}


class Head(NamedTuple):
    """What kernels know of a head's architecture."""

    steps: (
        np.ndarray
    )  # (n, 6): n_in, n_out, offset of W, first unit of source, of target, of added (-1: none)
    centre: np.ndarray  # (features,) of the hidden activations and their ones
    scale: np.ndarray  # (features,) 1 / standard deviation


class Pairs(NamedTuple):
    """The loss of a pair."""

    code: int
    margin: float  # of learning-loss
    epsilon: float  # of learning-loss++


class Room(NamedTuple):
    """Room for one block."""

    stack: np.ndarray
    slopes: np.ndarray  # relu' of each unit of the head
    D: np.ndarray  # adjoints
    rows: np.ndarray  # a transposed adjoint
    sums: np.ndarray  # a value per unit
    offsets: np.ndarray  # where the units of a layer begin
    starts: np.ndarray  # where the block's rows begin in a table of features


class Course(NamedTuple):
    """What an epoch does: minibatch b of n holds rows order[b N / n : (b + 1) N / n], N = len(order)."""

    order: np.ndarray  # (N,)
    rates: np.ndarray  # (n,) learning rates
    done: int  # steps taken before, for Adam's bias correction


@kernel
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
        rows = padded_rows(room.rows, n_rows, n_out)
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
def pair_terms(v_i, v_j, l_i, l_j, pairs):
    """The loss of a pair and its derivative in v_i; that in v_j is the opposite.  l is held constant."""
    x = v_i - v_j
    if pairs.code == LEARNING_LOSS:
        sign = 1.0 if l_i > l_j else (-1.0 if l_i < l_j else 0.0)
        hinge = pairs.margin - sign * x
        return (0.0, 0.0) if hinge <= 0 else (hinge, -sign)
    p = (l_i + pairs.epsilon) / (l_i + l_j + 2 * pairs.epsilon)
    small = math.exp(-abs(x))
    q = 1 / (1 + small) if x >= 0 else small / (1 + small)
    log_q = min(x, 0.0) - math.log1p(small)
    value = -p * log_q - (1 - p) * (log_q - x)  # cross entropy; log(1 - q) = log q - x
    if p > 0:
        value += p * math.log(p)
    if p < 1:
        value += (1 - p) * math.log(1 - p)
    return value, q - p


@kernel
def pair_slopes(slopes, values, v, l, pairs):
    """The terms of many pairs: v, l (n, 2)."""
    for i in range(len(v)):
        values[i], slopes[i] = pair_terms(v[i, 0], v[i, 1], l[i, 0], l[i, 1], pairs)


@kernel
def _pair_adjoints(room, losses, n_rows, width, head, pairs, scale):
    """D <- 0 but for the adjoints of v; return the sum over the block's pairs.  A row without another has none."""
    total, lanes, last = 0.0, block_rows(room.D), len(head.steps) - 1
    out = head.steps[last, 4]
    fill(matrix(room.D, 0, out + 1, width), 0)
    v, d = stretch(room.stack, out * lanes, lanes), stretch(room.D, out * lanes, lanes)
    for j in range(0, n_rows - 1, 2):
        value, slope = pair_terms(np.float64(v[j]), np.float64(v[j + 1]), losses[j], losses[j + 1], pairs)
        total += value
        d[j], d[j + 1] = scale * slope, -scale * slope
    return total


@kernel
def pair_up(paired, order, start, stop):
    """paired <- rows 1, B, 2, B - 1, ... of order[start:stop]; one without another comes last."""
    n = stop - start
    for i in range(n):
        paired[i] = order[start + i // 2] if i % 2 == 0 else order[stop - 1 - i // 2]


@kernel
def _clear(slabs):
    g = row(slabs.G, 0)
    for j in range(g.size):
        g[j] = 0


@kernel
def head_epoch(state, H, losses, course, head, pairs, penalty, optimizer, slabs):
    """An epoch of the head alone, on features H (n, features) that are fixed; return the mean loss of a pair.

    losses (n,) float64: what v is to rank.
    """
    n, N, block = len(course.rates), len(course.order), block_rows(state.theta)
    room, mode, total, seen = room_for(head, state.theta), flush_denormals(), 0.0, 0
    paired, l, n_features = np.empty(N // n + 1, np.int64), np.zeros(block), H.shape[1]
    for b in range(n):
        start, stop = b * N // n, (b + 1) * N // n
        pair_up(paired, course.order, start, stop)
        _clear(slabs)
        n_paired = (stop - start) // 2 * 2
        for first in range(0, n_paired, block):
            n_rows = min(block, n_paired - first)
            width = whole_vectors(n_rows, H)
            for j in range(n_rows):
                room.starts[j], l[j] = paired[first + j] * n_features, losses[paired[first + j]]
            x = matrix(room.stack, 0, n_features, width)
            gather_columns(x, stretch(H, 0, H.size), stretch(room.starts, 0, n_rows))
            head_forward(room, width, state.theta, head)
            total += _pair_adjoints(room, l, n_rows, width, head, pairs, 2.0 / n_paired)
            head_backward(row(slabs.G, 0), room, n_rows, width, state.theta, head, n_rows < 0)
        seen += n_paired // 2
        _update(
            state,
            penalty.mask,
            penalty.strength,
            slabs,
            0,
            state.theta.size,
            course.rates[b],
            optimizer,
            course.done + b + 1,
        )
    restore(mode)
    return total / max(seen, 1)


@kernel
def _load_features(room, work, width, n_features, head):
    """The stack's features <- (hidden activations - centre) scale; a network keeps its inputs before them."""
    for u in range(len(head.centre)):
        a = row(matrix(room.stack, u, 1, width), 0)
        b = row(matrix(work.h, n_features + 1 + u, 1, width), 0)
        centre, scale = head.centre[u], head.scale[u]
        for j in range(a.size):
            a[j] = (b[j] - centre) * scale


@kernel
def hidden_rows(H, theta, X, every, network, head):
    """H (n, features): hidden activations of rows of X, as the head takes them."""
    none = np.empty((0, theta.size), theta.dtype)
    work, room, mode = workspace(theta, 0, network.table), room_for(head, theta), flush_denormals()
    block, exact = block_rows(theta), len(none) > 0  # a variable: a literal would compile `forward` again
    for start in range(0, len(H), block):
        stop = min(start + block, len(H))
        width = load_rows(work, X, X.shape[1], every, start, stop)
        forward(work, width, theta, none, network, exact)
        _load_features(room, work, width, X.shape[1], head)
        for u in range(H.shape[1]):
            for j in range(stop - start):
                H[start + j, u] = room.stack[u * block + j]
    restore(mode)


@kernel
def head_outputs(v, params, theta, X, every, network, head):
    """v (n,) of rows of X."""
    none = np.empty((0, theta.size), theta.dtype)
    work, room, mode = workspace(theta, 0, network.table), room_for(head, theta), flush_denormals()
    block, exact, out = block_rows(theta), len(none) > 0, head.steps[len(head.steps) - 1, 4]
    for start in range(0, len(v), block):
        stop = min(start + block, len(v))
        width = load_rows(work, X, X.shape[1], every, start, stop)
        forward(work, width, theta, none, network, exact)
        _load_features(room, work, width, X.shape[1], head)
        head_forward(room, width, params, head)
        for j in range(stop - start):
            v[start + j] = room.stack[out * block + j]
    restore(mode)


@kernel
def row_losses(losses, F, Y, loss):
    """losses (n,) = sum over outputs of loss(F - Y), for F, Y (n, n_outputs)."""
    for i in range(len(F)):
        losses[i] = 0
        for o in range(F.shape[1]):
            losses[i] += loss_terms(np.float64(F[i, o]) - Y[i, o], loss.code, loss.delta)[0]


@kernel
def _block_losses(losses, f, rows, paired, first, last, loss):
    """The same of the block's outputs."""
    block = block_rows(f)
    for j in range(last - first):
        losses[j] = 0
        for o in range(rows.Y.shape[1]):
            r = np.float64(f[o * block + j]) - rows.Y[paired[first + j], o]
            losses[j] += loss_terms(r, loss.code, loss.delta)[0]


@kernel
def add_joint_gradient(
    g, G, theta, params, rows, paired, count, scale, network, loss, head, pairs, weight, work, room
):
    """The gradient of one minibatch, rows paired[:count], in network and head at once.

    g (p,) += that of  scale sum_i w_i loss(f_i, y_i) + weight (mean loss of a pair);  G += that of the mean loss of a
    pair in the head.  weight 0: the head sees the network, and the network nothing of the head.  The losses l_i,
    those of the moment, are held constant.  Returns the two sums, the first with its scale.
    """
    block, n_features, total, pair_total = block_rows(theta), rows.X.shape[1], 0.0, 0.0
    none = np.empty((0, theta.size), theta.dtype)
    exact, through = len(none) > 0, weight > 0
    l, per_pair = np.zeros(block), 2.0 / max(count // 2 * 2, 1)
    for first in range(0, count, block):
        last = min(first + block, count)
        width = load_rows(work, rows.X, n_features, paired, first, last)
        forward(work, width, theta, none, network, exact)
        _block_losses(l, work.f, rows, paired, first, last, loss)
        total += _output_adjoints(work.f, work.ft, rows, paired, first, last, scale, loss)
        _load_features(room, work, width, n_features, head)
        head_forward(room, width, params, head)
        pair_total += _pair_adjoints(room, l, last - first, width, head, pairs, per_pair)
        head_backward(G, room, last - first, width, params, head, through)
        _network_backward(g, work, room, last - first, width, theta, network, head, weight)
    return total, pair_total


@kernel
def _network_backward(g, work, room, n_rows, width, theta, network, head, weight):
    """`network.backward` without tangents, the head's adjoint of each hidden layer added on the way."""
    table, flat = network.table, work.f
    for l in range(len(table) - 1, -1, -1):
        n_in, n_out, at = table[l, 0], table[l, 1], table[l, 4]
        d, h = matrix(flat, 0, n_out, width), matrix(work.h, at, n_in + 1, width)
        rows = padded_rows(work.rows, n_rows, n_out)
        add_gradient(weights(g, table, l), h, flat, rows, work.offsets, work.sums)
        if l == 0:
            return
        size = len(work.d) // 2
        flat = stretch(work.d, l % 2 * size, size)
        e, p = matrix(flat, 0, n_in, width), matrix(work.p, at, n_in, width)
        back(e, weights(theta, table, l), d, p[:0])
        if weight > 0:
            _add_head_adjoint(e, room.D, at - table[0, 0] - 1, head.scale, weight)
        tangent_through(e, p, e)


@kernel
def _add_head_adjoint(e, D, first, scale, weight):
    """e += weight scale D, for the units of a hidden layer, which begin at `first` in the stack."""
    for u in range(len(e)):
        a = row(e, u)
        b = row(matrix(D, first + u, 1, a.size), 0)
        factor = e.dtype.type(weight) * scale[first + u]
        for j in range(a.size):
            a[j] += factor * b[j]


@kernel
def joint_epoch(
    state,
    head_state,
    rows,
    course,
    head_rates,
    network,
    loss,
    head,
    pairs,
    weight,
    penalty,
    head_penalty,
    optimizer,
    slabs,
    head_slabs,
):
    """An epoch of network and head together; return the sum of row losses and the mean loss of a pair."""
    n, N = len(course.rates), len(course.order)
    work, room = workspace(state.theta, 0, network.table), room_for(head, state.theta)
    mode, paired = flush_denormals(), np.empty(N // n + 1, np.int64)
    total, pair_total, seen = 0.0, 0.0, 0
    for b in range(n):
        start, stop = b * N // n, (b + 1) * N // n
        pair_up(paired, course.order, start, stop)
        _clear(slabs)
        _clear(head_slabs)
        count = stop - start
        scale = N / count
        value, pair_value = add_joint_gradient(
            row(slabs.G, 0),
            row(head_slabs.G, 0),
            state.theta,
            head_state.theta,
            rows,
            paired,
            count,
            scale,
            network,
            loss,
            head,
            pairs,
            weight,
            work,
            room,
        )
        total, pair_total, seen = total + value / scale, pair_total + pair_value, seen + count // 2
        t, p, p_head = course.done + b + 1, state.theta.size, head_state.theta.size
        _update(state, penalty.mask, penalty.strength, slabs, 0, p, course.rates[b], optimizer, t)
        _update(
            head_state,
            head_penalty.mask,
            head_penalty.strength,
            head_slabs,
            0,
            p_head,
            head_rates[b],
            optimizer,
            t,
        )
    restore(mode)
    return total, pair_total / max(seen, 1)
