"""Inner products and lengths of vectors."""

import numpy as np
import pytest

from fasttangent.common.vectors import norm


@pytest.mark.parametrize("size", [1e-150, 1.0, 1e153, 1e200, 1e300])
def test_the_length_of_a_vector_of_any_size(size):
    assert norm(np.array([3.0, -4.0, 0.0]) * size) == pytest.approx(5 * size, rel=1e-15)


def test_lengths_that_are_no_numbers():
    assert norm(np.array([np.inf, 1.0])) == np.inf
    assert np.isnan(norm(np.array([np.nan, 1e300])))
