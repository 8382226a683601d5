"""Training steps of heads that rank the losses of rows, alone or together with the network they sit on.

Rows (a, b) of a pair stand side by side, so every block holds whole pairs and nothing is kept between blocks.
"""

import math
from typing import NamedTuple

import numpy as np

from fasttangent.kernels.arithmetic import fill
from fasttangent.kernels.denormals import flush_denormals, restore
from fasttangent.kernels.jit import kernel, making_arrays
from fasttangent.kernels.layer import add_gradient, back, tangent_through, weights
from fasttangent.kernels.loss_heads import Head, head_backward, head_forward, load_features, room_for
from fasttangent.kernels.losses import loss_terms
from fasttangent.kernels.network import (
    block_rows,
    flat_units,
    forward,
    load_rows,
    matrix,
    padded_rows,
    whole_vectors,
    workspace,
)
from fasttangent.kernels.rows import DataTerm, Part, output_adjoints
from fasttangent.kernels.steps import update
from fasttangent.kernels.sums import gather_columns
from fasttangent.kernels.views import row, stretch

LEARNING_LOSS, LEARNING_LOSS_PP = range(2)
CODES = {"learning-loss": LEARNING_LOSS, "learning-loss++": LEARNING_LOSS_PP}


class Pairs(NamedTuple):
    """The loss of a pair."""

    code: int
    margin: float  # of learning-loss
    epsilon: float  # of learning-loss++


class Joint(NamedTuple):
    """What network and head are trained on together: the data term and weight times the mean loss of a pair."""

    data: DataTerm
    head: Head
    pairs: Pairs
    weight: float  # 0: the head sees the network, and the network nothing of the head


class Course(NamedTuple):
    """What an epoch does: minibatch b of n holds rows order[b N / n : (b + 1) N / n], N = len(order)."""

    order: np.ndarray  # (N,)
    rates: np.ndarray  # (n,) learning rates
    done: int  # steps taken before, for Adam's bias correction


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


@making_arrays
def head_epoch(descent, H, losses, course, head, pairs):
    """An epoch of the head alone, on features H (n, features) that are fixed; return the mean loss of a pair.

    losses (n,) float64: what v is to rank.
    """
    state, penalty, optimizer, slabs = descent
    n, N, block = len(course.rates), len(course.order), block_rows(state.theta)
    through = n < 0  # false, but a variable: a literal would compile `head_backward` again
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
            head_backward(row(slabs.G, 0), room, n_rows, width, state.theta, head, through)
        seen += n_paired // 2
        update(state, penalty, optimizer, slabs, 0, state.theta.size, course.rates[b], course.done + b + 1)
    restore(mode)
    return total / max(seen, 1)


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


@making_arrays
def add_joint_gradient(g, G, theta, params, joint, part, work, room):
    """The gradient of one minibatch, a part that begins at 0 and is in pairs, in network and head at once.

    g (p,) += that of  scale sum_i w_i loss(f_i, y_i) + weight (mean loss of a pair);  G += that of the mean loss of a
    pair in the head.  The losses l_i, those of the moment, are held constant.  Returns the two sums, the first with
    its scale.
    """
    rows, network, loss = joint.data.rows, joint.data.network, joint.data.loss
    head, paired, count = joint.head, part.order, part.stop
    block, n_features, total, pair_total = block_rows(theta), rows.X.shape[1], 0.0, 0.0
    none = np.empty((0, theta.size), theta.dtype)
    exact, through = len(none) > 0, joint.weight > 0
    l, per_pair = np.zeros(block), 2.0 / max(count // 2 * 2, 1)
    for first in range(0, count, block):
        last = min(first + block, count)
        width = load_rows(work, rows.X, n_features, paired, first, last)
        forward(work, width, theta, none, network, exact)
        f = flat_units(work.room, work.f, rows.Y.shape[1])
        _block_losses(l, f, rows, paired, first, last, loss)
        total += output_adjoints(work, 0, rows, paired, first, last, part.scale, loss)
        load_features(room, work, width, n_features, head)
        head_forward(room, width, params, head)
        pair_total += _pair_adjoints(room, l, last - first, width, head, joint.pairs, per_pair)
        head_backward(G, room, last - first, width, params, head, through)
        _network_backward(g, work, room, last - first, width, theta, joint)
    return total, pair_total


@kernel
def _network_backward(g, work, room, n_rows, width, theta, joint):
    """`network.backward` without tangents, the head's adjoint of each hidden layer added on the way."""
    table, scale, weight = joint.data.network.table, joint.head.scale, joint.weight
    adjoint = work.f
    for l in range(len(table) - 1, -1, -1):
        n_in, n_out, at = table[l, 0], table[l, 1], table[l, 4]
        d, h = matrix(work.room, adjoint, n_out, width), matrix(work.room, work.h + at, n_in + 1, width)
        flat, rows = flat_units(work.room, adjoint, n_out), padded_rows(work.room, work.rows, n_rows, n_out)
        add_gradient(weights(g, table, l), h, flat, rows, work.offsets, work.sums)
        if l == 0:
            return
        adjoint = work.d + l % 2 * work.half
        e, p = matrix(work.room, adjoint, n_in, width), matrix(work.room, work.p + at, n_in, width)
        back(e, weights(theta, table, l), d, p[:0])
        if weight > 0:
            _add_head_adjoint(e, room.D, at - table[0, 0] - 1, scale, weight)
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


@making_arrays
def joint_epoch(descent, head_descent, joint, course, head_rates):
    """An epoch of network and head together; return the sum of row losses and the mean loss of a pair."""
    state, penalty, optimizer, slabs = descent
    head_state, head_penalty, head_optimizer, head_slabs = head_descent
    n, N, n_head = len(course.rates), len(course.order), head_state.theta.size
    work, room = workspace(state.theta, 0, joint.data.network.table), room_for(joint.head, state.theta)
    mode, paired = flush_denormals(), np.empty(N // n + 1, np.int64)
    total, pair_total, seen = 0.0, 0.0, 0
    for b in range(n):
        start, stop = b * N // n, (b + 1) * N // n
        pair_up(paired, course.order, start, stop)
        _clear(slabs)
        _clear(head_slabs)
        count = stop - start
        scale = N / count
        g, G, part = row(slabs.G, 0), row(head_slabs.G, 0), Part(paired, 0, count, scale)
        value, pair_value = add_joint_gradient(g, G, state.theta, head_state.theta, joint, part, work, room)
        total, pair_total, seen = total + value / scale, pair_total + pair_value, seen + count // 2
        t = course.done + b + 1
        update(state, penalty, optimizer, slabs, 0, state.theta.size, course.rates[b], t)
        update(head_state, head_penalty, head_optimizer, head_slabs, 0, n_head, head_rates[b], t)
    restore(mode)
    return total, pair_total / max(seen, 1)
