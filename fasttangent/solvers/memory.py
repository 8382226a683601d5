"""Whether a dense matrix fits, before it is asked for."""

from __future__ import annotations

import os
from pathlib import Path

from fasttangent.common import checks
from fasttangent.problem.curvature import System

GB = 1e9
COPIES = {
    "cholesky": 2,
    "spectrum": 4,
    "dual": 3,
}  # of the matrix, at the most: itself, factors, room to work


def needed(name: str, system: System) -> float:
    """Bytes that a direct solver needs."""
    size = system.problem.rows.Y.size if name == "dual" else system.size
    return 8.0 * COPIES[name] * size * size


def allowed(memory: float | None) -> float:
    """Bytes: `memory` in GB, or half of what the machine, or the container, has."""
    if memory is not None:
        return GB * checks.number("memory", memory, above=0)
    return physical() / 2


def physical() -> float:
    """Bytes of memory; 8 GB where the system does not say."""
    try:
        total = float(os.sysconf("SC_PAGE_SIZE")) * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return 8 * GB
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
    except OSError:
        return total
    return min(total, float(limit)) if limit.isdigit() else total


def require(name: str, system: System, memory: float | None) -> None:
    """Raise if a direct solver needs more than is allowed."""
    need, limit = needed(name, system), allowed(memory)
    if need <= limit:
        return
    if name == "dual":
        size = f"{system.problem.rows.Y.size:,} outputs of training rows"
    else:
        size = f"{system.size:,} parameters"
    half = "memory=" if memory is not None else "half of this machine's memory; memory= allows more"
    raise ValueError(
        f"solver {name!r} needs {_gb(need)} for a dense matrix of {size}, more than the {_gb(limit)} allowed ({half}); "
        f"use {_instead(name, system, limit)}"
    )


def _instead(name: str, system: System, limit: float) -> str:
    dual = system.gauss_newton and name != "dual" and needed("dual", system) <= limit
    return f"solver 'dual' ({_gb(needed('dual', system))}) or 'cg'" if dual else "solver 'cg' or 'block-cg'"


def _gb(size: float) -> str:
    return f"{size / GB:.3g} GB"
