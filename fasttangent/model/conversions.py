"""Models from elsewhere: weights and biases, a torch.nn.Sequential, an MLPRegressor with its scalers.

Whoever passes a model of a library has it, so nothing is imported here: layers and steps are known by their names.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from fasttangent.common import checks
from fasttangent.common.words import DTYPES
from fasttangent.model.certificate import unmeasured
from fasttangent.model.exports import IN_TORCH
from fasttangent.model.model import Model
from fasttangent.problem.network import Network
from fasttangent.problem.objective import Objective
from fasttangent.problem.scaling import Scaling, identity_scaling

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Float = NDArray[np.float64]

STRENGTH = 1e-3  # of a model that says nothing of its own
SIGMOID = "sigmoid"  # 1 / (1 + exp(-z)) = (1 + tanh(z / 2)) / 2, so a network of tanh has the same function
BY_TORCH = {layer: phi for phi, layer in IN_TORCH.items() if phi != "identity"} | {"Sigmoid": SIGMOID}
BY_SKLEARN = {"tanh": "tanh", "relu": "relu", "identity": "identity", "logistic": SIGMOID}
NOTHING = ("Identity", "Dropout", "Flatten")  # layers that change nothing where a model predicts


def from_arrays(
    weights: Sequence[Any],
    biases: Sequence[Any],
    activation: str = "tanh",
    *,
    objective: Objective | None = None,
    scaling: Scaling | None = None,
    feature_names: Sequence[str] | None = None,
    dtype: str = "float64",
) -> Model:
    """A model of given weights and biases: it predicts what they predict, and `settle` gives it tangents and scores.

    f(x) = W_L^T phi(... phi(W_1^T x + b_1) ...) + b_L.

    Parameters
    ----------
    weights : sequence of array_like, shapes (n_in, n_out)
        Of each layer, the first (n_features, units), the last (units, n_outputs).
    biases : sequence of array_like, shapes (n_out,)
    activation : {"tanh", "silu", "relu", "softplus", "gelu", "identity", "sigmoid"}
        phi of all hidden layers.  "sigmoid" becomes tanh, with the same function.
    objective : Objective, optional
        Under which it is to be settled.  Default: squared loss and strength 1e-3.
    scaling : Scaling, optional
        Inputs and targets that the network sees, of those that a user gives.  Default: as they are.
    feature_names : sequence of str, optional
    dtype : {"float64", "float32"}
        Of scores.

    Returns
    -------
    Model
        Without tangents, and not trusted: nobody has said what it was trained on.

    Raises
    ------
    ValueError
        If shapes do not follow one another, or a number is not finite.

    Examples
    --------
    >>> import numpy as np
    >>> import fasttangent as ft
    >>> rng = np.random.default_rng(0)
    >>> W, b = [rng.normal(size=(2, 4)), rng.normal(size=(4, 1))], [rng.normal(size=4), [0.5]]
    >>> X = rng.uniform(-1, 1, (50, 2))
    >>> model = ft.from_arrays(W, b, "tanh")
    >>> bool(np.allclose(model.predict(X), (np.tanh(X @ W[0] + b[0]) @ W[1] + b[1])[:, 0]))
    True
    >>> ft.settle(model, X, np.sin(3 * X[:, 0])).certificate.trusted
    True
    """
    W = [checks.matrix(f"weights[{l}]", one).astype(np.float64) for l, one in enumerate(weights)]
    b = [checks.array(f"biases[{l}]", one).astype(np.float64) for l, one in enumerate(biases)]
    if not W or len(W) != len(b):
        raise ValueError(f"weights and biases must be as many, and at least 1, got {len(W)} and {len(b)}")
    for l, (one, other) in enumerate(pairwise(W)):
        if one.shape[1] != other.shape[0]:
            raise ValueError(
                f"weights[{l + 1}] must have {one.shape[1]} rows, the units of weights[{l}], got {other.shape}"
            )
    for l, (one, bias) in enumerate(zip(W, b, strict=True)):
        if bias.shape != one.shape[1:]:
            raise ValueError(f"biases[{l}] must have shape {one.shape[1:]}, got {bias.shape}")
        checks.finite(f"weights[{l}]", one)
        checks.finite(f"biases[{l}]", bias)
    if activation == SIGMOID:
        activation, W, b = "tanh", *_of_tanh(W, b)
    network = Network((W[0].shape[0], *(one.shape[1] for one in W)), activation)
    params = np.empty(network.layout.n_params)
    for l, (one, bias) in enumerate(zip(W, b, strict=True)):
        network.layout.weights(params, l)[:], network.layout.biases(params, l)[:] = one, bias
    d, m = network.sizes[0], network.sizes[-1]
    return Model(
        network=network,
        objective=objective or Objective(strength=STRENGTH),
        scaling=scaling or identity_scaling(d, m),
        params=params,
        tangents={},
        certificate=unmeasured(
            "the model was not trained here; fasttangent.settle(model, X, y) settles it on labelled rows"
        ),
        slope_squared=np.full(m, np.nan),
        dtype=checks.choice("dtype", dtype, DTYPES),
        feature_names=_names(feature_names, d),
        flat_targets=m == 1,
    )


def from_torch(module: Any, *, objective: Objective | None = None, dtype: str = "float64") -> Model:
    """A model that predicts what a torch.nn.Sequential does in evaluation mode.

    Parameters
    ----------
    module : torch.nn.Sequential
        Linear layers, the same activation after all but the last (Tanh, SiLU, ReLU, Softplus, GELU, Sigmoid, or none);
        BatchNorm1d becomes a part of the linear layer before it; Dropout, Flatten and Identity are nothing.
    objective : Objective, optional
        As for `from_arrays`; weight decay w of SGD on a mean squared error is strength w / 2.
    dtype : {"float64", "float32"}
        Of scores.

    Returns
    -------
    Model

    Raises
    ------
    ValueError
        Naming every layer that cannot be converted, and why.

    Examples
    --------
    >>> import fasttangent as ft
    >>> import torch  # doctest: +SKIP
    >>> net = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.SiLU(), torch.nn.Linear(8, 1))  # doctest: +SKIP
    >>> ft.from_torch(net)  # doctest: +SKIP
    Model(Network((3, 8, 1), 'silu'), strength=0.001, not trusted)
    """
    W: list[Float] = []
    b: list[Float] = []
    activations: list[str] = []
    wrong: list[str] = []
    for place, layer in _layers(module, ""):
        kind, why = type(layer).__name__, None
        if kind == "Linear":
            if len(W) > len(activations):
                activations.append("identity")
            weight = _numbers(layer.weight).T
            W.append(weight)
            b.append(np.zeros(weight.shape[1]) if layer.bias is None else _numbers(layer.bias))
        elif kind == "BatchNorm1d":
            why = _norm_into_last(layer, W, b, len(activations))
        elif kind in BY_TORCH:
            why = _strange(layer)
            if len(activations) + 1 != len(W):
                why = "an activation must follow a Linear"
            activations.append(BY_TORCH[kind])
        elif kind not in NOTHING:
            why = f"none of Linear, BatchNorm1d, {', '.join((*BY_TORCH, *NOTHING))}"
        if why is not None:
            wrong.append(f"layer {place} ({kind}): {why}")
    if not W:
        wrong.append("there is no Linear")
    elif len(activations) >= len(W):
        wrong.append(f"the last layer must be Linear, {activations[-1]} follows it")
    elif len(set(activations)) > 1:
        wrong.append(f"all activations must be the same, got {', '.join(activations)}")
    if wrong:
        raise ValueError(f"module cannot be converted: {'; '.join(wrong)}")
    activation = activations[0] if activations else "tanh"
    return from_arrays(W, b, activation, objective=objective, dtype=dtype)


def from_sklearn(estimator: Any, *, objective: Objective | None = None, dtype: str = "float64") -> Model:
    """A model that predicts what a fitted MLPRegressor does, by itself or with its scalers around it.

    Parameters
    ----------
    estimator : MLPRegressor, Pipeline or TransformedTargetRegressor
        A pipeline of StandardScaler, MinMaxScaler, MaxAbsScaler or RobustScaler and an MLPRegressor at its end; either
        in a TransformedTargetRegressor with one of these scalers.
    objective : Objective, optional
        Default: that of the MLPRegressor, squared loss and strength alpha / rows of the weights alone; 1e-3
        after solver "lbfgs", which does not keep the number of rows.
    dtype : {"float64", "float32"}
        Of scores.

    Returns
    -------
    Model

    Raises
    ------
    ValueError
        If it is not fitted, or there is another step in it, naming each.

    Examples
    --------
    >>> import fasttangent as ft
    >>> from sklearn.neural_network import MLPRegressor  # doctest: +SKIP
    >>> ft.from_sklearn(MLPRegressor(hidden_layer_sizes=(8,)).fit(X, y))  # doctest: +SKIP
    Model(Network((3, 8, 1), 'relu'), strength=..., not trusted)
    """
    y_mean, y_scale = np.zeros(1), np.ones(1)
    if type(estimator).__name__ == "TransformedTargetRegressor":
        y_mean, y_scale = _affine("transformer", getattr(estimator, "transformer_", None))
        estimator = getattr(estimator, "regressor_", None)
    steps = estimator.steps if type(estimator).__name__ == "Pipeline" else [("estimator", estimator)]
    *before, (_, mlp) = steps
    if type(mlp).__name__ != "MLPRegressor":
        raise ValueError(f"estimator must end with an MLPRegressor, got {type(mlp).__name__}")
    if not hasattr(mlp, "coefs_"):
        raise ValueError("estimator must be fitted, got an MLPRegressor without coefs_; call its fit first")
    if mlp.out_activation_ != "identity":
        raise ValueError(
            f"the outputs of estimator must be linear, got {mlp.out_activation_!r} (loss {mlp.loss!r})"
        )
    d, m = len(mlp.coefs_[0]), mlp.coefs_[-1].shape[1]
    x_mean, x_scale = np.zeros(d), np.ones(d)
    for name, step in before:
        mean, scale = _affine(name, step)
        x_mean, x_scale = x_mean + x_scale * mean, x_scale * scale
    if (
        objective is None
    ):  # of several outputs its reported loss is a mean, its gradient that of a sum, as ours
        strength = float(mlp.alpha) * mlp.n_iter_ / mlp.t_ if mlp.t_ else STRENGTH
        objective = Objective("squared", strength=strength, complexity="l2-weights")
    names = getattr(estimator, "feature_names_in_", None)
    y_mean, y_scale = np.broadcast_to(y_mean, m).copy(), np.broadcast_to(y_scale, m).copy()
    return from_arrays(
        mlp.coefs_,
        mlp.intercepts_,
        BY_SKLEARN[mlp.activation],
        objective=objective,
        scaling=Scaling(x_mean, x_scale, y_mean, y_scale),
        feature_names=names,
        dtype=dtype,
    )


def _of_tanh(W: list[Float], b: list[Float]) -> tuple[list[Float], list[Float]]:
    """The same function with tanh for the sigmoid."""
    V, c = [one.copy() for one in W], [one.copy() for one in b]
    for l in range(len(W) - 1):
        V[l], c[l] = V[l] / 2, c[l] / 2
        c[l + 1] = c[l + 1] + W[l + 1].sum(axis=0) / 2
        V[l + 1] = V[l + 1] / 2
    return V, c


def _layers(module: Any, place: str) -> list[tuple[str, Any]]:
    """The layers of nested Sequentials, and where each stands."""
    if type(module).__name__ != "Sequential":
        return [(place or "0", module)]
    inner = (_layers(child, f"{place}.{name}".strip(".")) for name, child in module.named_children())
    return [layer for found in inner for layer in found]


def _numbers(tensor: Any) -> Float:
    return np.asarray(tensor.detach().cpu().double().numpy(), np.float64)


def _strange(layer: Any) -> str | None:
    """Why the activation is another one than its name says, if it is."""
    if getattr(layer, "approximate", "none") != "none":
        return f"approximate must be 'none', got {layer.approximate!r}"
    if getattr(layer, "beta", 1) != 1:
        return f"beta must be 1, got {layer.beta!r}"
    return None


def _norm_into_last(layer: Any, W: list[Float], b: list[Float], n_activations: int) -> str | None:
    """Make a BatchNorm1d a part of the Linear before it, or say why not."""
    if len(W) != n_activations + 1:
        return "must follow a Linear"
    if layer.running_mean is None:
        return "has no running statistics"
    factor = 1 / np.sqrt(_numbers(layer.running_var) + layer.eps)
    if layer.weight is not None:
        factor = factor * _numbers(layer.weight)
    W[-1] = W[-1] * factor
    b[-1] = (b[-1] - _numbers(layer.running_mean)) * factor
    if layer.bias is not None:
        b[-1] = b[-1] + _numbers(layer.bias)
    return None


SCALERS: dict[str, Callable[[Any], tuple[Any, Any]]] = {
    "StandardScaler": lambda s: (s.mean_, s.scale_),
    "RobustScaler": lambda s: (s.center_, s.scale_),
    "MaxAbsScaler": lambda s: (None, s.scale_),
    "MinMaxScaler": lambda s: (-s.min_ / s.scale_, 1 / s.scale_),
}


def _affine(name: str, scaler: Any) -> tuple[Any, Any]:
    """(mean, scale) of x -> (x - mean) / scale."""
    kind = type(scaler).__name__
    if scaler is None or scaler == "passthrough":
        return 0.0, 1.0
    if kind not in SCALERS or getattr(scaler, "clip", False):
        raise ValueError(
            f"step {name!r} must be one of {', '.join(SCALERS)} and not clip, got {kind}; apply it to the rows before"
        )
    try:
        mean, scale = SCALERS[kind](scaler)
    except AttributeError:
        raise ValueError(f"step {name!r} must be fitted, got a {kind} that is not; call fit first") from None
    return 0.0 if mean is None else np.asarray(mean), 1.0 if scale is None else np.asarray(scale)


def _names(names: Any, d: int) -> tuple[str, ...] | None:
    if names is None:
        return None
    listed = tuple(map(str, names))
    if len(listed) != d or len(set(listed)) != d:
        raise ValueError(f"feature_names must be {d} different names, one for each input, got {list(listed)}")
    return listed
