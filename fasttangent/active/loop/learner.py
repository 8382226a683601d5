"""`ActiveLearner`: fit, choose, ask, record, again; every step on disk before the next begins."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from fasttangent.active import selection
from fasttangent.active.loop.campaign import Campaign, tell
from fasttangent.active.loop.choosing import Chooser
from fasttangent.active.loop.history import curve, summary
from fasttangent.active.loop.rounds import Rounds
from fasttangent.active.loop.settings import LearnerSettings, fit_settings, select_settings
from fasttangent.active.loop.sources import Sources
from fasttangent.common import checks

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fasttangent.model.model import Model

    Rows = NDArray[np.int64]


def _setting(name: str) -> Any:
    """A setting as an attribute; a new value is checked and holds from then on."""

    def get(learner: ActiveLearner) -> Any:
        return getattr(learner._rounds.settings, name)

    def put(learner: ActiveLearner, value: Any) -> None:
        learner._rounds.settings = replace(learner._rounds.settings, **{name: value})

    return property(get, put)


class ActiveLearner:
    """Label what teaches most: fit a model, choose a batch of the pool, ask for its labels, and again.

    Every step is on disk before the next begins: rows asked, labels got, the model and all seeds.  Make the same
    learner again, after a crash, a kill or a week, and it goes on where it was: no label is lost, none is asked
    twice, and the picks are those of a run that was never disturbed.

    Parameters
    ----------
    X_pool : array_like of shape (n, n_features) or Pool
        Candidates, in any units; a `Pool` is passed through, never held.  Rows that are not finite are never asked.
    X, y : array_like of shape (m, n_features) and (m,) or (m, n_outputs), optional
        Labelled rows to begin with.  Without them the first batch is drawn at random.
    oracle : callable or array_like, optional
        Who knows the labels.  A function of rows (m, n_features) that returns m labels; if a further parameter is
        called ``rows``, it also gets their numbers.  Or an array of the labels of the whole pool, nan for none.
        None: a person, by `ask` and `tell`.  Rows for which the function raises or returns nan, inf or a number above
        1e304 have failed: they are recorded, not asked again, and do not count.
    strategy : str or callable
        As for `select`; or a function ``(model, pool, k, labeled=, seed=)`` that returns k row numbers of `pool`.
    batch : int
        Rows per round.
    folder : path, optional
        Where the campaign is kept; made if it does not exist.  None: nothing is on disk.
    budget : int, optional
        Labels to get in all, those of y not counted.  May be raised later.
    fit, select : mapping, optional
        Arguments of both.  Fits without a seed have one per round, made of `seed`.  Every batch keeps within `exclude`,
        `per_group` and `max_cost`, smaller where it must.  By `noise` labels weigh 1 / noise in fits, those of y 1.
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

    batch, budget, start = _setting("batch"), _setting("budget"), _setting("start")
    patience, min_gain, min_change = _setting("patience"), _setting("min_gain"), _setting("min_change")
    in_doubt, seed = _setting("in_doubt"), _setting("seed")
    threads, progress = _setting("threads"), _setting("progress")

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
        if checks.flag("random_control", random_control) and oracle is None:
            raise ValueError("random_control needs an oracle: a function or an array of labels; got None")
        settings = LearnerSettings(
            batch=batch, budget=budget, start=start, patience=patience, min_gain=min_gain, min_change=min_change,
            in_doubt=in_doubt, seed=seed, threads=threads, progress=progress,
        )  # fmt: skip
        sources = Sources.checked(X_pool, X, y, test, oracle, at_once, fit or {})
        of_fit = fit_settings(fit or {}, sources.pool)
        chooser = Chooser(strategy, *select_settings(select or {}, strategy, len(sources.pool)), threads)
        self._rounds = Rounds(sources, settings, of_fit, chooser, folder)
        self.control = ActiveLearner._of(self._rounds.control()) if random_control else None
        self.stopped: str | None = None

    @classmethod
    def _of(cls, rounds: Rounds) -> ActiveLearner:
        """The learner of rounds that have begun, without a control."""
        learner = cls.__new__(cls)
        learner._rounds, learner.control, learner.stopped = rounds, None, None
        return learner

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
            while rounds is None or self._rounds.done < rounds:
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
        if self._rounds.sources.oracle is None:
            raise ValueError(
                "step and run need an oracle (a function or an array); without one use ask and tell"
            )
        if len(self.ask()) == 0:
            return None
        round = len(self.campaign.state.rounds) - 1
        self._rounds.consult()
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
        if not self.campaign.state.open:
            self.fit()
            if self.stop_reason is None:
                self._rounds.choose(k)
        return np.array(list(self.campaign.state.open), np.int64)

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
            If a row was not asked, has another label already, or a label is infinite or above 1e304; then nothing is
            recorded.
        """
        if not isinstance(labels, Mapping):
            rows = list(self.campaign.state.open)
            values = list(labels)
            if len(values) != len(rows):
                raise ValueError(
                    f"labels must have one value per open row ({len(rows)}), got {len(values)}; "
                    f"pass a mapping from row numbers to tell some of them"
                )
            labels = dict(zip(rows, values, strict=True))
        return tell(self.campaign, labels, correct=correct)

    def skip(self) -> int:
        """Record that the rows still open have no label, and go on without them; returns how many there were."""
        return tell(self.campaign, dict.fromkeys(self.campaign.state.open), why="skipped")

    def retry(self, rows: Sequence[int] | None = None) -> int:
        """Let failed rows (default: all) be asked again; returns how many."""
        failed = self.campaign.state.failed
        wanted = list(failed) if rows is None else [int(row) for row in rows]
        for row in wanted:
            if row not in failed:
                raise ValueError(f"rows must be rows that failed, got {row}; all that failed: {list(failed)}")
        if wanted:
            self.campaign.record("retry", rows=wanted)
        return len(wanted)

    def fit(self) -> Model | None:
        """Fit the labels so far, unless the last model knows them; None while there is nothing to learn from."""
        if not self.campaign.state.open:
            self._finish_round()
        return self._rounds.fit()

    @property
    def campaign(self) -> Campaign:
        """What is kept of it: the folder, its events, and where they have led."""
        return self._rounds.campaign

    @property
    def model(self) -> Model | None:
        """The last model fitted; `fit` brings it up to date."""
        return self._rounds.model

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
        return self._rounds.history

    @property
    def stop_reason(self) -> str | None:
        """Why no further rows should be asked; None: go on."""
        return self._rounds.stop_reason

    def curve(self) -> dict[str, list[Any]]:
        """The learning curve: labels learned and the error then, of this run and of the control beside it.

        Errors are those on the test set; without one but with a control, those on the rows the control drew; else
        those on each batch before it was learned, which a strategy that looks for errors makes larger.
        """
        beside = None if self.control is None else self.control.history
        return curve(self.history, beside, self._rounds.sources.test is not None)

    def summary(self) -> dict[str, Any]:
        """Where the campaign is, as plain Python values."""
        beside = None if self.control is None else self.control.campaign.state
        return summary(self.campaign.state, self._rounds.sources.first, self.budget, beside) | {
            "strategy": self._rounds.chooser.name,
            "folder": None if self.campaign.folder is None else str(self.campaign.folder),
            "stop_reason": self.stop_reason,
        }

    def labelled(self) -> tuple[NDArray, NDArray]:
        """All labelled rows and their labels: those of the beginning, then in the order of asking."""
        return self._rounds.labelled()

    def close(self) -> None:
        """Let go of the folder, so that another process may take it; ending the process does so too."""
        if self.control is not None:
            self.control.close()
        self.campaign.close()

    def __enter__(self) -> ActiveLearner:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        state = self.campaign.state
        where = "" if self.campaign.folder is None else f", {str(self.campaign.folder)!r}"
        done = f"{len(state.labels)} labels in {len(state.rounds)} rounds"
        return f"ActiveLearner({self._rounds.chooser.name}, {done}{where})"

    def _finish_round(self) -> None:
        """Let the control catch up, and compare both on the rows it drew, before this run learns more."""
        control = self.control
        if control is None:
            return
        while control._rounds.done < self._rounds.done and control.step() is not None:
            pass
        control.fit()
        self._rounds.compare(control._rounds)
