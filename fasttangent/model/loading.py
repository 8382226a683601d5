"""`load`: a model from the file that `Model.save` wrote, or an error that says what is wrong with it.

Whoever sends a file may have written anything into it, so every field and every array has a rule here, sizes are
compared with the network's before anything is unpacked, and nothing in it is run.  Fields of the header itself that
are not known are passed over on purpose: a later version may have added them without a new format.  Unknown fields
within its records, and unknown arrays but those of the history, are refused.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from fasttangent._version import __version__
from fasttangent.common.errors import ModelFileError
from fasttangent.common.records import (
    ANYTHING,
    FLAG,
    TEXT,
    Rule,
    check,
    check_fields,
    number,
    one_of,
    or_nan,
    or_null,
    parsed,
    several,
    shown,
    whole,
)
from fasttangent.common.words import ACTIVATIONS, COMPLEXITIES, DTYPES, LOSSES
from fasttangent.model.archive import Archive, Part
from fasttangent.model.certificate import Certificate
from fasttangent.model.columns_in_files import columns_of
from fasttangent.model.members import Members
from fasttangent.model.model import Model
from fasttangent.model.saving import FORMAT, HEADER, NEWER_SETTINGS, SCALING, SEVERAL
from fasttangent.model.settings import SCHEDULE, SETTINGS, FitSettings
from fasttangent.model.target_in_files import FORMATS, TARGET_POWER, check_format, scaling_of
from fasttangent.model.users_in_files import check_users, own_parameters, users_of
from fasttangent.problem.network import Network
from fasttangent.problem.objective import Objective
from fasttangent.problem.scaling import FARTHEST

SMALL_HEADER = 2**20  # bytes; a larger one is no larger than the file
MEASURED = or_nan(number(0, infinite=True))
RECORD = Rule("a record of fields by name", lambda v: isinstance(v, dict))

FIELDS = {
    "format": FORMATS,
    "version": TEXT,
    "sizes": several(whole(1), least=2),
    "activation": one_of(ACTIVATIONS),
    "objective": RECORD,
    "certificate": RECORD,
    "dtype": one_of(DTYPES),
    "feature_names": or_null(several(TEXT, distinct=True)),
    "flat_targets": FLAG,
    "interrupted": FLAG,
    "training": RECORD,
    "settings": or_null(RECORD),
    "noise": or_null(number(0)),
    "arrays": several(TEXT, distinct=True),
    "columns": RECORD,
    "users": RECORD,
    "target_power": TARGET_POWER,
}
OF_SEVERAL = {
    "format": whole(SEVERAL, FORMAT),
    "version": TEXT,
    "settings": or_null(RECORD),
    "interrupted": FLAG,
    "members": several(RECORD, least=1),
}
# Fields that files of 0.1.0 may lack.
LATER = ("settings", "noise", "arrays", "columns", "users", "target_power")
OBJECTIVE = {
    "loss": one_of(LOSSES),
    "delta": number(above=0),
    "complexity": one_of(COMPLEXITIES),
    "strength": number(0),
    "groups": ANYTHING,  # `Objective` checks it
    "ratios": several(number(above=0)),
    "of_inputs": several(whole(0)),
    "users": number(above=0),
}
# Of the objective, or later; groups of the settings, too.
SINCE_3 = ("groups", "ratios", "of_inputs", "users")
CERTIFICATE = {
    "gradient_norm": MEASURED,
    "tangent_residual": MEASURED,
    "smallest_curvature": or_nan(number()),
    "condition": or_nan(number(above=0, infinite=True)),
    "tangent_error": MEASURED,
    "trusted": FLAG,
    "reasons": several(TEXT),
    "curvature_bound": or_nan(number()),
    "flat_directions": whole(0),
    "strength_error": or_null(number(0, infinite=True)),
    "curvature_rows": or_null(whole(1)),
}
SINCE_2 = (
    "curvature_bound",
    "flat_directions",
    "strength_error",
    "curvature_rows",
)  # of the certificate; older files lack them
TRAINING = {
    "rows": whole(1),
    "seed": whole(0),
    "stopped": TEXT,
    **{f"{stage}_seconds": number(0) for stage in ("training", "settling", "posterior")},
}
FIGURE = Rule(
    "text, a finite number, true, false or null",
    lambda v: v is None or isinstance(v, (str, bool)) or number().holds(v),
)


class Values(NamedTuple):
    """What an array must be: its shape, of p parameters, d features and m outputs, and a rule for its values."""

    shape: str
    words: str = "finite"
    hold: Callable[[NDArray], Any] = np.isfinite


def _positive(a: NDArray) -> Any:
    return (a > 0) & (a < np.inf)


def _usable(a: NDArray) -> Any:
    return abs(a) <= FARTHEST


PARAMETERS = f"at most {FARTHEST:.1e} in size", _usable


ARRAYS = {
    "params": Values("p", *PARAMETERS),
    "slope_squared": Values("m", "finite and >= 0", lambda a: (a >= 0) & (a < np.inf)),
    "x_mean": Values("d"),
    "x_scale": Values("d", "> 0 (inf for a constant column)", lambda a: a > 0),
    "y_mean": Values("m"),
    "y_scale": Values("m", "finite and > 0", _positive),
}
TANGENTS = {
    "tangent/strength": Values("p", *PARAMETERS),
    "tangent/posterior": Values("Kp", *PARAMETERS),
    "tangent/bias": Values("p", *PARAMETERS),
    "tangent/groups": Values("Kp", *PARAMETERS),
}
HISTORY = "history/"
SETTINGS_SINCE = ("groups", "members", *NEWER_SETTINGS)  # that older files, or such without them, lack


def load(path: str | os.PathLike[str]) -> Model:
    """Read a model that `Model.save` wrote, or several that `Members.save` did.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    Model
        Or `Members`.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ModelFileError
        (A ValueError.)  If the file is truncated, damaged, not a model, or written by a newer format, or if anything
        in it is not what `Model.save` writes.

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
    with open(path, "rb") as file:
        if file.peek(4)[:4] != b"PK\x03\x04":  # nor is a large file of another kind read, or a device
            raise _not_ours(path)
        content = file.read()
    # Errors of the file system end here; what follows is about the content.
    try:
        archive = Archive(content)
        if HEADER not in archive.names:
            raise _not_ours(path)
        header = _header(path, archive, len(content))
        if "members" in header:
            return cast("Model", _members(header, archive))  # which has its methods
        return _model(_checked(header), _arrays(header, archive))
    except ModelFileError:
        raise
    except Exception as error:  # a damaged archive can fail anywhere in zipfile, zlib, json and NumPy
        detail = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelFileError(
            f"{path} is not a readable model: {detail}; it is damaged, truncated or another kind of file: take "
            f"another copy of it, or fit again"
        ) from error


