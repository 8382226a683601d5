"""Whether a fit can start from what it is given, and go with users."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fasttangent.model.members import Members
from fasttangent.model.model import Model
from fasttangent.model.settings import FitSettings
from fasttangent.problem.scaling import largest_square_root

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fasttangent.common.columns import Columns
    from fasttangent.problem.network import Network

    Float = NDArray[np.float64]


def check_start(start: Any, network: Network, members: int, columns: Columns | None) -> None:
    """Raise unless it is a model of that network, or as many members, that take the same columns."""
    if start is None:
        return
    if members > 1 and (not isinstance(start, Members) or len(start.models) != members):
        got = f"{len(start.models)} members" if isinstance(start, Members) else type(start).__name__
        raise TypeError(
            f"start must be {members} members for members={members}, got {got}; from one model all would end in one "
            f"minimum: leave start out, or pass what fit(..., members={members}) returned"
        )
    if members == 1 and isinstance(start, Members):
        raise TypeError(
            f"start must be a Model, got {len(start.models)} members; pass one of them, such as start.models[0], or "
            f"members={len(start.models)}"
        )
    if not isinstance(start, Model | Members):
        raise TypeError(f"start must be a Model, got {type(start).__name__}; pass what fit or load returned")
    if start.columns is not None and not start.columns.plain and start.columns != columns:
        raise ValueError(
            "start must be a model of the same columns, got one that makes other inputs of them; leave columns out, or "
            "pass columns=start.columns"
        )
    if (start.network.sizes, start.network.activation) != (network.sizes, network.activation):
        raise ValueError(
            f"start must have the network to be fitted, {network}, got {start.network}; pass the same hidden and "
            f"activation, and rows of as many features and outputs"
        )


def check_users(settings: FitSettings, users: NDArray | None, start: Any) -> None:
    """Raise where users go with something that takes none."""
    if isinstance(start, Model) and start.users is not None:
        raise ValueError(
            "start must be a model without users, got one with its users' deviations; pass what they share, "
            "start=model.shared"
        )
    if users is None:
        if settings.user_layers != FitSettings().user_layers:
            raise ValueError(
                "user_layers must be left out without users, whose own layers they are; pass users="
            )
    elif settings.members > 1:
        raise ValueError(
            f"members must be 1 with users, got {settings.members}; members with users are not there yet: fit models "
            f"of several seeds"
        )


def check_transferred(theta: Float, dtype: np.dtype) -> None:
    """Raise unless the function to start from has parameters in the units of the rows."""
    most = largest_square_root(dtype)
    if not (abs(theta) <= most).all():
        raise ValueError(
            f"start must be a model of rows in comparable units, got one whose parameters are above {most:.0e} in the "
            f"units of X and y; give them in the units it was fitted on, or leave start out"
        )
