"""The parts of the campaign, one module each: a function `case(ground)` that returns how the case ended in a few words,
or raises.
"""

from __future__ import annotations

from typing import NamedTuple


class Part(NamedTuple):
    """A part, and how its cases are run."""

    says: str
    share: float  # of the time of a whole campaign
    hang: float  # seconds after which a case counts as hanging: never a measure of speed
    memory: int | None = None  # MB that its process may need beyond what Python and the library take
    widths: bool = False  # whether vectors of every width are compiled, each in processes of its own
    module: str = ""  # below bench.reliability; default: its name


PARTS = {
    "kernels": Part("every kernel against NumPy, in guarded memory", 0.22, 300, widths=True, module="kernels.case"),
    "calls": Part("fit, score, select and the rest with good and bad arguments", 0.2, 120),
    "files": Part("damaged and forged models, tables, campaigns and caches", 0.16, 180, memory=1500),
    "kills": Part("SIGKILL and SIGINT at random moments of commands and calls", 0.2, 600),
    "disks": Part("a full disk under every kind of output", 0.05, 300),
    "shared": Part("two processes on one campaign, and on one cache", 0.05, 600),
    "threads": Part("forks, spawns, 32 threads at once", 0.04, 300),
    "drill": Part("cases that go wrong in every way, for tests of the campaign itself", 0, 3, memory=500),
    "certificates": Part("false certificates, against dense eigenvalues and refits", 0.08, 600, module="certified"),
}  # fmt: skip
WIDTHS = ("128", "256", "512")


def module_of(name: str) -> str:
    return f"bench.reliability.{PARTS[name].module or name}"
