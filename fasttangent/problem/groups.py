"""Groups of parameters, each with a strength of its own: R = sum_g strength_g C_g, C_g the complexity of group g."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fasttangent.common import checks
from fasttangent.common.words import GROUPS
from fasttangent.problem.layout import Layout

if TYPE_CHECKING:
    from numpy.typing import NDArray

USERS = "users"  # the name of the group of deviations
Groups = str | tuple[int, ...]  # one of the words, or the number of the group of each parameter


def checked(groups: Any) -> Groups:
    """From an argument: one of `GROUPS`, or numbers 0, 1, ... of which each is there."""
    if isinstance(groups, str):
        return checks.choice("groups", groups, GROUPS)
    numbers = checks.array("groups", groups)
    if numbers.ndim != 1 or not len(numbers) or not np.array_equal(numbers, np.round(numbers)):
        raise ValueError(
            f"groups must be one of {', '.join(map(repr, GROUPS))}, or an array of whole numbers, the group of each "
            f"parameter, got shape {numbers.shape} of {numbers.dtype}"
        )
    there = np.unique(numbers)
    if not np.array_equal(there, np.arange(len(there))):
        missing = next(i for i in range(len(there) + 1) if i not in there)
        raise ValueError(
            f"groups must number the groups 0, 1, ... without a gap, got {int(there[0])} to {int(there[-1])} without "
            f"{missing}; np.unique(groups, return_inverse=True)[1] numbers them so"
        )
    return tuple(int(i) for i in numbers)


def numbers(groups: Groups, layout: Layout, of_inputs: Sequence[int] = ()) -> NDArray[np.int64]:
    """The group of each parameter (p,); `of_inputs` has the number of the column of each input, if they are several."""
    if not isinstance(groups, str):
        if len(groups) != layout.n_params:
            raise ValueError(
                f"groups must have a number for each of the {layout.n_params} parameters, got {len(groups)}; "
                f"layout.weights and layout.biases of a network are views of a flat vector"
            )
        return np.array(groups, np.int64)
    found, n_inputs = np.zeros(layout.n_params, np.int64), layout.sizes[0]
    if groups == "one":
        return found
    columns = np.array(of_inputs, np.int64) if len(of_inputs) else np.arange(n_inputs)
    if len(columns) != n_inputs:
        raise ValueError(f"of_inputs must have a number for each of {n_inputs} inputs, got {len(columns)}")
    first = int(columns.max()) if groups == "inputs" else 0  # groups of the first layer's weights beyond one
    for l in range(layout.n_layers):
        layout.weights(found, l)[:] = first + 2 * l
        layout.biases(found, l)[:] = first + 2 * l + 1
    if groups == "inputs":
        layout.weights(found, 0)[:] = columns[:, None]
    return found


def names(groups: Groups, layout: Layout, columns: Sequence[str] | None = None) -> tuple[str, ...]:
    """Of the groups, in their order; `columns` are names of those of a table, x0, x1, ... by default."""
    if not isinstance(groups, str):
        return tuple(map(str, range(max(groups) + 1)))
    if groups == "one":
        return ("all",)
    by_layer = [f"{what} {l + 1}" for l in range(layout.n_layers) for what in ("weights", "biases")]
    if groups == "layers":
        return tuple(by_layer)
    return (*(columns or [f"x{j}" for j in range(layout.sizes[0])]), *by_layer[1:])


def by_inputs(values: NDArray[np.float64], layout: Layout) -> NDArray[np.float64]:
    """Values > 0 of parameters (p,), replaced by their geometric mean over the units that an input goes to.

    Returned as (units,), in the order of `Layout.table`: a value for each unit, and 1, that is an input of a layer.
    """
    found = []
    for l in range(layout.n_layers):
        each = np.vstack([layout.weights(values, l), layout.biases(values, l)])
        same = (each == each[:, :1]).all(axis=1)  # exactly so, not to rounding
        found.append(np.where(same, each[:, 0], np.exp(np.mean(np.log(each), axis=1))))
    return np.concatenate(found)


def spread(values: NDArray[np.float64], layout: Layout) -> NDArray[np.float64]:
    """The end of `by_inputs`: a value for each parameter (p,)."""
    found, at = np.empty(layout.n_params), 0
    for l, (n_in, n_out) in enumerate(zip(layout.sizes[:-1], layout.sizes[1:], strict=True)):
        layout.weights(found, l)[:] = values[at : at + n_in, None]
        layout.biases(found, l)[:] = values[at + n_in]
        at += n_in + 1
        assert layout.biases(found, l).shape == (n_out,)
    return found
