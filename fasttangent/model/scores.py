"""Scores of rows from one forward pass with the tangent.

Let theta*(eps) minimise F + eps loss(x, y), and s(x) = tau . grad f(x) = d f(x) / d strength.  Then

    influence   d C(theta*) / d eps = tau . grad loss(x, y) = loss'(f - y) . s(x)
    curiosity   E_y[influence^2] = E[loss'^2] . s(x)^2

(Eaton 2024, arXiv 2411.15292; Koh & Liang 2017, arXiv 1703.04730.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from fasttangent.common import checks, frames
from fasttangent.model.framed import named
from fasttangent.problem.objective import Objective
from fasttangent.problem.rows import Readable, beyond, each_readable_chunk, sizes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fasttangent.model.certificate import Certificate
    from fasttangent.problem.network import Network
    from fasttangent.problem.scaling import Scaling

    Float = NDArray[np.float64]


class Parameters(Protocol):
    """What a forward pass needs of a model."""

    @property
    def network(self) -> Network: ...
    @property
    def scaling(self) -> Scaling: ...
    @property
    def params(self) -> Float: ...
    @property
    def dtype(self) -> str: ...


class _Parameters(NamedTuple):
    network: Network
    scaling: Scaling
    params: Float
    dtype: str


class Outputs(NamedTuple):
    """Standard-unit outputs of rows; nan where a row is not finite."""

    f: NDArray  # (n, n_outputs)
    ft: NDArray  # (n, K, n_outputs)
    bad: NDArray[np.int64]  # numbers of rows with a value that is not finite, ascending


def outputs_of_rows(
    network: Network,
    scaling: Scaling,
    theta: Float,
    tangents: Float,
    X: NDArray,
    dtype: np.dtype,
    threads: int,
) -> Outputs:
    """Run the network over rows of any number, dtype and memory layout, a chunk at a time.

    Rows of `dtype` whose values stand side by side, in memory or in a memory map, are read where they are.  Others
    are centred in float64 and cast, a chunk per thread at a time, so that the results are the same.
    """
    n, n_outputs, K = len(X), network.sizes[-1], len(tangents)
    F, FT = np.empty((n, n_outputs), dtype), np.empty((n, K, n_outputs), dtype)

    def keep(part: slice, f: NDArray, ft: NDArray) -> None:
        F[part], FT[part] = f, ft

    bad = each_chunk(_Parameters(network, scaling, theta, dtype.name), tangents, X, threads, keep)
    return Outputs(F, FT, bad)


def each_chunk(
    model: Parameters,
    tangents: Float,
    X: NDArray,
    threads: int,
    finish: Callable[[slice, NDArray, NDArray], None],
) -> NDArray[np.int64]:
    """Call finish(part of rows, f (n, n_outputs), ft (n, K, n_outputs)) for all chunks, in any order, from any thread.

    ft are the derivatives of f along the K tangents; both in standard units.  Returns the numbers of rows with a value
    that is not finite, or too far away to be computed with, ascending; f and ft are nan there.
    """
    from fasttangent.kernels.scoring import outputs

    network, scaling, dtype = model.network, model.scaling, np.dtype(model.dtype)
    n_outputs, K = network.sizes[-1], len(tangents)
    scaling, divisor = scaling.readable(dtype)
    weights, centre = _folded(network, scaling, model.params, tangents, dtype)
    turned = network.layout.transposed(weights)

    def task(start: int, rows: Readable) -> NDArray:
        f, ft = np.empty((rows.n, n_outputs), dtype), np.empty((rows.n, K, n_outputs), dtype)
        outputs(f, ft, turned[0], turned[1:], rows.flat, rows.step, rows.centre, network.kernel_view)
        size = sizes(f, ft)
        if (far := beyond(size)).any():
            f[far] = ft[far] = np.nan
        finish(slice(start, start + rows.n), f, ft)
        return size

    return each_readable_chunk(scaling, centre, X, dtype, network.layout.n_params, threads, task, divisor)


class Scores(NamedTuple):
    """All scores of rows from one pass; nan where a row holds a value that is not finite."""

    prediction: NDArray  # (n,) or (n, n_outputs), units of y; see `Model.predict`
    sensitivity: NDArray  # the same shape, units of y per unit of strength
    curiosity: NDArray  # (n,), without unit

    @property
    def columns(self) -> dict[str, NDArray]:
        """By name; of several outputs one for each, with its number."""
        return {key: one for name in self._fields for key, one in named(name, getattr(self, name))}

    def to_frame(self, X: Any) -> Any:
        """The scores as a table.

        Parameters
        ----------
        X : data frame, Arrow table or batch
            The rows that were scored.

        Returns
        -------
        data frame, Arrow table or batch
            Of the same kind, with columns "prediction", "sensitivity" and "curiosity", of several outputs
            "prediction_0" and so on; of pandas with the rows' index.

        Raises
        ------
        TypeError
            If X is no table.
        ValueError
            If it has another number of rows.

        Examples
        --------
        >>> import numpy as np, pandas as pd, fasttangent as ft
        >>> rows = pd.DataFrame({"x": np.linspace(-1, 1, 40)}, index=[f"sample {i}" for i in range(40)])
        >>> model = ft.fit(rows, np.sin(3 * rows["x"]), hidden=(4,), strength=1e-2)
        >>> scores = model.score(rows).to_frame(rows)
        >>> list(scores.columns), scores.index[0]
        (['prediction', 'sensitivity', 'curiosity'], 'sample 0')
        """
        if not frames.is_frame(X):
            raise TypeError(f"X must be a data frame, got {type(X).__name__}; pass the rows that were scored")
        if frames.height(X) != len(self.curiosity):
            raise ValueError(
                f"X must have the {len(self.curiosity)} rows that were scored, got {frames.height(X)}"
            )
        return frames.like(X, self.columns)


class Scored(NamedTuple):
    """Scores of rows, and which rows have none."""

    scores: Scores
    bad: NDArray[np.int64]  # numbers of rows with a value that is not finite, ascending


class Trained(Parameters, Protocol):
    """What scores need of a model besides."""

    @property
    def tangents(self) -> dict[str, Float]: ...
    @property
    def certificate(self) -> Certificate: ...
    @property
    def slope_squared(self) -> Float: ...
    @property
    def flat_targets(self) -> bool: ...
    @property
    def threads(self) -> int | None: ...


class Fitted(Protocol):
    """A model, or several of the same rows."""

    @property
    def models(self) -> Sequence[Trained]: ...


def strength_tangent(model: Trained) -> Float:
    """tau (p,), or an error that says why the model has none."""
    if "strength" not in model.tangents:
        why = "; ".join(model.certificate.reasons)
        raise ValueError(f"the model carries no tangent, so it gives no scores: {why}")
    return model.tangents["strength"]


def scored(model: Fitted, rows: NDArray, threads: int | None = None) -> Scored:
    """All scores of rows, of several models their means, without a warning about rows or trust.

    `rows` match the model's features.
    """
    each = [_scored(one, rows, threads) for one in model.models]
    if len(each) == 1:
        return each[0]
    means = (
        mean(values).astype(values[0].dtype, copy=False)
        for values in zip(*(one.scores for one in each), strict=True)
    )
    return Scored(Scores(*means), np.unique(np.concatenate([one.bad for one in each])))


def carries(model: Fitted, kind: str) -> bool:
    """Whether a model, or every one of several, has tangents of that kind."""
    return all(kind in one.tangents for one in model.models)


def mean(values: Iterable[NDArray]) -> Float:
    """Of arrays of the same shape, summed in float64 and in their order."""
    count, total = 0, np.zeros(())
    with np.errstate(over="ignore", invalid="ignore"):
        for one in values:
            count, total = count + 1, total + one if count else one.astype(np.float64)
        return total / count


def _scored(model: Trained, rows: NDArray, threads: int | None) -> Scored:
    n, n_outputs = len(rows), model.network.sizes[-1]
    dtype = model.scaling.output_dtype(np.dtype(model.dtype))
    prediction, sensitivity = (np.empty((n, n_outputs), dtype) for _ in range(2))
    curious = np.empty(n)

    def keep(part: slice, f: NDArray, ft: NDArray) -> None:
        prediction[part] = model.scaling.predictions(f)
        sensitivity[part] = model.scaling.changes_at(f, ft[:, 0])
        curious[part] = curiosity(model.slope_squared, ft[:, 0])

    n_threads = checks.thread_count(model.threads if threads is None else threads)
    tau = strength_tangent(model)[None]
    bad = each_chunk(model, tau, rows, n_threads, keep)
    if model.flat_targets:
        return Scored(Scores(prediction[:, 0], sensitivity[:, 0], curious), bad)
    return Scored(Scores(prediction, sensitivity, curious), bad)


def _folded(
    network: Network, scaling: Scaling, theta: Float, tangents: Float, dtype: np.dtype
) -> tuple[NDArray, NDArray]:
    """(weights (1 + K, p), centre) such that the network of these weights takes raw rows less the centre.

    Scales go into the first layer's weights.  Means do not: a product with the mean would cancel, and in float32
    a column of years would lose three digits.  They are subtracted, rounded to `dtype`, and what rounding took
    away is added to the first layer's biases.
    """
    layout, weights = network.layout, np.vstack([theta, tangents])
    W = layout.weights(weights, 0)
    centre = scaling.x_mean.astype(dtype)
    shift = (centre - scaling.x_mean) / scaling.x_scale
    layout.biases(weights, 0)[:] += np.einsum("i,kio->ko", shift, W)
    W /= scaling.x_scale[:, None]
    with np.errstate(over="ignore", under="ignore"):
        return weights.astype(dtype), centre


def influence(objective: Objective, f: NDArray, y: NDArray, s: NDArray) -> Float:
    """loss'(f - y) . s, for (n, n_outputs) arrays in standard units: shape (n,)."""
    return np.sum(slope(objective, f.astype(np.float64) - y) * s, axis=1)


