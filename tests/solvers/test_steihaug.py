"""Steps within a radius against the models they minimise."""

import numpy as np
import pytest

from fasttangent.solvers.steihaug import Path


def model(p=12, lowest=0.5, seed=0):
    """A with eigenvalues from `lowest` on, g, and a metric M."""
    rng = np.random.default_rng(seed)
    Q = np.linalg.qr(rng.normal(size=(p, p)))[0]
    A = Q @ np.diag(np.concatenate([[lowest], np.linspace(1, 9, p - 1)])) @ Q.T
    B = rng.normal(size=(p, p))
    return A, rng.normal(size=p), np.eye(p) + B @ B.T / p


def path(A, g, M, tolerance=1e-12, most=100):
    return Path(lambda v: A @ v, lambda v: np.linalg.solve(M, v), g, tolerance, most)


def value(A, g, d):
    return g @ d + d @ A @ d / 2


def length(M, d):
    return np.sqrt(d @ M @ d)


def test_without_a_bound_it_is_the_minimum():
    A, g, M = model()
    step = path(A, g, M).within(1e9)
    assert not step.at_edge
    np.testing.assert_allclose(step.d, -np.linalg.solve(A, g), rtol=1e-8)
    assert step.decrease == pytest.approx(-value(A, g, step.d), rel=1e-10)


@pytest.mark.parametrize("lowest", [0.5, -2.0])
@pytest.mark.parametrize("radius", [1e-3, 0.1, 0.5, 1.0])
def test_at_the_edge_it_has_the_radius_and_what_it_promises(lowest, radius):
    A, g, M = model(lowest=lowest)
    step = path(A, g, M).within(radius)
    assert step.at_edge
    assert length(M, step.d) == pytest.approx(radius, rel=1e-9)
    assert step.decrease == pytest.approx(-value(A, g, step.d), rel=1e-9)
    steepest = -np.linalg.solve(M, g)
    cauchy = steepest * radius / length(M, steepest)
    assert step.decrease >= -value(A, g, cauchy) * (1 - 1e-12)


def test_negative_curvature_is_followed_to_any_edge():
    A, g, M = model(lowest=-2.0)
    way = path(A, g, M)
    for radius in (1e6, 30.0, 1e3):
        step = way.within(radius)
        assert step.at_edge
        assert length(M, step.d) == pytest.approx(radius, rel=1e-9)
        assert step.decrease == pytest.approx(-value(A, g, step.d), rel=1e-9)


def test_another_radius_takes_no_product_again():
    A, g, M = model()
    products = []

    def product(v):
        products.append(v)
        return A @ v

    way = Path(product, lambda v: np.linalg.solve(M, v), g, 1e-12, 100)
    far = way.within(1e9)
    taken = len(products)
    near = way.within(0.1)
    again = way.within(1e9)
    assert len(products) == taken
    np.testing.assert_array_equal(again.d, far.d)
    np.testing.assert_allclose(near.d, path(A, g, M).within(0.1).d, rtol=1e-12)


def test_it_ends_with_its_tolerance_or_its_number_of_products():
    A, g, M = model()
    loose = path(A, g, M, tolerance=0.1).within(1e9)
    residual = A @ loose.d + g
    assert residual @ np.linalg.solve(M, residual) <= 0.01 * (g @ np.linalg.solve(M, g))
    two = path(A, g, M, most=2).within(1e9)
    assert not two.at_edge
    assert two.decrease == pytest.approx(-value(A, g, two.d), rel=1e-9)
    assert path(A, g, M).first_length == pytest.approx(np.sqrt(g @ np.linalg.solve(M, g)))


def test_without_a_gradient_there_is_no_step():
    A, g, M = model()
    step = path(A, 0 * g, M).within(1.0)
    assert (step.d == 0).all()
    assert step.decrease == 0


@pytest.mark.parametrize("scale", [-1.0, 0.0, np.nan])
def test_a_metric_that_is_lost_in_rounding_leads_nowhere(scale):
    A, g, _ = model()
    found = Path(lambda v: A @ v, lambda v: scale * v, g, 1e-12, 100)
    assert found.first_length == 0
    step = found.within(1.0)
    assert step.decrease == 0
    assert not step.d.any()
