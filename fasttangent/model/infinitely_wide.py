"""Strengths to begin with: those under which the infinitely wide network explains the labels best.

With normal priors of its parameters, of variance v_g in group g, a network of one hidden layer becomes a Gaussian
process as its layer grows (Neal 1996; Williams 1998 for the error function, near tanh; Cho & Saul 2009 for relu).  Its
covariance is closed,

    k(x, x') = s k0(x . x', x . x, x' . x'),      x . x' = sum_j v_j x_j x'_j + v_bias,

so the marginal likelihood of the labels says what v are likely, columns that explain nothing get a small one, and
strength_g = noise / (S v_g) is the regulariser of the same prior.  A network of finite width is settled under these
strengths, their common factor learned by its own evidence (`strengths`).

Learned by the finite network instead, from its linearisation, a strength for every column overfits: at 64 labels of
pol it was six times worse than one for all.  The kernel has no parameters to overfit with.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from fasttangent.common.blas import one_thread
from fasttangent.problem import groups
from fasttangent.problem.deviations import Deviations

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fasttangent.problem.network import Network
    from fasttangent.problem.objective import Objective

    Float = NDArray[np.float64]

MOST_ROWS = 500  # of a sample that stands for more
LEAST_ROWS_OF_A_USER = 10  # there, if it has so many
MOST_EVALUATIONS = 80
START = np.log(0.05)  # of the noise
BOUNDS = {
    "input": (-8.0, 6.0),
    "bias": (-4.0, 4.0),
    "output": (-2.0, 4.0),
    "users": (-8.0, 4.0),
    "noise": (-9.0, -0.7),  # at the most half of the variance: of a constant nothing can be learned
}  # log variances
# Standard deviation of the log-normal hyperpriors of all but the columns.  With 3 errors were the same, and strengths
# so far apart that a smooth function of four columns was not settled after 17 s.
WIDE = 1.0
WIDE_OF_USERS = 3.0  # and of the variance of users, which may be next to nothing
LEAST, LARGEST = 1e-9, 1e6  # strengths
OF_USERS = np.log(0.3)  # to begin with: the variance of a user's deviation over that of what is shared
LEAST_WEIGHT = 1e-6  # of a row, of the mean
EDGE = 1e-12  # of a cosine from 1, beyond which its angle has no derivative


class Variances(NamedTuple):
    """Logarithms: of the prior of each column's weights and of the biases, of the output's scale, and of the noise.

    And of the deviations of users, over the output's.
    """

    inputs: Float  # (d,)
    bias: float
    output: float
    noise: float
    users: float = -np.inf


def strengths(
    network: Network,
    objective: Objective,
    X: Float,
    Y: Float,
    w: Float,
    users: tuple[Deviations, NDArray[np.int64]] | None = None,
) -> Float:
    """A strength for each group (K,), and for the deviations of users, if there are any.

    A user's last layer has weights and a bias of its own beside the shared ones, so that k(x, x') of two rows is
    s (k0 + v_users (k0 + 1) [of the same user]).

    Parameters
    ----------
    network, objective : Network, Objective
        Whose groups; of numbers given by a user all get the same.
    X, Y : ndarray of float64, shape (n, n_features), (n, n_outputs)
        In standard units.
    w : ndarray of float64, shape (n,)
        Weights.
    users : tuple of Deviations and ndarray of int64, shape (n,), optional
        The user of each row.
    """
    total, of_rows = float(w.sum()), None if users is None else users[1]
    if len(X) > MOST_ROWS:
        some = _sample(len(X), of_rows)
        X, Y, w, of_rows = X[some], Y[some], w[some], None if of_rows is None else of_rows[some]
    of_inputs = np.array(objective.of_inputs or range(X.shape[1])) * (objective.groups == "inputs")
    x_size, y_size = _root_mean_square(X), float(_root_mean_square(Y.reshape(-1, 1))[0])
    same = None if of_rows is None else of_rows[:, None] == of_rows
    found = likeliest(
        X / x_size, Y / y_size, np.maximum(w / w.mean(), LEAST_WEIGHT), network, of_inputs, same
    )
    of, layout = groups.numbers(objective.groups, network.layout, objective.of_inputs), network.layout
    logs, last = np.zeros(layout.n_params), layout.n_layers - 1  # of the variances
    for l, width in enumerate(layout.sizes[:-1]):
        output = found.output + 2 * np.log(y_size) if l == last else 0.0
        inputs = -np.log(width) if l else (found.inputs - 2 * np.log(x_size))[:, None]
        layout.weights(logs, l)[:] = output + inputs
        layout.biases(logs, l)[:] = output + (0.0 if l else found.bias)
    mean = np.bincount(of, logs) / np.bincount(of)
    if users is not None:
        mean = np.append(mean, found.users + np.mean(logs[users[0].weights]))
    noise = found.noise + 2 * np.log(y_size) - np.log(total)
    return np.exp(np.clip(noise - mean, np.log(LEAST), np.log(LARGEST)))


def _root_mean_square(A: Float) -> Float:
    """Of each column; 1 of one that is zero."""
    size = np.sqrt(np.mean(A * A, axis=0))
    return np.where(size > 0, size, 1.0)


def level(each: Float, deviations: Deviations, objective: Objective) -> float:
    """Of strengths for each group, the geometric mean over the weights from which users deviate."""
    of = groups.numbers(objective.groups, deviations.layout, objective.of_inputs)[deviations.weights]
    return float(np.exp(np.mean(np.log(each[of]))))


def _sample(n: int, of: NDArray[np.int64] | None) -> NDArray[np.int64]:
    """Numbers of rows that stand for n; with users about as many of each of some, of whom there are at most 50."""
    rng = np.random.default_rng(0)
    if of is None:
        return np.sort(rng.choice(n, MOST_ROWS, replace=False))
    users = np.unique(of)
    users = rng.permutation(users)[: MOST_ROWS // LEAST_ROWS_OF_A_USER]
    order = rng.permutation(n)
    order = order[np.isin(of[order], users)]
    by_user = order[np.argsort(of[order], kind="stable")]
    _, first = np.unique(of[by_user], return_index=True)
    turn = np.arange(len(by_user)) - np.repeat(first, np.diff(np.append(first, len(by_user))))
    return np.sort(by_user[np.argsort(turn, kind="stable")[:MOST_ROWS]])


def likeliest(
    X: Float,
    Y: Float,
    w: Float,
    network: Network,
    of_inputs: NDArray[np.int64],
    same: NDArray[np.bool_] | None = None,
) -> Variances:
    """By marginal likelihood; inputs of one number, 0, 1, ..., have one variance; `same` (n, n): rows of one user.

    With users it is looked for twice, also from where it is without them: from elsewhere what they have in common now
    and then goes for noise.
    """
    from scipy.optimize import minimize

    d = int(of_inputs.max()) + 1
    start = np.array([*np.full(d, -np.log(X.shape[1])), 0.0, 1.0, START])
    bounds = [*[BOUNDS["input"]] * d, *(BOUNDS[name] for name in ("bias", "output", "noise"))]
    begins, wide = [start], np.array(WIDE)
    if same is not None:
        known, first = likeliest(X, Y, w, network, of_inputs), np.unique(of_inputs, return_index=True)[1]
        start, bounds = np.append(start, OF_USERS), [*bounds, BOUNDS["users"]]
        without = np.array([*known.inputs[first], known.bias, known.output, known.noise, OF_USERS])
        begins, wide = [start, without], np.array([WIDE, WIDE, WIDE, WIDE_OF_USERS])

    def variances(logs: Float) -> Variances:
        return Variances(logs[of_inputs], *logs[d:])

    def function(logs: Float) -> tuple[float, Float]:
        try:
            value, gradient = minus_log_evidence(variances(logs), X, Y, w, kernel_of(network), same)
        except np.linalg.LinAlgError:  # not positive definite, to rounding: as bad as can be
            return 1e10 * len(X), np.zeros(len(logs))
        if d < len(of_inputs):
            by_column = (gradient[: len(of_inputs)][of_inputs == j].sum() for j in range(d))
            gradient = np.array([*by_column, *gradient[len(of_inputs) :]])
        off = (logs[d:] - start[d:]) / wide
        gradient[d:] += off / wide
        return value + 0.5 * float(np.sum(off * off)), gradient

    with one_thread():
        options = {"maxiter": MOST_EVALUATIONS, "maxfun": MOST_EVALUATIONS}
        found = [
            minimize(function, begin, jac=True, method="L-BFGS-B", bounds=bounds, options=options)
            for begin in begins
        ]
    return variances(min(found, key=lambda one: float(one.fun)).x)


def minus_log_evidence(
    at: Variances, X: Float, Y: Float, w: Float, kernel: str, same: NDArray[np.bool_] | None = None
) -> tuple[float, Float]:
    """-log p(Y | X) without constants, and its derivative in the logarithms (d + 3,), with users (d + 4,)."""
    from scipy.linalg import cho_factor, cho_solve

    n, n_outputs = Y.shape
    v, output, noise = np.exp([*at.inputs, at.bias]), np.exp(at.output), np.exp(at.noise)
    ones = np.column_stack([X, np.ones(n)])
    with one_thread():
        cross = (ones * v) @ ones.T
    own = np.diag(cross).copy()
    K, in_cross, in_own = KERNELS[kernel](cross, own)
    if same is not None:
        users = np.exp(at.users) * same
        of_users = users * (K + 1)
        K, in_cross, in_own = K + of_users, (1 + users) * in_cross, (1 + users) * in_own
    with one_thread():
        factor = cho_factor(output * K + np.diag(noise / w + 1e-10 * output), lower=True, check_finite=False)
        alpha, inverse = cho_solve(factor, Y), cho_solve(factor, np.eye(n))
        value = 0.5 * float(np.sum(Y * alpha)) + n_outputs * float(np.sum(np.log(np.diag(factor[0]))))
        P = 0.5 * (n_outputs * inverse - alpha @ alpha.T)  # d value = sum P dC, C the covariance
        Q = output * P * in_cross
        by_inputs = np.sum(ones * (Q @ ones), axis=0)
        by_inputs += 2 * output * np.sum(P * in_own, axis=1) @ ones**2
    gradient = [*(v * by_inputs), output * np.sum(P * K), noise * np.sum(np.diag(P) / w)]
    if same is not None:
        gradient.append(output * np.sum(P * of_users))
    return value, np.array(gradient)


Kernel = tuple[
    "Float", "Float", "Float"
]  # k0, and its derivatives in cross = x . x' and in own = x . x of the row


def _error_function(cross: Float, own: Float) -> Kernel:
    """2 / pi arcsin(2 x.x' / sqrt((1 + 2 x.x) (1 + 2 x'.x')))."""
    size = np.sqrt(1 + 2 * own)
    u = np.minimum(2 * cross / np.outer(size, size), 1 - EDGE)
    slope = 2 / np.pi / np.sqrt(1 - u * u)
    return 2 / np.pi * np.arcsin(u), 2 * slope / np.outer(size, size), -slope * u / (size * size)[:, None]


def _rectifier(cross: Float, own: Float) -> Kernel:
    """(|x| |x'| / pi) (sin a + (pi - a) cos a), a the angle between x and x'."""
    size = np.sqrt(own)
    u = np.clip(cross / np.outer(size, size), -1 + EDGE, 1 - EDGE)
    angle, sine = np.arccos(u), np.sqrt(1 - u * u)
    K = np.outer(size, size) * (sine + (np.pi - angle) * u) / np.pi
    return K, (np.pi - angle) / np.pi, sine * size / (2 * np.pi * size[:, None])


def _linear(cross: Float, own: Float) -> Kernel:
    """x . x'."""
    return cross, np.ones_like(cross), np.zeros_like(cross)


KERNELS = {"error function": _error_function, "rectifier": _rectifier, "linear": _linear}


def kernel_of(network: Network) -> str:
    """The one whose unit is like the network's."""
    if network.layout.n_layers == 1 or network.activation == "identity":
        return "linear"
    return "error function" if network.activation == "tanh" else "rectifier"
