"""Activations as vector code: against their twins, exact values from `decimal`, and at every width of vector."""

import decimal
import os
import subprocess
import sys
from decimal import Decimal

import numpy as np
import pytest
from numba import config
from scipy import special

from fasttangent.kernels import activations, processor
from fasttangent.kernels.cache_folder import cache_folder

NAMES = sorted(activations.CODES)
DTYPES = ("float32", "float64")
GUARD = -7.0

# largest absolute values of phi' and phi''
LARGEST = {
    "tanh": (1, 0.7698),
    "silu": (1.0998, 0.5),
    "relu": (1, 1),
    "softplus": (1, 0.25),
    "gelu": (1.1289, 0.7979),
    "identity": (1, 1),
}
# 4 ulp, but for gelu 6, and 8 of its twin
ULPS = {"gelu": 8 if config.DISABLE_JIT else 6}


def activate(name, z, n_outputs=3, in_place=False):
    """[h, p, q] of a matrix z, in buffers with room up to the next whole vector and guards beyond it."""
    m, n = z.shape
    room = -(-n // processor.lanes(z.dtype)) * processor.lanes(z.dtype)
    stride = room + 5
    inputs = np.full((m, stride), GUARD, z.dtype)
    inputs[:, :n] = z
    outputs = [np.full((m, stride), GUARD, z.dtype) for _ in range(n_outputs)]
    if in_place:
        outputs[0] = inputs
    h, p, q = [a[:, :n] for a in outputs] + [np.empty((0, n), z.dtype)] * (3 - n_outputs)
    activations.activate(h, p, q, inputs[:, :n], activations.CODES[name])
    for a in outputs:
        np.testing.assert_array_equal(a[:, room:], GUARD)
    if not in_place:
        np.testing.assert_array_equal(inputs[:, :n], z)
    return [a[:, :n] for a in outputs]


def errors(name, found, exact, dtype):
    """Largest errors: of h in ulp, of p and q in machine epsilons of the largest derivative."""
    info = np.finfo(dtype)
    h, exact_h = found[0].astype(exact[0].dtype), exact[0]
    finite = np.isfinite(exact_h)
    ulp = np.spacing(np.abs(exact_h[finite]).astype(dtype)).astype(exact_h.dtype)
    result = [np.max(np.abs(h[finite] - exact_h[finite]) / ulp)]
    np.testing.assert_array_equal(found[0][~finite], exact_h[~finite].astype(dtype))
    for a, b, largest in zip(found[1:], exact[1:], LARGEST[name], strict=True):
        result.append(np.max(np.abs(a.astype(b.dtype) - b)) / (info.eps * largest))
    return result


def in_double(name, z):
    """phi, phi', phi'' of float32 numbers, good to 1e-14."""
    z = z.astype(float)
    zero = np.zeros_like(z)
    if name == "identity":
        return z, zero + 1, zero
    if name == "relu":
        return np.maximum(z, 0), (z > 0) * 1.0, zero
    if name == "tanh":
        h = np.tanh(z)
        p = 1 / np.cosh(np.clip(z, -300, 300)) ** 2
        return h, p, -2 * h * p
    s, r = special.expit(z), special.expit(-z)
    if name == "silu":
        return z * s, s * (1 + z * r), s * r * (2 + z * (r - s))
    if name == "softplus":
        return np.maximum(z, 0) + np.log1p(np.exp(-np.abs(z))), s, s * r
    cdf = special.erfc(-z * np.sqrt(0.5)) / 2
    pdf = np.exp(-z * z / 2) / np.sqrt(2 * np.pi)
    return z * cdf, cdf + z * pdf, pdf * (2 - z * z)


@pytest.mark.parametrize("name", NAMES)
def test_float32_to_the_last_digits(name):
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 2**32, 60_000, dtype=np.uint32).view(np.float32)
    bits = bits[np.isfinite(bits) & (np.abs(bits) < 1e30)]
    z = np.concatenate(
        [bits, np.linspace(-120, 120, 60_001), np.linspace(-16, 16, 60_001), rng.normal(size=60_000)]
    )
    z = z.astype(np.float32)[None]
    h, p, q = errors(name, activate(name, z), in_double(name, z), "float32")
    assert h <= ULPS.get(name, 4)
    assert p <= 4
    assert q <= 4


def test_the_twin_of_every_activation():
    """The formulas in NumPy, as they run without compilation."""
    z = np.concatenate([np.linspace(-760, 760, 3001), np.linspace(-40, 40, 3001), np.linspace(-2, 2, 3001)])
    z = np.concatenate([z, [np.inf, -np.inf, np.nan, 5e-324, -5e-324, -0.0, 1e308, -1e308]])[None]
    for name in NAMES:
        twin = [np.empty_like(z) for _ in range(3)]
        activations._fill_definition(*twin, z, activations.CODES[name])
        found = activate(name, z)
        for a, b in zip(found, twin, strict=True):
            np.testing.assert_array_equal(np.isnan(a), np.isnan(b))
        known = np.isfinite(z)
        finite = [a[known] for a in twin]
        h, p, q = errors(name, [a[known] for a in found], finite, "float64")
        assert h <= 8, name
        assert max(p, q) <= 8, name


decimal_context = decimal.Context(prec=50, Emin=-999999, Emax=999999)


def erfc_like(a):
    """Distribution of the standard normal at -a, for a >= 0, from the series or the continued fraction."""
    with decimal.localcontext(decimal.Context(prec=60, Emin=-999999, Emax=999999)):
        pi = Decimal("3.14159265358979323846264338327950288419716939937510582097494459230781640628620899")
        pdf = (-a * a / 2).exp() / (2 * pi).sqrt()
        if a < 8:  # cdf(-a) = 1/2 - pdf (a + a^3/3 + a^5/15 ...)
            term = total = a
            k = 1
            while term > total * Decimal("1e-58"):
                k += 2
                term = term * a * a / k
                total += term
            return Decimal("0.5") - pdf * total, pdf
        fraction = a
        for k in range(200, 0, -1):
            fraction = a + k / fraction
        return pdf / fraction, pdf


