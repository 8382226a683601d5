"""Columns of any kind as the numbers that a network takes: what was learned of each in `fit`, and how it is written.

    number, bool            the number, 0 and 1
    moment, duration        days since the mean of the training rows, in UTC; days
    category                a 0 or 1 for each level; of very many levels a code of -1 and 1 for each, a hash of its name
    left out                nothing: names of rows, columns without a value

What is missing takes the mean of the training rows, and where values were missing there, a further 0 or 1 says so.  A
missing category is then no level.  A level that training did not have is 0 throughout.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Float = NDArray[np.float64]

KINDS = ("number", "bool", "moment", "duration", "category", "left out")


@dataclass(frozen=True)
class Column:
    """What is made of one column.

    Attributes
    ----------
    name : str
    kind : {"number", "bool", "moment", "duration", "category", "left out"}
    mean : float
        Of the training rows, transformed where they are: in place of what is missing, and where the days of a moment
        begin.
    missing : float
        Share of the training rows without a value; above 0 an input says which.
    levels : tuple of str
        Of a category.
    shares : tuple of float
        Of each level in the training rows that have a value.
    hashed : int
        How many inputs a level is the code of; 0: each level has one of its own.
    why : str
        It was left out.
    power : tuple of float
        Of numbers with heavy tails: the power, centre and unit of their transform (`powers`); of others ().
    """

    name: str
    kind: str
    mean: float = 0.0
    missing: float = 0.0
    levels: tuple[str, ...] = ()
    shares: tuple[float, ...] = ()
    hashed: int = 0
    why: str = ""
    power: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "levels", tuple(self.levels))
        object.__setattr__(self, "shares", tuple(self.shares))
        object.__setattr__(self, "power", tuple(self.power))

    @cached_property
    def inputs(self) -> tuple[str, ...]:
        """Names of the inputs made of it."""
        if self.kind == "left out":
            return ()
        own = [self.name]
        if self.kind == "category":
            own = [f"{self.name}={level}" for level in self.levels]
            if self.hashed:
                own = [f"{self.name} code {k}" for k in range(self.hashed)]
        return (*own, *[f"{self.name} missing"] * (self.missing > 0))

    @property
    def plain(self) -> bool:
        """Whether its one input is the number itself."""
        return self.kind in ("number", "bool") and not self.missing and not self.power

    @property
    def said(self) -> str:
        """What is made of it, in words."""
        if self.kind == "left out":
            return self.why
        words = [f"{self.missing:.1%} missing"] if self.missing else []
        if self.kind == "category":
            shown = [f"{level} {share:.0%}" for level, share in zip(self.levels, self.shares, strict=True)]
            more = [f"{len(shown) - 4} more"] if len(shown) > 5 else []
            words.append(", ".join([*shown[: 4 if more else 5], *more]))
        elif self.kind == "moment":
            words.append(f"days since {np.datetime64(round(self.mean * 1440), 'm')}")
        elif self.kind == "bool":
            words.append(f"{self.mean:.0%} true")
        elif self.power:
            words.append(f"power {self.power[0]:.2g}, around {self.power[1]:.6g}")
        else:
            words.append(f"mean {self.mean:.6g}" + (" days" if self.kind == "duration" else ""))
        return "; ".join(words)

    @cached_property
    def table(self) -> Float:
        """Of a category: the inputs of each level, of a missing cell, and of any other level."""
        n, width = len(self.levels), self.hashed or len(self.levels)
        found = np.zeros((n + 2, len(self.inputs)))
        found[:n, :width] = [code(level, width) for level in self.levels] if self.hashed else np.eye(n)
        if self.missing:
            found[n, -1] = 1
        else:
            found[n] = np.sum(np.array(self.shares)[:, None] * found[:n], axis=0)
        return found


def code(level: str, bits: int) -> list[float]:
    """-1 and 1, by a hash of the name that is the same everywhere."""
    digest = hashlib.blake2b(level.encode(errors="surrogatepass"), digest_size=-(-bits // 8)).digest()
    return [2.0 * (digest[k // 8] >> k % 8 & 1) - 1.0 for k in range(bits)]


@dataclass(frozen=True, repr=False)
class Columns(Sequence[Column]):
    """What is made of the columns of a table: made by `fit`, kept by the model, looked at as a table.

    Attributes
    ----------
    each : tuple of Column
    named : bool
        Whether the columns are found by name, as those of a data frame, or by place, as those of a masked array.

    Examples
    --------
    >>> import warnings, numpy as np, pandas as pd, fasttangent as ft
    >>> color = pd.Series(["red", "blue", None, "red"] * 10)
    >>> frame = pd.DataFrame({"size": np.arange(40.0), "color": color, "id": [f"a{i}" for i in range(40)]})
    >>> with warnings.catch_warnings(action="ignore"):  # of the column that is left out
    ...     model = ft.fit(frame, np.sqrt(frame["size"]), hidden=(4,), strength=1e-2)
    >>> model.columns
    column  kind      inputs  of the training rows
    size    number         1  mean 19.5
    color   category       3  25.0% missing; blue 33%, red 67%
    id      left out       0  text that is another in every row, like a name of rows
    >>> model.columns.inputs
    ('size', 'color=blue', 'color=red', 'color missing')
    """

    each: tuple[Column, ...]
    named: bool = True

    def __len__(self) -> int:
        return len(self.each)

    def __getitem__(self, i: Any) -> Any:
        return self.each[i]

    def __repr__(self) -> str:
        rows = [("column", "kind", "inputs", "of the training rows")]
        rows += [(one.name, one.kind, str(len(one.inputs)), one.said) for one in self.each]
        a, b, c = (max(len(row[i]) for row in rows) for i in range(3))
        return "\n".join(
            f"{name:{a}}  {kind:{b}}  {count:>{c}}  {said}".rstrip() for name, kind, count, said in rows
        )

    @cached_property
    def used(self) -> tuple[Column, ...]:
        """Those that are not left out."""
        return tuple(one for one in self.each if one.kind != "left out")

    @property
    def names(self) -> tuple[str, ...]:
        """Of those that are used: what a table must have."""
        return tuple(one.name for one in self.used)

    @cached_property
    def inputs(self) -> tuple[str, ...]:
        """Names of the inputs of the network."""
        return tuple(name for one in self.each for name in one.inputs)

    @cached_property
    def of_inputs(self) -> tuple[int, ...]:
        """The number of the used column that each input was made of."""
        return tuple(j for j, one in enumerate(self.used) for _ in one.inputs)

    @cached_property
    def plain(self) -> bool:
        """Whether the inputs are the used columns as they are."""
        return all(one.plain for one in self.used)

    @property
    def records(self) -> list[dict[str, Any]]:
        """As a file has them."""
        return [asdict(one) for one in self.each]

    @property
    def summary(self) -> list[dict[str, Any]]:
        """As plain Python values, for people."""
        return [
            {"column": one.name, "kind": one.kind, "inputs": list(one.inputs), "of_training": one.said}
            for one in self.each
        ]
