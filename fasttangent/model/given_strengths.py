"""From the argument `strength` to the objective: a number, numbers by group, or those to begin learning from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from fasttangent.common.words import AUTO
from fasttangent.model import infinitely_wide
from fasttangent.model.settings import FitSettings
from fasttangent.problem import groups
from fasttangent.problem.deviations import Deviations
from fasttangent.problem.network import Network
from fasttangent.problem.objective import Objective

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Float = NDArray[np.float64]

MOST_LABELS = 3000  # up to which strengths are learned; a path of them takes minutes beyond
BEYOND = 3.0  # strength times labels there, as a prior that stays has it
LEAST = 1e-4  # strength of any number of labels: 10,000 were seen to settle
# The mode of a finite network wants the strengths of the infinitely wide one times 5, give or take a factor of 2
# (45 splits of ten sets at 64 and 320 labels, not those of any report).
FACTOR, FACTOR_ERROR = 5.0, 0.5  # median, and standard deviation of the logarithm


def beyond(labels: int) -> float:
    """The strength of more labels than strengths are learned of: 1e-3 of 3,000, and less of more."""
    return max(LEAST, BEYOND / max(labels, MOST_LABELS))


class Inputs(NamedTuple):
    """Names of the columns, and the number of the column of each input, () where each is one."""

    columns: Sequence[str] | None
    numbers: tuple[int, ...] = ()


def check_groups(settings: FitSettings, network: Network, inputs: Inputs, users: bool = False) -> None:
    """Raise unless groups and strengths by group are those of the network, with users or without."""
    groups.numbers(settings.groups, network.layout, inputs.numbers)  # raises
    if isinstance(settings.strength, Mapping):
        names = groups.names(settings.groups, network.layout, inputs.columns)
        if users:
            names = (*names, groups.USERS)
        if set(settings.strength) != set(names):
            missing = [name for name in names if name not in settings.strength]
            other = [name for name in settings.strength if name not in names]
            what = f"none for {missing[0]!r}" if missing else f"one for {other[0]!r}"
            raise ValueError(
                f"strength must have a number for each group and no more, {', '.join(map(repr, names[:8]))}"
                f"{', ...' if len(names) > 8 else ''}, got {what}"
            )


def objective_of(
    settings: FitSettings,
    network: Network,
    inputs: Inputs,
    rows: tuple[Float, Float, Float],
    users: tuple[Deviations, NDArray[np.int64]] | None = None,
) -> Objective:
    """What is minimised; under "auto" with the strengths that learning begins from (`infinitely_wide`), of few labels.

    strength is the geometric mean over the groups, of which deviations of users, if there are any, are the last.  Of
    many labels that of users is the one thing learned: over that of the layers from which they deviate.
    """
    plain = replace(settings.loss_and_complexity, of_inputs=inputs.numbers)
    many = settings.strength == AUTO and rows[1].size > MOST_LABELS
    if users is not None:
        plain = replace(plain, users=1.0)
    if isinstance(settings.strength, Mapping):
        names = groups.names(settings.groups, network.layout, inputs.columns)
        if users is not None:
            names = (*names, groups.USERS)
        each = np.array([settings.strength[name] for name in names])
    elif many and users is None:
        return replace(plain, strength=beyond(rows[1].size))
    elif settings.strength == AUTO:
        each = infinitely_wide.strengths(network, plain, *rows, users)
        last = len(each) if users is None else -1  # deviations, of one layer, are as those of wide networks
        each[:last] *= FACTOR
    else:
        return replace(plain, strength=float(settings.strength))
    if users is not None and many:
        shared = infinitely_wide.level(each, users[0], plain)
        return replace(plain, strength=beyond(rows[1].size), users=float(each[-1] / shared))
    return plain.with_strengths(each)
