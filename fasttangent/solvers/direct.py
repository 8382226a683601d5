"""Solvers that hold A, or its dual, as a dense matrix."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any

import numpy as np

from fasttangent.common import checks
from fasttangent.common.blas import one_thread
from fasttangent.common.errors import IndefiniteError
from fasttangent.problem.curvature import System
from fasttangent.solvers import dense
from fasttangent.solvers.base import Solver, own_strength, plain_complexity, relative_norms
from fasttangent.solvers.extremes import factored, negative_curvature
from fasttangent.solvers.factor import factor, leave_out
from fasttangent.solvers.memory import allowed, in_gb

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Float = NDArray[np.float64]

EPS = float(np.finfo(np.float64).eps)
CLOSE = 1e-4  # relative change of the eigenvalue that an error names
REFINE = 1e-13  # relative residual above which a step of refinement is tried


class Direct(Solver):
    """A decomposition, then one step of iterative refinement where it makes a residual smaller.

    Parameters
    ----------
    system : System
    memory : float, optional
        GB allowed; default: half of the physical memory.
    residuals : bool
        False: residuals are not measured (nan) and nothing is refined, which saves one or two products with A.

    Attributes
    ----------
    copies : int
        Of the matrix in memory, at the most: itself, factors, room to work.
    """

    direct = True
    copies: int
    matrix_rows = "parameters"

    def __init__(self, system: System, memory: float | None, residuals: bool) -> None:
        super().__init__(system)
        self.measured = checks.flag("residuals", residuals)
        self._require_memory(system, memory)

    @classmethod
    def matrix_size(cls, system: System) -> int:
        """Rows of the matrix."""
        return system.size

    @classmethod
    def needed(cls, system: System) -> float:
        """Bytes of memory."""
        return 8.0 * cls.copies * cls.matrix_size(system) ** 2

    @classmethod
    def _require_memory(cls, system: System, memory: float | None) -> None:
        need, limit = cls.needed(system), allowed(memory)
        if need <= limit:
            return
        half = "memory=" if memory is not None else "half of this machine's memory; memory= allows more"
        raise ValueError(
            f"solver {cls.name!r} needs {in_gb(need)} for a dense matrix of {cls.matrix_size(system):,} "
            f"{cls.matrix_rows}, more than the {in_gb(limit)} allowed ({half}); use {cls._instead(system, limit)}"
        )

    @classmethod
    def _instead(cls, system: System, limit: float) -> str:
        small = system.gauss_newton and cls is not Dual and Dual.needed(system) <= limit
        return (
            f"solver 'dual' ({in_gb(Dual.needed(system))}) or 'cg'" if small else "solver 'cg' or 'block-cg'"
        )

    @abstractmethod
    def _apply(self, B: Float, shift: float) -> Float:
        """(A + shift C'')^-1 b for each row b of B, from the decomposition."""

    def _solve(self, B: Float, shift: float) -> tuple[Float, Float, int, str]:
        X = self._apply(B, shift)
        if not self.measured:
            return X, np.full(len(B), np.nan), 0, "direct"
        R = B - self._product(X, shift)
        residuals = relative_norms(R, B)
        if not (residuals > REFINE).any():
            return X, residuals, 0, "direct"
        refined = X + self._apply(R, shift)
        after = relative_norms(B - self._product(refined, shift), B)
        better = after < residuals
        X[better] = refined[better]
        return X, np.where(better, after, residuals), 1, "direct"


class CholeskySolver(Direct):
    """`cholesky`: A = L L^T, dense; p^3 / 3 multiplications and additions once, 2 p^2 for each right-hand side.

    Solutions are zero along flat biases (`problem/dead_units.py`), where A is zero.

    Parameters
    ----------
    system, memory, residuals
        As for `Direct`.
    strict : bool
        False: A may be positive definite by no more than rounding, and where it is not, the error does not say by
        how much, which saves several factorisations.
    """

    name = "cholesky"
    copies = 2

    def __init__(
        self, system: System, memory: float | None = None, residuals: bool = True, strict: bool = True
    ) -> None:
        super().__init__(system, memory, residuals)
        strict = checks.flag("strict", strict)
        if strict and not system.gauss_newton and (negative := negative_curvature(system)) < 0:
            raise IndefiniteError(_not_definite(system, negative))
        A = system.dense()
        self._flat = system.flat_biases
        leave_out(A, self._flat)
        try:
            self._factor = (factor if strict else dense.Cholesky)(A, system.problem.threads)
        except dense.NotPositiveDefinite as error:
            if not strict:
                raise IndefiniteError(str(error)) from None
            raise IndefiniteError(_not_definite(system, factored(system, A, CLOSE).rayleigh)) from None

    def definite(self) -> bool:
        """By the factor, whose existence is the proof."""
        return True

    def _shift(self, strength: float | None) -> float:
        shift = super()._shift(strength)
        if shift:
            raise ValueError(
                f"strength must be that of the system ({own_strength(self.system):g}), whose matrix was factorised, "
                f"got {strength:g}; solver 'spectrum' serves every strength"
            )
        return shift

    def _apply(self, B: Float, shift: float) -> Float:
        X = self._factor.solve(B)
        X[:, self._flat] = 0
        return X


def _not_definite(system: System, smallest: float) -> str:
    # A zero to rounding has any sign.
    what = "G" if system.gauss_newton else "H"
    raise_it = "settle longer, raise the strength"
    if not system.gauss_newton:
        raise_it += ", take the Gauss-Newton matrix"
    return (
        f"{what} + strength C'' must be positive definite for solver 'cholesky', its smallest eigenvalue is about "
        f"{smallest:.1e} at strength {own_strength(system):g}; {raise_it}, or use solver 'minres', which solves "
        f"indefinite systems"
    )


class Spectrum(Direct):
    """`spectrum`: one symmetric eigendecomposition serves every strength, definite or not.

    With C'' = I,  (H + s I)^-1 = V (L + s)^-1 V^T; with other numbers on its diagonal, V L V^T is what
    C''^-1/2 H C''^-1/2 is, and V^T stands for V^T C''^-1/2.  Where C'' leaves biases out, they are eliminated
    first: with f the free parameters and h those that C'' holds, T = H_ff^-1 H_fh and S = H_hh - H_hf T,
    x_h = (S + s I)^-1 (b_h - T^T b_f)  and  x_f = H_ff^-1 b_f - T x_h.

    LAPACK's, on one thread whatever `threads` is, so that no number of threads changes a bit: 1.1 s for 2000 parameters
    (0.6 s on two threads), eight times that for twice as many.

    Attributes
    ----------
    eigenvalues : ndarray of float64
        Ascending, of C''^-1/2 A C''^-1/2 (of S + strength I where C'' leaves parameters out).
    """

    name = "spectrum"
    copies = 4

    def __init__(self, system: System, memory: float | None = None, residuals: bool = True) -> None:
        from scipy.linalg import eigh

        super().__init__(system, memory, residuals)
        A, self._free_definite = system.dense(), True
        free = system.problem.mask == 0
        self._held = np.flatnonzero(~free)
        free[system.flat_biases] = False  # A is zero there, and so is what is found
        self._free = np.flatnonzero(free)
        if len(self._free):
            self._inverse, self._free_definite = _inverse(A[np.ix_(self._free, self._free)])
            with one_thread():
                self._T = self._inverse @ A[np.ix_(self._free, self._held)]
                A = A[np.ix_(self._held, self._held)] - A[np.ix_(self._held, self._free)] @ self._T
        if not ((ratios := system.problem.mask[self._held]) == 1).all():
            A /= np.sqrt(np.outer(ratios, ratios))
        # A is symmetric: its transpose is what LAPACK may overwrite
        with one_thread():
            self.eigenvalues, self._V = eigh(A.T, driver="evd", overwrite_a=True, check_finite=False)
        self._V /= np.sqrt(ratios)[:, None]

    def definite(self) -> bool:
        """By the eigenvalues."""
        return bool(self.eigenvalues[0] > 0 and self._free_definite)

    def path(self, b: Any, strengths: Any) -> Float:
        """Solutions of (H + s C'') x = b for every strength s: a path of tangents for b = -grad C.

        Parameters
        ----------
        b : array_like of shape (p,)
        strengths : array_like of shape (m,)

        Returns
        -------
        ndarray of float64, shape (m, p)

        Raises
        ------
        ValueError
            If b has another shape, a value is not finite or a strength is negative.
        IndefiniteError
            If A is singular at one of the strengths.
        """
        if np.shape(b) != (self.system.size,):
            raise ValueError(f"b must have shape ({self.system.size},), got shape {np.shape(b)}")
        strengths = checks.array("strengths", strengths)
        if strengths.ndim != 1:
            raise ValueError(f"strengths must have shape (m,), got shape {strengths.shape}")
        B = self._right_sides(np.asarray(b)[None])
        shifts = np.array([self._shift(s) for s in strengths])
        for shift in shifts:
            self._require_regular(shift)
        return self._shifted(np.repeat(B, len(shifts), axis=0), shifts[:, None])

    def _apply(self, B: Float, shift: float) -> Float:
        self._require_regular(shift)
        return self._shifted(B, np.full((1, 1), shift))

    def _shifted(self, B: Float, shifts: Float) -> Float:
        """Row k: solution of (A + shifts[k] C'') x = B[k]; shifts (K, 1) or (1, 1)."""
        X = B[:, self._held]
        with one_thread():
            if len(self._free):
                X = X - B[:, self._free] @ self._T
            X = (X @ self._V / (self.eigenvalues + shifts)) @ self._V.T
            if not len(self._free):
                return X
            found = np.zeros_like(B)
            found[:, self._held] = X
            found[:, self._free] = B[:, self._free] @ self._inverse - X @ self._T.T
        return found

    def _require_regular(self, shift: float) -> None:
        shifted = self.eigenvalues + shift
        nearest = shifted[np.argmin(abs(shifted))]
        if not abs(nearest) > EPS * len(shifted) * abs(self.eigenvalues).max():
            raise IndefiniteError(
                f"H + strength C'' must not be singular, it has an eigenvalue of {nearest:.1e} at strength "
                f"{own_strength(self.system) + shift:g}; raise the strength"
            )


def _inverse(F: Float) -> tuple[Float, bool]:
    """F^-1 of the block of the parameters that C'' leaves out, and whether it is positive definite."""
    with one_thread():
        values, V = np.linalg.eigh(F)
    nearest = values[np.argmin(abs(values))]
    if not abs(nearest) > EPS * len(F) * abs(values).max():
        raise IndefiniteError(
            f"the biases, which complexity 'l2-weights' leaves free, must have curvature for solver 'spectrum', they "
            f"have an eigenvalue of {nearest:.1e}; use complexity='l2', or solver 'minres'"
        )
    with one_thread():
        return (V / values) @ V.T, bool(values[0] > 0)


class Dual(Direct):
    """`dual`: Gauss-Newton by an m x m matrix, m = n outputs (Woodbury), of use where m < p.

    With R = D^1/2 J, b' = C''^-1 b and G = R C''^-1 R^T:
    (R^T R + s C'')^-1 b = (b' - C''^-1 R^T (G + s I)^-1 R b') / s.  Rows without weight or without curvature are rows
    of zeros.
    """

    name = "dual"
    copies = 3
    matrix_rows = "outputs of training rows"

    @classmethod
    def matrix_size(cls, system: System) -> int:
        """n outputs."""
        return system.problem.rows.Y.size

    def __init__(self, system: System, memory: float | None = None, residuals: bool = True) -> None:
        _require_dual(system)
        super().__init__(system, memory, residuals)
        self._roots = np.sqrt(system.problem.output_weights(system.theta))
        self._G = system.dual_matrix()
        self._factors: tuple[float, dense.Cholesky] | None = None
        self._factor(own_strength(system))

    def definite(self) -> bool:
        """By a strength beyond rounding."""
        return True

    def _shift(self, strength: float | None) -> float:
        if strength is not None:
            checks.number("strength", strength, above=0)
        return super()._shift(strength)

    def _apply(self, B: Float, shift: float) -> Float:
        return self._solve_split(None, B, own_strength(self.system) + shift)[0]

    def solve_split(self, U: Float, B: Float) -> tuple[Float, Float]:
        """x and u' of A x = R^T u + b for each u of U (K, n, n_outputs) and b of B (K, p).

        x = C''^-1 (b / s + R^T u') with u' = (G + s I)^-1 (u - R C''^-1 b / s): half the work of a solve for R^T u + b.
        """
        return self._solve_split(U, B, own_strength(self.system))

    def _solve_split(self, U: Float | None, B: Float, strength: float) -> tuple[Float, Float]:
        problem, theta, factor = self.system.problem, self.system.theta, self._factor(strength)
        X, W, ratios = np.empty_like(B), np.empty((len(B), *self._roots.shape)), problem.mask
        for k in range(0, len(B), self.system.PANEL):
            b = B[k : k + self.system.PANEL] / strength / ratios
            u = -problem.jacobian_product(theta, b) * self._roots
            if U is not None:
                u += U[k : k + len(b)]
            W[k : k + len(b)] = w = factor.solve(u.reshape(len(b), -1)).reshape(u.shape)
            X[k : k + len(b)] = b + problem.jacobian_transposed_product(theta, w * self._roots) / ratios
        return X, W

    def _factor(self, strength: float) -> dense.Cholesky:
        """Of G + strength I; the last one is kept."""
        if self._factors is None or self._factors[0] != strength:
            A = self._G.copy()
            A[np.diag_indices(len(A))] += strength
            try:
                self._factors = strength, factor(A, self.system.problem.threads)
            except dense.NotPositiveDefinite:
                raise IndefiniteError(
                    f"strength must be beyond the rounding of the largest curvature for solver 'dual', got "
                    f"{strength:g}; raise the strength"
                ) from None
        return self._factors[1]


def _require_dual(system: System) -> None:
    if not system.gauss_newton:
        raise ValueError(
            "solver 'dual' is for Gauss-Newton systems, got gauss_newton=False; the Hessian has no such form: use "
            "'cholesky' or 'cg'"
        )
    if not own_strength(system) > 0:
        got = "regularized=False" if not system.regularized else "0"
        raise ValueError(f"solver 'dual' needs strength > 0, got {got}; use 'spectrum' or 'minres'")
    if (complexity := system.problem.objective.complexity) != "l2":
        raise ValueError(
            f"solver 'dual' needs complexity 'l2', got {complexity!r}, which leaves the biases free; use 'cholesky' or "
            f"'cg'"
        )
    if not plain_complexity(system):
        raise ValueError(
            "solver 'dual' needs groups that hold all parameters from an input of a layer or none, got others; use "
            "'cholesky' or 'cg'"
        )