def curiosity(slope_squared: Float, s: NDArray) -> Float:
    """E[loss'^2] . s^2, for arrays that broadcast to (n, n_outputs): shape (n,)."""
    return np.sum(slope_squared * np.square(s, dtype=np.float64), axis=1)


def slope(objective: Objective, r: Float) -> Float:
    """loss'(r), elementwise, for float64 of any shape."""
    from fasttangent.kernels.losses import loss_slopes

    r = np.asarray(r, np.float64)
    d = np.empty(r.size)
    loss_slopes(d, np.ascontiguousarray(r).ravel(), *objective.kernel_loss)
    return d.reshape(r.shape)


def expected_slope_squared(objective: Objective, variance: Any) -> Float:
    """E[loss'(r)^2] for r normal with mean 0 and the given variance (standard units), elementwise."""
    from scipy.special import erf

    v = np.asarray(variance, np.float64)
    if objective.loss == "squared":
        return v
    sigma, delta = np.sqrt(v), objective.delta
    if objective.loss == "huber":
        with np.errstate(divide="ignore"):
            a = delta / sigma  # inf where there is no noise
        inside = erf(a / np.sqrt(2))
        density = np.exp(-(np.minimum(a, 40.0) ** 2) / 2) / np.sqrt(2 * np.pi)
        return v * (inside - 2 * np.minimum(a, 40.0) * density) + delta**2 * (1 - inside)
    # The trapezoid rule over +-12 sigma: to rounding, for a smooth function that vanishes at the ends.
    nodes = np.linspace(-12, 12, 801)
    weights = np.exp(-(nodes**2) / 2)
    total = np.zeros_like(v)
    for node, weight in zip(nodes, weights / weights.sum(), strict=True):
        total += weight * slope(objective, node * sigma) ** 2
    return total
