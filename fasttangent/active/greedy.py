"""One pick after the other, each the row that gains most; or along given picks, and what others would have gained."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fasttangent.active.limits import Picks

    Float = NDArray[np.float64]
    Rows = NDArray[np.int64]


class State(Protocol):
    """What rows gain, given the picks so far."""

    picks: Picks

    def best(self) -> int:
        """The free row that gains most, the first of equals."""
        ...

    def gain(self, i: int) -> float:
        """Of a free row, at this moment; after `best`."""
        ...

    def take(self, i: int) -> None:
        """Pick a row."""
        ...

    def gains(self) -> Float:
        """Of all rows, or bounds above them; after `best`."""
        ...

    def hide(self, rows: Rows) -> None:
        """Rows that `best` passes over, if it can."""
        ...


def greedy(state: State) -> Rows:
    """The rows picked, until there are enough or none is free."""
    while state.picks.more():
        state.take(state.best())
    return state.picks.rows


class Seen(NamedTuple):
    """What was seen along given picks."""

    best: Rows  # at each step the row that gains most, of those that are not given if they can be told apart; -1: none
    most: Float  # what it gains
    gain: Float  # what the pick gains
    ratio: Float  # of every row, the largest of its gains over those of the picks, or a bound above it

    def better(self, given: Rows) -> NDArray[np.bool_]:
        """At which steps greedy would have picked another row."""
        before = (self.best >= 0) & (self.best < given)
        return (self.best != given) & ((self.most > self.gain) | (before & (self.most == self.gain)))


def along(state: State, given: Rows) -> Seen:
    """Take the rows given, in their order."""
    state.hide(given)
    best, most, gain = np.empty(len(given), np.int64), np.full(len(given), -np.inf), np.empty(len(given))
    ratio = np.zeros(len(state.picks.free))
    for t, i in enumerate(given.tolist()):
        best[t], gain[t] = state.best(), state.gain(i)
        if best[t] >= 0:
            most[t] = state.gain(int(best[t]))
        if gain[t] > 0:
            np.maximum(ratio, np.where(state.picks.free, state.gains() / gain[t], 0.0), out=ratio)
        state.take(i)
    return Seen(best, most, gain, ratio)
