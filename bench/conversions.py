"""Whether models from torch and scikit-learn predict what they predicted there, and back.

    python -m bench conversions

A table: the largest relative difference of predictions, each way.  Needs torch and scikit-learn.
"""

from __future__ import annotations

import numpy as np

import fasttangent as ft
from bench.common import options

ALLOWED = 1e-12


def main() -> None:
    options.parser(__doc__).parse_args()
    rng = np.random.default_rng(0)
    X = rng.normal(size=(500, 6))
    rows = [*_torch(X), *_sklearn(X, np.sin(X[:, 0]) + X[:, 1] * X[:, 2])]
    print("| model | here against there | there again against here |\n|---|---|---|")
    for name, there, back in rows:
        print(f"| {name} | {there:.0e} | {'' if back is None else f'{back:.0e}'} |")
    assert all(d is None or d <= ALLOWED for _, *differences in rows for d in differences)


def _difference(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


def _torch(X: np.ndarray):
    import torch
    from torch import nn

    torch.manual_seed(0)
    Z = torch.from_numpy(X)
    for kind in (nn.Tanh, nn.SiLU, nn.ReLU, nn.Softplus, nn.GELU, nn.Sigmoid):
        parts = [
            nn.Linear(6, 32),
            kind(),
            nn.Sequential(nn.Linear(32, 16), nn.Dropout(), kind()),
            nn.Linear(16, 2),
        ]
        module = nn.Sequential(*parts).double().eval()
        model = ft.from_torch(module)
        with torch.no_grad():
            expected, again = module(Z).numpy(), model.to_torch()(Z).numpy()
        yield (
            f"torch, {kind.__name__}",
            _difference(model.predict(X), expected),
            _difference(again, model.predict(X)),
        )
    module = nn.Sequential(nn.Linear(6, 32), nn.BatchNorm1d(32), nn.Tanh(), nn.Linear(32, 1)).double()
    module(Z)  # its running statistics
    with torch.no_grad():
        expected = module.eval()(Z).numpy()[:, 0]
    yield "torch, BatchNorm1d", _difference(ft.from_torch(module).predict(X), expected), None
    model = ft.fit(100 * X + 7, X[:, 0] * 50, hidden=(16,), strength=1e-2, dtype="float64")
    with torch.no_grad():
        found = model.to_torch()(torch.from_numpy(100 * X + 7)).numpy()[:, 0]
    yield "fasttangent, in units of the user", 0.0, _difference(found, model.predict(100 * X + 7))


def _sklearn(X: np.ndarray, y: np.ndarray):
    from sklearn.compose import TransformedTargetRegressor
    from sklearn.neural_network import MLPRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import MinMaxScaler, StandardScaler

    for activation in ("tanh", "relu", "logistic", "identity"):
        mlp = MLPRegressor(
            hidden_layer_sizes=(16, 8), activation=activation, max_iter=2000, random_state=0
        ).fit(X, y)
        model = ft.from_sklearn(mlp)
        back = _difference(model.to_sklearn().predict(X), model.predict(X))
        yield f"scikit-learn, {activation}", _difference(model.predict(X), mlp.predict(X)), back
    steps = make_pipeline(MinMaxScaler(), StandardScaler(), mlp)
    whole = TransformedTargetRegressor(steps, transformer=StandardScaler()).fit(100 * X + 7, y * 50)
    found = ft.from_sklearn(whole).predict(100 * X + 7)
    yield "scikit-learn, pipeline and target", _difference(found, whole.predict(100 * X + 7)), None
