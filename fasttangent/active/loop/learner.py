"""`ActiveLearner`: fit, choose, ask, record, again; every step on disk before the next begins."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from typing import TYPE_CHECKING, Any

import numpy as np

from fasttangent.active import selection
from fasttangent.active.loop import diagnostics, oracles
from fasttangent.active.loop.campaign import Campaign, State, tell
from fasttangent.active.loop.choosing import Chooser
from fasttangent.active.loop.history import compared, curve, history, summary
from fasttangent.active.loop.settings import (
    described,
    finite_rows,
    fit_settings,
    labelled_rows,
    learnable,
    select_settings,
)
from fasttangent.common import checks
from fasttangent.common.duplicates import row_keys, rows_among
from fasttangent.common.errors import CampaignError, UntrustedTangentWarning
from fasttangent.common.warning import warn
from fasttangent.model import fit as fitting

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fasttangent.model.model import Model

    Rows = NDArray[np.int64]

FIT, SELECT, LOOK = range(3)  # streams of seeds
LOOKED_AT = 4096  # rows of the pool over which curiosity is averaged
HOPELESS = 10  # rows that fail one after the other, round after round, before `run` gives up
IN_DOUBT = ("error", "ask", "failed")


class ActiveLearner:
    """Label what teaches most: fit a model, choose a batch of the pool, ask for its labels, and again.

    Every step is on disk before the next begins: rows asked, labels got, the model and all seeds.  Make the same
    learner again, after a crash, a kill or a week, and it goes on where it was: no label is lost, none is asked
    twice, and the picks are those of a run that was never disturbed.

    Parameters
    ----------
    X_pool : array_like of shape (n, n_features)
        Candidates, in any units; also a memory map.  Rows with a value that is not finite are never asked.
    X, y : array_like of shape (m, n_features) and (m,) or (m, n_outputs), optional
        Labelled rows to begin with.  Without them the first batch is drawn at random.
    oracle : callable or array_like, optional
        Who knows the labels.  A function of rows (m, n_features) that returns m labels; if a further parameter is
        called ``rows``, it also gets their numbers.  Or an array of the labels of the whole pool, nan for none.
        None: a person, by `ask` and `tell`.  Rows for which the function raises or returns nan have failed: they are
        recorded, not asked again, and do not count.
    strategy : str or callable
        As for `select`; or a function ``(model, pool, k, labeled=, seed=)`` that returns k row numbers of `pool`.
    batch : int
        Rows per round.
    folder : path, optional
        Where the campaign is kept; made if it does not exist.  None: nothing is on disk.
    budget : int, optional
        Labels to get in all, those of y not counted.  May be raised later.
    fit, select : mapping, optional
        Arguments of `fit` and `select`.  Without a seed of their own fits have one per round, made of `seed`.
    start : {"cold", "warm"}
        Whether a fit starts from new weights or from the model of the round before.
    patience : int, optional
        Stop when the error did not fall by `min_gain` over so many rounds, compared with as many before: on `test`,
        or else on each batch before it was learned, which costs no label.
    min_gain : float
        Share of the error.
    min_change : float, optional
        Stop when one more label is expected to change the model's complexity by less than this share of it
        (``expected_change`` in `history`).
    test : tuple of arrays (X, y), optional
        Labelled rows to measure the error on; they are not learned.
    random_control : bool
        Also run random labelling beside it, in the folder "random" and with an equal budget of its own.  What either
        run has had labelled is not asked again for the other.  Needs an oracle.
    in_doubt : {"error", "ask", "failed"} or callable
        For a function, what to do with rows that were handed to it when the process was killed: nobody knows whether
        it answered.  "error": say so, and leave it to you.  "ask": ask again, for functions that may be repeated.
        "failed": do without.  A function of a row number looks into the oracle's own records: it returns the label,
        or None if it was never made; with it no label is made twice and none is lost.
    at_once : int
        Rows per call of the function.  Each call is recorded before the next.
    seed : int
        Of all that is drawn: the same seed gives the same picks.
    threads : int, optional
        Default: all cores.  Results do not depend on it.
    progress : bool or callable
        As for `fit`.

    Attributes
    ----------
    model : Model or None
        The last one fitted.
    history : list of dict
        A plain record per round: what was fitted, asked and told, figures and seconds.
    control : ActiveLearner or None
        The run with random labelling.
    stopped : str or None
        Why `run` stopped.

    Raises
    ------
    ValueError
        For bad input; if the folder holds a campaign with another pool, other labels or other settings (the message
        says which).
    CampaignError
        (A ValueError.)  If another process works on the folder, its journal is damaged, or rows are in doubt.
    OSError
        If the folder cannot be written; nothing that was recorded is lost.

    Notes
    -----
    An array and a person leave no window in which a label can be lost or asked twice.  With a function there is one,
    between its answer and the record of it; `in_doubt` says what becomes of rows found there.  A fit limited by
    ``settle=seconds`` depends on the clock, and so do the picks after it; once recorded they stay.

    Examples
    --------
    >>> import numpy as np, fasttangent as ft
    >>> pool = np.random.default_rng(0).uniform(-1, 1, (300, 2))
    >>> learner = ft.ActiveLearner(
    ...     pool, oracle=lambda X: np.sin(3 * X[:, 0]) + X[:, 1] ** 2, batch=15, budget=45,
    ...     fit={"hidden": (8,), "strength": 1e-2})
    >>> learner.run().stopped
    'the budget of 45 labels is spent'
    >>> [record["labels"] for record in learner.history]
    [0, 15, 30, 45]

    A person instead of a function:

    >>> learner = ft.ActiveLearner(pool, batch=15, fit={"hidden": (8,), "strength": 1e-2})
    >>> rows = learner.ask()
    >>> learner.tell(pool[rows, 0] ** 2)
    15
    """

    def __init__(
        self,
        X_pool: Any,
        X: Any = None,
        y: Any = None,
        *,
        oracle: Any = None,
        strategy: str | Callable[..., Any] = selection.DEFAULT_STRATEGY,
        batch: int = 32,
        folder: str | os.PathLike[str] | None = None,
        budget: int | None = None,
        fit: Mapping[str, Any] | None = None,
        select: Mapping[str, Any] | None = None,
        start: str = "cold",
        patience: int | None = None,
        min_gain: float = 0.01,
        min_change: float | None = None,
        test: tuple[Any, Any] | None = None,
        random_control: bool = False,
        in_doubt: str | Callable[[int], Any] = "error",
        at_once: int = 1,
        seed: int = 0,
        threads: int | None = None,
        progress: bool | Callable[..., None] = False,
    ) -> None:
        if not callable(strategy):
            checks.choice("strategy", strategy, selection.STRATEGIES)
        if not callable(in_doubt):
            checks.choice("in_doubt", in_doubt, IN_DOUBT)
        if checks.flag("random_control", random_control) and oracle is None:
            raise ValueError("random_control needs an oracle: a function or an array of labels; got None")
        if (X is None) != (y is None):
            raise ValueError("X and y go together: pass both, or neither to begin without labels")
        self.batch = checks.integer("batch", batch, at_least=1)
        self.budget = None if budget is None else checks.integer("budget", budget, at_least=1)
        self.patience = None if patience is None else checks.integer("patience", patience, at_least=1)
        self.min_gain = checks.number("min_gain", min_gain, at_least=0)
        self.min_change = None if min_change is None else checks.number("min_change", min_change, above=0)
        self.start = checks.choice("start", start, ("cold", "warm"))
        self.seed = checks.integer("seed", seed, at_least=0)
        self.in_doubt, self.threads, self.progress = in_doubt, threads, progress
        self.stopped: str | None = None
        names = checks.column_names(X_pool)
        self._pool = checks.matrix("X_pool", X_pool, min_rows=2)
        d = self._pool.shape[1]
        self._X: NDArray | None = None
        self._y: NDArray[np.float64] | None = None
        if X is not None:
            self._X, self._y = labelled_rows("X", X, y, d, names)
        self._test = None if test is None else labelled_rows("test", *test, d, names)
        self._oracle = oracles.made(oracle, self._pool, checks.integer("at_once", at_once, at_least=1))
        self._fit = fit_settings(fit or {}, d, names)
        self._chooser = Chooser(strategy, select_settings(select or {}), threads)
        self._finite = finite_rows(self._pool)
        self._usable = self._finite.copy()
        if self._X is not None:
            self._usable &= ~rows_among(self._pool, row_keys(self._pool), self._X)
        self._exhausted = False
        pool = described(self._pool)
        self._campaign = Campaign(folder, self._manifest(pool, self._chooser))
        if isinstance(self._oracle, oracles.FunctionOracle):
            self._oracle.shape = self._outputs()
        self._beside: ActiveLearner | None = None
        self.control = self._with_control(pool) if random_control else None

    # --- what a user does ----------------------------------------------------------------------------------

    def run(self, rounds: int | None = None) -> ActiveLearner:
        """Fit, choose and ask until a rule says to stop, or the campaign has had `rounds` rounds in all.

        Ctrl-C ends it between two records; run again to go on.

        Returns
        -------
        ActiveLearner
            Itself; `stopped` says why it stopped.

        Raises
        ------
        CampaignError
            If the last rounds brought no label at all, ten rows or more, or if rows are in doubt.
        """
        rounds = None if rounds is None else checks.integer("rounds", rounds, at_least=0)
        try:
            while rounds is None or self._rounds_done() < rounds:
                if self.step() is None:
                    self.stopped = self.stop_reason
                    return self
            self.fit()
            self.stopped = f"{rounds} rounds are done"
        except KeyboardInterrupt:
            self.stopped = "interrupted"
        return self

    def step(self) -> dict[str, Any] | None:
        """One round: fit, choose, ask the oracle, and fit again.

        Returns
        -------
        dict or None
            The record of the round, as in `history`; None if it is time to stop (`stop_reason`).
        """
        if self._oracle is None:
            raise ValueError(
                "step and run need an oracle (a function or an array); without one use ask and tell"
            )
        if len(self.ask()) == 0:
            return None
        round = len(self._state.rounds) - 1
        oracles.consult(
            self._campaign, self._oracle, self.in_doubt, None if self._beside is None else self._beside._state
        )
        self._check_answers()
        self.fit()
        return self.history[round]

    def ask(self, k: int | None = None) -> Rows:
        """Choose the rows to label next, after fitting a model to the labels so far.

        Rows that were asked and not told yet are returned again, before any others.

        Parameters
        ----------
        k : int, optional
            Default: `batch`; fewer if the budget or the pool has fewer left.

        Returns
        -------
        ndarray of int64, shape (k,)
            Row numbers of the pool; none if it is time to stop (`stop_reason`).
        """
        k = self.batch if k is None else checks.integer("k", k, at_least=1)
        if not self._state.open:
            self.fit()
            if self.stop_reason is None:
                self._choose(k)
        return np.array(list(self._state.open), np.int64)

    def tell(self, labels: Any, *, correct: bool = False) -> int:
        """Record labels of rows that were asked.

        Parameters
        ----------
        labels : mapping or array_like
            Row number to label; or the labels of the rows that `ask` returned, in that order.  nan or None: the row
            failed.  Rows left out of a mapping stay open.
        correct : bool
            Whether a label may replace one that was told before.

        Returns
        -------
        int
            How many were new.

        Raises
        ------
        ValueError
            If a row was not asked, or has another label already; then nothing is recorded.
        """
        if not isinstance(labels, Mapping):
            rows = list(self._state.open)
            values = list(labels)
            if len(values) != len(rows):
                raise ValueError(
                    f"labels must have one value per open row ({len(rows)}), got {len(values)}; "
                    f"pass a mapping from row numbers to tell some of them"
                )
            labels = dict(zip(rows, values, strict=True))
        return tell(self._campaign, labels, correct=correct)

    def skip(self) -> int:
        """Record that the rows still open have no label, and go on without them; returns how many there were."""
        return tell(self._campaign, dict.fromkeys(self._state.open), why="skipped")

    def retry(self, rows: Sequence[int] | None = None) -> int:
        """Let failed rows (default: all) be asked again; returns how many."""
        failed = self._state.failed
        wanted = list(failed) if rows is None else [int(row) for row in rows]
        for row in wanted:
            if row not in failed:
                raise ValueError(f"rows must be rows that failed, got {row}; all that failed: {list(failed)}")
        if wanted:
            self._campaign.record("retry", rows=wanted)
        return len(wanted)

    def fit(self) -> Model | None:
        """Fit the labels so far, unless the last model knows them; None while there is nothing to learn from."""
        if not self._state.open:
            self._finish_round()
        X, y = self.labelled()
        if not learnable(X, y) or (self._state.current and self.model is not None):
            return self.model
        round = len(self._state.rounds)
        settings = {"seed": self._seed(round, FIT), "threads": self.threads, **self._fit}
        before = self._model_to_start_from() if self.start == "warm" else None
        if self._state.outlook is None and len(X) >= 2 * diagnostics.FOLDS:
            found = diagnostics.outlook(X, y, settings, self._seed(round, LOOK))
            self._campaign.record("outlook", **(found or {}))
        started = time.perf_counter()
        warm: dict[str, Any] = {} if before is None else {"start": before}
        model = fitting.fit(X, y, **settings, **warm, progress=self.progress)
        if model.interrupted:
            raise KeyboardInterrupt
        seconds = time.perf_counter() - started
        self._campaign.save_model(
            model, round=round, labels=len(X), seed=settings["seed"], start="cold" if before is None else "warm",
            trusted=model.certificate.trusted, seconds=seconds, **self._figures(model),
        )  # fmt: skip
        return model

    @property
    def model(self) -> Model | None:
        """The last model fitted; `fit` brings it up to date."""
        try:
            return self._campaign.last_model()
        except CampaignError:
            return None

    @property
    def history(self) -> list[dict[str, Any]]:
        """A record per round, the last one perhaps without a batch yet; None for what there is not.

        labels : rows the model of the round was fitted on (0: no model, the batch is random)
        asked, got, failed, open : rows of the batch, by what became of them
        batch_rmse, batch_mae : error on the batch before it was learned
        score_error_correlation : Spearman correlation of the scores of the batch with the size of those errors
        redundancy : distance to the nearest neighbour within the batch, over that within a random batch
        expected_change : sqrt(mean curiosity of the pool) / (n C): relative change of the complexity by one label
        test_rmse, test_mae : error on `test`
        control_rmse, beside_rmse : with a random control and no test set: error of the control, and of this run, on
            the same rows that the control drew at random and neither has learned
        trusted, rows, strategy, fit_seed, select_seed, start, fit_seconds, select_seconds, oracle_seconds
        """
        return history(self._state, self._first)

    @property
    def stop_reason(self) -> str | None:
        """Why no further rows should be asked; None: go on."""
        state = self._state
        if self.budget is not None and len(state.labels) + len(state.open) >= self.budget:
            return f"the budget of {self.budget:,} labels is spent"
        if self._exhausted or not self._candidates().any():
            return "all rows of the pool have been asked"
        return diagnostics.enough(self.history, self.patience, self.min_gain, self.min_change)

    def curve(self) -> dict[str, list[Any]]:
        """The learning curve: labels learned and the error then, of this run and of the control beside it.

        Errors are those on the test set; without one but with a control, those on the rows the control drew; else
        those on each batch before it was learned, which a strategy that looks for errors makes larger.
        """
        beside = None if self.control is None else self.control.history
        return curve(self.history, beside, self._test is not None)

    def summary(self) -> dict[str, Any]:
        """Where the campaign is, as plain Python values."""
        beside = None if self.control is None else self.control._state
        return summary(self._state, self._first, self.budget, beside) | {
            "strategy": self._chooser.name,
            "folder": None if self._campaign.folder is None else str(self._campaign.folder),
            "stop_reason": self.stop_reason,
        }

    def labelled(self) -> tuple[NDArray, NDArray]:
        """All labelled rows and their labels: those of the beginning, then in the order of asking."""
        rows = self._state.labelled()
        labels = np.array([self._state.labels[row] for row in rows], np.float64)
        X = np.asarray(self._pool[rows])
        if self._X is None or self._y is None:
            return X, labels
        return np.concatenate([self._X, X]), np.concatenate([self._y, labels.reshape(-1, *self._y.shape[1:])])

    def close(self) -> None:
        """Let go of the folder, so that another process may take it; ending the process does so too."""
        if self.control is not None:
            self.control.close()
        self._campaign.close()

    def __enter__(self) -> ActiveLearner:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        state = self._state
        where = "" if self._campaign.folder is None else f", {str(self._campaign.folder)!r}"
        return f"ActiveLearner({self._chooser.name}, {len(state.labels)} labels in {len(state.rounds)} rounds{where})"

    # --- a round -------------------------------------------------------------------------------------------

    @property
    def _state(self) -> State:
        return self._campaign.state

    @property
    def _first(self) -> int:
        return 0 if self._y is None else len(self._y)

    def _check_answers(self) -> None:
        """Raise when the last rounds brought no label at all: the oracle is broken, not its rows."""
        rows: list[int] = []
        for record in reversed(self._state.rounds):
            if any(row not in self._state.failed for row in record["rows"]):
                break
            rows += record["rows"]
        if len(rows) >= HOPELESS:
            raise CampaignError(
                f"the last {len(rows)} rows all failed, one with: {self._state.failed[rows[0]]}; mend the oracle and "
                f"run again (retry() lets failed rows be asked again)"
            )

    def _rounds_done(self) -> int:
        return len(self._state.rounds) - bool(self._state.open)

    def _seed(self, round: int, stream: int) -> int:
        return int(np.random.SeedSequence([self.seed, round, stream]).generate_state(1)[0])

    def _candidates(self) -> NDArray[np.bool_]:
        """Which rows of the pool may be asked."""
        left = self._usable.copy()
        left[[*self._state.labels, *self._state.failed, *self._state.open]] = False
        return left

    def _choose(self, k: int) -> None:
        """Pick the rows of a round and record them."""
        round, state = len(self._state.rounds), self._state
        seed, left = self._seed(round, SELECT), self._candidates()
        if self.budget is not None:
            k = min(k, self.budget - len(state.labels))
        started = time.perf_counter()
        model = self.model if state.current else None
        batch: dict[str, Any] | None
        if model is None:
            numbers = np.flatnonzero(left)
            rows = np.random.default_rng(seed).choice(numbers, min(k, len(numbers)), replace=False)
            batch = {"rows": np.sort(rows), "strategy": "random", "seed": seed}
        else:
            failed = bool(state.failed) or not self._finite.all()
            batch = self._chooser.batch(model, self._pool, left, self.labelled()[0], k, seed, failed)
        if batch is None:
            self._exhausted = True
        else:
            self._campaign.record("asked", round=round, **batch, seconds=time.perf_counter() - started)

    # --- the control ---------------------------------------------------------------------------------------

    def _with_control(self, pool: dict[str, Any]) -> ActiveLearner:
        folder = self._campaign.folder
        control = copy(self)
        control.control, control._beside = None, self
        control.patience = control.min_change = None
        control._chooser = Chooser("random", {}, self.threads)
        manifest = self._manifest(pool, control._chooser)
        control._campaign = Campaign(None if folder is None else folder / "random", manifest)
        self._beside = control
        return control

    def _finish_round(self) -> None:
        """Let the control catch up, and compare both on the rows it drew, before this run learns more."""
        control = self.control
        if control is None:
            return
        while control._rounds_done() < self._rounds_done() and control.step() is not None:
            pass
        control.fit()
        if self._test is None and self.model is not None:
            found = compared(self._state, control._state, self.model, self._pool)
            if found is not None:
                self._campaign.record("compared", **found)

    # --- a fit ---------------------------------------------------------------------------------------------

    def _model_to_start_from(self) -> Model | None:
        try:
            return self._campaign.last_model()
        except CampaignError as error:
            warn(f"{error}; this fit starts anew, so its picks may be others")
            return None

    def _figures(self, model: Model) -> dict[str, Any]:
        rng = np.random.default_rng(self._seed(0, LOOK))
        usable = np.flatnonzero(self._usable)
        rows = np.sort(rng.choice(usable, min(len(usable), LOOKED_AT), replace=False))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UntrustedTangentWarning)
            figures = {"expected_change": diagnostics.expected_change(model, self._pool[rows])}
        if self._test is not None:
            rmse, mae = diagnostics.errors(model.predict(self._test[0], threads=self.threads), self._test[1])
            figures |= {"test_rmse": rmse, "test_mae": mae}
        return figures

    def _outputs(self) -> tuple[int, ...] | None:
        """Shape of a label, where it is known from the start."""
        if self._y is not None:
            return self._y.shape[1:]
        if isinstance(self._oracle, oracles.ArrayOracle):
            return self._oracle.shape
        return None if self._test is None else self._test[1].shape[1:]

    def _manifest(self, pool: dict[str, Any], chooser: Chooser) -> dict[str, Any]:
        outputs = self._outputs()
        return {
            "pool": pool,
            "labeled": None if self._X is None or self._y is None else described(self._X, self._y),
            "test": None if self._test is None else described(*self._test),
            "outputs": None if outputs is None else list(outputs),
            "settings": {
                "strategy": chooser.name,
                "batch": self.batch,
                "start": self.start,
                "seed": self.seed,
                "fit": self._fit,
                "select": chooser.settings,
            },
        }
