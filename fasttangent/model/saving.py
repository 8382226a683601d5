"""Models as files: one .npz of plain arrays, written whole or not at all."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, fields
from typing import Any

import numpy as np

from fasttangent._version import __version__
from fasttangent.common.files import replacing
from fasttangent.model.settings import FitSettings
from fasttangent.problem.scaling import Scaling
from fasttangent.problem.target_scaling import power_of

FORMAT = (
    6  # of one model with a transformed target; raise it when a version writes what an older one cannot read
)
ENCODED = 5  # of one with users or learned columns, and none of that
SINGLE = 3  # of one model without
SEVERAL = 4  # of several members without
NEWER_SETTINGS = ("user_layers", "target_transform")  # written only where they are not the default
HEADER = "fasttangent"  # the entry that makes an .npz a model: JSON, as bytes
SCALING = tuple(f.name for f in fields(Scaling))


def save(model: Any, path: str | os.PathLike[str]) -> None:
    """Write a `Model` to `path`; see `Model.save`."""
    _write(path, *_parts(model))


def save_members(several: Any, path: str | os.PathLike[str]) -> None:
    """Write `Members` to `path`: the header and the arrays of each, by its number."""
    headers, arrays = [], {}
    for i, one in enumerate(several.models):
        header, own = _parts(one)
        headers.append(header)
        arrays.update({f"{i}/{name}": values for name, values in own.items()})
    settings = None if several.settings is None else _without_defaults(asdict(several.settings))
    number = max(SEVERAL, *(own["format"] for own in headers))
    header = {"format": number, "version": __version__, "settings": settings}
    _write(path, {**header, "interrupted": several.interrupted, "members": headers}, arrays)


def _parts(model: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and arrays of a `Model`."""
    encodes = model.columns is not None and not model.columns.plain
    power = power_of(model.scaling)
    header = {
        "format": FORMAT if power else SINGLE if model.users is None and not encodes else ENCODED,
        "version": __version__,
        "sizes": list(model.network.sizes),
        "activation": model.network.activation,
        "objective": _without(_without(asdict(model.objective), "of_inputs", ()), "users", None),
        "certificate": _without(asdict(model.certificate), "curvature_rows", None),
        "dtype": model.dtype,
        "feature_names": model.feature_names,
        **(
            {}
            if model.columns is None
            else {"columns": {"named": model.columns.named, "each": model.columns.records}}
        ),
        "flat_targets": model.flat_targets,
        "interrupted": model.interrupted,
        "training": model.training,
        "settings": None if model.settings is None else _of_one(asdict(model.settings)),
        "noise": None if np.isnan(model.noise) else model.noise,
        **({} if model.users is None else {"users": asdict(model.users)}),
        **({} if power is None else {"target_power": list(power)}),
    }
    arrays: dict[str, Any] = {
        "params": model.params,
        "slope_squared": model.slope_squared,
        **{name: getattr(model.scaling, name) for name in SCALING},
        **{f"tangent/{name}": tangent for name, tangent in model.tangents.items()},
        **{f"history/{name}": values for name, values in model.history.items()},
    }
    return {**header, "arrays": list(arrays)}, arrays  # a damaged directory of the archive may lack some


def _of_one(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings as versions without members and users know them."""
    return _without_defaults({name: value for name, value in settings.items() if name != "members"})


def _without_defaults(settings: dict[str, Any]) -> dict[str, Any]:
    for name in NEWER_SETTINGS:
        settings = _without(settings, name, getattr(FitSettings(), name))
    return settings


def _without(record: dict[str, Any], name: str, value: Any) -> dict[str, Any]:
    """The record without a field of that value, which older versions do not know."""
    return {key: one for key, one in record.items() if key != name or one != value}


def _write(path: str | os.PathLike[str], header: dict[str, Any], arrays: dict[str, Any]) -> None:
    arrays = {HEADER: np.frombuffer(json.dumps(header).encode(), np.uint8), **arrays}
    with replacing(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, **arrays)
