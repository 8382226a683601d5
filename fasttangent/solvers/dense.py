"""Dense positive definite systems: factored once, solved for any number of right-hand sides."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from fasttangent.common import checks, parallel

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Float = NDArray[np.float64]

FEW = 8  # right-hand sides: up to here the factor is read once for all, from here on products pay
SHARE, ROUND = 256, 1024  # right-hand sides of one task, and of all tasks at a time
LINE = 8  # float64 in a line of the caches


class NotPositiveDefinite(ValueError):
    """A matrix has no Cholesky factor: what is left of a diagonal value, once the rows before it are eliminated, is
    not positive.

    Attributes
    ----------
    pivot_index : int
        The row, from 0: the leading block of ``pivot_index`` rows and columns is positive definite.
    pivot_value : float
        What is left there; NaN where the matrix holds NaN.
    """

    def __init__(self, pivot_index: int, pivot_value: float) -> None:
        super().__init__(
            f"A must be positive definite, got pivot {pivot_value:g} in row {pivot_index}; "
            f"add a larger multiple of the identity, or use the Gauss-Newton matrix"
        )
        self.pivot_index, self.pivot_value = pivot_index, pivot_value

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.pivot_index, self.pivot_value)


class Cholesky:
    """A = L L^T for a symmetric positive definite A, and solves with it: bit-identical for any number of threads.

    Takes p^3 / 3 multiplications and additions, a solve 2 p^2 each of a right-hand side, `half_solve` half of that.

    Parameters
    ----------
    A : array of shape (p, p)
        Read on and above the diagonal only, and left as it is.  The factor takes half of its memory.
    threads : int, optional
        Default: one per core.

    Raises
    ------
    NotPositiveDefinite
        With the first pivot that is not positive; also for NaN and infinity.

    Examples
    --------
    >>> import numpy as np
    >>> from fasttangent.solvers.dense import Cholesky
    >>> factor = Cholesky(np.array([[4.0, 2.0], [2.0, 5.0]]))
    >>> factor.solve(np.array([8.0, 8.0]))
    array([1.5, 1. ])
    >>> round(factor.log_determinant, 4)
    2.7726
    >>> Cholesky(np.array([[1.0, 2.0], [2.0, 1.0]]))
    Traceback (most recent call last):
    ...
    fasttangent.solvers.dense.NotPositiveDefinite: A must be positive definite, got pivot -3 in row 1; add ...
    """

    def __init__(self, A: Any, threads: int | None = None) -> None:
        from fasttangent.kernels.factor import BLOCK, SLABS, WIDTH

        matrix = checks.matrix("A", A)
        if len(matrix) != matrix.shape[1]:
            raise ValueError(f"A must be square, got shape {matrix.shape}")
        self._threads = checks.thread_count(threads)
        self.size = len(matrix)  #: p
        self._blocks = -(-self.size // BLOCK)
        self._U = _room((self._blocks * (self._blocks + 1) // 2, SLABS, BLOCK, WIDTH))
        self._factor(np.ascontiguousarray(matrix, np.float64))

    def _factor(self, A: Float) -> None:
        """Block row after block row; the block on the diagonal that comes next is done beside the updates."""
        from fasttangent.kernels import factor

        U, p, blocks = self._U, self.size, self._blocks
        T = _room((blocks, factor.BLOCK, factor.STEP))
        M, W = _room((factor.BLOCK, factor.STEP)), _room((factor.BLOCK, factor.STEP))

        def factor_next(k: int) -> None:
            row = factor.factor_block(U, M, W, p, k)
            if row >= 0:
                raise NotPositiveDefinite(row, float(W[0, factor.BLOCK]))

        def solve(k: int, j: int) -> None:
            if k == 0:
                factor.load_block(U, A, 0, j)
            factor.solve_block(U, T, M, p, k, j)

        def update(k: int, i: int, j: int) -> None:
            if k == 0:
                factor.load_block(U, A, i, j)
            factor.update_block(U, T, p, k, i, j)
            if i == j == k + 1:
                factor_next(i)

        factor.load_block(U, A, 0, 0)
        factor_next(0)
        for k in range(blocks - 1):
            later = range(k + 1, blocks)
            self._run(solve, [(k, j) for j in later])
            self._run(update, [(k, i, j) for i in later for j in later[i - k - 1 :]])

    def solve(self, B: Any) -> Float:
        """The rows A^-1 b.

        Parameters
        ----------
        B : array of shape (K, p) or (p,)

        Returns
        -------
        ndarray of float64, shape of B
            Fewer than 8 rows and more of them are summed in different orders, so last bits may differ between the two.
        """
        return self._each(B, (True, False))

    def half_solve(self, B: Any) -> Float:
        """The rows L^-1 b, so that the squared norm of one is b^T A^-1 b; shapes as in `solve`."""
        return self._each(B, (True,))

    def half_solve_transposed(self, B: Any) -> Float:
        """The rows L^-T b, whose covariance is A^-1 where that of b is the identity; shapes as in `solve`."""
        return self._each(B, (False,))

    @property
    def log_determinant(self) -> float:
        """log det A."""
        return 2 * float(np.add.reduce(np.log(self.diagonal)))

    @property
    def diagonal(self) -> Float:
        """Of L, (p,): the roots of the pivots; where the smallest is tiny A is singular to rounding."""
        from fasttangent.kernels.factor import BLOCK, WIDTH, place

        i = np.arange(self.size)
        blocks = np.array([place(k, k, self.size) for k in range(self._blocks)])[i // BLOCK]
        return self._U[blocks, i % BLOCK // WIDTH, i % BLOCK, i % WIDTH]

    def _each(self, B: Any, directions: tuple[bool, ...]) -> Float:
        """U^-T b (direction True) or U^-1 b, one direction after the other."""
        rows = checks.array("B", B)
        if rows.ndim not in (1, 2) or rows.shape[-1] != self.size:
            raise ValueError(f"B must have shape (K, {self.size}) or ({self.size},), got shape {rows.shape}")
        found = np.array(rows, np.float64, order="C", ndmin=2)
        for first in range(0, len(found), ROUND):
            part = found[first : first + ROUND]
            part[:] = self._few(part, directions) if len(part) < FEW else self._many(part, directions)
        return found.reshape(rows.shape)

    def _few(self, B: Float, directions: tuple[bool, ...]) -> Float:
        from fasttangent.kernels.factor import BLOCK, solve_few_back, solve_few_forward

        X, room = (_room((len(B), self._blocks * BLOCK)) for _ in range(2))
        X[:, : self.size] = B
        for forward in directions:
            (solve_few_forward if forward else solve_few_back)(X, room, self._U, self.size)
        return X[:, : self.size]

    def _many(self, B: Float, directions: tuple[bool, ...]) -> Float:
        from fasttangent.kernels.factor import BLOCK, STEP, Elimination, solve_rows

        K = len(B)
        X, room = _room((self.size, K)), _room((2, BLOCK, K))
        X[:] = B.T
        free = [_room((BLOCK, STEP)) for _ in range(self._threads)]  # as many as tasks at once

        def task(k: int, j: int, start: int, forward: bool) -> None:
            W = free.pop()
            solve_rows(X, room, W, self._U, Elimination(k, j, start, min(start + SHARE, K), forward))
            free.append(W)

        for forward in directions:
            order = list(range(self._blocks))[:: 1 if forward else -1]
            for i, k in enumerate([order[0], *order[:-1]]):
                self._run(
                    task,
                    [(k, j, c, forward) for j in order[i:][: None if i else 1] for c in range(0, K, SHARE)],
                )
        return X.T

    def _run(self, task: Callable[..., None], arguments: list[tuple[Any, ...]]) -> None:
        parallel.run(lambda i: task(*arguments[i]), len(arguments), self._threads)


def _room(shape: tuple[int, ...]) -> Float:
    """Zeros that begin on a line of the caches."""
    size = int(np.prod(shape))
    room = np.zeros(size + LINE)
    start = -room.ctypes.data % (8 * LINE) // 8
    return room[start : start + size].reshape(shape)
