"""Distances and covariances of embeddings: what batches are picked by."""

from __future__ import annotations

import numpy as np

from bench.reliability.case import check
from bench.reliability.kernels.draws import near, rounded, rounding, size
from fasttangent.active.distances import Centres
from fasttangent.kernels import covariances as kernels
from fasttangent.kernels import distances


def _embedding(rng, dtype, n: int | None = None) -> np.ndarray:
    n, D = n or size(rng), size(rng, 130)
    E = rounded(rng, dtype, n, D, scale=float(10.0 ** rng.integers(-3, 4)))
    if rng.random() < 0.3:
        E[rng.integers(n, size=n // 2)] = E[0]  # copies
    return np.ascontiguousarray(E, dtype)


def nearest(rng, dtype) -> None:
    """Distances to centres that are known and that are picked."""
    E = _embedding(rng, dtype)
    known = None if rng.random() < 0.4 else np.ascontiguousarray(_embedding(rng, dtype)[:, :1] * E[:1] / 100)
    weight = None if rng.random() < 0.5 else rng.uniform(0, 2, len(E))
    centres = Centres(E, known, weight, int(rng.integers(1, 4)))
    all_known = [] if known is None else list(known.astype(float))
    scale = float(np.linalg.norm(E, axis=1).max()) ** 2
    for i in rng.integers(len(E), size=int(rng.integers(1, 6))):
        if all_known:
            _compare(E, centres, np.array(all_known), scale)
        centres.add(int(i))
        all_known.append(E[i].astype(float))
    _compare(E, centres, np.array(all_known), scale)


def _compare(E, centres, C, scale) -> None:
    d = np.array([[np.sum((e - c) ** 2) for c in C] for e in E.astype(float)])
    near("squared distances", centres.squared, d.min(axis=1), 1e-5, E.shape, 1e-4 * scale)
    chosen = d[np.arange(len(E)), centres.nearest]
    near("nearest centres", chosen, d.min(axis=1), 1e-5, E.shape, 1e-4 * scale)
    check((centres.squared[d.min(axis=1) == 0] == 0).all(), "distance of equals", E.shape)
    free = np.arange(len(E)) % 3 > 0
    value = np.where(free, centres.weight * centres.squared, 0)
    i = distances.farthest(centres.squared, centres.weight, free)
    check(i == (int(np.argmax(value)) if value.max() > 0 else -1), "kernel of the farthest row", E.shape)
    sums = np.empty(len(C))
    i = distances.farthest_of_largest(centres.squared, centres.weight, free, centres.nearest, sums)
    near(
        "sums of clusters", sums, np.bincount(centres.nearest, centres.weight * centres.squared, len(C)), 1e-9
    )
    value = np.where(sums[centres.nearest] == sums.max(), value, 0)
    check(
        i == (int(np.argmax(value)) if value.max() > 0 else -1),
        "kernel of the farthest of the largest",
        E.shape,
    )


def covariances(rng, dtype) -> None:
    """Moments, forms, conditioned rows, variances after picks, keys brought up to date."""
    E = _embedding(rng, dtype)
    E /= dtype.type(max(abs(E).max(), 1e-6))
    (n, D), exact, allowed = E.shape, E.astype(float), rounding(dtype)
    start, stop = sorted(int(i) for i in rng.integers(0, n + 1, 2))
    some, w = slice(start, stop), rng.uniform(0, 2, n)
    M = np.zeros((D, D))
    kernels.add_moments(M, E, w, start, stop)
    near("moments", M, (exact[some] * w[some, None]).T @ exact[some], allowed, E.shape, 1e-3)
    L = rounded(rng, dtype, D, D)
    for given in (L, np.empty((0, D))):
        a = np.full(n, 7.0)
        kernels.load_forms(a, E, np.ascontiguousarray(given, dtype), start, stop)
        expected = np.full(n, 7.0)
        expected[some] = np.sum((exact[some] @ given.T.T if len(given) else exact[some]) ** 2, axis=1)
        near("forms", a, expected, allowed, E.shape)
    out = E.copy()
    kernels.multiply_rows(out, out if rng.random() < 0.5 else E, np.ascontiguousarray(L, dtype), start, stop)
    expected = exact.copy()
    expected[some] = exact[some] @ L
    near("rows times a matrix", out, expected, allowed, E.shape)
    _picks(rng, E, start, stop)


def _picks(rng, E, start, stop) -> None:
    (n, D), exact, k = E.shape, E.astype(float), int(rng.integers(1, 5))
    dtype, about = E.dtype, E.shape
    allowed, some = 10 * rounding(dtype), slice(start, stop)
    U = rounded(rng, dtype, k, D, scale=0.3 / np.sqrt(D))
    A = rng.normal(size=(D, D)) / np.sqrt(D)
    M, f, t = A @ A.T, rng.normal(size=D), int(rng.integers(0, k + 1))
    u, v, w = np.empty(D), np.empty(D), np.empty(D)
    kernels.direction(u, v, w, f, M, U, t)
    P = np.eye(D) - U[:t].T @ U[:t]
    near("directions", np.array([u, v, w]), np.array([P @ f, M @ P @ f, P @ M @ P @ f]), 1e-10, about)
    a, b = rng.uniform(1, 2, n), rng.uniform(1, 2, n)
    free, noise = rng.random(n) < 0.7, float(rng.uniform(0.1, 1))
    old_a, old_b = a.copy(), b.copy()
    u, w = rounded(rng, dtype, 2, D, scale=0.3 / np.sqrt(D))
    best, norm_M = np.empty(2), float(rng.uniform(0, 1))
    update = kernels.Update(u.astype(dtype), w.astype(dtype), norm_M)
    kernels.lower_variances(best, kernels.Variances(a, b, free, noise), E, update, start, stop)
    d = exact @ u
    old_a[some] = np.maximum(old_a[some] - d[some] ** 2, 0)
    old_b[some] = np.maximum(old_b[some] - 2 * d[some] * (exact @ w)[some] + d[some] ** 2 * norm_M, 0)
    near("variances", a, old_a, allowed, about)
    near("average variances", b, old_b, allowed, about)
    value = np.where(free[some], b[some] / (noise + a[some]), -np.inf)
    where = start + int(np.argmax(value)) if len(value) and np.isfinite(value).any() else -1
    check(int(best[1]) == where, "kernel of the best row", about)
    key, age, weight = rng.uniform(1, 2, n), rng.integers(0, k + 1, n), rng.uniform(0, 1, n)
    limit, expected, t = float(rng.uniform(0.5, 1.5)), key.copy(), k
    stale = np.array([np.sum((U[age[i] : t] @ exact[i]) ** 2) for i in range(n)])
    touched = (np.arange(n) >= start) & (np.arange(n) < stop) & (key >= limit)
    expected[touched] = np.maximum(key - weight * stale, np.where(age < t, 0, key))[touched]
    kernels.refresh(best, kernels.Keys(key, age, weight), E, U.astype(dtype), t, limit, start, stop)
    near("keys", key, expected, allowed, about)
    check((age[touched] == t).all(), "kernel of ages", about)