def in_decimal(name, z):
    with decimal.localcontext(decimal_context):
        z = Decimal(float(z))
        a = abs(z)
        e = (-a).exp()
        low, high = e / (1 + e), 1 / (1 + e)
        s, r = (high, low) if z > 0 else (low, high)
        positive = max(z, Decimal(0))
        if name == "tanh":
            e = (-2 * a).exp()
            h = ((1 - e) / (1 + e)).copy_sign(z)
            p = 4 * e / (1 + e) ** 2
            return h, p, -2 * h * p
        if name == "silu":
            return z * s, s * (1 + z * r), s * r * (2 + z * (r - s))
        if name == "softplus":
            # the logarithm loses what 1 + e rounds away
            log = (1 + e).ln() if e > Decimal("1e-20") else e - e * e / 2
            return positive + log, s, s * r
        tail, pdf = erfc_like(a)
        cdf = 1 - tail if z > 0 else tail
        return z * cdf, cdf + z * pdf, pdf * (2 - z * z)


@pytest.mark.parametrize("name", ["tanh", "silu", "softplus", "gelu"])
def test_float64_to_the_last_digits(name):
    rng = np.random.default_rng(1)
    z = np.concatenate([rng.uniform(-39, 39, 500), rng.normal(size=500), -np.geomspace(1e-12, 750, 200)])
    found = activate(name, z[None])
    worst = np.zeros(3)
    with decimal.localcontext(decimal_context):
        for i, x in enumerate(z):
            exact = in_decimal(name, x)
            ulp = Decimal(float(np.spacing(abs(float(exact[0])))))
            units = [ulp] + [Decimal(float(np.finfo(float).eps * largest)) for largest in LARGEST[name]]
            for k in range(3):
                error = abs(Decimal(float(found[k][0, i])) - exact[k]) / units[k]
                worst[k] = max(worst[k], float(error))
    assert worst[0] <= ULPS.get(name, 4)
    assert max(worst[1:]) <= 4


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NAMES)
def test_any_shape_number_of_outputs_and_in_place(name, dtype):
    """The same bits whatever stands around a value, whether or not derivatives are asked for, and in place."""
    rng = np.random.default_rng(2)
    for n in (1, 2, 3, 5, 7, 17, 63, 65):
        for m in (1, 5):
            z = (3 * rng.normal(size=(m, n))).astype(dtype)
            single = [activate(name, z.reshape(-1, 1))[k].reshape(m, n) for k in range(3)]
            for n_outputs, in_place in ((1, False), (2, True), (3, False), (3, True)):
                for a, b in zip(activate(name, z, n_outputs, in_place), single, strict=False):
                    np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NAMES)
def test_limits(name, dtype):
    huge, tiny = np.finfo(dtype).max, np.finfo(dtype).smallest_subnormal
    z = np.array([[-np.inf, np.inf, -huge, huge, np.nan, 0.0, -0.0, tiny, -tiny]], dtype)
    h, p, q = (a[0] for a in activate(name, z))
    low, high = {"identity": (z[0, [0, 2]], z[0, [1, 3]]), "tanh": (-1, 1)}.get(name, (0, z[0, [1, 3]]))
    np.testing.assert_array_equal(h[[0, 2]], low)
    np.testing.assert_array_equal(h[[1, 3]], high)
    low, high = {"identity": (1, 1), "tanh": (0, 0)}.get(name, (0, 1))
    np.testing.assert_array_equal(p[[0, 2]], low)
    np.testing.assert_array_equal(p[[1, 3]], high)
    np.testing.assert_array_equal(q[:4], 0)
    assert np.isnan([h[4], p[4], q[4]]).all()
    if name == "softplus":
        np.testing.assert_allclose(h[5:], np.log(2), rtol=2 * np.finfo(dtype).eps)
    else:
        np.testing.assert_array_equal(h[5:7], 0)
        np.testing.assert_array_less(np.abs(h[7:]), 2 * tiny)
    if name in ("tanh", "identity"):
        np.testing.assert_array_equal(h, np.where(np.arange(9) < 5, h, z[0]))
        assert np.signbit(h[6])


@pytest.mark.parametrize("name", NAMES)
def test_derivatives_by_central_differences(name):
    z = np.linspace(-8, 8, 400)[None]  # 0 is not among them
    step = 1e-5
    _, p, q = activate(name, z)
    (above, p_above, _), (below, p_below, _) = activate(name, z + step), activate(name, z - step)
    np.testing.assert_allclose(p, (above - below) / (2 * step), atol=1e-9)
    np.testing.assert_allclose(q, (p_above - p_below) / (2 * step), atol=1e-9)


@pytest.mark.parametrize(
    "setting", ["FASTTANGENT_VECTOR_BITS=256", "FASTTANGENT_VECTOR_BITS=128", "NUMBA_DISABLE_JIT=1"]
)
def test_other_widths_and_no_compiler(setting):
    """This file's accuracy, limits and shapes in a process of their own."""
    name, value = setting.split("=")
    if os.environ.get(name):
        pytest.skip("runs inside itself")
    tests = "last_digits or limits or central or in_place"
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-k", tests, __file__]
    folder = cache_folder()  # one of its own: compiled code is not kept by width
    environment = os.environ | {name: value, "FASTTANGENT_CACHE": str(folder / setting) if folder else "off"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
