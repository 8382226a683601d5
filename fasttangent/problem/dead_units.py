"""Units that have died where nothing holds their biases: directions in which no prediction moves.

With complexity "l2-weights" the strength drives the weights of a unit that fits nothing to zero, those into it and
those out of it, and leaves its bias b where it was.  On the line along b, with everything else as it is,

1. f(x) is the same for every x, since the weights out of the unit are zero: grad f(x) . e_b = 0;
2. grad F stays zero: along the weights w into the unit it is strength w = 0 (what comes back through the weights
   out of it is zero); along those out of it, v, it is phi(b) times that of the biases they lead to, + strength v = 0,
   as those biases are free too, so stationary;
3. so (H + strength C'') e_b = 0, and grad C . e_b = 0.

So the tangent is determined but for multiples of e_b, and by 1. no score depends on those.  If H + strength C'' is
positive definite on all other parameters, the implicit function theorem gives, for every value of b nearby, one
stationary point at strength + h.  The minimum of the network without the unit, with the dead unit put back, is
one, so that they all predict the same: the derivative of that is the sensitivity, and refits agree with it.  All
of it holds for any number of such units at once, in any layers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fasttangent.problem.layout import Layout

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Float = NDArray[np.float64]

DEAD = 1e-7  # weights up to here, in standard units, are on their way to zero; those in use are far above


def flat_biases(layout: Layout, theta: Float, held: Float) -> NDArray[np.int64]:
    """Numbers of the parameters that are biases of dead units and are not held: `held` (p,) is zero there."""
    numbers = np.arange(layout.n_params)
    found = [np.empty(0, np.int64)]
    for l in range(layout.n_layers - 1):
        into, out = layout.weights(theta, l), layout.weights(theta, l + 1)
        largest = np.maximum(abs(into).max(axis=0), abs(out).max(axis=1))
        biases = layout.biases(numbers, l)
        found.append(biases[(largest <= DEAD) & (held[biases] == 0)])
    return np.concatenate(found)
