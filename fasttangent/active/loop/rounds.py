"""The rounds of one run: which rows may be asked, which are, what is fitted to their labels, and when to stop."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from fasttangent.active.loop import diagnostics, oracles
from fasttangent.active.loop.campaign import Campaign
from fasttangent.active.loop.choosing import Chooser
from fasttangent.active.loop.history import compared, history
from fasttangent.active.loop.pooled import drawn
from fasttangent.active.loop.settings import LearnerSettings, fingerprint
from fasttangent.active.loop.sources import Sources
from fasttangent.active.loop.state import State
from fasttangent.common import checks
from fasttangent.common.errors import CampaignError, UntrustedTangentWarning
from fasttangent.common.warning import warn
from fasttangent.model import fit as fitting

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fasttangent.model.model import Model

FIT, SELECT, LOOK = range(3)  # streams of seeds
LOOKED_AT = 4096  # rows of the pool over which curiosity is averaged
HOPELESS = 10  # rows that fail one after the other, round after round, before a run gives up


class Rounds:
    """One run of labelling, that of an `ActiveLearner` or of its control.

    Parameters
    ----------
    sources : Sources
    settings : LearnerSettings
    fit : mapping
        Arguments of `fit`, checked.
    chooser : Chooser
    folder : path or None
        Of the campaign, which begins or goes on.

    Attributes
    ----------
    campaign : Campaign
        All that must outlive the process.
    beside : Rounds or None
        Those of the run and of its control know each other: what either has had labelled is not asked again.
    exhausted : bool
        Whether the rows left are all like labelled ones.
    """

    def __init__(
        self,
        sources: Sources,
        settings: LearnerSettings,
        fit: Mapping[str, Any],
        chooser: Chooser,
        folder: str | os.PathLike[str] | None,
    ) -> None:
        self.sources, self.settings, self.fit_settings, self.chooser = sources, settings, fit, chooser
        self.beside: Rounds | None = None
        self.exhausted = False
        kept = {"batch": settings.batch, "start": settings.start, "seed": settings.seed}
        select = {**chooser.settings, **fingerprint(chooser.limits)}
        chosen = {"strategy": chooser.name, **kept, "fit": fit, "select": select}
        self.campaign = Campaign(folder, {**sources.manifest, "settings": chosen})

    @property
    def state(self) -> State:
        return self.campaign.state

    @property
    def done(self) -> int:
        """Rounds that are over."""
        return len(self.state.rounds) - bool(self.state.open)

    @property
    def model(self) -> Model | None:
        """The last model fitted, if it is still there."""
        try:
            return self.campaign.last_model()
        except CampaignError:
            return None

    @property
    def history(self) -> list[dict[str, Any]]:
        return history(self.state, self.sources.first)

    @property
    def stop_reason(self) -> str | None:
        """Why no further rows should be asked; None: go on."""
        state, settings = self.state, self.settings
        if settings.budget is not None and len(state.labels) + len(state.open) >= settings.budget:
            return f"the budget of {settings.budget:,} labels is spent"
        if self.exhausted or not self._candidates().any():
            return "all rows of the pool have been asked"
        return diagnostics.enough(self.history, settings.patience, settings.min_gain, settings.min_change)

    def labelled(self) -> tuple[NDArray, NDArray]:
        """All labelled rows and their labels: those of the beginning, then in the order of asking."""
        rows = self.state.labelled()
        labels = np.array([self.state.labels[row] for row in rows], np.float64)
        X, known = self.sources.pool.asked(rows), self.sources.known
        if known is None:
            return X, labels
        return np.concatenate([known[0], X]), np.concatenate(
            [known[1], labels.reshape(-1, *known[1].shape[1:])]
        )

    def weights(self) -> NDArray | None:
        """What each of them counts for: 1 / noise, if that is known of the pool's; those of the beginning 1."""
        noise = self.chooser.limits.get("noise")
        if noise is None:
            return None
        counts = 1 / checks.array("noise", noise)[self.state.labelled()].astype(np.float64)
        return np.concatenate([np.ones(self.sources.first), counts])

    def choose(self, k: int) -> None:
        """Pick the rows of a round and record them."""
        round, state, pool = len(self.state.rounds), self.state, self.sources.pool
        seed, left = self._seed(round, SELECT), self._candidates()
        if self.settings.budget is not None:
            k = min(k, self.settings.budget - len(state.labels))
        started = time.perf_counter()
        model = self.model if state.current else None
        batch: dict[str, Any] | None
        if model is None:
            batch = {"rows": self.chooser.first(left, k, seed), "strategy": "random", "seed": seed}
        else:
            failed = bool(state.failed) or not self.sources.survey.finite.all()
            batch = self.chooser.batch(model, pool, left, self.labelled()[0], k, seed, failed)
        if batch is None:
            self.exhausted = True
        else:
            self.campaign.record("asked", round=round, **batch, seconds=time.perf_counter() - started)

    def fit(self) -> Model | None:
        """Fit the labels so far, unless the last model knows them; None while there is nothing to learn from."""
        X, y = self.labelled()
        if not _learnable(X, y) or (self.state.current and self.model is not None):
            return self.model
        round, threads = len(self.state.rounds), self.settings.threads
        settings = {"seed": self._seed(round, FIT), "threads": threads, **self.fit_settings}
        settings["columns"] = self.sources.pool.columns
        before = self._model_to_start_from() if self.settings.start == "warm" else None
        if self.state.outlook is None and len(X) >= 2 * diagnostics.FOLDS:
            found = diagnostics.outlook(X, y, settings, self._seed(round, LOOK))
            self.campaign.record("outlook", **(found or {}))
        started = time.perf_counter()
        warm: dict[str, Any] = {} if before is None else {"start": before}
        warm |= {"sample_weight": self.weights(), "progress": self.settings.progress}
        model = fitting.fit(X, y, **settings, **warm)
        if model.interrupted:
            raise KeyboardInterrupt
        seconds = time.perf_counter() - started
        self.campaign.save_model(
            model, round=round, labels=len(X), seed=settings["seed"], start="cold" if before is None else "warm",
            trusted=model.certificate.trusted, seconds=seconds, **self._figures(model),
        )  # fmt: skip
        return model

    def consult(self) -> None:
        """Ask the oracle for the labels of all open rows."""
        assert self.sources.oracle is not None
        beside = None if self.beside is None else self.beside.state
        oracles.consult(self.campaign, self.sources.oracle, self.settings.in_doubt, beside)
        self._check_answers()

    def control(self) -> Rounds:
        """Random labelling beside this run: the same tables and settings, and no rule to stop but the budget."""
        folder = self.campaign.folder
        control = Rounds(
            self.sources,
            replace(self.settings, patience=None, min_change=None),
            self.fit_settings,
            Chooser("random", {}, self.chooser.limits, self.settings.threads),
            None if folder is None else folder / "random",
        )
        control.beside, self.beside = self, control
        return control

    def compare(self, control: Rounds) -> None:
        """Record the errors of both on rows that the control drew, unless there is a test set for that."""
        if self.sources.test is None and self.model is not None:
            found = compared(self.state, control.state, self.model, self.sources.pool)
            if found is not None:
                self.campaign.record("compared", **found)

    def _check_answers(self) -> None:
        """Raise when the last rounds brought no label at all: the oracle is broken, not its rows."""
        rows: list[int] = []
        for record in reversed(self.state.rounds):
            if any(row not in self.state.failed for row in record["rows"]):
                break
            rows += record["rows"]
        if len(rows) >= HOPELESS:
            raise CampaignError(
                f"the last {len(rows)} rows all failed, one with: {self.state.failed[rows[0]]}; mend the oracle and "
                f"run again (retry() lets failed rows be asked again)"
            )

    def _seed(self, round: int, stream: int) -> int:
        return int(np.random.SeedSequence([self.settings.seed, round, stream]).generate_state(1)[0])

    def _candidates(self) -> NDArray[np.bool_]:
        """Which rows of the pool may be asked."""
        left = self.chooser.allowed(self.sources.usable)
        left[[*self.state.labels, *self.state.failed, *self.state.open]] = False
        return left

    def _model_to_start_from(self) -> Model | None:
        try:
            return self.campaign.last_model()
        except CampaignError as error:
            warn(f"{error}; this fit starts anew, so its picks may be others")
            return None

    def _figures(self, model: Model) -> dict[str, Any]:
        rng = np.random.default_rng(self._seed(0, LOOK))
        rows = np.sort(drawn(self.sources.usable, LOOKED_AT, rng))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UntrustedTangentWarning)
            figures = {"expected_change": diagnostics.expected_change(model, self.sources.pool.take(rows))}
        if self.sources.test is not None:
            X, y = self.sources.test
            rmse, mae = diagnostics.errors(model.predict(X, threads=self.settings.threads), y)
            figures |= {"test_rmse": rmse, "test_mae": mae}
        return figures


def _learnable(X: NDArray, y: NDArray) -> bool:
    """Whether there is something that differs to fit: at least two rows, and no output the same in all."""
    return len(y) >= 2 and bool(np.ptp(y, axis=0).all()) and bool(np.ptp(X, axis=0).any())
