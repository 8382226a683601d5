"""Models as files: one .npz of plain arrays, written whole or not at all."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, fields
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from fasttangent._version import __version__
from fasttangent.atomic import replacing
from fasttangent.certificate import Certificate
from fasttangent.errors import ModelFileError
from fasttangent.model import Model
from fasttangent.network import Network
from fasttangent.objective import Objective
from fasttangent.scaling import Scaling
from fasttangent.training import DTYPES

FORMAT = 1  # raise it when a version writes what an older one cannot read
HEADER = "fasttangent"  # the entry that makes an .npz a model: JSON, as bytes
SCALING = tuple(f.name for f in fields(Scaling))


def save(model: Model, path: str | os.PathLike[str]) -> None:
    """Write `model` to `path`; see `Model.save`."""
    header = {
        "format": FORMAT,
        "version": __version__,
        "sizes": list(model.network.sizes),
        "activation": model.network.activation,
        "objective": asdict(model.objective),
        "certificate": asdict(model.certificate),
        "dtype": model.dtype,
        "feature_names": model.feature_names,
        "flat_targets": model.flat_targets,
        "interrupted": model.interrupted,
        "training": model.training,
        "noise": None if np.isnan(model.noise) else model.noise,
    }
    arrays: dict[str, Any] = {
        HEADER: np.frombuffer(json.dumps(header).encode(), np.uint8),
        "params": model.params,
        "slope_squared": model.slope_squared,
        **{name: getattr(model.scaling, name) for name in SCALING},
        **{f"tangent/{name}": tangent for name, tangent in model.tangents.items()},
        **{f"history/{name}": values for name, values in model.history.items()},
    }
    with replacing(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, **arrays)


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
    try:
        with open(path, "rb") as file, _archive(path, file) as archive:
            if HEADER not in archive:
                raise ModelFileError(f"{path} is not a fasttangent model; pass a file written by Model.save")
            header = json.loads(archive[HEADER].tobytes())
            if header["format"] > FORMAT:
                raise ModelFileError(
                    f"{path} was written by fasttangent {header['version']} (format {header['format']}); this is "
                    f"{__version__}, which reads up to format {FORMAT}: upgrade fasttangent"
                )
            return _model(header, {name: archive[name] for name in archive.files})
    except ModelFileError:
        raise
    except Exception as error:  # a damaged archive can fail anywhere in zipfile, zlib, json and NumPy
        if isinstance(error, OSError) and error.errno is not None:  # about the file system, not the content
            raise
        raise _damaged(path, error) from error


def _archive(path: str | os.PathLike[str], file: BinaryIO) -> Any:
    start = file.read(4)
    file.seek(0)
    if start != b"PK\x03\x04":
        raise ModelFileError(f"{path} is not a fasttangent model; pass a file written by Model.save")
    return np.load(file, allow_pickle=False)


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
        noise=float("nan") if (noise := header.get("noise")) is None else float(noise),
    )
    _check_shapes(model)
    return model


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
