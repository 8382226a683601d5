"""The network of a model for other libraries, its scaling made a part of its first and its last layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fasttangent.model.scores import Parameters
from fasttangent.problem.target_scaling import NOT_YET, power_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Float = NDArray[np.float64]

IN_TORCH = {
    "tanh": "Tanh", "silu": "SiLU", "relu": "ReLU", "softplus": "Softplus", "gelu": "GELU", "identity": "Identity",
}  # fmt: skip
IN_SKLEARN = ("tanh", "relu", "identity")


def layers(model: Parameters) -> tuple[list[Float], list[Float]]:
    """Weights (n_in, n_out) and biases (n_out,) of each layer, for inputs and targets in the units of the user."""
    layout, scaling = model.network.layout, model.scaling
    if power_of(scaling) is not None:
        raise ValueError(f"to_torch or to_sklearn {NOT_YET}, or use to_onnx")
    every = range(layout.n_layers)
    W = [layout.weights(model.params, l).copy() for l in every]
    b = [layout.biases(model.params, l).copy() for l in every]
    W[0] = W[0] / scaling.x_scale[:, None]
    b[0] = b[0] - np.einsum("i,io->o", scaling.x_mean, W[0])
    W[-1], b[-1] = W[-1] * scaling.y_scale, b[-1] * scaling.y_scale + scaling.y_mean
    return W, b


def to_torch(model: Parameters) -> Any:
    """See `Model.to_torch`."""
    import torch

    modules: list[Any] = []
    for W, b in zip(*layers(model), strict=True):
        linear = torch.nn.Linear(*W.shape, dtype=torch.float64)
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(np.ascontiguousarray(W.T)))
            linear.bias.copy_(torch.from_numpy(b))
        modules += [linear, getattr(torch.nn, IN_TORCH[model.network.activation])()]
    return torch.nn.Sequential(*modules[:-1])


def to_sklearn(model: Parameters, alpha: float, names: tuple[str, ...] | None) -> Any:
    """See `Model.to_sklearn`."""
    activation, sizes = model.network.activation, model.network.sizes
    if activation not in IN_SKLEARN:
        raise ValueError(
            f"activation must be one of {', '.join(IN_SKLEARN)} for scikit-learn, got {activation!r}"
        )
    from sklearn.neural_network import MLPRegressor

    found = MLPRegressor(hidden_layer_sizes=sizes[1:-1], activation=activation, alpha=alpha)
    found.coefs_, found.intercepts_ = layers(model)
    found.n_layers_, found.n_outputs_, found.n_features_in_ = len(sizes), sizes[-1], sizes[0]
    found.out_activation_, found.n_iter_, found.t_ = "identity", 0, 0
    if names is not None:
        found.feature_names_in_ = np.array(names, object)
    return found
