"""Every solver against dense algebra: settled, ill-conditioned, indefinite and singular systems, and what it says."""

import dataclasses
import re

import numpy as np
import pytest
from helpers import random_problem, relative

import fasttangent as ft
from fasttangent import solvers
from fasttangent.common.errors import IndefiniteError
from fasttangent.problem.curvature import System
from fasttangent.problem.problem import Problem
from fasttangent.solvers import SOLVERS, direct, extremes, memory, preconditioners, prepare
from fasttangent.solvers.block_cg import block_conjugate_gradients
from fasttangent.solvers.by_factors import by_factors
from fasttangent.solvers.dense import NotPositiveDefinite
from fasttangent.solvers.factor import factor
from fasttangent.solvers.iterative import Iterative
from fasttangent.solvers.krylov import conjugate_gradients
from fasttangent.solvers.lissa import lissa
from fasttangent.solvers.minres import minres
from fasttangent.solvers.preconditioners import PRECONDITIONERS, Identity, preconditioner

KRYLOV = ("cg", "block-cg", "minres")
ITERATIVE = (*KRYLOV, "lissa")
DENSE = ("cholesky", "spectrum")
RNG = np.random.default_rng(8)
X = RNG.normal(size=(80, 3))
Y = np.column_stack([np.sin(2 * X[:, 0]) + X[:, 1] * X[:, 2], np.cos(X[:, 0]) + X[:, 1]])
Y += 0.1 * RNG.normal(size=Y.shape)
WEIGHTS = RNG.uniform(0.1, 3, 80)
# name: (columns of Y, options of fit, weights); the weak one has a condition number beyond 1e5
CASES = {
    "plain": (1, {"strength": 0.02}, None),
    "weak": (1, {"strength": 1e-4}, None),
    "two outputs, log-cosh": (2, {"strength": 0.02, "loss": "log-cosh"}, WEIGHTS),
    "huber, zero weights": (
        1,
        {"strength": 0.02, "loss": "huber", "delta": 0.3},
        WEIGHTS * (np.arange(80) % 4 > 0),
    ),
    "duplicated rows": (1, {"strength": 0.02}, None),
}


@pytest.fixture(scope="module")
def settled():
    """{case: System of the Hessian at a settled model}."""
    found = {}
    for case, (columns, options, w) in CASES.items():
        rows = np.arange(80) // 4 * 4 if case == "duplicated rows" else np.arange(80)
        x, y = X[rows], Y[rows, :columns]
        model = ft.fit(x, y, hidden=(8,), epochs=30, sample_weight=w, dtype="float64", seed=1, **options)
        assert model.certificate.trusted, model.certificate
        found[case] = System(model.problem(x, y, w, threads=1), model.params)
    return found


def right_sides(system, K=3):
    """-grad C, for the tangent, and normal vectors (K - 1, p) of very different lengths."""
    others = (
        np.random.default_rng(4).normal(size=(K - 1, system.size))
        * 10.0 ** np.arange(0, -3 * (K - 1), -3)[:, None]
    )
    return np.vstack([-system.problem.complexity_gradient(system.theta), others])


def dense(system, strength=None):
    """A by products with unit vectors, at another strength if one is given."""
    A = system.problem.data_product(system.theta, np.eye(system.size), gauss_newton=system.gauss_newton)
    if strength is None:
        strength = system.problem.objective.strength if system.regularized else 0.0
    return (A + A.T) / 2 + strength * np.diag(system.problem.mask)


def exact(A, B):
    return np.linalg.solve(A, B.T).T


def agree(found, A, B, worst):
    """Solutions against dense algebra, the residuals as reported, the shapes."""
    assert found.x.shape == B.shape
    for x, reference in zip(found.x, exact(A, B), strict=True):
        assert relative(x, reference) < worst
    measured = np.linalg.norm(found.x @ A - B, axis=1) / np.linalg.norm(B, axis=1)
    assert np.all(abs(found.residuals - measured) < 0.1 * measured + 1e-12 * np.linalg.cond(A) ** 0.5)


def symmetric(eigenvalues, seed=0):
    """A dense matrix with these eigenvalues."""
    Q = np.linalg.qr(np.random.default_rng(seed).normal(size=(len(eigenvalues),) * 2))[0]
    A = (Q * eigenvalues) @ Q.T
    return (A + A.T) / 2


class Counted:
    """Products with a dense matrix, and how many rows they had."""

    def __init__(self, A):
        self.A, self.rows = A, []

    def __call__(self, V):
        self.rows.append(len(V))
        return V @ self.A


# ---- settled systems ----


