"""How scoring grows with rows, width, depth and number of tangents.

    python -m bench curves [--quick]

One of the four is varied around `BASE`; float32, tanh, with one thread and with two, and jit(jvp) of JAX (vmap
over tangents) in one compiled loop over chunks of 4096 rows.
"""

from __future__ import annotations

import numpy as np

from bench.common import networks, ours, peak
from bench.common.turns import Contender, race, summary
from bench.peers.lazy import with_jax
from bench.speed.section import print_section

FEATURES, WIDTH, DEPTH, ROWS, CHUNK = 16, 64, 2, 200_000, 4096
BASE = {"rows": ROWS, "width": WIDTH, "depth": DEPTH, "tangents": 1}
SWEEPS = {
    "rows": (10**3, 10**4, 10**5, 10**6, 10**7),
    "width": (8, 16, 32, 64, 128, 256, 512, 1024),
    "depth": (1, 2, 3, 4, 5, 6),
    "tangents": (1, 2, 4, 8, 16, 32),
}
QUICK_SWEEPS = {"rows": (10**3, 10**5), "width": (16, 256), "depth": (1, 3), "tangents": (2, 4)}
MOST_FLOPS, LEAST_ROWS = 4e10, 5_000  # of a point where rows are not what is varied
MOST_JAX_ROWS = 10**6
TOLERANCE, CHECKED_ROWS = 2e-5, 1_000


def point(varied: str, value: int, budget: float) -> dict:
    """Figures of one point of one curve."""
    at = {**BASE, varied: value}
    sizes = (FEATURES, *(at["width"],) * at["depth"], 1)
    flops = networks.flops_per_row(sizes, at["tangents"])
    rows = at["rows"] if varied == "rows" else int(np.clip(MOST_FLOPS / flops, LEAST_ROWS, ROWS))
    case = networks.make_case(sizes, rows, K=at["tangents"])
    run = {f"fasttangent, {t} thread" + "s" * (t > 1): ours.scorer(case, t) for t in (1, 2)}
    if rows <= MOST_JAX_ROWS:
        run["jax"] = with_jax.scorer(case, CHUNK, "map")
    n = min(rows, CHECKED_ROWS)
    for name, score in run.items():
        first = with_jax.scores_of(score(), n).reshape(n, -1)[:, 0]
        networks.check_equal(first, case.reference(n), TOLERANCE, f"{name}, {varied} {value}")
    figures = race({**{n: Contender(s) for n, s in run.items()}, **peak.peaks()}, budget, (3, 7))
    found = {}
    for name in run:
        share = rows * flops / figures[name] / 1e9
        share = share / figures[peak.peak_name("float32", 1 if name.endswith("1 thread") else 2)]
        found[name] = {
            "rows_per_second": summary(rows / figures[name]),
            "share_of_peak": summary(share),
        }
    return {"value": value, "rows": rows, "network": networks.name_of(sizes), "contenders": found}


def measure_all(quick: bool = False) -> dict[str, list[dict]]:
    sweeps, budget = (QUICK_SWEEPS, 0.2) if quick else (SWEEPS, 1.5)
    return {varied: [point(varied, v, budget) for v in values] for varied, values in sweeps.items()}


def main() -> None:
    print_section(measure_all)
