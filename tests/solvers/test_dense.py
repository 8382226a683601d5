"""Cholesky factors in blocks: against LAPACK, against the plain kernel, for any number of threads."""

import pickle

import numpy as np
import pytest

from fasttangent.kernels import dense
from fasttangent.kernels.factor import BLOCK, place
from fasttangent.solvers.dense import Cholesky, NotPositiveDefinite

SIZES = [1, 2, 5, 31, 96, 97, 200, BLOCK, BLOCK + 1, 2 * BLOCK + 33]


def random_matrix(p, condition=100.0):
    """Symmetric, with eigenvalues from 1 to 1 / condition."""
    rng = np.random.default_rng(p)
    Q = np.linalg.qr(rng.normal(size=(p, p)))[0]
    A = (Q * np.geomspace(1, 1 / condition, p)) @ Q.T
    return (A + A.T) / 2


def upper(factor):
    """U (p, p), out of its blocks."""
    p, blocks = factor.size, factor._blocks
    U = np.zeros((blocks * BLOCK, blocks * BLOCK))
    for i in range(blocks):
        for j in range(i, blocks):
            block = np.concatenate(list(factor._U[place(i, j, p)]), axis=1)
            U[i * BLOCK : (i + 1) * BLOCK, j * BLOCK : (j + 1) * BLOCK] = block
    return np.triu(U[:p, :p])


@pytest.mark.parametrize("p", SIZES)
def test_the_factor_is_that_of_the_plain_kernel_to_the_last_bit(p):
    A, U = random_matrix(p), np.empty((p, p))
    dense.cholesky(U, A)
    for threads in (1, 2, 3):
        np.testing.assert_array_equal(upper(Cholesky(A, threads)), U)


@pytest.mark.parametrize("p", SIZES)
@pytest.mark.parametrize("K", [0, 1, 7, 8, 64])
def test_solves_agree_with_lapack_for_any_number_of_threads(p, K):
    A, B = random_matrix(p), np.random.default_rng(K).normal(size=(K, p))
    L = np.linalg.cholesky(A)
    factors = [Cholesky(A, threads) for threads in (1, 2, 3)]
    x, half = factors[0].solve(B), factors[0].half_solve(B)
    assert x.shape == half.shape == (K, p)
    np.testing.assert_allclose(x, np.linalg.solve(A, B.T).T, rtol=0, atol=1e-11)
    np.testing.assert_allclose(half, np.linalg.solve(L, B.T).T, rtol=0, atol=1e-12)
    for other in factors[1:]:
        np.testing.assert_array_equal(other.solve(B), x)
        np.testing.assert_array_equal(other.half_solve(B), half)


@pytest.mark.parametrize("K", [3, 1030])
def test_right_hand_sides_of_several_rounds_and_tasks(K):
    A, B = random_matrix(40), np.random.default_rng(0).normal(size=(K, 40))
    np.testing.assert_allclose(Cholesky(A, 3).solve(B), np.linalg.solve(A, B.T).T, rtol=0, atol=1e-11)


@pytest.mark.parametrize("p", [31, 200, BLOCK + 33])
@pytest.mark.parametrize("K", [3, 20])
def test_solves_with_an_ill_conditioned_matrix_are_stable(p, K):
    A, B = random_matrix(p, 1e10), np.random.default_rng(0).normal(size=(K, p))
    x = Cholesky(A, 2).solve(B)
    residuals = np.linalg.norm(x @ A - B, axis=1)  # backward error: relative to ||A|| ||x||, and ||A|| = 1
    assert (residuals <= 1e-15 * p * np.linalg.norm(x, axis=1)).all()


@pytest.mark.parametrize("p", SIZES)
def test_log_determinant_and_diagonal(p):
    A = random_matrix(p)
    np.testing.assert_allclose(Cholesky(A).diagonal, np.diag(np.linalg.cholesky(A)), rtol=1e-11)
    assert Cholesky(A).log_determinant == pytest.approx(np.linalg.slogdet(A)[1], rel=1e-13, abs=1e-13)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("row", [0, 1, BLOCK - 1, BLOCK, BLOCK + 5, 2 * BLOCK + 32])
def test_the_first_pivot_that_is_not_positive_is_named(row, threads):
    A = random_matrix(2 * BLOCK + 33)
    without = A[row, row] - (A[row, :row] @ np.linalg.solve(A[:row, :row], A[:row, row]) if row else 0)
    A[row, row] -= without + 0.25
    with pytest.raises(NotPositiveDefinite, match=f"in row {row};") as error:
        Cholesky(A, threads)
    assert error.value.pivot_index == row
    assert error.value.pivot_value == pytest.approx(-0.25, rel=1e-12)
    again = pickle.loads(pickle.dumps(error.value))
    assert str(again) == str(error.value)


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0])
def test_what_is_not_a_number_or_zero_is_no_pivot(value):
    A = np.eye(5)
    A[3, 3] = value
    with pytest.raises(NotPositiveDefinite, match="in row 3"):
        Cholesky(A)


def test_any_layout_and_precision_is_read_and_left_as_it_is():
    A = random_matrix(50)
    expected = upper(Cholesky(A))
    wide = np.zeros((100, 100))
    wide[::2, ::2] = A
    lower_forgotten = np.triu(A)
    for same in (np.asfortranarray(A), wide[::2, ::2], lower_forgotten, A.tolist()):
        before = np.array(same)
        np.testing.assert_array_equal(upper(Cholesky(same)), expected)
        np.testing.assert_array_equal(same, before)
    single = A.astype(np.float32)
    np.testing.assert_array_equal(upper(Cholesky(single)), upper(Cholesky(single.astype(np.float64))))


def test_right_hand_sides_of_any_layout():
    A, B = random_matrix(50), np.random.default_rng(0).normal(size=(20, 50))
    factor, before = Cholesky(A), B.copy()
    x = factor.solve(B)
    np.testing.assert_array_equal(B, before)
    np.testing.assert_array_equal(factor.solve(np.asfortranarray(B)), x)
    np.testing.assert_array_equal(factor.solve(B[0]), factor.solve(B[:1])[0])


@pytest.mark.parametrize(
    ("A", "message"),
    [
        (np.ones((2, 3)), r"A must be square, got shape \(2, 3\)"),
        (np.ones(3), "A must have shape"),
        (np.ones((0, 0)), "A must have at least one column"),
    ],
)
def test_what_is_no_square_matrix_is_refused(A, message):
    with pytest.raises(ValueError, match=message):
        Cholesky(A)


def test_right_hand_sides_of_another_size_are_refused():
    with pytest.raises(ValueError, match=r"B must have shape \(K, 3\) or \(3,\), got shape \(3, 2\)"):
        Cholesky(np.eye(3)).solve(np.ones((3, 2)))
