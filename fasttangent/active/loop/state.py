"""Where a campaign is, by the events of its journal.

Events: ``fit`` (a model was saved), ``asked`` (rows were picked), ``asking`` (an oracle is about to be called),
``told`` (labels, null where a row failed), ``retry`` (failed rows may be asked again), ``outlook`` and ``compared``
(figures).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Label = float | list[float] | None  # None: the row failed


@dataclass
class State:
    """Where a campaign is, worked out from its events."""

    labels: dict[int, float | list[float]] = field(default_factory=dict)
    failed: dict[int, str] = field(default_factory=dict)  # and why
    open: dict[int, None] = field(default_factory=dict)  # asked and not told yet, in the order of asking
    doubtful: set[int] = field(default_factory=set)  # handed to an oracle that has not answered
    rounds: list[dict[str, Any]] = field(default_factory=list)  # "asked" events
    fits: list[dict[str, Any]] = field(default_factory=list)  # "fit" events
    outlook: dict[str, Any] | None = None
    compared: dict[int, dict[str, Any]] = field(default_factory=dict)  # by round
    oracle_seconds: dict[int, float] = field(default_factory=dict)  # by round
    borrowed: set[int] = field(default_factory=set)  # labels that the run beside this one had
    current: bool = False  # whether the last fit knows all labels
    place: dict[int, tuple[int, int]] = field(
        default_factory=dict
    )  # round and position in which a row was asked

    def apply(self, event: Mapping[str, Any]) -> None:
        getattr(self, f"_{event['event']}")(event)

    def labelled(self) -> list[int]:
        """Rows with a label in the order of asking, in whatever order they were told."""
        return sorted(self.labels, key=self.place.__getitem__)

    def _asked(self, event: Mapping[str, Any]) -> None:
        for position, row in enumerate(event["rows"]):
            self.open[row] = None
            self.place[row] = (len(self.rounds), position)
        self.rounds.append(dict(event))

    def _asking(self, event: Mapping[str, Any]) -> None:
        self.doubtful.update(event["rows"])

    def _told(self, event: Mapping[str, Any]) -> None:
        for row, label in zip(event["rows"], event["labels"], strict=True):
            self.open.pop(row, None)
            self.doubtful.discard(row)
            self.failed.pop(row, None)
            if self.labels.pop(row, None) is not None or label is not None:
                self.current = False
            if label is None:
                self.failed[row] = event.get("why", "told so")
            else:
                self.labels[row] = label
            if event.get("borrowed"):
                self.borrowed.add(row)
        round = self.place[event["rows"][0]][0]
        self.oracle_seconds[round] = self.oracle_seconds.get(round, 0.0) + event.get("seconds", 0.0)

    def _retry(self, event: Mapping[str, Any]) -> None:
        for row in event["rows"]:
            del self.failed[row]

    def _fit(self, event: Mapping[str, Any]) -> None:
        self.fits.append(dict(event))
        self.current = True

    def _outlook(self, event: Mapping[str, Any]) -> None:
        self.outlook = dict(event)

    def _compared(self, event: Mapping[str, Any]) -> None:
        self.compared[event["round"]] = dict(event)
