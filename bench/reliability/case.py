"""One random case of a part: where it works, and how it says that something is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np


class Wrong(Exception):
    """The library did what it must not do.

    Parameters
    ----------
    kind : str
        A few words that are the same for all cases of the defect.
    text : str
        What was given and what came of it.
    """

    def __init__(self, kind: str, text: object = "") -> None:
        super().__init__(f"{kind}: {text}" if text else kind)
        self.kind, self.text = kind, str(text)


class Ground(NamedTuple):
    """What a case is given."""

    seed: int
    place: Path  # an empty folder of its own
    home: Path  # a folder for what the cases of a process share

    @property
    def rng(self) -> np.random.Generator:
        """The same numbers whenever it is asked for."""
        return np.random.default_rng(self.seed)


def check(good: object, kind: str, text: object = "") -> None:
    """Raise unless `good`."""
    if not good:
        raise Wrong(kind, text)