def _not_ours(path: str | os.PathLike[str]) -> ModelFileError:
    return ModelFileError(f"{path} is not a fasttangent model; pass a file written by Model.save")


def _header(path: str | os.PathLike[str], archive: Archive, size: int) -> dict[str, Any]:
    """The header, of a format that is known."""
    text = archive.read(HEADER, ("|u1",), (None,)).tobytes()
    if len(text) > max(SMALL_HEADER, size):
        raise ValueError(f"the header must be no larger than the file, got {len(text):,} bytes")
    header = parsed(text.decode())
    check("the header", header, RECORD)
    number = header.get("format")
    if type(number) is int and number > FORMAT:
        raise ModelFileError(
            f"{path} was written by fasttangent {shown(header.get('version'))[1:-1]} (format {number}); this is "
            f"{__version__}, which reads up to format {FORMAT}: upgrade fasttangent"
        )
    return header


def _members(header: dict[str, Any], archive: Archive) -> Members:
    """Several models, each checked as one is, and against the others."""
    check_fields("the header", header, OF_SEVERAL, others=ANYTHING)
    parts = [Part(archive, f"{i}/") for i in range(len(header["members"]))]
    known = {HEADER, *(f"{i}/{name}" for i, part in enumerate(parts) for name in part.names)}
    if unknown := set(archive.names) - known:
        raise ValueError(f"it has the entry {shown(min(unknown))}, which no model has")
    models = tuple(
        _model(_checked(one), _arrays(one, part)) for one, part in zip(header["members"], parts, strict=True)
    )
    settings = header["settings"]
    if settings is not None:
        check_fields("settings", settings, dict.fromkeys(SETTINGS, ANYTHING), optional=NEWER_SETTINGS)
        settings = FitSettings(**settings)
    return Members(models, settings, header["interrupted"])


def _checked(header: dict[str, Any]) -> dict[str, Any]:
    """The header of one model, each of its fields checked, also against each other."""
    check_fields("the header", header, FIELDS, optional=LATER, others=ANYTHING)
    check_fields("objective", header["objective"], OBJECTIVE, optional=SINCE_3)
    check_fields("certificate", header["certificate"], CERTIFICATE, optional=SINCE_2)
    told = {"rows"} if header["training"] else set()  # nothing of a model that was trained elsewhere
    check_fields("training", header["training"], TRAINING, optional=set(TRAINING) - told, others=FIGURE)
    _check_agreement(header)
    return header


