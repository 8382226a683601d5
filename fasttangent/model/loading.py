"""`load`: a model from the file that `Model.save` wrote, or an error that says what is wrong with it."""

from __future__ import annotations

import json
import os
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fasttangent._version import __version__
from fasttangent.common.errors import ModelFileError
from fasttangent.common.words import DTYPES
from fasttangent.model.certificate import Certificate
from fasttangent.model.model import Model
from fasttangent.model.saving import FORMAT, HEADER, SCALING
from fasttangent.model.settings import SCHEDULE, FitSettings
from fasttangent.problem.network import Network
from fasttangent.problem.objective import Objective
from fasttangent.problem.scaling import Scaling


def load(path: str | os.PathLike[str]) -> Model:
    """Read a model that `Model.save` wrote.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    Model

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ModelFileError
        (A ValueError.)  If the file is truncated, damaged, not a model, or written by a newer format.

    Examples
    --------
    >>> import numpy as np, fasttangent as ft, tempfile, pathlib
    >>> X = np.linspace(-1, 1, 50)[:, None]
    >>> model = ft.fit(X, X[:, 0] ** 2, hidden=(4,), epochs=20)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     model.save(pathlib.Path(folder) / "m.npz")
    ...     again = ft.load(pathlib.Path(folder) / "m.npz")
    >>> bool((again.predict(X) == model.predict(X)).all())
    True
    """
    content = Path(path).read_bytes()  # errors of the file system end here; what follows is about the content
    try:
        with _archive(path, content) as archive:
            if HEADER not in archive:
                raise ModelFileError(f"{path} is not a fasttangent model; pass a file written by Model.save")
            header = json.loads(archive[HEADER].tobytes())
            if header["format"] > FORMAT:
                raise ModelFileError(
                    f"{path} was written by fasttangent {header['version']} (format {header['format']}); this is "
                    f"{__version__}, which reads up to format {FORMAT}: upgrade fasttangent"
                )
            if missing := set(header.get("arrays", ())) - set(archive.files):
                raise ValueError(f"it lacks {', '.join(sorted(missing))}")
            return _model(header, {name: archive[name] for name in archive.files})
    except ModelFileError:
        raise
    except Exception as error:  # a damaged archive can fail anywhere in zipfile, zlib, json and NumPy
        raise _damaged(path, error) from error


def _archive(path: str | os.PathLike[str], content: bytes) -> Any:
    if not content.startswith(b"PK\x03\x04"):
        raise ModelFileError(f"{path} is not a fasttangent model; pass a file written by Model.save")
    return np.load(BytesIO(content), allow_pickle=False)


def _damaged(path: str | os.PathLike[str], error: Exception) -> ModelFileError:
    detail = str(error).splitlines()[0] if str(error) else type(error).__name__
    return ModelFileError(
        f"{path} is not a readable model ({detail}); it is damaged, truncated or another kind of file"
    )


def _model(header: dict[str, Any], arrays: dict[str, NDArray]) -> Model:
    network = Network(tuple(header["sizes"]), header["activation"])
    names = header["feature_names"]
    certificate = {**header["certificate"], "reasons": tuple(header["certificate"]["reasons"])}
    model = Model(
        network=network,
        objective=Objective(**header["objective"]),
        scaling=Scaling(*(arrays[name] for name in SCALING)),
        params=arrays["params"],
        tangents=_under("tangent/", arrays),
        certificate=Certificate(**certificate),
        slope_squared=arrays["slope_squared"],
        dtype=header["dtype"],
        feature_names=tuple(names) if names is not None else None,
        flat_targets=header["flat_targets"],
        interrupted=header["interrupted"],
        training=header["training"],
        history=_under("history/", arrays),
        settings=_settings(header, arrays),
        noise=float("nan") if (noise := header.get("noise")) is None else float(noise),
    )
    _check_shapes(model)
    return model


def _settings(header: dict[str, Any], arrays: dict[str, NDArray]) -> FitSettings | None:
    """What `fit` was told; of files written before models kept it, as far as they say."""
    if header.get("settings") is not None:
        return FitSettings(**header["settings"])
    training = header["training"]
    if "epochs" not in training:
        return None
    as_it_is = all((arrays[name] == (name in ("x_scale", "y_scale"))).all() for name in SCALING)
    return FitSettings(
        hidden=header["sizes"][1:-1],
        activation=header["activation"],
        dtype=header["dtype"],
        standardize=not as_it_is,
        settle=True if training.get("stopped") == "settled" else training.get("settling_seconds", 0.0),
        **header["objective"],
        **{name: training[name] for name in (*SCHEDULE, "seed") if name in training},
    )


def _check_shapes(model: Model) -> None:
    p, d, m = model.network.layout.n_params, model.n_features, model.n_outputs
    scaling = model.scaling
    one_each = [t[0] if name == "posterior" else t for name, t in model.tangents.items()]
    wanted = (
        (p, (model.params, *one_each)),
        (d, (scaling.x_mean, scaling.x_scale)),
        (m, (scaling.y_mean, scaling.y_scale, model.slope_squared)),
    )
    for length, arrays in wanted:
        for a in arrays:
            if a.shape != (length,) or a.dtype != np.float64:
                raise ValueError(
                    f"an array has shape {a.shape} and dtype {a.dtype}, not ({length},) and float64"
                )
    if model.feature_names is not None and len(model.feature_names) != d:
        raise ValueError(f"{len(model.feature_names)} feature names for {d} inputs")
    if model.dtype not in DTYPES:
        raise ValueError(f"unknown dtype {model.dtype!r}")


def _under(prefix: str, arrays: dict[str, NDArray]) -> dict[str, NDArray]:
    return {name.removeprefix(prefix): values for name, values in arrays.items() if name.startswith(prefix)}
