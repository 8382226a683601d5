"""Linear algebra: factors of large and small matrices, low rank, BFGS."""

from __future__ import annotations

import numpy as np

from bench.reliability.case import Wrong, check
from bench.reliability.kernels.draws import near, rounded, rounding, size
from fasttangent.kernels import arithmetic, dense, lbfgs
from fasttangent.solvers.dense import Cholesky, NotPositiveDefinite


def factors(rng, dtype) -> None:
    """A blocked factor and solves, around its blocks of 288; or the first pivot that is not positive."""
    p = (
        int(rng.choice([1, 2, 31, 32, 33, 95, 97, 287, 288, 289, 320, 577]))
        if rng.random() < 0.7
        else size(rng)
    )
    A = rng.normal(size=(p, p + 5))
    A = A @ A.T / p + 0.1 * np.eye(p)
    A[np.tril_indices(p, -1)] = np.nan  # not read
    threads = int(rng.integers(1, 4))
    if rng.random() < 0.2:
        i = int(rng.integers(p))
        A[i, i] = rng.choice([-1.0, np.nan, -np.inf])
        try:
            Cholesky(A, threads)
        except NotPositiveDefinite as error:
            return check(error.pivot_index == i, "row of a pivot", f"{error.pivot_index}, not {i}")
        raise Wrong("a factor of what has none", f"p {p}, row {i}")
    whole = np.triu(A) + np.triu(A, 1).T
    factor = Cholesky(A, threads)
    B = rng.normal(size=(int(rng.choice([1, 2, 7, 8, 9, 33, 257, 300])), p))
    near("solves", factor.solve(B), np.linalg.solve(whole, B.T).T, 1e-9, (p, len(B)))
    half = factor.half_solve(B)
    near("half solves", half @ half.T, B @ np.linalg.solve(whole, B.T), 1e-9, (p, len(B)))
    near("a determinant", factor.log_determinant, np.linalg.slogdet(whole)[1], 1e-9, p, 1.0)


def small(rng, dtype) -> None:
    """Small factors, products by panels, changes of low rank, the direction of BFGS."""
    r = int(rng.integers(0, 40))
    A = rng.normal(size=(r, r + 3))
    A = A @ A.T
    U, X = np.empty((r, r)), np.empty((r, r))
    dense.cholesky(U, A)
    dense.invert_upper(X, U)
    near("a small factor", U.T @ U, A, 1e-11, r)
    near("a small inverse", X @ U, np.eye(r), 1e-6, r)
    m, q, n = (size(rng, 70) for _ in range(3))
    A, B, C = (rounded(rng, dtype, *shape) for shape in ((m, q), (q, n), (m, n)))
    found = C.astype(dtype)
    given = A.astype(dtype)
    arithmetic.add_product(found, np.asfortranarray(given) if rng.random() < 0.5 else given, B.astype(dtype))
    near("products", found, C + A @ B, rounding(dtype), (m, q, n), np.sqrt(q * m * n))
    found, (start, stop) = C.copy(), sorted(int(i) for i in rng.integers(0, m + 1, 2))
    dense.product_of_panel(found, A, B, start, stop, int(rng.integers(1, 50)))
    C[start:stop] += A[start:stop] @ B
    near("products by panels", found, C, 1e-11, (m, q, n), np.sqrt(q * m * n))
    r, p = int(rng.integers(0, 20)), size(rng)
    B, S, v = rng.normal(size=(r, p)), rng.normal(size=(r, r)), rng.normal(size=(1, p))
    x, inner, changed = np.empty((1, p)), np.empty((1, r)), np.empty((1, r))
    dense.low_rank_change(x, v, B, np.ascontiguousarray(B.T), np.ascontiguousarray(S.T), inner, changed)
    near("a change of low rank", x[0], v[0] - B.T @ (S @ (B @ v[0])), 1e-11, (r, p), p * r)
    _bfgs(rng, size(rng))


def _bfgs(rng, p: int) -> None:
    m = int(rng.integers(1, 8))
    count, newest, known = int(rng.integers(0, m + 1)), int(rng.integers(m)), rng.uniform(0.5, 2, p)
    S, h = rng.normal(size=(m, p)), rng.uniform(0.5, 2, p)
    Y, g, d, alpha = S * h, rng.normal(size=p), np.empty(p), np.empty(m)
    lbfgs.first_loop(d, g, S, Y, alpha, newest, count)
    d *= known
    lbfgs.second_loop(d, S, Y, alpha, newest, count)
    inverse = np.diag(known)
    for i in [(newest - back) % m for back in range(count)][::-1]:
        s, y = S[i], Y[i]
        change = np.eye(p) - np.outer(y, s) / (s @ y)
        inverse = change.T @ inverse @ change + np.outer(s, s) / (s @ y)
    near("the direction of BFGS", d, -inverse @ g, 1e-7, (p, m, count))
    near("an inner product", lbfgs.dot(d, g), d @ g, 1e-11, p, float(np.linalg.norm(d) * np.linalg.norm(g)))
