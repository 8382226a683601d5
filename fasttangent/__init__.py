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
    from fasttangent.active.learned_losses.fit import learning_loss
    from fasttangent.active.learned_losses.head import LossHead
    from fasttangent.active.learned_losses.joint import fit_with_learning_loss
    from fasttangent.active.learned_losses.measures import LossRanking, loss_ranking
    from fasttangent.active.loop.learner import ActiveLearner
    from fasttangent.active.picked import Selection
    from fasttangent.active.pools import Pool
    from fasttangent.active.selection import select
    from fasttangent.active.vectors import select_embeddings
    from fasttangent.common.columns import Columns
    from fasttangent.common.errors import (
        CampaignError,
        DivergenceError,
        IndefiniteError,
        ModelFileError,
        UntrustedTangentWarning,
    )
    from fasttangent.common.learned_columns import learn_columns
    from fasttangent.influence.agreement import Agreement, agreement
    from fasttangent.influence.changes import Change
    from fasttangent.influence.exact import Exact, exact
    from fasttangent.influence.fidelity.report import Fidelity, fidelity
    from fasttangent.influence.jackknife import jackknife
    from fasttangent.influence.perturbations import Perturbation
    from fasttangent.influence.refit_curves import RefitCurves, refit_curves
    from fasttangent.influence.refits import Refits, refit
    from fasttangent.influence.unlearning import RefitComparison, Unlearned, unlearn
    from fasttangent.model.certificate import Certificate
    from fasttangent.model.conversions import from_arrays, from_sklearn, from_torch
    from fasttangent.model.fit import fit
    from fasttangent.model.fit_many import fit_many
    from fasttangent.model.loading import load
    from fasttangent.model.members import Members
    from fasttangent.model.model import Model
    from fasttangent.model.scores import Scores
    from fasttangent.model.settled import settle
    from fasttangent.problem.network import Network
    from fasttangent.problem.objective import Objective

_HOME = {
    "ActiveLearner": "active.loop.learner",
    "Agreement": "influence.agreement",
    "CampaignError": "common.errors",
    "Certificate": "model.certificate",
    "Change": "influence.changes",
    "Columns": "common.columns",
    "DivergenceError": "common.errors",
    "Exact": "influence.exact",
    "Fidelity": "influence.fidelity.report",
    "IndefiniteError": "common.errors",
    "LossHead": "active.learned_losses.head",
    "LossRanking": "active.learned_losses.measures",
    "Members": "model.members",
    "Model": "model.model",
    "ModelFileError": "common.errors",
    "Network": "problem.network",
    "Objective": "problem.objective",
    "Perturbation": "influence.perturbations",
    "Pool": "active.pools",
    "RefitComparison": "influence.unlearning",
    "RefitCurves": "influence.refit_curves",
    "Refits": "influence.refits",
    "Scores": "model.scores",
    "Selection": "active.picked",
    "Unlearned": "influence.unlearning",
    "UntrustedTangentWarning": "common.errors",
    "agreement": "influence.agreement",
    "exact": "influence.exact",
    "fidelity": "influence.fidelity.report",
    "fit": "model.fit",
    "fit_many": "model.fit_many",
    "fit_with_learning_loss": "active.learned_losses.joint",
    "from_arrays": "model.conversions",
    "from_sklearn": "model.conversions",
    "from_torch": "model.conversions",
    "hypergradient": "influence.hypergradients",
    "jackknife": "influence.jackknife",
    "learn_columns": "common.learned_columns",
    "learning_loss": "active.learned_losses.fit",
    "load": "model.loading",
    "loss_ranking": "active.learned_losses.measures",
    "refit": "influence.refits",
    "refit_curves": "influence.refit_curves",
    "select": "active.selection",
    "select_embeddings": "active.vectors",
    "settle": "model.settled",
    "unlearn": "influence.unlearning",
}

__all__ = [
    "ActiveLearner",
    "Agreement",
    "CampaignError",
    "Certificate",
    "Change",
    "Columns",
    "DivergenceError",
    "Exact",
    "Fidelity",
    "IndefiniteError",
    "LossHead",
    "LossRanking",
    "Members",
    "Model",
    "ModelFileError",
    "Network",
    "Objective",
    "Perturbation",
    "Pool",
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
    "from_arrays",
    "from_sklearn",
    "from_torch",
    "hypergradient",
    "jackknife",
    "learn_columns",
    "learning_loss",
    "load",
    "loss_ranking",
    "refit",
    "refit_curves",
    "select",
    "select_embeddings",
    "settle",
    "unlearn",
]


_ENTRIES = ("dask", "sklearn")  # files that need a library, loaded when they are asked for


def __getattr__(name: str) -> Any:
    if name in _ENTRIES:
        return importlib.import_module(f"fasttangent.{name}")
    if name not in _HOME:
        raise AttributeError(f"module 'fasttangent' has no attribute {name!r}")
    from fasttangent.common.interrupts import held

    with held():  # Ctrl-C comes after an import: half of NumPy cannot be imported again
        value = getattr(importlib.import_module(f"fasttangent.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
