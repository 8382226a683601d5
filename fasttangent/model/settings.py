"""Everything `fit` can be told but its data: one frozen record, checked when it is made, kept by the model."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from fasttangent.common import checks
from fasttangent.common.words import AUTO, DTYPES, TRANSFORMS
from fasttangent.model.minibatch import Schedule
from fasttangent.problem import groups
from fasttangent.problem.deviations import checked_layers
from fasttangent.problem.groups import Groups
from fasttangent.problem.network import Network
from fasttangent.problem.objective import Objective

KINDS = ("strength", "posterior", "groups")  # of tangents
EPOCHS = 200  # of rows that memory holds; `prepared_many` has fewer for more
LEARNING_RATE = 1e-2
WIDE = 256  # units: above, Adam's steps of a given length move a pre-activation in proportion to the width.  At 1e-2
# tanh, relu and silu networks of 512 to 1,024 units often ran away; at 2.56 / width they trained.


@dataclass(frozen=True)
class FitSettings:
    """The arguments of `fit` that are not data, by their names; `fit` says what they mean.

    Raises
    ------
    ValueError, TypeError
        When it is made, if one of them is not as `fit` describes it.
    """

    hidden: tuple[int, ...] = (64, 64)
    activation: str = "tanh"
    loss: str = "squared"
    delta: float = 1.0
    strength: float | str | Mapping[str, float] = AUTO
    complexity: str = "l2"
    groups: Groups = "inputs"
    optimizer: str = "adam"
    learning_rate: float | None = None  # a number once it is made
    momentum: float = 0.9
    epochs: int | None = EPOCHS  # a number once it is made
    batch_size: int = 64
    tangents: tuple[str, ...] = ("strength",)
    samples: int = 256
    curvature: str = "gauss-newton"
    settle: bool | float = True
    standardize: bool = True
    validation: float | None = None
    patience: int = 20
    dtype: str = "float32"
    members: int = 1
    user_layers: tuple[int, ...] = (-1,)
    target_transform: str | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        hidden, strength = _widths(self.hidden), _strength(self.strength)
        if self.epochs is None:
            object.__setattr__(self, "epochs", EPOCHS)
        if self.learning_rate is None:
            object.__setattr__(self, "learning_rate", LEARNING_RATE * min(1.0, WIDE / max(hidden, default=1)))
        checked = {
            **self._objective,
            "groups": groups.checked(self.groups),
            "strength": strength,
            **asdict(self.schedule),
            "hidden": hidden,
            "tangents": _kinds(self.tangents),
            "samples": checks.integer("samples", self.samples, at_least=2),
            "settle": _seconds(self.settle),
            "standardize": checks.flag("standardize", self.standardize),
            "dtype": checks.choice("dtype", self.dtype, DTYPES),
            "members": checks.integer("members", self.members, at_least=1),
            "user_layers": _layers(self.user_layers, len(hidden) + 1),
            "seed": checks.seed(self.seed),
        }
        if self.target_transform is not None:
            checks.choice("target_transform", self.target_transform, TRANSFORMS)
            if checked["members"] > 1:
                raise ValueError(
                    f"members must be 1 with target_transform, got {self.members}; members are not there yet for a "
                    f"transformed target: fit models of several seeds"
                )
        self.network(1, 1)
        for name, value in checked.items():
            object.__setattr__(self, name, value)

    @property
    def loss_and_complexity(self) -> Objective:
        """What is minimised, whatever the strength."""
        return Objective(self.loss, self.delta, self.complexity, groups=self.groups)

    @property
    def _objective(self) -> dict[str, Any]:
        found = asdict(self.loss_and_complexity)
        return {name: found[name] for name in ("loss", "delta", "complexity", "groups")}

    @property
    def schedule(self) -> Schedule:
        """How the first stage steps."""
        return Schedule(**{name: getattr(self, name) for name in SCHEDULE})

    @property
    def budget(self) -> float:
        """Seconds of the second stage."""
        if isinstance(self.settle, bool):
            return math.inf if self.settle else 0.0
        return self.settle

    def network(self, n_features: int, n_outputs: int) -> Network:
        """The architecture for rows of that shape."""
        return Network((n_features, *self.hidden, n_outputs), self.activation)


SETTINGS = tuple(field.name for field in fields(FitSettings))
SCHEDULE = tuple(field.name for field in fields(Schedule))


def checked_names(name: str, given: Any, allowed: Sequence[str] = SETTINGS) -> Mapping[str, Any]:
    """`given`, a mapping of settings by name, all of them among those allowed."""
    if not isinstance(given, Mapping):
        raise TypeError(f"{name} must be a dict of arguments of fit, such as dict(epochs=200), got {given!r}")
    for key in given:
        if key not in allowed:
            raise ValueError(f"{name} may have {', '.join(allowed)}, got {key!r}")
    return given


def _widths(hidden: Any) -> tuple[int, ...]:
    try:
        widths = tuple(hidden)
    except TypeError:
        raise TypeError(
            f"hidden must be a sequence of layer widths, got {hidden!r}; one layer is (64,), a linear model ()"
        ) from None
    return tuple(checks.integer("hidden", width, at_least=1) for width in widths)


def _layers(layers: Any, n_layers: int) -> tuple[int, ...]:
    """As given, once they are known to be layers of the network."""
    checked_layers("user_layers", layers, n_layers)
    return tuple(int(l) for l in layers)


def _strength(strength: Any) -> float | str | dict[str, float]:
    if isinstance(strength, Mapping):
        if not strength:
            raise ValueError("strength must have a number for each group where it is a dict, got {}")
        return {str(g): checks.number(f"strength of group {g!r}", s, above=0) for g, s in strength.items()}
    if isinstance(strength, str) and strength == AUTO:
        return AUTO
    return checks.number("strength", strength, at_least=0)


def _kinds(tangents: Any) -> tuple[str, ...]:
    """What `tangents` asks for."""
    if tangents is None:
        return ()
    try:
        asked = (tangents,) if isinstance(tangents, str) else tuple(tangents)
    except TypeError:
        raise TypeError(
            f"tangents must be a word or a sequence of words of {', '.join(map(repr, KINDS))}, or None, "
            f"got {tangents!r}"
        ) from None
    return tuple(checks.choice("tangents", kind, KINDS) for kind in asked)


def _seconds(settle: Any) -> bool | float:
    if isinstance(settle, (bool, np.bool_)):
        return bool(settle)
    return checks.number("settle", settle, at_least=0)
