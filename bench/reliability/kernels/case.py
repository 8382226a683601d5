"""A random case of a kernel or of what drives one, in guarded memory."""

from __future__ import annotations

import gc

import numpy as np

from bench.reliability.case import Ground, Wrong
from bench.reliability.guard import guarded
from bench.reliability.kernels import batches, heads, networks, systems, users
from bench.reliability.kernels.draws import NearAKink

CASES = {
    "scores": networks.scores,
    "sums": networks.sums,
    "curvature": networks.curvature,
    "steps": networks.steps,
    "embeddings": networks.embeddings,
    "distances": batches.nearest,
    "covariances": batches.covariances,
    "factors": systems.factors,
    "small systems": systems.small,
    "heads": heads.outputs,
    "pairs": heads.pairs,
    "users": users.users,
}


def case(ground: Ground) -> str:
    rng = ground.rng
    name, dtype = str(rng.choice(list(CASES))), np.dtype(rng.choice(["float32", "float64"]))
    return run(name, rng, dtype, behind=bool(rng.integers(2)))


def run(name: str, rng: np.random.Generator, dtype: np.dtype, *, behind: bool) -> str:
    """A case of that name, with the wall close behind all arrays or close before them."""
    with guarded(behind) as guard:
        try:
            CASES[name](rng, dtype)
        except NearAKink:
            return "near a kink: no case"
    gc.collect()
    if guard.damaged:
        raise Wrong("written outside of an array", f"{guard.damaged[0]}, in {name}")
    return name
