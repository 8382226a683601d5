"""fasttangent: which unlabelled rows are worth a label.

Train an MLP regressor together with the derivative of its parameters with respect to the regularisation
strength, and score millions of candidates with one forward pass each:

    model = fasttangent.fit(X, y)
    picks = fasttangent.select(model, pool, k=50)

Attributes are loaded when they are first used, so that importing the package takes milliseconds.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from fasttangent._version import __version__

if TYPE_CHECKING:
    from fasttangent.certificate import Certificate
    from fasttangent.errors import DivergenceError, ModelFileError, UntrustedTangentWarning
    from fasttangent.files import load
    from fasttangent.fitting import fit
    from fasttangent.fitting_many import fit_many
    from fasttangent.model import Model, Scores
    from fasttangent.network import Network
    from fasttangent.objective import Objective
    from fasttangent.selection import Selection, select

_HOME = {
    "Certificate": "certificate",
    "DivergenceError": "errors",
    "Model": "model",
    "ModelFileError": "errors",
    "Network": "network",
    "Objective": "objective",
    "Scores": "model",
    "Selection": "selection",
    "UntrustedTangentWarning": "errors",
    "fit": "fitting",
    "fit_many": "fitting_many",
    "load": "files",
    "select": "selection",
}

__all__ = [
    "Certificate",
    "DivergenceError",
    "Model",
    "ModelFileError",
    "Network",
    "Objective",
    "Scores",
    "Selection",
    "UntrustedTangentWarning",
    "__version__",
    "fit",
    "fit_many",
    "load",
    "select",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'fasttangent' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"fasttangent.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
