"""Equal rows: which come first, and which are among the labelled ones."""

import numpy as np
import pytest

from fasttangent.common import checks
from fasttangent.common.duplicates import first_of_equals, row_keys, rows_among


def naive_first(rows):
    return np.array([not any((rows[i] == rows[j]).all() for j in range(i)) for i in range(len(rows))])


def naive_among(rows, known):
    return np.array([any((row == other).all() for other in known) for row in rows])


@pytest.fixture(params=[np.float64, np.float32, np.int64])
def rows(request):
    """120 rows of few values, many of them equal."""
    return np.random.default_rng(0).integers(-2, 3, (120, 3)).astype(request.param)


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch):
    monkeypatch.setattr(checks, "ROWS_PER_CHECK", 17)


def test_against_all_pairs(rows):
    known = np.random.default_rng(1).integers(-2, 3, (11, 3)).astype(float)
    keys, first, among = row_keys(rows), naive_first(rows), naive_among(rows, known)
    assert 0 < among.sum() < len(rows)
    assert first.sum() < len(rows)
    assert len(set(keys.tolist())) == first.sum()
    np.testing.assert_array_equal(first_of_equals(rows, keys), first)
    np.testing.assert_array_equal(rows_among(rows, keys, known), among)


def test_equal_keys_of_different_rows_are_no_duplicates(rows):
    keys = np.zeros(len(rows), np.uint64)  # every key collides with the first row's
    found = first_of_equals(rows, keys)
    assert not found[(rows == rows[0]).all(axis=1)][1:].any()
    assert found[(rows != rows[0]).any(axis=1)].all()


def test_both_zeros_are_one_and_nan_equals_nothing():
    rows = np.array([[0.0, 1.0], [-0.0, 1.0], [np.nan, 1.0], [np.nan, 1.0], [np.inf, 1.0], [np.inf, 1.0]])
    keys = row_keys(rows)
    assert first_of_equals(rows, keys).tolist() == [True, False, True, True, True, False]
    assert rows_among(rows, keys, np.array([[-0.0, 1.0]])).tolist() == [True, True] + [False] * 4


def test_neighbours_differ():
    rows = np.array([[1.0], [np.nextafter(1.0, 2)], [1e-300], [0.0], [5e-324]])
    keys = row_keys(rows)
    assert first_of_equals(rows, keys).all()
    assert rows_among(rows, keys, rows[[1]]).tolist() == [False, True, False, False, False]


def test_columns_are_not_interchangeable():
    rows = np.array([[1.0, 2.0], [2.0, 1.0], [3.0, 0.0]])
    assert len(set(row_keys(rows).tolist())) == 3


def test_a_pool_in_float32_has_the_rows_labelled_in_float64():
    known = np.random.default_rng(0).normal(size=(20, 4))
    rows = known.astype(np.float32)[::2]
    assert (rows != known[::2]).any(axis=1).all()
    assert rows_among(rows, row_keys(rows), known).all()


@pytest.mark.parametrize("layout", [np.asfortranarray, lambda a: np.repeat(a, 2, axis=0)[::2]])
def test_layouts(rows, layout):
    np.testing.assert_array_equal(row_keys(layout(rows)), row_keys(rows))
    np.testing.assert_array_equal(first_of_equals(layout(rows), row_keys(rows)), naive_first(rows))
