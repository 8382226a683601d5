"""A transform of the target, as the header of a model file has it, and what format that makes it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fasttangent.common.records import Rule, number, several
from fasttangent.model.saving import ENCODED, FORMAT, SCALING, SINGLE
from fasttangent.problem.scaling import Scaling
from fasttangent.problem.target_scaling import with_power

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

NUMBERS = several(number(), least=3)
TARGET_POWER = Rule(
    "a power from 0 to 2, a centre and a unit > 0",
    lambda v: NUMBERS.holds(v) and len(v) == 3 and 0 <= v[0] <= 2 and v[2] > 0,
)
FORMATS = Rule(
    f"1 to {SINGLE}, or {ENCODED} to {FORMAT}",
    lambda v: type(v) is int and v in (*range(1, SINGLE + 1), *range(ENCODED, FORMAT + 1)),
)


def check_format(header: Mapping[str, Any], encodes: bool) -> None:
    """Raise unless the header has the format of what is in it."""
    wanted = ENCODED if encodes or "users" in header else SINGLE
    wanted = FORMAT if "target_power" in header else wanted
    if header["format"] != wanted and max(header["format"], wanted) > SINGLE:
        raise ValueError(
            f"'format' must be {ENCODED} where columns are encoded or users are known, {FORMAT} where the target is "
            f"transformed, and only there"
        )
    if "target_power" in header and header["sizes"][-1] > 1:
        raise ValueError(f"'target_power' must be of one output, got {header['sizes'][-1]}")


def scaling_of(header: Mapping[str, Any], arrays: Mapping[str, NDArray]) -> Scaling:
    """From a header and arrays that were checked."""
    plain = Scaling(*(arrays[name] for name in SCALING))
    return with_power(plain, header["target_power"]) if "target_power" in header else plain
