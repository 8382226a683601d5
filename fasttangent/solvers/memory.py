"""How much memory dense matrices may take."""

from __future__ import annotations

import os
from pathlib import Path

from fasttangent.common import checks

GB = 1e9
UNBOUNDED = 1e9  # GB, more than any machine has: the caller bounds the size of the matrix


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


def in_gb(size: float) -> str:
    return f"{size / GB:.3g} GB"