def _check_agreement(header: dict[str, Any]) -> None:
    """Whether the fields of the header say the same."""
    (d, *hidden, m), names, certificate = header["sizes"], header["feature_names"], header["certificate"]
    columns = columns_of(header)
    of_inputs = () if columns is None or columns.plain else columns.of_inputs
    check_format(header, len(of_inputs) > 0)
    if columns is not None and len(columns.inputs) != d:
        raise ValueError(f"'columns' must make {d} inputs, got {len(columns.inputs)}")
    if tuple(header["objective"].get("of_inputs", ())) != of_inputs:
        raise ValueError("'of_inputs' of objective must be those of the columns")
    if columns is not None and tuple(names or ()) != columns.names:
        raise ValueError(f"'feature_names' must be those of the columns, got {shown(names)}")
    if names is not None and len(names) != d and columns is None:
        raise ValueError(f"'feature_names' must have one name for each of {d} inputs, got {len(names)}")
    if header["flat_targets"] and m > 1:
        raise ValueError(f"'flat_targets' must be false for {m} outputs, got true")
    if certificate["trusted"] == bool(certificate["reasons"]):
        raise ValueError(
            f"'trusted' of certificate must be true where there are no reasons against it and only there, got "
            f"{certificate['trusted']} with {len(certificate['reasons'])} reasons"
        )
    if certificate["trusted"] and not header["training"]:
        raise ValueError("'training' must say of what rows a trusted model is, got {}")
    if certificate["trusted"]:
        for name in ("gradient_norm", "tangent_residual"):
            check(f"{name!r} of a trusted certificate", certificate[name], number(0))
    check_users(header)
    settings = header.get("settings") or {}
    for name, wanted in (("hidden", hidden), ("activation", header["activation"])):
        if settings.get(name, wanted) != wanted:
            raise ValueError(f"{name!r} of settings must be that of the network, got {shown(settings[name])}")


def _arrays(header: dict[str, Any], archive: Archive | Part) -> dict[str, NDArray]:
    """All arrays, of the sizes that the header says and with values that keep their rules."""
    sizes, there = header["sizes"], {name for name in archive.names if name != HEADER}
    lengths = {
        "p": sum((n + 1) * above for n, above in pairwise(sizes)) + own_parameters(header),
        "d": sizes[0],
        "m": sizes[-1],
        "K": None,
    }
    if missing := (set(header.get("arrays", ())) | set(ARRAYS)) - there:
        raise ValueError(f"it lacks {', '.join(sorted(missing))}")
    if header["certificate"]["trusted"] and "tangent/strength" not in there:
        raise ValueError("it is trusted and lacks tangent/strength")
    if "tangent/posterior" in there and ("tangent/bias" not in there or header.get("noise") is None):
        raise ValueError("it has tangent/posterior and lacks tangent/bias or noise, which go with it")
    found, rules = {}, ARRAYS | TANGENTS
    if not header["training"]:
        rules["slope_squared"] = Values("m", "nan where there were no rows", np.isnan)
    for name in archive.names:
        if name in rules:
            values = rules[name]
            a = archive.read(name, ("<f8",), [lengths[letter] for letter in values.shape])
            if not (good := values.hold(a)).all():
                raise ValueError(f"{name!r} must be {values.words}, got {a[~good][0]}")
            found[name] = a
        elif name.startswith(HISTORY):
            found[name] = archive.read(name, ("<f8", "<i8"), (None,))
        elif name != HEADER:
            raise ValueError(f"it has the entry {shown(name)}, which no model has")
    if unnamed := there - set(header.get("arrays", there)):
        raise ValueError(
            f"it has {', '.join(map(shown, sorted(unnamed)))}, which the field 'arrays' does not name"
        )
    return found


def _model(header: dict[str, Any], arrays: dict[str, NDArray]) -> Model:
    network, objective = (
        Network(tuple(header["sizes"]), header["activation"]),
        Objective(**header["objective"]),
    )
    objective.mask(network)  # raises where groups or ratios are not of this network
    names = header["feature_names"]
    certificate = {**header["certificate"], "reasons": tuple(header["certificate"]["reasons"])}
    return Model(
        network=network,
        objective=objective,
        scaling=scaling_of(header, arrays),
        params=arrays["params"],
        tangents=_under("tangent/", arrays),
        certificate=Certificate(**certificate),
        slope_squared=arrays["slope_squared"],
        dtype=header["dtype"],
        feature_names=tuple(names) if names is not None else None,
        columns=columns_of(header),
        flat_targets=header["flat_targets"],
        interrupted=header["interrupted"],
        training=header["training"],
        history=_under("history/", arrays),
        settings=_settings(header, arrays),
        users=users_of(header),
        noise=float("nan") if (noise := header.get("noise")) is None else float(noise),
    )


def _settings(header: dict[str, Any], arrays: dict[str, NDArray]) -> FitSettings | None:
    """What `fit` was told; of files written before models kept it, as far as they say."""
    if (settings := header.get("settings")) is not None:
        check_fields("settings", settings, dict.fromkeys(SETTINGS, ANYTHING), optional=SETTINGS_SINCE)
        return FitSettings(**settings)
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
        **{name: header["objective"][name] for name in ("loss", "delta", "complexity", "strength")},
        **{name: training[name] for name in (*SCHEDULE, "seed") if name in training},
    )


def _under(prefix: str, arrays: dict[str, NDArray]) -> dict[str, NDArray]:
    return {name.removeprefix(prefix): values for name, values in arrays.items() if name.startswith(prefix)}
