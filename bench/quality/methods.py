"""The methods of QUALITY_PROTOCOL.md: (X, y, X_test) -> mean and, where the method knows any, deviation."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

import fasttangent as ft

Predicted = tuple[np.ndarray, np.ndarray | None]
Method = Callable[[np.ndarray, np.ndarray, np.ndarray], Predicted]
MOST_GP = 1000  # labels


def mean(X: np.ndarray, y: np.ndarray, new: np.ndarray) -> Predicted:
    return np.full(len(new), y.mean()), np.full(len(new), y.std())


def ours(**options: Any) -> Method:
    """`fasttangent.fit` with options; with deviations where the fit has a posterior."""

    def predicted(X: np.ndarray, y: np.ndarray, new: np.ndarray) -> Predicted:
        model = ft.fit(X, y, **{"tangents": ("strength", "posterior"), **options})
        return model.predict(new, return_std=True)

    return predicted


def _searched(build: Callable[[], tuple[Any, dict[str, list]]]) -> Method:
    def predicted(X: np.ndarray, y: np.ndarray, new: np.ndarray) -> Predicted:
        from sklearn.compose import TransformedTargetRegressor
        from sklearn.model_selection import GridSearchCV, KFold
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        model, grid = build()
        model = make_pipeline(StandardScaler(), GridSearchCV(model, grid, cv=KFold(5), n_jobs=1))
        model = TransformedTargetRegressor(model, transformer=StandardScaler())
        return model.fit(X, y).predict(new), None

    return predicted


def _ridge() -> tuple[Any, dict[str, list]]:
    from sklearn.linear_model import Ridge

    return Ridge(), {"alpha": list(np.logspace(-3, 3, 13))}


def _extra_trees() -> tuple[Any, dict[str, list]]:
    from sklearn.ensemble import ExtraTreesRegressor

    model = ExtraTreesRegressor(300, random_state=0)
    return model, {"max_features": [1.0, 1 / 3], "min_samples_leaf": [1, 3]}


def _boosting() -> tuple[Any, dict[str, list]]:
    from sklearn.ensemble import HistGradientBoostingRegressor

    model = HistGradientBoostingRegressor(max_iter=300, early_stopping=False, random_state=0)
    return model, {"learning_rate": [0.05, 0.1], "max_leaf_nodes": [7, 31], "min_samples_leaf": [5, 20]}


def _mlp() -> tuple[Any, dict[str, list]]:
    from sklearn.neural_network import MLPRegressor

    return MLPRegressor(hidden_layer_sizes=(64, 64), max_iter=500, random_state=0), {
        "alpha": [1e-4, 1e-2, 1.0]
    }


def svr(X: np.ndarray, y: np.ndarray, new: np.ndarray) -> Predicted:
    def build() -> tuple[Any, dict[str, list]]:
        from sklearn.svm import SVR

        gammas = [f / X.shape[1] for f in (0.3, 1.0, 3.0)]
        return SVR(epsilon=0.05), {"C": [1.0, 10.0, 100.0], "gamma": gammas}

    return _searched(build)(X, y, new)


def gp(X: np.ndarray, y: np.ndarray, new: np.ndarray) -> Predicted:
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(X)
    kernel = ConstantKernel() * Matern(np.ones(X.shape[1]), (1e-2, 1e3), nu=2.5) + WhiteKernel(
        0.1, (1e-6, 10)
    )
    model = GaussianProcessRegressor(kernel, normalize_y=True, n_restarts_optimizer=1, random_state=0)
    return model.fit(scaler.transform(X), y).predict(scaler.transform(new), return_std=True)


METHODS: dict[str, Method] = {
    "mean": mean,
    "ridge": _searched(_ridge),
    "extra-trees": _searched(_extra_trees),
    "boosting": _searched(_boosting),
    "svr": svr,
    "mlp": _searched(_mlp),
    "gp": gp,
    "ours": ours(),
}


def quietly(method: Method, X: np.ndarray, y: np.ndarray, new: np.ndarray) -> Predicted:
    """Its predictions; those of the mean where it fails, or predicts what is no number."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found, deviation = method(X, y, new)
        except (ValueError, ft.DivergenceError, np.linalg.LinAlgError):
            return mean(X, y, new)
    return (found, deviation) if np.isfinite(found).all() else mean(X, y, new)