@pytest.mark.parametrize("name", [*DENSE, *KRYLOV])
@pytest.mark.parametrize("gauss_newton", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_settled_systems_are_solved_to_the_model_s_own_strength(settled, case, gauss_newton, name):
    system = dataclasses.replace(settled[case], gauss_newton=gauss_newton)
    B = right_sides(system)
    solver = prepare(system, name)
    found = solver.solve(B)
    assert (solver.name, solver.system, found.name) == (name, system, name)
    assert found.stopped == ("direct" if name in DENSE else "converged")
    assert found.residuals.max() < (1e-11 if name in DENSE else 1e-10)
    assert min(found.seconds, solver.seconds) > 0
    A = dense(system)
    agree(found, A, B, 1e-10 if case != "weak" else 1e-8)


@pytest.mark.parametrize("case", CASES)
def test_the_dual_of_gauss_newton_has_a_row_for_every_output(settled, case):
    system = dataclasses.replace(settled[case], gauss_newton=True)
    B = right_sides(system, K=2)
    found = prepare(system, "dual").solve(B)
    assert found.stopped == "direct"
    assert found.residuals.max() < 1e-11
    agree(found, dense(system), B, 1e-9)


def test_the_tangent_of_a_settled_model_is_found_again(settled):
    system = settled["plain"]
    tau = ft.fit(X, Y[:, :1], hidden=(8,), epochs=30, strength=0.02, dtype="float64", seed=1).tangents[
        "strength"
    ]
    for name in (*DENSE, *KRYLOV):
        assert relative(prepare(system, name).solve(right_sides(system)[:1]).x[0], tau) < 1e-7


@pytest.mark.parametrize("name", KRYLOV)
@pytest.mark.parametrize("preconditioned", PRECONDITIONERS)
@pytest.mark.parametrize("gauss_newton", [False, True])
def test_preconditioners_change_the_way_but_not_the_answer(settled, name, preconditioned, gauss_newton):
    system = dataclasses.replace(settled["weak"], gauss_newton=gauss_newton)
    B = right_sides(system)
    found = prepare(system, name, preconditioner=preconditioned, tolerance=1e-9).solve(B)
    assert found.stopped == "converged"
    assert found.residuals.max() <= 1e-9
    agree(found, dense(system), B, 1e-6)


def test_good_preconditioners_save_iterations(settled):
    steps = {
        name: prepare(settled["weak"], "cg", preconditioner=name)
        .solve(right_sides(settled["weak"]))
        .iterations
        for name in PRECONDITIONERS
    }
    assert max(steps["gauss-newton"], steps["nystroem"]) < 0.3 * min(steps["none"], steps["jacobi"])


@pytest.mark.parametrize("preconditioned", PRECONDITIONERS)
@pytest.mark.parametrize("case", ["plain", "huber, zero weights", "two outputs, log-cosh"])
def test_preconditioners_are_symmetric_positive_definite_and_what_they_say(settled, preconditioned, case):
    system = dataclasses.replace(settled[case], gauss_newton=True)
    M = preconditioner(system, preconditioned, None)
    inverse = np.array([M.solve(e) for e in np.eye(system.size)])
    assert relative(inverse, inverse.T) < 1e-6  # the metric keeps its matrix in float32
    assert np.linalg.eigvalsh((inverse + inverse.T) / 2)[0] > 0
    A = dense(system)
    if preconditioned == "jacobi":
        assert relative(np.diag(inverse), 1 / np.diag(A)) < 1e-12
    if preconditioned == "nystroem":  # of full rank: A itself, up to a factor
        product = inverse @ A
        assert relative(product, product[0, 0] * np.eye(len(A))) < 1e-6


def test_a_sketch_of_low_rank_still_helps(settled):
    system = settled["weak"]
    B = right_sides(system)
    steps = {
        rank: prepare(system, "cg", preconditioner="nystroem", rank=rank).solve(B) for rank in (1, 10, 30)
    }
    assert all(found.stopped == "converged" for found in steps.values())
    assert steps[30].iterations < steps[10].iterations < steps[1].iterations


def test_lissa_converges_and_is_honest_about_its_distance(settled):
    system = settled["plain"]
    A, B = dense(system), right_sides(system)
    solver = prepare(system, "lissa", tolerance=1e-3, most=20_000)
    assert solver.largest == pytest.approx(np.linalg.eigvalsh(A)[-1], rel=0.02)
    found = solver.solve(B)
    assert found.stopped == "converged"
    assert found.residuals.max() <= 1e-3
    agree(found, A, B, 1e-3 * np.linalg.cond(A))
    few = prepare(system, "lissa", most=50).solve(B)
    assert (few.iterations, few.stopped) == (50, "iteration limit")
    eta = 1 / (1.05 * solver.largest)  # the truncated Neumann series in closed form
    values, V = np.linalg.eigh(A)
    series = B @ V * ((1 - (1 - eta * values) ** 50) / values) @ V.T
    assert relative(few.x, series) < 1e-10


def test_strength_zero_and_the_data_term_alone(settled):
    """Gauss-Newton with more rows than parameters has curvature of its own."""
    system = dataclasses.replace(settled["plain"], gauss_newton=True, regularized=False)
    shifted = dataclasses.replace(settled["plain"], gauss_newton=True)
    B = right_sides(system)
    for name in ("spectrum", *KRYLOV):
        found = prepare(system, name).solve(B, strength=shifted.problem.objective.strength)
        agree(found, dense(shifted), B, 1e-9)


# ---- strengths ----


@pytest.mark.parametrize("complexity", ["l2", "l2-weights"])
def test_a_path_of_strengths_equals_separate_solves(complexity):
    problem, theta, _ = random_problem((3, 6, 2), 60, strength=0.3, complexity=complexity, unequal=True)
    system = System(problem, theta, gauss_newton=True)
    b, strengths = -problem.complexity_gradient(theta), np.geomspace(1e-3, 10, 50)
    if complexity == "l2-weights":
        b = b + np.random.default_rng(0).normal(size=len(b))  # of biases too
    path = prepare(system, "spectrum").path(b, strengths)
    assert path.shape == (50, system.size)
    for s, x in zip(strengths, path, strict=True):
        other = Problem(
            problem.network, dataclasses.replace(problem.objective, strength=s), *rows_of(problem), 1
        )
        assert relative(x, exact(dense(System(other, theta, gauss_newton=True)), b[None])[0]) < 1e-9


def rows_of(problem):
    return problem.rows.X, problem.rows.Y, problem.rows.w


@pytest.mark.parametrize("name", ["spectrum", "dual", *KRYLOV, "lissa"])
def test_another_strength_than_the_system_s(settled, name):
    system = dataclasses.replace(settled["plain"], gauss_newton=True)
    B = right_sides(system)
    solver = prepare(system, name, **({"tolerance": 1e-8, "most": 50_000} if name == "lissa" else {}))
    for strength in (0.5, 0.1, 0.5, 1000.0):
        found = solver.solve(B, strength=strength)
        agree(found, dense(system, strength), B, 1e-6 if name == "lissa" else 1e-9)


def test_cholesky_has_one_strength(settled):
    solver = prepare(settled["plain"], "cholesky")
    assert solver.solve(right_sides(settled["plain"]), strength=0.02).stopped == "direct"
    with pytest.raises(
        ValueError, match=r"strength must be that of the system \(0\.02\).*got 0\.5.*'spectrum'"
    ):
        solver.solve(right_sides(settled["plain"]), strength=0.5)


# ---- right-hand sides ----


@pytest.mark.parametrize("name", SOLVERS)
def test_no_and_zero_right_hand_sides(settled, name):
    system = dataclasses.replace(settled["plain"], gauss_newton=True)
    solver = prepare(system, name, **({"most": 20} if name == "lissa" else {}))
    empty = solver.solve(np.empty((0, system.size)))
    assert empty.x.shape == (0, system.size)
    assert empty.residuals.shape == (0,)
    found = solver.solve(np.vstack([np.zeros(system.size), right_sides(system)]))
    assert np.all(found.x[0] == 0)
    assert found.residuals[0] == 0


def test_dependent_right_hand_sides_share_one_krylov_space(settled):
    system = settled["weak"]
    b, c = right_sides(system, K=2)
    B = np.array([b, c, b, 2 * b - 3 * c, np.zeros_like(b), b * (1 + 1e-13), -1e-8 * c])
    found = prepare(system, "block-cg", preconditioner="none").solve(B)
    assert found.stopped == "converged"
    nonzero = [0, 1, 2, 3, 5, 6]
    assert found.residuals.max() <= 1e-10
    reference = exact(dense(system), B)
    assert max(relative(found.x[k], reference[k]) for k in nonzero) < 1e-7
    product = Counted(dense(system))
    state = block_conjugate_gradients(product, B, Identity(), 1e-8 * np.ones(7), 3, np.zeros_like(B))
    assert (state, product.rows) == ("iteration limit", [2, 2, 2])


def test_a_block_needs_fewer_iterations_than_its_rows_alone(settled):
    B = right_sides(settled["weak"], K=8)
    steps = {name: prepare(settled["weak"], name).solve(B).iterations for name in ("cg", "block-cg")}
    assert steps["block-cg"] < 0.7 * steps["cg"]


def test_a_block_of_a_whole_basis_ends_in_one_step():
    A = symmetric(np.geomspace(1e-3, 1, 12))
    x = np.zeros((12, 12))
    stopped = block_conjugate_gradients(Counted(A), np.eye(12), Identity(), np.full(12, 1e-9), 3, x)
    assert stopped == "converged"
    assert relative(x, np.linalg.inv(A)) < 1e-9


def test_those_that_are_done_cost_nothing_more():
    A = symmetric(np.geomspace(1e-2, 1, 30))
    easy = np.linalg.eigh(A)[1][:, 3]  # an eigenvector takes one step
    B = np.vstack([easy, np.random.default_rng(1).normal(size=30)])
    for method in (minres, block_conjugate_gradients):
        product, x = Counted(A), np.zeros_like(B)
        assert method(product, B, Identity(), np.full(2, 1e-8), 100, x) == "converged"
        assert product.rows[0] == 2
        assert set(product.rows[2:]) == {1}
        assert relative(x, exact(A, B)) < 1e-6


# ---- indefinite and singular systems ----


@pytest.fixture(scope="module")
def unsettled():
    """A system far from any minimum, with many negative eigenvalues."""
    problem, theta, _ = random_problem((3, 8, 1), 40, strength=0.01, unequal=True)
    system = System(problem, theta)
    assert np.count_nonzero(np.linalg.eigvalsh(dense(system)) < -1e-3) > 3
    return system


@pytest.mark.parametrize("preconditioned", PRECONDITIONERS)
def test_minres_solves_indefinite_systems(unsettled, preconditioned):
    B = right_sides(unsettled)
    found = prepare(unsettled, "minres", preconditioner=preconditioned).solve(B)
    assert found.stopped == "converged"
    agree(found, dense(unsettled), B, 1e-7)


def test_minres_reduces_the_residual_in_every_step():
    A = symmetric(np.concatenate([-np.geomspace(0.1, 3, 10), np.geomspace(0.2, 5, 20)]))
    B, last = np.random.default_rng(0).normal(size=(2, 30)), np.inf
    for most in range(1, 25):
        x = np.zeros_like(B)
        minres(Counted(A), B, Identity(), np.full(2, 1e-13), most, x)
        residual = np.linalg.norm(x @ A - B)
        assert residual < last * (1 + 1e-12)
        krylov = np.linalg.qr(np.array([np.linalg.matrix_power(A, i) @ B[0] for i in range(min(most, 6))]).T)[
            0
        ]
        if most <= 6:  # the least residual of all vectors in the space
            best = np.linalg.lstsq(A @ krylov, B[0], rcond=None)[0]
            assert relative(x[0], krylov @ best) < 1e-6
        last = residual


def test_the_spectrum_solves_indefinite_systems(unsettled):
    B = right_sides(unsettled)
    solver = prepare(unsettled, "spectrum")
    assert solver.eigenvalues == pytest.approx(np.linalg.eigvalsh(dense(unsettled)), abs=1e-12)
    agree(solver.solve(B), dense(unsettled), B, 1e-9)


def test_cholesky_refuses_an_indefinite_system_and_says_what_to_do(unsettled):
    smallest = np.linalg.eigvalsh(dense(unsettled))[0]
    with pytest.raises(IndefiniteError) as error:
        prepare(unsettled, "cholesky")
    for part in (
        f"about {smallest:.1e}",
        "at strength 0.01",
        "settle longer",
        "raise the strength",
        "the Gauss-Newton matrix",
        "'minres'",
    ):
        assert part in str(error.value)


@pytest.mark.parametrize("values", [[-3, -1, 1, 2], [-1e-3, 1, 2, 3], [-1e-9, 1e-3, 1, 2], [-2, -1.99, 1, 4]])
def test_the_smallest_eigenvalue_is_found(values):
    A = symmetric(np.array(values))
    found = by_factors(A, lambda v: A @ v, 1, np.random.default_rng(0).normal(size=len(A)))
    assert found.rayleigh == pytest.approx(values[0], rel=0.05, abs=1e-14)


def test_a_large_indefinite_system_is_refused_by_products_alone(unsettled, monkeypatch):
    monkeypatch.setattr(extremes, "AT_ONCE", 0)
    monkeypatch.setattr(System, "dense", lambda _: pytest.fail("a dense matrix was made"))
    with pytest.raises(IndefiniteError, match="must be positive definite"):
        prepare(unsettled, "cholesky")


def test_negative_curvature_is_an_upper_bound_and_no_false_alarm(settled, unsettled, monkeypatch):
    assert extremes.negative_curvature(unsettled) == 0.0  # a factor costs less
    monkeypatch.setattr(extremes, "AT_ONCE", 0)
    smallest = np.linalg.eigvalsh(dense(unsettled))[0]
    assert smallest - 1e-12 <= extremes.negative_curvature(unsettled) < 0.5 * smallest
    for system in settled.values():
        assert extremes.negative_curvature(system) == 0.0
        assert prepare(system, "cholesky").definite()


@pytest.mark.parametrize("name", ["cg", "block-cg", "lissa"])
def test_negative_curvature_is_noticed(unsettled, name):
    B = right_sides(unsettled)
    found = prepare(unsettled, name).solve(B)
    assert found.stopped in ("negative curvature", *(["diverging"] if name == "lissa" else []))
    assert np.isfinite(found.x).all()
    measured = np.linalg.norm(found.x @ dense(unsettled) - B, axis=1) / np.linalg.norm(B, axis=1)
    assert relative(found.residuals, measured) < 1e-9


def test_lissa_stops_before_its_residual_grows():
    A, B = symmetric(np.array([-0.01, 0.3, 0.5, 1.0])), np.random.default_rng(0).normal(size=(1, 4))
    x = np.zeros_like(B)
    stopped = lissa(Counted(A), B, 1.0, np.array([1e-8]), 100_000, x)
    assert stopped in ("negative curvature", "diverging")
    assert np.linalg.norm(B - x @ A) < np.linalg.norm(B)
    x = np.zeros_like(B)  # a step too long for a definite matrix
    assert (
        lissa(Counted(symmetric(np.array([0.1, 1, 2, 3.0]))), B, 1.0, np.array([1e-8]), 100, x) == "diverging"
    )
    down, x = np.linalg.eigh(A)[1][:, :1].T, np.zeros_like(B)
    assert lissa(Counted(A), down, 1.0, np.array([1e-8]), 100, x) == "negative curvature"
    assert np.all(x == 0)
    with pytest.raises(IndefiniteError, match="positive eigenvalue for lissa"):
        prepare(negative_system(), "lissa")


def negative_system():
    """One whose Hessian is zero but for a strength that is negative: nothing but negative eigenvalues."""
    problem, theta, _ = random_problem((2, 2, 1), 10)
    problem.rows.w[:] = 0
    problem.mask[:] = -1
    object.__setattr__(problem.objective, "strength", 1.0)
    return System(problem, theta)


@pytest.mark.parametrize("name", ["cholesky", "spectrum"])
def test_singular_systems_are_refused(name):
    """Strength 0 and fewer rows than parameters."""
    problem, theta, V = random_problem((3, 8, 1), 10)
    with pytest.raises(IndefiniteError, match=r"at strength 0.*raise the strength"):
        prepare(System(problem, theta, gauss_newton=True), name).solve(V)


@pytest.mark.parametrize("name", ["cg", "block-cg", "minres"])
def test_singular_systems_are_solved_as_far_as_they_reach(name):
    problem, theta, V = random_problem((3, 8, 1), 10)
    system = System(problem, theta, gauss_newton=True)
    inside = system.product(V)
    found = prepare(system, name, preconditioner="none").solve(inside)
    assert found.stopped == "converged"
    assert relative(system.product(found.x), inside) < 1e-9
    outside = prepare(system, name, preconditioner="none", most=300).solve(V)
    assert outside.stopped in ("no further progress", "negative curvature", "iteration limit")
    assert outside.residuals.min() > 0.1


def test_a_direction_without_curvature_ends_conjugate_gradients():
    """Of rounding alone steps would grow until they overflow."""
    A, b = np.diag([1.0, 1e-320]), np.array([[1.0, 1.0]])
    found = conjugate_gradients(lambda V: V @ A, b, Identity(), 1e-10, 100)
    assert np.isfinite(found.x).all()
    assert abs(found.negative[1]) == pytest.approx(1)


def test_a_path_through_a_singular_system_is_refused():
    problem, theta, V = random_problem((3, 8, 1), 10, strength=0.1)
    solver = prepare(System(problem, theta, gauss_newton=True), "spectrum")
    assert np.isfinite(solver.path(V[0], [1.0, 0.1])).all()
    with pytest.raises(IndefiniteError, match="at strength 0; raise the strength"):
        solver.path(V[0], [1.0, 0.0])


@pytest.mark.parametrize("A", [np.diag([1.0, 1e-17]), np.diag([1.0, 0.0]), np.diag([1.0, np.nan])])
def test_what_is_singular_to_rounding_has_no_factor(A):
    with pytest.raises(NotPositiveDefinite):
        factor(A, 1)


def test_biases_without_curvature_are_named():
    """A dead unit: its bias is held by nothing under l2-weights."""
    problem, theta, V = random_problem((2, 3, 1), 20, strength=0.1, complexity="l2-weights")
    problem.network.layout.weights(theta, 1)[0] = 0
    with pytest.raises(IndefiniteError, match=r"biases.*'l2-weights'.*complexity='l2'"):
        prepare(System(problem, theta, gauss_newton=True), "spectrum").solve(V)


def test_weights_alone_regularised_are_solved_by_all_that_can():
    problem, theta, _ = random_problem((3, 5, 1), 60, strength=0.1, complexity="l2-weights")
    system = System(problem, theta, gauss_newton=True)
    B = right_sides(system)
    for name in (*DENSE, *KRYLOV):
        agree(prepare(system, name).solve(B), dense(system), B, 1e-8)
    for name in ("spectrum", *KRYLOV):
        agree(prepare(system, name).solve(B, strength=0.4), dense(system, 0.4), B, 1e-8)
    with pytest.raises(ValueError, match="solver 'dual' needs complexity 'l2', got 'l2-weights'"):
        prepare(system, "dual")


# ---- the Jacobian, never held as a whole ----


@pytest.mark.parametrize("most", [1, 500, 10**7])
def test_the_diagonal_of_gauss_newton_by_chunks_of_rows(monkeypatch, most):
    monkeypatch.setattr(preconditioners, "MOST_VALUES", most)
    problem, theta, V = random_problem((3, 5, 2), 37, "silu", "log-cosh", strength=0.1, unequal=True)
    system = System(problem, theta, gauss_newton=True)
    M = preconditioner(system, "jacobi", None)
    assert relative(M.solve(V[0]), V[0] / np.diag(dense(system))) < 1e-12


def test_rows_without_weight_or_curvature_do_not_matter_to_the_dual():
    problem, theta, V = random_problem((2, 9, 1), 20, loss="huber", strength=0.05, unequal=True)
    problem.rows.w[::3] = 0
    system = System(problem, theta, gauss_newton=True)
    assert 0 < np.count_nonzero(problem.output_weights(theta)) < 12
    agree(prepare(system, "dual").solve(V), dense(system), V, 1e-10)


# ---- threads, interrupts, limits ----


@pytest.mark.parametrize("name", SOLVERS)
def test_threads_change_no_bit(settled, name):
    system = dataclasses.replace(settled["two outputs, log-cosh"], gauss_newton=True)
    problem, B, found = system.problem, right_sides(system), []
    for threads in (1, 2, 3):
        other = problem.with_rows(*rows_of(problem), threads)
        other.LEAST_PRODUCTS = 0  # so that threads are used at all
        options = {"most": 200} if name == "lissa" else {}
        found.append(prepare(dataclasses.replace(system, problem=other), name, **options).solve(B))
    for other in found[1:]:
        assert np.array_equal(found[0].x, other.x)
        assert found[0].iterations == other.iterations


@pytest.mark.parametrize("name", ITERATIVE)
def test_an_interrupt_keeps_what_was_reached(settled, monkeypatch, name):
    system, real = settled["weak"], Problem.data_product
    B, calls = right_sides(system), []
    solver = prepare(system, name, **({} if name == "lissa" else {"preconditioner": "none"}))

    def pressed(self, *args, **kwargs):
        calls.append(1)
        if len(calls) == 30:
            raise KeyboardInterrupt
        return real(self, *args, **kwargs)

    monkeypatch.setattr(Problem, "data_product", pressed)
    found = solver.solve(B)
    assert (found.stopped, found.iterations) == ("interrupted", 30)
    assert (abs(found.x).max(axis=1) > 0).all()
    measured = np.linalg.norm(found.x @ dense(system) - B, axis=1) / np.linalg.norm(B, axis=1)
    assert relative(found.residuals, measured) < 1e-3


@pytest.mark.parametrize("name", ITERATIVE)
def test_the_iteration_limit_is_kept_and_told(settled, name):
    found = prepare(settled["weak"], name, most=7).solve(right_sides(settled["weak"]))
    assert (found.iterations, found.stopped) == (7, "iteration limit")


@pytest.mark.parametrize("name", KRYLOV)
def test_a_tolerance_beyond_rounding_is_no_further_progress(settled, name):
    found = prepare(settled["weak"], name, tolerance=1e-18).solve(right_sides(settled["weak"]))
    assert found.stopped == "no further progress"
    assert found.residuals.max() < 1e-9


def test_a_method_that_claims_more_than_it_did_is_not_believed(settled):
    class Liar(Iterative):
        name = "liar"

        def _pass(self, product, R, goals, most, x, shift):
            product(R)
            return "converged"

    found = Liar(settled["plain"], 1e-10, 100).solve(right_sides(settled["plain"]))
    assert (found.stopped, found.iterations) == ("no further progress", 1)


@pytest.mark.parametrize("name", ["cholesky", "spectrum", "dual"])
def test_a_step_of_refinement_makes_residuals_smaller(settled, monkeypatch, name):
    system = dataclasses.replace(settled["weak"], gauss_newton=True)
    solver, B = prepare(system, name), right_sides(system, K=8)
    refined = solver.solve(B)
    monkeypatch.setattr(direct, "REFINE", np.inf)
    plain = solver.solve(B)
    assert (refined.iterations, plain.iterations) == (1, 0)
    assert np.all(refined.residuals <= plain.residuals)
    assert refined.residuals.max() < 0.5 * plain.residuals.max()

    for found in (refined, plain):
        agree(found, dense(system), B, 1e-8)
    true = np.linalg.norm(system.product(refined.x) - B, axis=1) / np.linalg.norm(B, axis=1)
    assert np.allclose(true, refined.residuals, rtol=1e-9, atol=0)


def test_a_step_of_refinement_that_fails_is_not_taken(settled, monkeypatch):
    solver, B = prepare(settled["weak"], "cholesky"), right_sides(settled["weak"])
    answers, real = [], solver._apply

    def second_is_wrong(B, shift):
        answers.append(real(B, shift) if not answers else np.ones_like(B))
        return answers[-1]

    monkeypatch.setattr(solver, "_apply", second_is_wrong)
    found = solver.solve(B)
    assert len(answers) == 2
    assert np.array_equal(found.x, real(B, 0.0))
    assert found.residuals.max() < 1e-10


def test_passes_on_the_true_residual_make_up_for_a_rough_method(settled):
    """Single precision gains some digits in a pass; right-hand sides that are done are left alone."""
    system, seen = settled["plain"], []
    A = dense(system).astype(np.float32)

    class Rough(Iterative):
        name = "rough"

        def _pass(self, product, R, goals, most, x, shift):
            seen.append((len(R), most))
            product(R)
            x[:] = np.linalg.solve(A, R.T.astype(np.float32)).T
            return "converged"

    b = right_sides(system)[0]
    easy = system.product(np.ones((1, system.size)))[0].astype(np.float32)
    found = Rough(system, 1e-10, 100).solve(np.array([b, 0 * b, easy]))
    assert found.stopped == "converged"
    assert found.residuals.max() <= 1e-10
    assert found.iterations == len(seen) > 1
    assert [most for _, most in seen] == [100 - i for i in range(len(seen))]
    assert seen[0][0] == 2


def test_documentation_names_every_solver():
    words = re.search(r"solver : \{(.*?)\}", prepare.__doc__)[1].replace('"', "").split(", ")
    assert words == ["auto", *SOLVERS]
    assert re.findall(r"^\| ([a-z-]+) \|", solvers.__doc__, re.MULTILINE)[1:] == [*SOLVERS]


@pytest.mark.parametrize("name", SOLVERS)
def test_prepared_anew_and_beside(settled, name):
    system = dataclasses.replace(settled["plain"], gauss_newton=name == "dual")
    solver, B = prepare(system, name), right_sides(system)
    assert solver.definite()
    beside, elsewhere = solver.beside(), dataclasses.replace(system, theta=1.001 * system.theta)
    assert beside.system.problem.threads == 1
    assert np.array_equal(beside.solve(B).x, solver.solve(B).x)
    moved = solver.at(elsewhere)
    assert moved.options == solver.options
    found = moved.solve(B)
    if name == "lissa":  # needs as many products as the condition number, and has 10,000
        assert found.stopped in ("converged", "iteration limit")
        assert relative(found.x, exact(dense(elsewhere), B)) < 1e-4
    else:
        assert relative(found.x, exact(dense(elsewhere), B)) < 1e-6


@pytest.mark.parametrize("name", ["spectrum", "minres"])
def test_an_indefinite_system_is_not_definite(settled, name):
    flat = dataclasses.replace(settled["plain"], theta=3 * settled["plain"].theta[::-1].copy())
    assert np.linalg.eigvalsh(dense(flat))[0] < 0
    assert not prepare(flat, name).definite()


def test_conjugate_gradients_in_one_pass_on_request(settled):
    system = settled["plain"]
    B = right_sides(system)
    found = prepare(system, "cg", residuals=False, tolerance=1e-9).solve(B)
    assert np.isnan(found.residuals).all()
    assert found.stopped == "converged"
    assert relative(found.x, exact(dense(system), B)) < 1e-6


def test_residuals_are_left_out_on_request(settled):
    B = right_sides(settled["plain"])
    found = prepare(settled["plain"], "cholesky", residuals=False).solve(B)
    assert np.isnan(found.residuals).all()
    assert relative(found.x, exact(dense(settled["plain"]), B)) < 1e-9


@pytest.mark.parametrize("name", ["cholesky", "spectrum", "dual"])
def test_a_matrix_that_does_not_fit_is_not_begun(settled, monkeypatch, name):
    system = dataclasses.replace(settled["plain"], gauss_newton=True)
    monkeypatch.setattr(System, "dense", lambda self: pytest.fail("begun"))
    for each in ("cholesky", "spectrum", "dual"):
        monkeypatch.setattr(SOLVERS[each], "copies", 1e9)
    size = 80 if name == "dual" else system.size
    message = rf"solver '{name}' needs {re.escape(f'{8 * size**2:.3g}')} GB.*more than the 3 GB allowed.*'cg'"
    with pytest.raises(ValueError, match=message):
        prepare(system, name, memory=3)
    with pytest.raises(ValueError, match="half of this machine's memory"):
        prepare(system, name)
    if name != "dual":
        monkeypatch.setattr(SOLVERS["dual"], "copies", 1)
        with pytest.raises(ValueError, match=r"use solver 'dual' \(5\.12e-05 GB\) or 'cg'"):
            prepare(system, name)
        assert prepare(system, "auto").name == "cg"


def test_memory_of_the_machine_is_known():
    assert 1e8 < memory.physical() < 1e15
    assert memory.allowed(2) == 2e9
    assert memory.allowed(None) == memory.physical() / 2


def test_auto_takes_cholesky_where_it_is_quick(settled, monkeypatch):
    system = settled["plain"]
    assert prepare(system).name == "cholesky"
    assert prepare(system, "auto", tolerance=1e-6).name == "cholesky"
    monkeypatch.setattr(solvers.limits, "FACTORED_UP_TO", 10)
    solver = prepare(system, "auto", tolerance=1e-6)
    assert (solver.name, solver.tolerance) == ("cg", 1e-6)
    assert solver.solve(right_sides(system)).residuals.max() <= 1e-6


# ---- bad input ----


@pytest.mark.parametrize("name", SOLVERS)
@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (
            lambda B: B[0],
            r"B must have shape \(K, 41\).*got shape \(41,\); one right-hand side is b\[None, :\]",
        ),
        (lambda B: B[:, :-1], r"B must have shape \(K, 41\).*got shape \(3, 40\)"),
        (lambda B: np.where(np.arange(41) == 5, np.nan, B), "B must be finite, got nan in row 0, column 5"),
        (lambda B: np.where(np.arange(41) == 5, np.inf, B), "B must be finite, got inf in row 0, column 5"),
    ],
)
def test_right_hand_sides_are_checked_first(settled, monkeypatch, name, wrong, message):
    system = dataclasses.replace(settled["plain"], gauss_newton=True)
    solver = prepare(system, name)
    monkeypatch.setattr(System, "product", lambda *_: pytest.fail("begun"))
    with pytest.raises(ValueError, match=message):
        solver.solve(wrong(right_sides(system)))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("choleski", {}, "solver must be one of 'auto', 'cholesky'.*did you mean 'cholesky'"),
        ("cg", {"tolerance": 0}, "tolerance must be a finite number > 0 and < 1, got 0"),
        ("cg", {"tolerance": 2.0}, "tolerance must be a finite number > 0 and < 1"),
        ("minres", {"most": 0}, "most must be a whole number >= 1"),
        ("cg", {"preconditioner": "jacoby"}, "preconditioner must be one of.*did you mean 'jacobi'"),
        (
            "cg",
            {"preconditioner": "jacobi", "rank": 3},
            "rank is for preconditioner 'gauss-newton' or 'nystroem'",
        ),
        ("cg", {"preconditioner": "nystroem", "rank": 0}, "rank must be a whole number >= 1"),
        ("cholesky", {"memory": -1}, "memory must be a finite number > 0"),
        (
            "cholesky",
            {"tolerance": 1e-3},
            "solver 'cholesky' has no option 'tolerance'; it has memory, residuals",
        ),
        ("lissa", {"preconditioner": "none"}, "solver 'lissa' has no option 'preconditioner'"),
        ("auto", {"toleranz": 1e-3}, "solver 'auto' has no option 'toleranz'"),
        ("dual", {}, "solver 'dual' is for Gauss-Newton systems, got gauss_newton=False"),
    ],
)
def test_options_are_checked_first(settled, name, options, message):
    with pytest.raises(ValueError, match=message):
        prepare(settled["plain"], name, **options)


