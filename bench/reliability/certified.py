"""A random small fit whose certificate is compared with dense eigenvalues, and now and then with refits."""

from __future__ import annotations

from bench.reliability import certificates
from bench.reliability.case import Ground, Wrong


def case(ground: Ground) -> str:
    found = certificates.check(0, ground.seed)
    if found["failures"]:
        kind, _, text = found["failures"][0].partition(":")
        raise Wrong(f"certificate: {kind[:60]}", f"{text}; {found['failures'][1:]}")
    ends = [count for count in found["counts"] if count in ("trusted", "refused")]
    return ends[0] if ends else "not trusted, rightly"
