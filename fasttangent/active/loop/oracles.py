"""Where labels come from: an array, a function, or (None) a person; and how answers are recorded."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from fasttangent.active.loop.campaign import Campaign, tell
from fasttangent.active.loop.state import State
from fasttangent.common import checks
from fasttangent.common.errors import CampaignError
from fasttangent.problem.scaling import LARGEST

if TYPE_CHECKING:
    from numpy.typing import NDArray

Answer = tuple[list[Any], str]  # a label for each row, None where it failed, and why


class ArrayOracle:
    """Labels of the whole pool, known beforehand; nan where there is none."""

    def __init__(self, values: Any, n: int) -> None:
        self.values = checks.targets("oracle", values, n)
        large = (abs(self.values) > LARGEST) & (abs(self.values) < np.inf)
        if large.any():
            row = int(np.argwhere(large)[0][0])
            raise ValueError(
                f"oracle must hold labels of at most {LARGEST:.1e} in size, got {self.values[row]} in row {row}; "
                f"divide all by 1e100"
            )
        self.shape: tuple[int, ...] | None = self.values.shape[1:]

    def __call__(self, rows: NDArray[np.int64]) -> Answer:
        values = self.values[rows].astype(np.float64)
        return _or_none(values), "no label in the array"


class FunctionOracle:
    """A function of rows (m, n_features) as given, which may raise, or return nan, for rows that have no label.

    `shown` makes them of their numbers.
    """

    def __init__(
        self, function: Callable[..., Any], shown: Callable[[NDArray[np.int64]], Any], at_once: int
    ) -> None:
        self.function, self.shown, self.at_once = function, shown, at_once
        self.shape: tuple[int, ...] | None = None
        try:
            self.takes_rows = "rows" in list(inspect.signature(function).parameters)[1:]
        except (TypeError, ValueError):  # some compiled functions have no signature
            self.takes_rows = False

    def __call__(self, rows: NDArray[np.int64]) -> Answer:
        extra = {"rows": rows} if self.takes_rows else {}
        X = self.shown(rows)
        try:
            found = self.function(X, **extra)
        except Exception as error:
            return [None] * len(rows), f"{type(error).__name__}: {error}"
        values = self._checked(found, len(rows))
        large = abs(values[np.isfinite(values)]).max(initial=0.0) > LARGEST
        return _or_none(values), f"a label above {LARGEST:.1e}" if large else "no finite label"

    def _checked(self, found: Any, m: int) -> NDArray[np.float64]:
        """The labels as (m,) or (m, outputs): a mistake in the function is not a row without a label."""
        try:
            values = np.asarray(
                [np.nan if v is None else v for v in found] if np.iterable(found) else found, float
            )
        except (TypeError, ValueError):
            raise TypeError(
                f"oracle must return a number per row, nan for none; it returned {found!r}"
            ) from None
        shape = values.shape[1:] if self.shape is None else self.shape
        if values.size != m * int(np.prod(shape)) or (
            self.shape is None and values.shape[:1] not in ((m,), ())
        ):
            wanted = f"({m},)" if not shape else f"({m}, {shape[0]})"
            raise ValueError(
                f"oracle must return shape {wanted} for {m} rows, got {values.shape}; the labels were not recorded"
            )
        return values.reshape(m, *shape)


Oracle = ArrayOracle | FunctionOracle


def made(oracle: Any, shown: Callable[[NDArray[np.int64]], Any], n: int, at_once: int) -> Oracle | None:
    """The oracle that was meant: None, a function, or labels of all n rows of the pool."""
    if oracle is None:
        return None
    return FunctionOracle(oracle, shown, at_once) if callable(oracle) else ArrayOracle(oracle, n)


def _or_none(values: NDArray[np.float64]) -> list[Any]:
    """A label per row as plain values, None where one is not finite or too large to learn from."""
    return [v.tolist() if (abs(v) <= LARGEST).all() else None for v in values]


def consult(campaign: Campaign, oracle: Oracle, in_doubt: Any, beside: State | None) -> None:
    """Ask for the labels of all open rows, each call recorded before the next; `beside` knows some already."""
    state = campaign.state
    if beside is not None:
        _borrow(campaign, beside)
    if isinstance(oracle, ArrayOracle):
        _note(campaign, list(state.open), oracle)
        return
    _resolve(campaign, in_doubt)
    rows = list(state.open)
    for start in range(0, len(rows), oracle.at_once):
        chunk = rows[start : start + oracle.at_once]
        campaign.record("asking", rows=chunk)
        _note(campaign, chunk, oracle)


def _note(campaign: Campaign, rows: list[int], oracle: Oracle) -> None:
    """Labels of rows from an oracle to the journal."""
    if not rows:
        return
    started = time.perf_counter()
    labels, why = oracle(np.array(rows, np.int64))
    found = dict(zip(rows, labels, strict=True))
    more: dict[str, Any] = {"why": why} if None in labels else {}
    try:
        tell(campaign, found, seconds=time.perf_counter() - started, **more)
    except OSError as error:
        error.strerror = (
            f"{error.strerror}; the labels {found} (row: label) were not recorded: mend that and tell() them"
        )
        raise


def _resolve(campaign: Campaign, in_doubt: Any) -> None:
    """Decide about rows that were handed to a function that has not answered."""
    state = campaign.state
    doubtful = [row for row in state.open if row in state.doubtful]
    if not doubtful or in_doubt == "ask":
        return
    if callable(in_doubt):
        found = {row: in_doubt(row) for row in doubtful}
        tell(campaign, {row: label for row, label in found.items() if label is not None})
    elif in_doubt == "failed":
        tell(campaign, dict.fromkeys(doubtful), why="in doubt: the process ended while the oracle worked")
    else:
        raise CampaignError(
            f"rows {doubtful} were handed to the oracle when the process ended, and nobody knows if it answered; "
            f"tell() their labels if you know them, or pass in_doubt='ask' (ask again) or 'failed' (do without)"
        )


def _borrow(campaign: Campaign, beside: State) -> None:
    """Take over what the run beside this one knows about open rows."""
    labels = {row: beside.labels[row] for row in campaign.state.open if row in beside.labels}
    failed = [row for row in campaign.state.open if row in beside.failed]
    if labels:
        tell(campaign, labels, borrowed=True)
    for row in failed:
        tell(campaign, {row: None}, borrowed=True, why=beside.failed[row])