@pytest.mark.parametrize("strength", [0.0, None])
def test_the_dual_needs_a_strength(settled, strength):
    system = dataclasses.replace(settled["plain"], gauss_newton=True)
    if strength is None:
        with pytest.raises(ValueError, match=r"needs strength > 0, got regularized=False"):
            prepare(dataclasses.replace(system, regularized=False), "dual")
    else:
        with pytest.raises(ValueError, match="strength must be a finite number > 0"):
            prepare(system, "dual").solve(right_sides(system), strength=0)


def test_paths_and_strengths_are_checked_first(settled):
    system = settled["plain"]
    solver, b = prepare(system, "spectrum"), right_sides(system)[0]
    for wrong, message in [
        ((b[:-1], [1.0]), r"b must have shape \(41,\), got shape \(40,\)"),
        ((b, 1.0), r"strengths must have shape \(m,\), got shape \(\)"),
        ((b, [1.0, -1.0]), "strength must be a finite number >= 0, got .*-1.0"),
        ((b, [1.0, np.nan]), "strength must be a finite number >= 0"),
        ((b * np.nan, [1.0]), "B must be finite"),
    ]:
        with pytest.raises(ValueError, match=message):
            solver.path(*wrong)
    with pytest.raises(ValueError, match="strength must be a finite number >= 0"):
        prepare(system, "cg").solve(b[None], strength=-0.1)


def test_parameters_that_are_not_finite_are_refused(settled):
    theta = settled["plain"].theta.copy()
    theta[3] = np.nan
    with pytest.raises(ValueError, match=r"system\.theta must be finite, got nan in row 3"):
        prepare(dataclasses.replace(settled["plain"], theta=theta), "cg")
