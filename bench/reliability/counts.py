"""What a part found."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple


class Failure(NamedTuple):
    """A case that went wrong, and how to see it again."""

    seed: int
    kind: str
    text: str
    command: str


@dataclass
class Counts:
    """Cases by how they ended, and those that failed."""

    cases: int = 0
    seconds: float = 0.0
    kinds: Counter[str] = field(default_factory=Counter)
    failures: list[Failure] = field(default_factory=list)
    missing: str = ""  # why the part could not run

    def add(self, other: Counts) -> None:
        self.cases += other.cases
        self.seconds += other.seconds
        self.kinds += other.kinds
        self.failures += other.failures
        self.missing = self.missing or other.missing

    def document(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {
            **asdict(self),
            "seconds": round(self.seconds, 1),
            "kinds": dict(self.kinds.most_common()),
            "failures": [failure._asdict() for failure in self.failures],
        }


def of_document(document: dict[str, Any]) -> Counts:
    """What `document` was made of."""
    known = {**document, "kinds": Counter(document["kinds"])}
    known["failures"] = [Failure(**failure) for failure in document["failures"]]
    return Counts(**known)
