"""fasttangent: which unlabelled rows are worth a label.

Train an MLP regressor together with the derivative of its parameters with respect to the regularisation
strength, and score millions of candidates with one forward pass each:

    model = fasttangent.fit(X, y)
    picks = fasttangent.select(model, pool, k=50, labeled=X)

Attributes are loaded when they are first used, so that importing the package takes milliseconds.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from fasttangent._version import __version__

if TYPE_CHECKING:
    from fasttangent.active_learning import ActiveLearner
    from fasttangent.certificate import Certificate
    from fasttangent.changes import Change
    from fasttangent.errors import (
        CampaignError,
        DivergenceError,
        IndefiniteError,
        ModelFileError,
        UntrustedTangentWarning,
    )
    from fasttangent.exact_influence import Exact, exact
    from fasttangent.fidelity_report import Fidelity, fidelity
    from fasttangent.files import load
    from fasttangent.fitting import fit
    from fasttangent.fitting_many import fit_many
    from fasttangent.learning_loss_fit import learning_loss
    from fasttangent.learning_loss_head import LossHead
    from fasttangent.learning_loss_joint import fit_with_learning_loss
    from fasttangent.learning_loss_measures import LossRanking, loss_ranking
    from fasttangent.model import Model, Scores
    from fasttangent.network import Network
    from fasttangent.objective import Objective
    from fasttangent.refits import Agreement, RefitCurves, Refits, agreement, refit, refit_curves
    from fasttangent.selection import Selection, select
    from fasttangent.unlearning import RefitComparison, Unlearned, unlearn

_HOME = {
    "ActiveLearner": "active_learning",
    "Agreement": "refits",
    "CampaignError": "errors",
    "Certificate": "certificate",
    "Change": "changes",
    "DivergenceError": "errors",
    "Exact": "exact_influence",
    "Fidelity": "fidelity_report",
    "IndefiniteError": "errors",
    "LossHead": "learning_loss_head",
    "LossRanking": "learning_loss_measures",
    "Model": "model",
    "ModelFileError": "errors",
    "Network": "network",
    "Objective": "objective",
    "RefitComparison": "unlearning",
    "RefitCurves": "refits",
    "Refits": "refits",
    "Scores": "model",
    "Selection": "selection",
    "Unlearned": "unlearning",
    "UntrustedTangentWarning": "errors",
    "agreement": "refits",
    "exact": "exact_influence",
    "fidelity": "fidelity_report",
    "fit": "fitting",
    "fit_many": "fitting_many",
    "fit_with_learning_loss": "learning_loss_joint",
    "learning_loss": "learning_loss_fit",
    "load": "files",
    "loss_ranking": "learning_loss_measures",
    "refit": "refits",
    "refit_curves": "refits",
    "select": "selection",
    "unlearn": "unlearning",
}

__all__ = [
    "ActiveLearner",
    "Agreement",
    "CampaignError",
    "Certificate",
    "Change",
    "DivergenceError",
    "Exact",
    "Fidelity",
    "IndefiniteError",
    "LossHead",
    "LossRanking",
    "Model",
    "ModelFileError",
    "Network",
    "Objective",
    "RefitComparison",
    "RefitCurves",
    "Refits",
    "Scores",
    "Selection",
    "Unlearned",
    "UntrustedTangentWarning",
    "__version__",
    "agreement",
    "exact",
    "fidelity",
    "fit",
    "fit_many",
    "fit_with_learning_loss",
    "learning_loss",
    "load",
    "loss_ranking",
    "refit",
    "refit_curves",
    "select",
    "unlearn",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'fasttangent' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"fasttangent.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
