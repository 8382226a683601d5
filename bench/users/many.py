"""How long 1,000 users take: made-up rows, 5 to 50 of a user, last layers of their own."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

import fasttangent as ft

SIZES = [
    {"users": users, "hidden": hidden, "strength": strength}
    for strength in (1e-2, "auto")
    for hidden in ([32, 32], [64, 64])
    for users in (100, 1000)
]


def made(users: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(X, y, users): a smooth function of eight columns with gains and offsets by the user, and noise."""
    rng = np.random.default_rng(seed)
    of = np.repeat(np.arange(users), rng.integers(5, 51, users))
    X = rng.normal(size=(len(of), 8))
    f = np.sin(1.5 * X[:, 0]) + 0.5 * X[:, 1] * X[:, 2] + np.tanh(2 * X[:, 3]) + 0.3 * X[:, 4]
    gain, offset = 1 + 0.4 * rng.normal(size=users), 0.5 * rng.normal(size=users)
    return X, offset[of] + gain[of] * f + 0.2 * rng.normal(size=len(of)), of


def timed(users: int, hidden: list[int], strength: Any) -> dict[str, Any]:
    """A fit, and what it took; the same without users beside it."""
    X, y, of = made(users)
    found: dict[str, Any] = {"rows": len(X)}
    for name, more in (("with", {"users": of}), ("without", {})):
        wall, cpu = time.perf_counter(), time.process_time()
        model = ft.fit(X, y, hidden=hidden, strength=strength, epochs=30, **more)
        found[name] = {
            "wall": time.perf_counter() - wall,
            "cpu": time.process_time() - cpu,
            "parameters": len(model.params),
            "steps": len(model.history["gradient_norm"]),
            "trusted": model.certificate.trusted,
            "strengths": model.strengths,
        }
    return found
